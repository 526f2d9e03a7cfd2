//! The trait, on top of publisher, feeds and home.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    Shared,
    feed::{Feed, Settling},
    link::Link,
    members::Members,
    message::Message,
    options::RabbitOptions,
    publish::{Append, DeadLetter, Publisher},
    settler::Settler,
    topology::{self, Names},
};
use crate::{
    browse::{
        Filter, RecordDetail, RecordSummary, Release, Replay, Replayed, ReplayedRecord, Retained,
        Retention,
    },
    error::{QueueError, Result},
    home::{Admission, Change, Confirmed, Home, Leased, total},
    queue::Queue,
    record::{Appended, Lease, LeaseId, NewRecord, Outcome, RecordId, State},
    status::{Check, Status},
};

/// Requests on their way to the publisher; more wait at the sender.
const REQUESTS: usize = 1_024;

/// The queue on RabbitMQ. See the module documentation for what it promises and how.
pub struct RabbitQueue {
    shared: Arc<Shared>,
    appends: Mutex<Option<mpsc::Sender<Append>>>,
    settler: Settler,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    last_lease: AtomicU64,
    /// The connection of what is appended.
    appending: Arc<Link>,
    /// Confirmed by the broker, and not in the books yet.
    confirmed: Arc<Mutex<Vec<Confirmed>>>,
}

/// Gives a lease back when its settle is cut off.
struct CutOff<'a> {
    feed: &'a Feed,
    id: Option<LeaseId>,
}

// === impl RabbitQueue ===

impl RabbitQueue {
    /// Connects, declares and checks the topology, and takes part in delivering.
    ///
    /// # Errors
    /// `Topology` when exchanges or queues differ from what is needed, with what and how to mend it;
    /// `Unavailable` when the broker or the home does not answer.
    pub async fn open(options: RabbitOptions, home: Home) -> Result<Self> {
        let home = Arc::new(home);
        let node = node_name();
        let appending = Arc::new(Link::new(&format!("fhirway appends {node}"), &options));
        topology::declare_dead(&appending, &options).await?;
        for destination in &options.destinations {
            topology::declare(&appending, &options, destination).await?;
        }
        let feeds: BTreeMap<String, Arc<Feed>> = options
            .destinations
            .iter()
            .filter(|_| options.deliver)
            .map(|name| {
                let feed = Feed::new(name, options.partitions, Arc::clone(&home));
                (name.clone(), Arc::new(feed))
            })
            .collect();
        let shared = Arc::new(Shared {
            names: Names::new(&options.prefix),
            consumers: Link::new(&format!("fhirway delivers {node}"), &options),
            feeds,
            node,
            burials: tokio::sync::Mutex::default(),
            gone: AtomicBool::new(false),
            home: Arc::clone(&home),
            options: options.clone(),
        });
        let (appends, requests) = mpsc::channel(REQUESTS);
        let confirmed: Arc<Mutex<Vec<Confirmed>>> = Arc::default();
        let publisher = Publisher {
            home: Arc::clone(&home),
            link: Arc::clone(&appending),
            names: Names::new(&options.prefix),
            declared: options.destinations.iter().cloned().collect(),
            channel: None,
            judged: None,
            confirmed: Arc::clone(&confirmed),
            options,
        };
        let mut tasks = vec![tokio::spawn(publisher.run(requests))];
        let (stop, stopped) = watch::channel(false);
        if !shared.feeds.is_empty() {
            let mut members = Members::new(Arc::clone(&shared));
            members.beat().await?;
            tasks.push(tokio::spawn(members.run(stopped)));
        }
        Ok(Self {
            shared,
            appends: Mutex::new(Some(appends)),
            settler: Settler::start(home),
            stop,
            tasks: Mutex::new(tasks),
            last_lease: AtomicU64::new(0),
            appending,
            confirmed,
        })
    }

    fn home(&self) -> &Home {
        &self.shared.home
    }

    /// The number of a lease says which destination it is of.
    fn next_lease(&self, number: usize) -> LeaseId {
        let count = self.last_lease.fetch_add(1, Ordering::Relaxed) + 1;
        let (feeds, number) = (self.shared.feeds.len() as u64, number as u64);
        LeaseId(count * feeds + number)
    }

    fn feed_of(&self, lease: LeaseId) -> Option<&Arc<Feed>> {
        let number = lease.0.checked_rem(self.shared.feeds.len() as u64)?;
        self.shared
            .feeds
            .values()
            .nth(usize::try_from(number).ok()?)
    }

    fn leased(&self) -> Leased {
        let mut leased = HashSet::new();
        for feed in self.shared.feeds.values() {
            feed.add_leased(&mut leased);
        }
        leased
    }

