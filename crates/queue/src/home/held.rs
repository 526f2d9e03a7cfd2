//! What the home holds for a broker's queue: who is first on each lane, and where records with several keys meet.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::{Value as Json, json};

use super::{Home, Value, admit::ids_json, settle::Change, state, transaction};
use crate::{error::Result, rabbitmq::Message, record::State};

/// A record that is held here and may go.
#[derive(Clone, Debug)]
pub(crate) struct HeldRecord {
    pub(crate) message: Arc<Message>,
    pub(crate) attempts: u32,
    pub(crate) seq: i64,
    pub(crate) lanes: Vec<i64>,
    pub(crate) state: State,
}

/// What is held for a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub(crate) lanes: HashSet<i64>,
    /// The highest place given so far.
    pub(crate) last_seq: i64,
    /// When retries fall due, by the clock of the home.
    pub(crate) due: Vec<i64>,
}

/// The first record of each lane, if it may go now: it is the first of all its lanes, and all its barriers are reached.
const HEADS: &str = "SELECT d.record, d.attempts, d.seq, r.received_at, r.listener, r.route, r.keys, r.attributes,
        r.replay_of, p.payload, p.checksum, d.state, r.urgent
     FROM (SELECT DISTINCT (SELECT l.record FROM lanes l
             WHERE l.destination = $2 AND l.lane = CAST(e.value->>'l' AS BIGINT) ORDER BY l.seq LIMIT 1) AS record
           FROM {rows}) h
     JOIN deliveries d ON d.record = h.record AND d.destination = $2
     JOIN records r ON r.id = d.record JOIN payloads p ON p.record = d.record
     WHERE d.state < 4 AND d.part = $3 AND d.not_before <= $4
        AND NOT EXISTS (SELECT 1 FROM lanes l JOIN lanes f
            ON f.destination = l.destination AND f.lane = l.lane AND f.seq < l.seq
            WHERE l.record = d.record AND l.destination = d.destination AND l.barrier = 0)
     ORDER BY r.urgent DESC, d.seq LIMIT $5";

impl Home {
    /// What is held for the queue `part` of a destination.
    pub(crate) async fn held(&self, destination: &str, part: i64) -> Result<Held> {
        transaction!(self, tx => {
            let place = [Value::from(destination), part.into()];
            let lanes = tx
                .query("SELECT DISTINCT lane FROM lanes WHERE destination = $1 AND part = $2", &place)
                .await?;
            let last = tx
                .query(
                    "SELECT coalesce(max(seq), 0) FROM deliveries WHERE destination = $1 AND part = $2",
                    &place,
                )
                .await?;
            let barrier = tx
                .query("SELECT coalesce(max(seq), 0) FROM lanes WHERE destination = $1 AND part = $2", &place)
                .await?;
            let due = tx
                .query(
                    "SELECT not_before FROM deliveries WHERE destination = $1 AND part = $2 AND state < 5 AND state = 3",
                    &place,
                )
                .await?;
            let highest = |rows: &[super::Row]| rows.first().map_or(0, |row| row.integer(0));
            Held {
                lanes: lanes.iter().map(|row| row.integer(0)).collect(),
                last_seq: highest(&last).max(highest(&barrier)),
                due: due.iter().map(|row| row.integer(0)).collect(),
            }
        })
    }

    /// Up to `max` records that may go now, of these lanes, in the order in which they came.
    pub(crate) async fn heads(
        &self,
        destination: &str,
        part: i64,
        lanes: &[i64],
        max: usize,
    ) -> Result<Vec<HeldRecord>> {
        let rows = lanes.iter().map(|lane| json!({ "l": lane })).collect();
        let values = [
            Value::Text(Json::Array(rows).to_string()),
            destination.into(),
            part.into(),
            self.now_ms().into(),
            i64::try_from(max).unwrap_or(i64::MAX).into(),
        ];
        let found = transaction!(self, tx => tx.query(&self.sql(HEADS), &values).await?)?;
        Ok(found
            .iter()
            .map(|row| {
                let ordering_keys: Vec<String> = row.json(6);
                let payload = bytes::Bytes::copy_from_slice(row.blob(9).unwrap_or_default());
                let barriers = crate::embedded::lanes(&ordering_keys)
                    .len()
                    .saturating_sub(1);
                let message = Message {
                    record: row.integer(0),
                    damaged: i64::from(crc32c::crc32c(&payload)) != row.integer(10),
                    payload: Some(payload),
                    received_at_ms: row.integer(3),
                    listener: row.text(4),
                    route: row.text(5),
                    attributes: row.json(7),
                    replay_of: row.optional(8),
                    barrier: None,
                    urgent: row.integer(12) == 1,
                    barriers,
                    ordering_keys,
                };
                HeldRecord {
                    attempts: u32::try_from(row.integer(1)).unwrap_or(u32::MAX),
                    seq: row.integer(2),
                    state: state(row.integer(11)),
                    lanes: message.own_lanes(),
                    message: Arc::new(message),
                }
            })
            .collect())
    }

