//! Nothing of a message leaves by a side door: canaries in every field, good and bad paths, everything logged.
//!
//! What is looked at: the log at `trace`, metrics, ACKs, reports, and what commands say on standard error. What may
//! show content: Bundles, `queue show --payload`, and the fields that an ACK must repeat.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::fs;

use serde_json::json;
use support::{Ack, Answer, Command, FhirServer, FhirwayTest, Gateway, eventually, frame};

/// Part of every text that could be about somebody. Letters only, so that no escaping hides it.
const CANARY: &str = "QXCANARYXQ";

#[track_caller]
fn silent(what: &str, text: &str) {
    // Whatever changes the case of a text must not hide it.
    if let Some(at) = text.to_uppercase().find(CANARY) {
        let from = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let line = text[from..].lines().next().unwrap_or_default();
        panic!("{what} shows content: {line}");
    }
}

/// A segment in which every field but those given is a canary with components, subcomponents and a repetition.
fn segment(name: &str, fields: usize, given: &[(usize, &str)]) -> String {
    let mut text = name.to_owned();
    for number in 1..=fields {
        let value = given.iter().find(|(field, _)| *field == number);
        match value {
            Some((_, value)) => text.push_str(&format!("|{}", value.replace('@', CANARY))),
            None => text.push_str(&format!(
                "|{CANARY}{number}^{CANARY}^{CANARY}&{CANARY}~{CANARY}^^\\X41\\{CANARY}"
            )),
        }
    }
    text + "\r"
}

fn header(message_type: &str, control_id: &str) -> String {
    format!(
        "MSH|^~\\&|{CANARY}A^{CANARY}|{CANARY}B|{CANARY}C|{CANARY}D|20260102030405+0000|{CANARY}|{message_type}|{CANARY}{control_id}|P|2.5.1|||||||{CANARY}\r"
    )
}

/// Texts are canaries, the rest is as it should be: the whole way is taken.
fn plausible(message_type: &str, control_id: &str) -> String {
    let patient: &[(usize, &str)] = &[
        (1, "1"),
        (3, "@7^^^@&2.999.1&ISO^MR"),
        (5, "@^@^@"),
        (7, "19500101"),
        (8, "F"),
        (11, "@^@^@^@^99999"),
        (13, "@^PRN^PH^@"),
    ];
    let mut text = header(message_type, control_id);
    text += &segment("PID", 13, patient);
    if message_type.starts_with("ADT") {
        text += &segment(
            "PV1",
            7,
            &[(1, "1"), (2, "I"), (3, "@^@^@"), (4, ""), (5, ""), (6, "")],
        );
        text += &segment("AL1", 5, &[(1, "1"), (2, "DA"), (4, "SV")]);
        text += &segment("NK1", 5, &[(1, "1"), (3, "SPO"), (5, "@^PRN^PH")]);
    } else {
        let order: &[(usize, &str)] = &[(1, "RE"), (2, "@P"), (3, "@F"), (4, ""), (5, "")];
        text += &segment("ORC", 5, order);
        text += &segment(
            "OBR",
            4,
            &[(1, "1"), (2, "@P"), (3, "@F"), (4, "58410-2^@^LN")],
        );
        let result: &[(usize, &str)] = &[
            (1, "1"),
            (2, "ST"),
            (3, "718-7^@^LN"),
            (4, ""),
            (5, "@"),
            (6, ""),
            (7, "@"),
            (8, "N"),
            (9, ""),
            (10, ""),
            (11, "F"),
        ];
        text += &segment("OBX", 11, result);
        text += &segment("NTE", 3, &[(1, "1"), (2, "L")]);
    }
    text
}

/// Every field is a canary, so that dates, codes, numbers and types are all wrong.
fn nonsense(message_type: &str, control_id: &str) -> String {
    let mut text = header(message_type, control_id);
    let segments: &[(&str, usize)] = if message_type.starts_with("ADT") {
        &[
            ("SFT", 6),
            ("EVN", 7),
            ("PID", 39),
            ("PD1", 21),
            ("ROL", 12),
            ("NK1", 39),
            ("PV1", 52),
            ("PV2", 49),
            ("OBX", 19),
            ("AL1", 6),
            ("DG1", 21),
            ("PR1", 20),
            ("IN1", 53),
            ("ZPI", 9),
        ]
    } else {
        &[
            ("SFT", 6),
            ("PID", 39),
            ("PD1", 21),
            ("NTE", 4),
            ("PV1", 52),
            ("ORC", 30),
            ("OBR", 49),
            ("TQ1", 14),
            ("OBX", 19),
            ("NTE", 4),
            ("SPM", 29),
            ("ZLB", 9),
        ]
    };
    for (name, fields) in segments {
        text += &segment(name, *fields, &[]);
    }
    for value_type in ["NM", "DT", "TM", "TS", "SN", "CE", "ED", "RP", "XX", "ZZZ"] {
        text += &segment("OBX", 11, &[(2, value_type)]);
    }
    // Escapes that are none, and bytes that are no character.
    text + &format!("NTE|1|L|\\{CANARY}\\ \\Z{CANARY}\\ \\X4{CANARY}\\\rPID|{CANARY}\r{CANARY}\r")
}

