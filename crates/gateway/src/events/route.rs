//! What happens to messages of a route on their way to a Bundle.

use std::{sync::Arc, time::Duration};

use prometheus::Histogram;
use tracing::{debug, warn};

use super::{Throttle, listener::millis};
use crate::metrics::Metrics;

/// Events of one route.
pub struct RouteEvents {
    name: String,
    metrics: Arc<Metrics>,
    duration: Histogram,
    end_to_end: Histogram,
    throttle: Throttle,
}

impl RouteEvents {
    pub(super) fn new(metrics: &Arc<Metrics>, name: &str) -> Self {
        Self {
            duration: metrics.mapping_duration.with_label_values(&[name]),
            end_to_end: metrics.end_to_end.with_label_values(&[name]),
            throttle: Throttle::new(),
            name: name.to_owned(),
            metrics: Arc::clone(metrics),
        }
    }

    /// A message became a Bundle.
    pub fn mapped(&self, record: queue::RecordId, took: Duration, resources: usize, issues: usize) {
        self.duration.observe(took.as_secs_f64());
        debug!(event = "message_mapped", route = %self.name, record = record.0, resources, issues);
    }

    /// `count` segments of this name have content that no rule took.
    pub fn unmapped(&self, segment: &str, count: u64) {
        let label = self.metrics.segment(segment);
        self.metrics
            .unmapped_segments
            .with_label_values(&[label])
            .inc_by(count);
    }

    /// A code table has no entry for a code.
    pub fn code_miss(&self, table: &str) {
        self.metrics.code_misses.with_label_values(&[table]).inc();
    }

    /// A message could not be mapped.
    pub fn mapping_failed(&self, record: queue::RecordId, reason: &str) {
        self.metrics
            .mapping_errors
            .with_label_values(&[&self.name, reason])
            .inc();
        if let Some(held_back) = self.throttle.pass() {
            warn!(event = "mapping_failed", route = %self.name, record = record.0, reason, held_back);
        }
    }

    /// The validator found something.
    pub fn validation_issue(&self, severity: &str) {
        self.metrics
            .validation_issues
            .with_label_values(&[&self.name, severity])
            .inc();
    }

    /// The message is stored at a destination, `after` it was received.
    pub fn arrived(&self, record: queue::RecordId, after: Duration) {
        self.end_to_end.observe(after.as_secs_f64());
        debug!(event = "message_arrived", route = %self.name, record = record.0, after_ms = millis(after));
    }
}
