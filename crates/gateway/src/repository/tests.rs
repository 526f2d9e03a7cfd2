//! The repository through its router and its methods.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

const JSON: &str = "application/fhir+json";

fn repository() -> Arc<Repository> {
    Arc::new(Repository::open(None).unwrap())
}

/// A transaction as the gateway sends it: a patient by identifier, a practitioner only if new, an observation of both.
fn transaction(family: &str, value: &str) -> String {
    format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[
        {{"fullUrl":"urn:uuid:00000000-0000-0000-0000-00000000000a",
          "resource":{{"resourceType":"Patient","identifier":[{{"system":"urn:oid:1.2","value":"A 1|x"}}],"name":[{{"family":"{family}"}}]}},
          "request":{{"method":"PUT","url":"Patient?identifier=urn:oid:1.2%7CA%201%5C%7Cx"}}}},
        {{"fullUrl":"urn:uuid:00000000-0000-0000-0000-00000000000b",
          "resource":{{"resourceType":"Practitioner","identifier":[{{"value":"P1"}}]}},
          "request":{{"method":"POST","url":"Practitioner","ifNoneExist":"identifier=%7CP1"}}}},
        {{"fullUrl":"urn:uuid:00000000-0000-0000-0000-00000000000c",
          "resource":{{"resourceType":"Observation","identifier":[{{"system":"urn:ietf:rfc:3986","value":"urn:uuid:00000000-0000-0000-0000-00000000000c"}}],
            "status":"final","code":{{"text":"sodium"}},
            "subject":{{"reference":"urn:uuid:00000000-0000-0000-0000-00000000000a"}},
            "performer":[{{"reference":"urn:uuid:00000000-0000-0000-0000-00000000000b"}}],
            "valueQuantity":{{"value":{value}}},
            "component":[{{"code":{{"text":"x"}},"extension":[{{"url":"urn:x","valueReference":{{"reference":"urn:uuid:00000000-0000-0000-0000-00000000000b"}}}}]}}]}},
          "request":{{"method":"PUT","url":"Observation?identifier=urn:ietf:rfc:3986%7Curn:uuid:00000000-0000-0000-0000-00000000000c"}}}}]}}"#
    )
}

fn bundle(repository: &Repository, json: &str) -> Result<Value, Fault> {
    repository
        .bundle(json.as_bytes(), false)
        .map(|answer| serde_json::from_str(&answer).unwrap())
}

