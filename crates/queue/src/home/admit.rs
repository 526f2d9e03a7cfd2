//! Admission: a record gets its number, or is recognised as one that is known.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::{
    Books, Home, Transaction, Value,
    rows::{hex, storable, unhex},
    transaction,
};
use crate::{
    error::{QueueError, Result},
    options::{Dedup, OnConflict},
    record::NewRecord,
};

/// A record that wants to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) record: NewRecord,
    pub(crate) replay_of: Option<i64>,
}

/// What the home says to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It has this number now; publish it. `conflict_of` has the same key and other content.
    New { id: i64, conflict_of: Option<i64> },
    /// It has a number, but nobody knows whether the broker has it: publish it again.
    Again { id: i64, ack: Option<Bytes> },
    /// The broker has it, or had it.
    Duplicate { of: i64, ack: Option<Bytes> },
    /// Refused: the same key, other content.
    Refused { of: i64 },
}

/// A record that the broker has confirmed for all its destinations.
#[derive(Clone, Debug)]
pub(crate) struct Confirmed {
    pub(crate) id: i64,
    pub(crate) destinations: Vec<String>,
    pub(crate) size: i64,
}

/// A record with the dedup key of another.
struct Known {
    content: String,
    id: i64,
    ack: Option<String>,
    published: bool,
}

const FIND: &str = "SELECT r.dedup_key, r.content, r.id, r.ack, r.published, r.stored_at
     FROM {rows} JOIN records r ON r.dedup_key = e.value->>'k' ORDER BY r.id";

const INSERT: &str = "INSERT INTO records (id, stored_at, received_at, published, open, size, listener, route, keys,
        attributes, message_type, destinations, dedup_key, content, ack, conflict_of, replay_of, edit_of, urgent)
     SELECT CAST(e.value->>'id' AS BIGINT), CAST($2 AS BIGINT), CAST(e.value->>'at' AS BIGINT), CAST(e.value->>'p' AS BIGINT),
        CAST(e.value->>'o' AS BIGINT), CAST(e.value->>'s' AS BIGINT), e.value->>'l', e.value->>'r', e.value->>'k',
        e.value->>'a', e.value->>'t', e.value->>'d', e.value->>'u', e.value->>'c', e.value->>'ack',
        CAST(e.value->>'of' AS BIGINT), CAST(e.value->>'re' AS BIGINT),
        CAST(e.value->>'ed' AS BIGINT), CAST(e.value->>'ur' AS BIGINT)
     FROM {rows} WHERE true ON CONFLICT DO NOTHING RETURNING id";

impl Home {
    /// Gives numbers to what is new, in one durable step; `confirmed` is booked along with it. The answers are in
    /// the order of `admissions`.
    pub(crate) async fn admit(
        &self,
        admissions: &[Admission],
        confirmed: &[Confirmed],
        dedup: &Dedup,
    ) -> Result<Vec<Admitted>> {
        transaction!(self, tx => {
            let mut books = Books::default();
            self.confirm_in(tx, &mut books, confirmed).await?;
            let answers = self.admit_in(tx, &mut books, admissions, dedup).await?;
            self.book(tx, &books).await?;
            answers
        })
    }

    /// Books what the broker has confirmed.
    pub(crate) async fn confirm(&self, confirmed: &[Confirmed]) -> Result<()> {
        if confirmed.is_empty() {
            return Ok(());
        }
        transaction!(self, tx => {
            let mut books = Books::default();
            self.confirm_in(tx, &mut books, confirmed).await?;
            self.book(tx, &books).await?;
        })
    }

    async fn confirm_in(
        &self,
        tx: &mut dyn Transaction,
        books: &mut Books,
        confirmed: &[Confirmed],
    ) -> Result<()> {
        if confirmed.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = confirmed.iter().map(|record| record.id).collect();
        let sql = self.sql(
            "UPDATE records SET published = 1 WHERE published = 0
             AND id IN (SELECT CAST(e.value->>'id' AS BIGINT) FROM {rows}) RETURNING id",
        );
        // Whoever has settled one of them in the meantime has booked it as well.
        let now: Vec<i64> = tx
            .query(&sql, &[ids_json(&ids)])
            .await?
            .iter()
            .map(|row| row.integer(0))
            .collect();
        for record in confirmed.iter().filter(|record| now.contains(&record.id)) {
            books.accept(&record.destinations, record.size);
        }
        Ok(())
    }

