//! `fhirway send`: an MLLP client that sends files and counts what comes back.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::ValueHint;
use indicatif::ProgressBar;
use mllp::{Client, ClientError, ClientOptions, ClientTls, ClientTlsFiles};
use serde_json::json;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
    time,
};

use super::{
    Failure, Format, Outcome, Verdict,
    files::{self, Input},
    output, runtime,
};

/// Messages read ahead per connection.
const AHEAD: usize = 16;
/// Times that a broken connection is made again for one message, after a wait that doubles.
const RECONNECTS: u32 = 4;
/// First wait before connecting again.
const RECONNECT_WAIT: Duration = Duration::from_millis(100);
/// Messages in a row without an answer after which a connection is given up: the receiver does not want it.
const GIVE_UP: u32 = 3;

/// Send messages by MLLP and count the acknowledgements.
///
/// Inputs are files, folders (every *.hl7 file below, in sorted path order) or - for standard input. On one
/// connection the order is that of the input; with several, that of each connection's share. Every message is
/// sent once: a connection that breaks while waiting for an ACK makes that message unanswered, not repeated,
/// unless --resend says so. A connection that gets no answer to three messages in a row is given up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway send messages/                                     to 127.0.0.1:2575
  fhirway send --to lab.example.org:2575 --rate 50 feed/
  fhirway send --connections 16 --repeat 10 feed/            load
  fhirway send --tls --ca ca.pem --cert me.pem --key me.key --to lab.example.org:2575 feed/

Exit code: 0, 1 when an ACK was negative or missing, 2 for wrong usage.")]
pub(crate) struct Args {
    /// Files, folders, or - for standard input
    #[arg(required = true, value_name = "INPUT", value_hint = ValueHint::AnyPath)]
    inputs: Vec<PathBuf>,
    /// Where to send
    #[arg(long, default_value = "127.0.0.1:2575", value_name = "HOST:PORT")]
    to: String,
    /// Messages per second over all connections [default: as fast as they are acknowledged]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Connections at once
    #[arg(long, default_value_t = 1, value_name = "N")]
    connections: usize,
    /// Send everything so many times
    #[arg(long, default_value_t = 1, value_name = "N")]
    repeat: usize,
    /// Time to wait for an ACK
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = crate::config::parse_duration)]
    timeout: Duration,
    /// Send a message again when the connection broke before its ACK (the receiver must recognise duplicates)
    #[arg(long)]
    resend: bool,
    /// Use TLS
    #[arg(long)]
    tls: bool,
    /// Certificates to trust instead of the system's, PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
    /// Client certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls", requires = "key")]
    cert: Option<PathBuf>,
    /// Client key, PEM
    #[arg(long, value_name = "FILE", requires = "tls", requires = "cert")]
    key: Option<PathBuf>,
    /// Name that the server's certificate must have [default: the host]
    #[arg(long, value_name = "NAME", requires = "tls")]
    server_name: Option<String>,
    /// How to print the statistics
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What came back.
#[derive(Default)]
struct Tally {
    /// ACK codes and failures by name.
    answers: BTreeMap<String, u64>,
    /// Time from sending to the ACK.
    latencies: Vec<Duration>,
    bytes: u64,
    good: u64,
    bad: u64,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args
        .rate
        .is_some_and(|rate| !(rate > 0.0 && rate.is_finite()))
        || args.connections == 0
    {
        return Err(Failure::Usage(
            "--rate and --connections must be greater than 0".to_owned(),
        ));
    }
    let inputs = files::inputs(&args.inputs)?;
    if inputs.is_empty() {
        return Err(Failure::Usage(
            "there is no *.hl7 file in what was named".to_owned(),
        ));
    }
    let options = options(args)?;
    let started = Instant::now();
    let bar = output::progress(None, "messages", true);
    let tally = runtime()?.block_on(send(args, inputs, options, &bar))?;
    bar.finish_and_clear();
    report(args.format, &tally, started.elapsed())?;
    Ok(if tally.bad == 0 {
        Verdict::Good
    } else {
        Verdict::Bad
    })
}

fn options(args: &Args) -> Result<ClientOptions, Failure> {
    let mut options = ClientOptions::default();
    if args.tls {
        let files = ClientTlsFiles {
            ca: args.ca.clone(),
            certificate: args.cert.clone().zip(args.key.clone()),
            server_name: args.server_name.clone(),
        };
        options.tls =
            Some(ClientTls::load(&files).map_err(|error| Failure::Usage(super::chain(&error)))?);
    }
    Ok(options)
}