fn statuses(response: &Value) -> Vec<&str> {
    response["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["response"]["status"].as_str().unwrap())
        .collect()
}

async fn send(
    repository: &Arc<Repository>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> (u16, http::HeaderMap, Value) {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path)
        .header("host", "repo.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.as_ref().to_vec())).unwrap();
    let response: Response<Body> = router(Arc::clone(repository))
        .oneshot(request)
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (head.status.as_u16(), head.headers, json)
}

async fn get(repository: &Arc<Repository>, path: &str) -> (u16, Value) {
    let (status, _, json) = send(repository, "GET", path, &[], "").await;
    (status, json)
}

#[test]
fn a_transaction_is_stored_with_its_references() {
    let repository = repository();
    let response = bundle(&repository, &transaction("Marple", "1.50")).unwrap();
    assert_eq!(statuses(&response), ["201 Created"; 3]);
    assert_eq!(
        response["entry"][0]["response"]["location"],
        "Patient/1/_history/1"
    );
    assert_eq!(response["entry"][0]["response"]["etag"], "W/\"1\"");
    let observation = repository.read("Observation", "3").unwrap().json;
    assert!(
        observation.contains(r#""subject":{"reference":"Patient/1"}"#),
        "{observation}"
    );
    assert!(observation.contains(r#""performer":[{"reference":"Practitioner/2"}]"#));
    assert!(observation.contains(r#""valueReference":{"reference":"Practitioner/2"}"#));
    assert!(observation.contains(r#""value":1.50"#), "digits are kept");
    assert_eq!(
        observation.matches("urn:uuid").count(),
        1,
        "the identifier stays: {observation}"
    );
}

#[test]
fn the_same_transaction_twice_leaves_the_same_state() {
    let repository = repository();
    bundle(&repository, &transaction("Marple", "1.50")).unwrap();
    let read = |type_name, id| repository.read(type_name, id).unwrap();
    let before = [
        read("Patient", "1"),
        read("Practitioner", "2"),
        read("Observation", "3"),
    ];
    let again = bundle(&repository, &transaction("Marple", "1.50")).unwrap();
    assert_eq!(statuses(&again), ["200 OK"; 3]);
    let after = [
        read("Patient", "1"),
        read("Practitioner", "2"),
        read("Observation", "3"),
    ];
    assert_eq!(before, after);
    let one_each = ["Observation", "Patient", "Practitioner"].map(|name| (name.to_owned(), 1));
    assert_eq!(repository.counts().unwrap(), one_each);

    // 1.5 is not 1.50: a new version of the observation alone.
    bundle(&repository, &transaction("Marple", "1.5")).unwrap();
    assert_eq!(repository.history_length("Observation", "3").unwrap(), 2);
    assert_eq!(repository.history_length("Patient", "1").unwrap(), 1);
    assert!(
        repository
            .read_version("Observation", "3", 1)
            .unwrap()
            .json
            .contains("1.50")
    );
}

#[test]
fn a_failed_transaction_changes_nothing() {
    let repository = repository();
    bundle(&repository, &transaction("Marple", "1.50")).unwrap();
    let before = repository.read("Patient", "1").unwrap();
    let good = transaction("Christie", "2");
    let twice = {
        let mut bundle: Value = serde_json::from_str(&good).unwrap();
        let entry = bundle["entry"][0].clone();
        bundle["entry"].as_array_mut().unwrap().push(entry);
        bundle.to_string()
    };
    for (broken, status) in [
        (good.replace("00000b\"}],", "00000f\"}],"), 400),
        (
            good.replace(
                "\"status\":\"final\"",
                "\"id\":\"other\",\"status\":\"final\"",
            ),
            400,
        ),
        (
            good.replace("\"url\":\"Practitioner\"", "\"url\":\"Physician\""),
            404,
        ),
        (
            good.replace("\"ifNoneExist\":\"identifier", "\"ifNoneExist\":\"name"),
            400,
        ),
        (
            good.replace("\"method\":\"POST\"", "\"method\":\"PATCH\""),
            400,
        ),
        (twice, 400),
    ] {
        assert_ne!(broken, good);
        let fault = bundle(&repository, &broken).unwrap_err();
        assert_eq!(fault.status(), status, "{fault}");
        let outcome = fault.outcome();
        assert!(
            outcome["issue"][0]["expression"][0]
                .as_str()
                .unwrap()
                .starts_with("Bundle.entry["),
            "{outcome}"
        );
        assert!(!outcome.to_string().contains("Christie"));
        assert_eq!(repository.read("Patient", "1").unwrap(), before);
        assert_eq!(
            repository
                .counts()
                .unwrap()
                .iter()
                .map(|(_, count)| count)
                .sum::<u64>(),
            3
        );
    }
}

#[test]
fn a_condition_that_matches_several_is_412() {
    let repository = repository();
    let patient =
        r#"{"resourceType":"Patient","identifier":[{"system":"urn:oid:1.2","value":"A 1|x"}]}"#;
    for _ in 0..2 {
        repository
            .create("Patient", patient.as_bytes(), None)
            .unwrap();
    }
    let fault = bundle(&repository, &transaction("Marple", "1")).unwrap_err();
    assert_eq!(fault.status(), 412);
    assert_eq!(fault.outcome()["issue"][0]["code"], "multiple-matches");
    assert_eq!(repository.counts().unwrap(), [("Patient".to_owned(), 2)]);
}

#[test]
fn concurrent_conditional_creates_make_one() {
    let repository = repository();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    bundle(&repository, &transaction("Marple", "1.50")).unwrap();
                }
            });
        }
    });
    assert!(
        repository
            .counts()
            .unwrap()
            .iter()
            .all(|(_, count)| *count == 1)
    );
    assert_eq!(repository.history_length("Patient", "1").unwrap(), 1);
}

#[test]
fn what_is_not_valid_is_422_and_says_where() {
    let repository = repository();
    let broken = transaction("Marple", "1.50")
        .replace("\"status\":\"final\"", "\"status\":\"done\",\"colour\":1");
    let fault = bundle(&repository, &broken).unwrap_err();
    assert_eq!(fault.status(), 422);
    let outcome = fault.outcome().to_string();
    assert!(
        outcome.contains("Bundle.entry[2].resource.status"),
        "{outcome}"
    );
    assert!(
        outcome.contains("Bundle.entry[2].resource.colour"),
        "{outcome}"
    );
    assert!(repository.counts().unwrap().is_empty());
    repository.set_validating(false);
    bundle(&repository, &broken).unwrap();
}

#[test]
fn client_ids_and_if_none_match() {
    let repository = repository();
    let json = |family: &str, none_match: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[
            {{"resource":{{"resourceType":"Patient","id":"p-1","name":[{{"family":"{family}"}}]}},"request":{{"method":"PUT","url":"Patient/p-1"{none_match}}}}},
            {{"resource":{{"resourceType":"Observation","id":"o","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/p-1"}}}},"request":{{"method":"PUT","url":"Observation/o"}}}}]}}"#
        )
    };
    let star = r#","ifNoneMatch":"*""#;
    assert_eq!(
        statuses(&bundle(&repository, &json("Marple", star)).unwrap()),
        ["201 Created"; 2]
    );
    let again = bundle(&repository, &json("Christie", star)).unwrap();
    assert_eq!(statuses(&again), ["304 Not Modified", "200 OK"]);
    assert!(
        repository
            .read("Patient", "p-1")
            .unwrap()
            .json
            .contains("Marple")
    );
    let replaced = bundle(&repository, &json("Christie", "")).unwrap();
    assert_eq!(statuses(&replaced), ["200 OK"; 2]);
    assert_eq!(repository.read("Patient", "p-1").unwrap().version, 2);
    // If-Match guards a version.
    let stale = r#","ifMatch":"W/\"1\"""#;
    assert_eq!(
        bundle(&repository, &json("Poirot", stale))
            .unwrap_err()
            .status(),
        412
    );
    let current = r#","ifMatch":"W/\"2\"""#;
    bundle(&repository, &json("Poirot", current)).unwrap();
    assert_eq!(repository.read("Patient", "p-1").unwrap().version, 3);
}

