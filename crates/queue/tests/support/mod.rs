//! What the tests share. Invented content only.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use queue::{
    Appended, EmbeddedQueue, Home, Lease, NewRecord, Options, Outcome, PostgresHome,
    PostgresOptions, Queue, RabbitOptions, RabbitQueue, RecordId, SqliteHome,
};

pub mod broker;
pub mod postgres;

pub const LEASE: Duration = Duration::from_secs(60);

/// Options that do not depend on how full this machine's disk is.
pub fn options() -> Options {
    Options {
        min_free_bytes: 0,
        ..Options::default()
    }
}

pub fn open(folder: &std::path::Path) -> EmbeddedQueue {
    EmbeddedQueue::open(folder, options()).unwrap()
}

/// A record for destination `fhir` with one ordering key.
pub fn record(key: &str, text: &str) -> NewRecord {
    NewRecord {
        payload: Bytes::copy_from_slice(text.as_bytes()),
        received_at_ms: 1_700_000_000_000,
        listener: "lab".to_owned(),
        route: "results".to_owned(),
        ordering_keys: vec![key.to_owned()],
        dedup_key: None,
        content_hash: hash(text.as_bytes()),
        ack: Some(Bytes::from_static(b"ACK")),
        destinations: vec!["fhir".to_owned()],
        attributes: BTreeMap::from([("message_type".to_owned(), "ORU^R01".to_owned())]),
        ..NewRecord::default()
    }
}

/// Not a good hash, but another one for other short texts.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (index, byte) in bytes.iter().enumerate() {
        hash[index % 32] ^= byte.rotate_left(u32::try_from(index / 32 % 8).unwrap());
    }
    hash
}

pub async fn store(queue: &impl Look, record: NewRecord) -> RecordId {
    let appended = queue.queue().append(vec![record]).await.unwrap();
    match appended.into_iter().next().unwrap() {
        Appended::Stored(id) => id,
        other => panic!("not stored: {other:?}"),
    }
}

pub async fn lease(queue: &impl Look, destination: &str, max: usize) -> Vec<Lease> {
    lease_for(queue, destination, max, LEASE).await
}

