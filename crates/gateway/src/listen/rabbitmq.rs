//! RabbitMQ: deliveries of several queues, acknowledged only after the durable append.
//!
//! Each queue has a connection of its own, kept by a loop of ours: connect, consume, and when anything is
//! lost (connection, channel, a consumer that the broker cancels because its queue is gone), start over after
//! a wait that doubles up to a limit, with jitter. So a queue that is missing holds up no other. What was
//! delivered and not yet acknowledged comes again from the broker and is recognised as a duplicate where it
//! was stored.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Connection, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions,
        BasicQosOptions, ConfirmSelectOptions,
    },
    tcp::OwnedTLSConfig,
    types::FieldTable,
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time,
};

use crate::{
    amqp::{self, PATIENCE, RabbitMqError},
    config::listener::{RabbitMq, RabbitReject},
    events::ListenerEvents,
    receive::{Answer, Received, Receiver},
};

/// Wait before a delivery that could not be stored goes back to the broker: it comes again at once.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// A consumer of the queues of one listener.
pub struct RabbitMqListener {
    name: String,
    config: RabbitMq,
    tls: OwnedTLSConfig,
    receiver: Arc<Receiver>,
    events: Arc<ListenerEvents>,
}

/// One connection with what is open on it.
struct Session {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    outgoing: Outgoing,
}

/// Where publishes go, all with publisher confirms.
struct Outgoing {
    replies: Channel,
    /// One at a time: the library hands a returned message to whichever confirmation comes next on the channel, and a
    /// rejected delivery is acknowledged only when it certainly stands elsewhere.
    rejects: Mutex<Channel>,
}

impl RabbitMqListener {
    /// Reads the TLS files of the listener `name`; connects to nothing yet.
    ///
    /// # Errors
    /// [`RabbitMqError::File`].
    pub fn new(
        name: &str,
        config: &RabbitMq,
        receiver: Arc<Receiver>,
        events: Arc<ListenerEvents>,
    ) -> Result<Self, RabbitMqError> {
        Ok(Self {
            name: name.to_owned(),
            config: config.clone(),
            tls: amqp::tls(
                config.ca.as_ref(),
                config.certificate.as_ref(),
                config.key.as_ref(),
            )?,
            receiver,
            events,
        })
    }

    /// Consumes until `shutdown` says true, then finishes what is in hand and closes the connections.
    pub async fn run(self: Arc<Self>, shutdown: watch::Receiver<bool>) {
        let mut queues = JoinSet::new();
        for queue in self.config.queues.clone() {
            queues.spawn(Arc::clone(&self).keep(queue, shutdown.clone()));
        }
        while queues.join_next().await.is_some() {}
    }

    /// Keeps consuming one queue.
    async fn keep(self: Arc<Self>, queue: String, mut shutdown: watch::Receiver<bool>) {
        let mut wait = self.config.reconnect_initial;
        while !*shutdown.borrow() {
            let why = match self.connect(&queue).await {
                Ok(session) => {
                    self.events.broker_connected(&queue);
                    wait = self.config.reconnect_initial;
                    let why = self.consume(session, &mut shutdown).await;
                    self.events.broker_disconnected();
                    why
                }
                Err(why) => why,
            };
            if *shutdown.borrow() {
                return;
            }
            let pause = amqp::jittered(wait);
            self.events.broker_lost(&queue, &why, pause);
            tokio::select! {
                () = time::sleep(pause) => {}
                _ = shutdown.wait_for(|stop| *stop) => {}
            }
            wait = (wait * 2).min(self.config.reconnect_max);
        }
    }

