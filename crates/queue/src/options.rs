//! How a queue is to be kept.

use std::{sync::Arc, time::Duration};

use crate::{encryption::EncryptionKey, faults::Faults, observer::Observer};

/// Options of an [`EmbeddedQueue`](crate::EmbeddedQueue).
#[derive(Clone)]
pub struct Options {
    /// How resent records are recognised.
    pub dedup: Dedup,
    /// `append` answers `Full` when the data takes this many bytes. Default: no bound.
    pub max_bytes: Option<u64>,
    /// What settling may use beyond `max_bytes`. Default 64 MiB.
    pub reserve_bytes: u64,
    /// `append` answers `Full` when the file system has less than this free, so that deliveries and dead
    /// letters can still be written down. Default 256 MiB.
    pub min_free_bytes: u64,
    /// Longest payload, bytes. Default 256 MiB; SQLite's own bound is 1 GB.
    pub max_payload: usize,
    /// Pages of the write-ahead log after which they are moved into the database. Default 4,000.
    pub checkpoint_pages: u32,
    /// Bytes of page cache of the writer. Default 32 MiB.
    pub cache_bytes: u64,
    /// The first encrypts what is stored from now on, all of them decrypt. Empty: nothing is encrypted.
    pub keys: Vec<EncryptionKey>,
    /// Told about commits and faults.
    pub observer: Option<Arc<dyn Observer>>,
    /// Told (and asked) at named points of a commit; for crash tests.
    pub faults: Option<Arc<dyn Faults>>,
}

/// How resent records are recognised: among the newest `count` records, stored within `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// How long a key is remembered. Default 7 days.
    pub window: Duration,
    /// Among how many of the newest records. Default 10 million.
    pub count: u64,
    /// What to do with the same key and other content.
    pub on_conflict: OnConflict,
}

/// What to do with a record that has the key of an earlier one and other content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Store it, flagged: senders do reuse control ids, and losing a result is worse than one too many.
    #[default]
    Process,
    /// Refuse it.
    Reject,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            dedup: Dedup::default(),
            max_bytes: None,
            reserve_bytes: 64 << 20,
            min_free_bytes: 256 << 20,
            max_payload: 256 << 20,
            checkpoint_pages: 4_000,
            cache_bytes: 32 << 20,
            keys: Vec::new(),
            observer: None,
            faults: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("dedup", &self.dedup)
            .field("max_bytes", &self.max_bytes)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("min_free_bytes", &self.min_free_bytes)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

// === impl Dedup ===

impl Default for Dedup {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(7 * 24 * 3600),
            count: 10_000_000,
            on_conflict: OnConflict::Process,
        }
    }
}