#[test]
fn a_batch_goes_entry_by_entry() {
    let repository = repository();
    let json = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"resource":{"resourceType":"Patient","identifier":[{"value":"1"}]},"request":{"method":"POST","url":"Patient"}},
        {"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Sufferer"}},
        {"resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient?identifier=1"}},"request":{"method":"POST","url":"Observation"}},
        {"resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient?identifier=2"}},"request":{"method":"POST","url":"Observation"}},
        {"request":{"method":"GET","url":"Patient?identifier=1"}}]}"#;
    let response = bundle(&repository, json).unwrap();
    assert_eq!(
        statuses(&response),
        ["201 Created", "404", "201 Created", "400", "200 OK"]
    );
    assert_eq!(
        response["entry"][1]["response"]["outcome"]["resourceType"],
        "OperationOutcome"
    );
    assert_eq!(response["entry"][4]["resource"]["total"], 1);
    assert!(
        repository
            .read("Observation", "2")
            .unwrap()
            .json
            .contains("Patient/1")
    );
}

#[test]
fn entries_of_a_transaction_go_in_the_order_of_the_rules() {
    let repository = repository();
    repository
        .create("Patient", br#"{"resourceType":"Patient"}"#, None)
        .unwrap();
    // The GET stands first and sees what the POST after it made; the DELETE is carried out before both.
    let json = r#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"request":{"method":"GET","url":"Patient?_summary=count"}},
        {"resource":{"resourceType":"Patient","active":true},"request":{"method":"POST","url":"Patient"}},
        {"resource":{"resourceType":"Patient","active":false},"request":{"method":"POST","url":"Patient"}},
        {"request":{"method":"DELETE","url":"Patient/1"}}]}"#;
    let response = bundle(&repository, json).unwrap();
    assert_eq!(
        statuses(&response),
        ["200 OK", "201 Created", "201 Created", "204 No Content"]
    );
    assert_eq!(response["entry"][0]["resource"]["total"], 2);
}

