//! How the broker is to be used.

use std::{sync::Arc, time::Duration};

use crate::{observer::Observer, options::Dedup};

/// Options of a [`RabbitQueue`](super::RabbitQueue).
#[derive(Clone)]
pub struct RabbitOptions {
    /// `amqp://` or `amqps://` URL with credentials and virtual host.
    pub url: String,
    /// Further nodes of the same cluster, `host:port`; scheme, credentials and virtual host are those of `url`.
    pub nodes: Vec<String>,
    /// PEM of the authorities to trust instead of the system's.
    pub ca: Option<String>,
    /// PEM of the client's certificate chain and of its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Begin of the names of all exchanges and queues.
    pub prefix: String,
    /// Quorum queues per destination; they can work side by side.
    pub partitions: u16,
    /// Unacknowledged messages that one node takes of one queue.
    pub window: u16,
    /// How long to wait for a connection, an answer, or a confirmation.
    pub patience: Duration,
    /// Destinations whose topology is declared at the start, and that are delivered to.
    pub destinations: Vec<String>,
    /// Whether this node delivers; one that does not only appends.
    pub deliver: bool,
    /// How long the copies of dead letters stay at the broker. `None`: until somebody takes them.
    pub dead_for: Option<Duration>,
    /// How resent records are recognised.
    pub dedup: Dedup,
    /// Longest payload, bytes. Default 16 MiB, which is what a broker takes since 4.0.
    pub max_payload: usize,
    /// Told about what is stored and settled.
    pub observer: Option<Arc<dyn Observer>>,
}

// === impl RabbitOptions ===

impl RabbitOptions {
    /// The usual options for the broker at `url` and these destinations.
    #[must_use]
    pub fn new(url: &str, destinations: &[&str]) -> Self {
        Self {
            url: url.to_owned(),
            nodes: Vec::new(),
            ca: None,
            identity: None,
            prefix: "fhirway".to_owned(),
            partitions: 8,
            window: 256,
            patience: Duration::from_secs(15),
            destinations: destinations.iter().map(|name| (*name).to_owned()).collect(),
            deliver: true,
            dead_for: None,
            dedup: Dedup::default(),
            max_payload: 16 << 20,
            observer: None,
        }
    }
}

impl std::fmt::Debug for RabbitOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL holds a password.
        f.debug_struct("RabbitOptions")
            .field("prefix", &self.prefix)
            .field("partitions", &self.partitions)
            .field("window", &self.window)
            .field("destinations", &self.destinations)
            .finish_non_exhaustive()
    }
}
