//! The way out: a record from the queue becomes a Bundle at a FHIR server, in the order of its keys.
//!
//! One dispatcher per destination takes many keys at once and never two records of one key: that is the
//! queue's promise. While the circuit of its server is open it takes nothing, so that messages wait in the
//! queue and not in memory. A record leaves the queue only by [`queue::Queue::settle`].

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use queue::{Lease, Outcome, Queue};
use tokio::{sync::watch, task::JoinSet, time};

pub(crate) mod capability;
mod mapping_step;
mod observer;
mod pace;
mod publisher;
mod stack_config;
mod stale;
mod takes;
#[cfg(test)]
mod tests;
mod verdict;

pub use mapping_step::{MappingStep, Setup};
pub use observer::DestinationObserver;
pub use publisher::Publisher;
pub(crate) use stack_config::{client_tls, credential, signing_keys, stack_config};

use mapping_step::{MapFailure, Mapped};
use pace::Pace;
use takes::Takes;
use verdict::{Verdict, judge, too_old};

use crate::{
    config::{Destination, exchange::Content, route::OnPoison},
    events::{DestinationEvents, Events, RouteEvents},
    receive::unix_millis,
};

/// Leases taken at once per request slot: enough that converting and settling overlap with sending.
const LEASES_PER_SLOT: usize = 4;
/// How often messages for a test server that is away are looked at.
const MIRROR_LOOKS: Duration = Duration::from_secs(10);
/// Reason of a delivery that a test server refused.
const MIRROR_FAILED: &str = "mirror-failed";
/// Reason of a delivery that was too old for a test server.
const MIRROR_LATE: &str = "mirror-late";
/// Wait before asking a queue again that has failed.
const QUEUE_RETRY: Duration = Duration::from_secs(1);

/// What is at the other end.
pub enum Way {
    /// A FHIR server.
    Server(Box<upstream::Stack>),
    /// An exchange of a broker.
    Exchange(Box<Publisher>),
}

/// Delivers everything for one destination.
pub struct Dispatcher {
    config: Destination,
    takes: Takes,
    pace: Option<Pace>,
    /// For a test server that gets a share of the traffic: how long messages wait for it.
    mirror: Option<Duration>,
    mapping: Arc<MappingStep>,
    way: Way,
    queue: Arc<dyn Queue>,
    events: Arc<DestinationEvents>,
}

impl Way {
    /// Waits until something may be sent.
    async fn ready(&self) {
        match self {
            Self::Server(stack) => stack.ready().await,
            Self::Exchange(publisher) => publisher.ready().await,
        }
    }
}

impl Dispatcher {
    /// A dispatcher for the destination `config`.
    pub fn new(
        config: Destination,
        mapping: Arc<MappingStep>,
        way: Way,
        queue: Arc<dyn Queue>,
        events: &Events,
    ) -> Self {
        let events = Arc::new(events.destination(&config.name));
        Self {
            takes: Takes::new(&config.takes),
            pace: config.takes.rate.map(Pace::new),
            mirror: None,
            config,
            mapping,
            way,
            queue,
            events,
        }
    }

    /// The same for a test server: what fails there is told and forgotten, and nothing waits longer than `max_age`.
    #[must_use]
    pub fn mirrors(mut self, max_age: Duration) -> Self {
        self.mirror = Some(max_age);
        self.events.mirrors();
        self
    }

    /// Delivers until `shutdown` says true, then finishes what is in hand; what takes longer than
    /// `drain_timeout` is cut off and comes again after the next start.
    pub async fn run(
        self: Arc<Self>,
        mut shutdown: watch::Receiver<bool>,
        drain_timeout: Duration,
    ) {
        let slots = self.config.concurrency.saturating_mul(LEASES_PER_SLOT);
        let mut working = JoinSet::new();
        while !*shutdown.borrow() {
            while working.try_join_next().is_some() {}
            let leases = match slots.saturating_sub(working.len()) {
                0 => Vec::new(),
                free => self.lease(free, &mut shutdown).await,
            };
            let nothing = leases.is_empty();
            for lease in leases {
                working.spawn(Arc::clone(&self).deliver(lease));
            }
            if nothing {
                tokio::select! {
                    _ = shutdown.wait_for(|stop| *stop) => {}
                    Some(_) = working.join_next(), if !working.is_empty() => {}
                    () = self.queue.wait(&self.config.name), if working.len() < slots => {}
                }
            }
        }
        let drained = time::timeout(drain_timeout, async {
            while working.join_next().await.is_some() {}
        })
        .await;
        if drained.is_err() {
            self.events.internal(
                "drain",
                "deliveries were cut off; they are made again after the start",
            );
        }
    }