    async fn admit(&self, admissions: Vec<Admission>) -> Result<Vec<Appended>> {
        let sender = self
            .appends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (answer, answered) = oneshot::channel();
        sender
            .ok_or(QueueError::Closed)?
            .send(Append { admissions, answer })
            .await
            .map_err(|_ended| QueueError::Closed)?;
        answered.await.unwrap_or(Err(QueueError::Closed))
    }

    /// Books what was confirmed a moment ago, so that whoever looks sees what this node has acknowledged.
    async fn book(&self) -> Result<()> {
        let confirmed = std::mem::take(
            &mut *self
                .confirmed
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let booked = self.home().confirm(&confirmed).await;
        if booked.is_err() {
            self.confirmed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(confirmed);
        }
        booked
    }

    /// Gives up a delivery that is held.
    async fn give_up(&self, line: &RecordSummary, destination: &str, reason: &str) -> Result<()> {
        let (copy, _) = self.home().copy(line.record, destination).await?;
        let message = Message::new(line.record.0, &copy, line.replay_of.map(|id| id.0));
        let letter = DeadLetter {
            message: &message,
            destination,
            attempts: line.attempts,
            reason,
            detail: None,
            keep: self.shared.options.dead_for,
        };
        self.shared.bury(&letter).await?;
        let change = Change {
            message: Arc::new(message),
            destination: destination.to_owned(),
            part: 0,
            seq: 0,
            lanes: Vec::new(),
            state: State::Dead,
            attempts: line.attempts,
            not_before: 0,
            reason: Some(reason.to_owned()),
            detail: None,
            stale: false,
        };
        self.settler.settle(change).await.map(drop)
    }

    async fn settle_begun(&self, feed: &Feed, settling: Settling) -> Result<()> {
        let change = &settling.change;
        let buried = if change.state == State::Dead && !change.stale {
            self.shared
                .bury(&DeadLetter {
                    message: &change.message,
                    destination: &change.destination,
                    attempts: change.attempts,
                    reason: change.reason.as_deref().unwrap_or_default(),
                    detail: change.detail.as_deref(),
                    keep: self.shared.options.dead_for,
                })
                .await
        } else {
            Ok(())
        };
        let written = match buried {
            Ok(()) => self.settler.settle(settling.change.clone()).await,
            Err(error) => Err(error),
        };
        feed.end(settling, written).await
    }
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn append(&self, batch: Vec<NewRecord>) -> Result<Vec<Appended>> {
        let mut admissions = Vec::with_capacity(batch.len());
        for mut record in batch {
            if record.payload.len() > self.shared.options.max_payload {
                return Err(QueueError::Invalid(
                    "payload is longer than this queue takes",
                ));
            }
            if record.destinations.iter().any(String::is_empty) {
                return Err(QueueError::Invalid("a destination has no name"));
            }
            let mut seen = HashSet::new();
            record
                .destinations
                .retain(|destination| seen.insert(destination.clone()));
            admissions.push(Admission {
                record,
                replay_of: None,
            });
        }
        if admissions.is_empty() {
            return Ok(Vec::new());
        }
        self.admit(admissions).await
    }

    async fn lease(
        &self,
        destination: &str,
        max: usize,
        lease_for: Duration,
    ) -> Result<Vec<Lease>> {
        let found = self
            .shared
            .feeds
            .iter()
            .enumerate()
            .find(|(_, (name, _))| *name == destination);
        let Some((number, (_, feed))) = found.filter(|_| max > 0) else {
            return Ok(Vec::new());
        };
        let leased = feed
            .lease(max, lease_for, || self.next_lease(number))
            .await?;
        let mut leases = Vec::with_capacity(leased.len());
        for (lease, damaged) in leased {
            if !damaged {
                leases.push(lease);
                continue;
            }
            tracing::error!(
                record = lease.record.0,
                destination,
                "record is damaged: dead letter"
            );
            let reason = crate::REASON_CORRUPT.to_owned();
            self.settle(
                lease.id,
                Outcome::Dead {
                    reason,
                    detail: None,
                },
            )
            .await?;
            if let Some(observer) = &self.shared.options.observer {
                observer.quarantined(lease.record, destination);
            }
        }
        Ok(leases)
    }

    async fn settle(&self, lease: LeaseId, outcome: Outcome) -> Result<()> {
        let feed = self.feed_of(lease).ok_or(QueueError::LeaseLost)?;
        let settling = feed.begin(lease, &outcome)?;
        let mut cut_off = CutOff {
            feed,
            id: Some(lease),
        };
        let settled = self.settle_begun(feed, settling).await;
        cut_off.id = None;
        settled
    }

    async fn wait(&self, destination: &str) {
        match self.shared.feeds.get(destination) {
            Some(feed) => feed.wait().await,
            // Nothing is ever delivered there by this node.
            None => std::future::pending().await,
        }
    }

    async fn status(&self) -> Result<Status> {
        self.book().await?;
        let mut status = self.home().status().await?;
        for (name, feed) in &self.shared.feeds {
            let Some(line) = status.destinations.get_mut(name) else {
                continue;
            };
            for (_, stored) in feed.leased() {
                let from = match stored {
                    State::Waiting => &mut line.waiting,
                    State::Retrying => &mut line.retrying,
                    _ => &mut line.queued,
                };
                if *from > 0 {
                    *from -= 1;
                    line.leased += 1;
                }
            }
        }
        total(&mut status);
        Ok(status)
    }

    async fn reachable(&self) -> Result<()> {
        self.appending.reachable().await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<RecordSummary>> {
        self.book().await?;
        self.home().list(filter, &self.leased()).await
    }

    async fn show(&self, record: RecordId) -> Result<RecordDetail> {
        self.home().show(record, &self.leased()).await
    }

    async fn payload(&self, record: RecordId) -> Result<Bytes> {
        let mut feeds = self.shared.feeds.values();
        match feeds.find_map(|feed| feed.payload(record.0)) {
            Some(payload) => Ok(payload),
            None => self.home().payload(record).await,
        }
    }

    async fn replay(&self, replay: Replay) -> Result<Replayed> {
        if let Some(token) = &replay.token
            && let Some(answer) = self.home().answered(token).await?
        {
            return Ok(answer);
        }
        let lines = self.list(&replay.filter).await?;
        let mut answer = Replayed::default();
        let distinct: HashSet<RecordId> = lines.iter().map(|line| line.record).collect();
        if distinct.len() >= replay.filter.effective_limit() {
            answer.next = lines.last().map(|line| line.record);
        }
        let mut last = None;
        for line in lines {
            let original = line.record;
            let destination = match (&replay.destination, line.destination) {
                // Once per record, even if several of its deliveries match.
                (Some(_), _) if last == Some(original) => continue,
                (Some(other), _) => other.clone(),
                (None, Some(own)) => own,
                (None, None) => continue,
            };
            last = Some(original);
            if self.home().is_open(original, &destination).await? {
                answer.open += 1;
                continue;
            }
            answer.matched += 1;
            if replay.dry_run {
                continue;
            }
            let (record, first) = self.home().copy(original, &destination).await?;
            let admission = Admission {
                record,
                replay_of: Some(first),
            };
            for appended in self.admit(vec![admission]).await? {
                if let Appended::Stored(record) = appended {
                    answer.records.push(ReplayedRecord {
                        original,
                        record,
                        destination: destination.clone(),
                    });
                }
            }
        }
        if let (Some(token), false) = (&replay.token, replay.dry_run) {
            self.home().answer(token, &answer).await?;
        }
        Ok(answer)
    }

    async fn release(&self, filter: Filter, release: Release) -> Result<usize> {
        let mut released = 0;
        for wanted in [State::Parked, State::Retrying] {
            if filter.state.is_some_and(|state| state != wanted) {
                continue;
            }
            let filter = Filter {
                state: Some(wanted),
                ..filter.clone()
            };
            for line in self.list(&filter).await? {
                let Some(destination) = line.destination.clone() else {
                    continue;
                };
                let done = match &release {
                    Release::Retry => {
                        let home = self.home();
                        home.make_ready(line.record.0, &destination).await?
                    }
                    Release::Dead { reason } => {
                        self.give_up(&line, &destination, reason).await?;
                        true
                    }
                };
                released += usize::from(done);
            }
        }
        for feed in self.shared.feeds.values() {
            feed.look();
        }
        Ok(released)
    }

    async fn pause(&self, destination: &str, reason: &str) -> Result<()> {
        self.home().pause(destination, Some(reason)).await?;
        if let Some(feed) = self.shared.feeds.get(destination) {
            feed.set_paused(true);
        }
        Ok(())
    }

    async fn resume(&self, destination: &str) -> Result<()> {
        self.home().pause(destination, None).await?;
        if let Some(feed) = self.shared.feeds.get(destination) {
            feed.set_paused(false);
        }
        Ok(())
    }

    async fn retain(&self, policy: Retention) -> Result<Retained> {
        self.book().await?;
        self.home().retain(&policy).await
    }

    async fn check(&self, payloads: bool) -> Result<Check> {
        self.book().await?;
        self.home().check(payloads).await
    }

    async fn close(&self) {
        self.appends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if task.await.is_err() {
                tracing::error!("a task of the queue ended by a panic");
            }
        }
        self.settler.close().await;
        self.shared.consumers.close().await;
    }
}

impl Drop for RabbitQueue {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Relaxed);
        self.stop.send_replace(true);
    }
}

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.feed.forget(id);
        }
    }
}

impl std::fmt::Debug for RabbitQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitQueue")
            .field("node", &self.shared.node)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

/// A name that no other process has, now or after a restart.
fn node_name() -> String {
    let now = crate::embedded::wall_ms();
    format!("{}-{now:x}", std::process::id())
}
