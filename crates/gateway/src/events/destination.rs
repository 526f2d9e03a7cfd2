//! What happens between the queue and a destination.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus::{Histogram, IntCounter};
use tracing::{debug, error, info, warn};

use super::{Throttle, listener::millis};
use crate::{
    announce::{Announcer, Event},
    metrics::Metrics,
};

/// The states a destination can be in, as label values.
const STATES: [&str; 4] = ["up", "throttled", "open", "paused"];

/// Events of one destination.
pub struct DestinationEvents {
    name: String,
    metrics: Arc<Metrics>,
    duration: Histogram,
    delivered: IntCounter,
    throttle: Throttle,
    announcer: Option<Announcer>,
}

impl DestinationEvents {
    pub(super) fn new(metrics: &Arc<Metrics>, name: &str, announcer: Option<Announcer>) -> Self {
        let events = Self {
            duration: metrics.delivery_duration.with_label_values(&[name]),
            delivered: metrics.delivered.with_label_values(&[name]),
            throttle: Throttle::new(),
            announcer,
            name: name.to_owned(),
            metrics: Arc::clone(metrics),
        };
        events.set_state("up");
        events
    }

    /// One HTTP request ended; `code_class` is `2xx`, `5xx`, `timeout`, ...
    pub fn attempted(&self, code_class: &str) {
        self.metrics
            .attempts
            .with_label_values(&[&self.name, code_class])
            .inc();
    }

    /// A message is stored there.
    pub fn delivered(&self, record: queue::RecordId, took: Duration) {
        self.delivered.inc();
        self.duration.observe(took.as_secs_f64());
        debug!(event = "delivered", destination = %self.name, record = record.0, took_ms = millis(took));
        self.tell("delivered", record, None);
    }

    /// A delivery is put off.
    pub fn put_off(&self, record: queue::RecordId, reason: &str, after: Duration) {
        self.metrics
            .retries
            .with_label_values(&[&self.name, reason])
            .inc();
        if let Some(held_back) = self.throttle.pass() {
            warn!(event = "delivery_put_off", destination = %self.name, record = record.0, reason, retry_ms = millis(after), held_back);
        }
    }

    /// A message does not go there after all; a person asks for the number, not for each.
    pub fn filtered(&self, record: queue::RecordId, reason: &str) {
        self.metrics
            .not_taken
            .with_label_values(&[&self.name, reason])
            .inc();
        debug!(event = "not_taken", destination = %self.name, record = record.0, reason);
        self.tell("not-taken", record, Some(reason));
    }

    /// It is a test server that gets a share of the traffic.
    pub fn mirrors(&self) {
        self.metrics
            .mirrors
            .with_label_values(&[&self.name])
            .set(1.0);
    }

    /// A test server refused a message, or its maps did; `detail` has codes and element paths.
    pub fn mirror_failed(&self, record: queue::RecordId, reason: &str, detail: &str) {
        self.metrics
            .mirror_failures
            .with_label_values(&[&self.name, reason])
            .inc();
        if let Some(held_back) = self.throttle.pass() {
            info!(event = "mirror_failed", destination = %self.name, record = record.0, reason, detail, held_back);
        }
    }

    /// A message was given up; `detail` has codes and element paths, no text of the message.
    pub fn dead_lettered(&self, record: queue::RecordId, reason: &str, detail: &str) {
        self.metrics
            .dead_lettered
            .with_label_values(&[&self.name, reason])
            .inc();
        error!(event = "dead_lettered", destination = %self.name, record = record.0, reason, detail);
        self.tell("dead-lettered", record, Some(reason));
    }

    /// An ordering key waits for a person.
    pub fn parked(&self, record: queue::RecordId, reason: &str, detail: &str) {
        error!(event = "key_parked", destination = %self.name, record = record.0, reason, detail);
    }

    /// The destination changed its state: one of `up`, `throttled`, `open`, `paused`.
    pub fn state(&self, state: &'static str, why: &str) {
        self.metrics
            .circuit_transitions
            .with_label_values(&[&self.name, state])
            .inc();
        self.set_state(state);
        if state == "up" {
            info!(event = "destination_up", destination = %self.name);
        } else {
            error!(event = "destination_down", destination = %self.name, state, why);
        }
    }

    /// An access token was asked for; `ends` is when the new one does.
    pub fn token(&self, ends: Option<SystemTime>) {
        let result = if ends.is_some() { "ok" } else { "failed" };
        self.metrics
            .token_refresh
            .with_label_values(&[&self.name, result])
            .inc();
        match ends {
            Some(ends) => {
                let seconds = ends.duration_since(UNIX_EPOCH).unwrap_or_default();
                self.metrics
                    .token_expiry
                    .with_label_values(&[&self.name])
                    .set(seconds.as_secs_f64());
                debug!(event = "token_renewed", destination = %self.name);
            }
            None => {
                if let Some(held_back) = self.throttle.pass() {
                    warn!(event = "token_refused", destination = %self.name, held_back);
                }
            }
        }
    }

    /// Resources of a message are left as they are, being newer at the destination; `what` has counts and types only.
    pub fn stale(&self, record: queue::RecordId, count: usize, what: &str) {
        self.metrics
            .stale
            .with_label_values(&[&self.name])
            .inc_by(count as u64);
        info!(event = "older_message", destination = %self.name, record = record.0, what);
    }

    /// `/metadata` was held against what the routes need: how much is missing, and what, where that is news.
    pub fn capabilities(&self, missing: usize, news: Option<&str>) {
        let result = if missing == 0 { "ok" } else { "missing" };
        self.metrics
            .capability_checks
            .with_label_values(&[&self.name, result])
            .inc();
        #[expect(clippy::cast_precision_loss, reason = "a few dozen at most")]
        self.metrics
            .capability_missing
            .with_label_values(&[&self.name])
            .set(missing as f64);
        match news {
            Some(_) if missing == 0 => {
                info!(event = "capabilities_sufficient", destination = %self.name);
            }
            Some(what) => {
                warn!(event = "capabilities_missing", destination = %self.name, missing, what, advice = "fhirway upstream check");
            }
            None => {}
        }
    }

    /// `/metadata` could not be read; `news`: for the first time since it could.
    pub fn capabilities_unknown(&self, why: &str, news: bool) {
        self.metrics
            .capability_checks
            .with_label_values(&[&self.name, "failed"])
            .inc();
        if news {
            warn!(event = "capabilities_unknown", destination = %self.name, why);
        }
    }

    /// Something went wrong that is the gateway's own fault or the disk's.
    pub fn internal(&self, what: &'static str, why: &str) {
        if let Some(held_back) = self.throttle.pass() {
            error!(event = "internal_error", destination = %self.name, what, why, held_back);
        }
    }

    fn tell(&self, event: &'static str, record: queue::RecordId, reason: Option<&str>) {
        if let Some(announcer) = &self.announcer {
            announcer.tell(Event {
                event,
                record: record.0,
                listener: None,
                route: None,
                destination: Some(self.name.clone()),
                reason: reason.map(str::to_owned),
            });
        }
    }

    fn set_state(&self, current: &str) {
        for state in STATES {
            let value = if state == current { 1.0 } else { 0.0 };
            self.metrics
                .destination_state
                .with_label_values(&[&self.name, state])
                .set(value);
        }
    }
}
