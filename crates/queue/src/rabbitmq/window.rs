//! The window: messages of one queue that this node has and has not acknowledged, in the order of the queue.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use lapin::Acker;

use super::message::Message;

/// One message of the window.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) message: Arc<Message>,
    pub(crate) acker: Option<Acker>,
    pub(crate) lanes: Vec<i64>,
    pub(crate) taken: bool,
    /// It may go as soon as it is first: a barrier never does, and what has barriers only when they are reached.
    pub(crate) ready: bool,
    pub(crate) since: std::time::Instant,
}

/// Messages by their place in the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Window {
    entries: BTreeMap<u64, Entry>,
    lanes: HashMap<i64, BTreeSet<u64>>,
    /// Lanes on which something is leased that is not in the window any more: it came over a channel that is lost.
    busy: HashMap<i64, usize>,
    /// Lanes of which the home has something to do first.
    pub(crate) held: HashSet<i64>,
    last: u64,
    /// Counts how often everything was lost; what was taken before is stale.
    pub(crate) epoch: u64,
}

// === impl Window ===

impl Window {
    /// A message has come.
    pub(crate) fn push(&mut self, message: Message, acker: Option<Acker>) {
        self.last += 1;
        let lanes = message.own_lanes();
        for lane in &lanes {
            self.lanes.entry(*lane).or_default().insert(self.last);
        }
        let entry = Entry {
            ready: message.barrier.is_none() && message.barriers == 0,
            message: Arc::new(message),
            acker,
            lanes,
            taken: false,
            since: std::time::Instant::now(),
        };
        self.entries.insert(self.last, entry);
    }

    pub(crate) fn get(&self, place: u64) -> Option<&Entry> {
        self.entries.get(&place)
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.entries.values().map(|entry| &entry.message)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// When the oldest message came.
    pub(crate) fn oldest(&self) -> Option<std::time::Instant> {
        self.entries.values().map(|entry| entry.since).min()
    }

    /// Up to `max` messages that are first on their lanes and not taken: urgent ones first, else the oldest.
    pub(crate) fn heads(&self, max: usize) -> Vec<u64> {
        let heads = |urgent: bool| {
            self.entries
                .iter()
                .filter(move |(_, entry)| entry.message.urgent == urgent)
                .filter(|(place, entry)| {
                    entry.ready && !entry.taken && self.is_first(**place, entry)
                })
                .map(|(place, _)| *place)
        };
        heads(true).chain(heads(false)).take(max).collect()
    }

    /// Messages that are first on their lanes, and have to do with barriers.
    pub(crate) fn meeting(&self) -> Vec<u64> {
        self.entries
            .iter()
            .filter(|(place, entry)| !entry.ready && !entry.taken && self.is_first(**place, entry))
            .map(|(place, _)| *place)
            .collect()
    }

    /// All its barriers are reached.
    pub(crate) fn make_ready(&mut self, place: u64) {
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.ready = true;
        }
    }

    /// Whether anything could be taken.
    pub(crate) fn has_head(&self) -> bool {
        self.entries
            .iter()
            .any(|(place, entry)| entry.ready && !entry.taken && self.is_first(*place, entry))
    }

    fn is_first(&self, place: u64, entry: &Entry) -> bool {
        entry.lanes.iter().all(|lane| {
            !self.held.contains(lane)
                && !self.busy.contains_key(lane)
                && self.lanes.get(lane).and_then(BTreeSet::first) == Some(&place)
        })
    }

    /// Marks a message as being dealt with, or not any more.
    pub(crate) fn take(&mut self, place: u64, taken: bool) {
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.taken = taken;
        }
    }

    /// A message is done with; it must be acknowledged now.
    pub(crate) fn remove(&mut self, place: u64) -> Option<Entry> {
        let entry = self.entries.remove(&place)?;
        for lane in &entry.lanes {
            if let Some(places) = self.lanes.get_mut(lane) {
                places.remove(&place);
                if places.is_empty() {
                    self.lanes.remove(lane);
                }
            }
        }
        Some(entry)
    }

    /// Messages that wait for something the home holds, oldest first.
    pub(crate) fn blocked(&self) -> Vec<u64> {
        self.entries
            .iter()
            .filter(|(_, entry)| !entry.taken)
            .filter(|(_, entry)| entry.lanes.iter().any(|lane| self.held.contains(lane)))
            .map(|(place, _)| *place)
            .collect()
    }

    /// The channel is gone, and all of the window with it: it comes again. What is leased keeps its lanes busy.
    pub(crate) fn lose(&mut self) {
        for entry in std::mem::take(&mut self.entries).into_values() {
            if entry.taken {
                for lane in entry.lanes {
                    *self.busy.entry(lane).or_default() += 1;
                }
            }
        }
        self.lanes.clear();
        self.epoch += 1;
    }

    /// Something that was leased before the channel was lost is settled, or its lease has run out.
    pub(crate) fn unbusy(&mut self, lanes: &[i64]) {
        for lane in lanes {
            if let Some(count) = self.busy.get_mut(lane) {
                *count -= 1;
                if *count == 0 {
                    self.busy.remove(lane);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(window: &mut Window, record: i64, key: &str) {
        let message = Message {
            record,
            ordering_keys: vec![key.to_owned()],
            ..Message::default()
        };
        window.push(message, None);
    }

    fn heads(window: &Window) -> Vec<i64> {
        let places = window.heads(10);
        places
            .into_iter()
            .map(|place| window.get(place).unwrap().message.record)
            .collect()
    }

    #[test]
    fn only_the_first_of_a_lane_is_a_head() {
        let mut window = Window::default();
        for (record, key) in [(1, "a"), (2, "a"), (3, "b")] {
            push(&mut window, record, key);
        }
        assert_eq!(heads(&window), [1, 3]);
        window.take(1, true);
        assert_eq!(heads(&window), [3]);
        window.remove(1);
        assert_eq!(heads(&window), [2, 3]);
    }

    #[test]
    fn what_the_home_holds_goes_first() {
        let mut window = Window::default();
        push(&mut window, 1, "a");
        push(&mut window, 2, "b");
        let lane = window.get(1).unwrap().lanes[0];
        window.held.insert(lane);
        assert_eq!(heads(&window), [2]);
        assert_eq!(window.blocked(), [1]);
        window.held.remove(&lane);
        assert_eq!(heads(&window), [1, 2]);
    }

    #[test]
    fn what_comes_again_waits_for_what_is_still_leased() {
        let mut window = Window::default();
        push(&mut window, 1, "a");
        push(&mut window, 2, "b");
        let lanes = window.get(1).unwrap().lanes.clone();
        window.take(1, true);
        window.lose();
        assert_eq!(window.len(), 0);
        push(&mut window, 1, "a");
        push(&mut window, 2, "b");
        assert_eq!(heads(&window), [2]);
        window.unbusy(&lanes);
        assert_eq!(heads(&window), [1, 2]);
    }
}
