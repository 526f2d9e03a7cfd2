//! One destination as this node sees it: its queues' windows, what the home holds for them, and what is leased.
//!
//! A record is leased when it is the first on its lane. What comes home first (retries, parked records and those
//! behind them) goes first: the home holds the older part of a lane, the window the newer. Before a record of the
//! window is handed out, the home is asked whether it has been settled or come home already: the broker delivers
//! again what was not acknowledged, and publishers publish again what was not confirmed.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lapin::{Acker, options::BasicAckOptions};
use tokio::{sync::Notify, time};

use super::{message::Message, window::Window};
use crate::{
    error::{QueueError, Result},
    home::{Change, HeldRecord, Home, Leased as LeasedSet, Settled},
    record::{Lease, LeaseId, Outcome, RecordId, State},
};

/// How often a lease looks again when all it found had been settled before.
const ROUNDS: usize = 8;

/// One destination.
pub(crate) struct Feed {
    pub(crate) destination: String,
    pub(crate) home: Arc<Home>,
    state: Mutex<FeedState>,
    changed: Notify,
}

#[derive(Default)]
pub(crate) struct FeedState {
    pub(crate) parts: Vec<Part>,
    leases: HashMap<LeaseId, Leased>,
    paused: bool,
}

/// One queue of the destination.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) window: Window,
    /// This node tends it.
    pub(crate) active: bool,
    /// It is about to be let go of: nothing new is leased.
    pub(crate) draining: bool,
    /// The highest place given to what came home.
    pub(crate) last_seq: i64,
    /// When retries fall due, by the clock of the home.
    due: BTreeSet<i64>,
    /// Something that is held may go now.
    look: bool,
    /// Held records that are leased.
    held_leased: HashSet<i64>,
}

/// Where a leased record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Window { place: u64, epoch: u64 },
    Held { seq: i64, state: State },
}

#[derive(Clone, Debug)]
struct Leased {
    part: usize,
    source: Source,
    message: Arc<Message>,
    lanes: Vec<i64>,
    attempts: u32,
    deadline: Instant,
    settling: bool,
}

/// A record of a window that is about to be leased.
struct Pick {
    part: usize,
    place: u64,
    epoch: u64,
    message: Arc<Message>,
    lanes: Vec<i64>,
}

/// Gives picks back when a lease is cut off or fails.
struct Picks<'a> {
    feed: &'a Feed,
    picks: Vec<Pick>,
}

/// What a settle has to write, and how to go on afterwards.
pub(crate) struct Settling {
    pub(crate) change: Change,
    leased: Leased,
    id: LeaseId,
}

// === impl Feed ===

