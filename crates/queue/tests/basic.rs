//! Append, lease, settle: the promises one by one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::{Duration, Instant};

use queue::{Filter, NewRecord, Outcome, QueueError, Release, State};
use support::*;

async fn what_goes_in_comes_out_byte_for_byte(kind: Store) {
    let queue = kind.open().await;
    let mut bytes = vec![0_u8; 3_000_000];
    bytes
        .iter_mut()
        .enumerate()
        .for_each(|(index, byte)| *byte = (index * 31 % 256) as u8);
    let sent = NewRecord {
        payload: bytes.clone().into(),
        ..record("p1", "")
    };
    let id = store(&queue, sent.clone()).await;
    let leases = lease(&queue, "fhir", 10).await;
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].record, id);
    assert_eq!(leases[0].payload, bytes);
    assert_eq!(leases[0].attributes, sent.attributes);
    assert_eq!(leases[0].ordering_keys, sent.ordering_keys);
    assert_eq!(
        (leases[0].listener.as_str(), leases[0].route.as_str()),
        ("lab", "results")
    );
    assert_eq!(queue.payload(id).await.unwrap(), bytes);
    queue.settle(leases[0].id, delivered()).await.unwrap();
    assert!(lease(&queue, "fhir", 10).await.is_empty());
    assert_sound(&queue).await;
}

async fn only_the_head_of_a_key_is_leased_and_other_keys_run_beside_it(kind: Store) {
    let queue = kind.open().await;
    for text in ["a1", "a2", "b1", "a3", "b2"] {
        store(&queue, record(&text[..1], text)).await;
    }
    let first = lease(&queue, "fhir", 10).await;
    assert_eq!(texts(&first), ["a1", "b1"]);
    assert!(lease(&queue, "fhir", 10).await.is_empty());
    queue.settle(first[1].id, delivered()).await.unwrap();
    assert_eq!(texts(&lease(&queue, "fhir", 10).await), ["b2"]);
    queue.settle(first[0].id, dead("refused")).await.unwrap();
    assert_eq!(texts(&lease(&queue, "fhir", 10).await), ["a2"]);
    assert_sound(&queue).await;
}

async fn a_record_with_two_keys_waits_for_both_and_blocks_both(kind: Store) {
    let queue = kind.open().await;
    store(&queue, record("a", "a1")).await;
    store(&queue, record("b", "b1")).await;
    let merge = NewRecord {
        ordering_keys: vec!["a".to_owned(), "b".to_owned()],
        ..record("", "merge")
    };
    store(&queue, merge).await;
    store(&queue, record("a", "a2")).await;
    store(&queue, record("b", "b2")).await;
    let heads = lease(&queue, "fhir", 10).await;
    assert_eq!(texts(&heads), ["a1", "b1"]);
    queue.settle(heads[0].id, delivered()).await.unwrap();
    assert!(
        lease(&queue, "fhir", 10).await.is_empty(),
        "b1 is still open"
    );
    queue.settle(heads[1].id, delivered()).await.unwrap();
    let merge = lease(&queue, "fhir", 10).await;
    assert_eq!(texts(&merge), ["merge"]);
    assert!(
        lease(&queue, "fhir", 10).await.is_empty(),
        "the merge blocks both keys"
    );
    queue.settle(merge[0].id, delivered()).await.unwrap();
    assert_eq!(texts(&lease(&queue, "fhir", 10).await), ["a2", "b2"]);
    assert_sound(&queue).await;
}

async fn each_destination_has_its_own_position(kind: Store) {
    let queue = kind.open().await;
    let both = NewRecord {
        destinations: vec!["one".to_owned(), "two".to_owned()],
        ..record("a", "m1")
    };
    store(&queue, both).await;
    store(
        &queue,
        NewRecord {
            destinations: vec!["two".to_owned()],
            ..record("a", "m2")
        },
    )
    .await;
    store(
        &queue,
        NewRecord {
            destinations: Vec::new(),
            ..record("a", "m3")
        },
    )
    .await;
    assert_eq!(drain(&queue, "two").await, ["m1", "m2"]);
    assert_eq!(texts(&lease(&queue, "one", 10).await), ["m1"]);
    let status = queue.status().await.unwrap();
    assert_eq!(status.destinations["one"].leased, 1);
    assert_eq!(status.destinations["two"].delivered, 2);
    assert_eq!(
        (
            status.unrouted,
            status.total.accepted,
            status.total.filtered
        ),
        (1, 4, 1)
    );
    assert_sound(&queue).await;
}

