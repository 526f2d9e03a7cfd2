//! RabbitMQ as a source, with a real broker and the built program. See `rabbitmq/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

// It can revoke, too; these tests do not.
#[allow(dead_code)]
#[path = "support/authority.rs"]
mod authority;
#[allow(dead_code)]
#[path = "rabbitmq/broker.rs"]
mod broker;
#[path = "rabbitmq/gateway.rs"]
mod gateway;
#[path = "rabbitmq/messages.rs"]
mod messages;
#[path = "rabbitmq/tools.rs"]
mod tools;

use std::time::Duration;

use authority::Authority;
use broker::Broker;
use gateway::Gateway;
use messages::{admission, result};
use tools::until;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn messages_of_two_queues_become_resources() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.declare("adt").await;
    bus.declare("results").await;
    // What waits already is taken as well as what comes later.
    bus.publish("adt", [admission("A1", "100")]).await;
    let mut gateway = Gateway::embedded(folder.path(), &broker.url(), "queues: [adt, results]");
    gateway.start().await;
    bus.publish("results", [result("R1", "200"), result("R2", "200")])
        .await;

    gateway.delivered(3).await;
    assert_eq!(gateway.count("Patient?identifier=100").await, 1);
    assert_eq!(gateway.count("Patient?identifier=200").await, 1);
    assert_eq!(gateway.count("Observation").await, 2);
    assert_eq!(gateway.count("DiagnosticReport").await, 2);

    // Acknowledged, not only delivered: nothing comes back when the gateway is gone.
    gateway.stop();
    assert_eq!(bus.ready("adt").await, 0);
    assert_eq!(bus.ready("results").await, 0);
}

/// At every moment each message is in the gateway's queue or with the broker, and in the end each is there once.
#[tokio::test]
async fn kill_9_loses_nothing_and_doubles_nothing() {
    const MESSAGES: usize = 1200;
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.declare("results").await;
    let all = (0..MESSAGES).map(|n| result(&format!("K{n}"), &format!("{}", n % 40)));
    bus.publish("results", all).await;
    let mut gateway = Gateway::embedded(folder.path(), &broker.url(), "queues: [results]");

    let mut in_the_middle = 0;
    for left in [1000, 700, 400, 100] {
        gateway.start().await;
        until("some messages are taken", PATIENCE, async || {
            (bus.ready("results").await <= left).then_some(())
        })
        .await;
        gateway.kill();
        until("the broker has noticed", PATIENCE, async || {
            (bus.consumers("results").await == 0).then_some(())
        })
        .await;
        let (stored, with_the_broker) = (gateway.total("accepted"), bus.ready("results").await);
        assert!(
            stored + with_the_broker >= MESSAGES,
            "{stored} stored and {with_the_broker} with the broker are less than {MESSAGES}"
        );
        in_the_middle += usize::from(stored > 0 && with_the_broker > 0);
    }
    assert!(
        in_the_middle >= 3,
        "killed in the middle {in_the_middle} times"
    );

    gateway.start().await;
    gateway.delivered(MESSAGES).await;
    assert_eq!(gateway.count("Observation").await, MESSAGES as u64);
    assert_eq!(gateway.count("Patient").await, 40);
    gateway.stop();
    assert_eq!(bus.ready("results").await, 0);
    let status = gateway.status();
    assert_eq!(gateway.total("accepted"), MESSAGES, "{status}");
    assert_eq!(status["mismatch"], 0, "{status}");
}

#[tokio::test]
async fn a_broker_that_restarts_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.declare("adt").await;
    let mut gateway = Gateway::embedded(folder.path(), &broker.url(), "queues: [adt]");
    gateway.start().await;
    bus.publish("adt", [admission("B1", "1")]).await;
    gateway.delivered(1).await;
    let consumers = "fhirway_amqp_consumers{listener=\"bus\"}";
    assert_eq!(gateway.metric(consumers).await, Some(1.0));

    broker.stop();
    until(
        "the metric says that nothing is consumed",
        PATIENCE,
        async || (gateway.metric(consumers).await == Some(0.0)).then_some(()),
    )
    .await;
    // A broker that is away is no reason to take the gateway out of service.
    assert!(gateway.is_ready().await);

    broker.go_on().await;
    let bus = broker.bus().await;
    bus.publish("adt", [admission("B2", "2")]).await;
    gateway.delivered(2).await;
    assert_eq!(gateway.count("Patient").await, 2);
    assert_eq!(gateway.metric(consumers).await, Some(1.0));
}

