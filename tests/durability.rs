//! What is acknowledged is delivered, once in effect and in order, whatever kills the process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use support::{
    FhirServer, FhirwayTest, Gateway, MllpClient, Random, eventually, in_time, message_of, results,
    update,
};
use tokio::{sync::watch, task::JoinSet};

const MESSAGES: usize = 10_000;
const CONNECTIONS: usize = 16;
const PATIENTS_PER_CONNECTION: usize = 5;
const KILLS: usize = 20;

/// One message of the feed.
struct Message {
    control_id: String,
    patient: String,
    /// Its number among the messages about this patient.
    number: usize,
    is_update: bool,
    text: String,
}

/// What the senders share.
struct Feed {
    /// Where the gateway listens now; `None` while it does not run.
    address: watch::Receiver<Option<SocketAddr>>,
    /// How many messages may be begun: no more than a little beyond the next kill.
    allowed: watch::Receiver<usize>,
    begun: AtomicUsize,
    acknowledged: watch::Sender<usize>,
    sent_again: AtomicUsize,
}

/// The order of a patient's messages is that of one connection, so each patient belongs to one.
fn invent(random: &mut Random) -> Vec<Vec<Message>> {
    let mut numbers = BTreeMap::new();
    let mut feed: Vec<Vec<Message>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
    for n in 0..MESSAGES {
        let connection = n % CONNECTIONS;
        let patient = format!("P{connection}-{}", random.below(PATIENTS_PER_CONNECTION));
        let number = *numbers
            .entry(patient.clone())
            .and_modify(|number| *number += 1)
            .or_insert(0);
        let control_id = format!("M{n:05}");
        let is_update = random.below(2) == 0;
        let text = if is_update {
            update(&control_id, &patient, &format!("Given{number}"))
        } else {
            results(&control_id, &patient)
        };
        feed[connection].push(Message {
            control_id,
            patient,
            number,
            is_update,
            text,
        });
    }
    feed
}

impl Feed {
    /// Sends one connection's share in order, again and again until each is acknowledged.
    async fn send(self: Arc<Self>, messages: Arc<Vec<Message>>) {
        let (mut address, mut allowed) = (self.address.clone(), self.allowed.clone());
        let mut client = None;
        for message in messages.iter() {
            let turn = self.begun.fetch_add(1, Ordering::SeqCst);
            allowed.wait_for(|allowed| turn < *allowed).await.unwrap();
            loop {
                let connected = match client.take() {
                    Some(client) => Ok(client),
                    None => {
                        let known = address.wait_for(Option::is_some).await.unwrap().unwrap();
                        MllpClient::connect(known).await
                    }
                };
                let Ok(mut connected) = connected else {
                    tokio::task::yield_now().await;
                    continue;
                };
                if let Ok(ack) = connected.try_exchange(&message.text).await {
                    assert_eq!(ack.code(), "AA", "{}", ack.text());
                    assert_eq!(ack.about(), message.control_id);
                    client = Some(connected);
                    break;
                }
                // The gateway was killed; whether the message is stored, nobody knows.
                self.sent_again.fetch_add(1, Ordering::SeqCst);
            }
            self.acknowledged.send_modify(|count| *count += 1);
        }
    }
}

/// Reliability tests 1, 2 and 3: SIGKILL while messages come in, while they go out, and in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_survive_twenty_kills() {
    let mut random = Random::seeded();
    let feed = invent(&mut random);
    let server = FhirServer::forgetful().await;
    let mut gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("destinations.fhir.concurrency", json!(8))
        .set("log.level", json!("warn,gateway::gateway=info"))
        .start()
        .await;

    let (set_address, address) = watch::channel(Some(gateway.address("lab")));
    let (set_allowed, allowed) = watch::channel(0);
    let shared = Arc::new(Feed {
        address,
        allowed,
        begun: AtomicUsize::new(0),
        acknowledged: watch::Sender::new(0),
        sent_again: AtomicUsize::new(0),
    });
    let mut acknowledged = shared.acknowledged.subscribe();
    let mut effects = server.watch_effects();
    let feed: Vec<Arc<Vec<Message>>> = feed.into_iter().map(Arc::new).collect();
    let mut senders = JoinSet::new();
    for share in &feed {
        senders.spawn(Arc::clone(&shared).send(Arc::clone(share)));
    }

    let slice = MESSAGES / (KILLS + 1);
    for kill in 0..KILLS {
        let at = kill * slice + random.below(slice) + 1;
        set_allowed.send_replace(at + CONNECTIONS + random.below(slice / 2));
        in_time(
            "acknowledgements",
            acknowledged.wait_for(|count| *count >= at),
        )
        .await
        .unwrap();
        if kill % 2 == 1 {
            // Wait for deliveries as well: these kills hit the way out and its books.
            let more = *effects.borrow() + 1 + random.below(100);
            let there = at.min(more);
            in_time("deliveries", effects.wait_for(|count| *count >= there))
                .await
                .unwrap();
        }
        set_address.send_replace(None);
        gateway.kill();
        if kill % 5 == 4 {
            // And once more while it recovers.
            gateway.start().await;
            gateway.kill();
        }
        gateway.start().await;
        set_address.send_replace(Some(gateway.address("lab")));
    }
    set_allowed.send_replace(MESSAGES);
    in_time("the feed", async {
        while let Some(ended) = senders.join_next().await {
            ended.unwrap();
        }
    })
    .await;
    assert_eq!(*acknowledged.borrow(), MESSAGES);
    assert!(
        shared.sent_again.load(Ordering::SeqCst) > 0,
        "no kill hit a message on its way"
    );
    gateway.drained().await;

    let counts = gateway.counts("fhir");
    assert_eq!(
        counts["accepted"], MESSAGES as u64,
        "a resend is no new message"
    );
    assert_eq!(counts["delivered"], MESSAGES as u64);
    gateway.queue(&["check", "--payloads"]).expect(0);
    let redelivered = server.effects().len() - MESSAGES;
    println!(
        "{KILLS} kills: {} sent again, {redelivered} delivered again",
        shared.sent_again.load(Ordering::SeqCst)
    );
    check_effects(&feed, &server);
}