fn everything() -> Vec<String> {
    let types = [
        "ADT^A01^ADT_A01",
        "ADT^A03^ADT_A03",
        "ADT^A08^ADT_A01",
        "ORU^R01^ORU_R01",
        "MDM^T02^MDM_T02",
    ];
    let mut messages = Vec::new();
    for (number, message_type) in types.iter().enumerate() {
        messages.push(plausible(message_type, &format!("G{number}")));
        messages.push(nonsense(message_type, &format!("N{number}")));
    }
    messages.push(plausible(&format!("{CANARY}^{CANARY}"), "T1"));
    messages
}

/// An ACK repeats MSH-3 to MSH-6, MSH-10, MSH-18 and the event of the message, and nothing else.
#[track_caller]
fn silent_ack(ack: &Ack) {
    for line in ack.text().lines() {
        let (name, repeated): (&str, &[usize]) = match &line[..3] {
            "MSH" => ("MSH", &[2, 3, 4, 5, 8, 17]),
            "BHS" | "FHS" => ("BHS", &[2, 3, 4, 5, 11]),
            "MSA" => ("MSA", &[2]),
            _ => ("", &[]),
        };
        for (index, field) in line.split('|').enumerate() {
            if !repeated.contains(&index) {
                silent(&format!("an ack, {name} field {index}"), field);
            }
        }
    }
}

/// Everything that the gateway shows of itself.
async fn silent_gateway(gateway: &Gateway) {
    silent("the log", &gateway.log());
    silent("the metrics", &gateway.get("admin", "/metrics").await.1);
    for arguments in [
        &["status"][..],
        &["list"],
        &["dead-letters"],
        &["check", "--payloads"],
    ] {
        let ran = gateway.queue(arguments);
        // The type of a message is told, also one that does not exist.
        let text = (ran.stdout + &ran.stderr).replace(&format!("{CANARY}_{CANARY}"), "");
        silent(&format!("queue {arguments:?}"), &text);
    }
}

