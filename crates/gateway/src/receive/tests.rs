//! The way in, with a real queue in a temporary folder.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use queue::{EmbeddedQueue, Filter, Options, Queue, State};

use super::*;
use crate::{
    config::{self, Config},
    events::Events,
    metrics::Metrics,
};

struct Inn {
    receiver: Receiver,
    queue: Arc<dyn Queue>,
    _folder: tempfile::TempDir,
}

/// A receiver for the listener of a configuration; `listener` and `route` are further keys of each.
fn inn(listener: &str, route: &str) -> Inn {
    inn_with(listener, route, Options::default())
}

fn inn_with(listener: &str, route: &str, options: Options) -> Inn {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "listeners: {{lab: {{type: mllp, {listener}}}}}\nroutes: {{lab: {{destinations: [fhir], {route}}}}}\n\
         destinations: {{fhir: {{url: 'http://127.0.0.1:9/'}}}}\n"
    );
    let loaded = config::load_text("test".into(), text, std::iter::empty());
    let config: Config = loaded
        .config
        .as_ref()
        .cloned()
        .unwrap_or_else(|| panic!("{}", loaded.render()));
    let queue: Arc<dyn Queue> = Arc::new(EmbeddedQueue::open(folder.path(), options).unwrap());
    let events = Events::new(Arc::new(Metrics::new(&[]).unwrap()));
    let routes = Routes::compile(&config.routes).unwrap();
    let receiver = Receiver::new(
        &config.listeners[0],
        routes,
        Arc::clone(&queue),
        Arc::new(events.listener("lab")),
    );
    Inn {
        receiver,
        queue,
        _folder: folder,
    }
}

impl Inn {
    /// The answer as `MSA-1 MSA-2 ERR-3`, and what became of it.
    async fn send(&self, text: &str) -> (String, Received) {
        let answer = self.raw(text).await;
        (
            answer.ack.as_deref().map(ack).unwrap_or_default(),
            answer.result,
        )
    }

    async fn raw(&self, text: &str) -> Answer {
        self.receiver
            .receive(
                Bytes::copy_from_slice(text.as_bytes()),
                SystemTime::now(),
                &[],
            )
            .await
    }

    async fn accepted(&self) -> u64 {
        self.queue.status().await.unwrap().total.accepted
    }
}

fn ack(bytes: &[u8]) -> String {
    let (message, _) = hl7v2::parse(bytes).unwrap();
    let field = |segment: &str, number: usize| {
        let found = message.segments().find(|each| each.name() == segment);
        found
            .map(|segment| segment.field(number).text().into_owned())
            .unwrap_or_default()
    };
    format!(
        "{} {} {}",
        field("MSA", 1),
        field("MSA", 2),
        field("ERR", 3)
    )
    .trim_end()
    .to_owned()
}

fn message(id: &str, rest: &str) -> String {
    format!(
        "MSH|^~\\&|LAB|NORTH|FW|FW|20260101120000||ORU^R01^ORU_R01|{id}|P|2.5.1|||{rest}\rPID|1||77^^^NORTH^MR||Marple^Jane\r"
    )
}

#[tokio::test]
async fn a_message_is_stored_and_then_acknowledged() {
    let inn = inn("", "");
    assert_eq!(
        inn.send(&message("A1", "")).await,
        ("AA A1".into(), Received::Stored)
    );
    let line = &inn.queue.list(&Filter::default()).await.unwrap()[0];
    assert_eq!(
        (line.route.as_str(), line.destination.as_deref(), line.state),
        ("lab", Some("fhir"), State::Queued)
    );
    assert_eq!(line.attributes["message_type"], "ORU_R01");
    assert_eq!(
        inn.queue.payload(line.record).await.unwrap(),
        message("A1", "")
    );
}

#[tokio::test]
async fn a_resend_gets_the_stored_ack_byte_for_byte_and_has_no_second_effect() {
    let inn = inn("", "");
    let first = inn.raw(&message("A1", "")).await;
    for _ in 0..3 {
        assert_eq!(inn.raw(&message("A1", "")).await, first);
    }
    assert_eq!(inn.accepted().await, 1);
}