fn check_effects(feed: &[Arc<Vec<Message>>], server: &FhirServer) {
    let messages: BTreeMap<&str, &Message> = feed
        .iter()
        .flat_map(|share| share.iter())
        .map(|message| (message.control_id.as_str(), message))
        .collect();

    // Every message arrived, in order per patient; what comes again does so before the next one.
    let effects = server.effects();
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for control_id in &effects {
        let message = messages[control_id.as_str()];
        let expected = match last.get(message.patient.as_str()) {
            None => message.number == 0,
            Some(last) => message.number == *last || message.number == last + 1,
        };
        assert!(
            expected,
            "{control_id} is number {} of its patient, and came after {:?}",
            message.number,
            last.get(message.patient.as_str())
        );
        last.insert(&message.patient, message.number);
    }
    assert_eq!(server.stored().len(), MESSAGES);

    // One effect of each: one header, one version of the patient for each update in the order of
    // the updates, one report and one result for each report.
    let mut headers = BTreeSet::new();
    let mut reports = BTreeSet::new();
    let mut versions_of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (name, versions) in &server.resources() {
        let made_by = |index: usize| messages[versions[index].control_id.as_str()];
        match name.split(['/', '?']).next().unwrap() {
            "Patient" => {
                let numbers = (0..versions.len()).map(|index| made_by(index).number);
                versions_of.insert(&made_by(0).patient, numbers.collect());
            }
            "Organization" => {}
            kind => {
                assert_eq!(versions.len(), 1, "{name} was changed by {versions:?}");
                let control_id = versions[0].control_id.clone();
                match kind {
                    "MessageHeader" => assert!(headers.insert(control_id)),
                    "DiagnosticReport" => assert!(reports.insert(control_id)),
                    _ => {}
                }
            }
        }
    }
    assert_eq!(headers.len(), MESSAGES);
    let updates = |patient: &str| -> Vec<usize> {
        let of_patient = messages
            .values()
            .filter(|message| message.patient == patient);
        of_patient
            .filter(|message| message.is_update || message.number == 0)
            .map(|message| message.number)
            .collect()
    };
    assert_eq!(versions_of.len(), CONNECTIONS * PATIENTS_PER_CONNECTION);
    for (patient, versions) in &versions_of {
        assert_eq!(*versions, updates(patient), "versions of {patient}");
    }
    let expected: BTreeSet<String> = messages
        .values()
        .filter(|message| !message.is_update)
        .map(|message| message.control_id.clone())
        .collect();
    assert_eq!(reports, expected);
}

