//! What a delivery ended with, and what comes home to wait: written in groups, durable when it returns.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value as Json, json};

use super::{
    Books, Home, Transaction, Value,
    admit::{PAYLOAD, payload_row},
    code, state, transaction,
};
use crate::{error::Result, rabbitmq::Message, record::State};

/// A change of one delivery.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The record, with its bytes where the home may not have them yet.
    pub(crate) message: Arc<Message>,
    pub(crate) destination: String,
    /// Number of the broker's queue, and the place in its order.
    pub(crate) part: i64,
    pub(crate) seq: i64,
    /// Lanes to wait on, while it is not final.
    pub(crate) lanes: Vec<i64>,
    pub(crate) state: State,
    pub(crate) attempts: u32,
    /// By the clock of the home.
    pub(crate) not_before: i64,
    pub(crate) reason: Option<String>,
    pub(crate) detail: Option<String>,
    /// Only a final outcome may be written, and only if nobody has written one: its lease may be somebody else's.
    pub(crate) stale: bool,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It is written.
    Written,
    /// The delivery had ended before.
    Final,
    /// The lease was gone, and somebody else has the delivery.
    Lost,
}

const LOOK: &str = "SELECT r.id, r.published, r.size, r.destinations, d.state, e.value->>'d'
     FROM {rows} JOIN records r ON r.id = CAST(e.value->>'id' AS BIGINT)
     LEFT JOIN deliveries d ON d.record = r.id AND d.destination = e.value->>'d'
     ORDER BY r.id {lock}";

const WRITE: &str = "INSERT INTO deliveries (record, destination, state, attempts, not_before, changed_at, reason,
        detail, part, seq)
     SELECT CAST(e.value->>'id' AS BIGINT), e.value->>'d', CAST(e.value->>'s' AS BIGINT),
        CAST(e.value->>'a' AS BIGINT), CAST(e.value->>'n' AS BIGINT), CAST($2 AS BIGINT), e.value->>'r', e.value->>'t',
        CAST(e.value->>'p' AS BIGINT), CAST(e.value->>'q' AS BIGINT)
     FROM {rows} WHERE true
     ON CONFLICT (record, destination) DO UPDATE SET state = excluded.state, attempts = excluded.attempts,
        not_before = excluded.not_before, changed_at = excluded.changed_at, reason = excluded.reason,
        detail = excluded.detail";

pub(super) const ENTER: &str = "INSERT INTO lanes (destination, lane, seq, record, part, barrier)
     SELECT e.value->>'d', CAST(e.value->>'l' AS BIGINT), CAST(e.value->>'q' AS BIGINT),
        CAST(e.value->>'id' AS BIGINT), CAST(e.value->>'p' AS BIGINT), CAST(e.value->>'b' AS BIGINT)
     FROM {rows} WHERE true ON CONFLICT DO NOTHING";

/// What the database knows of a delivery that is about to change.
struct Before {
    published: bool,
    size: i64,
    destinations: Vec<String>,
    state: Option<State>,
}

impl Home {
    /// Writes changes, in one durable step. The answers are in the order of `changes`.
    pub(crate) async fn settle(&self, changes: &[Change]) -> Result<Vec<Settled>> {
        transaction!(self, tx => {
            let mut books = Books::default();
            let answers = self.settle_in(tx, &mut books, changes).await?;
            self.book(tx, &books).await?;
            answers
        })
    }