impl Feed {
    pub(crate) fn new(destination: &str, partitions: u16, home: Arc<Home>) -> Self {
        let parts = (0..partitions).map(|_| Part::default()).collect();
        Self {
            destination: destination.to_owned(),
            home,
            state: Mutex::new(FeedState {
                parts,
                ..FeedState::default()
            }),
            changed: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may be leasable now.
    pub(crate) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Changes the state of one queue, if there is such a queue.
    pub(crate) fn with<T: Default>(&self, part: usize, work: impl FnOnce(&mut Part) -> T) -> T {
        self.lock()
            .parts
            .get_mut(part)
            .map(work)
            .unwrap_or_default()
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.lock().paused = paused;
        self.wake();
    }

    /// Looks at what the home holds before long: somebody may have released it, on whatever node.
    pub(crate) fn look(&self) {
        for part in &mut self.lock().parts {
            part.look |= !part.window.held.is_empty();
        }
        self.wake();
    }

    /// Takes up to `max` records that may go now, each with whether it is damaged; `next` gives numbers to leases.
    pub(crate) async fn lease(
        &self,
        max: usize,
        lease_for: Duration,
        next: impl Fn() -> LeaseId,
    ) -> Result<Vec<(Lease, bool)>> {
        let mut leases = Vec::new();
        self.lease_held(max, lease_for, &next, &mut leases).await?;
        for _ in 0..ROUNDS {
            if leases.len() >= max {
                break;
            }
            let mut picks = self.pick(max - leases.len());
            if picks.picks.is_empty() {
                break;
            }
            let records: Vec<i64> = picks.picks.iter().map(|pick| pick.message.record).collect();
            let standing = self.home.standing(&self.destination, &records).await?;
            let (done, found) = self.give(&mut picks, &standing, lease_for, &next);
            leases.extend(found);
            drop(picks);
            for acker in done {
                acknowledge(&acker).await;
            }
        }
        Ok(leases)
    }

    fn pick(&self, max: usize) -> Picks<'_> {
        let mut state = self.lock();
        expire(&mut state);
        let mut picks = Vec::new();
        if !state.paused {
            for (number, part) in state.parts.iter_mut().enumerate() {
                if !part.active || part.draining {
                    continue;
                }
                for place in part.window.heads(max.saturating_sub(picks.len())) {
                    part.window.take(place, true);
                    if let Some(entry) = part.window.get(place) {
                        picks.push(Pick {
                            part: number,
                            place,
                            epoch: part.window.epoch,
                            message: Arc::clone(&entry.message),
                            lanes: entry.lanes.clone(),
                        });
                    }
                }
            }
        }
        Picks { feed: self, picks }
    }

    /// Leases what nothing has happened to; the rest is a copy and only has to be acknowledged.
    fn give(
        &self,
        picks: &mut Picks<'_>,
        standing: &HashMap<i64, State>,
        lease_for: Duration,
        next: &impl Fn() -> LeaseId,
    ) -> (Vec<Acker>, Vec<(Lease, bool)>) {
        let mut state = self.lock();
        let (mut done, mut leases) = (Vec::new(), Vec::new());
        for pick in picks.picks.drain(..) {
            let Some(part) = state.parts.get_mut(pick.part) else {
                continue;
            };
            if part.window.epoch != pick.epoch {
                // The channel was lost in between: it comes again.
                part.window.unbusy(&pick.lanes);
                continue;
            }
            if standing.contains_key(&pick.message.record) {
                done.extend(part.window.remove(pick.place).and_then(|entry| entry.acker));
                continue;
            }
            let leased = Leased {
                part: pick.part,
                source: Source::Window {
                    place: pick.place,
                    epoch: pick.epoch,
                },
                message: pick.message,
                lanes: pick.lanes,
                attempts: 0,
                deadline: Instant::now() + lease_for,
                settling: false,
            };
            leases.push(self.enter(&mut state, next(), leased));
        }
        (done, leases)
    }

    fn enter(&self, state: &mut FeedState, id: LeaseId, leased: Leased) -> (Lease, bool) {
        let message = Arc::clone(&leased.message);
        let attempts = leased.attempts;
        state.leases.insert(id, leased);
        let lease = Lease {
            id,
            record: RecordId(message.record),
            destination: self.destination.clone(),
            payload: message.payload.clone().unwrap_or_default(),
            listener: message.listener.clone(),
            route: message.route.clone(),
            attempts,
            received_at_ms: message.received_at_ms,
            ordering_keys: message.ordering_keys.clone(),
            attributes: message.attributes.clone(),
            replay_of: message.replay_of.map(RecordId),
        };
        (lease, message.damaged)
    }

    /// Leases what the home holds and may go.
    async fn lease_held(
        &self,
        max: usize,
        lease_for: Duration,
        next: &impl Fn() -> LeaseId,
        leases: &mut Vec<(Lease, bool)>,
    ) -> Result<()> {
        for (number, lanes) in self.due_parts() {
            let part = i64::try_from(number).unwrap_or(i64::MAX);
            let found = self.home.heads(&self.destination, part, &lanes, max).await;
            let found = match found {
                Ok(found) => self.met(found).await,
                Err(error) => Err(error),
            };
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    self.with(number, |part| part.look = true);
                    return Err(error);
                }
            };
            let mut state = self.lock();
            for record in found {
                let full = leases.len() >= max;
                let Some(part) = state.parts.get_mut(number) else {
                    break;
                };
                if full || !part.active {
                    part.look = true;
                    break;
                }
                if !part.held_leased.insert(record.message.record) {
                    continue;
                }
                let leased = Leased {
                    part: number,
                    source: Source::Held {
                        seq: record.seq,
                        state: record.state,
                    },
                    message: record.message,
                    lanes: record.lanes,
                    attempts: record.attempts,
                    deadline: Instant::now() + lease_for,
                    settling: false,
                };
                let lease = self.enter(&mut state, next(), leased);
                leases.push(lease);
            }
        }
        Ok(())
    }

    /// Queues of which something held may go now, with the lanes that are held.
    fn due_parts(&self) -> Vec<(usize, Vec<i64>)> {
        let now = self.home.now_ms();
        let mut state = self.lock();
        expire(&mut state);
        if state.paused {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (number, part) in state.parts.iter_mut().enumerate() {
            if !part.active || part.draining {
                continue;
            }
            while part.due.first().is_some_and(|due| *due <= now) {
                part.due.pop_first();
                part.look = true;
            }
            if std::mem::take(&mut part.look) && !part.window.held.is_empty() {
                due.push((number, part.window.held.iter().copied().collect()));
            }
        }
        due
    }

    /// Of held records with several keys, only those that are first on all their lanes.
    async fn met(&self, mut found: Vec<HeldRecord>) -> Result<Vec<HeldRecord>> {
        let several: Vec<i64> = found
            .iter()
            .filter(|record| record.message.barriers > 0)
            .map(|record| record.message.record)
            .collect();
        if !several.is_empty() {
            let reached = self.home.reached(&self.destination, &several).await?;
            found.retain(|record| {
                let reached = reached.get(&record.message.record).copied().unwrap_or(0);
                reached >= record.message.barriers
            });
        }
        Ok(found)
    }

    /// Begins to settle: what must be written.
    pub(crate) fn begin(&self, id: LeaseId, outcome: &Outcome) -> Result<Settling> {
        let mut state = self.lock();
        let state = &mut *state;
        let leased = state
            .leases
            .get_mut(&id)
            .filter(|leased| !leased.settling)
            .ok_or(QueueError::LeaseLost)?;
        let part = state
            .parts
            .get_mut(leased.part)
            .ok_or(QueueError::LeaseLost)?;
        leased.settling = true;
        let leased = leased.clone();
        let stale = !part.active
            || matches!(leased.source, Source::Window { epoch, .. } if epoch != part.window.epoch);
        let seq = match leased.source {
            Source::Held { seq, .. } => seq,
            Source::Window { .. } => {
                part.last_seq += 1;
                part.last_seq
            }
        };
        let mut change = Change {
            message: Arc::clone(&leased.message),
            destination: self.destination.clone(),
            part: i64::try_from(leased.part).unwrap_or(i64::MAX),
            seq,
            lanes: leased.lanes.clone(),
            state: State::Delivered,
            attempts: leased.attempts,
            not_before: 0,
            reason: None,
            detail: None,
            stale,
        };
        match outcome {
            Outcome::Delivered { detail } => change.detail.clone_from(detail),
            Outcome::Filtered { reason } => {
                change.state = State::Filtered;
                change.reason = Some(reason.clone());
            }
            Outcome::RetryAt {
                at_ms,
                counted,
                reason,
            } => {
                change.state = State::Retrying;
                change.not_before = self.home.of_wall(*at_ms).max(1);
                change.attempts = change.attempts.saturating_add(u32::from(*counted));
                change.reason = Some(reason.clone());
            }
            Outcome::Dead { reason, detail } => {
                change.state = State::Dead;
                change.reason = Some(reason.clone());
                change.detail.clone_from(detail);
            }
            Outcome::Park { reason, detail } => {
                change.state = State::Parked;
                change.reason = Some(reason.clone());
                change.detail.clone_from(detail);
            }
        }
        Ok(Settling { change, leased, id })
    }

    /// Ends a settle: acknowledges what the home has written down now.
    pub(crate) async fn end(&self, settling: Settling, written: Result<Settled>) -> Result<()> {
        let Settling { change, leased, id } = settling;
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                // Nobody knows whether it is written: it is leased again, and the home asked before.
                let mut state = self.lock();
                state.leases.remove(&id);
                give_back(&mut state, &leased);
                drop(state);
                self.wake();
                return Err(error);
            }
        };
        let acker = {
            let mut state = self.lock();
            state.leases.remove(&id);
            self.ended(&mut state, &change, &leased)
        };
        if let Some(acker) = acker {
            acknowledge(&acker).await;
        }
        if matches!(leased.source, Source::Held { .. }) && change.state.is_final() {
            self.clear_lanes(leased.part, &leased.lanes).await;
        }
        self.wake();
        match written {
            Settled::Lost => Err(QueueError::LeaseLost),
            Settled::Written | Settled::Final => Ok(()),
        }
    }

    /// Updates memory after a settle; returns what to acknowledge.
    fn ended(&self, state: &mut FeedState, change: &Change, leased: &Leased) -> Option<Acker> {
        let part = state.parts.get_mut(leased.part)?;
        let comes_home = !change.state.is_final();
        match leased.source {
            Source::Window { place, epoch } if epoch == part.window.epoch => {
                if comes_home {
                    part.window.held.extend(&change.lanes);
                }
                if change.state == State::Retrying {
                    part.due.insert(change.not_before);
                }
                part.window.remove(place).and_then(|entry| entry.acker)
            }
            Source::Window { .. } => {
                part.window.unbusy(&leased.lanes);
                None
            }
            Source::Held { .. } => {
                part.held_leased.remove(&leased.message.record);
                if change.state == State::Retrying {
                    part.due.insert(change.not_before);
                }
                part.look |= !comes_home;
                None
            }
        }
    }

    /// Lets the window go on with lanes of which nothing is held any more.
    pub(crate) async fn clear_lanes(&self, part: usize, lanes: &[i64]) {
        match self.home.empty_lanes(&self.destination, lanes).await {
            Ok(empty) => self.with(part, |part| {
                for lane in empty {
                    part.window.held.remove(&lane);
                }
            }),
            // The next look finds it.
            Err(error) => tracing::warn!(%error, "cannot see which lanes are empty"),
        }
    }

    /// Notes that the process went away from a settle.
    pub(crate) fn forget(&self, id: LeaseId) {
        let mut state = self.lock();
        if let Some(leased) = state.leases.remove(&id) {
            give_back(&mut state, &leased);
        }
        drop(state);
        self.wake();
    }

    /// Returns when something may be leasable.
    pub(crate) async fn wait(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Some(at) = self.next() else { return };
            tokio::select! {
                () = changed => {}
                () = time::sleep_until(at.into()) => {}
            }
        }
    }

    /// `None`: now; else when to look again at the latest.
    fn next(&self) -> Option<Instant> {
        let now = self.home.now_ms();
        let state = self.lock();
        let mut at = Instant::now() + Duration::from_secs(3600);
        for leased in state.leases.values().filter(|leased| !leased.settling) {
            if leased.deadline <= Instant::now() {
                return None;
            }
            at = at.min(leased.deadline);
        }
        if state.paused {
            return Some(at);
        }
        for part in state
            .parts
            .iter()
            .filter(|part| part.active && !part.draining)
        {
            if part.window.has_head() || (part.look && !part.window.held.is_empty()) {
                return None;
            }
            if let Some(due) = part.due.first() {
                let wait = u64::try_from(due - now).ok().filter(|wait| *wait > 0)?;
                at = at.min(Instant::now() + Duration::from_millis(wait));
            }
        }
        Some(at)
    }

    /// Leased deliveries, with the states that are stored for them.
    pub(crate) fn leased(&self) -> Vec<(i64, State)> {
        let state = self.lock();
        let leases = state.leases.values();
        leases
            .map(|leased| {
                let stored = match leased.source {
                    Source::Held { state, .. } => state,
                    Source::Window { .. } => State::Queued,
                };
                (leased.message.record, stored)
            })
            .collect()
    }

    /// The bytes of a record, where this node has them at hand.
    pub(crate) fn payload(&self, record: i64) -> Option<Bytes> {
        let state = self.lock();
        let leased = state.leases.values().map(|leased| &leased.message);
        let waiting = state.parts.iter().flat_map(|part| part.window.messages());
        leased
            .chain(waiting)
            .find(|message| message.record == record && message.barrier.is_none())
            .and_then(|message| message.payload.clone())
    }

    /// Adds what is leased here, for lists.
    pub(crate) fn add_leased(&self, all: &mut LeasedSet) {
        for (record, _) in self.leased() {
            all.insert((record, self.destination.clone()));
        }
    }

    /// This node tends the queue from now on.
    pub(crate) fn activate(&self, part: usize, held: crate::home::Held) {
        self.with(part, |part| {
            part.window.held = held.lanes;
            part.last_seq = held.last_seq;
            part.due = held.due.into_iter().collect();
            part.look = !part.window.held.is_empty();
            part.active = true;
            part.draining = false;
        });
        self.wake();
    }

    /// How many records of the queue are in somebody's hands.
    pub(crate) fn in_hands(&self, part: usize) -> usize {
        let state = self.lock();
        let leases = state.leases.values();
        leases.filter(|leased| leased.part == part).count()
    }

    /// This node does not tend the queue any more.
    pub(crate) fn deactivate(&self, part: usize) {
        self.with(part, |part| {
            part.active = false;
            part.window.lose();
            part.window.held.clear();
            part.due.clear();
        });
    }
}

