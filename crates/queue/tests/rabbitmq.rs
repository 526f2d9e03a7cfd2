//! What only the store on RabbitMQ does, with a real broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use queue::{Appended, Home, NewRecord, Queue, QueueError, RabbitOptions, RabbitQueue, SqliteHome};
use support::{broker, *};
use tokio::task::JoinSet;

fn options(prefix: &str) -> RabbitOptions {
    RabbitOptions {
        prefix: prefix.to_owned(),
        partitions: 2,
        ..RabbitOptions::new(&broker::shared().url(), &["fhir"])
    }
}

async fn open_rabbit(folder: &std::path::Path, options: RabbitOptions) -> RabbitQueue {
    let home = Home::open(SqliteHome::open(folder).unwrap()).await.unwrap();
    RabbitQueue::open(options, home).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_through_and_books_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open_rabbit(folder.path(), options("through")).await;
    let batch: Vec<NewRecord> = (0..200)
        .map(|n| record(&format!("p{}", n % 17), &format!("m{n}")))
        .collect();
    let stored = queue.append(batch).await.unwrap();
    assert!(stored.iter().all(|one| matches!(one, Appended::Stored(_))));
    let mut seen = Vec::new();
    while seen.len() < 200 {
        tokio::time::timeout(Duration::from_secs(10), queue.wait("fhir"))
            .await
            .unwrap();
        for lease in queue.lease("fhir", 16, LEASE).await.unwrap() {
            seen.push((lease.ordering_keys[0].clone(), lease.record));
            queue.settle(lease.id, delivered()).await.unwrap();
        }
    }
    for key in 0..17 {
        let of_key: Vec<_> = seen
            .iter()
            .filter(|(k, _)| *k == format!("p{key}"))
            .collect();
        assert!(of_key.is_sorted_by_key(|(_, record)| *record), "{of_key:?}");
    }
    assert_sound(&queue).await;
    assert_eq!(queue.status().await.unwrap().total.delivered, 200);
    queue.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topology_that_differs_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open_rabbit(folder.path(), options("differs")).await;
    queue.close().await;
    drop(queue);
    let home = Home::open(SqliteHome::open(folder.path()).unwrap())
        .await
        .unwrap();
    let other = RabbitOptions {
        partitions: 3,
        ..options("differs")
    };
    let error = RabbitQueue::open(other, home).await.unwrap_err();
    assert!(
        matches!(&error, QueueError::Topology(why) if why.contains("fewer")),
        "{error}"
    );
}

/// A broker may count -1 as "at once" and drop what comes back: nothing may ever be lost by being given back.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_again_and_again_is_never_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = open_rabbit(folder.path(), options("back")).await;
    store(&queue, record("a", "a1")).await;
    store(&queue, record("a", "a2")).await;
    for _ in 0..25 {
        tokio::time::timeout(Duration::from_secs(10), queue.wait("fhir"))
            .await
            .unwrap();
        let leases = queue.lease("fhir", 10, LEASE).await.unwrap();
        assert_eq!(texts(&leases), ["a1"]);
        let forgotten = std::time::Instant::now();
        drop(queue);
        // Whoever goes without settling gives everything back.
        queue = loop {
            match SqliteHome::open(folder.path()) {
                Ok(home) => {
                    break RabbitQueue::open(options("back"), Home::open(home).await.unwrap())
                        .await
                        .unwrap();
                }
                Err(error) => {
                    assert!(forgotten.elapsed() < Duration::from_secs(10), "{error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
    }
    let mut all = Vec::new();
    while all.len() < 2 {
        tokio::time::timeout(Duration::from_secs(10), queue.wait("fhir"))
            .await
            .unwrap();
        for lease in queue.lease("fhir", 10, LEASE).await.unwrap() {
            all.extend(texts(std::slice::from_ref(&lease)));
            queue.settle(lease.id, delivered()).await.unwrap();
        }
    }
    assert_eq!(all, ["a1", "a2"]);
    assert_sound(&queue).await;
    queue.close().await;
}

/// A client library hands a returned message to whichever confirmation comes next. Records that go to a destination
/// whose queues are unbound must fail, and those published before, after and between them must not be mistaken for them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_returned_under_load_is_never_answered_as_stored() {
    const SENDERS: usize = 24;
    let folder = tempfile::tempdir().unwrap();
    let options = RabbitOptions {
        destinations: vec!["good".to_owned(), "torn".to_owned()],
        ..options("returns")
    };
    let queue = Arc::new(open_rabbit(folder.path(), options).await);
    let saboteur = tokio::spawn(unbind_again_and_again("returns.torn"));
    // So long that there is much of both, however fast the machine is.
    let (stored, failed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (queue, stored, failed) = (queue.clone(), stored.clone(), failed.clone());
        senders.spawn(async move {
            let mut answered = Vec::new();
            for n in 0.. {
                if stored.load(Ordering::Relaxed) >= 1_000 && failed.load(Ordering::Relaxed) >= 100
                {
                    break;
                }
                let destination = if (sender + n) % 3 == 0 {
                    "torn"
                } else {
                    "good"
                };
                let text = format!("s{sender}n{n}");
                let new = NewRecord {
                    destinations: vec![destination.to_owned()],
                    ..record(&format!("p{sender}"), &text)
                };
                match queue.append(vec![new]).await {
                    Ok(_) => {
                        stored.fetch_add(1, Ordering::Relaxed);
                        answered.push((destination, text));
                    }
                    Err(QueueError::Unavailable(..)) => {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            answered
        });
    }
    let sending = tokio::time::timeout(Duration::from_secs(120), senders.join_all());
    let answered = sending.await.expect("much is stored, and much fails");
    saboteur.abort();

    let mut missing: BTreeSet<_> = answered.into_iter().flatten().collect();
    for destination in ["good", "torn"] {
        while missing.iter().any(|(of, _)| *of == destination) {
            let waited = tokio::time::timeout(Duration::from_secs(10), queue.wait(destination));
            assert!(
                waited.await.is_ok(),
                "answered as stored and lost: {missing:?}"
            );
            for lease in queue.lease(destination, 64, LEASE).await.unwrap() {
                let text = texts(std::slice::from_ref(&lease)).remove(0);
                queue.settle(lease.id, delivered()).await.unwrap();
                missing.remove(&(destination, text));
            }
        }
    }
    queue.close().await;
}

/// Takes away the bindings of both queues of an exchange, as often as they come back.
async fn unbind_again_and_again(exchange: &str) {
    let url = broker::shared().url();
    let connecting = lapin::Connection::connect(&url, lapin::ConnectionProperties::default());
    let connection = connecting.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    loop {
        for part in 0..2 {
            let queue = format!("{exchange}.{part}");
            let arguments = lapin::types::FieldTable::default();
            channel
                .queue_unbind(
                    queue.as_str().into(),
                    exchange.into(),
                    "1".into(),
                    arguments,
                )
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
