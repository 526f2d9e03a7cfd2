//! The home in PostgreSQL: for many gateways.

mod tls;
mod value;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tokio_postgres::{Client, Config, Statement, error::SqlState, types::ToSql};

use self::tls::Tls;
use super::{Database, Dialect, Row, Transaction, Value};
use crate::error::{Bound, QueueError, Result};

/// The number by which nodes know the lock that only one of them can have.
const LOCK: i64 = 0x4668_7771;
/// How long to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(15);

/// How to reach PostgreSQL.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`; several hosts are tried in turn. `sslmode=require` in it
    /// asks for TLS, which then verifies the server's certificate and name.
    pub url: String,
    /// PEM of the authorities to trust instead of the system's.
    pub ca: Option<String>,
    /// Connections at most. Default 8.
    pub connections: usize,
}

/// A home in a database of PostgreSQL.
pub struct PostgresHome {
    pool: Arc<Pool>,
}

struct Pool {
    config: Config,
    tls: Tls,
    idle: Mutex<Vec<Connected>>,
    room: Arc<Semaphore>,
}

struct Connected {
    client: Client,
    statements: HashMap<String, Statement>,
}

struct PostgresTransaction {
    pool: Arc<Pool>,
    /// Taken at the commit. Dropped before, the connection is closed, which undoes everything.
    connected: Option<Connected>,
    _room: OwnedSemaphorePermit,
}

// === impl PostgresHome ===

impl PostgresHome {
    /// Connects; the tables are made by [`Home::open`](super::Home::open).
    ///
    /// # Errors
    /// `Invalid` for a URL or certificates that cannot be read, `Unavailable` when nobody answers.
    pub async fn open(options: &PostgresOptions) -> Result<Self> {
        let config: Config = options.url.parse().map_err(|_error| {
            QueueError::Invalid(
                "the URL of PostgreSQL cannot be read: postgres://user:password@host/database",
            )
        })?;
        let pool = Arc::new(Pool {
            config,
            tls: Tls::new(options.ca.as_deref())?,
            idle: Mutex::default(),
            room: Arc::new(Semaphore::new(options.connections.max(2))),
        });
        let home = Self { pool };
        let alone = home.exclusive().await?;
        let connected = home.pool.connect().await?;
        connected
            .client
            .batch_execute("CREATE SEQUENCE IF NOT EXISTS fhirway_numbers")
            .await
            .map_err(failed)?;
        home.pool.give_back(connected);
        drop(alone);
        Ok(home)
    }
}

// === impl PostgresOptions ===

impl PostgresOptions {
    /// The usual options for the database at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ca: None,
            connections: 8,
        }
    }
}

