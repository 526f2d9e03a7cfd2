//! What the queue tells about its own work, for metrics and logs.

use std::time::Duration;

use crate::record::RecordId;

/// Told about commits and faults, by whichever thread writes: be quick, do not block.
pub trait Observer: Send + Sync {
    /// A group was committed.
    fn committed(&self, _commit: &Commit) {}

    /// A record's checksum did not fit: it became a dead letter with the reason `corrupt`.
    fn quarantined(&self, _record: RecordId, _destination: &str) {}

    /// A commit failed and the queue stopped acknowledging. Raise an alarm.
    fn stopped(&self) {}

    /// An append was refused because of a bound.
    fn refused(&self, _records: usize) {}
}

/// One committed group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Records stored.
    pub records: usize,
    /// Duplicates recognised.
    pub duplicates: usize,
    /// Leases settled.
    pub settled: usize,
    /// Requests of all kinds in the group.
    pub requests: usize,
    /// Bytes of payload stored.
    pub bytes: u64,
    /// From the begin of the transaction to before its commit.
    pub work: Duration,
    /// The commit itself, which waits for the disk.
    pub commit: Duration,
}
