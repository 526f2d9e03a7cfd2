//! Deliveries that take more than one request, and bodies in other forms, against a scripted server on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Server, Step, answer, status};
use upstream::{
    Action, Class, Compression, Config, Failure, Format, Prefer, Request, Split, Stack, stack,
};

const REPORT: &str = "urn:uuid:00000000-0000-0000-0000-000000000001";
const VALUE: &str = "urn:uuid:00000000-0000-0000-0000-000000000002";
const PATIENT: &str = "urn:uuid:00000000-0000-0000-0000-000000000004";
const PROVENANCE: &str = "urn:uuid:00000000-0000-0000-0000-000000000005";

fn reference(name: &str) -> Value {
    json!({ "reference": name })
}

fn id_of(full_url: &str) -> &str {
    &full_url["urn:uuid:".len()..]
}

fn put_by_id(type_name: &str, full_url: &str, mut resource: Value) -> Value {
    resource["resourceType"] = json!(type_name);
    resource["id"] = json!(id_of(full_url));
    json!({ "fullUrl": full_url, "resource": resource,
        "request": { "method": "PUT", "url": format!("{type_name}/{}", id_of(full_url)) } })
}

/// A report about a patient with a value, and a Provenance of report and patient. What refers stands first.
fn bundle() -> Value {
    json!({ "resourceType": "Bundle", "type": "transaction", "entry": [
        { "fullUrl": REPORT,
          "resource": { "resourceType": "DiagnosticReport", "subject": reference(PATIENT), "result": [reference(VALUE)] },
          "request": { "method": "PUT", "url": "DiagnosticReport?identifier=urn:oid:2.999.3%7CR1" } },
        put_by_id("Observation", VALUE, json!({ "subject": reference(PATIENT) })),
        { "fullUrl": PATIENT,
          "resource": { "resourceType": "Patient", "name": [{ "family": "Marple" }] },
          "request": { "method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:oid:2.999.1%7C4711" } },
        put_by_id("Provenance", PROVENANCE, json!({ "target": [reference(REPORT), reference(PATIENT)] })),
    ] })
}

fn config(server: &Server) -> Config {
    let mut config = Config {
        deadline: Duration::from_secs(5),
        ..Config::new(server.url())
    };
    config.retry.short_attempts = 1;
    config.retry.short_wait = Duration::from_millis(5);
    config
}

fn build(config: &Config) -> Stack {
    stack(config, Arc::new(())).unwrap()
}

fn stored(locations: &[&str]) -> Step {
    let entries: Vec<Value> = locations
        .iter()
        .map(|location| json!({ "response": { "status": "201 Created", "location": location } }))
        .collect();
    let body =
        json!({ "resourceType": "Bundle", "type": "transaction-response", "entry": entries });
    answer(200, &[], &body.to_string())
}

fn created(location: &str) -> Step {
    answer(201, &[("location", location), ("etag", "W/\"1\"")], "")
}

fn found(resources: &[Value]) -> Step {
    let entries: Vec<Value> = resources
        .iter()
        .map(|one| json!({ "resource": one }))
        .collect();
    let body = json!({ "resourceType": "Bundle", "type": "searchset", "total": resources.len(), "entry": entries });
    answer(200, &[], &body.to_string())
}

/// Each request as `METHOD path?query`, and its body.
fn seen(server: &Server) -> Vec<(String, Value)> {
    server
        .seen()
        .iter()
        .map(|request| {
            let address = format!(
                "{} {}",
                request.method,
                request.target.trim_start_matches("/fhir")
            );
            let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
            (address, body)
        })
        .collect()
}

async fn fail(stack: &Stack, request: Request) -> Failure {
    stack.deliver(request).await.unwrap_err()
}

