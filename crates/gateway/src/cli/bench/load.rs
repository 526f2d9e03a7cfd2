//! The load: connections that send invented messages and wait for each acknowledgement.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use mllp::{Client, ClientOptions};
use tokio::{task::JoinSet, time};

use super::{
    super::{Failure, chain},
    latencies::Latencies,
};
use crate::traffic::Traffic;

/// Invented patients of one connection.
const PATIENTS: usize = 250;
/// Time to wait for an acknowledgement.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Messages in a row without an answer after which a connection is given up.
const GIVE_UP: u32 = 3;

/// How much to send.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) to: String,
    pub(super) connections: usize,
    /// Over all connections.
    pub(super) rate: Option<f64>,
    pub(super) messages: Option<u64>,
    pub(super) time: Duration,
    pub(super) seed: u64,
}

/// What came back so far; shared with whoever looks on.
pub(super) struct Counts {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
    handed_out: AtomicU64,
    over: AtomicBool,
    /// Since the last look.
    latencies: Mutex<Latencies>,
}

impl Counts {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            handed_out: AtomicU64::new(0),
            over: AtomicBool::new(false),
            latencies: Mutex::new(Latencies::new()),
        })
    }

    /// Messages with a positive acknowledgement.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Messages with a negative acknowledgement or none.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Bytes of the acknowledged messages.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lets the connections end after the message they are at.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// The latencies since the last call.
    pub(super) fn take_latencies(&self) -> Latencies {
        let mut latencies = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut latencies, Latencies::new())
    }

    fn answered(&self, positive: bool, bytes: usize, latency: Duration) {
        if !positive {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(latency);
    }

    /// Whether one more message is to be sent.
    fn next(&self, most: Option<u64>) -> bool {
        !self.over.load(Ordering::Relaxed)
            && most.is_none_or(|most| self.handed_out.fetch_add(1, Ordering::Relaxed) < most)
    }
}

/// Opens the connections; a wrong address is told before anything is sent.
pub(super) async fn connect(plan: &Plan) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        let client = Client::connect(plan.to.clone(), ClientOptions::default()).await;
        clients.push(client.map_err(|error| {
            Failure::Run(format!("cannot connect to {}: {}", plan.to, chain(&error)))
        })?);
    }
    Ok(clients)
}

/// Sends until the plan is fulfilled, and returns how long that took.
pub(super) async fn send(
    plan: &Plan,
    clients: Vec<Client>,
    counts: &Arc<Counts>,
) -> Result<Duration, Failure> {
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for (client, number) in clients.into_iter().zip(0_u64..) {
        // A seed of its own each: control ids have it in them, and must differ.
        let traffic = Traffic::new(plan.seed + number, Timestamp::now(), PATIENTS);
        senders.spawn(sender(plan.clone(), client, traffic, Arc::clone(counts)));
    }
    let all = async {
        while let Some(ended) = senders.join_next().await {
            ended.map_err(|error| Failure::run(&error))?;
        }
        Ok(())
    };
    tokio::pin!(all);
    let limit = plan.messages.is_none().then_some(plan.time);
    let ended = tokio::select! {
        ended = &mut all => ended,
        () = time::sleep(limit.unwrap_or(Duration::MAX)) => {
            counts.end();
            all.await
        }
    };
    ended.map(|()| started.elapsed())
}

async fn sender(plan: Plan, mut client: Client, mut traffic: Traffic, counts: Arc<Counts>) {
    #[allow(clippy::cast_precision_loss)] // a number of connections
    let pace = plan.rate.map(|rate| plan.connections as f64 / rate);
    let mut ticks = pace.map(|pace| time::interval(Duration::from_secs_f64(pace)));
    let mut unanswered = 0;
    while unanswered < GIVE_UP && counts.next(plan.messages) {
        let message = traffic.next_message();
        // At a given rate a message is late from when it was due, not from when its turn came.
        let due = match &mut ticks {
            Some(ticks) => ticks.tick().await,
            None => time::Instant::now(),
        };
        match client.exchange(&message, TIMEOUT).await {
            Ok(ack) => {
                unanswered = 0;
                counts.answered(is_positive(&ack), message.len(), due.elapsed());
            }
            Err(_) => {
                unanswered += 1;
                counts.answered(false, 0, Duration::ZERO);
                let _ = client.reconnect().await;
            }
        }
    }
    client.close().await;
}

/// Whether MSA-1 says that the message was taken.
fn is_positive(ack: &[u8]) -> bool {
    let codes = [b"\rMSA|AA|", b"\rMSA|CA|"];
    codes
        .iter()
        .any(|code| ack.windows(code.len()).any(|bytes| bytes == *code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_positive_code_is_one() {
        let ack = |code: &str| format!("MSH|^~\\&|A|B|C|D|2026||ACK|1|P|2.5\rMSA|{code}|77\r");
        for (code, positive) in [("AA", true), ("CA", true), ("AE", false), ("AR", false)] {
            assert_eq!(is_positive(ack(code).as_bytes()), positive, "{code}");
        }
        assert!(!is_positive(b"MSA|AA|"));
    }

    #[test]
    fn no_more_is_handed_out_than_was_asked_for() {
        let counts = Counts::new();
        let handed = (0..10).filter(|_| counts.next(Some(4))).count();
        assert_eq!(handed, 4);
        counts.end();
        assert!(!counts.next(None));
    }
}
