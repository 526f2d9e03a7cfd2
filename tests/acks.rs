//! Who gets which ACK (section 2.2): modes, profiles, contents, duplicates and batches.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;

use serde_json::json;
use support::{Ack, FhirServer, FhirwayTest, Gateway, MllpClient, frame, results, update};

/// A message with its own MSH-9, MSH-15 and MSH-16.
fn asking(control_id: &str, message_type: &str, accept: &str, application: &str) -> String {
    format!(
        "MSH|^~\\&|ANALYZER|NORTHLAB|FHIRWAY|SITE|20260102030405+0000||{message_type}|{control_id}|P|2.5.1|||{accept}|{application}\r\
         EVN|A08|20260102030405+0000\rPID|1||P1^^^NORTHLAB||Ashgrove^Cosima\r"
    )
}

async fn strict(server: &FhirServer, always_answer: bool) -> Gateway {
    FhirwayTest::new()
        .destination("fhir", server)
        .set("routes.lab.when", json!("MSH-9.1 = ADT"))
        .set("listeners.lab.unrouted", json!("reject"))
        .set("listeners.lab.ack.always_answer", json!(always_answer))
        .start()
        .await
}

/// What is answered to one message: the code, or `-` when the next answer is about the message behind it.
async fn answer(client: &mut MllpClient, bytes: Vec<u8>, control_id: &str) -> String {
    let behind = format!("{control_id}-behind");
    client.write(bytes).await.unwrap();
    client
        .write(frame(asking(&behind, "ADT^A08^ADT_A01", "", "")))
        .await
        .unwrap();
    let ack = client.ack().await.unwrap();
    if ack.about() == behind {
        assert_eq!(ack.code(), "AA");
        return "-".to_owned();
    }
    assert_eq!(ack.about(), control_id);
    let next = client.ack().await.unwrap();
    assert_eq!(next.about(), behind, "one answer for each message");
    ack.code()
}

