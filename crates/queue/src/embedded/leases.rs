//! Leases: who holds what. In memory only, so a restart gives everything back.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use crate::record::{LeaseId, State};

/// All leases of this process.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: HashMap<LeaseId, Held>,
    by_delivery: HashMap<(i64, i64), LeaseId>,
    /// Lane at a destination -> the record that is leased on it.
    busy: HashMap<(i64, i64), i64>,
    /// Leased deliveries that have no row yet: (destination, record).
    fresh: BTreeSet<(i64, i64)>,
    last: u64,
}

/// One leased delivery.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) destination: i64,
    pub(crate) record: i64,
    pub(crate) lanes: Vec<i64>,
    pub(crate) size: i64,
    pub(crate) attempts: u32,
    /// State of its row; `None`: it has no row (queued).
    pub(crate) row: Option<State>,
    /// A person let it through.
    pub(crate) passed: bool,
    pub(crate) deadline: Instant,
}

// === impl Leases ===

impl Leases {
    pub(crate) fn add(&mut self, held: Held) -> LeaseId {
        self.last += 1;
        let id = LeaseId(self.last);
        self.put(id, held);
        id
    }

    pub(crate) fn put(&mut self, id: LeaseId, held: Held) {
        self.by_delivery.insert((held.destination, held.record), id);
        for lane in &held.lanes {
            self.busy.insert((held.destination, *lane), held.record);
        }
        if held.row.is_none() {
            self.fresh.insert((held.destination, held.record));
        }
        self.held.insert(id, held);
    }

    pub(crate) fn take(&mut self, id: LeaseId) -> Option<Held> {
        let held = self.held.remove(&id)?;
        self.by_delivery.remove(&(held.destination, held.record));
        for lane in &held.lanes {
            self.busy.remove(&(held.destination, *lane));
        }
        self.fresh.remove(&(held.destination, held.record));
        Some(held)
    }

    pub(crate) fn holds(&self, destination: i64, record: i64) -> bool {
        self.by_delivery.contains_key(&(destination, record))
    }

    /// Lets a lease run out now; returns its destination.
    pub(crate) fn expire(&mut self, id: LeaseId) -> Option<i64> {
        let held = self.held.get_mut(&id)?;
        held.deadline = Instant::now();
        Some(held.destination)
    }

    /// Whether a person let it through.
    pub(crate) fn is_passed(&self, id: LeaseId) -> bool {
        self.held.get(&id).is_some_and(|held| held.passed)
    }

    /// Whether another record is leased on this lane.
    pub(crate) fn is_busy(&self, destination: i64, lane: i64) -> bool {
        self.busy.contains_key(&(destination, lane))
    }

    /// Leases of a destination that have run out, oldest record first.
    pub(crate) fn expired(&self, destination: i64, now: Instant) -> Vec<LeaseId> {
        let mut expired: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| held.destination == destination && held.deadline <= now)
            .map(|(id, held)| (held.record, *id))
            .collect();
        expired.sort_unstable();
        expired.into_iter().map(|(_, id)| id).collect()
    }

    /// When the first lease of a destination runs out.
    pub(crate) fn next_deadline(&self, destination: i64) -> Option<Instant> {
        self.held
            .values()
            .filter(|held| held.destination == destination)
            .map(|held| held.deadline)
            .min()
    }

    /// The oldest leased record of a destination that has no row.
    pub(crate) fn oldest_fresh(&self, destination: i64) -> Option<i64> {
        self.fresh
            .range((destination, i64::MIN)..=(destination, i64::MAX))
            .next()
            .map(|(_, record)| *record)
    }

    /// How many leased deliveries of a destination are stored as queued, and how many as retrying.
    pub(crate) fn count(&self, destination: i64) -> (i64, i64) {
        let mut counts = (0, 0);
        for held in self
            .held
            .values()
            .filter(|held| held.destination == destination)
        {
            match held.row {
                Some(State::Retrying) => counts.1 += 1,
                _ => counts.0 += 1,
            }
        }
        counts
    }

    /// How many leased deliveries of a destination have a row.
    pub(crate) fn with_row(&self, destination: i64) -> usize {
        self.held
            .values()
            .filter(|held| held.destination == destination && held.row.is_some())
            .count()
    }

    /// All leased deliveries: (destination, record).
    pub(crate) fn deliveries(&self) -> Vec<(i64, i64)> {
        self.by_delivery.keys().copied().collect()
    }
}