/// Gives back what was leased for too long.
fn expire(state: &mut FeedState) {
    let now = Instant::now();
    let expired: Vec<LeaseId> = state
        .leases
        .iter()
        .filter(|(_, leased)| !leased.settling && leased.deadline <= now)
        .map(|(id, _)| *id)
        .collect();
    for id in expired {
        if let Some(leased) = state.leases.remove(&id) {
            give_back(state, &leased);
        }
    }
}

fn give_back(state: &mut FeedState, leased: &Leased) {
    let Some(part) = state.parts.get_mut(leased.part) else {
        return;
    };
    match leased.source {
        Source::Window { place, epoch } if epoch == part.window.epoch => {
            part.window.take(place, false);
        }
        Source::Window { .. } => part.window.unbusy(&leased.lanes),
        Source::Held { .. } => {
            part.held_leased.remove(&leased.message.record);
            part.look = true;
        }
    }
}

/// When the channel is gone there is nobody to tell: the message comes again, and the home knows it.
pub(crate) async fn acknowledge(acker: &Acker) {
    if let Err(error) = acker.ack(BasicAckOptions::default()).await {
        tracing::debug!(%error, "not acknowledged");
    }
}

impl Drop for Picks<'_> {
    fn drop(&mut self) {
        if self.picks.is_empty() {
            return;
        }
        let mut state = self.feed.lock();
        for pick in self.picks.drain(..) {
            let Some(part) = state.parts.get_mut(pick.part) else {
                continue;
            };
            if part.window.epoch == pick.epoch {
                part.window.take(pick.place, false);
            } else {
                part.window.unbusy(&pick.lanes);
            }
        }
    }
}