    async fn settle_in(
        &self,
        tx: &mut dyn Transaction,
        books: &mut Books,
        changes: &[Change],
    ) -> Result<Vec<Settled>> {
        let mut before = self.before(tx, changes).await?;
        let mut answers = Vec::with_capacity(changes.len());
        let (mut rows, mut lanes, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
        let (mut published, mut ended, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            let id = change.message.record;
            let Some(before) = before
                .iter_mut()
                .find(|(record, destination, _)| {
                    *record == id && *destination == change.destination
                })
                .map(|(_, _, before)| before)
            else {
                // Retention never takes what is open: somebody has removed it by hand.
                answers.push(Settled::Final);
                continue;
            };
            let held = before.state.is_some_and(|state| !state.is_final());
            if before.state.is_some_and(State::is_final) {
                answers.push(Settled::Final);
                continue;
            }
            if change.stale && !change.state.is_final() {
                answers.push(Settled::Lost);
                continue;
            }
            if !before.published && !published.contains(&id) {
                books.accept(&before.destinations, before.size);
                published.push(id);
            }
            rows.push(json!({
                "id": id, "d": change.destination, "s": code(change.state), "a": change.attempts,
                "n": change.not_before, "r": change.reason, "t": change.detail,
                "p": change.part, "q": change.seq,
            }));
            if let Some(payload) = &change.message.payload {
                payloads.push(payload_row(id, payload));
            }
            if change.state.is_final() {
                books.finish(&change.destination, change.state, before.size);
                ended.push(id);
                if held || change.message.barriers > 0 {
                    left.push(json!({ "id": id, "d": change.destination }));
                }
            } else if !held {
                lanes.extend(change.lanes.iter().map(|lane| {
                    json!({
                        "d": change.destination, "l": lane, "q": change.seq, "id": id,
                        "p": change.part, "b": 0,
                    })
                }));
            }
            before.state = Some(change.state);
            answers.push(Settled::Written);
        }
        self.rows(tx, WRITE, rows, true).await?;
        self.rows(tx, ENTER, lanes, false).await?;
        tx.each(PAYLOAD, payloads).await?;
        self.leave(tx, left).await?;
        self.close(tx, &published, &ended).await?;
        Ok(answers)
    }

    async fn before(
        &self,
        tx: &mut dyn Transaction,
        changes: &[Change],
    ) -> Result<Vec<(i64, String, Before)>> {
        let keys = changes
            .iter()
            .map(|change| json!({ "id": change.message.record, "d": change.destination }))
            .collect();
        let keys = Value::Text(Json::Array(keys).to_string());
        let found = tx.query(&self.sql(LOOK), &[keys]).await?;
        Ok(found
            .iter()
            .map(|row| {
                let before = Before {
                    published: row.integer(1) == 1,
                    size: row.integer(2),
                    destinations: row.json(3),
                    state: row.optional(4).map(state),
                };
                (row.integer(0), row.text(5), before)
            })
            .collect())
    }

    /// Runs a statement over rows, if there are any; `timed` ones take the time as `$2`.
    pub(super) async fn rows(
        &self,
        tx: &mut dyn Transaction,
        sql: &str,
        rows: Vec<Json>,
        timed: bool,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut values = vec![Value::Text(Json::Array(rows).to_string())];
        if timed {
            values.push(self.now_ms().into());
        }
        tx.query(&self.sql(sql), &values).await?;
        Ok(())
    }

    /// Takes ended deliveries from their lanes, with the barriers that stand for them on other lanes.
    pub(super) async fn leave(&self, tx: &mut dyn Transaction, left: Vec<Json>) -> Result<()> {
        for table in ["lanes", "barriers"] {
            let sql = format!(
                "DELETE FROM {table} WHERE (record, destination) IN
                 (SELECT CAST(e.value->>'id' AS BIGINT), e.value->>'d' FROM {{rows}})"
            );
            self.rows(tx, &sql, left.clone(), false).await?;
        }
        Ok(())
    }

    /// Notes on the records what has changed: confirmed by having been delivered, one destination less to go.
    pub(super) async fn close(
        &self,
        tx: &mut dyn Transaction,
        published: &[i64],
        ended: &[i64],
    ) -> Result<()> {
        let published = published.iter().map(|id| json!({ "id": id })).collect();
        let sql = "UPDATE records SET published = 1
             WHERE id IN (SELECT CAST(e.value->>'id' AS BIGINT) FROM {rows})";
        self.rows(tx, sql, published, false).await?;
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        for id in ended {
            *counts.entry(*id).or_default() += 1;
        }
        let counts = counts
            .into_iter()
            .map(|(id, count)| json!({ "id": id, "n": count }))
            .collect();
        let sql = "UPDATE records SET open = records.open - x.n
             FROM (SELECT CAST(e.value->>'id' AS BIGINT) AS id, CAST(e.value->>'n' AS BIGINT) AS n FROM {rows}) x
             WHERE records.id = x.id";
        self.rows(tx, sql, counts, false).await
    }
}
