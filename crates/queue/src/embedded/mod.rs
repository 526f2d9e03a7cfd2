//! The embedded store: SQLite with one writer.

mod admin;
mod append;
mod audit;
mod backup;
mod books;
mod check;
mod checksum;
mod ciphers;
mod clock;
mod desk;
mod holds;
mod job;
mod lane;
mod leases;
mod load;
mod lock;
mod pick;
mod read;
mod readers;
mod request;
mod reseal;
mod retain;
mod room;
mod schema;
mod settle;
mod signal;
mod stored;
mod summary;
mod urgent;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use self::{
    append::Prepared,
    books::Books,
    ciphers::Ciphers,
    clock::Clock,
    desk::Desk,
    holds::Holds,
    job::Work,
    leases::Leases,
    load::LoadError,
    readers::Readers,
    request::{Ask, Request},
    room::Room,
    signal::Signals,
    writer::Writer,
};
pub(crate) use self::{clock::wall_ms, lane::lanes, lock::Lock};
use crate::{
    browse::{Filter, RecordDetail, RecordSummary, Release, Replay, Replayed, Retained, Retention},
    error::{QueueError, Result},
    hold::{AuditEntry, Backup, Hold, HoldId, NewAudit, NewHold},
    options::Options,
    queue::Queue,
    record::{Appended, Lease, LeaseId, NewRecord, Outcome, RecordId},
    status::{Check, Status},
};

/// The queue in a folder of this machine. See the [crate documentation](crate) for what it promises and how.
///
/// Its methods need a Tokio runtime; opening and closing block for a moment. Dropping it closes it: what was
/// asked before is still done.
pub struct EmbeddedQueue {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
    leases: Arc<Mutex<Leases>>,
    signals: Arc<Signals>,
    options: Options,
    folder: PathBuf,
    // Last: nobody else may open the queue before all of the above is gone.
    _lock: Lock,
}

/// A look at a queue that another process may have open. It never writes and takes no lock.
pub struct QueueReader {
    readers: Arc<Readers>,
}

// === impl EmbeddedQueue ===

