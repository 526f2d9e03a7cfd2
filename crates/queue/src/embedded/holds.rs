//! Holds: which deliveries wait for a person.

use rusqlite::{Connection, OptionalExtension, params};

use super::{ciphers::Ciphers, lane::lanes, load};
use crate::{
    error::{QueueError, Result},
    hold::{Hold, HoldId, NewHold},
};

/// All holds in force, as in the database plus the running transaction.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    hold: Hold,
    lanes: Vec<i64>,
}

/// What a hold can ask of a delivery.
pub(crate) struct Candidate<'a> {
    pub(crate) destination: &'a str,
    pub(crate) record: i64,
    pub(crate) lanes: &'a [i64],
}

// === impl Holds ===

impl Holds {
    pub(crate) fn read(conn: &Connection) -> Result<Self> {
        let mut statement = conn.prepare_cached(
            "SELECT id, destination, lanes, listener, message_type, reason, held_at FROM holds ORDER BY id",
        )?;
        let rules = statement.query_map([], |row| {
            let lanes: Vec<i64> =
                serde_json::from_str(row.get_ref(2)?.as_str()?).unwrap_or_default();
            Ok(Rule {
                hold: Hold {
                    id: HoldId(row.get(0)?),
                    destination: row.get(1)?,
                    keys: lanes.len(),
                    listener: row.get(3)?,
                    message_type: row.get(4)?,
                    reason: row.get(5)?,
                    since_ms: row.get(6)?,
                },
                lanes,
            })
        })?;
        Ok(Self {
            rules: rules.collect::<rusqlite::Result<_>>()?,
        })
    }

    /// All of them, for people.
    pub(crate) fn list(&self) -> Vec<Hold> {
        self.rules.iter().map(|rule| rule.hold.clone()).collect()
    }

    /// Whether some hold may be about this destination.
    pub(crate) fn concern(&self, destination: &str) -> bool {
        self.rules.iter().any(|rule| rule.is_for(destination))
    }

    /// Whether a delivery is to wait.
    pub(crate) fn hold(&self, conn: &Connection, candidate: &Candidate<'_>) -> Result<bool> {
        for rule in &self.rules {
            if rule.is_for(candidate.destination)
                && (rule.lanes.is_empty()
                    || rule.lanes.iter().any(|lane| candidate.lanes.contains(lane)))
                && rule.fits_record(conn, candidate.record)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds a hold.
    pub(crate) fn add(
        &mut self,
        conn: &Connection,
        ciphers: &Ciphers,
        new: &NewHold,
        now: i64,
    ) -> Result<HoldId> {
        let mut keys = new.keys.clone();
        if let Some(record) = new.keys_of {
            keys.extend(load::load(conn, ciphers, record.0)?.ordering_keys);
            if keys.is_empty() {
                return Err(QueueError::Invalid("that record has no ordering key"));
            }
        }
        if !new.is_pointed() {
            return Err(QueueError::Invalid("a hold must say what it is about"));
        }
        let lanes = serde_json::to_string(&lanes(&keys)).unwrap_or_default();
        conn.execute(
            "INSERT INTO holds (destination, lanes, listener, message_type, reason, held_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                new.destination,
                lanes,
                new.listener,
                new.message_type,
                new.reason,
                now
            ],
        )?;
        let id = conn.last_insert_rowid();
        *self = Self::read(conn)?;
        Ok(HoldId(id))
    }

    /// Takes a hold away.
    pub(crate) fn remove(&mut self, conn: &Connection, id: HoldId) -> Result<()> {
        if conn.execute("DELETE FROM holds WHERE id = ?1", [id.0])? == 0 {
            return Err(QueueError::NotFound);
        }
        *self = Self::read(conn)?;
        Ok(())
    }
}

// === impl Rule ===

impl Rule {
    fn is_for(&self, destination: &str) -> bool {
        self.hold
            .destination
            .as_deref()
            .is_none_or(|name| name == destination)
    }

    fn fits_record(&self, conn: &Connection, record: i64) -> Result<bool> {
        if self.hold.listener.is_none() && self.hold.message_type.is_none() {
            return Ok(true);
        }
        let fits = conn
            .prepare_cached(
                "SELECT (?2 IS NULL OR listener = ?2)
                    AND (?3 IS NULL OR json_extract(attributes, '$.message_type') = ?3)
                 FROM records WHERE id = ?1",
            )?
            .query_row(
                params![record, self.hold.listener, self.hold.message_type],
                |row| row.get::<_, Option<bool>>(0),
            )
            .optional()?;
        Ok(fits.flatten().unwrap_or(false))
    }
}
