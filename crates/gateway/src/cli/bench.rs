//! `fhirway bench`: how much this machine takes, and what it costs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::ValueHint;
use indicatif::ProgressBar;
use tokio::time;

use self::{
    gateway::Gateway,
    latencies::Latencies,
    load::{Counts, Plan},
    metrics::Look,
    report::{Results, rounded, whole},
    samples::{Sample, Samples},
};
use super::{Failure, Outcome, Verdict, output, runtime};

mod bare;
mod gateway;
mod latencies;
mod load;
mod metrics;
mod page;
mod report;
mod samples;
mod upstream;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// A backlog that does not get smaller for so long is not waited for.
const STUCK: Duration = Duration::from_secs(30);

/// Measure how many messages are acknowledged and delivered, how fast, and with how much memory.
///
/// Starts a gateway of its own with the shipped maps, an embedded queue in a temporary folder and a FHIR server that
/// answers at once, and sends it invented messages over many connections. What durable storage alone allows on this
/// machine is measured first, with as many writers. With --target the load goes to a gateway that runs already.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway bench                                        64 connections for 30 s
  fhirway bench --report load.html                     the same, and a page with curves
  fhirway bench --rate 500 --duration 10m              steady load
  fhirway bench --down --messages 1000000              the destination is down: what does the backlog cost?
  fhirway bench --target gw.example.org:2575 --metrics gw.example.org:9464

Exit code: 0, 1 when an ACK was negative or missing or a message was not delivered, 2 for wrong usage.")]
pub(crate) struct Args {
    /// Connections at once
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How long to send
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = crate::config::parse_duration, conflicts_with = "messages")]
    duration: Duration,
    /// Send so many messages instead
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Messages per second over all connections [default: as fast as they are acknowledged]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// The FHIR server refuses everything: messages wait
    #[arg(long, conflicts_with = "target")]
    down: bool,
    /// How long to measure durable appends alone; 0s leaves it out
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = crate::config::parse_duration)]
    bare: Duration,
    /// Send to a gateway that runs, instead of one of its own
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<String>,
    /// Its admin port, for backlog, deliveries and memory
    #[arg(long, value_name = "HOST:PORT", requires = "target")]
    metrics: Option<String>,
    /// Folder on the disk to measure; what is stored there is removed [default: a temporary folder]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    data: Option<PathBuf>,
    /// Decides which people and results are invented [default: other ones each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
    /// Write a page with curves as well
    #[arg(long, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    report: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args
        .rate
        .is_some_and(|rate| !(rate > 0.0 && rate.is_finite()))
    {
        return Err(Failure::Usage("--rate must be greater than 0".to_owned()));
    }
    if let Some(path) = &args.report {
        // Better now than after the run.
        write(path, "")?;
    }
    let folder = Folder::make(args.data.as_deref())?;
    let results = runtime()?.block_on(bench(args, &folder.0))?;
    if let Some(path) = &args.report {
        write(path, &page::page(&results))?;
    }
    if args.json {
        output::print_json(&results.json())?;
    } else {
        output::print(&results.text())?;
    }
    Ok(if results.is_whole() {
        Verdict::Good
    } else {
        Verdict::Bad
    })
}

