//! `fhirway serve` as a process: configured, started, watched, stopped and killed.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Command, FhirServer, MllpClient, Ran, eventually, in_time};

/// A gateway to be started: a temporary folder and a configuration. Every port is a free one.
///
/// ```ignore
/// let server = FhirServer::start().await;
/// let mut gateway = FhirwayTest::new()
///     .destination("fhir", &server)
///     .set("listeners.lab.frame_bytes", json!("4KiB"))
///     .start()
///     .await;
/// gateway.connect().await.send(update("C1", "P1", "Cosima")).await;
/// ```
pub struct FhirwayTest {
    folder: TempDir,
    config: Value,
    environment: Vec<(String, String)>,
    open_files: Option<usize>,
}

/// A gateway that was started at least once.
pub struct Gateway {
    test: FhirwayTest,
    process: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
    addresses: BTreeMap<String, SocketAddr>,
}

impl FhirwayTest {
    /// One MLLP listener `lab`, one route `lab`, no destination yet; short waits, so that tests are quick.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let config = json!({
            "data_dir": folder.path().join("data"),
            "log": { "format": "json", "level": "info" },
            "admin": { "bind": "127.0.0.1:0" },
            "listeners": { "lab": {
                "type": "mllp",
                "bind": "127.0.0.1:0",
                "connections_per_address": 64,
            } },
            "routes": { "lab": { "destinations": [] } },
        });
        Self {
            folder,
            config,
            environment: Vec::new(),
            open_files: None,
        }
    }

    /// The configuration that is inside the binary, in a temporary folder and on free ports.
    pub fn embedded() -> Self {
        let mut test = Self::new();
        test.config = json!({
            "data_dir": test.folder.path().join("data"),
            "log": { "format": "json" },
            "admin": { "bind": "127.0.0.1:0" },
            "repository": { "bind": "127.0.0.1:0" },
            "listeners": { "lab": { "type": "mllp", "bind": "127.0.0.1:0" } },
            "routes": { "lab": { "destinations": ["repository"] } },
            "destinations": { "repository": { "url": "embedded" } },
        });
        test
    }

    /// Delivers everything to a FHIR server, also.
    pub fn destination(mut self, name: &str, server: &FhirServer) -> Self {
        let destinations = &mut self.config["routes"]["lab"]["destinations"];
        destinations.as_array_mut().unwrap().push(json!(name));
        self.config["destinations"][name] = json!({
            "url": server.base_url(),
            "retry": { "initial": "20ms", "max": "200ms" },
            "breaker": { "first_pause": "50ms", "longest_pause": "200ms" },
        });
        self
    }

    /// Sets a key of the configuration, `listeners.lab.frame_bytes`.
    pub fn set(mut self, path: &str, value: Value) -> Self {
        self.put(path, value);
        self
    }

    fn put(&mut self, path: &str, value: Value) {
        let mut at = &mut self.config;
        for name in path.split('.') {
            at = &mut at[name];
        }
        *at = value;
    }

    /// Sets an environment variable of the process.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many files and sockets the process may have open.
    pub fn open_files(mut self, limit: usize) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration. JSON is YAML.
    pub fn write_config(&self) -> PathBuf {
        let path = self.folder.path().join("fhirway.yaml");
        std::fs::write(&path, serde_json::to_vec_pretty(&self.config).unwrap()).unwrap();
        path
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Gateway {
        let mut gateway = Gateway {
            test: self,
            process: None,
            log: Arc::default(),
            addresses: BTreeMap::new(),
        };
        gateway.start().await;
        gateway
    }
}

impl Gateway {
    /// Starts it (again) and waits until it says that it is ready.
    pub async fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let config = self.test.write_config();
        let mut command = Command::new(["serve", "--config"]).arg(config);
        for (name, value) in &self.test.environment {
            command = command.env(name, value);
        }
        let mut command = command.into_process();
        if let Some(limit) = self.test.open_files {
            command = limited(&command, limit);
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built binary runs");
        let before = self.log.lock().unwrap().len();
        collect(process.stderr.take().unwrap(), &self.log);
        collect(process.stdout.take().unwrap(), &self.log);
        self.process = Some(process);
        self.addresses = eventually("the gateway is ready", async || {
            let found = self.addresses_since(before);
            if found.is_none() {
                let ended = self.process.as_mut().unwrap().try_wait().unwrap();
                assert!(ended.is_none(), "it ended at once: {ended:?}");
            }
            found
        })
        .await;
    }

