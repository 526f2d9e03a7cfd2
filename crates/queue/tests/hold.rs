//! Holding back, letting single deliveries through, urgent records: order per key holds in all of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use queue::{
    Class, EmbeddedQueue, Filter, HoldId, NewAudit, NewHold, NewRecord, Queue, QueueError, RecordId,
};
use support::*;

fn on_fhir() -> Filter {
    Filter {
        destination: Some("fhir".to_owned()),
        ..Filter::default()
    }
}

fn of_key(key: &str) -> NewHold {
    NewHold {
        keys: vec![key.to_owned()],
        reason: "identity is being checked".to_owned(),
        ..NewHold::default()
    }
}

fn urgent(key: &str, text: &str) -> NewRecord {
    NewRecord {
        urgent: true,
        ..record(key, text)
    }
}

async fn store_all(queue: &EmbeddedQueue, records: &[(&str, &str)]) {
    let batch = records
        .iter()
        .map(|(key, text)| record(key, text))
        .collect();
    queue.append(batch).await.unwrap();
}

#[tokio::test]
async fn a_held_key_waits_and_others_go_on_also_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    store_all(&queue, &[("a", "a1"), ("b", "b1"), ("a", "a2")]).await;
    let hold = queue.hold(of_key("a")).await.unwrap();
    assert_eq!(drain(&queue, "fhir").await, ["b1"]);
    let status = queue.status().await.unwrap();
    assert_eq!((status.total.parked, status.total.waiting), (1, 1));
    drop(queue);

    let queue = open(folder.path());
    store_all(&queue, &[("a", "a3"), ("b", "b2")]).await;
    assert_eq!(drain(&queue, "fhir").await, ["b2"]);
    let holds = queue.holds().await.unwrap();
    assert_eq!((holds.len(), holds[0].id, holds[0].keys), (1, hold, 1));
    assert_eq!(queue.unhold(hold).await.unwrap(), 1);
    assert_eq!(drain(&queue, "fhir").await, ["a1", "a2", "a3"]);
    assert!(matches!(
        queue.unhold(hold).await,
        Err(QueueError::NotFound)
    ));
    assert_sound(&queue).await;
}

#[tokio::test]
async fn the_first_of_a_held_destination_go_through_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    let hold = NewHold {
        destination: Some("fhir".to_owned()),
        reason: "first a smoke test".to_owned(),
        ..NewHold::default()
    };
    queue.hold(hold).await.unwrap();
    store_all(
        &queue,
        &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "c1")],
    )
    .await;
    assert!(drain(&queue, "fhir").await.is_empty());
    assert_eq!(queue.pass(on_fhir(), 2).await.unwrap(), 2);
    assert_eq!(drain(&queue, "fhir").await, ["a1", "a2"]);
    let one = Filter {
        records: vec![RecordId(4)],
        ..on_fhir()
    };
    assert_eq!(queue.pass(one, 9).await.unwrap(), 1);
    assert_eq!(drain(&queue, "fhir").await, ["c1"]);
    assert_eq!(queue.unhold(HoldId(1)).await.unwrap(), 1);
    assert_eq!(drain(&queue, "fhir").await, ["b1"]);
    assert_sound(&queue).await;
}

#[tokio::test]
async fn a_paused_destination_lets_through_what_a_person_names_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    queue.pause("fhir", "upgrade").await.unwrap();
    store_all(
        &queue,
        &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "c1")],
    )
    .await;
    assert!(lease(&queue, "fhir", 9).await.is_empty());
    assert_eq!(queue.pass(on_fhir(), 1).await.unwrap(), 1);
    let passed = lease(&queue, "fhir", 9).await;
    assert_eq!(texts(&passed), ["a1"]);
    // It is tried again although the destination is paused.
    queue
        .settle(passed[0].id, retry_in(-1, true))
        .await
        .unwrap();
    drop(queue);
    let queue = open(folder.path());
    assert_eq!(drain(&queue, "fhir").await, ["a1"]);
    assert_eq!(queue.pass(on_fhir(), 1).await.unwrap(), 1);
    assert_eq!(drain(&queue, "fhir").await, ["a2"]);
    assert_sound(&queue).await;
    queue.resume("fhir").await.unwrap();
    assert_eq!(drain(&queue, "fhir").await, ["b1", "c1"]);
    assert_sound(&queue).await;
}