impl EmbeddedQueue {
    /// Opens the queue in `folder`, which is made if need be: `queue.db`, its write-ahead log, `queue.lock`.
    ///
    /// # Errors
    /// `Locked` when another process has it open, `NewerSchema`, `Foreign`, `Corrupt`, or `Io`, also for a
    /// folder that cannot be written.
    pub fn open(folder: impl AsRef<Path>, options: Options) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        std::fs::create_dir_all(&folder)?;
        let lock = Lock::take(&folder.join("queue.lock"))?;
        let database = folder.join("queue.db");
        let conn = schema::open_writer(&database, &options)?;
        // The directory entries of new files are as much a part of durability as their content.
        std::fs::File::open(&folder)?.sync_all()?;
        let newest: i64 = conn.query_row(
            "SELECT max(coalesce((SELECT stored_at FROM records ORDER BY id DESC LIMIT 1), 0),
                        coalesce((SELECT max(used_at) FROM tokens), 0))",
            [],
            |row| row.get(0),
        )?;
        let clock = Clock::not_before(newest);
        conn.execute_batch("BEGIN IMMEDIATE")?;
        pick::recover(&conn, &Books::read(&conn)?, clock.now_ms())?;
        conn.execute_batch("COMMIT")?;
        let ciphers = Arc::new(Ciphers::for_writer(&conn, &options.keys)?);
        let leases = Arc::new(Mutex::new(Leases::default()));
        let signals = Arc::new(Signals::default());
        let desk = Arc::new(Desk::new(Writer {
            books: Books::read(&conn)?,
            holds: Holds::read(&conn)?,
            ciphers: Arc::clone(&ciphers),
            conn,
            options: options.clone(),
            leases: Arc::clone(&leases),
            clock,
            room: Room::new(folder.clone(), &options),
            signals: Arc::clone(&signals),
            stopped: Arc::new(AtomicBool::new(false)),
            found_wrong: 0,
            window: 0,
            window_moved: None,
        }));
        let served = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || served.serve())?;
        Ok(Self {
            desk,
            thread: Some(thread),
            readers: Arc::new(Readers::new(database, ciphers)),
            leases,
            signals,
            options,
            folder,
            _lock: lock,
        })
    }

    /// The folder it lives in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    async fn ask<T>(&self, make: impl FnOnce(Ask<T>) -> Request) -> Result<T> {
        let (ask, answer) = Ask::new();
        self.desk.bring(make(ask))?;
        answer.await.unwrap_or(Err(QueueError::Closed))
    }

    /// Has the writer do something for a person.
    async fn job<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Writer, i64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(|ask| Request::Job(Work::boxed(ask, work))).await
    }

    fn leased(&self) -> Vec<(i64, i64)> {
        self.leases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .deliveries()
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    async fn append(&self, batch: Vec<NewRecord>) -> Result<Vec<Appended>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let max = self.options.max_payload;
        let batch = batch
            .into_iter()
            .map(|record| Prepared::new(record, max))
            .collect::<Result<Arc<[_]>>>()?;
        let share = Arc::clone(&batch);
        let answer = self.ask(|ask| Request::Append(share, ask)).await;
        drop(batch);
        answer
    }

    async fn lease(
        &self,
        destination: &str,
        max: usize,
        lease_for: Duration,
    ) -> Result<Vec<Lease>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let name = destination.to_owned();
        let picks = self
            .ask(|ask| Request::Lease {
                destination: name,
                max,
                lease_for,
                ask,
            })
            .await?;
        if picks.picked.is_empty() {
            return Ok(Vec::new());
        }
        // Given back at once if this call is cancelled or fails from here on.
        let mut unclaimed = Unclaimed {
            leases: picks.picked.iter().map(|(id, _, _)| *id).collect(),
            desk: &self.desk,
        };
        let wanted = picks.picked.clone();
        let loaded = self
            .readers
            .run(move |conn, ciphers| {
                Ok(wanted
                    .into_iter()
                    .map(|(id, record, attempts)| {
                        (id, record, attempts, load::load(conn, ciphers, record))
                    })
                    .collect::<Vec<_>>())
            })
            .await?;
        let mut leases = Vec::with_capacity(loaded.len());
        let mut damaged = Vec::new();
        for (id, record, attempts, loaded) in loaded {
            match loaded {
                Ok(loaded) => leases.push(Lease {
                    id,
                    record: RecordId(record),
                    destination: destination.to_owned(),
                    payload: loaded.payload,
                    listener: loaded.listener,
                    route: loaded.route,
                    attempts,
                    received_at_ms: loaded.received_at_ms,
                    ordering_keys: loaded.ordering_keys,
                    attributes: loaded.attributes,
                    replay_of: loaded.replay_of,
                }),
                Err(error @ (LoadError::Storage(_) | LoadError::NoKey)) => return Err(error.into()),
                Err(LoadError::Damaged | LoadError::Missing) => {
                    damaged.push((id, RecordId(record)))
                }
            }
        }
        for (id, record) in damaged {
            tracing::error!(
                record = record.0,
                destination,
                "record is damaged: dead letter"
            );
            self.settle(
                id,
                Outcome::Dead {
                    reason: crate::REASON_CORRUPT.to_owned(),
                    detail: None,
                },
            )
            .await?;
            if let Some(observer) = &self.options.observer {
                observer.quarantined(record, destination);
            }
        }
        unclaimed.leases.clear();
        Ok(leases)
    }

    async fn settle(&self, lease: LeaseId, outcome: Outcome) -> Result<()> {
        self.ask(|ask| Request::Settle(lease, outcome, ask)).await
    }

    async fn wait(&self, destination: &str) {
        self.signals.wait(destination).await;
    }

    async fn status(&self) -> Result<Status> {
        self.ask(Request::Status).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<RecordSummary>> {
        let (filter, leased) = (filter.clone(), self.leased());
        self.readers.list(filter, leased).await
    }

    async fn show(&self, record: RecordId) -> Result<RecordDetail> {
        let leased = self.leased();
        self.readers
            .run(move |conn, ciphers| read::show(conn, ciphers, record, &leased))
            .await
    }

    async fn payload(&self, record: RecordId) -> Result<Bytes> {
        self.readers
            .run(move |conn, ciphers| Ok(load::load(conn, ciphers, record.0)?.payload))
            .await
    }

    async fn replay(&self, replay: Replay) -> Result<Replayed> {
        self.ask(|ask| Request::Replay(replay, ask)).await
    }

    async fn release(&self, filter: Filter, release: Release) -> Result<usize> {
        self.ask(|ask| Request::Release(filter, release, ask)).await
    }

    async fn pause(&self, destination: &str, reason: &str) -> Result<()> {
        let (destination, reason) = (destination.to_owned(), Some(reason.to_owned()));
        self.ask(|ask| Request::Pause {
            destination,
            reason,
            ask,
        })
        .await
    }

    async fn resume(&self, destination: &str) -> Result<()> {
        let destination = destination.to_owned();
        self.ask(|ask| Request::Pause {
            destination,
            reason: None,
            ask,
        })
        .await
    }

    async fn retain(&self, policy: Retention) -> Result<Retained> {
        let mut total = Retained::default();
        let mut after = 0;
        loop {
            let step = self
                .ask(|ask| Request::Retain { policy, after, ask })
                .await?;
            total.by_age += step.removed.by_age;
            total.by_size += step.removed.by_size;
            total.bytes += step.removed.bytes;
            match step.next {
                Some(next) => after = next,
                None => return Ok(total),
            }
        }
    }

    async fn hold(&self, hold: NewHold) -> Result<HoldId> {
        self.job(move |writer, now| writer.holds.add(&writer.conn, &writer.ciphers, &hold, now))
            .await
    }

    async fn unhold(&self, hold: HoldId) -> Result<usize> {
        self.job(move |writer, now| {
            writer.holds.remove(&writer.conn, hold)?;
            let leases = writer.leases.lock().unwrap_or_else(PoisonError::into_inner);
            admin::let_go(&writer.conn, &mut writer.books, &leases, now)
        })
        .await
    }

    async fn holds(&self) -> Result<Vec<Hold>> {
        self.readers
            .run(|conn, _| Ok(Holds::read(conn)?.list()))
            .await
    }

    async fn pass(&self, filter: Filter, count: usize) -> Result<usize> {
        self.job(move |writer, now| {
            let leases = writer.leases.lock().unwrap_or_else(PoisonError::into_inner);
            admin::pass(
                &writer.conn,
                &mut writer.books,
                &leases,
                &writer.holds,
                &filter,
                count,
                now,
            )
        })
        .await
    }

    async fn note(&self, entry: NewAudit) -> Result<()> {
        self.job(move |writer, now| audit::write(&writer.conn, &entry, now))
            .await
    }

    async fn audit(&self, after: i64, limit: usize) -> Result<Vec<AuditEntry>> {
        self.readers
            .run(move |conn, _| audit::read(conn, after, limit))
            .await
    }

    async fn backup(&self, to: PathBuf) -> Result<Backup> {
        let keys = self.options.keys.clone();
        self.readers
            .run(move |conn, _| backup::backup(conn, &keys, &to))
            .await
    }

    async fn reencrypt(&self) -> Result<u64> {
        let mut rewritten = 0;
        let mut after = 0;
        loop {
            let step = self
                .job(move |writer, _| reseal::step(&writer.conn, &writer.ciphers, after))
                .await?;
            rewritten += step.records;
            match step.next {
                Some(next) => after = next,
                None => return Ok(rewritten),
            }
        }
    }

    async fn check(&self, payloads: bool) -> Result<Check> {
        let check = self.readers.check(payloads).await?;
        let wrong = check.corrupt + check.faults.len() as u64;
        self.desk.leave(Request::Checked(wrong));
        Ok(check)
    }
}