#[tokio::test]
async fn the_ack_message_goes_where_the_message_asks() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    for queue in ["adt", "answers", "other"] {
        bus.declare(queue).await;
    }
    let listener = "queues: [adt], reply_queue: other";
    let mut gateway = Gateway::embedded(folder.path(), &broker.url(), listener);
    gateway.start().await;

    bus.ask("adt", admission("Q1", "1"), "answers", "first")
        .await;
    let answer = until("there is an answer", PATIENCE, async || {
        bus.take("answers").await
    })
    .await;
    let correlation = answer.properties.correlation_id().as_ref();
    assert_eq!(correlation.map(|id| id.as_str()), Some("first"));
    let text = String::from_utf8(answer.delivery.data).unwrap();
    assert!(
        text.starts_with("MSH|^~\\&|FHIRWAY|CENTRAL|LAB|NORTH|"),
        "{text}"
    );
    assert!(text.contains("\rMSA|AA|Q1"), "{text}");

    // A message that asks for nothing is answered to the queue of the configuration.
    bus.publish("adt", [admission("Q2", "2")]).await;
    let answer = until("there is an answer", PATIENCE, async || {
        bus.take("other").await
    })
    .await;
    let text = String::from_utf8(answer.delivery.data).unwrap();
    assert!(text.contains("\rMSA|AA|Q2"), "{text}");

    // What is refused is answered too: a message without MSH-10.
    bus.ask("adt", admission("", "3"), "answers", "third").await;
    let answer = until("there is an answer", PATIENCE, async || {
        bus.take("answers").await
    })
    .await;
    let text = String::from_utf8(answer.delivery.data).unwrap();
    assert!(text.contains("\rMSA|AE|"), "{text}");

    // A reply queue that is not there harms nobody.
    bus.ask("adt", admission("Q4", "4"), "nowhere", "fourth")
        .await;
    bus.publish("adt", [admission("Q5", "5")]).await;
    gateway.delivered(4).await;
    assert_eq!(bus.ready("answers").await, 0);
}

#[tokio::test]
async fn what_cannot_be_a_message_is_dead_lettered() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.declare("refused").await;
    bus.declare_with_dead_letters("adt", "refused").await;
    let mut gateway = Gateway::embedded(folder.path(), &broker.url(), "queues: [adt]");
    gateway.start().await;
    let mut unusable = ["not a message", "", "{\"resourceType\":\"Patient\"}"].map(str::to_owned);
    bus.publish("adt", unusable.clone()).await;
    bus.publish("adt", [admission("D1", "1")]).await;

    gateway.delivered(1).await;
    // They are worked on side by side, so they arrive in any order.
    let mut refused = Vec::new();
    for _ in &unusable {
        let letter = until("it is dead-lettered", PATIENCE, async || {
            bus.take("refused").await
        });
        let letter = letter.await;
        let headers = letter.properties.headers().as_ref().unwrap();
        assert!(headers.inner().contains_key("x-death"), "{headers:?}");
        refused.push(String::from_utf8(letter.delivery.data).unwrap());
    }
    refused.sort_unstable();
    unusable.sort_unstable();
    assert_eq!(refused, unusable);
    gateway.stop();
    assert_eq!(bus.ready("adt").await, 0);
}

#[tokio::test]
async fn what_cannot_be_a_message_is_published_where_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.declare("adt").await;
    let listener = "queues: [adt], reject: publish, reject_key: adt.refused";
    let mut gateway = Gateway::embedded(folder.path(), &broker.url(), listener);
    gateway.start().await;

    // While there is no such queue, it stays with the broker.
    bus.publish("adt", ["not a message".to_owned()]).await;
    let refused = "fhirway_parse_errors_total{listener=\"bus\",reason=\"no_header\"}";
    until("it was tried again", PATIENCE, async || {
        gateway.metric(refused).await.filter(|count| *count >= 2.0)
    })
    .await;
    bus.declare("adt.refused").await;
    let taken = until("it is published", PATIENCE, async || {
        bus.take("adt.refused").await
    })
    .await;
    assert_eq!(taken.data, b"not a message");
    gateway.stop();
    assert_eq!(bus.ready("adt").await, 0);
    assert_eq!(bus.ready("adt.refused").await, 0);
}

