//! The way out: a record from the queue becomes a Bundle at a FHIR server, in the order of its keys.
//!
//! One dispatcher per destination takes many keys at once and never two records of one key: that is the
//! queue's promise. While the circuit of its server is open it takes nothing, so that messages wait in the
//! queue and not in memory. A record leaves the queue only by [`queue::Queue::settle`].

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use queue::{Lease, Outcome, Queue};
use tokio::{sync::watch, task::JoinSet, time};

mod mapping_step;
mod observer;
mod stack_config;
mod takes;
#[cfg(test)]
mod tests;
mod verdict;

pub use mapping_step::{MappingStep, Setup};
pub use observer::DestinationObserver;
pub(crate) use stack_config::{signing_keys, stack_config};

use mapping_step::{MapFailure, Mapped};
use takes::Takes;
use verdict::{Verdict, judge};

use crate::{
    config::{Destination, route::OnPoison},
    events::{DestinationEvents, Events, RouteEvents},
    receive::unix_millis,
};

/// Leases taken at once per request slot: enough that converting and settling overlap with sending.
const LEASES_PER_SLOT: usize = 4;
/// Wait before asking a queue again that has failed.
const QUEUE_RETRY: Duration = Duration::from_secs(1);

/// Delivers everything for one destination.
pub struct Dispatcher {
    config: Destination,
    takes: Takes,
    mapping: Arc<MappingStep>,
    upstream: upstream::Stack,
    queue: Arc<dyn Queue>,
    events: Arc<DestinationEvents>,
}

impl Dispatcher {
    /// A dispatcher for the destination `config`.
    pub fn new(
        config: Destination,
        mapping: Arc<MappingStep>,
        upstream: upstream::Stack,
        queue: Arc<dyn Queue>,
        events: &Events,
    ) -> Self {
        let events = Arc::new(events.destination(&config.name));
        Self {
            takes: Takes::new(&config.takes),
            config,
            mapping,
            upstream,
            queue,
            events,
        }
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
        tokio::select! {
            () = self.upstream.ready() => {}
            _ = shutdown.wait_for(|stop| *stop) => return Vec::new(),
        }
        match self
            .queue
            .lease(&self.config.name, free, self.lease_time())
            .await
        {
            Ok(leases) => leases,
            Err(error) => {
                self.events.internal("lease", &error.to_string());
                time::sleep(QUEUE_RETRY).await;
                Vec::new()
            }
        }
    }

    /// One record: map it, send it, settle it.
    async fn deliver(self: Arc<Self>, lease: Lease) {
        let started = Instant::now();
        let verdict = if self.takes.message(&lease.payload) {
            self.convey(&lease).await
        } else {
            Verdict::Filtered {
                reason: takes::PROCESSING,
            }
        };
        let route = self.mapping.events(&lease.route);
        self.report(&lease, &verdict, route, started);
        self.settle(&lease, verdict).await;
    }

    /// Maps and sends what may come here.
    async fn convey(&self, lease: &Lease) -> Verdict {
        match self.mapping.map(lease, &self.config).await {
            Ok(mapped) if self.takes.bundle(mapped.body()).await => self.send(lease, mapped).await,
            Ok(_) => Verdict::Filtered {
                reason: takes::CONDITION,
            },
            Err(MapFailure::Park(detail)) => Verdict::Park {
                reason: "code-miss",
                detail,
            },
            Err(failure) => Verdict::poison(failure.reason(), failure.detail()),
        }
    }

    /// Sends a Bundle; of a batch, only what was not stored is sent again.
    async fn send(&self, lease: &Lease, mapped: Mapped) -> Verdict {
        let mut request = mapped.request(lease);
        let give_up = Instant::now() + self.config.timeout * 2;
        loop {
            let answer = self.upstream.deliver(request.clone()).await;
            match judge(answer, &self.config, lease) {
                Verdict::Again { entries, after } if Instant::now() + after < give_up => {
                    time::sleep(after).await;
                    request.entries = Some(entries);
                }
                // Later the whole Bundle goes again; conditional writes make that harmless.
                Verdict::Again { after, .. } => return Verdict::later("mixed", after, true),
                verdict => return verdict,
            }
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
                let age = unix_millis(SystemTime::now()).saturating_sub(lease.received_at_ms);
                if let Some(route) = route {
                    route.arrived(lease.record, Duration::from_millis(age.unsigned_abs()));
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
        let rounds = u32::try_from(LEASES_PER_SLOT).unwrap_or(1) + 3;
        (self.config.timeout * rounds).max(queue::DEFAULT_LEASE)
    }
}
