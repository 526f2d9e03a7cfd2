//! Reading one whole record and verifying it.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode};

use super::checksum::Parts;
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
    /// The storage failed.
    Storage(QueueError),
}

/// Reads and verifies a record.
pub(crate) fn load(conn: &Connection, record: i64) -> Result<Loaded, LoadError> {
    let mut statement = conn
        .prepare_cached(
            "SELECT r.checksum, r.listener, r.route, r.keys, r.attributes, r.received_at, r.replay_of,
                    coalesce(r.payload, p.payload), coalesce(r.ack, p.ack)
             FROM records r LEFT JOIN payloads p ON p.id = r.id WHERE r.id = ?1",
        )
        .map_err(classify)?;
    let mut rows = statement.query([record]).map_err(classify)?;
    let Some(row) = rows.next().map_err(classify)? else {
        return Err(LoadError::Missing);
    };
    let read = || -> rusqlite::Result<(Loaded, bool)> {
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
        let (Ok(ordering_keys), Ok(attributes)) =
            (serde_json::from_str(keys), serde_json::from_str(attributes))
        else {
            return Err(rusqlite::Error::InvalidQuery);
        };
        let loaded = Loaded {
            payload: Bytes::copy_from_slice(payload),
            ack: ack.map(Bytes::copy_from_slice),
            listener: listener.to_owned(),
            route: route.to_owned(),
            ordering_keys,
            attributes,
            received_at_ms: row.get(5)?,
            replay_of: row.get::<_, Option<i64>>(6)?.map(RecordId),
        };
        Ok((loaded, fits))
    };
    match read() {
        Ok((loaded, true)) => Ok(loaded),
        Ok((_, false)) => Err(LoadError::Damaged),
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
            LoadError::Storage(error) => error,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the record does not fit its checksum")]
struct DamagedRecord;
