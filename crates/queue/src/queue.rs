//! The seam: what every store must do.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    browse::{Filter, RecordDetail, RecordSummary, Release, Replay, Replayed, Retained, Retention},
    error::{QueueError, Result},
    hold::{AuditEntry, Backup, Hold, HoldId, NewAudit, NewHold},
    record::{Appended, Lease, LeaseId, NewRecord, Outcome, RecordId},
    status::{Check, Status},
};

/// A durable store-and-forward queue with one position per destination.
///
/// Promises, for every store behind this trait:
/// 1. What `append` returned is durable: it survives a kill and, as far as the disk is honest, a power cut.
/// 2. Every stored record is leased for each of its destinations until it is settled with a final outcome:
///    at least once, and again after a crash, an expired lease or a restart.
/// 3. Per destination and ordering key, a record is leased only when every earlier record with that key is
///    delivered, dead or filtered.
/// 4. `accepted = queued + waiting + leased + retrying + parked + delivered + dead + filtered`, always.
/// 5. Memory does not grow with the number of records stored.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Stores all records of the batch or none; durable when it returns. The answers are in the order of
    /// the batch.
    async fn append(&self, batch: Vec<NewRecord>) -> Result<Vec<Appended>>;

    /// Takes up to `max` records for a destination, oldest first, and only the head of each ordering key.
    /// Empty: use [`Queue::wait`]. A paused or unknown destination yields nothing. Who needs longer than
    /// `lease_for` may lose the record to someone else.
    async fn lease(&self, destination: &str, max: usize, lease_for: Duration)
    -> Result<Vec<Lease>>;

    /// Ends a lease. Durable when it returns. An expired lease can be settled as long as nobody else got
    /// the record.
    async fn settle(&self, lease: LeaseId, outcome: Outcome) -> Result<()>;

    /// Returns when something may be leasable for the destination: after an append, a settle, a release or
    /// a resume, or when a retry or an expired lease falls due. It may return without need, never too late.
    async fn wait(&self, destination: &str);

    /// Where everything stands.
    async fn status(&self) -> Result<Status>;

    /// Whether what [`Queue::append`] needs besides this process answers; says why not.
    async fn reachable(&self) -> Result<()> {
        Ok(())
    }

    /// Deliveries that match, by record number. A page ends after `limit` lines; go on with `after`.
    async fn list(&self, filter: &Filter) -> Result<Vec<RecordSummary>>;

    /// Everything about one record but its payload.
    async fn show(&self, record: RecordId) -> Result<RecordDetail>;

    /// The bytes of one record, exactly as appended.
    async fn payload(&self, record: RecordId) -> Result<Bytes>;

    /// Appends matching records again, each as a new record linked to its original, in the original order.
    async fn replay(&self, replay: Replay) -> Result<Replayed>;

    /// Lets matching parked (or retrying) deliveries go on; returns how many.
    async fn release(&self, filter: Filter, release: Release) -> Result<usize>;

    /// Leases nothing for the destination until it is resumed, also after a restart. What is leased stays so.
    async fn pause(&self, destination: &str, reason: &str) -> Result<()>;

    /// Undoes [`Queue::pause`].
    async fn resume(&self, destination: &str) -> Result<()>;

    /// Removes what the policy allows, in small steps between other work.
    async fn retain(&self, policy: Retention) -> Result<Retained>;

    /// Recounts everything and compares it with the books; with `payloads`, also verifies every checksum.
    async fn check(&self, payloads: bool) -> Result<Check>;

    /// From now on matching deliveries wait, parked with the reason [`REASON_HELD`](crate::REASON_HELD), until
    /// they are let through by [`Queue::pass`] or the hold is taken away.
    async fn hold(&self, _hold: NewHold) -> Result<HoldId> {
        Err(QueueError::Unsupported("hold deliveries"))
    }

    /// Takes a hold away and lets go on what it holds; returns how many.
    async fn unhold(&self, _hold: HoldId) -> Result<usize> {
        Err(QueueError::Unsupported("hold deliveries"))
    }

    /// The holds in force.
    async fn holds(&self) -> Result<Vec<Hold>> {
        Ok(Vec::new())
    }

    /// Lets the first `count` open deliveries that match go now, by record number, though their destination
    /// is paused or they are held, parked or put off; returns how many. Order per key still holds.
    async fn pass(&self, _filter: Filter, _count: usize) -> Result<usize> {
        Err(QueueError::Unsupported("let single deliveries through"))
    }

    /// Writes down what a person did; durable when it returns. A store without a place for it tells the log.
    async fn note(&self, entry: NewAudit) -> Result<()> {
        let NewAudit {
            who,
            action,
            detail,
        } = entry;
        tracing::info!(event = "audit", who, action, detail);
        Ok(())
    }

    /// What people did, oldest first, after the entry numbered `after`.
    async fn audit(&self, _after: i64, _limit: usize) -> Result<Vec<AuditEntry>> {
        Err(QueueError::Unsupported("list what was done by hand"))
    }

    /// Copies everything into a new file while the queue works, and verifies the copy.
    async fn backup(&self, _to: PathBuf) -> Result<Backup> {
        Err(QueueError::Unsupported("make a backup"))
    }

    /// Encrypts with the first key everything that is not; returns how many records were rewritten.
    async fn reencrypt(&self) -> Result<u64> {
        Err(QueueError::Unsupported("encrypt what it holds"))
    }

    /// Ends in order what runs in the background: what others may take over is let go of at once. Nothing is lost
    /// without it; other nodes just notice later.
    async fn close(&self) {}
}
