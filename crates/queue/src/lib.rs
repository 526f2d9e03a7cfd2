//! The durable store-and-forward queue.

mod browse;
mod embedded;
mod error;
mod faults;
mod observer;
mod options;
mod queue;
mod record;
mod status;

pub use self::{
    browse::{
        DeliveryDetail, Filter, RecordDetail, RecordSummary, Release, Replay, Replayed,
        ReplayedRecord, Retained, Retention,
    },
    embedded::{EmbeddedQueue, QueueReader},
    error::{Bound, Cause, Class, QueueError, Result},
    faults::{Fault, Faults, Point},
    observer::{Commit, Observer},
    options::{Dedup, OnConflict, Options},
    queue::Queue,
    record::{Appended, DEFAULT_LEASE, Lease, LeaseId, NewRecord, Outcome, RecordId, State},
    status::{Check, DestinationStatus, Status},
};

/// Reason of a dead letter whose bytes no longer fit their checksum.
pub const REASON_CORRUPT: &str = "corrupt";
