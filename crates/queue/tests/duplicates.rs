//! Resent records, in all forms.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::Duration;

use queue::{Appended, Dedup, EmbeddedQueue, NewRecord, OnConflict, Options, Queue, Retention};
use support::*;

fn sent(control: &str, text: &str) -> NewRecord {
    NewRecord {
        dedup_key: Some(format!("lab|LAB1|HOSPITAL|{control}")),
        ack: Some(format!("ACK {text}").into()),
        ..record("p", text)
    }
}

async fn three_times_the_same_is_one_record_and_three_equal_acks_also_across_a_restart(
    kind: Store,
) {
    let queue = kind.open().await;
    let id = store(&queue, sent("1", "first")).await;
    // A resend comes with an ACK of its own; the stored one is given.
    let resent = NewRecord {
        ack: Some("ACK with another time".into()),
        ..sent("1", "first")
    };
    let expected = Appended::Duplicate {
        of: id,
        ack: Some("ACK first".into()),
    };
    assert_eq!(
        queue.append(vec![resent.clone()]).await.unwrap(),
        std::slice::from_ref(&expected)
    );
    let queue = kind.reopen(queue).await;
    assert_eq!(queue.append(vec![resent]).await.unwrap(), [expected]);
    assert_eq!(drain(&queue, "fhir").await, ["first"]);
    assert_sound(&queue).await;
}

async fn duplicates_within_one_batch_are_found(kind: Store) {
    let queue = kind.open().await;
    let answers = queue
        .append(vec![sent("1", "a"), sent("1", "a"), sent("2", "a")])
        .await
        .unwrap();
    let Appended::Stored(first) = answers[0] else {
        panic!("{answers:?}")
    };
    assert_eq!(
        answers[1],
        Appended::Duplicate {
            of: first,
            ack: Some("ACK a".into())
        }
    );
    assert!(matches!(answers[2], Appended::Stored(_)));
}

async fn duplicates_in_flight_at_once_are_found(kind: Store) {
    let queue = kind.open().await;
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                queue
                    .append(vec![sent("1", "same")])
                    .await
                    .unwrap()
                    .remove(0)
            })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        match task.await.unwrap() {
            Appended::Stored(_) => stored += 1,
            Appended::Duplicate { ack, .. } => assert_eq!(ack, Some("ACK same".into())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stored, 1);
    assert_eq!(drain(&queue, "fhir").await, ["same"]);
}

async fn the_same_key_with_other_bytes_is_processed_and_flagged(kind: Store) {
    let queue = kind.open().await;
    let first = store(&queue, sent("1", "one")).await;
    let answer = queue
        .append(vec![sent("1", "two")])
        .await
        .unwrap()
        .remove(0);
    let Appended::Conflict {
        of,
        stored: Some(second),
    } = answer
    else {
        panic!("{answer:?}")
    };
    assert_eq!(of, first);
    assert_eq!(queue.show(second).await.unwrap().conflict_of, Some(first));
    // Both are known now: a resend of either is a duplicate of that one.
    for (text, of) in [("one", first), ("two", second)] {
        let answer = queue.append(vec![sent("1", text)]).await.unwrap().remove(0);
        assert_eq!(
            answer,
            Appended::Duplicate {
                of,
                ack: Some(format!("ACK {text}").into())
            }
        );
    }
    assert_eq!(drain(&queue, "fhir").await, ["one", "two"]);
}

#[tokio::test]
async fn the_same_key_with_other_bytes_is_refused_where_the_policy_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let dedup = Dedup {
        on_conflict: OnConflict::Reject,
        ..Dedup::default()
    };
    let queue = EmbeddedQueue::open(folder.path(), Options { dedup, ..options() }).unwrap();
    let first = store(&queue, sent("1", "one")).await;
    let answers = queue
        .append(vec![sent("1", "two"), sent("2", "three")])
        .await
        .unwrap();
    assert_eq!(
        answers[0],
        Appended::Conflict {
            of: first,
            stored: None
        }
    );
    assert!(
        matches!(answers[1], Appended::Stored(_)),
        "the rest of the batch is stored"
    );
    assert_eq!(drain(&queue, "fhir").await, ["one", "three"]);
    assert_sound(&queue).await;
}

#[tokio::test]
async fn outside_the_window_of_time_or_count_a_key_is_new_again() {
    let folder = tempfile::tempdir().unwrap();
    let by_time = Dedup {
        window: Duration::from_millis(100),
        ..Dedup::default()
    };
    let queue = EmbeddedQueue::open(
        folder.path(),
        Options {
            dedup: by_time,
            ..options()
        },
    )
    .unwrap();
    store(&queue, sent("1", "a")).await;
    drop(queue);
    std::thread::sleep(Duration::from_millis(150));
    let queue = EmbeddedQueue::open(
        folder.path(),
        Options {
            dedup: by_time,
            ..options()
        },
    )
    .unwrap();
    store(&queue, sent("1", "a")).await;
    drop(queue);
    let by_count = Dedup {
        count: 2,
        ..Dedup::default()
    };
    let options = Options {
        dedup: by_count,
        ..options()
    };
    let queue = EmbeddedQueue::open(folder.path(), options.clone()).unwrap();
    assert!(matches!(
        queue.append(vec![sent("1", "a")]).await.unwrap()[0],
        Appended::Duplicate { .. }
    ));
    store(&queue, sent("2", "b")).await;
    store(&queue, sent("3", "c")).await;
    drop(queue);
    let queue = EmbeddedQueue::open(folder.path(), options).unwrap();
    store(&queue, sent("1", "a")).await;
}

async fn what_retention_removed_is_no_longer_known(kind: Store) {
    let queue = kind.open().await;
    store(&queue, sent("1", "a")).await;
    drain(&queue, "fhir").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let policy = Retention {
        done_for: Some(Duration::ZERO),
        ..Retention::default()
    };
    assert_eq!(queue.retain(policy).await.unwrap().by_age, 1);
    store(&queue, sent("1", "a")).await;
    assert_sound(&queue).await;
}

async fn a_replay_is_never_taken_for_a_duplicate(kind: Store) {
    let queue = kind.open().await;
    let id = store(&queue, sent("1", "a")).await;
    drain(&queue, "fhir").await;
    queue.replay(queue::Replay::default()).await.unwrap();
    assert_eq!(drain(&queue, "fhir").await, ["a"]);
    let answer = queue.append(vec![sent("1", "a")]).await.unwrap().remove(0);
    assert_eq!(
        answer,
        Appended::Duplicate {
            of: id,
            ack: Some("ACK a".into())
        }
    );
}

each_store!(
    three_times_the_same_is_one_record_and_three_equal_acks_also_across_a_restart,
    duplicates_within_one_batch_are_found,
    duplicates_in_flight_at_once_are_found,
    the_same_key_with_other_bytes_is_processed_and_flagged,
    what_retention_removed_is_no_longer_known,
    a_replay_is_never_taken_for_a_duplicate
);