#[test]
fn a_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeper/repository.db");
    {
        let repository = Repository::open(Some(&path)).unwrap();
        bundle(&repository, &transaction("Marple", "1.50")).unwrap();
    }
    let repository = Repository::open(Some(&path)).unwrap();
    assert!(
        repository
            .read("Observation", "3")
            .unwrap()
            .json
            .contains("1.50")
    );
    assert_eq!(
        statuses(&bundle(&repository, &transaction("Marple", "1.50")).unwrap()),
        ["200 OK"; 3]
    );
    std::fs::write(
        folder.path().join("other"),
        "not a database, but long enough to look like a file of one",
    )
    .unwrap();
    assert!(Repository::open(Some(&folder.path().join("other"))).is_err());
}

#[tokio::test]
async fn one_resource_over_http() {
    let repository = repository();
    let json = [("content-type", JSON)];
    let (status, headers, created) = send(
        &repository,
        "POST",
        "/Patient",
        &json,
        r#"{"resourceType":"Patient","active":true}"#,
    )
    .await;
    assert_eq!(status, 201);
    assert_eq!(headers["location"], "http://repo.test/Patient/1/_history/1");
    assert_eq!(headers["etag"], "W/\"1\"");
    assert_eq!(created["meta"]["versionId"], "1");

    let changed = r#"{"resourceType":"Patient","id":"1","active":false}"#;
    let (status, headers, _) = send(&repository, "PUT", "/Patient/1", &json, changed).await;
    assert_eq!(
        (status, &headers["etag"]),
        (200, &"W/\"2\"".parse().unwrap())
    );
    let (status, headers, _) = send(&repository, "PUT", "/Patient/1", &json, changed).await;
    assert_eq!(
        (status, &headers["etag"]),
        (200, &"W/\"2\"".parse().unwrap()),
        "unchanged"
    );
    let stale = [("content-type", JSON), ("if-match", "W/\"1\"")];
    assert_eq!(
        send(&repository, "PUT", "/Patient/1", &stale, changed)
            .await
            .0,
        412
    );
    let only_new = [("content-type", JSON), ("if-none-match", "*")];
    assert_eq!(
        send(&repository, "PUT", "/Patient/1", &only_new, changed)
            .await
            .0,
        412
    );
    let minimal = [
        ("content-type", JSON),
        ("prefer", "return=minimal"),
        ("if-none-exist", "_id=1"),
    ];
    let (status, _, body) = send(&repository, "POST", "/Patient", &minimal, changed).await;
    assert_eq!((status, body), (200, Value::Null));

    let (status, _, body) = send(
        &repository,
        "GET",
        "/Patient/1",
        &[("if-none-match", "W/\"2\"")],
        "",
    )
    .await;
    assert_eq!((status, body), (304, Value::Null));
    assert_eq!(
        get(&repository, "/Patient/1/_history/1").await.1["active"],
        true
    );
    assert_eq!(
        send(&repository, "DELETE", "/Patient/1", &[], "").await.0,
        204
    );
    assert_eq!(
        send(&repository, "DELETE", "/Patient/1", &[], "").await.0,
        204
    );
    assert_eq!(get(&repository, "/Patient/1").await.0, 410);
    assert_eq!(get(&repository, "/Patient/1/_history/3").await.0, 410);
    assert_eq!(get(&repository, "/Patient").await.1["total"], 0);
    let (_, history) = get(&repository, "/Patient/1/_history").await;
    let methods: Vec<_> = history["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["request"]["method"])
        .collect();
    assert_eq!(methods, ["DELETE", "PUT", "PUT"]);
    // What was deleted can be made again, and counts on.
    let (status, headers, _) = send(&repository, "PUT", "/Patient/1", &json, changed).await;
    assert_eq!(
        (status, &headers["etag"]),
        (201, &"W/\"4\"".parse().unwrap())
    );
}

#[tokio::test]
async fn search_over_http() {
    let repository = repository();
    for number in 0..5 {
        let patient = json!({"resourceType": "Patient", "id": format!("p{number}"),
            "identifier": [{"system": "urn:oid:1", "value": format!("{}", number % 2)}, {"value": "any"}]});
        repository
            .update(
                "Patient",
                &format!("p{number}"),
                patient.to_string().as_bytes(),
                &Default::default(),
            )
            .unwrap();
    }
    let observation = json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/p1"}});
    repository
        .update(
            "Observation",
            "o",
            observation.to_string().as_bytes(),
            &Default::default(),
        )
        .unwrap();
    for (path, total) in [
        ("/Patient", 5),
        ("/Patient?identifier=urn:oid:1|0", 3),
        ("/Patient?identifier=urn%3Aoid%3A1%7C0,urn:oid:1|1", 5),
        ("/Patient?identifier=0", 3),
        ("/Patient?identifier=|0", 0),
        ("/Patient?identifier=|any", 5),
        ("/Patient?identifier=urn:oid:1|", 5),
        ("/Patient?_id=p1,p2", 2),
        ("/Patient?_id=p1&identifier=urn:oid:1|0", 0),
        ("/Observation?patient=p1", 1),
        ("/Observation?patient=Patient/p1", 1),
        ("/Observation?subject=Patient/p1", 1),
        ("/Observation?subject=Patient/p2", 0),
        ("/Patient?_summary=count", 5),
    ] {
        let (status, found) = get(&repository, path).await;
        assert_eq!((status, &found["total"]), (200, &json!(total)), "{path}");
        let shown = found["entry"].as_array().map_or(0, Vec::len);
        assert_eq!(
            shown,
            if path.contains("_summary") { 0 } else { total },
            "{path}"
        );
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let (_, _, found) = send(
        &repository,
        "POST",
        "/Patient/_search",
        &form,
        "identifier=urn:oid:1|1",
    )
    .await;
    assert_eq!(found["total"], 2);

    // Page by page, by the server's own links.
    let mut path = "/Patient?_count=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let (_, page) = get(&repository, &path).await;
        seen.extend(
            page["entry"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["resource"]["id"].to_string()),
        );
        let links = page["link"].as_array().unwrap();
        let Some(next) = links.iter().find(|link| link["relation"] == "next") else {
            break;
        };
        path = next["url"]
            .as_str()
            .unwrap()
            .trim_start_matches("http://repo.test")
            .to_owned();
    }
    assert_eq!(seen, ["\"p0\"", "\"p1\"", "\"p2\"", "\"p3\"", "\"p4\""]);
}

#[tokio::test]
async fn every_error_is_an_outcome() {
    let repository = repository();
    let json = [("content-type", JSON)];
    let patient = r#"{"resourceType":"Patient","id":"1"}"#;
    let xml = [("content-type", "application/fhir+xml")];
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);
    let cases: &[Case<'_>] = &[
        ("GET", "/Patient/1", &[], "", 404),
        ("GET", "/Sufferer", &[], "", 404),
        ("GET", "/Resource/1", &[], "", 404),
        ("GET", "/a/b/c/d/e/f", &[], "", 404),
        ("GET", "/Patient/1/_history/x", &[], "", 404),
        ("GET", "/", &[], "", 405),
        ("PATCH", "/Patient/1", &json, "{}", 405),
        ("POST", "/Patient/1", &json, patient, 405),
        ("DELETE", "/Patient", &[], "", 405),
        ("GET", "/Patient?name=x", &[], "", 400),
        ("PUT", "/Patient?name=x", &json, patient, 400),
        ("PUT", "/Patient", &json, patient, 400),
        ("PUT", "/Patient/2", &json, patient, 400),
        ("PUT", "/Patient/a_b", &json, patient, 400),
        ("POST", "/Observation", &json, patient, 400),
        ("POST", "/Patient", &json, "{", 400),
        ("POST", "/", &json, patient, 400),
        (
            "POST",
            "/",
            &json,
            r#"{"resourceType":"Bundle","type":"collection"}"#,
            400,
        ),
        ("POST", "/Patient", &xml, "<Patient/>", 415),
        ("POST", "/", &[], "{}", 415),
        (
            "GET",
            "/metadata",
            &[("accept", "application/fhir+xml")],
            "",
            406,
        ),
    ];
    for (method, path, headers, body, expected) in cases {
        let (status, headers, outcome) = send(&repository, method, path, headers, body).await;
        assert_eq!(status, *expected, "{method} {path}: {outcome}");
        assert_eq!(
            outcome["resourceType"], "OperationOutcome",
            "{method} {path}"
        );
        assert!(headers["content-type"].to_str().unwrap().starts_with(JSON));
    }
    let huge = " ".repeat(BODY_LIMIT + 1);
    assert_eq!(send(&repository, "POST", "/", &json, &huge).await.0, 413);
}