#[tokio::test]
async fn no_more_than_the_prefetch_is_taken_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.declare("adt").await;
    let listener = "queues: [adt], prefetch: 7";
    let mut gateway = Gateway::embedded(folder.path(), &broker.url(), listener);
    gateway.start().await;
    until("it consumes", PATIENCE, async || {
        (bus.consumers("adt").await == 1).then_some(())
    })
    .await;

    // A gateway that stands still shows how much it would take.
    gateway.signal("STOP");
    let all = (0..50).map(|n| admission(&format!("P{n}"), &format!("{n}")));
    bus.publish("adt", all).await;
    until("the broker has delivered some", PATIENCE, async || {
        (bus.ready("adt").await == 43).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bus.ready("adt").await, 43);

    gateway.signal("CONT");
    gateway.delivered(50).await;
    assert_eq!(gateway.count("Patient").await, 50);
}

#[tokio::test]
async fn a_queue_that_is_missing_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.declare("here").await;
    let mut gateway = Gateway::embedded(folder.path(), &broker.url(), "queues: [missing, here]");
    gateway.start().await;
    bus.publish("here", [admission("M1", "1")]).await;
    gateway.delivered(1).await;

    bus.declare("missing").await;
    bus.publish("missing", [admission("M2", "2")]).await;
    gateway.delivered(2).await;
}

/// What the gateway cannot store is neither acknowledged nor dead-lettered.
#[tokio::test]
async fn a_full_queue_leaves_the_messages_with_the_broker() {
    const MESSAGES: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let bus = broker.bus().await;
    bus.declare("refused").await;
    bus.declare_with_dead_letters("adt", "refused").await;
    // Nobody listens at port 1, so the queue fills: 60 messages of 100 kB do not go into 2 MiB.
    let rest = "queue: {max_bytes: 2MiB}\n\
                destinations:\n  fhir: {url: 'http://127.0.0.1:1/fhir'}";
    let listener = "queues: [adt], prefetch: 8";
    let mut gateway = Gateway::new(folder.path(), &broker.url(), listener, rest);
    gateway.start().await;
    let large =
        |n| admission(&format!("F{n}"), &format!("{n}")) + "NTE|1||" + &"x".repeat(100_000) + "\r";
    bus.publish("adt", (0..MESSAGES).map(large)).await;
    until("the queue is full", PATIENCE, async || {
        gateway
            .metric("fhirway_queue_refused_total")
            .await
            .filter(|count| *count > 0.0)
    })
    .await;

    gateway.stop();
    let (stored, with_the_broker) = (gateway.total("accepted"), bus.ready("adt").await);
    assert!(
        stored > 0 && with_the_broker > 0,
        "{stored} stored, {with_the_broker} left"
    );
    assert_eq!(stored + with_the_broker, MESSAGES);
    assert_eq!(bus.ready("refused").await, 0);
}

/// amqps: both ends show certificates, and a broker that nobody vouches for gets nothing.
#[tokio::test]
async fn over_tls_both_ends_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (Authority::new(), Authority::new());
    ours.write(&folder.path().join("ours.pem"));
    foreign.write(&folder.path().join("foreign.pem"));
    ours.issue("gateway", folder.path(), "client");
    let broker = Broker::start_secure(folder.path(), &ours).await;
    let bus = broker.bus().await;
    bus.declare("results").await;
    bus.publish("results", [result("T1", "700")]).await;

    let tls = |ca: &str, certificate: &str| {
        let file = |name: &str| folder.path().join(name).display().to_string();
        format!(
            "queues: [results], tls: {{ca: '{}'{certificate}}}",
            file(ca)
        )
    };
    let client = format!(
        ", certificate: '{}', key: '{}'",
        folder.path().join("client.pem").display(),
        folder.path().join("client.key").display()
    );
    for (name, listener) in [
        ("unknown-broker", tls("foreign.pem", &client)),
        ("unknown-client", tls("ours.pem", "")),
    ] {
        let home = folder.path().join(name);
        std::fs::create_dir(&home).unwrap();
        let mut gateway = Gateway::embedded(&home, &broker.secure_url(), &listener);
        gateway.launch();
        until("the connection has failed", PATIENCE, async || {
            gateway.log().contains("broker_lost").then_some(())
        })
        .await;
        assert!(
            !gateway.log().contains("guest:guest"),
            "{name}: the password"
        );
        gateway.stop();
        assert_eq!(bus.ready("results").await, 1, "{name}");
    }

    let mut gateway = Gateway::embedded(
        folder.path(),
        &broker.secure_url(),
        &tls("ours.pem", &client),
    );
    gateway.start().await;
    gateway.delivered(1).await;
    assert_eq!(gateway.count("Patient?identifier=700").await, 1);
}
