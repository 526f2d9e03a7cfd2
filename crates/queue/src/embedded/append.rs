//! Writing a record, and recognising one that was written before.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    books::Books,
    checksum::Parts,
    ciphers::Ciphers,
    load,
    stored::{Plain, Stored},
};
use crate::{
    error::{QueueError, Result},
    options::{Dedup, OnConflict},
    record::{Appended, NewRecord, RecordId},
};

/// A record with all that can be computed outside the writer's thread.
pub(crate) struct Prepared {
    record: NewRecord,
    keys: String,
    attributes: String,
    checksum: i64,
}

/// From which record on a dedup key counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) after: i64,
    pub(crate) on_conflict: OnConflict,
}

/// Writes one record, unless it is a duplicate or refused. The caller holds the transaction.
pub(crate) fn append(
    conn: &Connection,
    ciphers: &Ciphers,
    books: &mut Books,
    window: Window,
    now: i64,
    prepared: &Prepared,
) -> Result<Appended> {
    let record = &prepared.record;
    let tag = content_tag(&record.content_hash);
    let mut conflict = None;
    // Almost every record has a key of its own, so that is asked first.
    if let Some(key) = &record.dedup_key
        && let Some(other) = same_key(conn, window.after, key)?
    {
        if let Some(of) = same_content(conn, window.after, key, tag, &record.content_hash)? {
            // A stored ACK that no longer fits its checksum is not given out again.
            let ack = load::load(conn, ciphers, of)
                .ok()
                .and_then(|loaded| loaded.ack);
            return Ok(Appended::Duplicate {
                of: RecordId(of),
                ack,
            });
        }
        conflict = Some(other);
    }
    if let (Some(of), OnConflict::Reject) = (conflict, window.on_conflict) {
        return Ok(Appended::Conflict {
            of: RecordId(of),
            stored: None,
        });
    }
    let audience = books.audience(conn, &record.destinations)?;
    let size = i64::try_from(record.payload.len()).unwrap_or(i64::MAX);
    let id = books.next_record();
    let stored = prepared.stored(ciphers, id)?;
    conn.prepare_cached(
        "INSERT INTO records (id, stored_at, received_at, audience, size, checksum, listener, route, keys,
            attributes, content_tag, content_hash, dedup_key, conflict_of, urgent, edit_of, cipher, sealed_keys,
            ack, payload)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
    )?
    .execute(params![
        id,
        now,
        record.received_at_ms,
        audience,
        size,
        stored.checksum,
        record.listener,
        record.route,
        stored.keys,
        prepared.attributes,
        tag,
        record.content_hash.as_slice(),
        record.dedup_key,
        conflict,
        record.urgent,
        record.edit_of.map(|of| of.0),
        stored.cipher,
        stored.sealed_keys,
        stored.ack,
        stored.payload,
    ])?;
    books.accept(audience, size);
    Ok(match conflict {
        Some(of) => Appended::Conflict {
            of: RecordId(of),
            stored: Some(RecordId(id)),
        },
        None => Appended::Stored(RecordId(id)),
    })
}

/// The last record that no dedup window reaches. Times never decrease with the record number, so the edge
/// of the time window is found by bisection, without an index.
pub(crate) fn window_edge(conn: &Connection, dedup: &Dedup, last: i64, now: i64) -> Result<i64> {
    let window = i64::try_from(dedup.window.as_millis()).unwrap_or(i64::MAX);
    let oldest_time = now.saturating_sub(window);
    let by_count = last
        .saturating_sub(i64::try_from(dedup.count).unwrap_or(i64::MAX))
        .max(0);
    let mut statement =
        conn.prepare_cached("SELECT id, stored_at FROM records WHERE id > ?1 ORDER BY id LIMIT 1")?;
    let (mut low, mut high) = (by_count, last);
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> = statement
            .query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((id, stored_at)) if id <= high && stored_at < oldest_time => low = id,
            _ => high = middle,
        }
    }
    Ok(low)
}

fn same_content(
    conn: &Connection,
    after: i64,
    key: &str,
    tag: i64,
    hash: &[u8; 32],
) -> Result<Option<i64>> {
    let mut statement = conn.prepare_cached(
        "SELECT id, content_hash FROM records INDEXED BY records_dedup
         WHERE dedup_key = ?1 AND content_tag = ?2 AND id > ?3 ORDER BY id",
    )?;
    let mut rows = statement.query(params![key, tag, after])?;
    while let Some(row) = rows.next()? {
        if row.get_ref(1)?.as_blob().is_ok_and(|stored| stored == hash) {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

fn same_key(conn: &Connection, after: i64, key: &str) -> Result<Option<i64>> {
    Ok(conn
        .prepare_cached("SELECT id FROM records INDEXED BY records_dedup WHERE dedup_key = ?1 AND id > ?2 LIMIT 1")?
        .query_row(params![key, after], |row| row.get(0))
        .optional()?)
}

/// Eight bytes of the hash for the index; all of it goes in, in case its first bytes say little.
fn content_tag(hash: &[u8; 32]) -> i64 {
    let (words, _) = hash.as_chunks::<8>();
    words
        .iter()
        .fold(0, |tag, word| tag ^ i64::from_le_bytes(*word))
}

// === impl Prepared ===

impl Prepared {
    /// Checks a record and computes what is stored with it.
    pub(crate) fn new(record: NewRecord, max_payload: usize) -> Result<Self> {
        if record.payload.len() > max_payload {
            return Err(QueueError::Invalid(
                "payload is longer than this queue takes",
            ));
        }
        if record.destinations.iter().any(String::is_empty) {
            return Err(QueueError::Invalid("a destination has no name"));
        }
        let unwritable = |_| QueueError::Invalid("keys or attributes cannot be written as JSON");
        let keys = serde_json::to_string(&record.ordering_keys).map_err(unwritable)?;
        let attributes = serde_json::to_string(&record.attributes).map_err(unwritable)?;
        let checksum = Parts {
            payload: &record.payload,
            listener: &record.listener,
            route: &record.route,
            keys: &keys,
            attributes: &attributes,
            ack: record.ack.as_ref().map(Bytes::as_ref),
        }
        .checksum();
        Ok(Self {
            record,
            keys,
            attributes,
            checksum,
        })
    }

    /// As it goes into its row: encrypted where there is a key for it.
    fn stored(&self, ciphers: &Ciphers, id: i64) -> Result<Stored<'_>> {
        let plain = Plain {
            payload: &self.record.payload,
            ack: self.record.ack.as_deref(),
            ordering_keys: &self.record.ordering_keys,
            keys: &self.keys,
            listener: &self.record.listener,
            route: &self.record.route,
            attributes: &self.attributes,
        };
        if ciphers.current().is_some() {
            Stored::sealed(ciphers, id, &plain)
        } else {
            Ok(Stored::plain(&plain, self.checksum))
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.record.payload.len()
    }
}