#[tokio::test]
async fn nested_under_a_path() {
    let repository = repository();
    let app = axum::Router::new().nest("/fhir", router(Arc::clone(&repository)));
    let send = |method: &str, path: &str, body: String| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "repo.test")
            .header("content-type", JSON)
            .body(Body::from(body))
            .unwrap();
        app.clone().oneshot(request)
    };
    let base = send("POST", "/fhir", transaction("Marple", "1"))
        .await
        .unwrap();
    assert_eq!(base.status(), 200);
    let found = send("GET", "/fhir/Patient", String::new()).await.unwrap();
    let found: Value =
        serde_json::from_slice(&to_bytes(found.into_body(), 10_000).await.unwrap()).unwrap();
    assert_eq!(
        found["entry"][0]["fullUrl"],
        "http://repo.test/fhir/Patient/1"
    );
    assert_eq!(found["link"][0]["url"], "http://repo.test/fhir/Patient");
    let outside = send("GET", "/Patient", String::new()).await.unwrap();
    assert_eq!(outside.status(), 404);
}

#[tokio::test]
async fn metadata_says_what_it_is() {
    let (status, statement) = get(&repository(), "/metadata").await;
    assert_eq!(status, 200);
    assert_eq!(statement["fhirVersion"], "4.0.1");
    assert_eq!(statement["experimental"], true);
    assert!(
        statement["description"]
            .as_str()
            .unwrap()
            .contains("Not for production")
    );
    let capability = upstream_capability(&statement);
    assert!(capability.is_r4() && capability.transaction && capability.batch);
    let observation = capability.resource("Observation").unwrap();
    assert!(observation.update_create && observation.conditional_update);
    assert_eq!(
        observation.search_parameters,
        ["_id", "identifier", "patient", "subject"]
    );
}

