//! The gateway under load: a process of its own, so that its memory and processor time are told apart from the load's.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::super::Failure;

/// How long a gateway may take to be ready.
const START: Duration = Duration::from_secs(60);
/// Requests in flight to the destination.
const CONCURRENCY: usize = 16;

/// `fhirway serve` in a folder of its own; killed when dropped, since its data goes with the folder.
pub(super) struct Gateway {
    process: Child,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Gateway {
    /// Starts one that delivers to `upstream` and takes `connections` connections, and waits until it is ready.
    pub(super) fn start(
        folder: &Path,
        upstream: SocketAddr,
        connections: usize,
    ) -> Result<Self, Failure> {
        let path = folder.join("fhirway.yaml");
        // JSON is YAML.
        let config = configuration(folder, upstream, connections).to_string();
        std::fs::write(&path, config).map_err(|error| Failure::run(&error))?;
        let program = std::env::current_exe().map_err(|error| Failure::run(&error))?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            // They would change its configuration.
            if name.to_string_lossy().starts_with("FHIRWAY_") {
                command.env_remove(name);
            }
        }
        let process = command
            .args(["serve", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::run(&error))?;
        let mut gateway = Self {
            process,
            addresses: BTreeMap::new(),
        };
        gateway.wait_until_ready()?;
        Ok(gateway)
    }

    /// Where the listener is that takes the messages.
    pub(super) fn mllp(&self) -> Result<SocketAddr, Failure> {
        self.address("load")
    }

    /// Where `/metrics` is.
    pub(super) fn admin(&self) -> Result<SocketAddr, Failure> {
        self.address("admin")
    }

    fn address(&self, listener: &str) -> Result<SocketAddr, Failure> {
        let found = self.addresses.get(listener).copied();
        found.ok_or_else(|| Failure::Run(format!("the gateway has no listener `{listener}`")))
    }

    /// Reads its log until it says that it is ready; afterwards the log is read and dropped, so that it never blocks.
    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let (told, lines) = mpsc::channel();
        if let Some(stdout) = self.process.stdout.take() {
            read_lines(stdout, told.clone());
        }
        if let Some(stderr) = self.process.stderr.take() {
            read_lines(stderr, told);
        }
        let mut others = Vec::new();
        while let Ok(line) = lines.recv_timeout(START) {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let text = |name: &str| event.get(name).and_then(Value::as_str);
            match text("event") {
                Some("listening") => {
                    let address = text("address").and_then(|address| address.parse().ok());
                    if let (Some(name), Some(address)) = (text("listener"), address) {
                        self.addresses.insert(name.to_owned(), address);
                    }
                }
                Some("ready") => return Ok(()),
                _ => others.push(line),
            }
        }
        Err(Failure::Run(format!(
            "the gateway did not start: {}",
            others.join("\n")
        )))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_lines(from: impl Read + Send + 'static, told: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // Nobody listens any more once it is ready.
            let _ = told.send(line);
        }
    });
}

fn configuration(folder: &Path, upstream: SocketAddr, connections: usize) -> Value {
    json!({
        "data_dir": folder.join("data"),
        "log": { "format": "json", "level": "info" },
        "admin": { "bind": "127.0.0.1:0" },
        "listeners": { "load": {
            "type": "mllp",
            "bind": "127.0.0.1:0",
            "connections": connections + 1,
            "connections_per_address": connections + 1,
        } },
        "routes": { "load": { "destinations": ["upstream"] } },
        "destinations": { "upstream": {
            "url": format!("http://{upstream}/fhir"),
            "concurrency": CONCURRENCY,
        } },
    })
}
