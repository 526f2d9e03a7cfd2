//! Encrypting what is stored already: copies of records, and everything after a change of keys.

use rusqlite::{Connection, params};

use super::{
    ciphers::Ciphers,
    load::{LoadError, load},
    stored::{Plain, Stored},
};
use crate::error::{QueueError, Result};

/// Rows rewritten in one transaction.
const STEP: i64 = 128;

/// What one step did.
#[derive(Debug)]
pub(crate) struct Step {
    /// Records that were rewritten.
    pub(crate) records: u64,
    /// Where to go on; `None`: everything has the current key.
    pub(crate) next: Option<i64>,
}

/// Writes the content of record `from`, encrypted anew, into the row of record `to`. False when it is damaged:
/// then nothing is changed.
pub(crate) fn reseal(conn: &Connection, ciphers: &Ciphers, from: i64, to: i64) -> Result<bool> {
    let loaded = match load(conn, ciphers, from) {
        Ok(loaded) => loaded,
        Err(LoadError::Damaged | LoadError::Missing) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let unwritable = |_| QueueError::Invalid("keys or attributes cannot be written as JSON");
    let keys = serde_json::to_string(&loaded.ordering_keys).map_err(unwritable)?;
    let attributes = serde_json::to_string(&loaded.attributes).map_err(unwritable)?;
    let plain = Plain {
        payload: &loaded.payload,
        ack: loaded.ack.as_deref(),
        ordering_keys: &loaded.ordering_keys,
        keys: &keys,
        listener: &loaded.listener,
        route: &loaded.route,
        attributes: &attributes,
    };
    let stored = Stored::sealed(ciphers, to, &plain)?;
    conn.prepare_cached(
        "UPDATE records SET cipher = ?2, keys = ?3, sealed_keys = ?4, attributes = ?5, ack = ?6, payload = ?7,
            checksum = ?8 WHERE id = ?1",
    )?
    .execute(params![
        to,
        stored.cipher,
        stored.keys,
        stored.sealed_keys,
        attributes,
        stored.ack,
        stored.payload,
        stored.checksum
    ])?;
    if from == to {
        conn.prepare_cached("DELETE FROM payloads WHERE id = ?1")?
            .execute([to])?;
    }
    Ok(true)
}

/// Rewrites the next rows that are not encrypted with the current key. A key stays needed as long as a damaged
/// record has it.
pub(crate) fn step(conn: &Connection, ciphers: &Ciphers, after: i64) -> Result<Step> {
    let Some(current) = ciphers.current() else {
        return Err(QueueError::Invalid(
            "there is no encryption key: name one in queue.encryption.keys",
        ));
    };
    let mut statement = conn.prepare_cached(
        "SELECT id FROM records WHERE id > ?1 AND cipher IS NOT ?2 ORDER BY id LIMIT ?3",
    )?;
    let ids: Vec<i64> = statement
        .query_map([after, current, STEP], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut step = Step {
        records: 0,
        next: ids.last().copied(),
    };
    for id in ids {
        step.records += u64::from(reseal(conn, ciphers, id, id)?);
    }
    if step.next.is_none() && details(conn, ciphers, current)? {
        step.next = Some(after);
    }
    if step.next.is_none() {
        conn.execute(
            "DELETE FROM ciphers WHERE id <> ?1 AND NOT EXISTS (SELECT 1 FROM records WHERE cipher = ciphers.id)",
            [current],
        )?;
    }
    Ok(step)
}

/// Some details of outcomes; whether there were any.
fn details(conn: &Connection, ciphers: &Ciphers, current: i64) -> Result<bool> {
    let prefix = current.to_le_bytes();
    let mut statement = conn.prepare_cached(
        "SELECT destination, record, detail FROM deliveries
         WHERE detail IS NOT NULL AND (typeof(detail) = 'text' OR substr(detail, 1, 8) <> ?1) LIMIT ?2",
    )?;
    let found = statement
        .query_map(params![prefix.as_slice(), STEP], |row| {
            let (destination, record) = (row.get(0)?, row.get(1)?);
            let detail = ciphers.open_detail(destination, record, row.get_ref(2)?);
            Ok((destination, record, detail))
        })?
        .collect::<rusqlite::Result<Vec<(i64, i64, Option<String>)>>>()?;
    for (destination, record, detail) in &found {
        let sealed = ciphers.seal_detail(*destination, *record, detail.as_deref())?;
        conn.prepare_cached(
            "UPDATE deliveries SET detail = ?3 WHERE destination = ?1 AND record = ?2",
        )?
        .execute(params![destination, record, sealed])?;
    }
    Ok(!found.is_empty())
}
