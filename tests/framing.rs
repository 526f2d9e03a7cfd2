//! MLLP as it comes (section 2.1): what is read, what is refused, and that it harms nobody else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;

use serde_json::json;
use support::{FhirServer, FhirwayTest, Gateway, MllpClient, eventually, frame, results, update};

async fn gateway(server: &FhirServer) -> Gateway {
    FhirwayTest::new().destination("fhir", server).start().await
}

fn warning(name: &str) -> String {
    format!("fhirway_mllp_frame_warnings_total{{listener=\"lab\",warning=\"{name}\"}}")
}

fn error(reason: &str) -> String {
    format!("fhirway_mllp_frame_errors_total{{listener=\"lab\",reason=\"{reason}\"}}")
}

/// Answers that must come, in order.
async fn acknowledged(client: &mut MllpClient, control_ids: &[&str]) {
    for control_id in control_ids {
        let ack = client.ack().await.expect("an ack");
        assert_eq!(
            (ack.code().as_str(), ack.about().as_str()),
            ("AA", *control_id)
        );
    }
}

/// Reliability test 32: the pieces that TCP makes are nobody's business.
#[tokio::test(flavor = "multi_thread")]
async fn frames_come_in_pieces_and_in_heaps() {
    let server = FhirServer::start().await;
    let gateway = gateway(&server).await;
    let mut client = gateway.connect().await;
    for byte in frame(update("C1", "P1", "Cosima")) {
        client.write([byte]).await.unwrap();
    }
    acknowledged(&mut client, &["C1"]).await;

    let names: Vec<String> = (0..100).map(|n| format!("H{n}")).collect();
    let heap: Vec<u8> = names
        .iter()
        .flat_map(|name| frame(results(name, "P1")))
        .collect();
    client.write(heap).await.unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    acknowledged(&mut client, &names).await;

    server.has_stored(101).await;
    let expected: Vec<&str> = std::iter::once("C1").chain(names).collect();
    assert_eq!(server.effects(), expected);
}

/// Each tolerance of the table: read by default, counted by name.
#[tokio::test(flavor = "multi_thread")]
async fn deviations_are_read_and_counted() {
    let server = FhirServer::start().await;
    let gateway = gateway(&server).await;
    let whole = |name: &str| frame(update(name, "P1", "Cosima"));
    let without_cr = |name: &str| {
        let mut bytes = whole(name);
        bytes.pop();
        bytes
    };
    let cases: [(&str, Vec<u8>, &[&str]); 6] = [
        (
            "fs_without_cr",
            [without_cr("A1"), whole("A2")].concat(),
            &["A1", "A2"],
        ),
        (
            "lf_after_fs",
            [without_cr("B1"), b"\n".to_vec(), whole("B2")].concat(),
            &["B1", "B2"],
        ),
        (
            "lf_after_fs",
            [whole("C1"), b"\n".to_vec(), whole("C2")].concat(),
            &["C1", "C2"],
        ),
        (
            "leading_whitespace",
            [b" \r\n".to_vec(), whole("D1")].concat(),
            &["D1"],
        ),
        (
            "noise_between_frames",
            [whole("E1"), b"\0\0 \0".to_vec(), whole("E2")].concat(),
            &["E1", "E2"],
        ),
        ("empty_payload", [frame(""), whole("F1")].concat(), &["F1"]),
    ];
    let mut sent = BTreeSet::new();
    for (name, bytes, control_ids) in cases {
        let before = gateway.metric(&warning(name)).await;
        let mut client = gateway.connect().await;
        client.write(bytes).await.unwrap();
        acknowledged(&mut client, control_ids).await;
        gateway
            .metric_becomes(&warning(name), |count| count > before)
            .await;
        sent.extend(control_ids.iter().map(|name| (*name).to_owned()));
    }
    // The end of the connection ends a frame whose CR is missing.
    let mut client = gateway.connect().await;
    client.write(without_cr("G1")).await.unwrap();
    client.end().await;
    acknowledged(&mut client, &["G1"]).await;
    client.expect_closed().await;
    sent.insert("G1".to_owned());
    gateway.drained().await;
    assert_eq!(server.stored(), sent);
}

/// What is not tolerated ends the connection; what came before it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn tolerances_can_be_switched() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("listeners.lab.tolerate.lf_after_fs", json!(false))
        .set("listeners.lab.tolerate.fs_without_cr", json!(false))
        .set("listeners.lab.tolerate.missing_leading_vt", json!(true))
        .start()
        .await;
    let mut client = gateway.connect().await;
    client
        .write(frame(update("A1", "P1", "Cosima")))
        .await
        .unwrap();
    acknowledged(&mut client, &["A1"]).await;
    let mut bytes = frame(update("A2", "P1", "Cosima"));
    *bytes.last_mut().unwrap() = b'\n';
    client.write(bytes).await.unwrap();
    client.expect_closed().await;

    let mut client = gateway.connect().await;
    client
        .write(&frame(update("A3", "P1", "Cosima"))[1..])
        .await
        .unwrap();
    acknowledged(&mut client, &["A3"]).await;
    gateway.drained().await;
    assert_eq!(server.effects(), ["A1", "A3"]);
}

