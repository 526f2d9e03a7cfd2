//! The way to an exchange of a RabbitMQ broker: persistent, mandatory, confirmed.
//!
//! The queue hands out one record per ordering key at a time and the next one only when the broker has confirmed this one,
//! so the order of a key holds. One message is under way on each channel: the broker returns what it cannot route, and only so
//! it is certain which message a return is about.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use lapin::{
    BasicProperties, Channel, Connection, ExchangeKind,
    options::{ConfirmSelectOptions, ExchangeDeclareOptions},
    tcp::OwnedTLSConfig,
    types::{AMQPValue, FieldTable},
};
use queue::Lease;
use std::sync::Arc;
use tokio::{sync::Semaphore, time};

use super::verdict::Verdict;
use crate::{
    amqp::{self, NotPublished, PATIENCE, RabbitMqError},
    config::{
        Destination,
        exchange::{Content, Exchange},
    },
    events::DestinationEvents,
    receive::{CONTROL_ID, MESSAGE_TYPE},
};

/// Publishes what comes to one destination.
pub struct Publisher {
    name: String,
    exchange: Exchange,
    first_wait: Duration,
    longest_wait: Duration,
    tls: OwnedTLSConfig,
    slots: Semaphore,
    session: ArcSwapOption<Session>,
    /// Attempts to connect that failed since the last one that did not.
    failed: AtomicU32,
    events: Arc<DestinationEvents>,
}

/// One connection, and its channels that nobody uses at present.
struct Session {
    connection: Connection,
    free: Mutex<Vec<Channel>>,
}

impl Publisher {
    /// Reads the TLS files; connects to nothing yet.
    ///
    /// # Errors
    /// [`RabbitMqError`].
    pub fn new(
        destination: &Destination,
        exchange: &Exchange,
        events: Arc<DestinationEvents>,
    ) -> Result<Self, RabbitMqError> {
        let files = &destination.tls;
        Ok(Self {
            name: destination.name.clone(),
            exchange: exchange.clone(),
            first_wait: destination.retry.initial,
            longest_wait: destination.retry.max,
            tls: amqp::tls(
                files.ca.as_ref(),
                files.certificate.as_ref(),
                files.key.as_ref(),
            )?,
            slots: Semaphore::new(destination.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            session: ArcSwapOption::empty(),
            failed: AtomicU32::new(0),
            events,
        })
    }

    /// What is published.
    pub(super) fn content(&self) -> Content {
        self.exchange.content
    }

    /// Waits until there is a connection, and makes one where there is none.
    pub(super) async fn ready(&self) {
        while !self.connected() {
            match self.connect().await {
                Ok(session) => {
                    self.session.store(Some(Arc::new(session)));
                    self.events.state("up", "");
                    self.failed.store(0, Ordering::Relaxed);
                }
                Err(why) => {
                    let before = self.failed.fetch_add(1, Ordering::Relaxed);
                    if before == 0 {
                        self.events.state("open", &why);
                    }
                    time::sleep(amqp::jittered(self.wait(before))).await;
                }
            }
        }
    }

    /// Publishes one record. It is done when the broker says that a queue has it.
    pub(super) async fn publish(&self, lease: &Lease, body: &Bytes) -> Verdict {
        let Ok((message, _)) = hl7v2::parse(&lease.payload) else {
            return Verdict::poison("parse", "not a message".to_owned());
        };
        let key = self.exchange.routing_key.of(&message);
        drop(message);
        let properties = properties(lease, self.exchange.content);
        match self.send(&key, body, properties).await {
            Ok(()) => {
                self.events.attempted("confirmed");
                Verdict::Done {
                    detail: format!("routing key {key}"),
                }
            }
            Err(failure) => {
                let (reason, counted) = match &failure {
                    NotPublished::Unroutable(_) => ("unroutable", true),
                    NotPublished::Refused(_) => ("refused", true),
                    // The broker may have it: the next attempt has the same message id.
                    NotPublished::Lost(_) => ("broker-lost", false),
                };
                self.events.attempted(reason);
                Verdict::later(reason, amqp::jittered(self.wait(lease.attempts)), counted)
            }
        }
    }

    async fn send(
        &self,
        key: &str,
        body: &Bytes,
        properties: BasicProperties,
    ) -> Result<(), NotPublished> {
        let lost = |error: lapin::Error| NotPublished::Lost(error.to_string());
        let session = self
            .session
            .load_full()
            .ok_or_else(|| NotPublished::Lost("there is no connection".to_owned()))?;
        // Nobody closes the semaphore.
        let _slot = self.slots.acquire().await;
        let free = session.channels().pop();
        let channel = match free {
            Some(channel) => channel,
            None => session.open().await.map_err(lost)?,
        };
        let published =
            amqp::publish(&channel, &self.exchange.exchange, key, body, properties).await;
        // A channel on which something may still be under way would mix up what comes back.
        if !matches!(published, Err(NotPublished::Lost(_))) {
            session.channels().push(channel);
        }
        published
    }

    fn connected(&self) -> bool {
        self.session
            .load()
            .as_ref()
            .is_some_and(|session| session.connection.status().connected())
    }

    /// Connects, and looks whether there is such an exchange. An error is in words of the library and the broker.
    async fn connect(&self) -> Result<Session, String> {
        let tag = format!("fhirway.to.{}", self.name);
        let connecting = async {
            let connection = amqp::connect(self.exchange.url.expose(), &tag, &self.tls).await?;
            let session = Session {
                connection,
                free: Mutex::default(),
            };
            let channel = session.open().await?;
            if !self.exchange.exchange.is_empty() {
                let only_look = ExchangeDeclareOptions {
                    passive: true,
                    ..ExchangeDeclareOptions::default()
                };
                channel
                    .exchange_declare(
                        self.exchange.exchange.as_str().into(),
                        ExchangeKind::Topic,
                        only_look,
                        FieldTable::default(),
                    )
                    .await?;
            }
            session.channels().push(channel);
            Ok::<_, lapin::Error>(session)
        };
        match time::timeout(PATIENCE, connecting).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer from the broker in time".to_owned()),
        }
    }

    fn wait(&self, attempts: u32) -> Duration {
        self.first_wait
            .saturating_mul(1_u32.checked_shl(attempts.min(16)).unwrap_or(1))
            .min(self.longest_wait)
    }
}

impl Session {
    async fn open(&self) -> Result<Channel, lapin::Error> {
        let channel = self.connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(channel)
    }

    fn channels(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a consumer may want to know without reading the body. The message id is the same at every attempt.
fn properties(lease: &Lease, content: Content) -> BasicProperties {
    let mut headers = FieldTable::default();
    let mut header = |name: &str, value: &str| {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    };
    header("fhirway-listener", &lease.listener);
    header("fhirway-route", &lease.route);
    for (name, attribute) in [
        ("hl7-message-type", MESSAGE_TYPE),
        ("hl7-control-id", CONTROL_ID),
    ] {
        if let Some(value) = lease.attributes.get(attribute) {
            header(name, value);
        }
    }
    headers.insert(
        "fhirway-record".into(),
        AMQPValue::LongLongInt(lease.record.0),
    );
    let content_type = match content {
        Content::Bundle => "application/fhir+json",
        Content::Message => "x-application/hl7-v2+er7",
    };
    let seconds = u64::try_from(lease.received_at_ms / 1000).unwrap_or(0);
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type(content_type.into())
        .with_message_id(format!("fhirway-{}", lease.record).as_str().into())
        .with_app_id("fhirway".into())
        .with_timestamp(seconds)
        .with_headers(headers)
}