    /// Waits until the server may be asked, then takes what is there. Once asked, the queue is heard to the
    /// end: a lease that nobody hears of would block its key until it runs out.
    async fn lease(&self, free: usize, shutdown: &mut watch::Receiver<bool>) -> Vec<Lease> {
        let free = tokio::select! {
            free = self.may_send(free) => free,
            _ = shutdown.wait_for(|stop| *stop) => return Vec::new(),
        };
        match self
            .queue
            .lease(&self.config.name, free, self.lease_time())
            .await
        {
            Ok(leases) => {
                if let Some(pace) = &self.pace {
                    pace.give_back(free.saturating_sub(leases.len()));
                }
                leases
            }
            Err(error) => {
                self.events.internal("lease", &error.to_string());
                time::sleep(QUEUE_RETRY).await;
                Vec::new()
            }
        }
    }

    /// Waits until the server may be asked, and says for how many messages; never more than `free`.
    async fn may_send(&self, free: usize) -> usize {
        match self.mirror {
            None => self.way.ready().await,
            // What waits for a test server gets old while that is away.
            Some(_) => drop(time::timeout(MIRROR_LOOKS, self.way.ready()).await),
        }
        match &self.pace {
            Some(pace) => pace.take(free).await,
            None => free,
        }
    }

    /// One record: map it, send it, settle it.
    async fn deliver(self: Arc<Self>, lease: Lease) {
        let started = Instant::now();
        let late = self.mirror.is_some_and(|max_age| age(&lease) > max_age);
        let verdict = if late {
            Verdict::Filtered {
                reason: MIRROR_LATE,
            }
        } else if self.takes.message(&lease.payload) {
            self.convey(&lease).await
        } else {
            Verdict::Filtered {
                reason: takes::PROCESSING,
            }
        };
        let (verdict, route) = match self.mirror {
            Some(max_age) => (self.of_mirror(&lease, verdict, max_age), None),
            None => (verdict, self.mapping.events(&lease.route)),
        };
        self.report(&lease, &verdict, route, started);
        self.settle(&lease, verdict).await;
    }

    /// Maps and sends what may come here.
    async fn convey(&self, lease: &Lease) -> Verdict {
        if let Way::Exchange(publisher) = &self.way
            && publisher.content() == Content::Message
            && !self.takes.asks_the_bundle()
        {
            return self.publish(publisher, lease, &lease.payload).await;
        }
        let mapped = match self.mapping.map(lease, &self.config).await {
            Ok(mapped) => mapped,
            Err(MapFailure::Park(detail)) => {
                return Verdict::Park {
                    reason: "code-miss",
                    detail,
                };
            }
            Err(MapFailure::Terminology(why)) => {
                return Verdict::Park {
                    reason: "terminology",
                    detail: why.to_string(),
                };
            }
            Err(failure) => return Verdict::poison(failure.reason(), failure.detail()),
        };
        if !self.takes.bundle(mapped.body()).await {
            return Verdict::Filtered {
                reason: takes::CONDITION,
            };
        }
        match &self.way {
            Way::Server(stack) => self.send(stack, lease, mapped).await,
            Way::Exchange(publisher) => {
                let body = match publisher.content() {
                    Content::Bundle => mapped.body(),
                    Content::Message => &lease.payload,
                };
                self.publish(publisher, lease, body).await
            }
        }
    }

    /// Publishes what was mapped, or the message itself.
    async fn publish(&self, publisher: &Publisher, lease: &Lease, body: &Bytes) -> Verdict {
        let verdict = publisher.publish(lease, body).await;
        if matches!(&verdict, Verdict::Later { .. }) && too_old(&self.config, lease) {
            return Verdict::poison("max-age", "the broker did not take it".to_owned());
        }
        verdict
    }

    /// Sends a Bundle; of a batch, only what was not stored is sent again.
    async fn send(&self, stack: &upstream::Stack, lease: &Lease, mapped: Mapped) -> Verdict {
        let (times, told) = (mapped.judged().times.clone(), mapped.judged().told());
        if let Some(told) = &told {
            self.events
                .stale(lease.record, mapped.judged().older.len(), told);
            if mapped.judged().nothing {
                return Verdict::Done {
                    detail: told.clone(),
                };
            }
        }
        let mut request = mapped.request(lease);
        let give_up = Instant::now() + self.config.timeout * 2;
        loop {
            let answer = stack.deliver(request.clone()).await;
            match judge(answer, &self.config, lease) {
                Verdict::Again { entries, after } if Instant::now() + after < give_up => {
                    time::sleep(after).await;
                    request.entries = Some(entries);
                }
                // Later the whole Bundle goes again; conditional writes make that harmless.
                Verdict::Again { after, .. } => return Verdict::later("mixed", after, true),
                Verdict::Done { detail } => {
                    // Before it is settled: what a crash loses here comes again with the message.
                    if let Err(why) = self.mapping.newest().note(times).await {
                        self.events.internal("newest", &why);
                    }
                    let detail = match told {
                        Some(told) => format!("{detail}; {told}"),
                        None => detail,
                    };
                    return Verdict::Done { detail };
                }
                verdict => return verdict,
            }
        }
    }

