//! Acknowledged appends per second, beside the least that the same durability can cost.
//!
//! The queue: 1, 16, 64 or 256 tasks, each appends a record of 2 kB and waits for its acknowledgement.
//! The bare loop: one thread, one table with the same columns and values and a unique index on the
//! deduplication key, WAL with `synchronous = FULL`, the same page size, page cache and checkpoint interval. It makes
//! transactions of exactly the sizes that the queue has just made, in the same order, and talks to nobody.
//!
//! Both take turns, each on a new database, for `BENCH_ROUNDS` rounds (15) of `BENCH_TURN_MS` (300). Printed are medians, and the median
//! of the ratios inside a round. The disk is measured along: rows per transaction and time per commit say
//! what a figure is worth, since a machine that sleeps between flushes answers to its timer, not to its disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::ThreadId,
    time::{Duration, Instant},
};

use bytes::Bytes;
use queue::{Commit, EmbeddedQueue, NewRecord, Observer, Options, Queue};
use rusqlite::{Connection, params};

const PAYLOAD: usize = 2_048;
const WRITERS: [usize; 4] = [1, 16, 64, 256];

fn main() {
    let rounds = std::env::var("BENCH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(15);
    let turn = Duration::from_millis(
        std::env::var("BENCH_TURN_MS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(300),
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("queue-bench");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    println!("acknowledged appends of {PAYLOAD} bytes, medians of {rounds} rounds of {turn:?}");
    println!(
        "{:>7} {:>10} {:>10} {:>6} {:>15} {:>10} {:>12} {:>12} {:>10} {:>10}",
        "writers",
        "queue/s",
        "bare/s",
        "ratio",
        "ratio min..max",
        "rows/txn",
        "commit queue",
        "commit bare",
        "cpu queue",
        "cpu bare"
    );
    let only: Option<usize> = std::env::var("BENCH_WRITERS")
        .ok()
        .and_then(|text| text.parse().ok());
    for writers in WRITERS
        .into_iter()
        .filter(|writers| only.is_none_or(|only| only == *writers))
    {
        let mut lines = Vec::new();
        for _ in 0..rounds {
            let ours = runtime.block_on(queue_turn(&folder, writers, turn));
            let bare = bare_turn(&folder, &ours.sizes);
            lines.push((ours, bare));
        }
        let ratios: Vec<f64> = lines
            .iter()
            .map(|(ours, bare)| ours.per_second / bare.per_second)
            .collect();
        let (low, high) = ratios.iter().fold((f64::MAX, 0_f64), |(low, high), r| {
            (low.min(*r), high.max(*r))
        });
        println!(
            "{writers:>7} {:>10.0} {:>10.0} {:>6.2} {:>15} {:>10.1} {:>12?} {:>12?} {:>10.1} {:>10.1}",
            median(lines.iter().map(|(ours, _)| ours.per_second)),
            median(lines.iter().map(|(_, bare)| bare.per_second)),
            median(ratios.iter().copied()),
            format!("{low:.2}..{high:.2}"),
            median(
                lines
                    .iter()
                    .map(|(ours, _)| ours.rows as f64 / ours.sizes.len() as f64)
            ),
            Duration::from_secs_f64(median(lines.iter().map(|(ours, _)| ours.commit)) + 1e-9),
            Duration::from_secs_f64(median(lines.iter().map(|(_, bare)| bare.commit)) + 1e-9),
            median(lines.iter().map(|(ours, _)| ours.cpu)),
            median(lines.iter().map(|(_, bare)| bare.cpu)),
        );
    }
    let _gone = std::fs::remove_dir_all(&folder);
}

/// What one turn measured.
struct Turn {
    per_second: f64,
    rows: u64,
    /// Rows of each transaction.
    sizes: Vec<usize>,
    /// Median seconds of a commit.
    commit: f64,
    /// Microseconds of processor time of the writing thread for one row.
    cpu: f64,
}

#[derive(Default)]
struct Commits {
    all: Mutex<Vec<(usize, Duration)>>,
    /// Which thread wrote, its nanoseconds on a processor, and rows so far, at every 32nd commit.
    cpu: Mutex<Vec<(ThreadId, u64, usize)>>,
}

impl Observer for Commits {
    fn committed(&self, commit: &Commit) {
        if commit.records > 0 {
            let mut all = self.all.lock().unwrap();
            all.push((commit.records, commit.commit));
            if all.len() % 32 == 1 {
                let rows = all.iter().map(|(rows, _)| rows).sum();
                let thread = std::thread::current().id();
                let mut cpu = self.cpu.lock().unwrap();
                cpu.push((thread, thread_nanoseconds(), rows));
            }
        }
    }
}

async fn queue_turn(folder: &Path, writers: usize, turn: Duration) -> Turn {
    let _gone = std::fs::remove_dir_all(folder);
    let commits = Arc::new(Commits::default());
    let options = Options {
        observer: Some(commits.clone()),
        min_free_bytes: 1 << 20,
        ..Options::default()
    };
    let queue = Arc::new(EmbeddedQueue::open(folder, options).unwrap());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (queue, acknowledged) = (queue.clone(), acknowledged.clone());
            tokio::spawn(async move {
                let payload = Bytes::from(vec![b'x'; PAYLOAD]);
                for number in 0.. {
                    if begun.elapsed() > turn {
                        break;
                    }
                    let answers = queue
                        .append(vec![record(payload.clone(), writer, number)])
                        .await
                        .unwrap();
                    assert!(matches!(answers[0], queue::Appended::Stored(_)));
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let elapsed = begun.elapsed();
    let rows = acknowledged.load(Ordering::Relaxed);
    drop(Arc::into_inner(queue).unwrap());
    let all = std::mem::take(&mut *commits.all.lock().unwrap());
    let cpu = commits.cpu.lock().unwrap();
    // Only stretches in which one thread wrote tell what a row costs it.
    let (nanoseconds, rows_seen) = cpu
        .windows(2)
        .filter(|two| two[0].0 == two[1].0)
        .fold((0, 0), |(time, rows), two| {
            (time + two[1].1 - two[0].1, rows + two[1].2 - two[0].2)
        });
    Turn {
        per_second: rows as f64 / elapsed.as_secs_f64(),
        rows,
        commit: median(all.iter().map(|(_, commit)| commit.as_secs_f64())),
        cpu: nanoseconds as f64 / 1_000.0 / rows_seen as f64,
        sizes: all.into_iter().map(|(rows, _)| rows).collect(),
    }
}

fn bare_turn(folder: &Path, sizes: &[usize]) -> Turn {
    let _gone = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).unwrap();
    let conn = Connection::open(folder.join("bare.db")).unwrap();
    conn.execute_batch(
        "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768;
         PRAGMA wal_autocheckpoint = 4000;
         CREATE TABLE records (id INTEGER PRIMARY KEY, stored_at INTEGER, received_at INTEGER, audience INTEGER,
            size INTEGER, checksum INTEGER, listener TEXT, route TEXT, keys TEXT, attributes TEXT,
            content_hash BLOB, dedup_key TEXT, ack BLOB, payload BLOB);
         CREATE UNIQUE INDEX records_dedup ON records (dedup_key);",
    )
    .unwrap();
    let mut insert = conn
        .prepare("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)")
        .unwrap();
    let (mut begin, mut commit) = (
        conn.prepare("BEGIN IMMEDIATE").unwrap(),
        conn.prepare("COMMIT").unwrap(),
    );
    let payload = Bytes::from(vec![b'x'; PAYLOAD]);
    let mut commits = Vec::with_capacity(sizes.len());
    let mut id = 0_i64;
    let cpu = thread_nanoseconds();
    let begun = Instant::now();
    for size in sizes {
        begin.execute([]).unwrap();
        for writer in 0..*size {
            id += 1;
            let row = record(payload.clone(), writer, u64::try_from(id).unwrap());
            insert
                .execute(params![
                    id,
                    1_700_000_000_000_i64,
                    row.received_at_ms,
                    1,
                    PAYLOAD,
                    4_000_000_000_i64,
                    row.listener,
                    row.route,
                    row.ordering_keys[0],
                    "{\"message_type\":\"ORU^R01\"}",
                    row.content_hash.as_slice(),
                    row.dedup_key,
                    row.ack.as_deref(),
                    row.payload.as_ref(),
                ])
                .unwrap();
        }
        let before = Instant::now();
        commit.execute([]).unwrap();
        commits.push(before.elapsed().as_secs_f64());
    }
    let elapsed = begun.elapsed();
    let rows = u64::try_from(id).unwrap();
    Turn {
        per_second: rows as f64 / elapsed.as_secs_f64(),
        rows,
        sizes: Vec::new(),
        cpu: (thread_nanoseconds() - cpu) as f64 / 1_000.0 / rows as f64,
        commit: median(commits.into_iter()),
    }
}

fn record(payload: Bytes, writer: usize, number: u64) -> NewRecord {
    NewRecord {
        payload,
        received_at_ms: 1_700_000_000_000,
        listener: "lab".to_owned(),
        route: "results".to_owned(),
        // A ward of many patients, each message for another one.
        ordering_keys: vec![format!(
            "LAB|{:05}",
            number.wrapping_mul(2_654_435_761) % 50_000
        )],
        dedup_key: Some(format!("lab|LAB{writer:03}|HOSPITAL|{number:010}")),
        content_hash: [7; 32],
        ack: Some(Bytes::from_static(&[b'a'; 120])),
        destinations: vec!["fhir".to_owned()],
        attributes: BTreeMap::from([("message_type".to_owned(), "ORU^R01".to_owned())]),
        ..NewRecord::default()
    }
}

/// Time this thread has spent on a processor (Linux; elsewhere 0).
fn thread_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(0)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
