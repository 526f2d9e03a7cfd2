//! The circuit breaker of one destination. Open, it pauses the dispatcher; it does not fail messages.
//!
//! - Closed: requests pass. It opens after `failures` requests in a row that show an ailing server, and at once when
//!   the server throttles, refuses the credential, or cannot be used as configured.
//! - Open until an instant: calls answer [`Class::Paused`] without being sent, and [`Gate::ready`] waits.
//! - Half-open: one probe passes; its verdict closes the circuit, or opens it for twice as long.
//!
//! Rules that circuit breakers get wrong, and where they hold here: the state is asked before inner readiness, so
//! that nobody queues for a slot of a dead server (and asked again after, for those who did queue); the probe is
//! reserved under one lock; a probe that is cancelled gives its reservation back ([`Permit`] on drop); a verdict of
//! a request that was sent before the last change of state does not count.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use crate::backoff;
use crate::config;
use crate::failure::{Class, Failure};
use crate::observe::Observer;
use crate::request::{Delivered, Request};

/// The state of a destination's circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Requests pass.
    Closed,
    /// Nothing is sent before `until`.
    Open {
        /// When a probe is due.
        until: Instant,
        /// What opened it.
        reason: Reason,
    },
    /// One probe passes.
    HalfOpen {
        /// What had opened it.
        reason: Reason,
    },
}

/// What opened a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Requests in a row that failed: 5xx, timeouts, no connection.
    Failures,
    /// The server asked to be left alone.
    Throttled,
    /// The server refuses the credential: needs a person.
    Auth,
    /// The destination cannot be used as configured: needs a person.
    Config,
}

/// The breaker's state, shared by all clones of a stack.
#[derive(Clone)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
}

/// The layer's service.
#[derive(Clone)]
pub(crate) struct CircuitBreaker<S> {
    inner: S,
    gate: Gate,
}

struct Shared {
    settings: config::Breaker,
    longest_retry_after: Duration,
    circuit: Mutex<Circuit>,
    state: watch::Sender<State>,
    observer: Arc<dyn Observer>,
}

struct Circuit {
    state: State,
    /// Counts changes of state; a verdict of an older one is stale.
    epoch: u64,
    /// Failures in a row while closed.
    failures: u32,
    /// Times opened since it was last closed: the pause doubles.
    openings: u32,
    probing: bool,
}

/// Leave to send one request in one epoch. Dropped without a verdict, a probe's reservation is given back.
struct Permit {
    shared: Arc<Shared>,
    epoch: u64,
    probe: bool,
}

/// What a finished request says about the server.
enum Verdict {
    Well,
    Failed,
    Refuse {
        pause: Option<Duration>,
        reason: Reason,
    },
}

// === impl State ===

impl State {
    /// The label for metrics: `closed`, `open`, `half-open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }

    /// Why it is not closed.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Closed => None,
            Self::Open { reason, .. } | Self::HalfOpen { reason } => Some(reason),
        }
    }
}

// === impl Reason ===

impl Reason {
    /// The label for metrics and alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Throttled => "throttled",
            Self::Auth => "auth",
            Self::Config => "config",
        }
    }
}

// === impl Gate ===