/// Reliability test 39: MSH-15 by MSH-16 by what became of the message. The table of 2.2, by hand.
#[tokio::test(flavor = "multi_thread")]
async fn msh_15_and_16_decide_who_is_answered() {
    // MSH-15, MSH-16, stored, error, reject
    const TABLE: &str = "
        .  .   AA AE AR
        .  AL  AA AE AR
        .  NE  -  -  -
        .  ER  -  AE AR
        .  SU  AA -  -
        AL .   CA CE CR
        AL AL  CA CE CR
        AL NE  CA CE CR
        AL ER  CA CE CR
        AL SU  CA CE CR
        NE .   -  -  -
        NE AL  AA AE AR
        NE NE  -  -  -
        NE ER  -  AE AR
        NE SU  AA -  -
        ER .   -  CE CR
        ER AL  AA CE CR
        ER NE  -  CE CR
        ER ER  -  CE CR
        ER SU  AA CE CR
        SU .   CA -  -
        SU AL  CA AE AR
        SU NE  CA -  -
        SU ER  CA AE AR
        SU SU  CA -  -
        XX .   AA AE AR
        .  XX  AA AE AR";
    let server = FhirServer::start().await;
    let gateway = strict(&server, false).await;
    let mut client = gateway.connect().await;
    let mut wrong = Vec::new();
    for (row, line) in TABLE.lines().skip(1).enumerate() {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [accept, application, stored, error, reject] = cells[..] else {
            panic!("{line}");
        };
        let (accept_code, application_code) =
            (accept.replace('.', ""), application.replace('.', ""));
        let message =
            |id: &str, kind: &str| frame(asking(id, kind, &accept_code, &application_code));
        let (good, bad, foreign) = (
            format!("T{row}-1"),
            format!("T{row}-2"),
            format!("T{row}-3"),
        );
        let cut = message(&bad, "ADT^A08^ADT_A01");
        let answers = [
            answer(&mut client, message(&good, "ADT^A08^ADT_A01"), &good).await,
            // Begun anew in the middle of a frame: not stored, to be sent again.
            answer(&mut client, [&cut[..40], &cut[..]].concat(), &bad).await,
            // No route takes it: never to be sent again.
            answer(&mut client, message(&foreign, "ORM^O01^ORM_O01"), &foreign).await,
        ];
        if answers != [stored, error, reject] {
            wrong.push(format!("{accept} {application}: {answers:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Item 7, second half: who asks for both gets both, the accept ACK first, and the next answer is about the next message.
#[tokio::test(flavor = "multi_thread")]
async fn the_application_ack_follows_the_accept_ack_where_the_listener_sends_it() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("listeners.lab.ack.application", json!("same_connection"))
        .start()
        .await;
    let mut client = gateway.connect().await;
    for (row, (accept, application, expected)) in [
        ("AL", "AL", &["CA", "AA"][..]),
        ("AL", "SU", &["CA", "AA"]),
        ("AL", "ER", &["CA"]),
        ("AL", "NE", &["CA"]),
        ("AL", "", &["CA"]),
        ("SU", "AL", &["CA", "AA"]),
        ("ER", "AL", &["AA"]),
        ("NE", "AL", &["AA"]),
        ("", "AL", &["AA"]),
        ("", "", &["AA"]),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("B{row}");
        let message = frame(asking(&id, "ADT^A08^ADT_A01", accept, application));
        // The second time it is a duplicate, and is answered in the same way.
        for _ in 0..2 {
            client.write(message.clone()).await.unwrap();
            let mut ids = BTreeSet::new();
            for code in expected {
                let ack = client.ack().await.unwrap();
                assert_eq!((ack.code().as_str(), ack.about()), (*code, id.clone()));
                assert!(ids.insert(ack.field("MSH", 10)), "an id of its own");
            }
        }
    }
    let behind = client.exchange(asking("B99", "ADT^A08^ADT_A01", "", ""));
    assert_eq!(behind.await.about(), "B99", "nothing more was sent");
}

/// `always_answer`, the default: where the table says nothing, the sender is told all the same.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_an_ack_gets_one() {
    let server = FhirServer::start().await;
    let gateway = strict(&server, true).await;
    let mut client = gateway.connect().await;
    for (row, (accept, application)) in [("NE", "NE"), ("NE", ""), ("", "NE"), ("ER", "NE")]
        .into_iter()
        .enumerate()
    {
        let id = format!("W{row}");
        let ack = client
            .exchange(asking(&id, "ADT^A08^ADT_A01", accept, application))
            .await;
        assert_eq!((ack.code().as_str(), ack.about()), ("AA", id));
    }
    let ack = client
        .exchange(asking("W9", "ORM^O01^ORM_O01", "NE", "NE"))
        .await;
    assert_eq!(ack.code(), "AR");
}

/// The listener may know better than the message.
#[tokio::test(flavor = "multi_thread")]
async fn the_mode_of_a_listener_wins() {
    for (mode, expected) in [("original", "AA"), ("enhanced", "CA")] {
        let server = FhirServer::start().await;
        let gateway = FhirwayTest::new()
            .destination("fhir", &server)
            .set("listeners.lab.ack.mode", json!(mode))
            .start()
            .await;
        let mut client = gateway.connect().await;
        for (accept, application) in [("", ""), ("AL", "NE"), ("NE", "AL")] {
            let id = format!("{mode}{accept}{application}");
            let ack = client
                .exchange(asking(&id, "ADT^A08^ADT_A01", accept, application))
                .await;
            assert_eq!(ack.code(), expected, "{mode} {accept} {application}");
        }
    }
}

/// AE and AR mean opposite things to different senders (item 10).
#[tokio::test(flavor = "multi_thread")]
async fn profiles_say_what_may_come_again() {
    // profile, begun anew (may come again), no message type of ours (never)
    let profiles = [
        ("interop", Some("AE"), Some("AR")),
        ("intersystems", Some("AR"), Some("AE")),
        ("close_without_ack", None, None),
    ];
    for (profile, retryable, last) in profiles {
        let server = FhirServer::start().await;
        let gateway = FhirwayTest::new()
            .destination("fhir", &server)
            .set("routes.lab.when", json!("MSH-9.1 = ADT"))
            .set("listeners.lab.unrouted", json!("reject"))
            .set("listeners.lab.ack.profile", json!(profile))
            .start()
            .await;
        let cut = frame(asking("C1", "ADT^A08^ADT_A01", "", ""));
        let cut = [&cut[..40], &cut[..]].concat();
        let foreign = frame(asking("C2", "ORM^O01^ORM_O01", "", ""));
        for (bytes, expected) in [(cut, retryable), (foreign, last)] {
            let mut client = gateway.connect().await;
            client.write(bytes).await.unwrap();
            let code = client.ack().await.map(|ack| ack.code());
            assert_eq!(code.as_deref(), expected, "{profile}");
        }
        gateway
            .connect()
            .await
            .send(asking("C3", "ADT^A08^ADT_A01", "", ""))
            .await;
        assert_eq!(gateway.counts("total")["accepted"], 1);
    }
}

/// Item 8: who, about what, in which delimiters and characters.
#[tokio::test(flavor = "multi_thread")]
async fn an_ack_speaks_the_language_of_the_message() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let mut client = gateway.connect().await;
    let message = "MSH|^~\\&|ANA^2.999.1^ISO|NORTH^2.999.2^ISO|FHIRWAY^2.999.3^ISO|SITE^2.999.4^ISO|20260102||ADT^A08^ADT_A01|A 1|T|2.5||||||8859/1\rPID|1||P1\r";
    let ack = client.exchange(message).await;
    let msh = |ack: &Ack, number| ack.field("MSH", number);
    assert_eq!(msh(&ack, 3), "FHIRWAY^2.999.3^ISO");
    assert_eq!(msh(&ack, 4), "SITE^2.999.4^ISO");
    assert_eq!(msh(&ack, 5), "ANA^2.999.1^ISO");
    assert_eq!(msh(&ack, 6), "NORTH^2.999.2^ISO");
    assert!(msh(&ack, 7).ends_with("+0000"), "{}", msh(&ack, 7));
    assert_eq!(msh(&ack, 9), "ACK^A08^ACK");
    assert_eq!(
        (msh(&ack, 11), msh(&ack, 12), msh(&ack, 18)),
        ("T".into(), "2.5".into(), "8859/1".into())
    );
    assert_eq!(ack.about(), "A 1", "byte for byte");
    assert!(ack.0.ends_with(b"\r"));
    let first = msh(&ack, 10);
    assert!(!first.is_empty());

    // Old versions know no ACK^A08^ACK; other delimiters; a control id in another character set.
    let message = b"MSH$*~\\!$ANA$NORTH$FW$SITE$20260102$$ADT*A08$J\xfcrgen$P$2.3\rPID$1$$P1\r";
    let ack = client.exchange(&message[..]).await;
    assert!(
        ack.0.starts_with(b"MSH$*~\\!$FW$SITE$ANA$NORTH$"),
        "{}",
        ack.text()
    );
    assert_eq!(msh(&ack, 9), "ACK");
    assert!(
        ack.0.windows(7).any(|bytes| bytes == b"$J\xfcrgen"),
        "MSA-2 byte for byte"
    );
    assert_ne!(msh(&ack, 10), first, "an id of its own");
}

/// Item 9: up to 2.4 ERR-1, from 2.5 on ERR-2, ERR-3, ERR-4 and a text that says nothing about anybody.
#[tokio::test(flavor = "multi_thread")]
async fn negative_acks_say_what_is_wrong_in_the_way_of_their_version() {
    let server = FhirServer::start().await;
    let gateway = strict(&server, true).await;
    let mut client = gateway.connect().await;
    let message = |version: &str, control_id: &str, kind: &str| {
        format!(
            "MSH|^~\\&|ANA|NORTH|FW|SITE|20260102||{kind}|{control_id}|P|{version}\rPID|1||P1||Ashgrove^Cosima\r"
        )
    };
    let ack = client.exchange(message("2.5.1", "", "ADT^A08")).await;
    assert_eq!((ack.code().as_str(), ack.about().as_str()), ("AE", ""));
    assert_eq!(ack.field("ERR", 2), "MSH^1^10");
    assert_eq!(ack.field("ERR", 3).split('^').next(), Some("101"));
    assert_eq!(ack.field("ERR", 4), "E");
    let ack = client.exchange(message("2.5.1", "E1", "ORM^O01")).await;
    assert_eq!(ack.code(), "AR");
    assert_eq!(ack.field("ERR", 3).split('^').next(), Some("200"));
    let ack = client.exchange(message("2.4", "E2", "ORM^O01")).await;
    assert_eq!(ack.code(), "AR");
    let code = ack.field("ERR", 1);
    assert!(
        code.starts_with("MSH^1^9^") && code.contains("200"),
        "{code}"
    );
    assert_eq!(ack.field("ERR", 3), "");
}

/// Two engines that answered answers would talk for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_ack_is_never_acknowledged() {
    let server = FhirServer::start().await;
    let gateway = strict(&server, true).await;
    let mut client = gateway.connect().await;
    let ack = "MSH|^~\\&|A|B|C|D|20260102||ACK^A08^ACK|K1|P|2.5\rMSA|AA|X\r";
    let code = answer(&mut client, frame(ack), "K1").await;
    assert_eq!(code, "-");
    assert_eq!(
        gateway.counts("total")["accepted"],
        1,
        "the message behind it"
    );
}

/// Reliability tests 2 and 34: the same bytes get the stored ACK, also from the next process and the one after a kill.
#[tokio::test(flavor = "multi_thread")]
async fn a_resend_gets_the_stored_ack_and_has_no_second_effect() {
    let server = FhirServer::start().await;
    let mut gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let message = results("D1", "P1");
    let first = gateway.connect().await.exchange(&message).await;
    assert_eq!(first.code(), "AA");
    for _ in 0..3 {
        assert_eq!(gateway.connect().await.exchange(&message).await, first);
    }
    assert!(gateway.stop().await.success());
    gateway.start().await;
    assert_eq!(gateway.connect().await.exchange(&message).await, first);
    gateway.kill();
    gateway.start().await;
    assert_eq!(gateway.connect().await.exchange(&message).await, first);
    gateway
        .metric_becomes(
            "fhirway_duplicates_total{action=\"replayed_ack\",listener=\"lab\"}",
            |count| count == 1.0,
        )
        .await;
    gateway.drained().await;
    assert_eq!(gateway.counts("total")["accepted"], 1);
    assert_eq!(server.effects(), ["D1"]);
}

/// The same message on sixteen connections at once: sixteen equal ACKs, one effect.
#[tokio::test(flavor = "multi_thread")]
async fn duplicates_that_come_at_once_are_one_message() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    for round in 0..10 {
        let message = results(&format!("R{round}"), "P1");
        let mut at_once = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (mut client, message) = (gateway.connect().await, message.clone());
            at_once.spawn(async move { client.exchange(message).await.0 });
        }
        let answers: BTreeSet<Vec<u8>> = at_once.join_all().await.into_iter().collect();
        assert_eq!(answers.len(), 1);
    }
    gateway.drained().await;
    assert_eq!(server.effects().len(), 10);
}

