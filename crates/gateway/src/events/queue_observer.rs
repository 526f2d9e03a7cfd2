//! What the queue tells about its own work.

use std::sync::Arc;

use tracing::{debug, error, warn};

use super::Throttle;
use crate::metrics::Metrics;

/// Events of the queue; its observer.
pub struct QueueEvents {
    metrics: Arc<Metrics>,
    throttle: Throttle,
}

impl QueueEvents {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            throttle: Throttle::new(),
        }
    }
}

impl queue::Observer for QueueEvents {
    fn committed(&self, commit: &queue::Commit) {
        self.metrics.fsync.observe(commit.commit.as_secs_f64());
        debug!(
            event = "queue_committed",
            records = commit.records,
            settled = commit.settled
        );
    }

    fn quarantined(&self, record: queue::RecordId, destination: &str) {
        self.metrics.corrupt_records.inc();
        error!(event = "record_corrupt", record = record.0, destination);
    }

    fn stopped(&self) {
        error!(
            event = "queue_stopped",
            advice = "nothing is acknowledged any more: check the disk, then restart"
        );
    }

    fn refused(&self, records: usize) {
        self.metrics.queue_refused.inc_by(records as u64);
        if let Some(held_back) = self.throttle.pass() {
            warn!(event = "queue_full", records, held_back);
        }
    }
}
