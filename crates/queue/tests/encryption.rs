//! Encryption at rest, and copies of a queue that works.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::path::Path;

use queue::{
    Appended, Class, EmbeddedQueue, EncryptionKey, Filter, NewRecord, Options, Outcome, Queue,
    QueueError, RecordId, Replay, State,
};
use rusqlite::Connection;
use support::*;

const CANARY: &str = "Ashgrove^Cosima";

fn key(byte: u8) -> EncryptionKey {
    EncryptionKey::new(&[byte; 32]).unwrap()
}

fn keyed(folder: &Path, keys: &[u8]) -> Result<EmbeddedQueue, QueueError> {
    let options = Options {
        keys: keys.iter().map(|byte| key(*byte)).collect(),
        ..options()
    };
    EmbeddedQueue::open(folder, options)
}

fn secret(number: usize) -> NewRecord {
    NewRecord {
        ordering_keys: vec![format!("patient|{CANARY}|{}", number % 3)],
        dedup_key: Some(format!("control {number}")),
        ack: Some(format!("ACK {CANARY}").into()),
        content_hash: [u8::try_from(number % 256).unwrap(); 32],
        ..record("", &format!("MSH {CANARY} {number}"))
    }
}

/// Whether the text stands in any file of the queue.
fn is_readable(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes
            .windows(text.len())
            .position(|window| window == text.as_bytes());
        if let Some(at) = found {
            // Only invented text can be here.
            println!(
                "{:?}",
                String::from_utf8_lossy(&bytes[at.saturating_sub(40)..at + 40])
            );
        }
        found.is_some()
    })
}

async fn use_it(queue: &EmbeddedQueue) {
    for number in 0..9 {
        store(queue, secret(number)).await;
    }
    for (number, lease) in lease(queue, "fhir", 3).await.into_iter().enumerate() {
        let detail = Some(format!("detail about {CANARY}"));
        let outcome = match number {
            0 => Outcome::Delivered { detail },
            _ => Outcome::Dead {
                reason: "validation".to_owned(),
                detail,
            },
        };
        queue.settle(lease.id, outcome).await.unwrap();
    }
    let replay = Replay {
        filter: Filter {
            state: Some(State::Dead),
            ..Filter::default()
        },
        ..Replay::default()
    };
    assert_eq!(queue.replay(replay).await.unwrap().records.len(), 2);
}

/// Everything is there: payloads, duplicates with their ACK, details, replays, order.
async fn is_whole(queue: &EmbeddedQueue) {
    assert_sound(queue).await;
    for number in 0..9 {
        let id = RecordId(i64::try_from(number).unwrap() + 1);
        let payload = queue.payload(id).await.unwrap();
        assert_eq!(payload, format!("MSH {CANARY} {number}"));
        let again = queue.append(vec![secret(number)]).await.unwrap().remove(0);
        assert!(
            matches!(again, Appended::Duplicate { of, ack: Some(ack) } if of == id && ack == format!("ACK {CANARY}"))
        );
    }
    let shown = queue.show(RecordId(2)).await.unwrap();
    assert_eq!(
        shown.deliveries[0].detail.as_deref(),
        Some(format!("detail about {CANARY}").as_str())
    );
    assert_eq!(shown.ordering_keys, 1);
}

#[tokio::test]
async fn nothing_of_a_message_is_readable_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let queue = keyed(folder.path(), &[1]).unwrap();
    use_it(&queue).await;
    assert!(
        !is_readable(folder.path(), CANARY),
        "in the write-ahead log"
    );
    drop(queue);
    assert!(!is_readable(folder.path(), CANARY), "in the database");
    let queue = keyed(folder.path(), &[1]).unwrap();
    is_whole(&queue).await;
    let rest = drain(&queue, "fhir").await;
    assert_eq!(rest.len(), 8);
    assert_sound(&queue).await;
    drop(queue);
    // The test would see it if it were there.
    let plain = tempfile::tempdir().unwrap();
    use_it(&open(plain.path())).await;
    assert!(is_readable(plain.path(), CANARY));
}

#[tokio::test]
async fn a_missing_key_is_a_clear_start_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    use_it(&keyed(folder.path(), &[1]).unwrap()).await;
    for keys in [&[][..], &[2], &[2, 3]] {
        let error = keyed(folder.path(), keys).unwrap_err();
        assert_eq!(error.class(), Class::Invalid);
        let text = error.to_string();
        assert!(text.contains(key(1).name()), "{text}");
    }
    is_whole(&keyed(folder.path(), &[1]).unwrap()).await;
    is_whole(&keyed(folder.path(), &[2, 1]).unwrap()).await;
}