/// What can be leased now, by record. A broker needs a moment to hand out what it has.
pub async fn lease_for(
    queue: &impl Look,
    destination: &str,
    max: usize,
    time: Duration,
) -> Vec<Lease> {
    let mut all = Vec::new();
    let mut quiet_at = Instant::now() + queue.grace();
    loop {
        let found = queue
            .queue()
            .lease(destination, max - all.len(), time)
            .await
            .unwrap();
        if !found.is_empty() {
            quiet_at = Instant::now() + queue.grace() / 3;
        }
        all.extend(found);
        if all.len() == max || Instant::now() >= quiet_at {
            all.sort_by_key(|lease: &Lease| lease.record);
            return all;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn texts(leases: &[Lease]) -> Vec<String> {
    leases
        .iter()
        .map(|lease| String::from_utf8(lease.payload.to_vec()).unwrap())
        .collect()
}

pub fn delivered() -> Outcome {
    Outcome::Delivered { detail: None }
}

pub fn dead(reason: &str) -> Outcome {
    Outcome::Dead {
        reason: reason.to_owned(),
        detail: Some("detail".to_owned()),
    }
}

pub fn park(reason: &str) -> Outcome {
    Outcome::Park {
        reason: reason.to_owned(),
        detail: None,
    }
}

pub fn retry_in(ms: i64, counted: bool) -> Outcome {
    Outcome::RetryAt {
        at_ms: now_ms() + ms,
        counted,
        reason: "busy".to_owned(),
    }
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Leases and delivers until nothing is left; the texts in the order of delivery.
pub async fn drain(queue: &impl Look, destination: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let leases = lease(queue, destination, 16).await;
        if leases.is_empty() {
            return all;
        }
        all.extend(texts(&leases));
        for lease in leases {
            queue.queue().settle(lease.id, delivered()).await.unwrap();
        }
    }
}

/// The books are right, by themselves and by a recount.
pub async fn assert_sound(queue: &impl Look) {
    let check = queue.queue().check(true).await.unwrap();
    assert!(check.is_sound(), "{check:?}");
    let status = queue.queue().status().await.unwrap();
    assert_eq!(status.mismatch, 0, "{status:?}");
}

/// A kind of store, with a place of its own.
pub enum Store {
    Embedded(tempfile::TempDir),
    RabbitMq {
        /// `None`: PostgreSQL.
        home: Option<tempfile::TempDir>,
        prefix: &'static str,
    },
}

/// A queue of any kind.
#[derive(Clone)]
pub struct Opened {
    queue: Arc<dyn Queue>,
    grace: Duration,
    shown: String,
}

/// What the helpers need to know of a queue.
pub trait Look {
    fn queue(&self) -> &dyn Queue;

    /// How long to wait for something to lease.
    fn grace(&self) -> Duration {
        Duration::ZERO
    }
}

impl<T: Queue> Look for T {
    fn queue(&self) -> &dyn Queue {
        self
    }
}

impl Look for Opened {
    fn queue(&self) -> &dyn Queue {
        self.queue.as_ref()
    }

    fn grace(&self) -> Duration {
        self.grace
    }
}

impl std::ops::Deref for Opened {
    type Target = dyn Queue;

    fn deref(&self) -> &(dyn Queue + 'static) {
        self.queue.as_ref()
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Store {
    pub fn embedded() -> Self {
        Self::Embedded(tempfile::tempdir().unwrap())
    }

    /// On the broker of this test file; `prefix` keeps the tests apart.
    pub fn rabbitmq(prefix: &'static str) -> Self {
        Self::RabbitMq {
            home: Some(tempfile::tempdir().unwrap()),
            prefix,
        }
    }

    /// The same with a home in PostgreSQL; `prefix` is the name of its database, too.
    pub fn rabbitmq_and_postgres(prefix: &'static str) -> Self {
        Self::RabbitMq { home: None, prefix }
    }

    pub fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }

    pub async fn open(&self) -> Opened {
        match self {
            Self::Embedded(folder) => {
                let queue = open(folder.path());
                Opened {
                    shown: format!("{queue:?}"),
                    queue: Arc::new(queue),
                    grace: Duration::ZERO,
                }
            }
            Self::RabbitMq { home, prefix } => {
                let options = RabbitOptions {
                    prefix: (*prefix).to_owned(),
                    partitions: 2,
                    ..RabbitOptions::new(
                        &broker::shared().url(),
                        &["fhir", "one", "two", "archive"],
                    )
                };
                let home = match home {
                    Some(folder) => Home::open(SqliteHome::open(folder.path()).unwrap()).await,
                    None => {
                        let url = postgres::shared().database(prefix).await;
                        let options = PostgresOptions::new(&url);
                        Home::open(PostgresHome::open(&options).await.unwrap()).await
                    }
                };
                let home = home.unwrap();
                let queue = RabbitQueue::open(options, home).await.unwrap();
                Opened {
                    shown: format!("{queue:?}"),
                    queue: Arc::new(queue),
                    grace: Duration::from_millis(1_200),
                }
            }
        }
    }

    /// Closes it and opens it again.
    pub async fn reopen(&self, queue: Opened) -> Opened {
        queue.close().await;
        drop(queue);
        self.open().await
    }
}

/// Makes a test of each function for each kind of store. One that is not named is never used, which the compiler
/// says.
#[macro_export]
macro_rules! each_store {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::Store::embedded()).await;
            })+
        }

        mod rabbitmq {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::Store::rabbitmq(stringify!($name))).await;
            })+
        }

        mod rabbitmq_and_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let prefix = concat!("pg-", stringify!($name));
                super::$name($crate::support::Store::rabbitmq_and_postgres(prefix)).await;
            })+
        }
    };
}
