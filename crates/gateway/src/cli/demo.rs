//! `fhirway demo`: everything in one process, with invented traffic.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use indicatif::ProgressBar;
use jiff::Timestamp;
use mllp::{Client, ClientOptions};
use queue::Queue;
use tokio::{sync::watch, time};

use super::{Failure, Outcome, Verdict, output, runtime};
use crate::{
    config::{self, Config, listener::Carrier},
    gateway::{Addresses, Gateway},
    logging, shutdown,
    traffic::Traffic,
};

/// Start everything embedded, feed it invented lab traffic, and say where to look.
///
/// The people and results are made up. Data goes to a new temporary folder unless `--data` names one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway demo                               until Ctrl-C, 5 messages a second
  fhirway demo --rate 200 --count 5000       faster, and an end
  fhirway demo --data ./demo --seed 7        keep the data; the same people every time")]
pub(crate) struct Args {
    /// Messages per second
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    rate: f64,
    /// Stop after so many messages, when all are delivered [default: until Ctrl-C]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How many invented patients take part
    #[arg(long, default_value_t = 25, value_name = "N")]
    patients: usize,
    /// Decides who they are and what happens to them
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Folder for the data; it is kept [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Take free ports instead of 2575, 8090 and 9464
    #[arg(long)]
    any_port: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if !(args.rate > 0.0 && args.rate.is_finite()) {
        return Err(Failure::Usage("--rate must be greater than 0".to_owned()));
    }
    let temporary = TemporaryFolder::unless(args.data.as_ref())?;
    let data = args.data.clone().unwrap_or_else(|| temporary.path());
    let mut config = configuration(&data, args.any_port)?;
    "warn".clone_into(&mut config.log.level);
    logging::init(&config.log);
    let outcome = runtime()?.block_on(demo(args, config));
    drop(temporary);
    outcome
}

async fn demo(args: &Args, config: Config) -> Outcome {
    let gateway = Gateway::start(config)
        .await
        .map_err(|error| Failure::run(&error))?;
    let addresses = gateway.addresses().clone();
    let queue = gateway.queue();
    let (stop, mut stopped) = watch::channel(false);
    let running =
        tokio::spawn(gateway.run(async move { drop(stopped.wait_for(|stop| *stop).await) }));
    output::print(&introduction(&addresses))?;

    let bar = output::counter();
    let fed = tokio::select! {
        fed = feed(args, &addresses, queue.as_ref(), &bar) => fed,
        () = shutdown::requested() => Ok(()),
    };
    bar.finish_and_clear();
    let summary = summary(queue.as_ref()).await;
    stop.send_replace(true);
    drop(queue);
    running.await.map_err(|error| Failure::run(&error))?;
    fed?;
    output::print(&summary)?;
    Ok(Verdict::Good)
}

fn configuration(data: &std::path::Path, any_port: bool) -> Result<Config, Failure> {
    let loaded = config::load_text(
        "(demo)".to_owned(),
        config::EMBEDDED.to_owned(),
        std::env::vars(),
    );
    let rendered = loaded.render();
    let mut config = loaded.config.ok_or(Failure::Usage(rendered))?;
    config.queue.path = data.join("queue");
    config.repository.path = data.join("repository.db");
    config.data_dir = data.to_owned();
    if any_port {
        config.admin.bind.set_port(0);
        config.repository.bind.set_port(0);
        for listener in &mut config.listeners {
            if let Carrier::Mllp(mllp) = &mut listener.carrier {
                mllp.bind.set_port(0);
            }
        }
    }
    Ok(config)
}

fn introduction(addresses: &Addresses) -> String {
    let mut text = String::from("Fhirway runs here, with invented people and results:\n\n");
    let mut line = |what: &str, value: String| text.push_str(&format!("  {what:<22} {value}\n"));
    for (_, address) in &addresses.mllp {
        line("MLLP", address.to_string());
    }
    if let Some(address) = addresses.repository {
        line("patients", format!("http://{address}/fhir/Patient"));
        line("results", format!("http://{address}/fhir/Observation"));
        line(
            "what the server can do",
            format!("http://{address}/fhir/metadata"),
        );
    }
    if let Some(address) = addresses.admin {
        line("metrics", format!("http://{address}/metrics"));
    }
    text.push_str("\nCtrl-C ends it.\n\n");
    text
}

/// Sends messages at the rate asked for; with a count, returns when all of them are delivered.
async fn feed(
    args: &Args,
    addresses: &Addresses,
    queue: &dyn Queue,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let Some((_, address)) = addresses.mllp.first() else {
        return Err(Failure::Run("the demo has no MLLP listener".to_owned()));
    };
    let mut client = connect(*address).await?;
    let mut traffic = Traffic::new(args.seed, Timestamp::now(), args.patients);
    let mut ticks = time::interval(Duration::from_secs_f64(1.0 / args.rate));
    let mut sent = 0;
    while args.count.is_none_or(|count| sent < count) {
        ticks.tick().await;
        let message = traffic.next_message();
        if client
            .exchange(&message, Duration::from_secs(30))
            .await
            .is_err()
        {
            client = connect(*address).await?;
            continue;
        }
        sent += 1;
        show(bar, sent, queue).await;
    }
    while queue
        .status()
        .await
        .is_ok_and(|status| status.total.open() > 0)
    {
        time::sleep(Duration::from_millis(50)).await;
        show(bar, sent, queue).await;
    }
    Ok(())
}

/// The live line: what was sent, and where it is now.
async fn show(bar: &ProgressBar, sent: u64, queue: &dyn Queue) {
    if bar.is_hidden() {
        return;
    }
    if let Ok(status) = queue.status().await {
        let total = &status.total;
        bar.set_message(format!(
            "{sent} sent and acknowledged, {} delivered, {} waiting, {} dead letters",
            total.delivered,
            total.open(),
            total.dead
        ));
    }
    bar.tick();
}

async fn connect(address: SocketAddr) -> Result<Client, Failure> {
    Client::connect(address.to_string(), ClientOptions::default())
        .await
        .map_err(|error| Failure::run(&error))
}

async fn summary(queue: &dyn Queue) -> String {
    match queue.status().await {
        Ok(status) => format!(
            "{} messages accepted, {} delivered, {} waiting, {} dead letters\n",
            status.total.accepted,
            status.total.delivered,
            status.total.open(),
            status.total.dead
        ),
        Err(error) => format!("the queue does not answer: {error}\n"),
    }
}

/// A folder that is removed at the end, when no other was named.
struct TemporaryFolder(Option<PathBuf>);

impl TemporaryFolder {
    fn unless(named: Option<&PathBuf>) -> Result<Self, Failure> {
        if named.is_some() {
            return Ok(Self(None));
        }
        let path =
            std::env::temp_dir().join(format!("fhirway-demo-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&path).map_err(|error| Failure::run(&error))?;
        Ok(Self(Some(path)))
    }

    fn path(&self) -> PathBuf {
        self.0.clone().unwrap_or_default()
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}
