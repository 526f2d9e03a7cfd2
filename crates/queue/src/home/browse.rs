//! Lists and details, and what a replay starts from.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;

use super::{Home, Row, Transaction, Value, state, transaction};
use crate::{
    browse::{DeliveryDetail, Filter, RecordDetail, RecordSummary, Replayed},
    error::{QueueError, Result},
    record::{NewRecord, RecordId, State},
};

/// Deliveries in somebody's hands: (record, destination).
pub(crate) type Leased = HashSet<(i64, String)>;

const COLUMNS: &str =
    "d.state, d.attempts, d.not_before, d.reason, r.received_at, d.changed_at, r.listener, r.route,
    r.size, r.attributes, r.replay_of, r.conflict_of, r.edit_of, r.urgent";

/// Rows read at once.
const STEP: i64 = 2_000;

impl Home {
    /// Deliveries that match, by record.
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        leased: &Leased,
    ) -> Result<Vec<RecordSummary>> {
        transaction!(self, tx => self.list_in(tx, filter, leased).await?)
    }

    async fn list_in(
        &self,
        tx: &mut dyn Transaction,
        filter: &Filter,
        leased: &Leased,
    ) -> Result<Vec<RecordSummary>> {
        let limit = filter.effective_limit();
        let mut filter = filter.clone();
        if filter.state == Some(State::Leased) {
            let named: HashSet<i64> = filter.records.iter().map(|record| record.0).collect();
            filter.records = leased
                .iter()
                .map(|(record, _)| *record)
                .filter(|record| named.is_empty() || named.contains(record))
                .map(RecordId)
                .collect();
            if filter.records.is_empty() {
                return Ok(Vec::new());
            }
        }
        let mut lines: Vec<RecordSummary> = Vec::new();
        let mut records = 0;
        let mut place = (filter.after.map_or(0, |record| record.0), None::<String>);
        loop {
            let (sql, values) = self.statement(&filter, &place);
            let rows = tx.query(&sql, &values).await?;
            let ended = i64::try_from(rows.len()).unwrap_or(i64::MAX) < STEP;
            for row in &rows {
                place = (row.integer(0), Some(row.text(1)));
                let line = summary(row, leased);
                if filter.state.is_some_and(|wanted| wanted != line.state) {
                    continue;
                }
                if lines.last().is_none_or(|last| last.record != line.record) {
                    if records == limit {
                        return Ok(lines);
                    }
                    records += 1;
                }
                lines.push(line);
            }
            if ended {
                return Ok(lines);
            }
        }
    }

    /// One page of rows after `place` (record and destination).
    fn statement(&self, filter: &Filter, place: &(i64, Option<String>)) -> (String, Vec<Value>) {
        let held = match filter.state {
            Some(State::Waiting) => Some(2),
            Some(State::Retrying) => Some(3),
            Some(State::Parked) => Some(4),
            Some(State::Dead) => Some(6),
            _ => None,
        };
        let mut sql = match held {
            // From the small index of these states, which has to be named as a constant.
            Some(code) => format!(
                "SELECT r.id, d.destination, {COLUMNS} FROM deliveries d JOIN records r ON r.id = d.record
                 WHERE d.state = {code} AND (d.record > $1 OR (d.record = $1 AND d.destination > $2))"
            ),
            None => self.sql(&format!(
                "SELECT r.id, m.value, {COLUMNS} FROM records r LEFT JOIN {{members}} ON true
                 LEFT JOIN deliveries d ON d.record = r.id AND d.destination = m.value
                 WHERE r.published = 1 AND (r.id > $1 OR (r.id = $1 AND m.value > $2))"
            )),
        };
        let destination = if held.is_some() {
            "d.destination"
        } else {
            "m.value"
        };
        // The first page begins behind all of the record `after`: NULL is greater than nothing.
        let mut values = vec![Value::from(place.0), place.1.clone().into()];
        let mut add = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                values.push(value);
                sql.push_str(&format!(" AND {condition} ${}", values.len()));
            }
        };
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        add(&format!("{destination} ="), text(&filter.destination));
        add("r.listener =", text(&filter.listener));
        add("r.message_type =", text(&filter.message_type));
        add("r.received_at >=", filter.from_ms.map(Value::from));
        add("r.received_at <", filter.to_ms.map(Value::from));
        add("d.reason =", text(&filter.reason));
        match filter.state {
            Some(State::Delivered) => sql.push_str(" AND d.state = 5"),
            Some(State::Filtered) => sql.push_str(" AND (d.state = 7 OR m.value IS NULL)"),
            Some(State::Queued) => {
                sql.push_str(" AND r.open > 0 AND (d.state IS NULL OR d.state = 1)");
            }
            _ => {}
        }
        if !filter.records.is_empty() {
            let ids: Vec<String> = filter.records.iter().map(RecordId::to_string).collect();
            sql.push_str(&format!(" AND r.id IN ({})", ids.join(", ")));
        }
        sql.push_str(&format!(" ORDER BY 1, 2 LIMIT {STEP}"));
        (sql, values)
    }

    /// Everything about one record but its payload.
    pub(crate) async fn show(&self, record: RecordId, leased: &Leased) -> Result<RecordDetail> {
        let deliveries = self.sql(
            "SELECT m.value, d.state, d.attempts, d.not_before, d.changed_at, d.reason, d.detail
             FROM (SELECT id, destinations FROM records WHERE id = $1) r JOIN {members} ON true
             LEFT JOIN deliveries d ON d.record = r.id AND d.destination = m.value ORDER BY 1",
        );
        let id = [Value::from(record.0)];
        let (found, again, edited, deliveries) = transaction!(self, tx => {
            (
                tx.query(
                    "SELECT received_at, stored_at, listener, route, size, ack, keys, attributes, replay_of, conflict_of,
                        edit_of, urgent
                     FROM records WHERE id = $1",
                    &id,
                )
                .await?,
                tx.query("SELECT id FROM records WHERE replay_of = $1 ORDER BY id", &id).await?,
                tx.query("SELECT id FROM records WHERE edit_of = $1 ORDER BY id", &id).await?,
                tx.query(&deliveries, &id).await?,
            )
        })?;
        let row = found.first().ok_or(QueueError::NotFound)?;
        Ok(RecordDetail {
            record,
            received_at_ms: row.integer(0),
            stored_at_ms: row.integer(1),
            listener: row.text(2),
            route: row.text(3),
            size: u64::try_from(row.integer(4)).unwrap_or(0),
            ack_bytes: row.optional_text(5).map(|hex| hex.len() as u64 / 2),
            ordering_keys: row.json::<Vec<String>>(6).len(),
            attributes: row.json(7),
            replay_of: row.optional(8).map(RecordId),
            replayed_as: again.iter().map(|row| RecordId(row.integer(0))).collect(),
            conflict_of: row.optional(9).map(RecordId),
            edit_of: row.optional(10).map(RecordId),
            urgent: row.integer(11) == 1,
            edited_as: edited.iter().map(|row| RecordId(row.integer(0))).collect(),
            deliveries: deliveries
                .iter()
                .map(|row| {
                    let stored = row.optional(1).map_or(State::Queued, state);
                    let destination = row.text(0);
                    DeliveryDetail {
                        state: now(stored, record.0, &destination, leased),
                        destination,
                        attempts: u32::try_from(row.integer(2)).unwrap_or(u32::MAX),
                        not_before_ms: (stored == State::Retrying).then(|| row.integer(3)),
                        changed_at_ms: row.optional(4),
                        reason: row.optional_text(5),
                        detail: row.optional_text(6),
                    }
                })
                .collect(),
        })
    }

    /// The bytes of a record, once something has happened to it; before, the broker alone has them.
    pub(crate) async fn payload(&self, record: RecordId) -> Result<Bytes> {
        let id = [Value::from(record.0)];
        let (known, payload) = transaction!(self, tx => {
            (
                tx.query("SELECT 1 FROM records WHERE id = $1", &id).await?,
                tx.query("SELECT payload, checksum FROM payloads WHERE record = $1", &id).await?,
            )
        })?;
        if known.is_empty() {
            return Err(QueueError::NotFound);
        }
        let row = payload.first().ok_or(QueueError::WithTheBroker)?;
        let bytes = row.blob(0).unwrap_or_default();
        if i64::from(crc32c::crc32c(bytes)) != row.integer(1) {
            let damaged = std::io::Error::other("a payload does not fit its checksum");
            return Err(QueueError::Corrupt(Arc::new(damaged)));
        }
        Ok(Bytes::copy_from_slice(bytes))
    }

    /// A record to append again, to `destination`, and the number of the first of its chain of replays.
    pub(crate) async fn copy(
        &self,
        record: RecordId,
        destination: &str,
    ) -> Result<(NewRecord, i64)> {
        let payload = self.payload(record).await?;
        let sql =
            "SELECT received_at, listener, route, keys, attributes, replay_of, content, urgent
             FROM records WHERE id = $1";
        let found = transaction!(self, tx => tx.query(sql, &[record.0.into()]).await?)?;
        let row = found.first().ok_or(QueueError::NotFound)?;
        let mut content_hash = [0; 32];
        if let Some(hash) = super::rows::unhex(&row.text(6))
            && hash.len() == content_hash.len()
        {
            content_hash.copy_from_slice(&hash);
        }
        let copy = NewRecord {
            payload,
            received_at_ms: row.integer(0),
            listener: row.text(1),
            route: row.text(2),
            ordering_keys: row.json(3),
            attributes: row.json(4),
            content_hash,
            destinations: vec![destination.to_owned()],
            // The original keeps its key: a replay is never taken for a duplicate.
            dedup_key: None,
            ack: None,
            urgent: row.integer(7) == 1,
            edit_of: None,
        };
        Ok((copy, row.optional(5).unwrap_or(record.0)))
    }

    /// Whether a record is still on its way to a destination.
    pub(crate) async fn is_open(&self, record: RecordId, destination: &str) -> Result<bool> {
        let sql = "SELECT r.destinations, d.state FROM records r
             LEFT JOIN deliveries d ON d.record = r.id AND d.destination = $2 WHERE r.id = $1";
        let values = [record.0.into(), destination.into()];
        let found = transaction!(self, tx => tx.query(sql, &values).await?)?;
        Ok(found.first().is_some_and(|row| {
            let meant = row
                .json::<Vec<String>>(0)
                .iter()
                .any(|name| name == destination);
            meant && row.optional(1).is_none_or(|code| !state(code).is_final())
        }))
    }

    /// The answer to an earlier replay with this token.
    pub(crate) async fn answered(&self, token: &str) -> Result<Option<Replayed>> {
        let sql = "SELECT answer FROM tokens WHERE token = $1";
        let found = transaction!(self, tx => tx.query(sql, &[token.into()]).await?)?;
        Ok(found.first().map(|row| Replayed {
            repeated: true,
            ..row.json(0)
        }))
    }

    /// Keeps the answer to a replay.
    pub(crate) async fn answer(&self, token: &str, answer: &Replayed) -> Result<()> {
        let text = serde_json::to_string(answer).unwrap_or_default();
        let values = [token.into(), self.now_ms().into(), text.into()];
        let sql = "INSERT INTO tokens (token, used_at, answer) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        transaction!(self, tx => tx.query(sql, &values).await.map(drop)?)
    }
}

