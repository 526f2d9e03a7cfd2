//! Exchanges and queues: declared when they are missing, checked when they exist.
//!
//! ```text
//! PREFIX.DESTINATION          consistent-hash exchange, hashes the routing key
//! PREFIX.DESTINATION.0 ... N  quorum queues with a single active consumer, each bound with weight 1
//! PREFIX.dead                 fanout exchange and quorum queue of dead letters
//! ```
//!
//! No message may be dropped in silence. Quorum queues drop (or dead-letter) what was delivered too often, since 4.0 after
//! 20 times unless they say otherwise. "Never" is -1 there, but a broker before 4.0 takes -1 as "at once". So the
//! limit is a number that is never reached and means the same to all of them. A queue with a length limit refuses the
//! publisher instead of dropping its head, and if a policy makes the broker dead-letter all the same, the message goes
//! to `PREFIX.dead` at least once.

use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use super::{
    link::{Link, unavailable},
    options::RabbitOptions,
};
use crate::error::{QueueError, Result};

/// More often than any message is ever delivered.
const DELIVERIES: i64 = 1_000_000_000;

/// Names of what is declared for one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
}

// === impl Names ===

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    pub(crate) fn exchange(&self, destination: &str) -> String {
        format!("{}.{destination}", self.prefix)
    }

    pub(crate) fn queue(&self, destination: &str, part: u16) -> String {
        format!("{}.{destination}.{part}", self.prefix)
    }

    pub(crate) fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }
}

/// Declares and checks what all destinations share.
pub(crate) async fn declare_dead(link: &Link, options: &RabbitOptions) -> Result<()> {
    let names = Names::new(&options.prefix);
    let dead = names.dead();
    exchange(link, &dead, ExchangeKind::Fanout).await?;
    queue(link, &dead, &FieldTable::default()).await?;
    bind(link, &dead, &dead, "").await
}

/// Declares and checks what one destination needs.
pub(crate) async fn declare(link: &Link, options: &RabbitOptions, destination: &str) -> Result<()> {
    let names = Names::new(&options.prefix);
    if destination == "dead" {
        return Err(QueueError::Topology(
            "a destination cannot be called `dead`: that is the name of the dead letters' queue"
                .into(),
        ));
    }
    same_number(link, options, &names, destination).await?;
    let hash = ExchangeKind::Custom("x-consistent-hash".to_owned());
    exchange(link, &names.exchange(destination), hash).await?;
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-dead-letter-exchange".into(), text(&names.dead()));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    // From the last to the first: the first one says that all are there.
    for part in (0..options.partitions).rev() {
        let name = names.queue(destination, part);
        queue(link, &name, &arguments).await?;
        bind(link, &name, &names.exchange(destination), "1").await?;
    }
    Ok(())
}

/// With another number of queues the keys would move between them while older records still wait.
async fn same_number(
    link: &Link,
    options: &RabbitOptions,
    names: &Names,
    destination: &str,
) -> Result<()> {
    let there = async |part| exists(link, &names.queue(destination, part)).await;
    if !there(0).await? {
        return Ok(());
    }
    let last = options.partitions.saturating_sub(1);
    let (enough, too_many) = (there(last).await?, there(options.partitions).await?);
    if enough && !too_many {
        return Ok(());
    }
    Err(QueueError::Topology(format!(
        "exchange {} has {} queues than `partitions: {}` asks for: set the number it was made with, \
         or let its queues drain and delete them first",
        names.exchange(destination),
        if too_many { "more" } else { "fewer" },
        options.partitions,
    )))
}

async fn exists(link: &Link, name: &str) -> Result<bool> {
    let channel = link.channel().await?;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let found = channel
        .queue_declare(name.into(), passive, FieldTable::default())
        .await;
    match found {
        Ok(_) => {
            close(&channel).await;
            Ok(true)
        }
        Err(error) if reply(&error) == Some(404) => Ok(false),
        Err(error) => Err(refused(name, error)),
    }
}

async fn exchange(link: &Link, name: &str, kind: ExchangeKind) -> Result<()> {
    let channel = link.channel().await?;
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let hash = matches!(kind, ExchangeKind::Custom(_));
    let declared = channel
        .exchange_declare(name.into(), kind, options, FieldTable::default())
        .await;
    match declared {
        Ok(()) => {
            close(&channel).await;
            Ok(())
        }
        // The broker closes the whole connection for a type that it does not know.
        Err(error) if hash && reply(&error) == Some(503) => Err(QueueError::Topology(format!(
            "RabbitMQ knows no exchange of type x-consistent-hash: run \
             `rabbitmq-plugins enable rabbitmq_consistent_hash_exchange` on its nodes ({error})"
        ))),
        Err(error) => Err(refused(name, error)),
    }
}

/// A quorum queue without a limit of deliveries.
async fn queue(link: &Link, name: &str, arguments: &FieldTable) -> Result<()> {
    let mut arguments = arguments.clone();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    arguments.insert(
        "x-delivery-limit".into(),
        AMQPValue::LongLongInt(DELIVERIES),
    );
    let channel = link.channel().await?;
    let declared = channel.queue_declare(name.into(), options, arguments).await;
    declared.map_err(|error| refused(name, error))?;
    close(&channel).await;
    Ok(())
}

async fn bind(link: &Link, queue: &str, exchange: &str, key: &str) -> Result<()> {
    let channel = link.channel().await?;
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(|error| refused(queue, error))?;
    close(&channel).await;
    Ok(())
}

async fn close(channel: &Channel) {
    // One that is closing already is as good.
    let _closed = channel.close(200, "done".into()).await;
}

/// The reply code of the broker, where it is one.
fn reply(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// 406 says in the broker's words which property differs.
fn refused(name: &str, error: lapin::Error) -> QueueError {
    match reply(&error) {
        Some(406) => QueueError::Topology(format!(
            "{name} exists at the broker and differs from what is needed: {error}. Delete it when it is empty, \
             or set another `prefix`"
        )),
        Some(403) => QueueError::Topology(format!(
            "the broker does not let this user declare {name}: {error}"
        )),
        _ => unavailable(error),
    }
}
