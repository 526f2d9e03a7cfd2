//! Reading one whole record and verifying it.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode};

use super::{
    checksum::Parts,
    ciphers::{Ciphers, Part},
};
use crate::{error::QueueError, record::RecordId};

/// A record that fits its checksum.
pub(crate) struct Loaded {
    pub(crate) payload: Bytes,
    pub(crate) ack: Option<Bytes>,
    pub(crate) listener: String,
    pub(crate) route: String,
    pub(crate) ordering_keys: Vec<String>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) received_at_ms: i64,
    pub(crate) replay_of: Option<RecordId>,
}

/// Why a record cannot be had.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// It is damaged: this record only, as far as is known.
    Damaged,
    /// It is not there.
    Missing,
    /// It is encrypted with a key that is not at hand. It is whole, as far as is known.
    NoKey,
    /// The storage failed.
    Storage(QueueError),
}

/// Reads, verifies and decrypts a record.
pub(crate) fn load(conn: &Connection, ciphers: &Ciphers, record: i64) -> Result<Loaded, LoadError> {
    let mut statement = conn
        .prepare_cached(
            "SELECT r.checksum, r.listener, r.route, r.keys, r.attributes, r.received_at, r.replay_of,
                    coalesce(r.payload, p.payload), coalesce(r.ack, p.ack), r.cipher, r.sealed_keys
             FROM records r LEFT JOIN payloads p ON p.id = r.id WHERE r.id = ?1",
        )
        .map_err(classify)?;
    let mut rows = statement.query([record]).map_err(classify)?;
    let Some(row) = rows.next().map_err(classify)? else {
        return Err(LoadError::Missing);
    };
    let cipher: Option<i64> = row.get(9).map_err(classify)?;
    if cipher.is_some_and(|id| !ciphers.has(id)) {
        return Err(LoadError::NoKey);
    }
    let read = || -> rusqlite::Result<Option<Loaded>> {
        let listener = row.get_ref(1)?.as_str()?;
        let route = row.get_ref(2)?.as_str()?;
        let keys = row.get_ref(3)?.as_str()?;
        let attributes = row.get_ref(4)?.as_str()?;
        let payload = row.get_ref(7)?.as_blob()?;
        let ack = row.get_ref(8)?.as_blob_or_null()?;
        let fits = Parts {
            payload,
            listener,
            route,
            keys,
            attributes,
            ack,
        }
        .checksum()
            == row.get::<_, i64>(0)?;
        if !fits {
            return Ok(None);
        }
        let open = |part, bytes: &[u8]| match cipher {
            Some(id) => ciphers.open(id, record, part, bytes).map(Bytes::from),
            None => Some(Bytes::copy_from_slice(bytes)),
        };
        let keys = match row.get_ref(10)?.as_blob_or_null()? {
            Some(sealed) => open(Part::Keys, sealed),
            None => Some(Bytes::copy_from_slice(keys.as_bytes())),
        };
        let ack = match ack {
            Some(ack) => open(Part::Ack, ack).map(Some),
            None => Some(None),
        };
        let (Some(payload), Some(ack), Some(keys)) = (open(Part::Payload, payload), ack, keys)
        else {
            return Ok(None);
        };
        let (Ok(ordering_keys), Ok(attributes)) = (
            serde_json::from_slice(&keys),
            serde_json::from_str(attributes),
        ) else {
            return Ok(None);
        };
        Ok(Some(Loaded {
            payload,
            ack,
            listener: listener.to_owned(),
            route: route.to_owned(),
            ordering_keys,
            attributes,
            received_at_ms: row.get(5)?,
            replay_of: row.get::<_, Option<i64>>(6)?.map(RecordId),
        }))
    };
    match read() {
        Ok(Some(loaded)) => Ok(loaded),
        Ok(None) => Err(LoadError::Damaged),
        Err(error) => Err(classify(error)),
    }
}

/// Failures of the machine are reported as such; whatever else keeps a row from being read is damage to it.
fn classify(error: rusqlite::Error) -> LoadError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) | None => LoadError::Damaged,
        Some(_) => LoadError::Storage(error.into()),
    }
}

// === impl LoadError ===

impl From<LoadError> for QueueError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Damaged => Self::Corrupt(std::sync::Arc::new(DamagedRecord)),
            LoadError::Missing => Self::NotFound,
            LoadError::NoKey => {
                Self::Invalid("the record is encrypted, and its key is not among those given")
            }
            LoadError::Storage(error) => error,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the record does not fit its checksum")]
struct DamagedRecord;
