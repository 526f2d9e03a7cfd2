//! Lists, replay, retention: what a person sees and does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use queue::{Filter, NewRecord, Queue, QueueError, RecordId, Replay, Retention, State};
use support::*;

/// Ten records, for two destinations, settled in all ways.
async fn filled(kind: &Store) -> Opened {
    let queue = kind.open().await;
    for number in 0..10_i64 {
        let kind = if number % 2 == 0 {
            "ORU^R01"
        } else {
            "ADT^A01"
        };
        let new = NewRecord {
            received_at_ms: 1_000 + number,
            listener: if number < 5 { "lab" } else { "ward" }.to_owned(),
            destinations: vec!["one".to_owned(), "two".to_owned()],
            attributes: BTreeMap::from([("message_type".to_owned(), kind.to_owned())]),
            ..record(&format!("p{}", number % 4), &format!("m{number}"))
        };
        store(&queue, new).await;
    }
    // Heads are m0 to m3: one of each end, m3 stays leased.
    let leases = lease(&queue, "one", 4).await;
    queue.settle(leases[0].id, dead("refused")).await.unwrap();
    queue.settle(leases[1].id, park("conflict")).await.unwrap();
    queue
        .settle(leases[2].id, retry_in(3_600_000, true))
        .await
        .unwrap();
    queue
}

async fn found(queue: &impl Look, filter: Filter) -> Vec<(i64, String)> {
    let lines = queue.queue().list(&filter).await.unwrap();
    lines
        .into_iter()
        .map(|line| (line.record.0, line.destination.unwrap_or_default()))
        .collect()
}

fn at(destination: &str) -> Filter {
    Filter {
        destination: Some(destination.to_owned()),
        ..Filter::default()
    }
}

async fn every_condition_of_a_filter_counts(kind: Store) {
    let queue = filled(&kind).await;
    let all = found(&queue, Filter::default()).await;
    assert_eq!(all.len(), 20);
    let ids = |lines: Vec<(i64, String)>| lines.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(
        ids(found(&queue, at("one")).await),
        (1..=10).collect::<Vec<_>>()
    );
    for (state, expected) in [
        (State::Dead, vec![1]),
        (State::Parked, vec![2]),
        (State::Retrying, vec![3]),
        (State::Leased, vec![4]),
        (State::Waiting, vec![]),
        (State::Delivered, vec![]),
    ] {
        let filter = Filter {
            state: Some(state),
            ..at("one")
        };
        assert_eq!(ids(found(&queue, filter).await), expected, "{state}");
    }
    let filter = Filter {
        state: Some(State::Queued),
        ..at("one")
    };
    assert_eq!(ids(found(&queue, filter).await), [5, 6, 7, 8, 9, 10]);
    let filter = Filter {
        listener: Some("ward".to_owned()),
        ..at("two")
    };
    assert_eq!(ids(found(&queue, filter).await), [6, 7, 8, 9, 10]);
    let filter = Filter {
        message_type: Some("ADT^A01".to_owned()),
        ..at("two")
    };
    assert_eq!(ids(found(&queue, filter).await), [2, 4, 6, 8, 10]);
    let filter = Filter {
        from_ms: Some(1_002),
        to_ms: Some(1_004),
        ..at("two")
    };
    assert_eq!(ids(found(&queue, filter).await), [3, 4]);
    let filter = Filter {
        reason: Some("conflict".to_owned()),
        ..Filter::default()
    };
    assert_eq!(found(&queue, filter).await, [(2, "one".to_owned())]);
    let filter = Filter {
        records: vec![RecordId(7), RecordId(3)],
        ..at("two")
    };
    assert_eq!(ids(found(&queue, filter).await), [3, 7]);
    if !kind.is_embedded() {
        // What waits is with the broker, as what is queued is.
        return;
    }
    // What waits has been looked at: look, then list.
    assert!(
        lease(&queue, "one", 10).await.is_empty() || queue.status().await.unwrap().mismatch == 0
    );
    let filter = Filter {
        state: Some(State::Waiting),
        ..at("one")
    };
    assert!(!found(&queue, filter).await.is_empty());
}

async fn pages_follow_each_other_without_gap_or_overlap(kind: Store) {
    let queue = filled(&kind).await;
    let mut filter = Filter {
        limit: 3,
        ..Filter::default()
    };
    let mut all = Vec::new();
    loop {
        let page = found(&queue, filter.clone()).await;
        let Some((last, _)) = page.last() else { break };
        assert!(page.len() <= 6, "three records, two deliveries each");
        filter.after = Some(RecordId(*last));
        all.extend(page);
    }
    assert_eq!(all, found(&queue, Filter::default()).await);
}

async fn show_tells_each_delivery_and_a_missing_record_is_named_so(kind: Store) {
    let queue = filled(&kind).await;
    let detail = queue.show(RecordId(1)).await.unwrap();
    assert_eq!(
        (detail.size, detail.ack_bytes, detail.ordering_keys),
        (2, Some(3), 1)
    );
    let one = &detail.deliveries[0];
    assert_eq!((one.destination.as_str(), one.state), ("one", State::Dead));
    assert_eq!(
        (one.reason.as_deref(), one.detail.as_deref()),
        (Some("refused"), Some("detail"))
    );
    assert_eq!(detail.deliveries[1].state, State::Queued);
    assert_eq!(
        queue.show(RecordId(4)).await.unwrap().deliveries[0].state,
        State::Leased
    );
    assert!(matches!(
        queue.show(RecordId(99)).await,
        Err(QueueError::NotFound)
    ));
    assert!(matches!(
        queue.payload(RecordId(99)).await,
        Err(QueueError::NotFound)
    ));
}

