//! The upstream stack's events, as metrics and log lines.

use std::sync::Arc;

use upstream::{Attempt, Reason, State};

use crate::events::{DestinationEvents, Events};

/// Observer of one destination's stack.
pub struct DestinationObserver(Arc<DestinationEvents>);

impl DestinationObserver {
    /// For the destination `name`.
    pub fn new(events: &Events, name: &str) -> Self {
        Self(Arc::new(events.destination(name)))
    }
}

impl upstream::Observer for DestinationObserver {
    fn attempt(&self, attempt: &Attempt) {
        self.0.attempted(match attempt.status {
            Some(200..=299) => "2xx",
            Some(300..=399) => "3xx",
            Some(429) => "429",
            Some(400..=499) => "4xx",
            Some(500..=599) => "5xx",
            Some(_) => "other",
            None => "no_answer",
        });
    }

    fn token(&self, ends: Option<std::time::SystemTime>) {
        self.0.token(ends);
    }

    fn circuit(&self, _from: State, to: State) {
        let (state, why) = match to {
            State::Closed => ("up", ""),
            State::Open { reason, .. } | State::HalfOpen { reason } => {
                let state = match reason {
                    Reason::Throttled => "throttled",
                    Reason::Failures => "open",
                    Reason::Auth | Reason::Config => "paused",
                };
                (state, reason.as_str())
            }
        };
        // A probe is not news: the state is as bad as before until it has succeeded.
        if !matches!(to, State::HalfOpen { .. }) {
            self.0.state(state, why);
        }
    }
}
