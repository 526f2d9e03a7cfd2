//! What the tests share. Invented content only.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use queue::{Appended, EmbeddedQueue, Lease, NewRecord, Options, Outcome, Queue, RecordId};

pub const LEASE: Duration = Duration::from_secs(60);

/// Options that do not depend on how full this machine's disk is.
pub fn options() -> Options {
    Options {
        min_free_bytes: 0,
        ..Options::default()
    }
}

pub fn open(folder: &std::path::Path) -> EmbeddedQueue {
    EmbeddedQueue::open(folder, options()).unwrap()
}

/// A record for destination `fhir` with one ordering key.
pub fn record(key: &str, text: &str) -> NewRecord {
    NewRecord {
        payload: Bytes::copy_from_slice(text.as_bytes()),
        received_at_ms: 1_700_000_000_000,
        listener: "lab".to_owned(),
        route: "results".to_owned(),
        ordering_keys: vec![key.to_owned()],
        dedup_key: None,
        content_hash: hash(text.as_bytes()),
        ack: Some(Bytes::from_static(b"ACK")),
        destinations: vec!["fhir".to_owned()],
        attributes: BTreeMap::from([("message_type".to_owned(), "ORU^R01".to_owned())]),
        ..NewRecord::default()
    }
}

/// Not a good hash, but another one for other short texts.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (index, byte) in bytes.iter().enumerate() {
        hash[index % 32] ^= byte.rotate_left(u32::try_from(index / 32 % 8).unwrap());
    }
    hash
}

pub async fn store(queue: &impl Queue, record: NewRecord) -> RecordId {
    match queue.append(vec![record]).await.unwrap().remove(0) {
        Appended::Stored(id) => id,
        other => panic!("not stored: {other:?}"),
    }
}

pub async fn lease(queue: &impl Queue, destination: &str, max: usize) -> Vec<Lease> {
    queue.lease(destination, max, LEASE).await.unwrap()
}

pub fn texts(leases: &[Lease]) -> Vec<String> {
    leases
        .iter()
        .map(|lease| String::from_utf8(lease.payload.to_vec()).unwrap())
        .collect()
}

pub fn delivered() -> Outcome {
    Outcome::Delivered { detail: None }
}

pub fn dead(reason: &str) -> Outcome {
    Outcome::Dead {
        reason: reason.to_owned(),
        detail: Some("detail".to_owned()),
    }
}

pub fn park(reason: &str) -> Outcome {
    Outcome::Park {
        reason: reason.to_owned(),
        detail: None,
    }
}

pub fn retry_in(ms: i64, counted: bool) -> Outcome {
    Outcome::RetryAt {
        at_ms: now_ms() + ms,
        counted,
        reason: "busy".to_owned(),
    }
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Leases and delivers until nothing is left; the texts in the order of delivery.
pub async fn drain(queue: &impl Queue, destination: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let leases = lease(queue, destination, 16).await;
        if leases.is_empty() {
            return all;
        }
        all.extend(texts(&leases));
        for lease in leases {
            queue.settle(lease.id, delivered()).await.unwrap();
        }
    }
}

/// The books are right, by themselves and by a recount.
pub async fn assert_sound(queue: &impl Queue) {
    let check = queue.check(true).await.unwrap();
    assert!(check.is_sound(), "{check:?}");
    let status = queue.status().await.unwrap();
    assert_eq!(status.mismatch, 0, "{status:?}");
}
