//! Connections to the cluster, made again when they are lost, each time to the next node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use lapin::{
    Channel, Connection, ConnectionProperties,
    tcp::{OwnedIdentity, OwnedTLSConfig},
};
use tokio::{sync::Mutex, time};

use super::options::RabbitOptions;
use crate::error::{QueueError, Result};

/// After a failure nobody tries again for so long: many senders at once must not become many connections.
const BREATH: Duration = Duration::from_millis(200);

/// One connection, kept.
pub(crate) struct Link {
    /// What it is called at the broker.
    name: String,
    urls: Vec<String>,
    tls: OwnedTLSConfig,
    patience: Duration,
    turn: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    failed: Option<(Instant, Arc<lapin::Error>)>,
}

// === impl Link ===

impl Link {
    pub(crate) fn new(name: &str, options: &RabbitOptions) -> Self {
        let mut urls = vec![options.url.clone()];
        urls.extend(
            options
                .nodes
                .iter()
                .map(|node| with_node(&options.url, node)),
        );
        Self {
            name: name.to_owned(),
            urls,
            tls: OwnedTLSConfig {
                identity: options
                    .identity
                    .clone()
                    .map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key }),
                cert_chain: options.ca.clone(),
            },
            patience: options.patience,
            turn: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// A channel of the connection, which is made if there is none.
    pub(crate) async fn channel(&self) -> Result<Channel> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection
            && connection.status().connected()
        {
            match time::timeout(self.patience, connection.create_channel()).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(error)) => {
                    tracing::debug!(%error, link = self.name, "no channel: connecting anew")
                }
                Err(_late) => {
                    tracing::debug!(link = self.name, "no channel in time: connecting anew")
                }
            }
        }
        state.connection = None;
        if let Some((when, error)) = &state.failed
            && when.elapsed() < BREATH
        {
            return Err(QueueError::Unavailable("RabbitMQ", error.clone()));
        }
        let mut last = None;
        for _ in 0..self.urls.len() {
            let turn = self.turn.load(Ordering::Relaxed) % self.urls.len();
            let Some(url) = self.urls.get(turn) else {
                break;
            };
            match self.connect(url).await {
                Ok((connection, channel)) => {
                    state.connection = Some(connection);
                    state.failed = None;
                    return Ok(channel);
                }
                Err(error) => {
                    tracing::debug!(%error, link = self.name, node = turn, "cannot connect");
                    self.turn.store(turn + 1, Ordering::Relaxed);
                    last = Some(error);
                }
            }
        }
        let error = Arc::new(last.unwrap_or_else(|| late().into()));
        state.failed = Some((Instant::now(), error.clone()));
        Err(QueueError::Unavailable("RabbitMQ", error))
    }

    async fn connect(&self, url: &str) -> Result<(Connection, Channel), lapin::Error> {
        let connecting = async {
            let properties =
                ConnectionProperties::default().with_connection_name(self.name.as_str().into());
            let connection = Connection::connect_with_config(
                url,
                properties,
                self.tls.clone(),
                lapin::runtime::default_runtime()?,
            )
            .await?;
            let channel = connection.create_channel().await?;
            Ok((connection, channel))
        };
        time::timeout(self.patience, connecting)
            .await
            .unwrap_or_else(|_late| Err(late().into()))
    }

    /// Whether the broker answers: connects if it has to.
    pub(crate) async fn reachable(&self) -> Result<()> {
        let channel = self.channel().await?;
        let closing = channel.close(200, "it answers".into());
        time::timeout(self.patience, closing)
            .await
            .map_err(|_late| too_late())?
            .map_err(unavailable)
    }

    /// Closes the connection in order.
    pub(crate) async fn close(&self) {
        let connection = self.state.lock().await.connection.take();
        if let Some(connection) = connection {
            let closing = connection.close(200, "done".into());
            let _gone_anyway = time::timeout(self.patience, closing).await;
        }
    }
}

fn late() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "no answer from the broker in time",
    )
}

/// What went wrong with the broker, as the queue says it.
pub(crate) fn unavailable(error: lapin::Error) -> QueueError {
    QueueError::Unavailable("RabbitMQ", Arc::new(error))
}

/// The broker did not answer in time.
pub(crate) fn too_late() -> QueueError {
    QueueError::Unavailable("RabbitMQ", Arc::new(late()))
}

/// `url` with another host and port.
fn with_node(url: &str, node: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("amqp", url));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    match authority.rsplit_once('@') {
        Some((user, _)) => format!("{scheme}://{user}@{node}{path}"),
        None => format!("{scheme}://{node}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_node_has_the_same_user_and_virtual_host() {
        assert_eq!(
            with_node("amqps://u:p%40@one:5671/%2f?heartbeat=5", "two:5672"),
            "amqps://u:p%40@two:5672/%2f?heartbeat=5"
        );
        assert_eq!(with_node("amqp://one", "two:1"), "amqp://two:1");
    }
}