#[tokio::test]
async fn resources_one_by_one_in_the_order_of_their_references() {
    let server = Server::start([
        created("http://elsewhere.example/fhir/Patient/p7/_history/1"),
        created("Observation/00000000-0000-0000-0000-000000000002/_history/1"),
        created("DiagnosticReport/r9/_history/3"),
        created("Provenance/00000000-0000-0000-0000-000000000005"),
    ])
    .await;
    let stack = build(&config(&server));
    let delivered = stack
        .deliver(Request::singles(bundle().to_string()))
        .await
        .unwrap();
    let seen = seen(&server);
    let addresses: Vec<&str> = seen.iter().map(|(address, _)| &**address).collect();
    assert_eq!(
        addresses,
        [
            "POST /Patient",
            "PUT /Observation/00000000-0000-0000-0000-000000000002",
            "PUT /DiagnosticReport?identifier=urn:oid:2.999.3%7CR1",
            "PUT /Provenance/00000000-0000-0000-0000-000000000005",
        ]
    );
    assert_eq!(seen[1].1["subject"], reference("Patient/p7"));
    assert_eq!(
        seen[2].1["result"][0],
        reference("Observation/00000000-0000-0000-0000-000000000002")
    );
    assert_eq!(
        seen[3].1["target"],
        json!([reference("DiagnosticReport/r9"), reference("Patient/p7")])
    );
    assert_eq!(
        server.seen()[0].headers["if-none-exist"],
        "identifier=urn:oid:2.999.1%7C4711"
    );
    // Answers are in the order of the Bundle.
    let locations: Vec<_> = delivered
        .entries
        .iter()
        .map(|entry| entry.location.clone().unwrap())
        .collect();
    assert!(
        locations[0].starts_with("DiagnosticReport/r9") && locations[2].contains("/Patient/p7")
    );
}

/// A failure in the middle, and the same again: nothing depends on what was in memory.
#[tokio::test]
async fn singles_are_made_again_from_the_start() {
    let server = Server::start([created("Patient/p7"), status(503)]).await;
    let stack = build(&config(&server));
    let failure = fail(&stack, Request::singles(bundle().to_string())).await;
    assert_eq!(failure.class, Class::Transient);
    assert!(failure.detail.contains("part 2 of 4"), "{failure}");
    assert!(matches!(
        failure.action(),
        Action::Retry { counted: true, .. }
    ));
    // The second time the patient is there: 200, and the server does not say where. It is asked.
    server.then([
        status(200),
        found(&[json!({ "resourceType": "Patient", "id": "p7", "meta": { "versionId": "4" } })]),
        created("Observation/x"),
        created("DiagnosticReport/r9"),
        status(200),
    ]);
    stack
        .deliver(Request::singles(bundle().to_string()))
        .await
        .unwrap();
    let seen = seen(&server);
    assert_eq!(seen[3].0, "POST /Patient/_search");
    assert_eq!(
        server.seen()[3].body,
        "identifier=urn:oid:2.999.1%7C4711&_count=2"
    );
    assert_eq!(seen[4].1["subject"], reference("Patient/p7"));
}

#[tokio::test]
async fn a_circle_of_singles_is_closed_in_a_second_round() {
    let (a, b) = (REPORT, PATIENT);
    let person = |own: &str, other: &str, number: u8| {
        json!({ "fullUrl": own,
            "resource": { "resourceType": "Patient", "link": [{ "other": reference(other), "type": "seealso" }] },
            "request": { "method": "PUT", "url": format!("Patient?identifier=urn:x%7C{number}") } })
    };
    let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [person(a, b, 1), person(b, a, 2)] });
    let server = Server::start([
        found(&[]), // b is not there
        created("Patient/a1"),
        created("Patient/b1"),
        status(200), // a once more
    ])
    .await;
    build(&config(&server))
        .deliver(Request::singles(bundle.to_string()))
        .await
        .unwrap();
    let seen = seen(&server);
    let addresses: Vec<&str> = seen.iter().map(|(address, _)| &**address).collect();
    assert_eq!(
        addresses,
        [
            "POST /Patient/_search",
            "PUT /Patient?identifier=urn:x%7C1",
            "PUT /Patient?identifier=urn:x%7C2",
            "PUT /Patient/a1",
        ]
    );
    assert_eq!(seen[1].1["link"][0]["other"], json!({ "type": "Patient" }));
    assert_eq!(seen[2].1["link"][0]["other"], reference("Patient/a1"));
    assert_eq!(
        (&seen[3].1["id"], &seen[3].1["link"][0]["other"]),
        (&json!("a1"), &reference("Patient/b1"))
    );
}