#[tokio::test]
async fn a_control_id_with_other_bytes_is_processed_or_refused() {
    let inn = inn("", "");
    inn.send(&message("A1", "")).await;
    let other = message("A1", "").replace("Jane", "June");
    assert_eq!(inn.send(&other).await, ("AA A1".into(), Received::Stored));
    assert_eq!(inn.accepted().await, 2);

    let dedup = queue::Dedup {
        on_conflict: queue::OnConflict::Reject,
        ..queue::Dedup::default()
    };
    let strict = inn_with(
        "",
        "",
        Options {
            dedup,
            ..Options::default()
        },
    );
    strict.send(&message("A1", "")).await;
    assert_eq!(
        strict.send(&other).await,
        ("AR A1 205".into(), Received::Unusable)
    );
    assert_eq!(strict.accepted().await, 1);
}

#[tokio::test]
async fn msh_15_and_16_decide_when_the_listener_lets_them() {
    let inn = inn("ack: {always_answer: false}", "");
    for (number, (fields, code)) in [
        ("|", "AA"),
        ("AL|NE", "CA"),
        ("NE|NE", ""),
        ("ER|NE", ""),
        ("SU|NE", "CA"),
        ("NE|AL", "AA"),
    ]
    .iter()
    .enumerate()
    {
        let id = format!("A{number}");
        let expected = if code.is_empty() {
            String::new()
        } else {
            format!("{code} {id}")
        };
        assert_eq!(
            inn.send(&message(&id, fields)).await,
            (expected, Received::Stored),
            "{fields}"
        );
    }
    assert_eq!(inn.accepted().await, 6);
}

#[tokio::test]
async fn what_cannot_be_stored_gets_no_positive_ack() {
    let inn = inn("", "");
    let cases = [
        ("hello, is anybody there?".to_owned(), "AR  100"),
        (message("", ""), "AE  101"),
        (message("A1", "").replace("ORU^R01^ORU_R01", "ACK"), ""),
        (String::new(), ""),
    ];
    for (text, expected) in cases {
        assert_eq!(
            inn.send(&text).await,
            (expected.to_owned(), Received::Unusable),
            "{text}"
        );
    }
    assert_eq!(inn.accepted().await, 0);
}

#[tokio::test]
async fn a_full_queue_is_ae_or_what_the_sender_takes_for_send_again() {
    for (profile, expected) in [
        ("interop", "AE A1 207"),
        ("intersystems", "AR A1 207"),
        ("close_without_ack", ""),
    ] {
        let options = Options {
            max_bytes: Some(1),
            ..Options::default()
        };
        let inn = inn_with(&format!("ack: {{profile: {profile}}}"), "", options);
        assert_eq!(
            inn.send(&message("A1", "")).await,
            (expected.to_owned(), Received::Retryable),
            "{profile}"
        );
        assert_eq!(inn.accepted().await, 0);
    }
}

#[tokio::test]
async fn truncated_and_oversized_frames_are_refused_with_their_control_id() {
    let inn = inn("", "");
    let refused = |fault| {
        let answer = inn.receiver.refuse(message("A1", "").as_bytes(), fault);
        (
            answer.ack.as_deref().map(ack).unwrap_or_default(),
            answer.result,
        )
    };
    assert_eq!(
        refused(Fault::Truncated),
        ("AE A1 207".to_owned(), Received::Retryable)
    );
    assert_eq!(
        refused(Fault::Oversized),
        ("AR A1 207".to_owned(), Received::Unusable)
    );
}

#[tokio::test]
async fn a_message_that_no_route_takes_is_kept_or_refused() {
    let kept = inn("", "when: MSH-9.1 = ADT");
    assert_eq!(kept.send(&message("A1", "")).await.1, Received::Stored);
    let status = kept.queue.status().await.unwrap();
    assert_eq!(
        (
            status.total.accepted,
            status.total.filtered,
            status.unrouted
        ),
        (1, 1, 1)
    );

    let refused = inn("unrouted: reject", "when: MSH-9.1 = ADT");
    assert_eq!(
        refused.send(&message("A1", "")).await,
        ("AR A1 200".into(), Received::Unusable)
    );
    assert_eq!(refused.accepted().await, 0);
}