/// Reliability test 35: a control id that is used again for something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_used_control_id_is_processed_or_refused() {
    for (policy, code, accepted) in [("process", "AA", 2), ("reject", "AR", 1)] {
        let server = FhirServer::start().await;
        let gateway = FhirwayTest::new()
            .destination("fhir", &server)
            .set("queue.reused_control_id", json!(policy))
            .start()
            .await;
        let mut client = gateway.connect().await;
        client.send(update("U1", "P1", "Cosima")).await;
        let ack = client.exchange(update("U1", "P1", "Guinevere")).await;
        assert_eq!(ack.code(), code, "{policy}");
        if policy == "reject" {
            assert_eq!(ack.field("ERR", 3).split('^').next(), Some("205"));
        }
        assert_eq!(gateway.counts("total")["accepted"], accepted, "{policy}");
    }
}

/// The key of a duplicate: another listener, another sender, another message.
#[tokio::test(flavor = "multi_thread")]
async fn control_ids_belong_to_their_sender_and_listener() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set(
            "listeners.second",
            json!({ "type": "mllp", "bind": "127.0.0.1:0" }),
        )
        .start()
        .await;
    let message = update("K1", "P1", "Cosima");
    gateway.connect().await.send(&message).await;
    gateway.connect_to("second").await.send(&message).await;
    gateway
        .connect()
        .await
        .send(message.replace("|ANALYZER|", "|OTHER|"))
        .await;
    gateway
        .connect()
        .await
        .send(message.replace("|NORTHLAB|", "|SOUTHLAB|"))
        .await;
    assert_eq!(gateway.counts("total")["accepted"], 4);
}