async fn a_retry_keeps_its_key_blocked_until_it_is_due_and_counts_when_told(kind: Store) {
    let queue = kind.open().await;
    store(&queue, record("a", "a1")).await;
    store(&queue, record("a", "a2")).await;
    let first = lease(&queue, "fhir", 1).await.remove(0);
    queue.settle(first.id, retry_in(300, true)).await.unwrap();
    assert!(queue.lease("fhir", 10, LEASE).await.unwrap().is_empty());
    let begun = Instant::now();
    tokio::time::timeout(Duration::from_secs(5), queue.wait("fhir"))
        .await
        .unwrap();
    assert!(
        begun.elapsed() > Duration::from_millis(200),
        "woken too early"
    );
    let again = loop {
        let mut again = lease(&queue, "fhir", 10).await;
        match again.len() {
            0 => tokio::time::timeout(Duration::from_secs(5), queue.wait("fhir"))
                .await
                .unwrap(),
            1 => break again.remove(0),
            _ => panic!("a2 overtook a1"),
        }
    };
    assert_eq!((again.attempts, again.payload.as_ref()), (1, &b"a1"[..]));
    queue.settle(again.id, retry_in(-1, false)).await.unwrap();
    let again = lease(&queue, "fhir", 10).await.remove(0);
    assert_eq!(again.attempts, 1, "an uncounted retry does not count");
    queue.settle(again.id, delivered()).await.unwrap();
    assert_eq!(drain(&queue, "fhir").await, ["a2"]);
    assert_sound(&queue).await;
}

async fn a_parked_record_blocks_its_key_until_released(kind: Store) {
    let queue = kind.open().await;
    for text in ["a1", "a2", "b1"] {
        store(&queue, record(&text[..1], text)).await;
    }
    let heads = lease(&queue, "fhir", 10).await;
    queue.settle(heads[0].id, park("conflict")).await.unwrap();
    queue.settle(heads[1].id, delivered()).await.unwrap();
    assert!(drain(&queue, "fhir").await.is_empty());
    let parked = queue
        .list(&Filter {
            state: Some(State::Parked),
            ..Filter::default()
        })
        .await
        .unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].reason.as_deref(), Some("conflict"));
    assert_eq!(
        queue
            .release(Filter::default(), Release::Retry)
            .await
            .unwrap(),
        1
    );
    let again = lease(&queue, "fhir", 10).await;
    assert_eq!(texts(&again), ["a1"]);
    queue.settle(again[0].id, park("conflict")).await.unwrap();
    let given_up = Release::Dead {
        reason: "person".to_owned(),
    };
    assert_eq!(queue.release(Filter::default(), given_up).await.unwrap(), 1);
    assert_eq!(drain(&queue, "fhir").await, ["a2"]);
    assert_sound(&queue).await;
}

async fn an_expired_lease_goes_to_the_next_and_the_late_settle_is_refused(kind: Store) {
    let queue = kind.open().await;
    store(&queue, record("a", "a1")).await;
    store(&queue, record("a", "a2")).await;
    let slow = lease_for(&queue, "fhir", 1, Duration::from_millis(50))
        .await
        .remove(0);
    assert!(queue.lease("fhir", 10, LEASE).await.unwrap().is_empty());
    tokio::time::timeout(Duration::from_secs(5), queue.wait("fhir"))
        .await
        .unwrap();
    let next = lease(&queue, "fhir", 10).await;
    assert_eq!(texts(&next), ["a1"], "only the head, a second time");
    assert!(matches!(
        queue.settle(slow.id, delivered()).await,
        Err(QueueError::LeaseLost)
    ));
    queue.settle(next[0].id, delivered()).await.unwrap();
    assert!(matches!(
        queue.settle(next[0].id, delivered()).await,
        Err(QueueError::LeaseLost)
    ));
    assert_eq!(drain(&queue, "fhir").await, ["a2"]);
    assert_sound(&queue).await;
}

