//! A model of the queue in memory, and random histories of both: append, lease, settle, reopen at any point,
//! replay, release, pause, retention. What the queue leases, and what its books say, is what the model says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use queue::{
    Appended, EmbeddedQueue, Filter, LeaseId, NewRecord, Outcome, Queue, RecordId, Release, Replay,
    Retention, State,
};
use support::*;

const DESTINATIONS: [&str; 2] = ["one", "two"];

#[derive(Clone, Debug)]
enum Action {
    Append(Vec<Sent>),
    Lease { destination: usize, max: usize },
    Settle { which: usize, end: End },
    Reopen,
    Replay { from: State, to: Option<usize> },
    Release { state: State, give_up: bool },
    Pause { destination: usize, on: bool },
    Retain { dead_too: bool },
}

#[derive(Clone, Debug)]
struct Sent {
    keys: Vec<u8>,
    destinations: Vec<usize>,
    dedup: Option<u8>,
    content: u8,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Delivered,
    Filtered,
    RetryNow { counted: bool },
    RetryNever,
    Dead,
    Park,
}

fn sent() -> impl Strategy<Value = Sent> {
    (
        proptest::collection::vec(0_u8..4, 0..3),
        prop_oneof![8 => Just(vec![0]), 4 => Just(vec![0, 1]), 2 => Just(vec![1]), 1 => Just(vec![])],
        proptest::option::of(0_u8..6),
        0_u8..3,
    )
        .prop_map(|(keys, destinations, dedup, content)| Sent { keys, destinations, dedup, content })
}

fn action() -> impl Strategy<Value = Action> {
    let end = prop_oneof![
        8 => Just(End::Delivered),
        1 => Just(End::Filtered),
        2 => any::<bool>().prop_map(|counted| End::RetryNow { counted }),
        1 => Just(End::RetryNever),
        2 => Just(End::Dead),
        2 => Just(End::Park),
    ];
    let finals = prop_oneof![
        Just(State::Delivered),
        Just(State::Dead),
        Just(State::Filtered),
        Just(State::Queued)
    ];
    prop_oneof![
        6 => proptest::collection::vec(sent(), 1..4).prop_map(Action::Append),
        6 => (0_usize..2, 1_usize..5).prop_map(|(destination, max)| Action::Lease { destination, max }),
        10 => (any::<usize>(), end).prop_map(|(which, end)| Action::Settle { which, end }),
        2 => Just(Action::Reopen),
        1 => (finals, proptest::option::of(0_usize..2)).prop_map(|(from, to)| Action::Replay { from, to }),
        2 => (prop_oneof![Just(State::Parked), Just(State::Retrying)], any::<bool>())
            .prop_map(|(state, give_up)| Action::Release { state, give_up }),
        1 => (0_usize..2, any::<bool>()).prop_map(|(destination, on)| Action::Pause { destination, on }),
        1 => any::<bool>().prop_map(|dead_too| Action::Retain { dead_too }),
    ]
}

/// What the queue ought to hold.
#[derive(Default)]
struct Model {
    records: BTreeMap<i64, Known>,
    /// (destination, record) -> state and counted attempts; a leased one keeps the state it had.
    deliveries: BTreeMap<(usize, i64), (State, u32)>,
    leases: Vec<(LeaseId, usize, i64)>,
    paused: [bool; 2],
    never: std::collections::BTreeSet<(usize, i64)>,
    accepted: u64,
    unrouted: u64,
    removed: BTreeMap<(usize, &'static str), u64>,
}

struct Known {
    sent: Sent,
    dedup: Option<u8>,
}

impl Model {
    fn store(&mut self, id: RecordId, sent: Sent, dedup: Option<u8>) {
        assert!(
            self.records.keys().all(|known| *known < id.0),
            "numbers grow and are never used again"
        );
        let mut destinations = sent.destinations.clone();
        destinations.sort_unstable();
        destinations.dedup();
        if destinations.is_empty() {
            self.unrouted += 1;
        }
        for destination in destinations {
            self.accepted += 1;
            self.deliveries
                .insert((destination, id.0), (State::Queued, 0));
        }
        self.records.insert(id.0, Known { sent, dedup });
    }