    /// Which of these lanes hold nothing any more.
    pub(crate) async fn empty_lanes(&self, destination: &str, lanes: &[i64]) -> Result<Vec<i64>> {
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let rows = lanes.iter().map(|lane| json!({ "l": lane })).collect();
        let values = [
            Value::Text(Json::Array(rows).to_string()),
            destination.into(),
        ];
        let sql = self.sql(
            "SELECT CAST(e.value->>'l' AS BIGINT) FROM {rows} WHERE NOT EXISTS (SELECT 1 FROM lanes l
             WHERE l.destination = $2 AND l.lane = CAST(e.value->>'l' AS BIGINT))",
        );
        let found = transaction!(self, tx => tx.query(&sql, &values).await?)?;
        Ok(found.iter().map(|row| row.integer(0)).collect())
    }

    /// How these records stand at a destination, as far as anything has happened to them.
    pub(crate) async fn standing(
        &self,
        destination: &str,
        records: &[i64],
    ) -> Result<HashMap<i64, State>> {
        if records.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = self.sql(
            "SELECT d.record, d.state FROM {rows} JOIN deliveries d
             ON d.record = CAST(e.value->>'id' AS BIGINT) AND d.destination = $2",
        );
        let values = [ids_json(records), destination.into()];
        let found = transaction!(self, tx => tx.query(&sql, &values).await?)?;
        Ok(found
            .iter()
            .map(|row| (row.integer(0), state(row.integer(1))))
            .collect())
    }

    /// Notes that a record with several keys is first on this lane.
    pub(crate) async fn reach(&self, destination: &str, barriers: &[(i64, i64)]) -> Result<()> {
        let rows: Vec<Json> = barriers
            .iter()
            .map(|(record, lane)| json!({ "id": record, "l": lane, "d": destination }))
            .collect();
        transaction!(self, tx => {
            let sql = "INSERT INTO barriers (record, destination, lane)
                 SELECT CAST(e.value->>'id' AS BIGINT), e.value->>'d', CAST(e.value->>'l' AS BIGINT)
                 FROM {rows} WHERE true ON CONFLICT DO NOTHING";
            self.rows(tx, sql, rows.clone(), false).await?;
        })
    }

    /// On how many other lanes each of these records is first.
    pub(crate) async fn reached(
        &self,
        destination: &str,
        records: &[i64],
    ) -> Result<HashMap<i64, usize>> {
        let sql = self.sql(
            "SELECT b.record, count(*) FROM {rows} JOIN barriers b
             ON b.record = CAST(e.value->>'id' AS BIGINT) AND b.destination = $2 GROUP BY b.record",
        );
        let values = [ids_json(records), destination.into()];
        let found = transaction!(self, tx => tx.query(&sql, &values).await?)?;
        Ok(found
            .iter()
            .map(|row| {
                let count = usize::try_from(row.integer(1)).unwrap_or(0);
                (row.integer(0), count)
            })
            .collect())
    }

    /// Which of these records the broker has confirmed, and which were never admitted or not confirmed.
    pub(crate) async fn unpublished(&self, records: &[i64]) -> Result<HashSet<i64>> {
        let sql = self.sql(
            "SELECT CAST(e.value->>'id' AS BIGINT) FROM {rows} WHERE NOT EXISTS
             (SELECT 1 FROM records r WHERE r.id = CAST(e.value->>'id' AS BIGINT) AND r.published = 1)",
        );
        let found = transaction!(self, tx => tx.query(&sql, &[ids_json(records)]).await?)?;
        Ok(found.iter().map(|row| row.integer(0)).collect())
    }

    /// Barriers among what is held: those whose record has ended go, those that are first on their lane now are
    /// reached.
    pub(crate) async fn tend_barriers(&self, destination: &str, part: i64) -> Result<()> {
        let place = [Value::from(destination), part.into()];
        transaction!(self, tx => {
            tx.query(
                "DELETE FROM lanes WHERE destination = $1 AND part = $2 AND barrier = 1 AND EXISTS
                 (SELECT 1 FROM deliveries d WHERE d.record = lanes.record AND d.destination = lanes.destination
                    AND d.state > 4)",
                &place,
            )
            .await?;
            tx.query(
                "INSERT INTO barriers (record, destination, lane) SELECT l.record, l.destination, l.lane FROM lanes l
                 WHERE l.destination = $1 AND l.part = $2 AND l.barrier = 1 AND NOT EXISTS
                    (SELECT 1 FROM lanes f WHERE f.destination = l.destination AND f.lane = l.lane AND f.seq < l.seq)
                 ON CONFLICT DO NOTHING",
                &place,
            )
            .await?;
        })
    }

    /// Lets a held delivery go on, with its attempts counted from zero; whether there was one.
    pub(crate) async fn make_ready(&self, record: i64, destination: &str) -> Result<bool> {
        let sql = "UPDATE deliveries SET state = 1, attempts = 0, not_before = 0, changed_at = $3
             WHERE record = $1 AND destination = $2 AND state IN (3, 4) RETURNING record";
        let values = [record.into(), destination.into(), self.now_ms().into()];
        let made = transaction!(self, tx => tx.query(sql, &values).await?)?;
        Ok(!made.is_empty())
    }

    /// Holds places on lanes for records that another queue carries.
    pub(crate) async fn hold_barriers(&self, changes: &[Change]) -> Result<()> {
        let rows: Vec<Json> = changes
            .iter()
            .flat_map(|change| {
                change.lanes.iter().map(|lane| {
                    json!({
                        "d": change.destination, "l": lane, "q": change.seq,
                        "id": change.message.record, "p": change.part, "b": 1,
                    })
                })
            })
            .collect();
        transaction!(self, tx => self.rows(tx, super::settle::ENTER, rows.clone(), false).await?)
    }
}