impl Drop for EmbeddedQueue {
    fn drop(&mut self) {
        self.desk.close();
        // The last connection to close must be the writer's: it moves the log into the database.
        self.readers.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("queue writer ended by a panic");
        }
    }
}

impl std::fmt::Debug for EmbeddedQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedQueue")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

// === impl QueueReader ===

impl QueueReader {
    /// Opens the queue in `folder` for looking only; it must exist. Leases are known to its owner alone, so
    /// what is leased shows as queued or retrying here.
    ///
    /// # Errors
    /// `NewerSchema`, `Foreign`, `Corrupt` or `Io`.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let readers = Readers::of_stranger(folder.as_ref().join("queue.db"), &[])?;
        Ok(Self {
            readers: Arc::new(readers),
        })
    }

    /// As [`Queue::list`].
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<RecordSummary>> {
        self.readers.list(filter.clone(), Vec::new()).await
    }

    /// As [`Queue::show`].
    ///
    /// # Errors
    /// `NotFound`, or when the storage fails.
    pub async fn show(&self, record: RecordId) -> Result<RecordDetail> {
        self.readers
            .run(move |conn, ciphers| read::show(conn, ciphers, record, &[]))
            .await
    }

    /// As [`Queue::payload`].
    ///
    /// # Errors
    /// `NotFound`, `Corrupt` when it does not fit its checksum, or when the storage fails.
    pub async fn payload(&self, record: RecordId) -> Result<Bytes> {
        self.readers
            .run(move |conn, ciphers| Ok(load::load(conn, ciphers, record.0)?.payload))
            .await
    }

    /// As [`Queue::status`].
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn status(&self) -> Result<Status> {
        self.readers
            .run(|conn, _| {
                let mut books = Books::read(conn)?;
                summary::status(conn, &mut books, &Leases::default(), clock::wall_ms())
            })
            .await
    }

    /// As [`Queue::check`], without telling the owner.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn check(&self, payloads: bool) -> Result<Check> {
        self.readers.check(payloads).await
    }
}

impl std::fmt::Debug for QueueReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueReader").finish_non_exhaustive()
    }
}

/// Leases that were given but have not reached the caller.
struct Unclaimed<'a> {
    leases: Vec<LeaseId>,
    desk: &'a Desk,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            self.desk
                .leave(Request::Expire(std::mem::take(&mut self.leases)));
        }
    }
}