    fn is_leased(&self, destination: usize, id: i64) -> bool {
        self.leases
            .iter()
            .any(|(_, at, record)| (*at, *record) == (destination, id))
    }

    /// Everything that may be leased for a destination now.
    fn leasable(&self, destination: usize) -> Vec<i64> {
        if self.paused[destination] {
            return Vec::new();
        }
        let open = |id: i64| {
            self.deliveries
                .get(&(destination, id))
                .is_some_and(|(state, _)| !state.is_final())
        };
        self.records
            .iter()
            .filter(|(id, known)| {
                open(**id)
                    && !self.is_leased(destination, **id)
                    && !self.never.contains(&(destination, **id))
                    && self.deliveries[&(destination, **id)].0 != State::Parked
                    && self.records.range(..**id).all(|(earlier, other)| {
                        !open(*earlier)
                            || other
                                .sent
                                .keys
                                .iter()
                                .all(|key| !known.sent.keys.contains(key))
                    })
            })
            .map(|(id, _)| *id)
            .collect()
    }
}

fn text(sent: &Sent) -> String {
    format!("content {}", sent.content)
}

fn new_record(sent: &Sent) -> NewRecord {
    let text = text(sent);
    NewRecord {
        ordering_keys: sent
            .keys
            .iter()
            .map(|key| format!("patient {key}"))
            .collect(),
        dedup_key: sent.dedup.map(|key| format!("control {key}")),
        ack: Some(format!("ack for {text}").into()),
        destinations: sent
            .destinations
            .iter()
            .map(|index| DESTINATIONS[*index].to_owned())
            .collect(),
        ..record("", &text)
    }
}

async fn append(queue: &EmbeddedQueue, model: &mut Model, batch: Vec<Sent>) {
    let answers = queue
        .append(batch.iter().map(new_record).collect())
        .await
        .unwrap();
    assert_eq!(answers.len(), batch.len());
    for (sent, answer) in batch.into_iter().zip(answers) {
        let same_key: Vec<(i64, u8)> = model
            .records
            .iter()
            .filter(|(_, known)| sent.dedup.is_some() && known.dedup == sent.dedup)
            .map(|(id, known)| (*id, known.sent.content))
            .collect();
        let same = same_key
            .iter()
            .find(|(_, content)| *content == sent.content);
        match (same, same_key.is_empty()) {
            (Some((first, _)), _) => {
                let ack = Some(format!("ack for {}", text(&sent)).into());
                assert_eq!(
                    answer,
                    Appended::Duplicate {
                        of: RecordId(*first),
                        ack
                    }
                );
            }
            (None, false) => {
                let Appended::Conflict {
                    of,
                    stored: Some(id),
                } = answer
                else {
                    panic!("{answer:?}")
                };
                assert!(same_key.iter().any(|(known, _)| *known == of.0));
                let dedup = sent.dedup;
                model.store(id, sent, dedup);
            }
            (None, true) => {
                let Appended::Stored(id) = answer else {
                    panic!("{answer:?}")
                };
                let dedup = sent.dedup;
                model.store(id, sent, dedup);
            }
        }
    }
}

async fn lease_some(queue: &EmbeddedQueue, model: &mut Model, destination: usize, max: usize) {
    let leasable = model.leasable(destination);
    let leases = lease(queue, DESTINATIONS[destination], max).await;
    assert_eq!(
        leases.len(),
        max.min(leasable.len()),
        "leasable: {leasable:?}, got {leases:?}"
    );
    for lease in leases {
        let id = lease.record.0;
        assert!(leasable.contains(&id), "{id} is not among {leasable:?}");
        assert_eq!(lease.payload, text(&model.records[&id].sent));
        assert_eq!(lease.attempts, model.deliveries[&(destination, id)].1);
        model.leases.push((lease.id, destination, id));
    }
}

async fn settle_one(queue: &EmbeddedQueue, model: &mut Model, which: usize, end: End) {
    if model.leases.is_empty() {
        return;
    }
    let (lease, destination, id) = model.leases.remove(which % model.leases.len());
    let attempts = model.deliveries[&(destination, id)].1;
    let (outcome, after) = match end {
        End::Delivered => (delivered(), (State::Delivered, attempts)),
        End::Filtered => (
            Outcome::Filtered {
                reason: "unwanted".to_owned(),
            },
            (State::Filtered, attempts),
        ),
        End::RetryNow { counted } => (
            retry_in(-1_000, counted),
            (State::Retrying, attempts + u32::from(counted)),
        ),
        End::RetryNever => (retry_in(3_600_000, true), (State::Retrying, attempts + 1)),
        End::Dead => (dead("refused"), (State::Dead, attempts)),
        End::Park => (park("conflict"), (State::Parked, attempts)),
    };
    queue.settle(lease, outcome).await.unwrap();
    model.never.remove(&(destination, id));
    if matches!(end, End::RetryNever) {
        model.never.insert((destination, id));
    }
    model.deliveries.insert((destination, id), after);
}

async fn replay(queue: &EmbeddedQueue, model: &mut Model, from: State, to: Option<usize>) {
    let filter = Filter {
        state: Some(from),
        ..Filter::default()
    };
    let asked = Replay {
        filter,
        destination: to.map(|index| DESTINATIONS[index].to_owned()),
        dry_run: true,
        token: None,
    };
    let dry = queue.replay(asked.clone()).await.unwrap();
    assert!(dry.records.is_empty());
    let token = Some(format!("token {}", model.records.len()));
    let asked = Replay {
        dry_run: false,
        token,
        ..asked
    };
    let done = queue.replay(asked.clone()).await.unwrap();
    assert!(done.repeated || (done.matched, done.open) == (dry.matched, dry.open));
    if done.repeated {
        return;
    }
    let mut last = 0;
    for line in &done.records {
        assert!(line.original.0 >= last, "the original order is kept");
        last = line.original.0;
        let destination = DESTINATIONS
            .iter()
            .position(|name| *name == line.destination)
            .unwrap();
        let original = &model.records[&line.original.0].sent;
        let sent = Sent {
            destinations: vec![destination],
            ..original.clone()
        };
        let open = model
            .deliveries
            .get(&(destination, line.original.0))
            .is_some_and(|(state, _)| !state.is_final());
        assert!(!open, "what is on its way is not replayed");
        model.store(line.record, sent, None);
    }
    let again = queue.replay(asked).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.records, done.records);
}

