//! No room, and a disk that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use queue::{
    Bound, Class, EmbeddedQueue, Fault, Faults, Observer, Options, Point, Queue, QueueError,
    Retention,
};
use support::*;

/// Fails the next commit in the way it is told.
#[derive(Default)]
struct Trip(Mutex<Option<Fault>>);

impl Faults for Trip {
    fn at(&self, point: Point) -> Option<Fault> {
        if point == Point::BeforeCommit {
            self.0.lock().unwrap().take()
        } else {
            None
        }
    }
}

#[derive(Default)]
struct Watch {
    refused: AtomicUsize,
    stopped: AtomicBool,
}

impl Observer for Watch {
    fn refused(&self, records: usize) {
        self.refused.fetch_add(records, Ordering::Relaxed);
    }

    fn stopped(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn at_the_bound_append_is_refused_while_settling_goes_on_and_space_lets_it_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let watch = Arc::new(Watch::default());
    let options = Options {
        max_bytes: Some(400_000),
        reserve_bytes: 200_000,
        observer: Some(watch.clone()),
        ..options()
    };
    let queue = EmbeddedQueue::open(folder.path(), options).unwrap();
    let text = "x".repeat(4_000);
    let mut stored = 0;
    let error = loop {
        match queue
            .append(vec![record(&format!("p{stored}"), &text)])
            .await
        {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, QueueError::Full(Bound::MaxBytes)),
        "{error:?}"
    );
    assert_eq!(error.class(), Class::Full);
    assert!(stored > 20, "{stored}");
    assert_eq!(watch.refused.load(Ordering::Relaxed), 1);
    assert_eq!(queue.status().await.unwrap().records, stored);
    // Dead letters with their details need space too: the reserve.
    let leases = lease(&queue, "fhir", 1_000).await;
    assert_eq!(leases.len() as u64, stored);
    for lease in leases {
        let dead = queue::Outcome::Dead {
            reason: "refused".to_owned(),
            detail: Some("d".repeat(200)),
        };
        queue.settle(lease.id, dead).await.unwrap();
    }
    assert!(queue.append(vec![record("p", &text)]).await.is_err());
    tokio::time::sleep(Duration::from_millis(5)).await;
    let policy = Retention {
        dead_for: Some(Duration::ZERO),
        ..Retention::default()
    };
    assert_eq!(queue.retain(policy).await.unwrap().by_age, stored);
    store(&queue, record("p", &text)).await;
    assert_sound(&queue).await;
}

#[tokio::test]
async fn beyond_the_hard_bound_nothing_is_half_done() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: Some(300_000),
        reserve_bytes: 0,
        ..options()
    };
    let queue = EmbeddedQueue::open(folder.path(), options).unwrap();
    // One batch that does not fit: refused by the storage itself in the middle of the transaction.
    let batch = (0..100)
        .map(|number| record(&format!("p{number}"), &"x".repeat(10_000)))
        .collect();
    let error = queue.append(batch).await.unwrap_err();
    assert_eq!(error.class(), Class::Full);
    assert_eq!(queue.status().await.unwrap().records, 0);
    store(&queue, record("p", "small")).await;
    assert_eq!(drain(&queue, "fhir").await, ["small"]);
    assert_sound(&queue).await;
}

#[tokio::test]
async fn the_disk_reserve_refuses_appends() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        min_free_bytes: u64::MAX,
        ..options()
    };
    let queue = EmbeddedQueue::open(folder.path(), options).unwrap();
    let error = queue.append(vec![record("p", "m")]).await.unwrap_err();
    assert!(
        matches!(error, QueueError::Full(Bound::FreeDisk)),
        "{error:?}"
    );
    assert_sound(&queue).await;
}

#[tokio::test]
async fn a_disk_that_was_full_at_the_commit_is_no_end_and_what_settles_is_tried_alone() {
    let folder = tempfile::tempdir().unwrap();
    let trip = Arc::new(Trip::default());
    let queue = EmbeddedQueue::open(
        folder.path(),
        Options {
            faults: Some(trip.clone()),
            ..options()
        },
    )
    .unwrap();
    store(&queue, record("p", "m1")).await;
    let leased = lease(&queue, "fhir", 1).await.remove(0);
    *trip.0.lock().unwrap() = Some(Fault::Full);
    // The first try fails, the second has the settling only.
    queue.settle(leased.id, delivered()).await.unwrap();
    *trip.0.lock().unwrap() = Some(Fault::Full);
    let error = queue.append(vec![record("p", "m2")]).await.unwrap_err();
    assert!(matches!(error, QueueError::Full(Bound::Disk)));
    store(&queue, record("p", "m3")).await;
    assert_eq!(drain(&queue, "fhir").await, ["m3"]);
    assert_sound(&queue).await;
}

#[tokio::test]
async fn after_a_failed_commit_nothing_is_acknowledged_until_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (trip, watch) = (Arc::new(Trip::default()), Arc::new(Watch::default()));
    let options = Options {
        faults: Some(trip.clone()),
        observer: Some(watch.clone()),
        ..options()
    };
    let queue = EmbeddedQueue::open(folder.path(), options).unwrap();
    store(&queue, record("p", "m1")).await;
    let leased = lease(&queue, "fhir", 1).await.remove(0);
    *trip.0.lock().unwrap() = Some(Fault::Io);
    let error = queue.append(vec![record("p", "m2")]).await.unwrap_err();
    assert_eq!(error.class(), Class::Io);
    assert!(watch.stopped.load(Ordering::Relaxed));
    for error in [
        queue.append(vec![record("p", "m3")]).await.unwrap_err(),
        queue.settle(leased.id, delivered()).await.unwrap_err(),
        queue.lease("fhir", 1, LEASE).await.unwrap_err(),
    ] {
        assert!(matches!(error, QueueError::Stopped), "{error:?}");
    }
    let status = queue.status().await.unwrap();
    assert!(status.stopped);
    drop(queue);
    let queue = open(folder.path());
    assert_eq!(
        drain(&queue, "fhir").await,
        ["m1"],
        "m1 was never settled, m2 and m3 never acknowledged"
    );
    assert_sound(&queue).await;
}
