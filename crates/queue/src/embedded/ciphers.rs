//! Which key something is encrypted with: the keys at hand, and the numbers by which records name them.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use crate::{
    encryption::EncryptionKey,
    error::{QueueError, Result},
};

/// What of a record is sealed; part of what is authenticated, so that parts cannot change places.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Payload,
    Ack,
    Keys,
    /// Detail of an outcome at a destination.
    Detail(i64),
}

/// Keys by number.
#[derive(Debug, Default)]
pub(crate) struct Ciphers {
    keys: HashMap<i64, EncryptionKey>,
    /// What is stored from now on is encrypted with this one.
    current: Option<i64>,
}

// === impl Ciphers ===

impl Ciphers {
    /// For the owner: every key that is needed must be at hand, and the first one gets a number.
    ///
    /// # Errors
    /// `MissingKey` when something may be encrypted with a key that is not at hand.
    pub(crate) fn for_writer(conn: &Connection, ring: &[EncryptionKey]) -> Result<Self> {
        for (_, name) in named(conn)? {
            if !ring.iter().any(|key| key.name() == name) {
                return Err(QueueError::MissingKey { name });
            }
        }
        let mut current = None;
        if let Some(first) = ring.first() {
            conn.execute(
                "INSERT OR IGNORE INTO ciphers (key) VALUES (?1)",
                [first.name()],
            )?;
            // What is overwritten or removed must not stay readable in free pages.
            conn.execute_batch("PRAGMA secure_delete = ON")?;
            current = conn
                .query_row(
                    "SELECT id FROM ciphers WHERE key = ?1",
                    [first.name()],
                    |row| row.get(0),
                )
                .optional()?;
        }
        Ok(Self {
            current,
            ..Self::for_reader(conn, ring)?
        })
    }

    /// For whoever only reads: what needs another key cannot be read.
    pub(crate) fn for_reader(conn: &Connection, ring: &[EncryptionKey]) -> Result<Self> {
        let keys = named(conn)?
            .into_iter()
            .filter_map(|(id, name)| {
                let key = ring.iter().find(|key| key.name() == name)?;
                Some((id, key.clone()))
            })
            .collect();
        Ok(Self {
            keys,
            current: None,
        })
    }

    /// Whether the key of that number is at hand.
    pub(crate) fn has(&self, id: i64) -> bool {
        self.keys.contains_key(&id)
    }

    /// The number of the key that new records get; `None`: they are not encrypted.
    pub(crate) fn current(&self) -> Option<i64> {
        self.current
    }

    /// Seals with the current key; `None` without one.
    pub(crate) fn seal(&self, record: i64, part: Part, plain: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some((id, key)) = self.current.and_then(|id| Some((id, self.keys.get(&id)?))) else {
            return Ok(None);
        };
        key.seal(plain, &context(id, record, part)).map(Some)
    }

    /// Opens what was sealed with key `id`; `None`: it does not fit.
    pub(crate) fn open(&self, id: i64, record: i64, part: Part, sealed: &[u8]) -> Option<Vec<u8>> {
        self.keys.get(&id)?.open(sealed, &context(id, record, part))
    }

    /// The detail of an outcome as it is stored: text, or bytes that begin with the number of their key.
    pub(crate) fn seal_detail(
        &self,
        destination: i64,
        record: i64,
        detail: Option<&str>,
    ) -> Result<rusqlite::types::Value> {
        use rusqlite::types::Value;
        let Some(detail) = detail else {
            return Ok(Value::Null);
        };
        let sealed = self.seal(record, Part::Detail(destination), detail.as_bytes())?;
        Ok(match (sealed, self.current) {
            (Some(sealed), Some(id)) => {
                let mut stored = id.to_le_bytes().to_vec();
                stored.extend(sealed);
                Value::Blob(stored)
            }
            _ => Value::Text(detail.to_owned()),
        })
    }

    /// The detail of an outcome; what cannot be opened says so instead.
    pub(crate) fn open_detail(
        &self,
        destination: i64,
        record: i64,
        stored: rusqlite::types::ValueRef<'_>,
    ) -> Option<String> {
        use rusqlite::types::ValueRef;
        match stored {
            ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => {
                let opened = bytes.split_first_chunk::<8>().and_then(|(id, sealed)| {
                    self.open(
                        i64::from_le_bytes(*id),
                        record,
                        Part::Detail(destination),
                        sealed,
                    )
                });
                Some(opened.map_or_else(
                    || "(damaged)".to_owned(),
                    |bytes| String::from_utf8_lossy(&bytes).into_owned(),
                ))
            }
            _ => None,
        }
    }
}

fn named(conn: &Connection) -> Result<Vec<(i64, String)>> {
    let mut statement = conn.prepare("SELECT id, key FROM ciphers ORDER BY id")?;
    let named = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(named.collect::<rusqlite::Result<_>>()?)
}

/// What is authenticated beside the sealed bytes: their key, their record and what they are.
fn context(cipher: i64, record: i64, part: Part) -> Vec<u8> {
    let (kind, destination) = match part {
        Part::Payload => (1_u8, 0),
        Part::Ack => (2, 0),
        Part::Keys => (3, 0),
        Part::Detail(destination) => (4, destination),
    };
    let mut context = Vec::with_capacity(25);
    for number in [cipher, record, destination] {
        context.extend(number.to_le_bytes());
    }
    context.push(kind);
    context
}