async fn bench(args: &Args, folder: &Path) -> Result<Results, Failure> {
    let bar = output::counter();
    let connections = usize::try_from(args.connections).unwrap_or(usize::MAX);
    let seed = args.seed.unwrap_or_else(random_seed);
    let bare = match args.bare {
        Duration::ZERO => None,
        time => {
            bar.set_message("durable appends alone ...");
            Some(bare::rate(folder, connections, time, seed).await?)
        }
    };
    bar.set_message("starting ...");
    let own = match &args.target {
        Some(_) => None,
        None => {
            let upstream = upstream::start(args.down).await?;
            Some(Gateway::start(folder, upstream, connections)?)
        }
    };
    let (target, admin) = match &own {
        Some(gateway) => (
            gateway.mllp()?.to_string(),
            Some(gateway.admin()?.to_string()),
        ),
        None => (
            args.target.clone().unwrap_or_default(),
            args.metrics.clone(),
        ),
    };
    let plan = Plan {
        to: target.clone(),
        connections,
        rate: args.rate,
        messages: args.messages,
        time: args.duration,
        seed,
    };
    let clients = load::connect(&plan).await?;
    let counts = Counts::new();
    let mut watch = Watch::new(admin, Arc::clone(&counts), bar.clone());
    let before = watch.sample_now().await?;
    let took = {
        let sending = load::send(&plan, clients, &counts);
        tokio::pin!(sending);
        loop {
            tokio::select! {
                sent = &mut sending => break sent?,
                () = time::sleep(LOOK) => watch.sample().await?,
            }
        }
    };
    let behind = watch.sample_now().await?;
    let drained = match args.down {
        true => None,
        false => watch.drain(behind).await?,
    };
    let end = watch.look().await?;
    bar.finish_and_clear();
    let target = match own {
        Some(_) => format!("a gateway of its own ({target})"),
        None => target,
    };
    Ok(Results {
        target,
        connections,
        took,
        acknowledged: counts.acknowledged(),
        refused: counts.refused(),
        bytes: counts.bytes(),
        latency: watch.latencies.percentiles(),
        bare,
        looks: before
            .zip(behind)
            .zip(end)
            .map(|((before, behind), end)| [before, behind, end]),
        drained,
        down: args.down,
        samples: watch.samples,
    })
}

/// Looks on while messages come in and go out.
struct Watch {
    admin: Option<String>,
    counts: Arc<Counts>,
    bar: ProgressBar,
    started: Instant,
    latencies: Latencies,
    samples: Samples,
}

impl Watch {
    fn new(admin: Option<String>, counts: Arc<Counts>, bar: ProgressBar) -> Self {
        Self {
            admin,
            counts,
            bar,
            started: Instant::now(),
            latencies: Latencies::new(),
            samples: Samples::default(),
        }
    }

    /// What the gateway says, where it can be asked.
    async fn look(&self) -> Result<Option<Look>, Failure> {
        match &self.admin {
            Some(admin) => metrics::look(admin).await.map(Some),
            None => Ok(None),
        }
    }

    async fn sample(&mut self) -> Result<(), Failure> {
        self.sample_now().await.map(drop)
    }

    async fn sample_now(&mut self) -> Result<Option<Look>, Failure> {
        let look = self.look().await?;
        let latencies = self.counts.take_latencies();
        self.latencies.merge(&latencies);
        let sample = Sample {
            at: self.started.elapsed(),
            acknowledged: self.counts.acknowledged(),
            latencies,
            look,
        };
        self.tell(&sample);
        self.samples.add(sample);
        Ok(look)
    }

    fn tell(&self, sample: &Sample) {
        let waiting = match sample.look {
            Some(look) => format!(", {} wait", whole(look.backlog)),
            None => String::new(),
        };
        #[allow(clippy::cast_precision_loss)] // a rate for people
        let rate = sample.acknowledged as f64 / sample.at.as_secs_f64().max(1e-9);
        self.bar.set_message(format!(
            "{} acknowledged, {} per second{waiting}",
            whole(sample.acknowledged),
            rounded(rate),
        ));
    }

    /// Waits until nothing waits any more; `None` when nobody can say, or it does not get less.
    async fn drain(&mut self, behind: Option<Look>) -> Result<Option<Duration>, Failure> {
        let started = Instant::now();
        let (mut least, mut since) = (u64::MAX, Instant::now());
        let mut look = behind;
        loop {
            let Some(seen) = look else {
                return Ok(None);
            };
            if seen.backlog == 0 {
                return Ok(Some(started.elapsed()));
            }
            if seen.backlog < least {
                (least, since) = (seen.backlog, Instant::now());
            }
            if since.elapsed() > STUCK {
                return Ok(None);
            }
            time::sleep(LOOK).await;
            look = self.sample_now().await?;
        }
    }
}

fn random_seed() -> u64 {
    // It is a part of every control id, so not a long one.
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    low % 1_000_000_000_000
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", path.display())))
}

/// A new folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn make(inside: Option<&Path>) -> Result<Self, Failure> {
        let parent = inside.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = parent.join(format!("fhirway-bench-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&path).map_err(|error| {
            Failure::Usage(format!(
                "cannot make a folder in {}: {error}",
                parent.display()
            ))
        })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