impl Gate {
    pub(crate) fn new(
        settings: config::Breaker,
        longest_retry_after: Duration,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let circuit = Circuit {
            state: State::Closed,
            epoch: 0,
            failures: 0,
            openings: 0,
            probing: false,
        };
        Self {
            shared: Arc::new(Shared {
                settings,
                longest_retry_after,
                circuit: Mutex::new(circuit),
                state: watch::Sender::new(State::Closed),
                observer,
            }),
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Waits until a request would be let through. Several may wake for one probe; the others are told to retry.
    pub(crate) async fn ready(&self) {
        let mut state = self.watch();
        loop {
            let now = *state.borrow_and_update();
            let due = match now {
                State::Closed => return,
                State::HalfOpen { .. } if !self.shared.lock().probing => return,
                State::HalfOpen { .. } => None,
                State::Open { until, .. } if until <= Instant::now() => return,
                State::Open { until, .. } => Some(until),
            };
            let changed = state.changed();
            match due {
                // Either way the loop looks again; the sender lives as long as `self`.
                Some(until) => drop(tokio::time::timeout_at(until, changed).await),
                None => drop(changed.await),
            }
        }
    }

    /// How long to wait before a call that was refused is worth repeating.
    pub(crate) fn pause_left(&self) -> Duration {
        match self.shared.lock().state {
            State::Open { until, .. } => until.saturating_duration_since(Instant::now()),
            _ => Duration::ZERO,
        }
    }

    fn admit(&self) -> Result<Permit, Failure> {
        let mut circuit = self.shared.lock();
        let probe = match circuit.state {
            State::Closed => false,
            State::Open { until, reason } if until <= Instant::now() => {
                self.shared.change(&mut circuit, State::HalfOpen { reason });
                circuit.probing = true;
                true
            }
            State::HalfOpen { .. } if !circuit.probing => {
                circuit.probing = true;
                true
            }
            State::Open { reason, .. } | State::HalfOpen { reason } => return Err(paused(reason)),
        };
        Ok(Permit {
            shared: Arc::clone(&self.shared),
            epoch: circuit.epoch,
            probe,
        })
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Circuit> {
        // Every change under the lock is complete in itself, so a poisoned one is still sound.
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, circuit: &mut Circuit, to: State) {
        let from = std::mem::replace(&mut circuit.state, to);
        circuit.epoch += 1;
        circuit.probing = false;
        self.state.send_replace(to);
        self.observer.circuit(from, to);
    }

    fn open(&self, circuit: &mut Circuit, pause: Option<Duration>, reason: Reason) {
        let settings = &self.settings;
        let usual = backoff::ceiling(
            settings.first_pause,
            settings.longest_pause,
            circuit.openings,
        );
        let pause = pause.map_or(usual, |told| told.min(self.longest_retry_after));
        circuit.openings = circuit.openings.saturating_add(1);
        let until = Instant::now() + pause;
        self.change(circuit, State::Open { until, reason });
    }
}

// === impl Permit ===

impl Permit {
    /// Whether the circuit is still as it was when the permit was given.
    fn check(&self) -> Result<(), Failure> {
        let circuit = self.shared.lock();
        match circuit.state {
            State::Open { reason, .. } | State::HalfOpen { reason }
                if circuit.epoch != self.epoch =>
            {
                Err(paused(reason))
            }
            _ => Ok(()),
        }
    }

    fn settle(self, verdict: &Verdict) {
        let mut circuit = self.shared.lock();
        if circuit.epoch != self.epoch {
            return;
        }
        match *verdict {
            Verdict::Well => {
                circuit.failures = 0;
                if self.probe {
                    circuit.openings = 0;
                    self.shared.change(&mut circuit, State::Closed);
                }
            }
            Verdict::Failed => {
                circuit.failures = circuit.failures.saturating_add(1);
                if self.probe || circuit.failures >= self.shared.settings.failures {
                    circuit.failures = 0;
                    self.shared.open(&mut circuit, None, Reason::Failures);
                }
            }
            Verdict::Refuse { pause, reason } => {
                circuit.failures = 0;
                self.shared.open(&mut circuit, pause, reason);
            }
        }
        // The epoch moved on if this was a probe, so the drop below changes nothing.
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.probe {
            return;
        }
        let mut circuit = self.shared.lock();
        if circuit.epoch == self.epoch && circuit.probing {
            circuit.probing = false;
            // Wakes those who wait for the probe's place.
            self.shared.state.send_replace(circuit.state);
        }
    }
}

// === impl Verdict ===

impl Verdict {
    fn of(result: &Result<Delivered, Failure>) -> Self {
        let Err(failure) = result else {
            return Self::Well;
        };
        match failure.class {
            Class::Ambiguous | Class::Transient => Self::Failed,
            Class::Throttled { retry_after } => Self::Refuse {
                pause: retry_after,
                reason: Reason::Throttled,
            },
            Class::Auth => Self::Refuse {
                pause: None,
                reason: Reason::Auth,
            },
            Class::Config => Self::Refuse {
                pause: None,
                reason: Reason::Config,
            },
            // The server is well enough to say what is wrong with the message.
            _ => Self::Well,
        }
    }
}

fn paused(reason: Reason) -> Failure {
    Failure::new(Class::Paused { reason }, "circuit open, not sent")
}

// === impl CircuitBreaker ===

impl<S> CircuitBreaker<S> {
    pub(crate) fn new(inner: S, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

impl<S> Service<Request> for CircuitBreaker<S>
where
    S: Service<Request, Response = Delivered, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Delivered;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Delivered, Failure>>;

    /// Always ready: readiness of the inner service is awaited inside the call, after the circuit has been asked.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut inner = self.inner.clone();
        let gate = self.gate.clone();
        Box::pin(async move {
            let permit = gate.admit()?;
            let inner = inner.ready().await?;
            permit.check()?;
            let result = inner.call(request).await;
            permit.settle(&Verdict::of(&result));
            result
        })
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
