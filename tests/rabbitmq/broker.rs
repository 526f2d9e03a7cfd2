//! A RabbitMQ of one test's own, and a client to look at it with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
    message::BasicGetMessage,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
        QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use tokio::time;

use super::{
    authority::Authority,
    tools::{free_port, until},
};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/rabbitmq/broker");
/// A cold start on a busy machine.
const START: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(15);

/// A broker on loopback. It ends with this value, and with the test process, however that ends.
pub struct Broker {
    folder: PathBuf,
    ports: [u16; 3],
    /// Where it takes TLS, if it does.
    secure: Option<u16>,
    script: Option<Child>,
}

/// A connection to the broker, with publisher confirms.
pub struct Bus {
    channel: Channel,
    /// Kept open as long as the channel.
    _connection: Connection,
}

// === impl Broker ===

impl Broker {
    /// Starts a broker and waits until it takes connections.
    pub async fn start(folder: &Path) -> Self {
        Self::start_with(folder, None).await
    }

    /// The same, and it takes TLS from clients that show a certificate of `ca`, too.
    pub async fn start_secure(folder: &Path, ca: &Authority) -> Self {
        Self::start_with(folder, Some(ca)).await
    }

    async fn start_with(folder: &Path, ca: Option<&Authority>) -> Self {
        assert!(
            Path::new(SERVER).exists(),
            "RabbitMQ is missing ({SERVER}): run `make tools`, or `sudo apt-get install rabbitmq-server`"
        );
        let data = folder.join("rabbitmq");
        if let Some(ca) = ca {
            fs::create_dir_all(&data).expect("the folder can be made");
            ca.write(&data.join("ca.pem"));
            ca.issue("localhost", &data, "server");
        }
        let mut broker = Self {
            folder: data,
            ports: [free_port(), free_port(), free_port()],
            secure: ca.map(|_| free_port()),
            script: None,
        };
        broker.go_on().await;
        broker
    }

    /// Starts it again, with the data and the port that it had.
    pub async fn go_on(&mut self) {
        let [amqp, distribution, epmd] = self.ports.map(|port| port.to_string());
        let script = Command::new(SCRIPT)
            .arg(&self.folder)
            .args([amqp, distribution, epmd])
            .args(self.secure.map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .spawn()
            .expect("tests/rabbitmq/broker runs");
        self.script = Some(script);
        until("the broker takes connections", START, async || {
            // Who accepts and then says nothing is asked anew.
            let connected = time::timeout(ANSWER, self.connect()).await;
            connected.ok()?.ok()
        })
        .await;
    }

    /// Stops it in order. Queues that are durable keep their persistent messages.
    pub fn stop(&mut self) {
        if let Some(mut script) = self.script.take() {
            // Closing its standard input tells the script to stop the broker.
            drop(script.stdin.take());
            script.wait().expect("the script ends");
        }
    }

    /// The address, for the gateway and for [`Broker::bus`].
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports[0])
    }

    /// The address for TLS.
    pub fn secure_url(&self) -> String {
        let port = self.secure.expect("started with TLS");
        format!("amqps://guest:guest@localhost:{port}/%2f")
    }

    /// A new connection.
    pub async fn bus(&self) -> Bus {
        self.connect().await.expect("the broker takes connections")
    }

    async fn connect(&self) -> Result<Bus, lapin::Error> {
        let connection = Connection::connect(&self.url(), ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Bus {
            channel,
            _connection: connection,
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("console.log")).unwrap_or_default();
            let from = log.len().saturating_sub(1500);
            eprintln!("the broker said:\n{}", log.get(from..).unwrap_or(&log));
        }
        self.stop();
    }
}

// === impl Bus ===

impl Bus {
    /// A durable queue.
    pub async fn declare(&self, queue: &str) {
        self.declare_with(queue, FieldTable::default()).await;
    }

    /// A durable queue whose rejected messages go to the queue `dead_letters`.
    pub async fn declare_with_dead_letters(&self, queue: &str, dead_letters: &str) {
        let mut arguments = FieldTable::default();
        let text = |text: &str| AMQPValue::LongString(text.into());
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(dead_letters));
        self.declare_with(queue, arguments).await;
    }

    async fn declare_with(&self, queue: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        self.channel
            .queue_declare(queue.into(), options, arguments)
            .await
            .expect("the queue can be declared");
    }

    /// A topic exchange.
    pub async fn exchange(&self, name: &str) {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        self.channel
            .exchange_declare(
                name.into(),
                ExchangeKind::Topic,
                options,
                FieldTable::default(),
            )
            .await
            .expect("the exchange can be declared");
    }

    /// From now on the queue gets what the exchange has with such keys.
    pub async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        self.channel
            .queue_bind(
                queue.into(),
                exchange.into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .expect("the queue can be bound");
    }

    /// Publishes persistent messages and waits until the broker has them.
    pub async fn publish(&self, queue: &str, messages: impl IntoIterator<Item = String>) {
        let mut confirms = Vec::new();
        for message in messages {
            let confirm = self
                .channel
                .basic_publish(
                    "".into(),
                    queue.into(),
                    mandatory(),
                    message.as_bytes(),
                    BasicProperties::default().with_delivery_mode(2),
                )
                .await
                .expect("it can be published");
            confirms.push(confirm);
        }
        for confirm in confirms {
            let confirmed = confirm.await.expect("the broker confirms");
            assert!(matches!(confirmed, Confirmation::Ack(None)), "{queue}");
        }
    }

    /// Publishes one message that asks for an answer.
    pub async fn ask(&self, queue: &str, message: String, reply_to: &str, correlation: &str) {
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_reply_to(reply_to.into())
            .with_correlation_id(correlation.into());
        self.channel
            .basic_publish(
                "".into(),
                queue.into(),
                mandatory(),
                message.as_bytes(),
                properties,
            )
            .await
            .expect("it can be published")
            .await
            .expect("the broker confirms");
    }

    /// Messages that are ready: neither delivered nor acknowledged.
    pub async fn ready(&self, queue: &str) -> usize {
        self.counts(queue).await.0
    }

    /// Consumers of a queue.
    pub async fn consumers(&self, queue: &str) -> usize {
        self.counts(queue).await.1
    }

    async fn counts(&self, queue: &str) -> (usize, usize) {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = self
            .channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await
            .expect("the queue is there");
        let number = |count: u32| usize::try_from(count).expect("a count");
        (
            number(queue.message_count()),
            number(queue.consumer_count()),
        )
    }

    /// Takes the next message, when there is one.
    pub async fn take(&self, queue: &str) -> Option<BasicGetMessage> {
        self.channel
            .basic_get(queue.into(), BasicGetOptions { no_ack: true })
            .await
            .expect("the queue is there")
    }
}

fn mandatory() -> BasicPublishOptions {
    BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    }
}
