//! What can go wrong with a queue, and what the caller should do about it.

use std::{error::Error, path::PathBuf, sync::Arc};

/// Result of a queue operation.
pub type Result<T, E = QueueError> = std::result::Result<T, E>;

/// The cause below a [`QueueError`]; shared, because one failed commit fails every request in it.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// A failed queue operation. No variant carries message bytes or field text.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Appending would pass a bound. Nothing was stored; settling and leasing go on, and appending works
    /// again as soon as there is space: no reopening needed.
    #[error("queue is full: {0}")]
    Full(Bound),
    /// The storage failed. When a commit failed the queue stops (see [`QueueError::Stopped`]).
    #[error("queue storage failed")]
    Io(#[source] Cause),
    /// An earlier commit failed, so nobody knows what reached the disk: the queue acknowledges nothing
    /// until it is opened again, which reads the truth back from the disk.
    #[error("queue stopped after a failed commit and must be opened again")]
    Stopped,
    /// Another process (or another part of this one) has the queue open.
    #[error("queue is in use{}: lock file {}", .pid.map(|pid| format!(" by process {pid}")).unwrap_or_default(), .path.display())]
    Locked {
        /// The lock file, which holds the process id of the owner.
        path: PathBuf,
        /// That process id, where it could be read.
        pid: Option<u32>,
    },
    /// The database is damaged beyond one record (one damaged record is quarantined instead).
    #[error("queue data is damaged")]
    Corrupt(#[source] Cause),
    /// The file was written by a newer release; this one refuses to touch it.
    #[error("queue {} has schema version {found}, this release knows versions up to {supported}: use the newer release", .path.display())]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// Schema version in the file.
        found: u32,
        /// Newest schema version of this build.
        supported: u32,
    },
    /// The file is a database, but not one of ours.
    #[error("{} is not a queue", .0.display())]
    Foreign(PathBuf),
    /// Something in the queue is encrypted with a key that is not among those given.
    #[error(
        "the queue needs the encryption key {name}, which is not among those given: add it behind the others; once `fhirway queue reencrypt` is done it can go"
    )]
    MissingKey {
        /// Name of the key, derived from it (see [`EncryptionKey::name`](crate::EncryptionKey::name)).
        name: String,
    },
    /// The request itself is wrong; retrying it cannot help.
    #[error("invalid request: {0}")]
    Invalid(&'static str),
    /// This kind of store has no such operation.
    #[error("this queue cannot {0}")]
    Unsupported(&'static str),
    /// The lease has expired and was given to someone else, was settled before, or is from before a restart.
    #[error("lease is no longer held")]
    LeaseLost,
    /// No record has this id (any more).
    #[error("no such record")]
    NotFound,
    /// The queue was closed.
    #[error("queue is closed")]
    Closed,
    /// The broker or the shared home cannot be reached, or did not confirm. Nothing was promised: whoever wanted to
    /// append sends again, and the record takes effect once.
    #[error("{0} is not available")]
    Unavailable(&'static str, #[source] Cause),
    /// Exchanges or queues at the broker are not what the configuration asks for.
    #[error("{0}")]
    Topology(String),
    /// The bytes of a record are with the broker until something has happened to it.
    #[error("its bytes are with the broker until it has been delivered or held")]
    WithTheBroker,
    /// The database gave a transaction up because of another one. It is tried again; told only when that has no end.
    #[error("the shared home is too busy: transactions keep colliding")]
    Entangled,
}

/// Which bound refuses an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// `Options::max_bytes`.
    MaxBytes,
    /// `Options::min_free_bytes`: what must stay free on the file system.
    FreeDisk,
    /// The file system had no space left.
    Disk,
}

/// What kind of failure it is: decides between a negative ACK, an alarm and a start error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// No room: refuse new messages for now, go on delivering.
    Full,
    /// Storage failure: stop acknowledging, raise an alarm.
    Io,
    /// Broker or shared home away: refuse new messages for now; it goes on by itself.
    Unavailable,
    /// Owned by another process.
    Locked,
    /// Damaged data.
    Corrupt,
    /// Written by a newer release.
    NewerSchema,
    /// A mistake of the caller.
    Invalid,
    /// The lease is gone; whatever was done under it may be done again by its next holder.
    Lease,
    /// The queue is closed.
    Closed,
}

// === impl QueueError ===

impl QueueError {
    /// The kind of failure.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Full(_) => Class::Full,
            Self::Io(_) | Self::Stopped => Class::Io,
            Self::Unavailable(..) | Self::Entangled => Class::Unavailable,
            Self::Locked { .. } => Class::Locked,
            Self::Corrupt(_) => Class::Corrupt,
            Self::NewerSchema { .. } => Class::NewerSchema,
            Self::Foreign(_)
            | Self::Invalid(_)
            | Self::Unsupported(_)
            | Self::NotFound
            | Self::MissingKey { .. }
            | Self::Topology(_)
            | Self::WithTheBroker => Class::Invalid,
            Self::LeaseLost => Class::Lease,
            Self::Closed => Class::Closed,
        }
    }
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(Bound::Disk),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt(Arc::new(error))
            }
            _ => Self::Io(Arc::new(error)),
        }
    }
}

impl From<std::io::Error> for QueueError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull => Self::Full(Bound::Disk),
            _ => Self::Io(Arc::new(error)),
        }
    }
}

// === impl Bound ===

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MaxBytes => "its size limit is reached",
            Self::FreeDisk => "the disk reserve is reached",
            Self::Disk => "no space left on the disk",
        })
    }
}
