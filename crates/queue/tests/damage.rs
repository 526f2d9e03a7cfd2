//! Torn, flipped, foreign, newer and locked files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use queue::{
    Class, EmbeddedQueue, Filter, Observer, Options, Queue, QueueError, QueueReader, RecordId,
    State,
};
use rusqlite::Connection;
use support::*;

#[derive(Default)]
struct Alarms(AtomicUsize);

impl Observer for Alarms {
    fn quarantined(&self, _: RecordId, _: &str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_flipped_byte_anywhere_in_a_record_quarantines_this_record_only() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    for number in 0..7 {
        store(
            &queue,
            record(&format!("p{number}"), &format!("message {number}")),
        )
        .await;
    }
    drop(queue);
    let damage = Connection::open(folder.path().join("queue.db")).unwrap();
    for (id, sql) in [
        (
            1,
            "UPDATE records SET payload = CAST('massage 0' AS BLOB) WHERE id = 1",
        ),
        (
            2,
            "UPDATE records SET ack = CAST('NAK' AS BLOB) WHERE id = 2",
        ),
        (3, "UPDATE records SET listener = 'lbb' WHERE id = 3"),
        (
            4,
            "UPDATE records SET attributes = '{\"message_type\":\"ORU^R02\"}' WHERE id = 4",
        ),
        (
            5,
            "UPDATE records SET payload = CAST('' AS BLOB) WHERE id = 5",
        ),
        (6, "UPDATE records SET payload = NULL WHERE id = 6"),
    ] {
        assert_eq!(damage.execute(sql, []).unwrap(), 1, "record {id}");
    }
    drop(damage);
    let alarms = Arc::new(Alarms::default());
    let queue = EmbeddedQueue::open(
        folder.path(),
        Options {
            observer: Some(alarms.clone()),
            ..options()
        },
    )
    .unwrap();
    let check = queue.check(true).await.unwrap();
    assert_eq!(check.corrupt, 6, "{check:?}");
    assert!(
        queue.status().await.unwrap().mismatch >= 6,
        "the alarm is raised"
    );
    assert_eq!(
        drain(&queue, "fhir").await,
        ["message 6"],
        "the others go on"
    );
    assert_eq!(alarms.0.load(Ordering::Relaxed), 6);
    let dead = queue
        .list(&Filter {
            state: Some(State::Dead),
            ..Filter::default()
        })
        .await
        .unwrap();
    assert_eq!(dead.len(), 6);
    assert!(
        dead.iter()
            .all(|line| line.reason.as_deref() == Some(queue::REASON_CORRUPT))
    );
    assert!(
        matches!(queue.payload(RecordId(1)).await, Err(error) if error.class() == Class::Corrupt)
    );
}

#[tokio::test]
async fn a_write_ahead_log_torn_at_any_length_opens_with_what_was_whole() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    for number in 0..12 {
        store(&queue, record("p", &format!("message {number}"))).await;
    }
    // As a kill leaves it: copied while open, without the checkpoint that closing makes.
    let (database, log) = ("queue.db", "queue.db-wal");
    let torn = tempfile::tempdir().unwrap();
    let whole = fs::read(folder.path().join(log)).unwrap();
    let mut most = 0;
    let step = whole.len() / 60 + 1;
    for length in (0..=whole.len())
        .step_by(step)
        .chain([whole.len() - 1, whole.len()])
    {
        let at = torn.path().join(length.to_string());
        fs::create_dir(&at).unwrap();
        fs::copy(folder.path().join(database), at.join(database)).unwrap();
        // Torn, and behind it what an older use of the file may have left.
        let mut bytes = whole[..length].to_vec();
        bytes.resize(whole.len(), 0);
        fs::write(at.join(log), bytes).unwrap();
        let queue = open(&at);
        assert_sound(&queue).await;
        let texts = drain(&queue, "fhir").await;
        let expected: Vec<String> = (0..texts.len())
            .map(|number| format!("message {number}"))
            .collect();
        assert_eq!(texts, expected, "a prefix of what was stored");
        assert!(texts.len() >= most, "a longer log has no less");
        most = texts.len();
        drop(queue);
        fs::remove_dir_all(&at).unwrap();
    }
    assert_eq!(most, 12);
}

#[tokio::test]
async fn an_empty_database_file_is_a_new_queue() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("queue.db"), b"").unwrap();
    let queue = open(folder.path());
    store(&queue, record("p", "m")).await;
    assert_eq!(drain(&queue, "fhir").await, ["m"]);
}

#[test]
fn what_is_no_queue_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("queue.db"),
        "this is no database, and longer than a header".repeat(40),
    )
    .unwrap();
    assert_eq!(
        EmbeddedQueue::open(folder.path(), options())
            .unwrap_err()
            .class(),
        Class::Corrupt
    );
    let other = tempfile::tempdir().unwrap();
    let conn = Connection::open(other.path().join("queue.db")).unwrap();
    conn.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(conn);
    assert!(matches!(
        EmbeddedQueue::open(other.path(), options()),
        Err(QueueError::Foreign(_))
    ));
    assert!(matches!(
        QueueReader::open(other.path()),
        Err(QueueError::Foreign(_))
    ));
}

#[test]
fn a_newer_schema_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let conn = Connection::open(folder.path().join("queue.db")).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let error = EmbeddedQueue::open(folder.path(), options()).unwrap_err();
    assert_eq!(error.class(), Class::NewerSchema);
    let text = error.to_string();
    assert!(
        text.contains("99") && text.contains("use the newer release"),
        "{text}"
    );
    assert_eq!(
        QueueReader::open(folder.path()).unwrap_err().class(),
        Class::NewerSchema
    );
}

#[tokio::test]
async fn a_second_owner_is_refused_and_a_reader_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    let id = store(&queue, record("p", "m")).await;
    let error = EmbeddedQueue::open(folder.path(), options()).unwrap_err();
    assert_eq!(error.class(), Class::Locked);
    let text = error.to_string();
    assert!(
        text.contains("queue.lock") && text.contains(&std::process::id().to_string()),
        "{text}"
    );
    let reader = QueueReader::open(folder.path()).unwrap();
    assert_eq!(reader.status().await.unwrap().total.queued, 1);
    assert_eq!(reader.show(id).await.unwrap().size, 1);
    assert_eq!(reader.list(&Filter::default()).await.unwrap().len(), 1);
    assert_eq!(reader.payload(id).await.unwrap(), "m");
    assert!(reader.check(true).await.unwrap().is_sound());
    drop(queue);
    drop(open(folder.path()));
}

#[test]
fn a_second_process_is_refused() {
    if let Ok(folder) = std::env::var("QUEUE_LOCK_FOLDER") {
        let refused = matches!(
            EmbeddedQueue::open(folder, options()),
            Err(QueueError::Locked { .. })
        );
        std::process::exit(if refused { 42 } else { 1 });
    }
    let folder = tempfile::tempdir().unwrap();
    let _queue = open(folder.path());
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_second_process_is_refused", "--test-threads=1"])
        .env("QUEUE_LOCK_FOLDER", folder.path())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(42));
}

#[test]
fn a_folder_that_cannot_be_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(
        EmbeddedQueue::open(file.join("queue"), options())
            .unwrap_err()
            .class(),
        Class::Io
    );
    assert!(QueueReader::open(folder.path().join("nothing")).is_err());
}