fn upstream_capability(statement: &Value) -> upstream::Capability {
    upstream::Capability::read(statement.to_string().as_bytes()).unwrap()
}

/// The whole way: the upstream stack, HTTP on loopback, the router, SQLite.
#[tokio::test]
async fn the_upstream_stack_delivers_to_it() {
    let repository = repository();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn({
        let router = router(Arc::clone(&repository));
        async move { axum::serve(listener, router).await }
    });
    let stack = upstream::stack(&upstream::Config::new(url), Arc::new(())).unwrap();
    assert!(stack.metadata().await.unwrap().transaction);
    let deliver = |json: String| stack.deliver(upstream::Request::transaction(json));
    let delivered = deliver(transaction("Marple", "1.50")).await.unwrap();
    assert_eq!(delivered.entries.len(), 3);
    deliver(transaction("Marple", "1.50")).await.unwrap();
    assert_eq!(repository.history_length("Patient", "1").unwrap(), 1);
    let failure = deliver(transaction("Marple", "1").replace("\"final\"", "\"final\",\"id\":7"))
        .await
        .unwrap_err();
    assert_eq!(failure.action(), upstream::Action::DeadLetter);
    assert_eq!(
        failure.summary.to_string(),
        "error invalid at Bundle.entry[2]"
    );
    server.abort();
}

