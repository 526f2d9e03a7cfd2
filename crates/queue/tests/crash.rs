//! The promise itself: a process that is killed at any step loses nothing that it acknowledged.
//!
//! The child is this test binary again: it appends, leases and settles, and prints every acknowledgement it
//! got. It dies by `abort` at a chosen point of a chosen commit, or by SIGKILL at a random time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use queue::{EmbeddedQueue, Fault, Faults, Filter, NewRecord, Options, Point, Queue, State};
use support::*;

/// Aborts at the n-th time the writer comes to a point.
struct Die {
    at: Point,
    after: u64,
    seen: AtomicU64,
}

impl Faults for Die {
    fn at(&self, point: Point) -> Option<Fault> {
        if point == self.at && self.seen.fetch_add(1, Ordering::Relaxed) == self.after {
            std::process::abort();
        }
        None
    }
}

/// Not a test of its own: the process that gets killed.
#[test]
fn child() {
    let Ok(folder) = std::env::var("QUEUE_CRASH_FOLDER") else {
        return;
    };
    let run: u64 = std::env::var("QUEUE_CRASH_RUN").unwrap().parse().unwrap();
    let faults: Option<Arc<dyn Faults>> = match run % 5 {
        0 => None,
        kind => Some(Arc::new(Die {
            at: [
                Point::BeforeBegin,
                Point::BeforeCommit,
                Point::AfterCommit,
                Point::AfterAnswer,
            ][kind as usize - 1],
            after: run * 7 % 41,
            seen: AtomicU64::new(0),
        })),
    };
    // Few pages between checkpoints, so that kills hit these as well.
    let options = Options {
        faults,
        checkpoint_pages: 20,
        ..options()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work(EmbeddedQueue::open(folder, options).unwrap(), run));
}

/// Prints a line as one write: what the parent reads was acknowledged.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n#{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

async fn work(queue: EmbeddedQueue, run: u64) {
    let queue = Arc::new(queue);
    for writer in 0..6 {
        let queue = queue.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let text = format!("{run}-{writer}-{number}");
                let merge = number % 5 == 4;
                let other = (writer + 1) % 6;
                let keys = if merge {
                    vec![writer, other]
                } else {
                    vec![writer]
                };
                let new = NewRecord {
                    ordering_keys: keys
                        .into_iter()
                        .map(|key| format!("patient {key}"))
                        .collect(),
                    dedup_key: Some(text.clone()),
                    ..record("", &text)
                };
                let id = store(&*queue, new).await;
                say(&format!("stored {id} {text}"));
            }
        });
    }
    loop {
        for lease in lease(&*queue, "fhir", 4).await {
            let (id, text) = (
                lease.record,
                String::from_utf8(lease.payload.to_vec()).unwrap(),
            );
            say(&format!("leased {id} {text}"));
            let outcome = match id.0 % 11 {
                0 if lease.attempts == 0 => retry_in(-1, true),
                1 => dead("refused"),
                _ => delivered(),
            };
            let is_final = !matches!(outcome, queue::Outcome::RetryAt { .. });
            queue.settle(lease.id, outcome).await.unwrap();
            if is_final {
                say(&format!("settled {id} {text}"));
            }
        }
        queue.wait("fhir").await;
    }
}

/// Everything the children have told, over all runs.
#[derive(Default)]
struct Told {
    stored: BTreeMap<i64, String>,
    settled: BTreeSet<i64>,
    /// Per lane, the records in the order in which they were first leased.
    leased: HashMap<String, Vec<i64>>,
}

fn run_child(folder: &Path, run: u64, told: &mut Told) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env("QUEUE_CRASH_FOLDER", folder)
        .env("QUEUE_CRASH_RUN", run.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let killer = std::thread::spawn(move || {
        // Longest life, and the time of the kill for those that have no other fate.
        std::thread::sleep(Duration::from_millis(60 + run * 37 % 300));
        drop(child.kill());
        child.wait().unwrap()
    });
    for line in lines.lines() {
        // A torn last line was not told.
        let Ok(line) = line else { break };
        let words: Vec<&str> = line.split(' ').collect();
        let [what, id, text] = words[..] else {
            continue;
        };
        let Ok(id) = id.parse::<i64>() else { continue };
        match what {
            "#stored" => assert!(
                told.stored.insert(id, text.to_owned()).is_none(),
                "number {id} was used twice"
            ),
            "#settled" => drop(told.settled.insert(id)),
            "#leased" => {
                let writer: u64 = text.split('-').nth(1).unwrap().parse().unwrap();
                let number: u64 = text.split('-').nth(2).unwrap().parse().unwrap();
                let mut lanes = vec![writer];
                if number % 5 == 4 {
                    lanes.push((writer + 1) % 6);
                }
                for lane in lanes {
                    let order = told.leased.entry(format!("patient {lane}")).or_default();
                    if !order.contains(&id) {
                        order.push(id);
                    }
                }
            }
            _ => {}
        }
    }
    let status = killer.join().unwrap();
    assert!(!status.success(), "the child was to be killed");
}

#[test]
fn killed_at_any_step_it_keeps_every_acknowledged_record_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    for run in 0..25 {
        run_child(folder.path(), run, &mut told);
        runtime.block_on(async {
            let queue = open(folder.path());
            assert_sound(&queue).await;
            let status = queue.status().await.unwrap();
            assert_eq!(status.total.leased, 0);
            assert!(status.total.delivered + status.total.dead >= told.settled.len() as u64);
        });
    }
    assert!(
        told.stored.len() > 100,
        "too little was tried: {}",
        told.stored.len()
    );
    assert!(
        told.settled.len() > 20,
        "too little was delivered: {}",
        told.settled.len()
    );
    runtime.block_on(async {
        let queue = open(folder.path());
        let mut finals = BTreeSet::new();
        let mut filter = Filter {
            limit: 1_000,
            ..Filter::default()
        };
        loop {
            let page = queue.list(&filter).await.unwrap();
            finals.extend(
                page.iter()
                    .filter(|line| line.state.is_final())
                    .map(|line| line.record.0),
            );
            let Some(last) = page.last() else { break };
            filter.after = Some(last.record);
        }
        for (id, text) in &told.stored {
            assert_eq!(
                queue.payload(queue::RecordId(*id)).await.unwrap(),
                text.as_bytes()
            );
        }
        for id in &told.settled {
            assert!(
                finals.contains(id),
                "record {id} was settled and is open again"
            );
        }
        for (lane, order) in &told.leased {
            assert!(order.is_sorted(), "{lane}: {order:?}");
        }
        drain(&queue, "fhir").await;
        // What waits for a retry that is due is drained as well, so nothing is left over.
        assert_eq!(queue.status().await.unwrap().total.open(), 0);
        assert!(
            queue
                .list(&Filter {
                    state: Some(State::Queued),
                    ..Filter::default()
                })
                .await
                .unwrap()
                .is_empty()
        );
        assert_sound(&queue).await;
    });
}
