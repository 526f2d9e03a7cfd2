//! A batch is stored whole or not at all, whatever happens in the middle (reliability test 41; wrong counts: `acks.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::Duration;

use support::{FhirServer, FhirwayTest, Random, frame, results};

const MEMBERS: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_batch_leaves_all_of_it_or_nothing() {
    // Nothing is delivered: what counts is what is stored.
    let server = FhirServer::away().await;
    let mut gateway = FhirwayTest::new()
        .destination("fhir", &server)
        .start()
        .await;
    // Around the time that receiving, planning and storing it takes.
    let mut random = Random::seeded();
    let (mut before, mut batch) = (0, String::new());
    for round in 0..10 {
        let members: String = (0..MEMBERS)
            .map(|n| results(&format!("B{round}-{n}"), &format!("P{}", n % 50)))
            .collect();
        batch = format!(
            "BHS|^~\\&|ANALYZER|NORTHLAB|FHIRWAY|SITE|20260102030405+0000||||B{round}\r{members}BTS|{MEMBERS}\r"
        );
        let mut client = gateway.connect().await;
        client.write(frame(&batch)).await.unwrap();
        let wait = Duration::from_millis(random.below(200) as u64);
        let answered = tokio::time::timeout(wait, client.ack()).await;
        gateway.kill();
        let accepted = gateway.counts("total")["accepted"];
        let stored = accepted - before;
        assert!(
            stored == 0 || stored == MEMBERS as u64,
            "{stored} of {MEMBERS} are stored"
        );
        if matches!(answered, Ok(Some(_))) {
            assert_eq!(stored, MEMBERS as u64, "acknowledged is stored");
        }
        before = accepted;
        gateway.start().await;
    }
    // Whatever had become of the last one: sent again, it is there once.
    let stored = |accepted: u64| accepted.is_multiple_of(MEMBERS as u64);
    let ack = gateway.connect().await.exchange(&batch).await;
    assert_eq!(ack.fields("MSA", 1), vec!["AA"; MEMBERS]);
    let once = gateway.counts("total")["accepted"];
    assert!(stored(once) && once >= before, "{once}");
    let again = gateway.connect().await.exchange(&batch).await;
    assert_eq!(again.fields("MSA", 1), vec!["AA"; MEMBERS]);
    assert_eq!(gateway.counts("total")["accepted"], once);
}