/// The same with the repository inside the process: both files are cut off together, and agree again.
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_repository_survives_kills_with_the_queue() {
    const MESSAGES: usize = 240;
    const PATIENTS: usize = 6;
    let mut random = Random::seeded();
    let kills: BTreeSet<usize> = (0..6).map(|_| random.below(MESSAGES)).collect();
    let mut gateway = FhirwayTest::embedded().start().await;
    let mut client = gateway.connect().await;
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut reports = 0;
    for n in 0..MESSAGES {
        let (_, patient, text) = message_of(n, PATIENTS);
        if kills.contains(&n) {
            // Sent, and perhaps stored, but never acknowledged.
            client.write(support::frame(&text)).await.unwrap();
            gateway.kill();
            gateway.start().await;
            client = gateway.connect().await;
        }
        client.send(&text).await;
        let of_patient = names.entry(patient).or_default();
        if text.contains("ORU^R01") {
            reports += 1;
            // It makes the patient where there is none, and changes nothing else.
            if of_patient.is_empty() {
                of_patient.push("Cosima".to_owned());
            }
        } else {
            of_patient.push(format!("Given{n}"));
        }
    }
    gateway.drained().await;
    assert_eq!(gateway.counts("total")["delivered"], MESSAGES as u64);

    let get = async |path: String| -> serde_json::Value {
        let (status, body) = gateway.get("repository", &format!("/fhir/{path}")).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    let found = get("DiagnosticReport?_count=1000".to_owned()).await;
    assert_eq!(found["total"], reports);
    for entry in found["entry"].as_array().unwrap() {
        assert_eq!(entry["resource"]["meta"]["versionId"], "1");
    }
    assert_eq!(
        get("MessageHeader?_summary=count".to_owned()).await["total"],
        MESSAGES
    );
    for (patient, expected) in &names {
        let found = get(format!("Patient?identifier=urn:oid:2.999.1%7C{patient}")).await;
        assert_eq!(found["total"], 1, "{patient}");
        let id = found["entry"][0]["resource"]["id"].as_str().unwrap();
        let history = get(format!("Patient/{id}/_history")).await;
        let versions: Vec<&str> = history["entry"]
            .as_array()
            .unwrap()
            .iter()
            .rev()
            .map(|entry| entry["resource"]["name"][0]["given"][0].as_str().unwrap())
            .collect();
        assert_eq!(
            versions, *expected,
            "the versions of {patient}, oldest first"
        );
    }
}

/// Reliability test 45: SIGTERM under load ends with everything in flight finished, and nothing lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_loses_nothing_and_ends_well() {
    let server = FhirServer::start().await;
    let mut gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let mut senders = JoinSet::new();
    let (count, mut acknowledged) = watch::channel(0);
    for connection in 0..4 {
        let mut client = gateway.connect().await;
        let count = count.clone();
        senders.spawn(async move {
            let mut mine = Vec::new();
            // Until the gateway closes the connection.
            for n in 0.. {
                let (control_id, patient) =
                    (format!("D{connection}-{n}"), format!("P{connection}"));
                match client.try_exchange(results(&control_id, &patient)).await {
                    Ok(ack) if ack.code() == "AA" => mine.push(control_id),
                    Ok(ack) => panic!("{}", ack.text()),
                    Err(_) => break,
                }
                count.send_modify(|count| *count += 1);
            }
            mine
        });
    }
    in_time("the feed", acknowledged.wait_for(|count| *count >= 100))
        .await
        .unwrap();
    assert!(gateway.stop().await.success());
    let sent: BTreeSet<String> = senders.join_all().await.into_iter().flatten().collect();
    assert!(gateway.log().contains("\"draining\"") && gateway.log().contains("\"stopped\""));

    // Nobody runs: the command opens the queue itself.
    let counts = gateway.counts("fhir");
    assert_eq!(counts["accepted"], sent.len() as u64);
    assert_eq!(counts["leased"], 0, "{counts:?}");
    gateway.start().await;
    gateway.drained().await;
    assert_eq!(server.stored(), sent);
    assert_eq!(
        server.effects().len(),
        sent.len(),
        "a drain cuts nothing off, so nothing comes again"
    );
}

/// Reliability test 12: one queue, one process.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_queue_refuses_to_start() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let second = support::Command::new(["serve", "--config"])
        .arg(gateway.folder().join("fhirway.yaml"))
        .run()
        .expect(1);
    assert!(
        second.stderr.contains("cannot open the queue"),
        "{second:?}"
    );
    gateway
        .connect()
        .await
        .send(update("C1", "P1", "Cosima"))
        .await;
    server.has_stored(1).await;
}

/// Nothing is accepted when something is wrong at the start (reliability test 11).
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_the_start_is_told_and_nothing_is_opened() {
    let server = FhirServer::away().await;
    let test = || FhirwayTest::new().destination("fhir", &server);
    let start = |test: FhirwayTest| {
        let config = test.write_config();
        support::Command::new(["serve", "--config"])
            .arg(config)
            .run()
    };

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = start(test().set("listeners.lab.bind", json!(address))).expect(1);
    assert!(
        ran.stderr.contains("listener `lab` cannot bind") && ran.stderr.contains(&address),
        "{ran:?}"
    );
    let on_file = test();
    let file = on_file.folder().join("file");
    std::fs::write(&file, "").unwrap();
    let ran = start(on_file.set("data_dir", json!(file.join("data")))).expect(1);
    assert!(
        ran.stderr.contains("cannot make the data folder"),
        "{ran:?}"
    );
    let ran = start(test().set("listeners.lab.frame_byte", json!("4KiB"))).expect(2);
    assert!(ran.stderr.contains("frame_bytes"), "{ran:?}");
}

/// The queue file keeps its promise across ordinary restarts too: nothing comes twice, nothing is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_delivered_after_a_restart_in_order() {
    let server = FhirServer::away().await;
    let mut gateway: Gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let mut client = gateway.connect().await;
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for n in 0..60 {
        let (control_id, patient, text) = message_of(n, 7);
        client.send(text).await;
        expected.entry(patient).or_default().push(control_id);
    }
    gateway.kill();
    server.come_back();
    gateway.start().await;
    eventually("all are stored", async || {
        (server.stored().len() == 60).then_some(())
    })
    .await;
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in server.requests() {
        seen.entry(request.patient)
            .or_default()
            .push(request.control_id);
    }
    assert_eq!(seen, expected);
}
