//! The built `fhirway`, run as a process with a configuration of the test's own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;

use super::tools::{free_port, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway that listens to RabbitMQ and delivers to the FHIR repository inside it.
pub struct Gateway {
    folder: PathBuf,
    admin: u16,
    repository: u16,
    process: Option<Child>,
}

// === impl Gateway ===

impl Gateway {
    /// Writes the configuration; `listener` are further keys of the listener, `rest` further sections.
    pub fn new(folder: &Path, broker: &str, listener: &str, rest: &str) -> Self {
        let (admin, repository) = (free_port(), free_port());
        let config = format!(
            "data_dir: {data}\n\
             admin: {{bind: 127.0.0.1:{admin}}}\n\
             repository: {{bind: 127.0.0.1:{repository}}}\n\
             listeners:\n  bus: {{type: rabbitmq, url: '{broker}', reconnect_max: 1s, {listener}}}\n\
             routes:\n  all: {{destinations: [fhir]}}\n\
             {rest}\n",
            data = folder.join("data").display(),
        );
        fs::write(folder.join("fhirway.yaml"), config).expect("the configuration can be written");
        Self {
            folder: folder.to_owned(),
            admin,
            repository,
            process: None,
        }
    }

    /// The usual destination: the embedded repository.
    pub fn embedded(folder: &Path, broker: &str, listener: &str) -> Self {
        Self::new(
            folder,
            broker,
            listener,
            "destinations:\n  fhir: {url: embedded}",
        )
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) {
        self.launch();
        until("fhirway is ready", PATIENCE, async || {
            self.is_ready().await.then_some(())
        })
        .await;
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("fhirway.log")).unwrap_or_default()
    }

    /// Starts it.
    pub fn launch(&mut self) {
        let log = || {
            File::options()
                .create(true)
                .append(true)
                .open(self.folder.join("fhirway.log"))
                .expect("the log can be written")
        };
        let process = Command::new(env!("CARGO_BIN_EXE_fhirway"))
            .args(["serve", "--config"])
            .arg(self.folder.join("fhirway.yaml"))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .expect("fhirway runs");
        self.process = Some(process);
    }

    /// Whether `/readyz` says so.
    pub async fn is_ready(&self) -> bool {
        get(self.admin, "/readyz")
            .await
            .is_some_and(|(ready, _)| ready)
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("it runs");
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(process.id().to_string())
            .status()
            .expect("kill runs");
        assert!(sent.success(), "kill -{name}");
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it ends");
        }
    }

    /// SIGTERM, and waits until it has ended in order.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let mut process = self.process.take().expect("it runs");
        let ended = process.wait().expect("it ends");
        assert!(ended.success(), "{ended}");
    }

    /// `fhirway queue status`, which works with a running gateway and without.
    pub fn status(&self) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_fhirway"))
            .args(["queue", "status", "--format", "json", "--config"])
            .arg(self.folder.join("fhirway.yaml"))
            .current_dir(&self.folder)
            .output()
            .expect("fhirway runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("the status is JSON")
    }

    /// One number of the total in [`Gateway::status`].
    pub fn total(&self, name: &str) -> usize {
        self.status()["total"][name]
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .expect("the status has this number")
    }

    /// Waits until so many messages are delivered.
    pub async fn delivered(&self, count: usize) {
        until(
            &format!("{count} messages are delivered"),
            PATIENCE * 2,
            async || (self.total("delivered") >= count).then_some(()),
        )
        .await;
        assert_eq!(self.total("delivered"), count);
    }

    /// How many resources of a type the repository has, with a query or without.
    pub async fn count(&self, query: &str) -> u64 {
        let separator = if query.contains('?') { '&' } else { '?' };
        let path = format!("/fhir/{query}{separator}_summary=count");
        let (good, body) = get(self.repository, &path)
            .await
            .expect("the repository answers");
        assert!(good, "{path}");
        let bundle: Value = serde_json::from_slice(&body).expect("the answer is JSON");
        bundle["total"].as_u64().expect("a search set has a total")
    }

    /// The value of a metric, named with its labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, body) = get(self.admin, "/metrics").await?;
        let text = String::from_utf8(body.to_vec()).expect("metrics are text");
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let from = lines.len().saturating_sub(20);
            eprintln!("fhirway said:\n{}", lines[from..].join("\n"));
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// `GET` from a port of the loopback address: whether the status is good, and the body.
async fn get(port: u16, path: &str) -> Option<(bool, Bytes)> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let uri = format!("http://127.0.0.1:{port}{path}").parse().ok()?;
    let answer = client.get(uri).await.ok()?;
    let good = answer.status().is_success();
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    Some((good, body))
}