#[tokio::test]
async fn holds_ask_for_listener_and_type_and_for_the_keys_of_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    let hold = |listener: &str, message_type: &str| NewHold {
        listener: Some(listener.to_owned()),
        message_type: Some(message_type.to_owned()),
        ..NewHold::default()
    };
    queue.hold(hold("lab", "ADT^A01")).await.unwrap();
    store_all(&queue, &[("a", "a1")]).await;
    assert_eq!(drain(&queue, "fhir").await, ["a1"]);
    queue.hold(hold("lab", "ORU^R01")).await.unwrap();
    store_all(&queue, &[("a", "a2")]).await;
    assert!(drain(&queue, "fhir").await.is_empty());
    let of_record = NewHold {
        keys_of: Some(RecordId(1)),
        ..NewHold::default()
    };
    queue.hold(of_record.clone()).await.unwrap();
    queue.unhold(HoldId(2)).await.unwrap();
    store_all(&queue, &[("b", "b1")]).await;
    assert_eq!(drain(&queue, "fhir").await, ["b1"]);

    let nothing = queue.hold(NewHold::default()).await.unwrap_err();
    assert_eq!(nothing.class(), Class::Invalid);
    let nobody = NewHold {
        keys_of: Some(RecordId(99)),
        ..NewHold::default()
    };
    assert!(matches!(
        queue.hold(nobody).await,
        Err(QueueError::NotFound)
    ));
    assert!(!format!("{:?}", of_key("patient|H|77")).contains("77"));
    assert_sound(&queue).await;
}

#[tokio::test]
async fn an_urgent_record_and_what_it_waits_for_go_first_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    let backlog = (0..5_000).map(|number| record(&format!("p{number}"), "routine"));
    queue.append(backlog.collect()).await.unwrap();
    store_all(&queue, &[("a", "a1"), ("b", "b1")]).await;
    let merge = NewRecord {
        ordering_keys: vec!["a".to_owned(), "b".to_owned()],
        ..record("", "merge")
    };
    store(&queue, merge).await;
    store(&queue, urgent("a", "a urgent")).await;
    store(&queue, record("a", "a after")).await;

    let mut order = Vec::new();
    for _ in 0..12 {
        let leases = lease(&queue, "fhir", 8).await;
        order.extend(texts(&leases));
        for lease in leases {
            queue.settle(lease.id, delivered()).await.unwrap();
        }
    }
    let place = |text: &str| order.iter().position(|other| other == text).unwrap();
    assert!(place("a1") < place("merge") && place("b1") < place("merge"));
    assert!(place("merge") < place("a urgent"));
    assert!(!order.contains(&"a after".to_owned()), "it is not urgent");
    assert!(
        order.iter().filter(|text| *text == "routine").count() > 20,
        "others go on"
    );
    let mut all = drain(&queue, "fhir").await;
    all.extend(order);
    assert_eq!(all.len(), 5_005);
    assert_sound(&queue).await;
}

#[tokio::test]
async fn urgent_records_leave_a_share_to_others_also_when_leased_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    for number in 0..40 {
        store_all(&queue, &[(&format!("r{number}"), "routine")]).await;
    }
    for number in 0..40 {
        store(&queue, urgent(&format!("u{number}"), "urgent")).await;
    }
    let mut one_by_one = Vec::new();
    for _ in 0..16 {
        let lease = lease(&queue, "fhir", 1).await.remove(0);
        one_by_one.extend(texts(std::slice::from_ref(&lease)));
        queue.settle(lease.id, delivered()).await.unwrap();
    }
    let urgent = one_by_one.iter().filter(|text| *text == "urgent").count();
    assert!((10..=13).contains(&urgent), "{one_by_one:?}");
    let batch = texts(&lease(&queue, "fhir", 16).await);
    let urgent = batch.iter().filter(|text| *text == "urgent").count();
    assert_eq!(urgent, 12, "{batch:?}");
}

#[tokio::test]
async fn what_people_did_is_kept_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    for action in ["pause", "replay", "edit"] {
        let entry = NewAudit {
            who: "harkness".to_owned(),
            action: action.to_owned(),
            detail: "destination fhir".to_owned(),
        };
        queue.note(entry).await.unwrap();
    }
    drop(queue);
    let queue = open(folder.path());
    let entries = queue.audit(1, 10).await.unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["replay", "edit"]);
    assert_eq!((entries[0].id, entries[0].who.as_str()), (2, "harkness"));
}
