//! A long backlog: leasing stays cheap and memory stays flat.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::Instant;

use queue::{EmbeddedQueue, Queue};
use rusqlite::{Connection, params};
use support::*;

const RECORDS: i64 = 300_000;

/// Resident memory of this process in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or("VmRSS: 0 kB");
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[tokio::test]
async fn behind_one_parked_key_and_a_long_backlog_other_keys_are_found_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    store(&queue, record("stuck", "first")).await;
    let first = lease(&queue, "fhir", 1).await.remove(0);
    queue.settle(first.id, park("conflict")).await.unwrap();
    drop(queue);
    // The backlog is written as earlier leases would have left it: looked at and waiting. The queue's own way
    // to the same rows is what every other test takes.
    let mut conn = Connection::open(folder.path().join("queue.db")).unwrap();
    let lane: i64 = conn
        .query_row("SELECT lane FROM lanes", [], |row| row.get(0))
        .unwrap();
    let change = conn.transaction().unwrap();
    for id in 2..=RECORDS {
        change
            .prepare_cached(
                "INSERT INTO records (id, stored_at, received_at, audience, size, checksum, listener, route, keys,
                    attributes, content_tag, content_hash, dedup_key, ack, payload)
                 SELECT ?1, stored_at, received_at, audience, size, checksum, listener, route, keys,
                    attributes, content_tag, content_hash, dedup_key, ack, payload
                 FROM records WHERE id = 1",
            )
            .unwrap()
            .execute([id])
            .unwrap();
        change
            .prepare_cached("INSERT INTO deliveries (destination, record, state, changed_at) VALUES (1, ?1, 2, 0)")
            .unwrap()
            .execute([id])
            .unwrap();
        change
            .prepare_cached("INSERT INTO lanes VALUES (1, ?1, ?2)")
            .unwrap()
            .execute(params![lane, id])
            .unwrap();
    }
    let more = RECORDS - 1;
    let sql = "UPDATE destinations SET accepted = accepted + ?1, waiting = waiting + ?1,
                   open_bytes = open_bytes + ?1 * 5, position = ?2, counted = ?2 WHERE id = 1";
    change.execute(sql, [more, RECORDS]).unwrap();
    change
        .execute(
            "UPDATE destinations SET position = ?1 WHERE id = 0",
            [RECORDS],
        )
        .unwrap();
    change.commit().unwrap();
    drop(conn);

    let queue: EmbeddedQueue = open(folder.path());
    let before = resident();
    let status = queue.status().await.unwrap();
    assert_eq!(
        (status.destinations["fhir"].waiting, status.mismatch),
        (RECORDS as u64 - 1, 0)
    );
    let begun = Instant::now();
    for number in 0..100 {
        store(&queue, record(&format!("other {number}"), "other")).await;
        let leases = lease(&queue, "fhir", 10).await;
        assert_eq!(texts(&leases), ["other"]);
        queue.settle(leases[0].id, delivered()).await.unwrap();
    }
    // Each round is two commits and a read; going through the backlog each time would take minutes.
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
    assert!(
        resident() < before + 64,
        "{} MiB, before {before}",
        resident()
    );
    assert!(queue.check(false).await.unwrap().is_sound());
}
