//! Named events: each method counts and logs together, and none has a field that can hold payload.
//!
//! Who reports something calls one method here and formats nothing. What happens once per message is
//! logged at `debug`; what a person should see at `info` and above; what can come in floods is throttled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

mod destination;
mod listener;
mod package;
mod queue_observer;
mod route;
mod terminology;

pub use destination::DestinationEvents;
pub use listener::ListenerEvents;
pub use package::PackageEvents;
pub use queue_observer::QueueEvents;
pub use route::RouteEvents;
pub use terminology::TerminologyEvents;

use crate::{announce::Announcer, metrics::Metrics};

/// Hands out the event types of one listener, route or destination, with their metrics looked up once.
#[derive(Clone)]
pub struct Events {
    metrics: Arc<Metrics>,
    announcer: Option<Announcer>,
}

impl Events {
    /// Events that count into `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            announcer: None,
        }
    }

    /// The same, and what becomes of records is told to others as well.
    #[must_use]
    pub fn announced(mut self, announcer: Announcer) -> Self {
        self.announcer = Some(announcer);
        self
    }

    /// The metrics themselves.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Events of a listener.
    pub fn listener(&self, name: &str) -> ListenerEvents {
        ListenerEvents::new(&self.metrics, name, self.announcer.clone())
    }

    /// Events of a route.
    pub fn route(&self, name: &str) -> RouteEvents {
        RouteEvents::new(&self.metrics, name)
    }

    /// Events of the terminology server of a route.
    pub fn terminology(&self, route: &str) -> TerminologyEvents {
        TerminologyEvents::new(&self.metrics, route)
    }

    /// Events of a destination.
    pub fn destination(&self, name: &str) -> DestinationEvents {
        DestinationEvents::new(&self.metrics, name, self.announcer.clone())
    }

    /// Events of the mapping packages.
    pub fn packages(&self) -> PackageEvents {
        PackageEvents::new(&self.metrics)
    }

    /// Events of the queue.
    pub fn queue(&self) -> QueueEvents {
        QueueEvents::new(Arc::clone(&self.metrics))
    }
}

/// Lets one log line through every few seconds and tells how many were held back.
pub(crate) struct Throttle {
    started: Instant,
    next_ms: AtomicU64,
    held: AtomicU64,
}

impl Throttle {
    const EVERY_MS: u64 = 10_000;

    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            next_ms: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }

    /// `Some(held back since the last line)` when a line may be written now.
    pub(crate) fn pass(&self) -> Option<u64> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = self.next_ms.load(Ordering::Relaxed);
        let pass = now >= next
            && self
                .next_ms
                .compare_exchange(
                    next,
                    now + Self::EVERY_MS,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if pass {
            Some(self.held.swap(0, Ordering::Relaxed))
        } else {
            self.held.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_one_line() {
        let throttle = Throttle::new();
        assert_eq!(throttle.pass(), Some(0));
        for _ in 0..1000 {
            assert_eq!(throttle.pass(), None);
        }
        throttle.next_ms.store(0, Ordering::Relaxed);
        assert_eq!(throttle.pass(), Some(1000));
    }
}