fn summary(row: &Row, leased: &Leased) -> RecordSummary {
    let destination = row.optional_text(1);
    let stored = match (&destination, row.optional(2)) {
        (None, _) => State::Filtered,
        (Some(_), code) => code.map_or(State::Queued, state),
    };
    let name = destination.as_deref().unwrap_or_default();
    RecordSummary {
        record: RecordId(row.integer(0)),
        state: now(stored, row.integer(0), name, leased),
        attempts: u32::try_from(row.integer(3)).unwrap_or(u32::MAX),
        not_before_ms: (stored == State::Retrying).then(|| row.integer(4)),
        reason: row.optional_text(5),
        received_at_ms: row.integer(6),
        changed_at_ms: row.optional(7),
        listener: row.text(8),
        route: row.text(9),
        size: u64::try_from(row.integer(10)).unwrap_or(0),
        attributes: row.json(11),
        replay_of: row.optional(12).map(RecordId),
        conflict_of: row.optional(13).map(RecordId),
        edit_of: row.optional(14).map(RecordId),
        urgent: row.integer(15) == 1,
        destination,
    }
}

fn now(stored: State, record: i64, destination: &str, leased: &Leased) -> State {
    if !stored.is_final() && leased.contains(&(record, destination.to_owned())) {
        State::Leased
    } else {
        stored
    }
}