async fn send(
    args: &Args,
    inputs: Vec<Input>,
    options: ClientOptions,
    bar: &ProgressBar,
) -> Result<Tally, Failure> {
    // The first connection is made before anything is read: a wrong address is told at once.
    let mut clients = Vec::with_capacity(args.connections);
    for _ in 0..args.connections {
        let client = Client::connect(args.to.clone(), options.clone())
            .await
            .map_err(|error| {
                Failure::Run(format!(
                    "cannot connect to {}: {}",
                    args.to,
                    super::chain(&error)
                ))
            })?;
        clients.push(client);
    }
    let (hand_out, messages) = mpsc::channel::<Vec<u8>>(args.connections * AHEAD);
    let repeat = args.repeat;
    let reader = tokio::task::spawn_blocking(move || read(&inputs, repeat, &hand_out));
    let messages = Arc::new(Mutex::new(messages));
    let pace = Arc::new(Mutex::new(args.rate.map(|rate| {
        let mut ticks = time::interval(Duration::from_secs_f64(1.0 / rate));
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Burst);
        ticks
    })));
    let mut senders = JoinSet::new();
    for client in clients {
        let sender = Sender {
            client,
            messages: Arc::clone(&messages),
            pace: Arc::clone(&pace),
            timeout: args.timeout,
            resend: args.resend,
            bar: bar.clone(),
            tally: Tally::default(),
        };
        senders.spawn(sender.run());
    }
    let mut tally = Tally::default();
    while let Some(done) = senders.join_next().await {
        tally.add(done.map_err(|error| Failure::run(&error))?);
    }
    // With every connection given up, what is left is counted, so that the sum is that of the input.
    let mut left = messages.lock().await;
    while left.recv().await.is_some() {
        tally.bad += 1;
        *tally.answers.entry("not sent".to_owned()).or_default() += 1;
    }
    drop(left);
    reader.await.map_err(|error| Failure::run(&error))??;
    Ok(tally)
}

