//! Table 3.4, row by row.

use bytes::Bytes;

use super::*;
use crate::failure::Action;

fn answer(status: u16, retry_after: Option<u64>, body: &str) -> Answer {
    Answer {
        status,
        retry_after: retry_after.map(Duration::from_secs),
        content_type: Some("application/fhir+json".into()),
        location: None,
        etag: None,
        body: Bytes::copy_from_slice(body.as_bytes()),
        truncated: false,
    }
}

fn outcome(code: &str) -> String {
    format!(
        r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":"error","code":"{code}"}}]}}"#
    )
}

fn class(status: u16, retry_after: Option<u64>, body: &str) -> Class {
    answered(Kind::Transaction, None, &answer(status, retry_after, body))
        .unwrap_err()
        .class
}

#[test]
fn statuses_of_a_transaction() {
    let throttled = |seconds: Option<u64>| Class::Throttled {
        retry_after: seconds.map(Duration::from_secs),
    };
    let table: &[(&[u16], Option<u64>, Class)] = &[
        (&[400, 422, 402, 411, 414, 418, 451], None, Class::Permanent),
        (&[401], None, Class::Auth),
        (
            &[403, 404, 405, 406, 407, 415, 426, 431],
            None,
            Class::Config,
        ),
        (&[301, 302, 303, 307, 308], None, Class::Config),
        (&[501, 505, 511], None, Class::Config),
        (&[408], None, Class::Ambiguous),
        (&[409, 423], None, Class::Conflict),
        (&[410], None, Class::Gone),
        (&[412], None, Class::Precondition),
        (&[413], None, Class::TooLarge),
        (&[429], None, throttled(None)),
        (&[429, 503], Some(7), throttled(Some(7))),
        (
            &[425, 500, 502, 503, 504, 507, 508, 520, 599],
            None,
            Class::Transient,
        ),
        // Retry-After beside another 5xx does not make it throttling.
        (&[500, 502], Some(7), Class::Transient),
    ];
    for (statuses, retry_after, expected) in table {
        for status in *statuses {
            assert_eq!(class(*status, *retry_after, ""), *expected, "{status}");
            assert_eq!(
                class(*status, *retry_after, &outcome("processing")),
                *expected,
                "{status} with an outcome"
            );
            assert_eq!(
                class(*status, *retry_after, "<html>down for maintenance"),
                *expected,
                "{status} with a page"
            );
        }
    }
}

#[test]
fn the_outcome_speaks_where_servers_disagree_on_the_status() {
    assert_eq!(class(412, None, &outcome("conflict")), Class::Conflict);
    assert_eq!(class(400, None, &outcome("conflict")), Class::Conflict);
    assert_eq!(class(400, None, &outcome("lock-error")), Class::Conflict);
    assert_eq!(class(422, None, &outcome("transient")), Class::Transient);
    assert_eq!(
        class(412, None, &outcome("multiple-matches")),
        Class::Precondition
    );
    assert_eq!(class(400, None, &outcome("invalid")), Class::Permanent);
    // A warning is no reason.
    let warning = outcome("conflict").replace("error", "warning");
    assert_eq!(class(400, None, &warning), Class::Permanent);
}

