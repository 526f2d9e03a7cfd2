//! The shared home: what every node must know of the whole, beside the broker that carries the messages.
//!
//! A broker hands a message on and forgets it. So the home keeps what must outlive that: the numbers of records, which
//! dedup key was answered how, what each delivery ended with and the bytes for a replay, what is held for later or
//! for a person, which destination is paused, the books, and which node tends what. All of it is SQL on one
//! small seam, [`Database`]: SQLite for one gateway on one machine, PostgreSQL for many.
//!
//! # Who keeps what
//!
//! ```text
//!            admit: number, dedup, ACK          settle: outcome, payload
//! append ------------> home -------> broker -------------> home
//!                       published: confirm     retry, park, hold: payload and place in the lane;
//!                                              the broker's copy is acknowledged, the home has it now
//! ```
//!
//! - A record is *accepted* when the broker has confirmed it for all its destinations (`published = 1`); before that
//!   it is only known, so that a resend gets the same number and takes effect once.
//! - A delivery without a row is with the broker. A row in a final state ends it. A row that is not final says that
//!   the home has the message now: it is leased from here, in the order of its lanes.
//! - The books are kept per destination and shard: nodes write rows of their own, so that they do not wait for each
//!   other, and their sum is the truth.

mod admit;
mod browse;
mod check;
mod held;
mod members;
mod postgres;
mod retain;
mod rows;
mod schema;
mod settle;
mod sqlite;
mod summary;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;

use crate::{error::Result, record::State};

pub(crate) use self::{
    admit::{Admission, Admitted, Confirmed},
    browse::Leased,
    held::{Held, HeldRecord},
    members::Claim,
    settle::{Change, Settled},
    summary::total,
};
pub use self::{
    postgres::{PostgresHome, PostgresOptions},
    rows::Row,
    sqlite::SqliteHome,
};

/// A value going into or coming out of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text without NULs.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// How two databases spell the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Rows of a JSON array given as `$1`, each in the column `value` of `e`.
    pub rows: &'static str,
    /// Texts of the JSON array in the column `r.destinations`, each in the column `value` of `m`.
    pub members: &'static str,
    /// Locks the rows of `r` that a SELECT finds, until the transaction ends.
    pub lock: &'static str,
    /// The type of bytes.
    pub blob: &'static str,
    /// The clock of the database, milliseconds since 1970.
    pub now: &'static str,
}

/// A database that can be a home. One implementation per product; everything above it is the same for all.
#[async_trait]
pub trait Database: Send + Sync {
    /// How it spells things.
    fn dialect(&self) -> Dialect;

    /// Begins a transaction in which a statement sees what was committed before it. Dropping it undoes it.
    async fn begin(&self) -> Result<Box<dyn Transaction>>;

    /// The next `count` numbers for records: growing, and never given twice, whatever becomes of them.
    async fn numbers(&self, count: usize) -> Result<Vec<i64>>;

    /// Whether only this process can have it open.
    fn is_private(&self) -> bool;

    /// Keeps everybody else who asks for it waiting, on every node, until the guard is dropped.
    async fn exclusive(&self) -> Result<Box<dyn Send>>;
}

/// A running transaction. Parameters are written `$1`, `$2`, ... in statements.
#[async_trait]
pub trait Transaction: Send {
    /// Runs one statement and returns its rows.
    async fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>>;

    /// Runs one statement for each set of parameters, without waiting between them.
    async fn each(&mut self, sql: &str, parameters: Vec<Vec<Value>>) -> Result<()>;

    /// Makes it durable.
    async fn commit(self: Box<Self>) -> Result<()>;
}

/// The home of a queue, whatever database it is in.
pub struct Home {
    database: Box<dyn Database>,
    /// Which rows of the books are written by this process.
    shard: i64,
    clock: Mutex<(i64, Instant)>,
}

/// How often a transaction that two nodes entangled is tried again.
const TRIES: usize = 8;

/// Runs `$body` in a transaction `$tx` of `$home` and commits; one that the database gave up because of another
/// is done again. A macro, since a closure could not say that its future is `Send`.
macro_rules! transaction {
    ($home:expr, $tx:ident => $body:expr) => {{
        let mut tries = 0;
        loop {
            let mut begun = $home.database.begin().await?;
            let done = {
                let $tx: &mut dyn $crate::home::Transaction = begun.as_mut();
                async { $crate::error::Result::Ok($body) }.await
            };
            let done = match done {
                Ok(value) => begun.commit().await.map(|()| value),
                Err(error) => Err(error),
            };
            match done {
                Err($crate::error::QueueError::Entangled) if tries < $crate::home::TRIES => {
                    tries += 1
                }
                done => break done,
            }
        }
    }};
}
use transaction;

// === impl Home ===

impl Home {
    /// Opens the home in `database`, making its tables when it is new and bringing older ones up to date.
    ///
    /// # Errors
    /// `NewerSchema` or `Foreign` for tables that are not ours, `Unavailable` when nobody answers.
    pub async fn open(database: impl Database + 'static) -> Result<Self> {
        let database: Box<dyn Database> = Box::new(database);
        schema::migrate(database.as_ref()).await?;
        let home = Self {
            database,
            shard: i64::from(std::process::id() % 16),
            clock: Mutex::new((crate::embedded::wall_ms(), Instant::now())),
        };
        home.set_clock().await?;
        if home.database.is_private() {
            home.forget_nodes().await?;
        }
        Ok(home)
    }