fn read(inputs: &[Input], repeat: usize, hand_out: &mpsc::Sender<Vec<u8>>) -> Result<(), Failure> {
    for _ in 0..repeat {
        for input in inputs {
            let bytes = input.read().map_err(|error| {
                Failure::Usage(format!("cannot read {}: {error}", input.name()))
            })?;
            for range in files::messages(&bytes) {
                let message = bytes.get(range).unwrap_or_default().to_vec();
                if hand_out.blocking_send(message).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

struct Sender {
    client: Client,
    messages: Arc<Mutex<mpsc::Receiver<Vec<u8>>>>,
    pace: Arc<Mutex<Option<time::Interval>>>,
    timeout: Duration,
    resend: bool,
    bar: ProgressBar,
    tally: Tally,
}

impl Sender {
    async fn run(mut self) -> Tally {
        let mut unanswered = 0;
        while unanswered < GIVE_UP {
            let Some(message) = self.messages.lock().await.recv().await else {
                break;
            };
            if let Some(pace) = self.pace.lock().await.as_mut() {
                pace.tick().await;
            }
            match self.one(&message).await {
                Ok((ack, latency)) => {
                    unanswered = 0;
                    self.tally.answer(&ack, &message, latency);
                }
                Err(error) => {
                    unanswered += 1;
                    self.tally.fail(&error);
                }
            }
            self.bar.inc(1);
        }
        self.client.close().await;
        self.tally
    }

    /// Sends one message. What did not leave this side goes again; what may have arrived, only when it is
    /// asked for.
    async fn one(&mut self, message: &[u8]) -> Result<(Bytes, Duration), ClientError> {
        let mut wait = RECONNECT_WAIT;
        let mut tries = 0;
        loop {
            let started = Instant::now();
            let error = match self.connected().await {
                Ok(()) => match self.client.exchange(message, self.timeout).await {
                    Ok(ack) => return Ok((ack, started.elapsed())),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let again = self.resend || !error.may_have_been_received();
            tries += 1;
            if !again || error.is_permanent() || tries > RECONNECTS {
                return Err(error);
            }
            time::sleep(wait).await;
            wait *= 2;
        }
    }

    async fn connected(&mut self) -> Result<(), ClientError> {
        if self.client.is_connected() {
            Ok(())
        } else {
            self.client.reconnect().await
        }
    }
}

impl Tally {
    fn answer(&mut self, ack: &[u8], message: &[u8], latency: Duration) {
        self.latencies.push(latency);
        self.bytes += message.len() as u64;
        let code = ack_code(ack, message);
        if matches!(code.as_str(), "AA" | "CA") {
            self.good += 1;
        } else {
            self.bad += 1;
        }
        *self.answers.entry(code).or_default() += 1;
    }

    fn fail(&mut self, error: &ClientError) {
        self.bad += 1;
        *self.answers.entry(format!("no ACK ({error})")).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        for (code, count) in other.answers {
            *self.answers.entry(code).or_default() += count;
        }
        self.latencies.extend(other.latencies);
        self.bytes += other.bytes;
        self.good += other.good;
        self.bad += other.bad;
    }

    /// The latency that `share` of all are not above.
    fn percentile(&self, share: f64) -> Duration {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let index = ((self.latencies.len() as f64 * share).ceil() as usize).saturating_sub(1);
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

/// MSA-1 of the ACK, or what is wrong with it: it must be about this message (MSA-2 is its MSH-10).
fn ack_code(ack: &[u8], message: &[u8]) -> String {
    let Ok((ack, _)) = hl7v2::parse(ack) else {
        return "unreadable ACK".to_owned();
    };
    let Some(msa) = ack.segments().find(|segment| segment.name() == "MSA") else {
        return "ACK without MSA".to_owned();
    };
    let sent = hl7v2::parse(message)
        .ok()
        .map(|(message, _)| message.header().control_id_raw().to_vec());
    if sent.is_some_and(|sent| !sent.is_empty() && sent != msa.field(2).raw()) {
        return "ACK of another message".to_owned();
    }
    match msa.field(1).text().as_ref() {
        code @ ("AA" | "AE" | "AR" | "CA" | "CE" | "CR") => code.to_owned(),
        _ => "unknown code".to_owned(),
    }
}

fn report(format: Format, tally: &Tally, took: Duration) -> Result<(), Failure> {
    let mut tally = Tally {
        latencies: tally.latencies.clone(),
        answers: tally.answers.clone(),
        ..*tally
    };
    tally.latencies.sort_unstable();
    let total = tally.good + tally.bad;
    #[allow(clippy::cast_precision_loss)] // a rate for people
    let per_second = total as f64 / took.as_secs_f64().max(1e-9);
    let millis = |share| (tally.percentile(share).as_secs_f64() * 1e5).round() / 100.0;
    match format {
        Format::Json => output::print_json(&json!({
            "messages": total,
            "positive": tally.good,
            "negative_or_missing": tally.bad,
            "answers": tally.answers,
            "bytes": tally.bytes,
            "seconds": took.as_secs_f64(),
            "per_second": per_second,
            "ack_ms": { "p50": millis(0.5), "p90": millis(0.9), "p99": millis(0.99), "max": millis(1.0) },
        })),
        Format::Text => {
            let answers: Vec<String> = tally
                .answers
                .iter()
                .map(|(code, count)| format!("{code} {count}"))
                .collect();
            output::print(&format!(
                "{total} messages in {:.1} s ({per_second:.0} per second): {}\nACK after {} ms (p50), {} ms (p99), {} ms (longest)\n",
                took.as_secs_f64(),
                answers.join(", "),
                millis(0.5),
                millis(0.99),
                millis(1.0),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &[u8] = b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01|77|P|2.5\r";

    #[test]
    fn an_ack_must_be_about_the_message() {
        let ack = |msa: &str| {
            ack_code(
                format!("MSH|^~\\&|C|D|A|B|20260101||ACK|1|P|2.5\r{msa}\r").as_bytes(),
                SENT,
            )
        };
        assert_eq!(ack("MSA|AA|77"), "AA");
        assert_eq!(ack("MSA|CE|77"), "CE");
        assert_eq!(ack("MSA|AA|78"), "ACK of another message");
        assert_eq!(ack("MSA|XX|77"), "unknown code");
        assert_eq!(ack("ERR|1"), "ACK without MSA");
        assert_eq!(ack_code(b"hello", SENT), "unreadable ACK");
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let latencies = (1..=100).map(Duration::from_millis).collect();
        let tally = Tally {
            latencies,
            ..Tally::default()
        };
        assert_eq!(tally.percentile(0.5), Duration::from_millis(50));
        assert_eq!(tally.percentile(0.99), Duration::from_millis(99));
        assert_eq!(tally.percentile(1.0), Duration::from_millis(100));
        assert_eq!(Tally::default().percentile(0.5), Duration::ZERO);
    }
}