async fn talkative(server: &FhirServer) -> FhirwayTest {
    FhirwayTest::new()
        .destination("fhir", server)
        .env("RUST_LOG", "trace")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_good_path_says_nothing() {
    let server = FhirServer::start().await;
    let gateway = talkative(&server)
        .await
        .set("destinations.repository", json!({ "url": "embedded" }))
        .set("routes.lab.destinations", json!(["fhir", "repository"]))
        .set("repository.bind", json!("127.0.0.1:0"))
        .start()
        .await;
    let mut client = gateway.connect().await;
    for message in everything() {
        // Twice: a duplicate is looked up by what the message says.
        for _ in 0..2 {
            let ack = client.exchange(&message).await;
            assert_eq!(ack.code(), "AA");
            silent_ack(&ack);
        }
        let again = message.replacen("|P|2.5.1", "|P|2.5", 1);
        silent_ack(&client.exchange(again).await);
    }
    gateway.drained().await;
    let delivered = gateway.counts("fhir")["delivered"];
    assert!(delivered > 0);
    assert!(
        server
            .requests()
            .iter()
            .any(|request| request.bundle.to_string().contains(CANARY)),
        "the canaries did not take the whole way"
    );
    assert!(
        gateway.log().contains("\"DEBUG\""),
        "the log is not talkative"
    );
    silent_gateway(&gateway).await;
    let show = gateway.queue(&["show", "1"]).expect(0).stdout;
    // MSH-10 and the sender are there to be found again; the content is not.
    for line in show.lines() {
        if !line.starts_with("control_id") && !line.starts_with("sender") {
            silent("queue show", line);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_by_the_server_say_nothing() {
    let server = FhirServer::start().await;
    let gateway = talkative(&server)
        .await
        .set("destinations.fhir.timeout", json!("300ms"))
        .set("destinations.fhir.retry.conflicts", json!(1))
        .start()
        .await;
    // Whatever happens to a message first, it ends as refused or as a conflict.
    server.answer(
        |request| match (request.control_id.chars().last(), request.earlier) {
            (Some('0'), 0) => Answer::Hang,
            (Some('1'), 0..4) => Answer::Cut,
            (Some('2'), 0..4) => Answer::status(500),
            (last, _) => Answer::Refuse {
                status: if last == Some('3') { 409 } else { 400 },
                headers: vec![("x-debug", format!("{CANARY} in a header"))],
                code: "invalid",
                diagnostics: format!("Patient {CANARY} is known already"),
            },
        },
    );
    let mut client = gateway.connect().await;
    for message in everything() {
        silent_ack(&client.exchange(message).await);
    }
    // Two patients take turns; whatever is parked on the way is given up.
    eventually("nothing is open", async || {
        gateway
            .queue(&["release", "--state", "parked", "--give-up", "test"])
            .expect(0);
        let counts = gateway.counts("fhir");
        (counts["dead"] + counts["delivered"] == counts["accepted"]).then_some(())
    })
    .await;
    for event in ["dead_lettered", "key_parked", "delivery_put_off"] {
        assert!(gateway.log().contains(event), "{event} did not happen");
    }
    for record in 1..=4 {
        let ran = gateway.queue(&["show", &record.to_string()]).expect(0);
        let (_, deliveries) = ran.stdout.split_once("\n\n").unwrap();
        silent("the reason of a dead letter", deliveries);
    }
    silent_gateway(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_accepted_says_nothing() {
    let server = FhirServer::start().await;
    let gateway = talkative(&server)
        .await
        .set("listeners.lab.frame_bytes", json!("16KiB"))
        .set("listeners.lab.unrouted", json!("reject"))
        .set("queue.reused_control_id", json!("reject"))
        .set(
            "routes.lab.when",
            json!("MSH-9.1 = ADT and PID-5.1 contains QXCANARYXQ"),
        )
        .start()
        .await;
    let good = plausible("ADT^A08^ADT_A01", "1");
    let whole = frame(&good);
    let payloads: Vec<Vec<u8>> = vec![
        frame(CANARY),
        frame(format!("PID|1||{CANARY}")),
        frame(good.replace(&format!("|{CANARY}1|P|"), "||P|")),
        frame(plausible("ORU^R01^ORU_R01", "2")),
        frame(&good),
        frame(good.replace("19500101", "19500102")),
        frame(format!(
            "FHS|^~\\&|{CANARY}\rBHS|^~\\&|{CANARY}|||||||{CANARY}|{CANARY}\r{good}BTS|7|{CANARY}\rFTS|1\r"
        )),
        frame(header("ACK^A08^ACK", "3") + &format!("MSA|AA|{CANARY}|{CANARY}\r")),
        [&whole[..60], &whole[..]].concat(),
        frame(good.clone() + &format!("NTE|1|L|{}\r", CANARY.repeat(4000))),
        whole[..whole.len() / 2].to_vec(),
        format!("GET /{CANARY} HTTP/1.1\r\nHost: {CANARY}\r\n\r\n").into_bytes(),
        [&whole[..], CANARY.as_bytes()].concat(),
    ];
    for payload in payloads {
        let mut client = gateway.connect().await;
        // The other end may close before it has read all.
        let _ = client.write(&payload).await;
        client.end().await;
        while let Some(ack) = client.ack().await {
            silent_ack(&ack);
        }
    }
    gateway.drained().await;
    assert_eq!(gateway.counts("total")["accepted"], 1);
    for event in ["unusable_message", "negative_ack", "frame_error"] {
        assert!(
            gateway.log().contains(event) || gateway.log().contains("held_back"),
            "{event} did not happen"
        );
    }
    silent_gateway(&gateway).await;
}

#[test]
fn commands_say_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut text = everything();
    text.push(format!("{CANARY}|^~\\&|{CANARY}\r"));
    text.push("MSH|^~\\&\r".to_owned() + CANARY);
    for (number, message) in text.iter().enumerate() {
        fs::write(folder.path().join(format!("{number:02}.hl7")), message).unwrap();
    }
    for validate in ["off", "warn", "enforce"] {
        let ran = Command::new([
            "convert",
            "--ndjson",
            "--report",
            "report",
            "--validate",
            validate,
            ".",
        ])
        .folder(folder.path())
        .env("RUST_LOG", "trace")
        .run()
        .expect(1);
        silent("convert, standard error", &ran.stderr);
        silent(
            "the report",
            &fs::read_to_string(folder.path().join("report")).unwrap(),
        );
        let outcomes: Vec<&str> = ran
            .stdout
            .lines()
            .filter(|line| line.contains("OperationOutcome"))
            .collect();
        assert!(!outcomes.is_empty());
        silent("an OperationOutcome", &outcomes.join("\n"));
        assert!(ran.stdout.contains(CANARY), "Bundles have the content");
    }
    // Nobody listens there, and what is sent is not told.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ran = Command::new(["send", "--to", &port.to_string(), "."])
        .folder(folder.path())
        .env("RUST_LOG", "trace")
        .run()
        .expect(1);
    silent("send", &(ran.stdout + &ran.stderr));
}