#[tokio::test]
async fn a_batch_is_stored_as_one_and_answered_in_one_frame() {
    let inn = inn("", "");
    let batch = format!(
        "BHS|^~\\&|LAB|NORTH\r{}{}BTS|2\r",
        message("B1", ""),
        message("B2", "")
    );
    let answer = inn.raw(&batch).await;
    let frame = String::from_utf8(answer.ack.unwrap().to_vec()).unwrap();
    assert!(frame.starts_with("BHS|"), "{frame}");
    assert!(
        frame.contains("MSA|AA|B1") && frame.contains("MSA|AA|B2") && frame.ends_with("BTS|2\r"),
        "{frame}"
    );
    assert_eq!((answer.result, inn.accepted().await), (Received::Stored, 2));

    let bare = format!("{}{}", message("C1", ""), message("", ""));
    let answer = inn.raw(&bare).await;
    let frame = String::from_utf8(answer.ack.unwrap().to_vec()).unwrap();
    assert!(
        frame.contains("MSA|AA|C1") && frame.contains("MSA|AE"),
        "{frame}"
    );
    assert_eq!(
        (answer.result, inn.accepted().await),
        (Received::Unusable, 3)
    );
}

#[tokio::test]
async fn a_batch_with_a_wrong_count_stores_nothing() {
    let inn = inn("", "");
    let batch = format!("BHS|^~\\&|LAB|NORTH\r{}BTS|2\r", message("B1", ""));
    let answer = inn.raw(&batch).await;
    let frame = String::from_utf8(answer.ack.unwrap().to_vec()).unwrap();
    assert!(frame.contains("MSA|AE|B1"), "{frame}");
    assert_eq!(
        (answer.result, inn.accepted().await),
        (Received::Retryable, 0)
    );
}

#[tokio::test]
async fn messages_of_one_patient_wait_for_each_other() {
    let inn = inn("", "");
    for id in ["A1", "A2"] {
        inn.send(&message(id, "")).await;
    }
    inn.send(&message("A3", "").replace("77^", "78^")).await;
    let leases = inn
        .queue
        .lease("fhir", 10, queue::DEFAULT_LEASE)
        .await
        .unwrap();
    let ids: Vec<&str> = leases
        .iter()
        .map(|lease| lease.attributes["control_id"].as_str())
        .collect();
    assert_eq!(ids, ["A1", "A3"]);
}

#[tokio::test]
async fn urgent_messages_go_first_and_the_patient_s_earlier_ones_with_them() {
    let inn = inn("", "priority: {when: MSH-13 = 1}");
    let of = |patient: &str, id: &str, urgent: bool| {
        let text = message(id, "").replace("77^", &format!("{patient}^"));
        let sequence = if urgent { "|2.5.1|1||" } else { "|2.5.1|||" };
        text.replace("|2.5.1|||", sequence)
    };
    for number in 0..8 {
        inn.send(&of(&format!("9{number}"), &format!("R{number}"), false))
            .await;
    }
    inn.send(&of("77", "A1", false)).await;
    inn.send(&of("77", "A2", true)).await;
    let leases = inn
        .queue
        .lease("fhir", 4, queue::DEFAULT_LEASE)
        .await
        .unwrap();
    let first = &leases[0];
    assert_eq!(first.attributes["control_id"], "A1");
    assert!(
        leases
            .iter()
            .all(|lease| lease.attributes["control_id"] != "A2")
    );
    let done = queue::Outcome::Delivered { detail: None };
    inn.queue.settle(first.id, done).await.unwrap();
    let next = inn
        .queue
        .lease("fhir", 4, queue::DEFAULT_LEASE)
        .await
        .unwrap();
    assert_eq!(next[0].attributes["control_id"], "A2");
}

#[tokio::test]
async fn no_answer_repeats_what_the_message_says_about_a_patient() {
    let inn = inn("unrouted: reject", "when: MSH-9.1 = ADT");
    for text in [message("A1", ""), message("", "")] {
        let ack = inn.raw(&text).await.ack.unwrap();
        assert!(!String::from_utf8_lossy(&ack).contains("Marple"));
    }
}