async fn a_replay_is_linked_ordered_aimed_and_done_once(kind: Store) {
    let queue = kind.open().await;
    for number in 0..6 {
        store(&queue, record("p", &format!("m{number}"))).await;
    }
    drain(&queue, "fhir").await;
    let asked = Replay {
        filter: Filter {
            state: Some(State::Delivered),
            from_ms: Some(0),
            ..Filter::default()
        },
        destination: Some("archive".to_owned()),
        token: Some("one click".to_owned()),
        ..Replay::default()
    };
    let dry = queue
        .replay(Replay {
            dry_run: true,
            ..asked.clone()
        })
        .await
        .unwrap();
    assert_eq!((dry.matched, dry.records.len()), (6, 0));
    let done = queue.replay(asked.clone()).await.unwrap();
    assert_eq!((done.matched, done.repeated), (6, false));
    // The same click again, also after a restart.
    let queue = kind.reopen(queue).await;
    let again = queue.replay(asked).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.records, done.records);
    assert!(
        drain(&queue, "fhir").await.is_empty(),
        "only the one destination"
    );
    let leases = lease(&queue, "archive", 1).await;
    assert_eq!(leases[0].replay_of, Some(RecordId(1)));
    assert_eq!(leases[0].received_at_ms, 1_700_000_000_000);
    queue.settle(leases[0].id, delivered()).await.unwrap();
    assert_eq!(
        drain(&queue, "archive").await,
        ["m1", "m2", "m3", "m4", "m5"]
    );
    assert_eq!(
        queue.show(RecordId(1)).await.unwrap().replayed_as,
        [done.records[0].record]
    );
    // A replay of a replay names the first record.
    let filter = Filter {
        records: vec![done.records[0].record],
        ..Filter::default()
    };
    let third = queue
        .replay(Replay {
            filter,
            ..Replay::default()
        })
        .await
        .unwrap()
        .records[0]
        .clone();
    assert_eq!(third.destination, "archive");
    assert_eq!(
        queue.show(third.record).await.unwrap().replay_of,
        Some(RecordId(1))
    );
    assert_sound(&queue).await;
}

async fn what_is_still_on_its_way_is_not_replayed(kind: Store) {
    let queue = filled(&kind).await;
    let done = queue
        .replay(Replay {
            filter: at("one"),
            ..Replay::default()
        })
        .await
        .unwrap();
    assert_eq!((done.matched, done.open), (1, 9), "only the dead letter");
    let paged = Replay {
        filter: Filter {
            limit: 4,
            ..at("one")
        },
        dry_run: true,
        ..Replay::default()
    };
    assert_eq!(queue.replay(paged).await.unwrap().next, Some(RecordId(4)));
    assert_sound(&queue).await;
}

#[tokio::test]
async fn retention_takes_the_oldest_that_is_done_and_never_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    for number in 0..600 {
        let key = format!("p{number}");
        store(&queue, record(&key, &format!("{number:>2000}"))).await;
    }
    let leases = lease(&queue, "fhir", 600).await;
    for (index, lease) in leases.iter().enumerate() {
        let outcome = match index {
            0 => dead("refused"),
            1 => park("conflict"),
            2 => continue,
            _ => delivered(),
        };
        queue.settle(lease.id, outcome).await.unwrap();
    }
    let young = Retention {
        done_for: Some(Duration::from_secs(3_600)),
        dead_for: Some(Duration::from_secs(3_600)),
        max_bytes: None,
    };
    assert_eq!(queue.retain(young).await.unwrap().by_age, 0);
    let before = queue.status().await.unwrap().database_bytes;
    let small = Retention {
        max_bytes: Some(before / 2),
        ..Retention::default()
    };
    let removed = queue.retain(small).await.unwrap();
    assert!(
        removed.by_size > 200 && removed.by_size < 400,
        "{removed:?}"
    );
    assert!(queue.status().await.unwrap().database_bytes <= before / 2 + 100_000);
    let left = queue
        .list(&Filter {
            limit: 4,
            ..Filter::default()
        })
        .await
        .unwrap();
    let states: Vec<State> = left.iter().map(|line| line.state).collect();
    assert_eq!(
        states,
        [State::Dead, State::Parked, State::Leased, State::Delivered]
    );
    assert_eq!(
        left[3].record.0 as u64,
        4 + removed.by_size,
        "the oldest went first"
    );
    tokio::time::sleep(Duration::from_millis(5)).await;
    let all = Retention {
        done_for: Some(Duration::ZERO),
        dead_for: None,
        max_bytes: Some(0),
    };
    queue.retain(all).await.unwrap();
    assert_eq!(
        found(&queue, Filter::default()).await.len(),
        3,
        "dead letters stay unless told"
    );
    assert_eq!(
        queue.status().await.unwrap().total.delivered,
        597,
        "the books keep what was removed"
    );
    assert_sound(&queue).await;
}

each_store!(
    every_condition_of_a_filter_counts,
    pages_follow_each_other_without_gap_or_overlap,
    show_tells_each_delivery_and_a_missing_record_is_named_so,
    a_replay_is_linked_ordered_aimed_and_done_once,
    what_is_still_on_its_way_is_not_replayed
);