    /// The time by the clock of the database, milliseconds since 1970, as of the last look at it.
    pub(crate) fn now_ms(&self) -> i64 {
        let (base, since) = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        base.saturating_add(i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// A time by the caller's wall clock, as a time of the home: the distance from now is what counts.
    pub(crate) fn of_wall(&self, at_ms: i64) -> i64 {
        self.now_ms()
            .saturating_add(at_ms.saturating_sub(crate::embedded::wall_ms()))
    }

    async fn set_clock(&self) -> Result<()> {
        let mut tx = self.database.begin().await?;
        let sql = format!("SELECT {}", self.database.dialect().now);
        let rows = tx.query(&sql, &[]).await?;
        if let Some(row) = rows.first() {
            let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
            *clock = (row.integer(0), Instant::now());
        }
        Ok(())
    }

    /// Waits until nobody else publishes a record with several ordering keys.
    pub(crate) async fn exclusive(&self) -> Result<Box<dyn Send>> {
        self.database.exclusive().await
    }

    /// A statement with this database's spelling.
    fn sql(&self, text: &str) -> String {
        let dialect = self.database.dialect();
        text.replace("{rows}", dialect.rows)
            .replace("{members}", dialect.members)
            .replace("{lock}", dialect.lock)
            .replace("{now}", dialect.now)
    }

    /// Books what this transaction has changed. Always its last step, in the order of the names, so that two
    /// nodes that share a shard never wait for each other in a circle.
    async fn book(&self, tx: &mut dyn Transaction, books: &Books) -> Result<()> {
        for (destination, line) in &books.0 {
            let mut values = vec![Value::Text(destination.clone()), Value::Integer(self.shard)];
            values.extend(line.values().map(Value::Integer));
            tx.query(BOOK, &values).await?;
        }
        Ok(())
    }
}

const BOOK: &str =
    "INSERT INTO books (destination, shard, accepted, delivered, dead, filtered, removed_delivered,
        removed_dead, removed_filtered, open_bytes)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
     ON CONFLICT (destination, shard) DO UPDATE SET accepted = books.accepted + excluded.accepted,
        delivered = books.delivered + excluded.delivered, dead = books.dead + excluded.dead,
        filtered = books.filtered + excluded.filtered,
        removed_delivered = books.removed_delivered + excluded.removed_delivered,
        removed_dead = books.removed_dead + excluded.removed_dead,
        removed_filtered = books.removed_filtered + excluded.removed_filtered,
        open_bytes = books.open_bytes + excluded.open_bytes";

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Home").finish_non_exhaustive()
    }
}

/// What a transaction changes in the books, by name of destination; "" stands for "nobody".
#[derive(Debug, Default)]
pub(crate) struct Books(BTreeMap<String, Line>);

/// One line of the books.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    pub(crate) accepted: i64,
    pub(crate) delivered: i64,
    pub(crate) dead: i64,
    pub(crate) filtered: i64,
    pub(crate) removed_delivered: i64,
    pub(crate) removed_dead: i64,
    pub(crate) removed_filtered: i64,
    pub(crate) open_bytes: i64,
}

// === impl Books ===

impl Books {
    fn line(&mut self, destination: &str) -> &mut Line {
        self.0.entry(destination.to_owned()).or_default()
    }

    /// A record was accepted for its destinations, or for nobody.
    pub(crate) fn accept(&mut self, destinations: &[String], size: i64) {
        if destinations.is_empty() {
            let nobody = self.line("");
            nobody.accepted += 1;
            nobody.filtered += 1;
        }
        for destination in destinations {
            let line = self.line(destination);
            line.accepted += 1;
            line.open_bytes += size;
        }
    }

    /// A delivery has ended.
    pub(crate) fn finish(&mut self, destination: &str, state: State, size: i64) {
        let line = self.line(destination);
        line.open_bytes -= size;
        match state {
            State::Delivered => line.delivered += 1,
            State::Dead => line.dead += 1,
            State::Filtered => line.filtered += 1,
            _ => line.open_bytes += size,
        }
    }

    /// Retention took a delivery that had ended.
    pub(crate) fn remove(&mut self, destination: &str, state: State) {
        let line = self.line(destination);
        match state {
            State::Delivered => line.removed_delivered += 1,
            State::Dead => line.removed_dead += 1,
            _ => line.removed_filtered += 1,
        }
    }
}

// === impl Line ===

impl Line {
    fn values(self) -> impl Iterator<Item = i64> {
        [
            self.accepted,
            self.delivered,
            self.dead,
            self.filtered,
            self.removed_delivered,
            self.removed_dead,
            self.removed_filtered,
            self.open_bytes,
        ]
        .into_iter()
    }
}

/// The stored number of a state. `Leased` is memory and never stored.
pub(crate) fn code(state: State) -> i64 {
    match state {
        State::Queued | State::Leased => 1,
        State::Waiting => 2,
        State::Retrying => 3,
        State::Parked => 4,
        State::Delivered => 5,
        State::Dead => 6,
        State::Filtered => 7,
    }
}

/// The state of a stored number.
pub(crate) fn state(code: i64) -> State {
    match code {
        2 => State::Waiting,
        3 => State::Retrying,
        4 => State::Parked,
        5 => State::Delivered,
        6 => State::Dead,
        7 => State::Filtered,
        _ => State::Queued,
    }
}