#[async_trait]
impl Database for PostgresHome {
    fn dialect(&self) -> Dialect {
        Dialect {
            rows: "json_array_elements($1::json) AS e(value)",
            members: "json_array_elements_text(r.destinations::json) AS m(value)",
            lock: "FOR UPDATE OF r",
            blob: "BYTEA",
            now: "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let room = Arc::clone(&self.pool.room)
            .acquire_owned()
            .await
            .map_err(|_closed| QueueError::Closed)?;
        let connected = self.pool.begin().await?;
        Ok(Box::new(PostgresTransaction {
            pool: Arc::clone(&self.pool),
            connected: Some(connected),
            _room: room,
        }))
    }

    async fn numbers(&self, count: usize) -> Result<Vec<i64>> {
        let connected = self.pool.take().await?;
        let sql = format!("SELECT nextval('fhirway_numbers') FROM generate_series(1, {count})");
        let rows = connected.client.query(&sql, &[]).await.map_err(failed)?;
        self.pool.give_back(connected);
        let mut numbers = rows
            .iter()
            .map(|row| row.try_get(0).map_err(failed))
            .collect::<Result<Vec<i64>>>()?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn is_private(&self) -> bool {
        false
    }

    async fn exclusive(&self) -> Result<Box<dyn Send>> {
        // A connection of its own: the lock is let go of when it is closed, whatever happens to this process.
        let connected = self.pool.connect().await?;
        connected
            .client
            .execute("SELECT pg_advisory_lock($1)", &[&LOCK])
            .await
            .map_err(failed)?;
        Ok(Box::new(connected))
    }
}

impl std::fmt::Debug for PostgresHome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresHome").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL holds a password.
        f.debug_struct("PostgresOptions")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

// === impl Pool ===

impl Pool {
    async fn connect(&self) -> Result<Connected> {
        let connecting = self.config.connect(self.tls.clone());
        let (client, connection) = time::timeout(PATIENCE, connecting)
            .await
            .map_err(|_late| {
                let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time");
                QueueError::Unavailable("PostgreSQL", Arc::new(late))
            })?
            .map_err(failed)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL has ended");
            }
        });
        Ok(Connected {
            client,
            statements: HashMap::new(),
        })
    }

    async fn take(&self) -> Result<Connected> {
        let idle = self.lock().pop();
        match idle {
            Some(connected) if !connected.client.is_closed() => Ok(connected),
            _ => self.connect().await,
        }
    }

    /// A connection with a begun transaction. What the server has closed in the meantime is tried anew, once.
    async fn begin(&self) -> Result<Connected> {
        let connected = self.take().await?;
        match connected.client.batch_execute("BEGIN").await {
            Ok(()) => Ok(connected),
            Err(error) if connected.client.is_closed() || error.is_closed() => {
                self.lock().clear();
                let connected = self.connect().await?;
                connected
                    .client
                    .batch_execute("BEGIN")
                    .await
                    .map_err(failed)?;
                Ok(connected)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn give_back(&self, connected: Connected) {
        if !connected.client.is_closed() {
            self.lock().push(connected);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connected>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Connected ===

impl Connected {
    async fn prepare(&mut self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(failed)?;
        // Statements of lists are many; those of the path of a message are few and come first.
        if self.statements.len() < 256 {
            self.statements.insert(sql.to_owned(), statement.clone());
        }
        Ok(statement)
    }
}

// === impl PostgresTransaction ===

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        let connected = self.connected.as_mut().ok_or(QueueError::Closed)?;
        let statement = connected.prepare(sql).await?;
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        let rows = connected
            .client
            .query(&statement, &parameters)
            .await
            .map_err(failed)?;
        rows.iter().map(value::row).collect()
    }

    async fn each(&mut self, sql: &str, parameters: Vec<Vec<Value>>) -> Result<()> {
        if parameters.is_empty() {
            return Ok(());
        }
        let connected = self.connected.as_mut().ok_or(QueueError::Closed)?;
        let statement = connected.prepare(sql).await?;
        let (client, statement) = (&connected.client, &statement);
        // Polled together they are sent one behind the other, without waiting.
        let all = parameters.iter().map(|parameters| async move {
            let parameters: Vec<&(dyn ToSql + Sync)> = parameters
                .iter()
                .map(|value| value as &(dyn ToSql + Sync))
                .collect();
            client.execute(statement, &parameters).await
        });
        try_join_all(all).await.map(drop).map_err(failed)
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let connected = self.connected.take().ok_or(QueueError::Closed)?;
        connected
            .client
            .batch_execute("COMMIT")
            .await
            .map_err(failed)?;
        self.pool.give_back(connected);
        Ok(())
    }
}

/// What the database says, as the queue says it.
fn failed(error: tokio_postgres::Error) -> QueueError {
    match error.code() {
        Some(code)
            if *code == SqlState::T_R_DEADLOCK_DETECTED
                || *code == SqlState::T_R_SERIALIZATION_FAILURE =>
        {
            QueueError::Entangled
        }
        Some(code) if *code == SqlState::DISK_FULL => QueueError::Full(Bound::Disk),
        // Shutting down, starting, or out of connections: it comes back.
        Some(code) if code.code().starts_with("57P") || code.code().starts_with("53") => {
            QueueError::Unavailable("PostgreSQL", Arc::new(error))
        }
        Some(_) => QueueError::Io(Arc::new(error)),
        None => QueueError::Unavailable("PostgreSQL", Arc::new(error)),
    }
}