/// Reliability test 31: half a message is no message, wherever it is cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_cut_anywhere_is_never_stored() {
    let server = FhirServer::start().await;
    let gateway = gateway(&server).await;
    let whole = frame(update("C1", "P1", "Cosima"));
    // Without its last two bytes, FS and CR, it is not whole.
    for cut in 0..whole.len() - 1 {
        let mut client = gateway.connect().await;
        client.write(&whole[..cut]).await.unwrap();
        client.end().await;
        client.expect_closed().await;
    }
    assert_eq!(gateway.counts("total")["accepted"], 0);
    gateway
        .metric_becomes(&error("truncated"), |count| count > 100.0)
        .await;
    gateway
        .connect()
        .await
        .send(update("C1", "P1", "Cosima"))
        .await;
    gateway.drained().await;
    assert_eq!(server.effects(), ["C1"]);
}

/// A second VT: the sender began anew. The message is refused, so that it comes again, whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_begins_anew_is_never_accepted() {
    let server = FhirServer::start().await;
    let gateway = gateway(&server).await;
    let whole = frame(update("C1", "P1", "Cosima"));
    let mut client = gateway.connect().await;
    client
        .write([&whole[..60], &whole[..]].concat())
        .await
        .unwrap();
    let ack = client.ack().await.unwrap();
    assert_eq!((ack.code().as_str(), ack.about().as_str()), ("AE", "C1"));
    assert_eq!(gateway.counts("total")["accepted"], 0);
    gateway
        .metric_becomes(&warning("second_vt"), |count| count == 1.0)
        .await;
    // The connection is as good as before.
    client.send(update("C1", "P1", "Cosima")).await;
}

/// Reliability test 30: one byte too much, and no end at all.
#[tokio::test(flavor = "multi_thread")]
async fn oversized_frames_are_refused_and_harm_nobody() {
    const LIMIT: usize = 4096;
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("listeners.lab.frame_bytes", json!("4KiB"))
        .start()
        .await;
    let sized = |control_id: &str, size: usize| {
        let mut text = update(control_id, "P1", "Cosima");
        text.push_str("NTE|1||");
        text.push_str(&"x".repeat(size - text.len() - 1));
        text.push('\r');
        assert_eq!(text.len(), size);
        text
    };
    let mut other = gateway.connect().await;
    other.send(update("O1", "P2", "Cosima")).await;

    let mut client = gateway.connect().await;
    client.send(sized("S1", LIMIT)).await;
    let ack = client.exchange(sized("S2", LIMIT + 1)).await;
    assert_eq!((ack.code().as_str(), ack.about().as_str()), ("AR", "S2"));
    assert!(
        ack.text().contains("larger than the limit"),
        "{}",
        ack.text()
    );
    client.expect_closed().await;

    let mut endless = gateway.connect().await;
    let bytes = frame(sized("S3", 40 * LIMIT));
    // The other end stops reading, so this may well fail.
    let _ = endless.write(&bytes[..bytes.len() - 2]).await;
    let ack = endless.ack().await.expect("an answer before the end");
    assert_eq!((ack.code().as_str(), ack.about().as_str()), ("AR", "S3"));
    endless.expect_closed().await;

    other.send(update("O2", "P2", "Cosima")).await;
    gateway
        .metric_becomes(&error("oversize"), |count| count == 2.0)
        .await;
    gateway.drained().await;
    assert_eq!(
        server.stored(),
        ["O1", "O2", "S1"].map(str::to_owned).into()
    );
}

/// Reliability test 27: who sends too slowly is cut off, while others are served.
#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_cut_off_while_others_go_on() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("listeners.lab.frame_timeout", json!("400ms"))
        .start()
        .await;
    let half = frame(update("S1", "P1", "Cosima"));
    let half = &half[..half.len() / 2];
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = gateway.connect().await;
        client.write(half).await.unwrap();
        slow.push(client);
    }
    let mut good = gateway.connect().await;
    for n in 0..50 {
        good.send(results(&format!("G{n}"), "P2")).await;
    }
    for client in slow {
        client.expect_closed().await;
    }
    good.send(results("G50", "P2")).await;
    gateway
        .metric_becomes(&error("timeout"), |count| count == 20.0)
        .await;
    assert_eq!(gateway.counts("total")["accepted"], 51);
}

