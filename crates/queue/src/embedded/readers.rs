//! Connections that only read, on Tokio's threads for blocking work.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::Connection;

use super::{check, ciphers::Ciphers, read, schema};
use crate::{
    browse::{Filter, RecordSummary},
    encryption::EncryptionKey,
    error::{QueueError, Result},
    status::Check,
};

/// Idle connections kept.
const IDLE: usize = 4;

/// A pool of reading connections.
pub(crate) struct Readers {
    database: PathBuf,
    ciphers: Arc<Ciphers>,
    idle: Mutex<Vec<Connection>>,
    closed: AtomicBool,
}

// === impl Readers ===

impl Readers {
    pub(crate) fn new(database: PathBuf, ciphers: Arc<Ciphers>) -> Self {
        Self {
            database,
            ciphers,
            idle: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
        }
    }

    /// Readers of a queue that another process may own. Refuses a file that this build cannot read.
    pub(crate) fn of_stranger(database: PathBuf, keys: &[EncryptionKey]) -> Result<Self> {
        let conn = schema::open_reader(&database)?;
        schema::verify(&conn, &database)?;
        let ciphers = Ciphers::for_reader(&conn, keys)?;
        let readers = Self::new(database, Arc::new(ciphers));
        readers.give(conn);
        Ok(readers)
    }

    /// Runs `work` with a connection where blocking is allowed.
    pub(crate) async fn run<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Ciphers) -> Result<T> + Send + 'static,
    {
        let readers = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let conn = readers.take()?;
            let result = work(&conn, &readers.ciphers);
            if result.is_ok() {
                readers.give(conn);
            }
            result
        });
        task.await.unwrap_or(Err(QueueError::Closed))
    }

    pub(crate) async fn list(
        self: &Arc<Self>,
        filter: Filter,
        leased: Vec<(i64, i64)>,
    ) -> Result<Vec<RecordSummary>> {
        self.run(move |conn, _| {
            let lines = read::list(conn, &filter, &leased)?;
            Ok(lines.into_iter().map(|line| line.summary).collect())
        })
        .await
    }

    pub(crate) async fn check(self: &Arc<Self>, payloads: bool) -> Result<Check> {
        self.run(move |conn, ciphers| check::check(conn, ciphers, payloads))
            .await
    }

    /// Closes what is idle; what is in use closes when it is given back.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn take(&self) -> Result<Connection> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match idle {
            Some(conn) => Ok(conn),
            None => schema::open_reader(&self.database),
        }
    }

    fn give(&self, conn: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE && !self.closed.load(Ordering::Acquire) {
            idle.push(conn);
        }
    }
}
