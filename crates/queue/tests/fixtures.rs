//! A file of every released schema version must open for ever, with everything in it.
//!
//! `tests/fixtures/vN` was made by `make_a_fixture` of this file. For a new version: raise the version and run
//! `QUEUE_MAKE_FIXTURE=tests/fixtures/vN cargo test -p queue --test fixtures`; the folder is found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::path::Path;

use queue::{Appended, Filter, NewRecord, Queue, Release, State};
use support::*;

fn known(control: &str) -> NewRecord {
    NewRecord {
        dedup_key: Some(control.to_owned()),
        ..record("p9", "known")
    }
}

/// Writes a new fixture where `QUEUE_MAKE_FIXTURE` says; without it there is nothing to make.
#[tokio::test]
async fn make_a_fixture() {
    let Ok(folder) = std::env::var("QUEUE_MAKE_FIXTURE") else {
        return;
    };
    let queue = open(Path::new(&folder));
    for text in ["delivered", "dead", "parked", "retrying", "leased"] {
        store(&queue, record(text, text)).await;
        let lease = lease(&queue, "fhir", 1).await.remove(0);
        let outcome = match text {
            "delivered" => delivered(),
            "dead" => dead("refused"),
            "parked" => park("conflict"),
            "retrying" => retry_in(-1, true),
            _ => continue,
        };
        queue.settle(lease.id, outcome).await.unwrap();
        if text == "retrying" {
            store(&queue, record("parked", "waiting")).await;
        }
    }
    store(&queue, known("control 1")).await;
    store(
        &queue,
        NewRecord {
            destinations: Vec::new(),
            ..record("x", "unrouted")
        },
    )
    .await;
    store(
        &queue,
        NewRecord {
            destinations: vec!["a".to_owned(), "b".to_owned()],
            ..record("x", "both")
        },
    )
    .await;
    queue.pause("b", "fixture").await.unwrap();
    let merge = vec!["parked".to_owned(), "leased".to_owned()];
    store(
        &queue,
        NewRecord {
            ordering_keys: merge,
            ..record("", "merge")
        },
    )
    .await;
    assert!(lease(&queue, "fhir", 10).await.len() <= 3);
    drop(queue);
    std::fs::remove_file(Path::new(&folder).join("queue.lock")).unwrap();
}

#[tokio::test]
async fn every_version_opens_with_everything_in_it() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut versions = 0;
    for version in std::fs::read_dir(fixtures).unwrap() {
        everything_is_in(&version.unwrap().path()).await;
        versions += 1;
    }
    assert!(versions >= 2, "{versions} versions");
}

async fn everything_is_in(fixture: &Path) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture.join("queue.db"), folder.path().join("queue.db")).unwrap();
    let queue = open(folder.path());
    assert_sound(&queue).await;
    let status = queue.status().await.unwrap();
    assert_eq!((status.records, status.unrouted), (10, 1));
    assert_eq!(status.destinations["b"].paused.as_deref(), Some("fixture"));
    let fhir = &status.destinations["fhir"];
    assert_eq!(
        (
            fhir.delivered,
            fhir.dead,
            fhir.parked,
            fhir.retrying,
            fhir.leased
        ),
        (1, 1, 1, 1, 0)
    );
    let answer = queue
        .append(vec![known("control 1")])
        .await
        .unwrap()
        .remove(0);
    assert!(matches!(answer, Appended::Duplicate { ack: Some(ack), .. } if ack == "ACK"));
    let parked = Filter {
        state: Some(State::Parked),
        ..Filter::default()
    };
    assert_eq!(queue.release(parked, Release::Retry).await.unwrap(), 1);
    let mut texts = drain(&queue, "fhir").await;
    assert_eq!(texts.last().map(String::as_str), Some("merge"));
    let place = |text: &str| texts.iter().position(|other| other == text).unwrap();
    assert!(place("parked") < place("waiting") && place("waiting") < place("merge"));
    texts.sort_unstable();
    assert_eq!(
        texts,
        ["known", "leased", "merge", "parked", "retrying", "waiting"]
    );
    assert_eq!(drain(&queue, "a").await, ["both"]);
    queue.resume("b").await.unwrap();
    assert_eq!(drain(&queue, "b").await, ["both"]);
    assert_sound(&queue).await;
}