#[tokio::test]
async fn a_bundle_of_too_many_entries_goes_in_parts() {
    let server = Server::start([
        stored(&[
            "Patient/p7/_history/1",
            "Observation/00000000-0000-0000-0000-000000000002",
        ]),
        stored(&["DiagnosticReport/r9/_history/1", "Provenance/x"]),
    ])
    .await;
    let config = Config {
        split: Split {
            max_entries: Some(2),
            max_bytes: None,
        },
        ..config(&server)
    };
    let delivered = build(&config)
        .deliver(Request::transaction(bundle().to_string()))
        .await
        .unwrap();
    assert_eq!(delivered.entries.len(), 4);
    let seen = seen(&server);
    assert_eq!(seen.len(), 2);
    let types = |bundle: &Value| -> Vec<String> {
        let entries = bundle["entry"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| {
                entry["resource"]["resourceType"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    assert_eq!(types(&seen[0].1), ["Patient", "Observation"]);
    assert_eq!(types(&seen[1].1), ["DiagnosticReport", "Provenance"]);
    // Inside of a part by its name there, to an earlier part by what the server answered.
    assert_eq!(
        seen[0].1["entry"][1]["resource"]["subject"],
        reference(PATIENT)
    );
    let report = &seen[1].1["entry"][0];
    assert_eq!(report["resource"]["subject"], reference("Patient/p7"));
    assert_eq!(
        report["request"]["url"],
        "DiagnosticReport?identifier=urn:oid:2.999.3%7CR1"
    );
    assert_eq!(
        seen[1].1["entry"][1]["resource"]["target"][0],
        reference(REPORT)
    );
    // What fits goes as it is, byte for byte.
    server.then([stored(&[])]);
    let small =
        json!({ "resourceType": "Bundle", "type": "transaction", "entry": [bundle()["entry"][2]] })
            .to_string();
    build(&config)
        .deliver(Request::transaction(small.clone()))
        .await
        .unwrap();
    assert_eq!(server.seen()[2].body, small);
}

/// 413, and halves of it until it fits. A server that says nothing about where things are is referred to by condition.
#[tokio::test]
async fn what_the_server_finds_too_large_is_halved() {
    let server = Server::start([
        status(413),
        status(200),
        status(413),
        status(200),
        status(200),
    ])
    .await;
    build(&config(&server))
        .deliver(Request::transaction(bundle().to_string()))
        .await
        .unwrap();
    let sizes: Vec<usize> = seen(&server)
        .iter()
        .map(|(_, bundle)| bundle["entry"].as_array().unwrap().len())
        .collect();
    assert_eq!(
        sizes.iter().skip(1).sum::<usize>() - sizes[2],
        4,
        "{sizes:?}"
    );
    let last = &seen(&server)[4].1["entry"];
    let targets = last[last.as_array().unwrap().len() - 1]["resource"]["target"].clone();
    assert_eq!(
        targets[1],
        reference("Patient?identifier=urn:oid:2.999.1%7C4711")
    );
}

#[tokio::test]
async fn a_large_attachment_becomes_a_binary() {
    let data = "QUJD".repeat(20_000);
    let mut bundle = bundle();
    bundle["entry"] = json!([bundle["entry"][2]]);
    bundle["entry"][0]["resource"]["photo"] =
        json!([{ "contentType": "image/png", "data": data, "title": "x" }]);
    let server = Server::start([status(413), created("Binary/b"), status(200)]).await;
    build(&config(&server))
        .deliver(Request::transaction(bundle.to_string()))
        .await
        .unwrap();
    let seen = seen(&server);
    assert!(seen[1].0.starts_with("PUT /Binary/"), "{}", seen[1].0);
    assert_eq!(server.seen()[1].headers["content-type"], "image/png");
    assert_eq!(server.seen()[1].body, "ABC".repeat(20_000));
    let photo = &seen[2].1["entry"][0]["resource"]["photo"][0];
    assert_eq!(
        format!("PUT /{}", photo["url"].as_str().unwrap()),
        seen[1].0
    );
    assert_eq!(
        (&photo["data"], &photo["title"]),
        (&Value::Null, &json!("x"))
    );

    // Too large in every form: a dead letter that says so.
    let server = Server::start([status(413), status(413)]).await;
    let failure = fail(
        &build(&config(&server)),
        Request::transaction(bundle.to_string()),
    )
    .await;
    assert_eq!(failure.class, Class::TooLarge);
    assert!(
        failure.detail.contains("an attachment of 60000 bytes"),
        "{failure}"
    );
    // And one that has nothing to move.
    bundle["entry"][0]["resource"]["photo"] = Value::Null;
    let server = Server::start([status(413)]).await;
    let failure = fail(
        &build(&config(&server)),
        Request::transaction(bundle.to_string()),
    )
    .await;
    assert!(
        failure.detail.contains("entry 0 alone is too large"),
        "{failure}"
    );
}

/// A batch in parts: what is refused for good holds up nothing, what may succeed later is named with all that is unsent.
#[tokio::test]
async fn a_batch_in_parts_names_what_is_still_to_be_sent() {
    let answer_of = |statuses: &[&str]| {
        let entries: Vec<Value> = statuses
            .iter()
            .map(|status| json!({ "response": { "status": status } }))
            .collect();
        answer(
            200,
            &[],
            &json!({ "resourceType": "Bundle", "type": "batch-response", "entry": entries })
                .to_string(),
        )
    };
    let mut batch = bundle();
    batch["type"] = json!("batch");
    let entries: Vec<Value> = (0..6)
        .map(|number| {
            put_by_id(
                "Observation",
                &format!("urn:uuid:00000000-0000-0000-0000-00000000001{number}"),
                json!({}),
            )
        })
        .collect();
    batch["entry"] = json!(entries);
    let server = Server::start([answer_of(&["200", "422"]), answer_of(&["429", "200"])]).await;
    let config = Config {
        split: Split {
            max_entries: Some(2),
            max_bytes: None,
        },
        ..config(&server)
    };
    let stack = build(&config);
    let failure = fail(&stack, Request::batch(batch.to_string())).await;
    let Action::RetryEntries {
        entries, refused, ..
    } = failure.action()
    else {
        panic!("{failure:?}");
    };
    assert_eq!((entries.clone(), refused), (vec![1, 2, 4, 5], vec![1]));
    server.then([answer_of(&["422", "200"]), answer_of(&["200", "200"])]);
    let again = Request {
        entries: Some(entries),
        ..Request::batch(batch.to_string())
    };
    let failure = fail(&stack, again).await;
    assert_eq!(failure.action(), Action::DeadLetter);
    assert_eq!(
        failure
            .entries
            .iter()
            .map(|entry| entry.index)
            .collect::<Vec<_>>(),
        [1]
    );
}

#[tokio::test]
async fn versions_are_read_before_they_are_replaced_and_again_when_somebody_was_faster() {
    let version = |number: &str| {
        found(&[
            json!({ "resourceType": "DiagnosticReport", "id": "r9", "meta": { "versionId": number } }),
        ])
    };
    let absent = || status(404);
    let server = Server::start([
        version("1"),
        absent(),
        absent(), // report, value, provenance
        status(412),
        // Which of the conditions was it? None is ambiguous, so it was the version.
        version("2"),
        found(&[]),
        version("2"),
        absent(),
        absent(),
        stored(&[]),
    ])
    .await;
    let config = Config {
        versions: true,
        ..config(&server)
    };
    build(&config)
        .deliver(Request::transaction(bundle().to_string()))
        .await
        .unwrap();
    let seen = seen(&server);
    let sent: Vec<&Value> = seen
        .iter()
        .filter(|(address, _)| address == "POST ")
        .map(|(_, body)| &body["entry"][0]["request"]["ifMatch"])
        .collect();
    assert_eq!(sent, [&json!("W/\"1\""), &json!("W/\"2\"")]);
}

/// Reliability row 20.
#[tokio::test]
async fn a_condition_that_is_not_unique_is_named_by_its_kind() {
    let two = [
        json!({ "resourceType": "Patient", "id": "1" }),
        json!({ "resourceType": "Patient", "id": "2" }),
    ];
    let server = Server::start([status(412), found(&[]), found(&two)]).await;
    let failure = fail(
        &build(&config(&server)),
        Request::transaction(bundle().to_string()),
    )
    .await;
    assert_eq!(
        (failure.class, failure.action()),
        (Class::Precondition, Action::DeadLetter)
    );
    let text = failure.to_string();
    assert!(
        text.contains(
            "entry 2 (Patient): 2 or more resources have its identifier of system urn:oid:2.999.1"
        ),
        "{text}"
    );
    assert!(
        !text.contains("4711") && !format!("{failure:?}").contains("4711"),
        "{text}"
    );
}

/// A server that answers 412 for what is there already, where the standard lets it.
#[tokio::test]
async fn what_is_only_made_if_new_and_is_there_is_left_out() {
    let mut bundle = bundle();
    bundle["entry"][1]["request"]["ifNoneMatch"] = json!("*");
    let observation = json!({ "resourceType": "Observation", "id": id_of(VALUE) });
    let server = Server::start([
        status(412),
        found(&[]),                                 // the report
        answer(200, &[], &observation.to_string()), // the value
        found(&[]),                                 // the patient
        stored(&["DiagnosticReport/1", "Patient/1", "Provenance/1"]),
    ])
    .await;
    build(&config(&server))
        .deliver(Request::transaction(bundle.to_string()))
        .await
        .unwrap();
    let seen = seen(&server);
    let entries = seen[4].1["entry"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    assert_eq!(
        entries[0]["resource"]["result"][0],
        reference(&format!("Observation/{}", id_of(VALUE)))
    );
}

#[tokio::test]
async fn what_was_deleted_is_made_anew_where_that_is_wanted() {
    let mut bundle = bundle();
    bundle["entry"][1]["resource"]["identifier"] =
        json!([{ "system": "urn:oid:2.999.4", "value": "a|b" }]);
    let gone = |recreate| async move {
        let server = Server::start([
            status(410),
            found(&[]),
            status(410),
            found(&[]),
            status(404),
            stored(&[]),
        ])
        .await;
        let config = Config {
            recreate,
            ..config(&server)
        };
        (build(&config), server)
    };
    let (stack, server) = gone(true).await;
    stack
        .deliver(Request::transaction(bundle.to_string()))
        .await
        .unwrap();
    let sent = seen(&server).pop().unwrap().1;
    assert_eq!(
        sent["entry"][1]["request"],
        json!({ "method": "POST", "url": "Observation", "ifNoneExist": "identifier=urn%3Aoid%3A2%2E999%2E4%7Ca%5C%7Cb" })
    );
    assert_eq!(sent["entry"][0]["resource"]["result"][0], reference(VALUE));
    let (stack, server) = gone(false).await;
    let failure = fail(&stack, Request::transaction(bundle.to_string())).await;
    assert_eq!(
        (failure.class, failure.action(), server.count()),
        (Class::Gone, Action::DeadLetter, 1)
    );
}

#[tokio::test]
async fn bodies_are_compressed_both_ways() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(support::STORED.as_bytes()).unwrap();
    let server = Server::start([Step::Bytes {
        headers: vec![
            ("content-type", "application/fhir+json".into()),
            ("content-encoding", "gzip".into()),
        ],
        body: encoder.finish().unwrap(),
    }])
    .await;
    let config = Config {
        compression: Compression::Gzip,
        prefer: Prefer::Representation,
        ..config(&server)
    };
    let body = bundle().to_string();
    let delivered = build(&config)
        .deliver(Request::transaction(body.clone()))
        .await
        .unwrap();
    assert_eq!(
        delivered.entries[0].location.as_deref(),
        Some("Patient/1/_history/1")
    );
    let seen = server.seen();
    assert_eq!(seen[0].headers["content-encoding"], "gzip");
    assert_eq!(seen[0].headers["accept-encoding"], "gzip");
    assert_eq!(seen[0].headers["prefer"], "return=representation");
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&*seen[0].body)
        .read_to_string(&mut plain)
        .unwrap();
    assert_eq!(plain, body);
    assert!(seen[0].body.len() < body.len() / 2);
}

/// What is small on the wire and huge in memory.
#[tokio::test]
async fn a_decompression_bomb_is_cut_at_the_limit() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 200 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let server = Server::start([
        Step::Bytes {
            headers: vec![
                ("content-type", "application/fhir+json".into()),
                ("content-encoding", "gzip".into()),
            ],
            body: bomb,
        },
        Step::Bytes {
            headers: vec![("content-encoding", "br".into())],
            body: b"?".to_vec(),
        },
    ])
    .await;
    let config = Config {
        max_response_bytes: 2 << 20,
        ..config(&server)
    };
    let delivered = build(&config)
        .deliver(Request::transaction(bundle().to_string()))
        .await
        .unwrap();
    assert!(delivered.truncated && delivered.body.len() == 2 << 20);
    // A coding that nobody asked for.
    let failure = fail(&build(&config), Request::transaction(bundle().to_string())).await;
    assert_eq!(failure.class, Class::Config);
}

#[tokio::test]
async fn a_server_that_speaks_xml() {
    let xml = |status: u16, body: &str| {
        answer(
            status,
            &[("content-type", "application/fhir+xml; charset=utf-8")],
            body,
        )
    };
    let server = Server::start([
        xml(200, r#"<Bundle xmlns="http://hl7.org/fhir"><type value="transaction-response"/><entry><response><status value="201 Created"/><location value="DiagnosticReport/9"/></response></entry></Bundle>"#),
        xml(422, r#"<OperationOutcome xmlns="http://hl7.org/fhir"><issue><severity value="error"/><code value="value"/><diagnostics value="Marple"/><expression value="Patient.name[0]"/></issue></OperationOutcome>"#),
        xml(200, r#"<CapabilityStatement xmlns="http://hl7.org/fhir"><status value="active"/><fhirVersion value="4.0.1"/><format value="xml"/><rest><mode value="server"/><interaction><code value="transaction"/></interaction></rest></CapabilityStatement>"#),
    ])
    .await;
    let config = Config {
        format: Format::Xml,
        ..config(&server)
    };
    let stack = build(&config);
    let delivered = stack
        .deliver(Request::transaction(bundle().to_string()))
        .await
        .unwrap();
    assert_eq!(
        delivered.entries[0].location.as_deref(),
        Some("DiagnosticReport/9")
    );
    let failure = fail(&stack, Request::transaction(bundle().to_string())).await;
    assert_eq!(
        (failure.class, failure.summary.to_string()),
        (
            Class::Permanent,
            "error value at Patient.name[0]".to_owned()
        )
    );
    let capability = stack.metadata().await.unwrap();
    assert!(capability.is_r4() && capability.transaction && capability.takes(Format::Xml));
    let seen = server.seen();
    assert_eq!(seen[0].headers["content-type"], "application/fhir+xml");
    assert_eq!(seen[0].headers["accept"], "application/fhir+xml");
    let sent = std::str::from_utf8(&seen[0].body).unwrap();
    assert!(sent.starts_with(r#"<Bundle xmlns="http://hl7.org/fhir"><type value="transaction"/><entry><fullUrl value="urn:uuid:"#), "{sent}");
    assert!(
        sent.contains(
            r#"<resource><Patient><name><family value="Marple"/></name></Patient></resource>"#
        ),
        "{sent}"
    );
}

/// 412 to `If-None-Match: *` says that it is there already, in whatever words.
#[tokio::test]
async fn a_single_resource_that_is_there_already_is_left_alone() {
    let mut bundle = bundle();
    bundle["entry"] = json!([bundle["entry"][1], bundle["entry"][3]]);
    bundle["entry"][0]["request"]["ifNoneMatch"] = json!("*");
    let outcome =
        r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"conflict"}]}"#;
    let server = Server::start([answer(412, &[], outcome), status(200)]).await;
    let delivered = build(&config(&server))
        .deliver(Request::singles(bundle.to_string()))
        .await
        .unwrap();
    assert_eq!(delivered.entries[0].status, 304);
    assert_eq!(server.seen()[0].headers["if-none-match"], "*");
    assert_eq!(server.count(), 2);
}