fn batch(members: &[String], count: usize) -> String {
    format!(
        "FHS|^~\\&|ANALYZER|NORTHLAB|FHIRWAY|SITE|20260102\rBHS|^~\\&|ANALYZER|NORTHLAB|FHIRWAY|SITE|20260102|||B|B77\r{}BTS|{count}\rFTS|1\r",
        members.concat()
    )
}

/// Item 15: a batch is stored as one and answered in one frame; its members are messages like all others.
#[tokio::test(flavor = "multi_thread")]
async fn batches_are_stored_whole_or_not_at_all() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    let members: Vec<String> = (0..50).map(|n| results(&format!("B{n}"), "P1")).collect();
    let names: Vec<String> = (0..50).map(|n| format!("B{n}")).collect();
    let mut client = gateway.connect().await;

    let wrong = client.exchange(batch(&members, 49)).await;
    assert!(
        wrong.fields("MSA", 1).iter().all(|code| code == "AE"),
        "{}",
        wrong.text()
    );
    assert_eq!(gateway.counts("total")["accepted"], 0);

    let right = client.exchange(batch(&members, 50)).await;
    assert_eq!(right.fields("MSA", 2), names, "{}", right.text());
    assert!(right.fields("MSA", 1).iter().all(|code| code == "AA"));
    assert_eq!(
        (right.fields("BHS", 3), right.fields("BTS", 1)),
        (vec!["FHIRWAY".to_owned()], vec!["50".to_owned()])
    );
    assert_eq!(right.field("BHS", 12), "B77", "which batch it is about");

    let bare = client
        .exchange([update("M1", "P2", "Cosima"), update("M2", "P2", "Cosima")].concat())
        .await;
    assert_eq!(bare.fields("MSA", 2), ["M1", "M2"]);
    gateway.drained().await;
    let arrived: Vec<String> = server
        .effects()
        .into_iter()
        .filter(|id| id.starts_with('B'))
        .collect();
    assert_eq!(arrived, names, "in the order of the batch");
    assert_eq!(server.stored().len(), 52);

    // A member alone is a duplicate of the member in the batch.
    client.send(&members[7]).await;
    assert_eq!(gateway.counts("total")["accepted"], 52);
}
