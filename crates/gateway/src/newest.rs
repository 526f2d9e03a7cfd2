//! Older messages never overwrite newer data: what the newest message said of a resource is remembered, per destination.
//!
//! The rule. A resource that a message would replace is left alone when what was last delivered for it is certainly newer:
//! by the time its content was released (`issued`, OBR-22) where both have one, else by the time of the event (EVN-2, or
//! MSH-7 of a message without EVN). Equal times, and times that are too coarse to tell, are not older: then the order of
//! arrival decides, as always. What is only made if it is not there needs no such rule.
//!
//! Kept beside the queue in `newest.db`: 16 bytes of a hash of destination and resource, and two times. It is written before
//! the delivery is settled, so what a crash can lose comes again. One thread writes, many deliveries in one commit.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

mod source_time;

pub(crate) use source_time::{SourceTime, event_time, release_time};

/// How long a resource that nobody writes is remembered. An older message that comes later than this is not recognised.
const REMEMBERED: Duration = Duration::from_secs(400 * 24 * 3600);
/// Deliveries in one commit at most.
const BATCH: usize = 256;

/// Which resource at which destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ResourceKey([u8; 16]);

/// Why the memory cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open newest.db")]
pub struct OpenError(#[from] rusqlite::Error);

/// The memory. Share it in an `Arc`.
pub struct Newest {
    reading: Mutex<Connection>,
    writing: mpsc::Sender<Job>,
}

struct Job {
    times: Vec<(ResourceKey, SourceTime)>,
    done: oneshot::Sender<Result<(), String>>,
}

// === impl ResourceKey ===

impl ResourceKey {
    pub(crate) fn new(destination: &str, type_name: &str, id: uuid::Uuid) -> Self {
        let text = [destination, type_name].join("\u{1f}");
        let hash = crate::receive::sha256(&[text.as_bytes(), id.as_bytes()].concat());
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(hash) {
            *to = from;
        }
        Self(key)
    }
}

// === impl Newest ===

impl Newest {
    /// Opens or makes `newest.db` in a folder.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(folder: &Path) -> Result<Arc<Self>, OpenError> {
        let path = folder.join("newest.db");
        let connect = || -> Result<Connection, rusqlite::Error> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "normal")?;
            Ok(connection)
        };
        let mut writer = connect()?;
        writer.execute_batch(
            "CREATE TABLE IF NOT EXISTS newest (
                 key BLOB PRIMARY KEY, event INTEGER NOT NULL, event_zoned INTEGER NOT NULL,
                 issued INTEGER, seen INTEGER NOT NULL
             ) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS forced (record INTEGER PRIMARY KEY);
             PRAGMA user_version = 1;",
        )?;
        let now = crate::receive::unix_millis(std::time::SystemTime::now());
        let limit = now - i64::try_from(REMEMBERED.as_millis()).unwrap_or(i64::MAX);
        writer.execute("DELETE FROM newest WHERE seen < ?1", [limit])?;
        let reading = Mutex::new(connect()?);
        let (writing, jobs) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("newest".to_owned())
            .spawn(move || write_all(&mut writer, &jobs))
            .map_err(|_| rusqlite::Error::InvalidQuery)?;
        Ok(Arc::new(Self { reading, writing }))
    }

    /// What was last delivered for a resource; `None` for nothing, and when the memory cannot be read: a message is then
    /// delivered as if nothing were known.
    pub(crate) fn get(&self, key: ResourceKey) -> Option<SourceTime> {
        let connection = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection
            .prepare_cached("SELECT event, event_zoned, issued FROM newest WHERE key = ?1")
            .ok()?;
        statement
            .query_row([key.0], |row| {
                Ok(SourceTime::stored(row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
            .ok()?
    }

    /// Whether the record (or those that replay it) may overwrite newer data: a person said so.
    pub(crate) fn is_forced(&self, record: queue::RecordId) -> bool {
        let connection = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let found = connection
            .prepare_cached("SELECT 1 FROM forced WHERE record = ?1")
            .and_then(|mut statement| statement.exists([record.0]));
        found.unwrap_or(false)
    }

    /// From now on these records may overwrite newer data, or may no longer.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn force(&self, records: &[queue::RecordId], forced: bool) -> Result<(), OpenError> {
        let mut connection = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        {
            let mut statement = transaction.prepare_cached(if forced {
                "INSERT OR IGNORE INTO forced (record) VALUES (?1)"
            } else {
                "DELETE FROM forced WHERE record = ?1"
            })?;
            for record in records {
                statement.execute([record.0])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Remembers what was delivered; a newer time stays. Returns when it is written.
    ///
    /// # Errors
    /// Why it could not be written, in words fit for a log.
    pub(crate) async fn note(&self, times: Vec<(ResourceKey, SourceTime)>) -> Result<(), String> {
        if times.is_empty() {
            return Ok(());
        }
        let (done, written) = oneshot::channel();
        let gone = || "the writer has ended".to_owned();
        self.writing.send(Job { times, done }).map_err(|_| gone())?;
        written.await.map_err(|_| gone())?
    }
}

/// Writes until nobody is left who could ask.
fn write_all(connection: &mut Connection, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter().take(BATCH - 1));
        let written = write(connection, &batch).map_err(|error| error.to_string());
        for job in batch {
            // Who no longer waits has been cut off; the delivery comes again.
            let _ = job.done.send(written.clone());
        }
    }
}

fn write(connection: &mut Connection, batch: &[Job]) -> Result<(), rusqlite::Error> {
    let now = crate::receive::unix_millis(std::time::SystemTime::now());
    let transaction = connection.transaction()?;
    {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO newest (key, event, event_zoned, issued, seen) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (key) DO UPDATE SET
                 event_zoned = iif(excluded.event >= event, excluded.event_zoned, event_zoned),
                 event = max(event, excluded.event),
                 issued = max(coalesce(issued, excluded.issued), coalesce(excluded.issued, issued)),
                 seen = excluded.seen",
        )?;
        for (key, time) in batch.iter().flat_map(|job| &job.times) {
            let (event, zoned, issued) = time.to_store();
            statement.execute(params![key.0, event, zoned, issued, now])?;
        }
    }
    transaction.commit()
}

#[cfg(test)]
mod tests;