#[tokio::test]
async fn keys_are_rotated_and_plain_records_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    use_it(&open(folder.path())).await;
    assert!(is_readable(folder.path(), CANARY));
    let queue = keyed(folder.path(), &[1]).unwrap();
    is_whole(&queue).await;
    assert_eq!(queue.reencrypt().await.unwrap(), 11);
    is_whole(&queue).await;
    drop(queue);
    assert!(!is_readable(folder.path(), CANARY));

    let queue = keyed(folder.path(), &[2, 1]).unwrap();
    store(&queue, secret(50)).await;
    assert_eq!(queue.reencrypt().await.unwrap(), 11);
    assert_eq!(queue.reencrypt().await.unwrap(), 0);
    drop(queue);
    // Now the old key can go.
    let queue = keyed(folder.path(), &[2]).unwrap();
    is_whole(&queue).await;
    assert_eq!(drain(&queue, "fhir").await.len(), 9);
}

#[tokio::test]
async fn a_record_moved_to_another_place_is_damaged_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let queue = keyed(folder.path(), &[1]).unwrap();
    for number in 0..3 {
        store(&queue, secret(number)).await;
    }
    drop(queue);
    let conn = Connection::open(folder.path().join("queue.db")).unwrap();
    // Whole as far as the checksum can tell, but sealed for record 1.
    conn.execute_batch(
        "UPDATE records SET (payload, ack, keys, sealed_keys, checksum) =
            (SELECT payload, ack, keys, sealed_keys, checksum FROM records WHERE id = 1) WHERE id = 2",
    )
    .unwrap();
    drop(conn);
    let queue = keyed(folder.path(), &[1]).unwrap();
    assert_eq!(queue.check(true).await.unwrap().corrupt, 1);
    assert_eq!(drain(&queue, "fhir").await.len(), 2);
    // The key stays needed, for whoever may still mend the record.
    drop(queue);
    let queue = keyed(folder.path(), &[2, 1]).unwrap();
    assert_eq!(queue.reencrypt().await.unwrap(), 2);
    drop(queue);
    assert!(matches!(
        keyed(folder.path(), &[2]),
        Err(QueueError::MissingKey { .. })
    ));
}

#[tokio::test]
async fn reencrypting_without_a_key_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path()).reencrypt().await.unwrap_err();
    assert!(
        error.to_string().contains("queue.encryption.keys"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_whole_and_opens_as_a_queue() {
    let folder = tempfile::tempdir().unwrap();
    let queue = std::sync::Arc::new(keyed(folder.path(), &[1]).unwrap());
    use_it(&queue).await;
    let load = {
        let queue = queue.clone();
        tokio::spawn(async move {
            for number in 100..400 {
                store(&*queue, secret(number)).await;
            }
        })
    };
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("copy.db");
    let backup = queue.backup(to.clone()).await.unwrap();
    load.await.unwrap();
    assert!(backup.records >= 11, "{backup:?}");
    assert_eq!(backup.bytes, std::fs::metadata(&to).unwrap().len());
    let again = queue.backup(to.clone()).await.unwrap_err();
    assert!(again.to_string().contains("never overwrites"), "{again}");

    let restored = tempfile::tempdir().unwrap();
    std::fs::copy(&to, restored.path().join("queue.db")).unwrap();
    let restored = keyed(restored.path(), &[1]).unwrap();
    is_whole(&restored).await;
    assert_eq!(restored.status().await.unwrap().records, backup.records);
    let files = std::fs::read_dir(copies.path()).unwrap().count();
    assert_eq!(files, 1, "nothing is left over");
}

#[tokio::test]
async fn a_backup_of_a_damaged_queue_is_refused_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    store(&queue, record("a", "a1")).await;
    drop(queue);
    let conn = Connection::open(folder.path().join("queue.db")).unwrap();
    conn.execute_batch("UPDATE records SET payload = CAST('b1' AS BLOB)")
        .unwrap();
    drop(conn);
    let queue = open(folder.path());
    let to = folder.path().join("copy.db");
    let error = queue.backup(to.clone()).await.unwrap_err();
    assert_eq!(error.class(), Class::Corrupt);
    assert!(!to.exists() && !folder.path().join("copy.db.partial").exists());
}