/// Reliability test 33: browsers, scanners and TLS clients on a plain port.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_mllp_is_shown_the_door() {
    let server = FhirServer::start().await;
    let gateway = gateway(&server).await;
    let mut good = gateway.connect().await;
    let foreign: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
        b"POST /fhir HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-scanner\r\n",
        &[0xff; 500],
    ];
    for bytes in foreign {
        let mut client = gateway.connect().await;
        client.write(bytes).await.unwrap();
        client.expect_closed().await;
        good.send(update(&format!("G{}", bytes.len()), "P1", "Cosima"))
            .await;
    }
    gateway
        .metric_becomes(&error("not_mllp"), |count| count >= 3.0)
        .await;
    assert_eq!(gateway.counts("total")["accepted"], 5);
}

/// Frames that are no messages: refused without harm to the connection.
#[tokio::test(flavor = "multi_thread")]
async fn frames_without_a_message_get_a_negative_ack() {
    let server = FhirServer::start().await;
    let gateway = gateway(&server).await;
    let mut client = gateway.connect().await;
    for payload in [
        &b"hello"[..],
        b"<xml/>",
        &[0x80; 300],
        b"PID|1||P1\r",
        b"MSH",
    ] {
        let ack = client.exchange(payload).await;
        assert_eq!(ack.code(), "AR", "{}", ack.text());
        assert_eq!(ack.about(), "");
    }
    client.send(update("C1", "P1", "Cosima")).await;
    assert_eq!(gateway.counts("total")["accepted"], 1);
}

/// Reliability test 28, in small: a limit holds, and a place that is free again is given again.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_only_so_many_connections() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("listeners.lab.connections_per_address", json!(3))
        .start()
        .await;
    let mut clients = Vec::new();
    for n in 0..3 {
        let mut client = gateway.connect().await;
        client.send(update(&format!("A{n}"), "P1", "Cosima")).await;
        clients.push(client);
    }
    for _ in 0..10 {
        gateway.connect().await.expect_closed().await;
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(update(&format!("B{n}"), "P1", "Cosima")).await;
    }
    drop(clients.pop());
    let message = update("C1", "P1", "Cosima");
    let ack = eventually("a place is free again", async || {
        let mut client = gateway.connect().await;
        client.try_exchange(&message).await.ok()
    })
    .await;
    assert_eq!(ack.code(), "AA");
}

/// Reliability test 29: out of file descriptors, the listener waits, and goes on when there are some again.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_out_of_sockets_survives() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("listeners.lab.connections", json!(1000))
        .set("listeners.lab.connections_per_address", json!(1000))
        .open_files(64)
        .start()
        .await;
    let mut first = gateway.connect().await;
    first.send(update("A1", "P1", "Cosima")).await;
    let mut many = Vec::new();
    for _ in 0..100 {
        // The system completes these; the process cannot accept them all.
        many.push(gateway.connect().await);
    }
    eventually("accepting fails", async || {
        gateway.log().contains("accept_error").then_some(())
    })
    .await;
    first.send(update("A2", "P1", "Cosima")).await;
    drop(many);
    let message = update("A3", "P1", "Cosima");
    eventually("connections are accepted again", async || {
        let mut client = gateway.connect().await;
        client.try_exchange(&message).await.ok()
    })
    .await;
    gateway.drained().await;
    assert_eq!(
        server.stored(),
        ["A1", "A2", "A3"].map(str::to_owned).into()
    );
}

/// Reliability test 36: gone before the ACK. The message is stored, and its resend is a duplicate.
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_before_the_ack_loses_nothing() {
    let server = FhirServer::start().await;
    let gateway = gateway(&server).await;
    for n in 0..20 {
        let mut client = gateway.connect().await;
        client
            .write(frame(results(&format!("L{n}"), "P1")))
            .await
            .unwrap();
        drop(client);
    }
    server.has_stored(20).await;
    let mut client = gateway.connect().await;
    for n in 0..20 {
        client.send(results(&format!("L{n}"), "P1")).await;
    }
    gateway.drained().await;
    assert_eq!(gateway.counts("total")["accepted"], 20);
    assert_eq!(server.effects().len(), 20);
}

/// MLLP release 2: the commit answer comes before the ACK, and only after the store.
#[tokio::test(flavor = "multi_thread")]
async fn release_2_commits_before_it_acknowledges() {
    let server = FhirServer::start().await;
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("listeners.lab.commit_bytes", json!(true))
        .start()
        .await;
    let mut client = gateway.connect().await;
    client
        .write(frame(update("C1", "P1", "Cosima")))
        .await
        .unwrap();
    assert_eq!(client.frame().await.unwrap(), [0x06]);
    acknowledged(&mut client, &["C1"]).await;
    client.write(frame("no message")).await.unwrap();
    assert_eq!(client.frame().await.unwrap(), [0x15]);
    assert_eq!(gateway.counts("total")["accepted"], 1);
}