    /// Connects and starts to consume. An error is in words of the library and the broker.
    async fn connect(&self, queue: &str) -> Result<Session, String> {
        let tag = format!("fhirway.{}.{queue}", self.name);
        let connecting = async {
            let connection = amqp::connect(self.config.url.expose(), &tag, &self.tls).await?;
            let outgoing = Outgoing {
                replies: confirming(&connection).await?,
                rejects: Mutex::new(confirming(&connection).await?),
            };
            let channel = connection.create_channel().await?;
            channel
                .basic_qos(self.config.prefetch, BasicQosOptions::default())
                .await?;
            let consumer = channel
                .basic_consume(
                    queue.into(),
                    tag.as_str().into(),
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                )
                .await?;
            Ok::<_, lapin::Error>(Session {
                connection,
                channel,
                consumer,
                outgoing,
            })
        };
        match time::timeout(PATIENCE, connecting).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer from the broker in time".to_owned()),
        }
    }

    /// Takes deliveries, up to `prefetch` at once, and says why it ended.
    async fn consume(&self, session: Session, shutdown: &mut watch::Receiver<bool>) -> String {
        let Session {
            connection,
            channel,
            mut consumer,
            outgoing,
        } = session;
        // One task polls them all, each for the first time in the order of arrival: so they reach the queue in
        // that order, and still share its commits.
        let mut working = FuturesUnordered::new();
        let why = loop {
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break "shutdown".to_owned(),
                Some(done) = working.next() => {
                    // An acknowledgement that cannot be sent means that the channel is gone.
                    if let Err(error) = done { break error }
                }
                delivery = consumer.next() => match delivery {
                    Some(Ok(delivery)) => working.push(self.take(delivery, &outgoing)),
                    Some(Err(error)) => break error.to_string(),
                    None => break "the broker cancelled the consumer (is the queue gone?)".to_owned(),
                },
            }
        };
        // Each of these fails when the broker is gone, which is no news.
        let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        let _ = time::timeout(PATIENCE, cancel).await;
        while let Ok(Some(_)) = time::timeout(PATIENCE, working.next()).await {}
        drop(working);
        let _ = time::timeout(PATIENCE, connection.close(200, "done".into())).await;
        why
    }

    /// One delivery: store it, publish the ACK message when one is asked for, then settle with the broker.
    async fn take(&self, delivery: Delivery, outgoing: &Outgoing) -> Result<(), String> {
        let Delivery {
            data,
            acker,
            properties,
            ..
        } = delivery;
        let payload = Bytes::from(data);
        let answer = self
            .receiver
            .receive(payload.clone(), SystemTime::now(), &[])
            .await;
        self.reply(&answer, &properties, &outgoing.replies).await;
        let settled = match answer.result {
            Received::Stored => acker.ack(BasicAckOptions::default()).await,
            Received::Retryable => {
                time::sleep(STORE_RETRY).await;
                acker
                    .nack(BasicNackOptions {
                        requeue: true,
                        ..BasicNackOptions::default()
                    })
                    .await
            }
            Received::Unusable => match self.config.reject {
                RabbitReject::DeadLetter => {
                    acker
                        .nack(BasicNackOptions {
                            requeue: false,
                            ..BasicNackOptions::default()
                        })
                        .await
                }
                RabbitReject::Publish => {
                    let (exchange, key) = (&self.config.reject_exchange, &self.config.reject_key);
                    let channel = outgoing.rejects.lock().await;
                    let published = self.publish(&channel, exchange, key, &payload, properties);
                    let published = published.await;
                    drop(channel);
                    match published {
                        Ok(()) => acker.ack(BasicAckOptions::default()).await,
                        Err(why) => {
                            // Nowhere to put it: it stays with the broker rather than getting lost.
                            self.events.reply_failed(&why);
                            time::sleep(STORE_RETRY).await;
                            acker
                                .nack(BasicNackOptions {
                                    requeue: true,
                                    ..BasicNackOptions::default()
                                })
                                .await
                        }
                    }
                }
            },
        };
        settled.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Publishes the ACK messages to `reply_to` of the delivery, else to the configured queue.
    async fn reply(&self, answer: &Answer, asked: &BasicProperties, publisher: &Channel) {
        if !self.config.reply {
            return;
        }
        let wanted = asked
            .reply_to()
            .as_ref()
            .map(|queue| queue.as_str().to_owned());
        let Some(queue) = wanted.or_else(|| self.config.reply_queue.clone()) else {
            return;
        };
        let mut properties = BasicProperties::default()
            .with_content_type("x-application/hl7-v2+er7".into())
            .with_delivery_mode(2);
        if let Some(id) = asked
            .correlation_id()
            .as_ref()
            .or(asked.message_id().as_ref())
        {
            properties = properties.with_correlation_id(id.clone());
        }
        for ack in answer.ack.iter().chain(&answer.later) {
            let published = self.publish(publisher, "", &queue, ack, properties.clone());
            if let Err(why) = published.await {
                self.events.reply_failed(&why);
            }
        }
    }

    async fn publish(
        &self,
        publisher: &Channel,
        exchange: &str,
        key: &str,
        payload: &[u8],
        properties: BasicProperties,
    ) -> Result<(), String> {
        amqp::publish(publisher, exchange, key, payload, properties)
            .await
            .map_err(|failure| failure.to_string())
    }
}

/// A channel on which publishes are confirmed.
async fn confirming(connection: &Connection) -> Result<Channel, lapin::Error> {
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    Ok(channel)
}