#[tokio::test]
async fn concept_maps_translate() {
    let repository = repository();
    let url = "https://north.example/map";
    let map = json!({ "resourceType": "ConceptMap", "status": "active", "url": url, "group": [{
        "source": "urn:s", "target": "urn:t",
        "element": [{ "code": "a b", "target": [{ "code": "T", "display": "Tee", "equivalence": "equivalent" }] }],
    }]});
    let headers = [("content-type", JSON)];
    let (status, ..) = send(
        &repository,
        "POST",
        "/ConceptMap",
        &headers,
        &map.to_string(),
    )
    .await;
    assert_eq!(status, 201);
    let get = |url: String| json!({ "request": { "method": "GET", "url": url } });
    let batch = json!({ "resourceType": "Bundle", "type": "batch", "entry": [
        get(format!("ConceptMap/$translate?url={url}&system=urn:s&code=a%20b&targetsystem=urn:t")),
        get("ConceptMap/$translate?system=urn:s&code=c".into()),
        get("ConceptMap/$translate?url=urn:none&system=urn:s&code=c".into()),
        get("ConceptMap/$translate?system=urn:s".into()),
        get("ConceptMap/$translate?code=c&reverse=true".into()),
    ]});
    let answer = bundle(&repository, &batch.to_string()).unwrap();
    let parameters = |entry: usize| answer["entry"][entry]["resource"]["parameter"].clone();
    assert_eq!(parameters(0)[0]["valueBoolean"], true, "{answer}");
    let concept = &parameters(0)[1]["part"][1]["valueCoding"];
    assert_eq!(
        *concept,
        json!({ "system": "urn:t", "code": "T", "display": "Tee" })
    );
    assert_eq!(parameters(1)[0]["valueBoolean"], false);
    let starts: Vec<&str> = statuses(&answer)
        .iter()
        .map(|status| &status[..3])
        .collect();
    assert_eq!(starts, ["200", "200", "404", "400", "400"]);
    let (status, _, alone) = send(
        &repository,
        "GET",
        "/ConceptMap/$translate?system=urn:s&code=a%20b",
        &[],
        "",
    )
    .await;
    assert_eq!(
        (status, &alone["parameter"][0]["valueBoolean"]),
        (200, &json!(true))
    );
}

#[tokio::test]
async fn a_compressed_body_is_read_within_the_limit() {
    use std::io::Write;

    let repository = repository();
    let gzip = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let headers = |coding| [("content-type", JSON), ("content-encoding", coding)];
    let patient = br#"{"resourceType":"Patient","id":"1"}"#;
    for (coding, body, expected) in [
        ("gzip", gzip(patient), 201),
        ("identity", patient.to_vec(), 200),
        ("gzip", patient.to_vec(), 400),
        ("br", patient.to_vec(), 415),
        ("gzip", gzip(&vec![b' '; BODY_LIMIT + 1]), 413),
    ] {
        let (status, _, _) = send(&repository, "PUT", "/Patient/1", &headers(coding), body).await;
        assert_eq!(status, expected, "{coding}");
    }
}