async fn release(queue: &EmbeddedQueue, model: &mut Model, state: State, give_up: bool) {
    let filter = Filter {
        state: Some(state),
        ..Filter::default()
    };
    let release = if give_up {
        Release::Dead {
            reason: "person".to_owned(),
        }
    } else {
        Release::Retry
    };
    let count = queue.release(filter, release).await.unwrap();
    let leased: Vec<(usize, i64)> = model
        .leases
        .iter()
        .map(|(_, destination, id)| (*destination, *id))
        .collect();
    let mut expected = 0;
    for (delivery, value) in &mut model.deliveries {
        if value.0 == state && !leased.contains(delivery) {
            expected += 1;
            *value = if give_up {
                (State::Dead, value.1)
            } else {
                (State::Queued, 0)
            };
            model.never.remove(delivery);
        }
    }
    assert_eq!(count, expected);
}

async fn retain(queue: &EmbeddedQueue, model: &mut Model, dead_too: bool) {
    tokio::time::sleep(Duration::from_millis(3)).await;
    let policy = Retention {
        done_for: Some(Duration::ZERO),
        dead_for: dead_too.then_some(Duration::ZERO),
        max_bytes: None,
    };
    let removed = queue.retain(policy).await.unwrap();
    let mut expected = 0;
    let ids: Vec<i64> = model.records.keys().copied().collect();
    for id in ids {
        let states: Vec<(usize, State)> = (0..2)
            .filter_map(|destination| {
                Some((destination, model.deliveries.get(&(destination, id))?.0))
            })
            .collect();
        let done = states
            .iter()
            .all(|(_, state)| state.is_final() && (dead_too || *state != State::Dead));
        if done {
            expected += 1;
            model.records.remove(&id);
            for (destination, state) in states {
                model.deliveries.remove(&(destination, id));
                *model
                    .removed
                    .entry((destination, state.as_str()))
                    .or_default() += 1;
            }
        }
    }
    assert_eq!(removed.by_age, expected);
}