async fn a_pause_holds_across_a_restart(kind: Store) {
    let queue = kind.open().await;
    store(&queue, record("a", "a1")).await;
    queue.pause("fhir", "wrong credentials").await.unwrap();
    assert!(lease(&queue, "fhir", 10).await.is_empty());
    let queue = kind.reopen(queue).await;
    assert!(lease(&queue, "fhir", 10).await.is_empty());
    assert_eq!(queue.status().await.unwrap().total.queued, 1);
    assert_eq!(
        queue.status().await.unwrap().destinations["fhir"]
            .paused
            .as_deref(),
        Some("wrong credentials")
    );
    let waiting = queue.wait("fhir");
    queue.resume("fhir").await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap();
    assert_eq!(drain(&queue, "fhir").await, ["a1"]);
}

async fn wait_wakes_for_an_append(kind: Store) {
    let queue = kind.open().await;
    assert!(lease(&queue, "fhir", 10).await.is_empty());
    let waiter = tokio::spawn({
        let queue = queue.clone();
        async move {
            queue.wait("fhir").await;
            lease(&queue, "fhir", 10).await.len()
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiter.is_finished(), "nothing has happened yet");
    store(&queue, record("a", "a1")).await;
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(5), waiter)
            .await
            .unwrap()
            .unwrap(),
        1
    );
}

async fn a_filtered_delivery_counts_as_filtered_and_its_key_moves_on(kind: Store) {
    let queue = kind.open().await;
    store(&queue, record("a", "a1")).await;
    store(&queue, record("a", "a2")).await;
    let first = lease(&queue, "fhir", 1).await.remove(0);
    queue
        .settle(
            first.id,
            Outcome::Filtered {
                reason: "no map".to_owned(),
            },
        )
        .await
        .unwrap();
    assert_eq!(drain(&queue, "fhir").await, ["a2"]);
    let status = queue.status().await.unwrap();
    assert_eq!((status.total.filtered, status.total.delivered), (1, 1));
    assert_sound(&queue).await;
}

async fn a_batch_with_a_bad_record_stores_nothing(kind: Store) {
    let queue = kind.open().await;
    let bad = NewRecord {
        destinations: vec![String::new()],
        ..record("a", "a2")
    };
    let result = queue.append(vec![record("a", "a1"), bad]).await;
    assert!(matches!(result, Err(QueueError::Invalid(_))));
    assert_eq!(queue.status().await.unwrap().records, 0);
}

async fn debug_shows_no_content(kind: Store) {
    let queue = kind.open().await;
    let new = record("MRN-CANARY", "PID|CANARY");
    store(&queue, new.clone()).await;
    let leases = lease(&queue, "fhir", 1).await;
    let shown = format!("{new:?} {leases:?} {queue:?}");
    assert!(!shown.contains("CANARY"), "{shown}");
}

each_store!(
    what_goes_in_comes_out_byte_for_byte,
    only_the_head_of_a_key_is_leased_and_other_keys_run_beside_it,
    a_record_with_two_keys_waits_for_both_and_blocks_both,
    each_destination_has_its_own_position,
    a_retry_keeps_its_key_blocked_until_it_is_due_and_counts_when_told,
    a_parked_record_blocks_its_key_until_released,
    an_expired_lease_goes_to_the_next_and_the_late_settle_is_refused,
    a_pause_holds_across_a_restart,
    wait_wakes_for_an_append,
    a_filtered_delivery_counts_as_filtered_and_its_key_moves_on,
    a_batch_with_a_bad_record_stores_nothing,
    debug_shows_no_content
);
