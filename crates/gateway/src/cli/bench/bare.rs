//! The least that the promise costs: the same messages appended to the queue durably, by as many writers, and nothing else.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use queue::{EmbeddedQueue, NewRecord, Options, Queue};
use tokio::task::JoinSet;

use super::super::Failure;
use crate::traffic::Traffic;

/// Messages of one writer, used over and over: making them is not what is measured.
const MESSAGES: usize = 64;

/// Durable appends per second with so many writers, in a queue of its own in `folder`.
pub(super) async fn rate(
    folder: &Path,
    writers: usize,
    time: Duration,
    seed: u64,
) -> Result<f64, Failure> {
    let path = folder.join("bare");
    let queue = EmbeddedQueue::open(&path, Options::default());
    let queue = Arc::new(queue.map_err(|error| Failure::run(&error))?);
    let stored = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut appending = JoinSet::new();
    for writer in 0..writers {
        let (queue, stored) = (Arc::clone(&queue), Arc::clone(&stored));
        appending.spawn(async move {
            let mut traffic = Traffic::new(seed + writer as u64, Timestamp::now(), MESSAGES);
            let messages: Vec<bytes::Bytes> = (0..MESSAGES)
                .map(|_| traffic.next_message().into())
                .collect();
            for (number, payload) in messages.iter().cycle().enumerate() {
                if started.elapsed() >= time {
                    break;
                }
                let record = record(writer, number, payload.clone());
                queue.append(vec![record]).await?;
                stored.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), queue::QueueError>(())
        });
    }
    while let Some(ended) = appending.join_next().await {
        let appended = ended.map_err(|error| Failure::run(&error))?;
        appended.map_err(|error| Failure::run(&error))?;
    }
    let took = started.elapsed();
    drop(queue);
    let _ = std::fs::remove_dir_all(&path);
    #[allow(clippy::cast_precision_loss)] // a rate for people
    Ok(stored.load(Ordering::Relaxed) as f64 / took.as_secs_f64())
}

/// What a listener would store: an ordering key, a key to know duplicates by, an acknowledgement.
fn record(writer: usize, number: usize, payload: bytes::Bytes) -> NewRecord {
    let mut content_hash = [0; 32];
    let numbers = (writer as u64).to_le_bytes().into_iter();
    let numbers = numbers.chain((number as u64).to_le_bytes());
    for (byte, number) in content_hash.iter_mut().zip(numbers) {
        *byte = number;
    }
    NewRecord {
        payload,
        received_at_ms: Timestamp::now().as_millisecond(),
        listener: "load".to_owned(),
        route: "load".to_owned(),
        ordering_keys: vec![format!("DEMO|{writer}-{}", number % MESSAGES)],
        dedup_key: Some(format!("DEMOLAB|DEMO HOSPITAL|{writer}-{number}")),
        content_hash,
        ack: Some(bytes::Bytes::from_static(
            b"MSH|^~\\&|FHIRWAY|DEMO|DEMOLAB|DEMO HOSPITAL|20260101000000||ACK^R01^ACK|1|P|2.5.1\rMSA|AA|1\r",
        )),
        destinations: vec!["upstream".to_owned()],
        ..NewRecord::default()
    }
}