#[test]
fn success_is_an_answer_to_a_bundle() {
    let response = r#"{"resourceType":"Bundle","type":"transaction-response","entry":[{"response":{"status":"201"}}]}"#;
    let read = |kind, body: &str| answered(kind, Some(1), &answer(200, None, body));
    assert_eq!(read(Kind::Transaction, response).unwrap().entries.len(), 1);
    assert!(read(Kind::Transaction, "").is_ok());
    let hint = outcome("informational").replace("error", "information");
    assert_eq!(
        read(Kind::Transaction, &hint).unwrap().summary.issues.len(),
        1
    );
    for (body, expected) in [
        ("<html>please log in</html>", Class::Config),
        (
            r#"{"resourceType":"Bundle","type":"transaction"}"#,
            Class::Config,
        ),
        (r#"{"resourceType":"Patient"}"#, Class::Config),
        (&*outcome("invalid"), Class::Permanent),
    ] {
        assert_eq!(
            read(Kind::Transaction, body).unwrap_err().class,
            expected,
            "{body}"
        );
    }
    // Nothing is known of a batch without its entries.
    assert_eq!(read(Kind::Batch, "").unwrap_err().class, Class::Config);
}

#[test]
fn a_cut_answer_of_a_transaction_is_a_success_and_of_a_batch_is_not() {
    let cut = Answer {
        truncated: true,
        ..answer(200, None, r#"{"resourceType":"Bundle","ty"#)
    };
    assert!(answered(Kind::Transaction, None, &cut).unwrap().truncated);
    assert!(answered(Kind::Batch, Some(2), &cut).is_err());
    let page = Answer {
        content_type: Some("text/html".into()),
        ..cut
    };
    assert!(answered(Kind::Transaction, None, &page).is_err());
}

#[test]
fn a_batch_is_told_entry_by_entry() {
    let body = r#"{"resourceType":"Bundle","type":"batch-response","entry":[
        {"response":{"status":"200 OK"}},{"response":{"status":"422"}},{"response":{"status":"429"}},
        {"response":{"status":"304"}},{"response":{"status":"404"}},{"response":{"status":"503"}}]}"#;
    let failure = answered(Kind::Batch, Some(7), &answer(200, None, body)).unwrap_err();
    assert_eq!((failure.class, failure.status), (Class::Mixed, Some(200)));
    let told: Vec<(usize, u16, &str)> = failure
        .entries
        .iter()
        .map(|entry| (entry.index, entry.status, entry.class.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (1, 422, "permanent"),
            (2, 429, "throttled"),
            (4, 404, "permanent"),
            (5, 503, "transient"),
            (6, 0, "ambiguous"),
        ]
    );
    assert_eq!(
        failure.action(),
        Action::RetryEntries {
            entries: vec![1, 2, 4, 5, 6],
            refused: vec![1, 4],
            after: Duration::ZERO,
            counted: true,
        }
    );
}

#[test]
fn what_is_done_about_each_class() {
    let after = Duration::from_secs(3);
    let reason = crate::Reason::Failures;
    let told = |class, park| {
        Failure {
            wait: after,
            park,
            ..Failure::new(class, "")
        }
        .action()
    };
    let retry = |counted| Action::Retry { after, counted };
    let pause = Action::PauseDestination { recheck: after };
    for (class, expected) in [
        (Class::Permanent, Action::DeadLetter),
        (Class::Gone, Action::DeadLetter),
        (Class::Precondition, Action::DeadLetter),
        (Class::TooLarge, Action::Split),
        (Class::Auth, pause.clone()),
        (Class::Config, pause),
        (Class::Ambiguous, retry(true)),
        (Class::Conflict, retry(true)),
        (Class::Transient, retry(true)),
        (Class::Throttled { retry_after: None }, retry(false)),
        (Class::Paused { reason }, retry(false)),
        (Class::Mixed, Action::DeadLetter),
    ] {
        assert_eq!(told(class, false), expected, "{class}");
    }
    assert_eq!(told(Class::Conflict, true), Action::ParkKey);
}

#[test]
fn what_happens_below_http() {
    let credential = |transient| {
        SendError::Credential(crate::AuthError {
            reason: "token endpoint".into(),
            transient,
        })
    };
    for (error, expected) in [
        (SendError::NoConnection("refused"), Class::Transient),
        (SendError::NotSent, Class::Transient),
        (SendError::Lost, Class::Ambiguous),
        (SendError::NotHttp, Class::Config),
        (SendError::Tls("unknown issuer".into()), Class::Config),
        (credential(true), Class::Transient),
        (credential(false), Class::Auth),
    ] {
        assert_eq!(unanswered(&error).class, expected, "{error}");
    }
}

#[test]
fn no_text_of_an_answer_is_shown() {
    let body = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"value","diagnostics":"Poirot"}]}"#;
    let failure = answered(Kind::Transaction, None, &answer(400, None, body)).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "not delivered: permanent, status 400, error value"
    );
    assert!(!format!("{failure:?}").contains("Poirot"));
    assert!(!failure.body.is_empty(), "kept for the dead letter");
}