    fn addresses_since(&self, line: usize) -> Option<BTreeMap<String, SocketAddr>> {
        let mut found = BTreeMap::new();
        for line in &self.log.lock().unwrap()[line..] {
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            match event["event"].as_str() {
                Some("listening") => {
                    let name = event["listener"].as_str().unwrap().to_owned();
                    let address = event["address"].as_str().unwrap().parse().unwrap();
                    found.insert(name, address);
                }
                Some("ready") => return Some(found),
                _ => {}
            }
        }
        None
    }

    /// Sets a key of the configuration for the next start.
    pub fn set(&mut self, path: &str, value: Value) {
        self.test.put(path, value);
    }

    /// The configuration as a file.
    pub fn config(&self) -> PathBuf {
        self.test.write_config()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.test.folder().join("data")
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it does not run");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGTERM, then waits for its end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        let mut process = self.process.take().unwrap();
        eventually("the gateway has stopped", async || {
            process.try_wait().unwrap()
        })
        .await
    }

    /// SIGTERM alone.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// A signal: `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("it does not run").id();
        let sent = std::process::Command::new("kill")
            .args([format!("-{name}"), id.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Where a listener listens: `lab`, `admin`, `repository`.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }

    /// A connection to the listener `lab`.
    pub async fn connect(&self) -> MllpClient {
        self.connect_to("lab").await
    }

    /// A connection to an MLLP listener.
    pub async fn connect_to(&self, listener: &str) -> MllpClient {
        MllpClient::connect(self.address(listener)).await.unwrap()
    }

    /// `GET` at a listener: status and body.
    pub async fn get(&self, listener: &str, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: fhirway\r\nConnection: close\r\n\r\n");
        let answer = in_time("an http answer", async {
            let mut stream = TcpStream::connect(self.address(listener)).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        })
        .await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an http answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// The value of a metric: `fhirway_acks_total{ack_code="AA",listener="lab"}` (labels in alphabetical order);
    /// 0 when it does not exist yet.
    pub async fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("admin", "/metrics").await;
        assert_eq!(status, 200);
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has a value.
    pub async fn metric_becomes(&self, name: &str, expected: impl Fn(f64) -> bool) {
        eventually(&format!("{name} has the expected value"), async || {
            expected(self.metric(name).await).then_some(())
        })
        .await;
    }

    /// Waits until a destination is in a state: `up`, `throttled`, `open`, `paused`.
    pub async fn is_in(&self, destination: &str, state: &str) {
        let name =
            format!("fhirway_destination_state{{destination=\"{destination}\",state=\"{state}\"}}");
        self.metric_becomes(&name, |value| value > 0.5).await;
    }

    /// Waits until so many are delivered to a destination.
    pub async fn has_delivered(&self, destination: &str, count: usize) {
        eventually(&format!("{count} are delivered"), async || {
            (self.counts(destination)["delivered"] == count as u64).then_some(())
        })
        .await;
    }

    /// `fhirway queue ...`, which asks the process while it runs and opens the queue itself when it does not.
    pub fn queue(&self, arguments: &[&str]) -> Ran {
        Command::new(["queue"].iter().chain(arguments))
            .arg("--data")
            .arg(self.test.folder().join("data"))
            .run()
    }

    /// The same as JSON.
    #[track_caller]
    pub fn queue_json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments
            .iter()
            .copied()
            .chain(["--format", "json"])
            .collect();
        self.queue(&arguments).expect(0).json()
    }

    /// The counts of one destination, or of all under `total`; the sums must be right at any time.
    #[track_caller]
    pub fn counts(&self, destination: &str) -> BTreeMap<String, u64> {
        let status = self.queue_json(&["status"]);
        assert_eq!(status["mismatch"], 0, "{status}");
        let counts = match destination {
            "total" => &status["total"],
            name => &status["destinations"][name],
        };
        let counts = counts.as_object().into_iter().flatten();
        counts
            .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
            .collect()
    }

    /// Waits until nothing is open at any destination.
    pub async fn drained(&self) {
        eventually("everything is delivered or given up", async || {
            let counts = self.counts("total");
            let open = ["queued", "waiting", "leased", "retrying", "parked"];
            (open.iter().all(|name| counts[*name] == 0)).then_some(())
        })
        .await;
    }

    /// All that it wrote to standard error and standard output.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The temporary folder, with `data` inside.
    pub fn folder(&self) -> &Path {
        self.test.folder()
    }

    /// The test itself, to change its configuration between two starts.
    pub fn configure(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.test.config);
    }
}

/// The same command in a shell that first lowers the limit of open files.
fn limited(command: &std::process::Command, limit: usize) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            let log = self
                .log
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            let from = log.len().saturating_sub(40);
            eprintln!("the end of the log:\n{}", log[from..].join("\n"));
        }
    }
}