    async fn admit_in(
        &self,
        tx: &mut dyn Transaction,
        books: &mut Books,
        admissions: &[Admission],
        dedup: &Dedup,
    ) -> Result<Vec<Admitted>> {
        if admissions.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now_ms();
        let mut ids = self.database.numbers(admissions.len()).await?.into_iter();
        let mut known = self.known(tx, admissions, dedup, now).await?;
        let mut answers = Vec::with_capacity(admissions.len());
        let mut rows: Vec<(String, Json)> = Vec::new();
        let mut payloads = Vec::new();
        for admission in admissions {
            let record = &admission.record;
            let content = hex(&record.content_hash);
            let mut conflict_of = None;
            if let Some(key) = &record.dedup_key {
                let same_key = known.entry(storable(key)).or_default();
                if let Some(same) = same_key.iter().find(|known| known.content == content) {
                    let ack = same.ack.as_deref().and_then(unhex).map(Bytes::from);
                    answers.push(if same.published {
                        Admitted::Duplicate { of: same.id, ack }
                    } else {
                        Admitted::Again { id: same.id, ack }
                    });
                    continue;
                }
                conflict_of = same_key.first().map(|known| known.id);
            }
            if let (Some(of), OnConflict::Reject) = (conflict_of, dedup.on_conflict) {
                answers.push(Admitted::Refused { of });
                continue;
            }
            let id = ids.next().ok_or(QueueError::Stopped)?;
            let ack = record.ack.as_ref().map(|ack| hex(ack));
            let unrouted = record.destinations.is_empty();
            if let Some(key) = &record.dedup_key {
                known.entry(storable(key)).or_default().push(Known {
                    content: content.clone(),
                    id,
                    ack: ack.clone(),
                    published: unrouted,
                });
            }
            if unrouted {
                // No broker will carry it, so its bytes are kept here at once.
                books.accept(&[], 0);
                payloads.push(payload_row(id, &record.payload));
            }
            let order = storable(record.dedup_key.as_deref().unwrap_or_default());
            rows.push((order, row(admission, id, &content, ack, conflict_of)));
            answers.push(Admitted::New { id, conflict_of });
        }
        // By key, so that two nodes that get the same resends never wait for each other in a circle.
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        let wanted = rows.len();
        if wanted > 0 {
            let rows = Json::Array(rows.into_iter().map(|(_, row)| row).collect());
            let sql = self.sql(INSERT);
            let made = tx
                .query(&sql, &[Value::Text(rows.to_string()), now.into()])
                .await?;
            if made.len() < wanted {
                // Another node was faster with one of the keys: look again.
                return Err(QueueError::Entangled);
            }
        }
        tx.each(PAYLOAD, payloads).await?;
        Ok(answers)
    }

    /// Records by dedup key, as far as the window reaches; keys of older ones are given free.
    async fn known(
        &self,
        tx: &mut dyn Transaction,
        admissions: &[Admission],
        dedup: &Dedup,
        now: i64,
    ) -> Result<HashMap<String, Vec<Known>>> {
        let mut keys: Vec<String> = admissions
            .iter()
            .filter_map(|admission| admission.record.dedup_key.as_deref().map(storable))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let mut known: HashMap<String, Vec<Known>> = HashMap::new();
        if keys.is_empty() {
            return Ok(known);
        }
        let keys = Json::Array(keys.into_iter().map(|key| json!({ "k": key })).collect());
        let found = tx
            .query(&self.sql(FIND), &[Value::Text(keys.to_string())])
            .await?;
        if found.is_empty() {
            return Ok(known);
        }
        let window = i64::try_from(dedup.window.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.saturating_sub(window);
        let last = tx
            .query("SELECT coalesce(max(id), 0) FROM records", &[])
            .await?
            .first()
            .map_or(0, |row| row.integer(0));
        let after = last.saturating_sub(i64::try_from(dedup.count).unwrap_or(i64::MAX));
        let mut outside = Vec::new();
        for row in found {
            if row.integer(5) < oldest || row.integer(2) <= after {
                outside.push(row.integer(2));
                continue;
            }
            known.entry(row.text(0)).or_default().push(Known {
                content: row.text(1),
                id: row.integer(2),
                ack: row.optional_text(3),
                published: row.integer(4) == 1,
            });
        }
        if !outside.is_empty() {
            let sql = self.sql(
                "UPDATE records SET dedup_key = NULL
                 WHERE id IN (SELECT CAST(e.value->>'id' AS BIGINT) FROM {rows})",
            );
            tx.query(&sql, &[ids_json(&outside)]).await?;
        }
        Ok(known)
    }
}

/// Keeps the bytes of a record, once.
pub(super) const PAYLOAD: &str =
    "INSERT INTO payloads (record, checksum, payload) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

pub(super) fn payload_row(id: i64, payload: &Bytes) -> Vec<Value> {
    vec![
        id.into(),
        i64::from(crc32c::crc32c(payload)).into(),
        Value::Blob(payload.to_vec()),
    ]
}

/// Numbers as the rows of a statement.
pub(super) fn ids_json(ids: &[i64]) -> Value {
    let rows = ids.iter().map(|id| json!({ "id": id })).collect();
    Value::Text(Json::Array(rows).to_string())
}

fn row(
    admission: &Admission,
    id: i64,
    content: &str,
    ack: Option<String>,
    conflict_of: Option<i64>,
) -> Json {
    let record = &admission.record;
    json!({
        "id": id,
        "at": record.received_at_ms,
        "p": i64::from(record.destinations.is_empty()),
        "o": record.destinations.len(),
        "s": record.payload.len(),
        "l": storable(&record.listener),
        "r": storable(&record.route),
        "k": text(&record.ordering_keys),
        "a": text(&record.attributes),
        "t": record.attributes.get("message_type").map(|text| storable(text)),
        "d": text(&record.destinations),
        "u": record.dedup_key.as_deref().map(storable),
        "c": content,
        "ack": ack,
        "of": conflict_of,
        "re": admission.replay_of,
        "ed": record.edit_of.map(|id| id.0),
        "ur": i64::from(record.urgent),
    })
}

/// Lists and maps of texts as JSON text; these can always be written.
fn text(value: &impl serde::Serialize) -> String {
    storable(&serde_json::to_string(value).unwrap_or_default())
}