    /// What fails at a test server is no dead letter and holds nobody up.
    fn of_mirror(&self, lease: &Lease, verdict: Verdict, max_age: Duration) -> Verdict {
        match verdict {
            Verdict::Poison { reason, detail } | Verdict::Park { reason, detail } => {
                self.events.mirror_failed(lease.record, reason, &detail);
                Verdict::Filtered {
                    reason: MIRROR_FAILED,
                }
            }
            Verdict::Later { .. } | Verdict::Again { .. } if age(lease) > max_age => {
                Verdict::Filtered {
                    reason: MIRROR_LATE,
                }
            }
            verdict => verdict,
        }
    }

    fn report(
        &self,
        lease: &Lease,
        verdict: &Verdict,
        route: Option<&RouteEvents>,
        started: Instant,
    ) {
        match verdict {
            Verdict::Done { .. } => {
                self.events.delivered(lease.record, started.elapsed());
                if let Some(route) = route {
                    route.arrived(lease.record, age(lease));
                }
            }
            Verdict::Later { reason, after, .. } => {
                self.events.put_off(lease.record, reason, *after)
            }
            Verdict::Again { after, .. } => self.events.put_off(lease.record, "mixed", *after),
            Verdict::Filtered { reason } => self.events.filtered(lease.record, reason),
            Verdict::Park { reason, detail } => self.events.parked(lease.record, reason, detail),
            Verdict::Poison { reason, detail } => match self.mapping.on_poison(&lease.route) {
                OnPoison::DeadLetterAndContinue => {
                    self.events.dead_lettered(lease.record, reason, detail)
                }
                OnPoison::ParkKey | OnPoison::StopDestination => {
                    self.events.parked(lease.record, reason, detail)
                }
            },
        }
    }

    /// Tells the queue. When it cannot be told, the lease runs out and the record comes again.
    async fn settle(&self, lease: &Lease, verdict: Verdict) {
        let stop = matches!(verdict, Verdict::Poison { .. })
            && self.mapping.on_poison(&lease.route) == OnPoison::StopDestination;
        let outcome = self.outcome(lease, verdict);
        if let Err(error) = self.queue.settle(lease.id, outcome).await {
            self.events.internal("settle", &error.to_string());
        }
        if stop {
            let reason = format!("record {} can never be delivered", lease.record);
            if let Err(error) = self.queue.pause(&self.config.name, &reason).await {
                self.events.internal("pause", &error.to_string());
            }
        }
    }

    fn outcome(&self, lease: &Lease, verdict: Verdict) -> Outcome {
        let some = |detail: String| Some(detail).filter(|detail| !detail.is_empty());
        let later = |after: Duration| unix_millis(SystemTime::now() + after);
        match verdict {
            Verdict::Done { detail } => Outcome::Delivered {
                detail: some(detail),
            },
            Verdict::Later {
                reason,
                after,
                counted,
            } => Outcome::RetryAt {
                at_ms: later(after),
                counted,
                reason: reason.to_owned(),
            },
            Verdict::Again { after, .. } => Outcome::RetryAt {
                at_ms: later(after),
                counted: true,
                reason: "mixed".to_owned(),
            },
            Verdict::Filtered { reason } => Outcome::Filtered {
                reason: reason.to_owned(),
            },
            Verdict::Park { reason, detail } => Outcome::Park {
                reason: reason.to_owned(),
                detail: some(detail),
            },
            Verdict::Poison { reason, detail } => match self.mapping.on_poison(&lease.route) {
                OnPoison::DeadLetterAndContinue => Outcome::Dead {
                    reason: reason.to_owned(),
                    detail: some(detail),
                },
                OnPoison::ParkKey | OnPoison::StopDestination => Outcome::Park {
                    reason: reason.to_owned(),
                    detail: some(detail),
                },
            },
        }
    }

    /// Longer than all the requests in front of it can take.
    fn lease_time(&self) -> Duration {
        // One delivery may take eight requests' time when it goes in parts.
        let rounds = u32::try_from(LEASES_PER_SLOT).unwrap_or(1) + 3 + 8;
        (self.config.timeout * rounds).max(queue::DEFAULT_LEASE)
    }
}

/// How long ago a record came in.
fn age(lease: &Lease) -> Duration {
    let age = unix_millis(SystemTime::now()).saturating_sub(lease.received_at_ms);
    Duration::from_millis(u64::try_from(age).unwrap_or(0))
}
