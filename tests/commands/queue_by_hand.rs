//! `fhirway queue` verbs of a person who puts things right: hold, release, edit, export, import, backup, keys.

use serde_json::{Value, json};

use crate::support::{Answer, Command, Feed, FhirServer, FhirwayTest, Gateway, eventually, update};

async fn started(server: &FhirServer) -> Gateway {
    FhirwayTest::new().destination("fhir", server).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_destination_is_tried_with_one_record_first() {
    let server = FhirServer::start().await;
    let gateway = started(&server).await;
    gateway.queue(&["pause", "fhir"]).expect(0);
    Feed::default().send(&gateway, 5).await;
    let released = gateway.queue_json(&["release", "--first", "1", "--destination", "fhir"]);
    assert_eq!(released, json!({ "released": 1 }));
    server.has_stored(1).await;
    assert_eq!(server.effects(), ["M00000"]);
    // A single record, by its number.
    gateway.queue(&["release", "3"]).expect(0);
    server.has_stored(2).await;
    assert_eq!(server.effects(), ["M00000", "M00002"]);
    gateway.queue(&["resume", "fhir"]).expect(0);
    server.has_stored(5).await;
    gateway.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_waits_until_the_hold_is_taken_away() {
    let server = FhirServer::start().await;
    let gateway = started(&server).await;
    let mut feed = Feed::default();
    feed.send(&gateway, 6).await;
    server.has_stored(6).await;
    let hold = gateway.queue_json(&["hold", "--keys-of", "1", "--reason", "identity is checked"]);
    feed.send(&gateway, 6).await;
    server.has_stored(11).await;
    let status = gateway.queue(&["status"]).expect(0).stdout;
    assert!(
        status.contains("1 ordering key: identity is checked"),
        "{status}"
    );
    let parked = gateway.queue_json(&["list", "--state", "parked"]);
    assert_eq!(parked[0]["reason"], "held");
    let number = hold["hold"].to_string();
    let ran = gateway.queue(&["unhold", &number]).expect(0).stdout;
    assert_eq!(ran, "released: 1\n");
    server.has_stored(12).await;
    feed.arrived(&server);
    let again = gateway.queue(&["unhold", &number]).expect(1);
    assert!(again.stderr.contains("no such"), "{}", again.stderr);
    gateway.queue(&["hold"]).expect(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_message_goes_on_once_and_is_linked_to_the_original() {
    let server = FhirServer::start().await;
    server.answer(|request| match request.control_id.as_str() {
        "C1" if !request.bundle.to_string().contains("Corrected") => Answer::status(422),
        _ => Answer::Store,
    });
    let mut gateway = started(&server).await;
    let text = update("C1", "P1", "Wrong");
    gateway.connect().await.send(text.clone()).await;
    gateway.drained().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("corrected.hl7");
    std::fs::write(
        &file,
        text.replace("Wrong", "Corrected").replace('\r', "\n"),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let made = gateway.queue_json(&["edit", "1", file]);
    assert_eq!(made, json!({ "edited": 1, "record": 2 }));
    server.has_stored(1).await;
    assert_eq!(
        gateway.queue_json(&["edit", "1", file]),
        made,
        "done once, however often it is sent"
    );
    let shown = gateway.queue_json(&["show", "1"]);
    assert_eq!(shown["edited_as"], json!([2]));
    assert_eq!(gateway.queue_json(&["show", "2"])["edit_of"], 1);
    let audit = gateway.queue(&["audit"]).expect(0).stdout;
    assert!(audit.contains("edit") && audit.contains("view") || audit.contains("export"));
    assert!(!audit.contains("Corrected") && !audit.contains("Ashgrove"));

    // Two messages are not one correction; what was not changed is not sent.
    let two = folder.path().join("two.hl7");
    std::fs::write(&two, format!("{text}{text}")).unwrap();
    let refused = gateway
        .queue(&["edit", "1", two.to_str().unwrap()])
        .expect(1);
    assert!(
        refused.stderr.contains("exactly one message"),
        "{}",
        refused.stderr
    );
    let config = gateway.config();
    assert!(gateway.stop().await.success());
    let edit = |editor: &str| {
        Command::new(["queue", "edit", "1", "--config"])
            .arg(&config)
            .env("EDITOR", editor)
            .env("VISUAL", "")
            .run()
    };
    let same = edit("true").expect(0);
    assert!(same.stdout.contains("nothing was changed"), "{same:?}");
    let made = edit("sed -i s/Wrong/Again/").expect(0);
    assert_eq!(made.stdout, "record 3 is on its way in place of record 1\n");
    let failed = edit("false").expect(1);
    assert!(failed.stderr.contains("nothing was sent"), "{failed:?}");
    edit("/no/such/editor").expect(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_can_be_imported_elsewhere_and_twice_is_once() {
    let server = FhirServer::start().await;
    let gateway = started(&server).await;
    let mut feed = Feed::default();
    feed.send(&gateway, 12).await;
    server.has_stored(12).await;
    let folder = tempfile::tempdir().unwrap();
    for shape in ["plain", "mllp", "batch", "ndjson"] {
        let file = folder.path().join(shape);
        let file = file.to_str().unwrap();
        let export = ["export", "--since", "1h", "--as", shape, "--output", file];
        let told = gateway.queue(&export).expect(0).stdout;
        assert_eq!(told, "12 messages exported\n");
        gateway.queue(&export).expect(2);

        let second = FhirServer::start().await;
        let other = started(&second).await;
        let said = other.queue_json(&["import", file]);
        assert_eq!((&said["stored"], &said["refused"]), (&json!(12), &json!(0)));
        second.has_stored(12).await;
        feed.arrived(&second);
        let said = other.queue_json(&["import", file]);
        assert_eq!(
            (&said["stored"], &said["duplicates"]),
            (&json!(0), &json!(12)),
            "{shape}"
        );
    }
    // One record to standard output, as it came in; and something that is no message.
    let one = gateway.queue(&["export", "2"]).expect(0).stdout;
    assert!(one.starts_with("MSH|") && one.matches("MSH|").count() == 1);
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "PID|1||P1\r").unwrap();
    let refused = gateway
        .queue(&["import", wrong.to_str().unwrap()])
        .expect(2);
    assert!(refused.stderr.contains("no message"), "{refused:?}");
    std::fs::write(&wrong, "MSH|^~\\&|LAB|NORTH|||20260101||ADT^A08||P|2.5.1\r").unwrap();
    let refused = gateway
        .queue(&["import", wrong.to_str().unwrap()])
        .expect(1);
    assert!(refused.stdout.contains("MSH-10 is empty"), "{refused:?}");
    let nobody = gateway
        .queue(&["import", "--listener", "adt", wrong.to_str().unwrap()])
        .expect(1);
    assert!(nobody.stderr.contains("known: lab"), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_queue_needs_its_key_rotates_it_and_is_copied_while_it_works() {
    let server = FhirServer::away().await;
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str, digit: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, digit.repeat(64) + "\n").unwrap();
        json!({ "file": file })
    };
    let (old, new) = (key("old", "1"), key("new", "2"));
    let mut gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .set("queue.encryption", json!({ "keys": [old] }))
        .start()
        .await;
    Feed::default().send(&gateway, 12).await;
    let queue = gateway.data().join("queue");
    for file in std::fs::read_dir(&queue).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"Ashgrove"));
    }
    let export = gateway.queue(&["export", "1"]).expect(0).stdout;
    assert!(export.contains("Ashgrove"), "who may read it can");
    let copy = folder.path().join("copy.db");
    let copy = copy.to_str().unwrap();
    let told: Value = gateway.queue_json(&["backup", copy]);
    assert_eq!(told["records"], 12);
    gateway.queue(&["backup", copy]).expect(1);
    let sound = gateway.queue(&["fsck", "--payloads"]).expect(0).stdout;
    assert!(sound.contains("nothing is wrong"), "{sound}");
    assert!(gateway.stop().await.success());

    gateway.set("queue.encryption", json!({ "keys": [new] }));
    let config = gateway.config();
    let refused = Command::new(["serve", "--config"])
        .arg(&config)
        .run()
        .expect(1);
    assert!(
        refused.stderr.contains("needs the encryption key"),
        "{refused:?}"
    );
    gateway.set("queue.encryption", json!({ "keys": [new, old] }));
    gateway.start().await;
    let told = gateway.queue_json(&["reencrypt"]);
    assert_eq!(told, json!({ "reencrypted": 12 }));
    assert!(gateway.stop().await.success());
    gateway.set("queue.encryption", json!({ "keys": [new] }));
    server.come_back();
    gateway.start().await;
    eventually("all are stored", async || {
        (server.stored().len() == 12).then_some(())
    })
    .await;
}
