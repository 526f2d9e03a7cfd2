//! What happens between a route and its terminology server.

use std::sync::Arc;

use tracing::{info, warn};
use upstream::State;

use super::Throttle;
use crate::metrics::Metrics;

/// Events of the terminology server of one route.
pub struct TerminologyEvents {
    route: String,
    metrics: Arc<Metrics>,
    throttle: Throttle,
}

impl TerminologyEvents {
    pub(super) fn new(metrics: &Arc<Metrics>, route: &str) -> Self {
        Self {
            route: route.to_owned(),
            metrics: Arc::clone(metrics),
            throttle: Throttle::new(),
        }
    }

    fn count(&self, outcome: &str) {
        self.metrics
            .terminology
            .with_label_values(&[&self.route, outcome])
            .inc();
    }

    /// A code was asked for: whether there is a translation; `None` when the server could not say.
    pub fn answered(&self, translated: Option<bool>) {
        self.count(match translated {
            Some(true) => "translated",
            Some(false) => "unknown",
            None => "failed",
        });
    }

    /// All codes that a message misses were asked for before.
    pub fn remembered(&self) {
        self.count("remembered");
    }

    /// The server does not answer; `why` holds nothing of its answer.
    pub fn unavailable(&self, why: &str) {
        self.count("failed");
        if let Some(held_back) = self.throttle.pass() {
            warn!(event = "terminology_unavailable", route = %self.route, why, held_back);
        }
    }
}

impl upstream::Observer for TerminologyEvents {
    fn circuit(&self, _: State, to: State) {
        info!(event = "terminology_circuit", route = %self.route, state = to.as_str());
    }
}
