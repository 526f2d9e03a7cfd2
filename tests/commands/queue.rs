//! `fhirway queue`: look and put right, with and without a running gateway.

use crate::support::{Answer, Command, Feed, FhirServer, FhirwayTest, Gateway, eventually, update};

/// Ten messages delivered, two about one patient given up.
async fn used() -> (FhirServer, Gateway) {
    let server = FhirServer::start().await;
    server.answer(|request| match request.control_id.as_str() {
        "M00003" | "M00009" => Answer::status(422),
        _ => Answer::Store,
    });
    let gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    Feed::default().send(&gateway, 12).await;
    gateway.drained().await;
    (server, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_the_same_with_and_without_a_gateway() {
    let (_server, mut gateway) = used().await;
    let questions: [&[&str]; 6] = [
        &["list"],
        &["list", "--state", "dead"],
        &[
            "list",
            "--message-type",
            "ADT_A08",
            "--listener",
            "lab",
            "--since",
            "1h",
        ],
        &["dead-letters"],
        &["show", "4"],
        &["show", "4", "--payload"],
    ];
    let ask = |gateway: &Gateway| -> Vec<String> {
        let answers = questions
            .iter()
            .map(|question| gateway.queue(question).expect(0).stdout);
        answers.collect()
    };
    let running = ask(&gateway);
    let status = gateway.queue(&["status"]).expect(0).stdout;
    assert!(gateway.stop().await.success());
    assert_eq!(ask(&gateway), running);
    assert_eq!(gateway.queue(&["status"]).expect(0).stdout, status);

    assert!(status.contains("the sums are right"), "{status}");
    let lines = |text: &str| text.lines().count() - 1;
    assert_eq!(
        running
            .iter()
            .take(4)
            .map(|text| lines(text))
            .collect::<Vec<_>>(),
        [12, 2, 4, 2]
    );
    assert!(running[3].contains("permanent"), "{}", running[3]);
    assert!(running[4].contains("status 422"), "{}", running[4]);
    assert!(
        !running[4].contains("Ashgrove"),
        "no content unless it is asked for"
    );
    assert!(running[5].contains("Ashgrove"), "{}", running[5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages_and_json() {
    let (_server, gateway) = used().await;
    let mut seen = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let page = gateway.queue_json(&["list", "--limit", "5", "--after", &after]);
        let page = page.as_array().unwrap();
        assert!(page.len() <= 5);
        let Some(last) = page.last() else { break };
        after = last["record"].to_string();
        seen.extend(page.iter().map(|each| each["record"].as_u64().unwrap()));
    }
    assert_eq!(seen, (1..=12).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_replayed_in_order() {
    let (server, gateway) = used().await;
    server.answer(|_| Answer::Store);
    let dry = gateway
        .queue(&["replay", "--state", "dead", "--dry-run"])
        .expect(0);
    assert!(
        dry.stdout.starts_with("2 would be delivered again"),
        "{}",
        dry.stdout
    );
    let ran = gateway.queue(&["replay", "--state", "dead"]).expect(0);
    assert!(
        ran.stdout.starts_with("2 are delivered again"),
        "{}",
        ran.stdout
    );
    server.has_stored(12).await;
    let effects = server.effects();
    assert_eq!(effects[10..], ["M00003", "M00009"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_destination_stays_paused_over_a_restart() {
    let (server, mut gateway) = used().await;
    gateway
        .queue(&["pause", "fhir", "--reason", "upgrade until 18:00"])
        .expect(0);
    gateway
        .connect()
        .await
        .send(update("N1", "P1", "Cosima"))
        .await;
    gateway.kill();
    gateway.start().await;
    let status = gateway.queue(&["status"]).expect(0).stdout;
    assert!(
        status.contains("fhir is paused: upgrade until 18:00"),
        "{status}"
    );
    gateway
        .connect()
        .await
        .send(update("N2", "P1", "Cosima"))
        .await;
    assert!(!server.stored().contains("N1"));
    gateway.queue(&["resume", "fhir"]).expect(0);
    eventually("both are stored", async || {
        let stored = server.stored();
        (stored.contains("N1") && stored.contains("N2")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_is_wrong() {
    let (_server, gateway) = used().await;
    let cases: [(&[&str], i32, &str); 6] = [
        (&["show", "4711"], 1, "no such record"),
        (&["show", "four"], 2, "four"),
        (&["replay"], 2, "name records, or say which"),
        (&["release"], 2, "name records, or say which"),
        (&["list", "--state", "lost"], 2, "lost"),
        (&["list", "--since", "yesterday"], 2, "write a time such as"),
    ];
    for (arguments, code, says) in cases {
        let ran = gateway.queue(arguments).expect(code);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
    let nowhere = Command::new(["queue", "status", "--data", "/no/such/folder"])
        .run()
        .expect(2);
    assert!(
        nowhere
            .stderr
            .contains("there is no queue in /no/such/folder"),
        "{nowhere:?}"
    );
    let check = gateway.queue(&["check", "--payloads"]).expect(0).stdout;
    assert!(check.contains("corrupt: 0"), "{check}");
}
