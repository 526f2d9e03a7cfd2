//! The home in SQLite: for one gateway on one machine, with nothing else to install.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use rusqlite::{Connection, types::ValueRef};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::spawn_blocking,
};

use super::{Database, Dialect, Row, Transaction, Value};
use crate::{
    embedded::Lock,
    error::{QueueError, Result},
};

/// A home in a folder of this machine: `home.db`, and a lock that only one process can hold.
pub struct SqliteHome {
    connection: Arc<Mutex<Connection>>,
    alone: Arc<Mutex<()>>,
    last: AtomicI64,
    _lock: Lock,
}

struct SqliteTransaction {
    /// `None` while a statement runs elsewhere, and when that was cut off.
    connection: Option<OwnedMutexGuard<Connection>>,
    ended: bool,
}

// === impl SqliteHome ===

impl SqliteHome {
    /// Opens the home in `folder`, which is made if need be.
    ///
    /// # Errors
    /// `Locked` when another process has it open, or what the storage says.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder)?;
        let lock = Lock::take(&folder.join("home.lock"))?;
        let connection = Connection::open(folder.join("home.db"))?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "cache_size", -32_768)?;
        std::fs::File::open(folder)?.sync_all()?;
        // Numbers are given from memory: there is nobody else to give them.
        let last = connection
            .query_row(
                "SELECT max((SELECT number FROM last_number), coalesce((SELECT max(id) FROM records), 0))",
                [],
                |row| row.get(0),
            )
            .unwrap_or(0);
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            alone: Arc::default(),
            last: AtomicI64::new(last),
            _lock: lock,
        })
    }
}

#[async_trait]
impl Database for SqliteHome {
    fn dialect(&self) -> Dialect {
        Dialect {
            rows: "json_each($1) AS e",
            members: "json_each(r.destinations) AS m",
            lock: "",
            blob: "BLOB",
            now: "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
        }
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let connection = Arc::clone(&self.connection).lock_owned().await;
        if !connection.is_autocommit() {
            // Somebody was cut off in the middle of a statement.
            connection.execute_batch("ROLLBACK")?;
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Box::new(SqliteTransaction {
            connection: Some(connection),
            ended: false,
        }))
    }

    async fn numbers(&self, count: usize) -> Result<Vec<i64>> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let before = self.last.fetch_add(count, Ordering::Relaxed);
        Ok((before + 1..=before + count).collect())
    }

    fn is_private(&self) -> bool {
        true
    }

    async fn exclusive(&self) -> Result<Box<dyn Send>> {
        Ok(Box::new(Arc::clone(&self.alone).lock_owned().await))
    }
}

impl std::fmt::Debug for SqliteHome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteHome").finish_non_exhaustive()
    }
}

// === impl SqliteTransaction ===

impl SqliteTransaction {
    /// Off the threads that must not wait for a disk.
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = self.connection.take().ok_or(QueueError::Stopped)?;
        let (connection, result) = spawn_blocking(move || {
            let result = work(&connection);
            (connection, result)
        })
        .await
        .map_err(|_cut_off| QueueError::Closed)?;
        self.connection = Some(connection);
        result
    }
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        let (sql, parameters) = (spelled(sql), parameters.to_vec());
        self.run(move |connection| run(connection, &sql, &parameters))
            .await
    }

    async fn each(&mut self, sql: &str, parameters: Vec<Vec<Value>>) -> Result<()> {
        if parameters.is_empty() {
            return Ok(());
        }
        let sql = spelled(sql);
        self.run(move |connection| {
            for parameters in &parameters {
                run(connection, &sql, parameters)?;
            }
            Ok(())
        })
        .await
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        self.run(|connection| Ok(connection.execute_batch("COMMIT")?))
            .await?;
        self.ended = true;
        Ok(())
    }
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        if let (Some(connection), false) = (&self.connection, self.ended)
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "cannot roll back");
        }
    }
}

/// Parameters are numbered with a question mark here.
fn spelled(sql: &str) -> String {
    sql.replace('$', "?")
}

fn run(connection: &Connection, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.column_count();
    let values = parameters.iter().map(|value| match value {
        Value::Null => rusqlite::types::Value::Null,
        Value::Integer(number) => (*number).into(),
        Value::Text(text) => text.clone().into(),
        Value::Blob(bytes) => bytes.clone().into(),
    });
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let mut values = Vec::with_capacity(columns);
        for column in 0..columns {
            values.push(match row.get_ref(column)? {
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
                ValueRef::Null | ValueRef::Real(_) => Value::Null,
            });
        }
        all.push(Row(values));
    }
    Ok(all)
}
