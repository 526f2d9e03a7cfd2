//! Telling a RabbitMQ exchange what becomes of records: `stored`, `delivered`, `not-taken`, `dead-lettered`.
//!
//! For those who watch, not for those who keep books: an event is told at most once, and those that do not fit into the buffer
//! while the broker is away are dropped and counted. Nothing waits for it. An event has names, numbers and codes, and nothing
//! of a message.

use std::time::{Duration, SystemTime};

use lapin::{
    BasicProperties, Channel, Connection, options::BasicPublishOptions, tcp::OwnedTLSConfig,
};
use prometheus::IntCounter;
use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    time,
};
use tracing::{info, warn};

use crate::{
    amqp::{self, PATIENCE, RabbitMqError},
    config::announce::Announce,
    receive::unix_millis,
};

/// Events that wait for the broker.
const BUFFER: usize = 10_000;
/// First and longest wait before connecting again.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Time for what is buffered when the gateway ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// `stored`, `delivered`, `not-taken` or `dead-lettered`: the end of the routing key.
    pub event: &'static str,
    /// The record.
    pub record: i64,
    /// Where it came in, of one that is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// What decided where it goes, of one that is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Where it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An event with its time.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    event: Event,
    /// Milliseconds since 1970 UTC.
    at_ms: i64,
}

/// The end that tells.
#[derive(Clone)]
pub struct Announcer {
    to: mpsc::Sender<Told>,
    dropped: IntCounter,
}

/// The end that publishes.
pub struct Announcements {
    config: Announce,
    tls: OwnedTLSConfig,
    from: mpsc::Receiver<Told>,
}

/// Both ends. Connects to nothing yet.
///
/// # Errors
/// [`RabbitMqError`]: a TLS file cannot be read.
pub fn announcements(
    config: &Announce,
    dropped: IntCounter,
) -> Result<(Announcer, Announcements), RabbitMqError> {
    let (to, from) = mpsc::channel(BUFFER);
    let tls = amqp::tls(
        config.ca.as_ref(),
        config.certificate.as_ref(),
        config.key.as_ref(),
    )?;
    let announcements = Announcements {
        config: config.clone(),
        tls,
        from,
    };
    Ok((Announcer { to, dropped }, announcements))
}

impl Announcer {
    /// Tells, or counts that it could not.
    pub fn tell(&self, event: Event) {
        let at_ms = unix_millis(SystemTime::now());
        if self.to.try_send(Told { event, at_ms }).is_err() {
            self.dropped.inc();
        }
    }
}

impl Announcements {
    /// Publishes until `shutdown` says true, and then what is left.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let ending = async move {
            drop(shutdown.wait_for(|stop| *stop).await);
            time::sleep(FAREWELL).await;
        };
        tokio::select! {
            () = ending => {}
            () = self.publish() => {}
        }
    }

    async fn publish(&mut self) {
        let mut wait = WAITS.0;
        let mut next = None;
        loop {
            match time::timeout(PATIENCE, self.connect()).await {
                Ok(Ok((_connection, channel))) => {
                    info!(event = "announcing", exchange = %self.config.exchange);
                    wait = WAITS.0;
                    match self.publish_all(&channel, &mut next).await {
                        Ok(()) => return,
                        Err(error) => warn!(event = "announcing_lost", why = %error),
                    }
                }
                Ok(Err(error)) => warn!(event = "announcing_lost", why = %error),
                Err(_) => warn!(
                    event = "announcing_lost",
                    why = "no answer from the broker in time"
                ),
            }
            time::sleep(amqp::jittered(wait)).await;
            wait = (wait * 2).min(WAITS.1);
        }
    }

    async fn connect(&self) -> Result<(Connection, Channel), lapin::Error> {
        let connection =
            amqp::connect(self.config.url.expose(), "fhirway.events", &self.tls).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    /// `next` is what is being published, so that it is not lost with a connection.
    async fn publish_all(
        &mut self,
        channel: &Channel,
        next: &mut Option<Told>,
    ) -> Result<(), lapin::Error> {
        loop {
            if next.is_none() {
                *next = self.from.recv().await;
            }
            let Some(told) = next.as_ref() else {
                return Ok(());
            };
            let key = format!("{}.{}", self.config.prefix, told.event.event);
            let body = serde_json::to_vec(told).unwrap_or_default();
            let properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_app_id("fhirway".into())
                .with_delivery_mode(2);
            channel
                .basic_publish(
                    self.config.exchange.as_str().into(),
                    key.as_str().into(),
                    BasicPublishOptions::default(),
                    &body,
                    properties,
                )
                .await?
                .await?;
            *next = None;
        }
    }
}