async fn compare(queue: &EmbeddedQueue, model: &Model) {
    let status = queue.status().await.unwrap();
    assert_eq!(status.mismatch, 0);
    assert_eq!(status.unrouted, model.unrouted);
    assert_eq!(status.total.accepted, model.accepted + model.unrouted);
    for (index, name) in DESTINATIONS.iter().enumerate() {
        let Some(line) = status.destinations.get(*name) else {
            continue;
        };
        let count = |wanted: State| {
            model
                .deliveries
                .iter()
                .filter(|((at, id), (state, _))| {
                    *at == index && *state == wanted && !model.is_leased(*at, *id)
                })
                .count() as u64
                + model
                    .removed
                    .get(&(index, wanted.as_str()))
                    .copied()
                    .unwrap_or(0)
        };
        let leased = model
            .leases
            .iter()
            .filter(|(_, at, _)| *at == index)
            .count() as u64;
        assert_eq!(line.leased, leased);
        assert_eq!(
            line.queued + line.waiting,
            count(State::Queued),
            "{name}: {line:?}"
        );
        assert_eq!(line.retrying, count(State::Retrying));
        assert_eq!(line.parked, count(State::Parked));
        assert_eq!(line.delivered, count(State::Delivered));
        assert_eq!(line.dead, count(State::Dead));
        assert_eq!(line.filtered, count(State::Filtered));
        assert_eq!(line.paused.is_some(), model.paused[index]);
    }
    assert_sound(queue).await;
}

async fn run(actions: Vec<Action>) {
    // The logic is what is tested here: a folder in memory if there is one. Durability has tests of its own.
    let shm = std::path::Path::new("/dev/shm");
    let folder = if shm.is_dir() {
        tempfile::tempdir_in(shm)
    } else {
        tempfile::tempdir()
    }
    .unwrap();
    let mut queue = open(folder.path());
    let mut model = Model::default();
    for action in actions {
        match action {
            Action::Append(batch) => append(&queue, &mut model, batch).await,
            Action::Lease { destination, max } => {
                lease_some(&queue, &mut model, destination, max).await
            }
            Action::Settle { which, end } => settle_one(&queue, &mut model, which, end).await,
            Action::Reopen => {
                compare(&queue, &model).await;
                drop(queue);
                queue = open(folder.path());
                model.leases.clear();
            }
            Action::Replay { from, to } => replay(&queue, &mut model, from, to).await,
            Action::Release { state, give_up } => release(&queue, &mut model, state, give_up).await,
            Action::Pause { destination, on } => {
                let name = DESTINATIONS[destination];
                if on {
                    queue.pause(name, "test").await
                } else {
                    queue.resume(name).await
                }
                .unwrap();
                model.paused[destination] = on;
            }
            Action::Retain { dead_too } => retain(&queue, &mut model, dead_too).await,
        }
    }
    compare(&queue, &model).await;
    finish(&queue, &mut model).await;
}

/// Everything that can still be delivered is: nothing is lost, nothing is stuck.
async fn finish(queue: &EmbeddedQueue, model: &mut Model) {
    for (index, name) in DESTINATIONS.iter().enumerate() {
        queue.resume(name).await.unwrap();
        model.paused[index] = false;
    }
    while !model.leases.is_empty() {
        settle_one(queue, model, 0, End::Delivered).await;
    }
    for state in [State::Parked, State::Retrying] {
        release(queue, model, state, false).await;
    }
    for destination in 0..2 {
        loop {
            lease_some(queue, model, destination, 3).await;
            if model.leases.is_empty() {
                break;
            }
            while !model.leases.is_empty() {
                settle_one(queue, model, 0, End::Delivered).await;
            }
        }
    }
    assert_eq!(queue.status().await.unwrap().total.open(), 0);
    compare(queue, model).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_the_model_does(actions in proptest::collection::vec(action(), 1..70)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(actions));
    }
}
