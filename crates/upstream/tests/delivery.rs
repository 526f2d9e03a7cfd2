//! Rows of reliability tables 3.4 and 3.5 against a scripted server on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use http::HeaderValue;
use support::{Server, Step, answer, status};
use upstream::{
    Action, Attempt, Auth, AuthError, Authenticator, Class, Config, ConfigError, Failure, Observer,
    Reason, Request, Stack, State, stack, stack_with,
};

const BUNDLE: &str = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient"}}]}"#;

fn config(server: &Server) -> Config {
    Config {
        deadline: Duration::from_secs(5),
        ..Config::new(server.url())
    }
}

fn plain(server: &Server) -> Stack {
    stack(&config(server), Arc::new(())).unwrap()
}

async fn fail(stack: &Stack) -> Failure {
    stack
        .deliver(Request::transaction(BUNDLE))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_transaction_is_posted_to_the_base() {
    let server = Server::start([]).await;
    let config = Config {
        auth: Auth::Bearer {
            secret: "token".into(),
        },
        headers: vec![("X-Tenant".into(), "north".into())],
        ..config(&server)
    };
    let stack = stack(&config, Arc::new(())).unwrap();
    let request = Request {
        request_id: Some("record-7".into()),
        ..Request::transaction(BUNDLE)
    };
    let delivered = stack.deliver(request).await.unwrap();
    assert_eq!(delivered.status, 200);
    assert_eq!(delivered.entries[0].status, 201);
    assert_eq!(
        delivered.entries[0].location.as_deref(),
        Some("Patient/1/_history/1")
    );
    let seen = server.seen();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].path.as_str()),
        ("POST", "/fhir")
    );
    assert_eq!(seen[0].body, BUNDLE);
    for (name, value) in [
        ("content-type", "application/fhir+json"),
        ("accept", "application/fhir+json"),
        ("prefer", "return=minimal"),
        ("authorization", "Bearer token"),
        ("x-tenant", "north"),
        ("x-request-id", "record-7"),
    ] {
        assert_eq!(seen[0].headers[name], value, "{name}");
    }
    let debug = format!("{stack:?} {config:?} {delivered:?}");
    assert!(
        !debug.contains("token") && !debug.contains("north"),
        "{debug}"
    );
}

/// Row 18, and every status that is final at once.
#[tokio::test]
async fn what_blames_the_message_is_tried_once() {
    for (code, class, action) in [
        (400, Class::Permanent, Action::DeadLetter),
        (422, Class::Permanent, Action::DeadLetter),
        (410, Class::Gone, Action::DeadLetter),
        (412, Class::Precondition, Action::DeadLetter),
        (413, Class::TooLarge, Action::Split),
    ] {
        let outcome = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","expression":["Patient.birthDate"]}]}"#;
        let server = Server::start([answer(code, &[], outcome)]).await;
        let stack = plain(&server);
        let failure = fail(&stack).await;
        assert_eq!((failure.class, failure.action()), (class, action), "{code}");
        assert_eq!(
            failure.summary.to_string(),
            "error invalid at Patient.birthDate"
        );
        assert_eq!(failure.body, outcome);
        assert_eq!(server.count(), 1, "{code}: not repeated");
        assert_eq!(
            *stack.state().borrow(),
            State::Closed,
            "{code}: the server is well"
        );
    }
}

#[tokio::test]
async fn what_blames_the_destination_pauses_it() {
    for (code, reason) in [
        (401, Reason::Auth),
        (403, Reason::Config),
        (404, Reason::Config),
        (405, Reason::Config),
        (415, Reason::Config),
        (302, Reason::Config),
    ] {
        let server =
            Server::start([answer(code, &[("location", "http://127.0.0.1:1/")], "")]).await;
        let stack = plain(&server);
        let failure = fail(&stack).await;
        assert!(
            matches!(failure.action(), Action::PauseDestination { .. }),
            "{code}"
        );
        assert_eq!(stack.state().borrow().reason(), Some(reason), "{code}");
        // The next one is not sent, and not counted.
        let next = fail(&stack).await;
        assert_eq!(next.class, Class::Paused { reason });
        assert!(
            matches!(next.action(), Action::Retry { counted: false, after } if !after.is_zero())
        );
        assert_eq!(server.count(), 1, "{code}");
    }
}

/// Row 19, the sending side: 409 is repeated a few times at once, then by the queue, then parked.
#[tokio::test]
async fn a_conflict_is_repeated_with_jitter_then_parked() {
    let server = Server::start([status(409), status(423)]).await;
    let stack = plain(&server);
    stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
    assert_eq!(server.count(), 3);
    {
        let seen = server.seen();
        assert!(
            seen.iter().all(|request| request.body == seen[0].body),
            "identical"
        );
    }
    for attempt in 0..5 {
        server.then([status(409), status(409), status(409)]);
        let request = Request {
            attempt,
            ..Request::transaction(BUNDLE)
        };
        let failure = stack.deliver(request).await.unwrap_err();
        assert_eq!(failure.class, Class::Conflict);
        match failure.action() {
            Action::Retry { counted, .. } => assert!(counted && attempt < 4, "attempt {attempt}"),
            action => assert!(
                action == Action::ParkKey && attempt == 4,
                "attempt {attempt}: {action:?}"
            ),
        }
    }
}

/// Rows 13 and 23: 5xx goes back to the queue at once, with growing waits.
#[tokio::test]
async fn a_server_error_belongs_to_the_queue() {
    for code in [500, 502, 503, 504] {
        let server = Server::start([status(code), status(code)]).await;
        let stack = plain(&server);
        for attempt in [0, 30] {
            let request = Request {
                attempt,
                ..Request::transaction(BUNDLE)
            };
            let failure = stack.deliver(request).await.unwrap_err();
            assert_eq!(
                (failure.class, failure.status),
                (Class::Transient, Some(code))
            );
            let Action::Retry {
                after,
                counted: true,
            } = failure.action()
            else {
                panic!("{failure:?}");
            };
            let limit = if attempt == 0 { 1 } else { 300 };
            assert!(after <= Duration::from_secs(limit), "{after:?}");
        }
        assert_eq!(server.count(), 2, "{code}: no short retries");
    }
}

/// Row 17.
#[tokio::test]
async fn retry_after_is_obeyed() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
    let ancient = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH);
    for (code, value, seconds) in [
        (429, Some("30"), 29..=30),
        (503, Some("30"), 29..=30),
        (429, Some(date.as_str()), 28..=31),
        (429, Some(ancient.as_str()), 0..=0),
        (429, Some("99999999999999999999"), 3599..=3600),
        // Garbage and none at all: the circuit's own pause, 2 s.
        (429, Some("soon"), 1..=2),
        (429, None, 1..=2),
    ] {
        let headers: Vec<_> = value
            .map(|value| ("retry-after", value))
            .into_iter()
            .collect();
        let server = Server::start([answer(code, &headers, "")]).await;
        let stack = plain(&server);
        let failure = fail(&stack).await;
        let Action::Retry {
            after,
            counted: false,
        } = failure.action()
        else {
            panic!("{value:?}: {failure:?}");
        };
        assert!(seconds.contains(&after.as_secs()), "{value:?}: {after:?}");
        assert_eq!(
            stack.state().borrow().reason(),
            Some(Reason::Throttled),
            "{value:?}"
        );
        if !after.is_zero() {
            // No storm: while the server wants to be left alone, nothing is sent.
            assert!(matches!(fail(&stack).await.class, Class::Paused { .. }));
        }
        assert_eq!(server.count(), 1);
    }
    // 503 with garbage is an ordinary 503.
    let server = Server::start([answer(503, &[("retry-after", "soon")], "")]).await;
    assert_eq!(fail(&plain(&server)).await.class, Class::Transient);
}

#[tokio::test]
async fn throttled_for_a_second_and_then_served() {
    let server = Server::start([answer(429, &[("retry-after", "1")], "")]).await;
    let stack = plain(&server);
    let started = Instant::now();
    fail(&stack).await;
    stack.ready().await;
    stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
    assert!(
        started.elapsed() >= Duration::from_millis(990),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(*stack.state().borrow(), State::Closed);
}

/// Rows 14 and 15.
#[tokio::test]
async fn a_hang_and_a_trickle_meet_the_deadline() {
    for step in [Step::Hang, Step::Trickle] {
        let server = Server::start([step]).await;
        let config = Config {
            deadline: Duration::from_millis(300),
            ..config(&server)
        };
        let stack = stack(&config, Arc::new(())).unwrap();
        let started = Instant::now();
        let failure = fail(&stack).await;
        assert_eq!((failure.class, failure.status), (Class::Ambiguous, None));
        assert!((300..1500).contains(&started.elapsed().as_millis()));
        assert!(matches!(
            failure.action(),
            Action::Retry { counted: true, .. }
        ));
        // The connection is gone with the request: the next one is served.
        stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
    }
}

#[tokio::test]
async fn hangs_open_the_circuit_and_a_probe_closes_it() {
    let server = Server::start((0..3).map(|_| Step::Hang)).await;
    let mut config = config(&server);
    config.deadline = Duration::from_millis(100);
    config.breaker.failures = 3;
    config.breaker.first_pause = Duration::from_millis(200);
    let stack = stack(&config, Arc::new(())).unwrap();
    for _ in 0..3 {
        assert_eq!(fail(&stack).await.class, Class::Ambiguous);
    }
    assert!(matches!(
        fail(&stack).await.class,
        Class::Paused {
            reason: Reason::Failures
        }
    ));
    assert_eq!(server.count(), 3);
    stack.ready().await;
    stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
    assert_eq!(*stack.state().borrow(), State::Closed);
}

/// A cancelled probe must not leave the circuit half-open for ever.
#[tokio::test]
async fn a_cancelled_probe_makes_room_for_the_next() {
    let server = Server::start([status(500), Step::Hang]).await;
    let mut config = config(&server);
    config.breaker.failures = 1;
    config.breaker.first_pause = Duration::from_millis(50);
    let stack = stack(&config, Arc::new(())).unwrap();
    fail(&stack).await;
    stack.ready().await;
    let probe = stack.deliver(Request::transaction(BUNDLE));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), probe)
            .await
            .is_err()
    );
    stack.ready().await;
    stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
}

/// Row 16: the answer is lost; the identical request goes out again.
#[tokio::test]
async fn a_connection_cut_after_sending_is_ambiguous() {
    let server = Server::start([Step::Cut]).await;
    let stack = plain(&server);
    stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
    assert_eq!(server.count(), 2);
    server.then((0..3).map(|_| Step::Cut));
    let failure = fail(&stack).await;
    assert_eq!(failure.class, Class::Ambiguous);
    assert_eq!(server.count(), 5);
    assert_eq!(server.seen()[4].body, BUNDLE);
}

#[tokio::test]
async fn a_408_is_repeated() {
    let server = Server::start([status(408)]).await;
    plain(&server)
        .deliver(Request::transaction(BUNDLE))
        .await
        .unwrap();
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn nobody_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = fail(&stack(&Config::new(url), Arc::new(())).unwrap()).await;
    assert_eq!(
        (failure.class, &*failure.detail),
        (Class::Transient, "no connection: refused")
    );
    let failure =
        fail(&stack(&Config::new("http://nowhere.invalid/"), Arc::new(())).unwrap()).await;
    assert_eq!(failure.class, Class::Transient);
    assert_eq!(&*failure.detail, "no connection: name not resolved");
}

/// Row 46: the name is resolved for each connection, so a server that moves is found without a restart.
#[tokio::test]
async fn a_server_that_moves_is_found() {
    let server = Server::start([]).await;
    let port = server.address.port();
    let mut config = Config::new(format!("http://localhost:{port}/fhir"));
    config.breaker.failures = 100;
    let stack = stack(&config, Arc::new(())).unwrap();
    stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
    server.stop();
    assert!(fail(&stack).await.class.is_retryable());
    // To the other address of the name, where it has two; else back at the old one, over a new connection.
    let mut addresses = tokio::net::lookup_host(("localhost", port)).await.unwrap();
    let moved = match addresses.find(std::net::SocketAddr::is_ipv6) {
        Some(address) => tokio::net::TcpListener::bind(address).await.ok(),
        None => None,
    };
    let listener = match moved {
        Some(listener) => listener,
        None => tokio::net::TcpListener::bind(("127.0.0.1", port))
            .await
            .unwrap(),
    };
    let _server = Server::on(listener, None, []);
    stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
}

/// Row 22: of a batch only what may still succeed is sent again.
#[tokio::test]
async fn only_throttled_entries_are_sent_again() {
    let bundle = |places: &[usize]| {
        let entries: Vec<String> = places
            .iter()
            .map(|place| format!(r#"{{"n":{place}.50}}"#))
            .collect();
        format!(
            r#"{{"resourceType":"Bundle","type":"batch","entry":[{}]}}"#,
            entries.join(",")
        )
    };
    let response = |statuses: &[u16]| {
        let entries: Vec<String> = statuses
            .iter()
            .map(|status| format!(r#"{{"response":{{"status":"{status}"}}}}"#))
            .collect();
        let body = format!(
            r#"{{"resourceType":"Bundle","type":"batch-response","entry":[{}]}}"#,
            entries.join(",")
        );
        answer(200, &[], &body)
    };
    let whole: Vec<usize> = (0..8).collect();
    let first = response(&[201, 201, 201, 429, 201, 201, 201, 429]);

    let server = Server::start([first.clone(), response(&[201, 201])]).await;
    let stack = plain(&server);
    stack.deliver(Request::batch(bundle(&whole))).await.unwrap();
    assert_eq!(server.seen()[1].body, bundle(&[3, 7]));

    // Still throttled after the short retries: the queue brings back what is not stored. Entry 3 was refused
    // meanwhile; it comes along, so that the last answer tells of it and the batch never counts as delivered.
    server.then([first, response(&[422, 429]), response(&[429])]);
    let failure = stack
        .deliver(Request::batch(bundle(&whole)))
        .await
        .unwrap_err();
    assert_eq!(
        server.seen()[4].body,
        bundle(&[7]),
        "not 3, which is refused for good"
    );
    assert_eq!(failure.class, Class::Mixed);
    let Action::RetryEntries {
        entries,
        refused,
        counted,
        ..
    } = failure.action()
    else {
        panic!("{failure:?}");
    };
    assert_eq!(
        (&*entries, &*refused, counted),
        (&[3, 7][..], &[3][..], false)
    );
    server.then([response(&[422, 201])]);
    let request = Request {
        entries: Some(entries),
        ..Request::batch(bundle(&whole))
    };
    let failure = stack.deliver(request).await.unwrap_err();
    assert_eq!(server.seen().last().unwrap().body, bundle(&[3, 7]));
    assert_eq!(failure.entries[0].index, 3);
    assert_eq!(failure.action(), Action::DeadLetter);
}

/// A token that changes when it is refused, and counts its refreshes.
struct Rotating {
    token: Mutex<u32>,
    refreshes: AtomicUsize,
}

impl Authenticator for Rotating {
    fn authorization(&self) -> BoxFuture<'_, Result<Option<HeaderValue>, AuthError>> {
        let value = format!("Bearer {}", self.token.lock().unwrap());
        Box::pin(async move { Ok(Some(value.parse().unwrap())) })
    }

    fn refresh(&self, refused: Option<&HeaderValue>) -> BoxFuture<'_, Result<bool, AuthError>> {
        let mut token = self.token.lock().unwrap();
        if refused.unwrap() == format!("Bearer {token}").as_str() {
            *token += 1;
            self.refreshes.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(async { Ok(true) })
    }
}

/// Row 21: refreshed once, and a second refusal pauses.
#[tokio::test]
async fn a_refused_token_is_refreshed_once() {
    let server = Server::start([status(401)]).await;
    let rotating = Arc::new(Rotating {
        token: Mutex::new(1),
        refreshes: AtomicUsize::new(0),
    });
    let stack = stack_with(&config(&server), rotating.clone(), Arc::new(())).unwrap();
    stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
    let tokens: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| seen.headers["authorization"].clone())
        .collect();
    assert_eq!(tokens, ["Bearer 1", "Bearer 2"]);
    server.then([status(401), status(401)]);
    let failure = fail(&stack).await;
    assert_eq!(failure.class, Class::Auth);
    assert_eq!(server.count(), 4);
    assert_eq!(rotating.refreshes.load(Ordering::SeqCst), 2);
}

#[test]
fn a_credential_never_leaves_in_clear_text() {
    let config = Config {
        auth: Auth::Basic {
            user: "gateway".into(),
            secret: "word".into(),
        },
        ..Config::new("http://fhir.example/r4")
    };
    let refused = stack(&config, Arc::new(())).unwrap_err();
    assert!(matches!(refused, ConfigError::PlaintextCredential { .. }));
    assert!(!refused.to_string().contains("word"));
}

#[tokio::test]
async fn a_huge_answer_is_not_read_to_its_end() {
    let huge = format!(
        "{STORED_HEAD}{}",
        " ".repeat(3_000_000),
        STORED_HEAD = &support::STORED[..40]
    );
    let server = Server::start([answer(200, &[], &huge)]).await;
    let config = Config {
        max_response_bytes: 10_000,
        ..config(&server)
    };
    let stack = stack(&config, Arc::new(())).unwrap();
    let delivered = stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
    assert!(delivered.truncated && delivered.body.len() == 10_000);
    stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
}

#[tokio::test]
async fn no_more_requests_at_once_than_configured() {
    let server = Server::start((0..6).map(|_| Step::Slow(Duration::from_millis(100)))).await;
    let config = Config {
        concurrency: 2,
        ..config(&server)
    };
    let stack = stack(&config, Arc::new(())).unwrap();
    let started = Instant::now();
    let calls = (0..6).map(|_| stack.deliver(Request::transaction(BUNDLE)));
    for result in futures_util::future::join_all(calls).await {
        result.unwrap();
    }
    assert!(
        started.elapsed() >= Duration::from_millis(300),
        "{:?}",
        started.elapsed()
    );
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn attempt(&self, attempt: &Attempt) {
        let class = attempt.class.map_or("delivered", Class::as_str);
        self.0
            .lock()
            .unwrap()
            .push(format!("attempt {:?} {class}", attempt.status));
    }

    fn finished(&self, call: &Attempt) {
        let class = call.class.map_or("delivered", Class::as_str);
        self.0.lock().unwrap().push(format!("call {class}"));
    }

    fn circuit(&self, from: State, to: State) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{} to {}", from.as_str(), to.as_str()));
    }
}

#[tokio::test]
async fn an_observer_is_told() {
    let server = Server::start([status(409), status(200), status(401)]).await;
    let told = Arc::new(Told::default());
    let stack = stack(&config(&server), told.clone()).unwrap();
    stack.deliver(Request::transaction(BUNDLE)).await.unwrap();
    fail(&stack).await;
    fail(&stack).await;
    assert_eq!(
        *told.0.lock().unwrap(),
        [
            "attempt Some(409) conflict",
            "attempt Some(200) delivered",
            "call delivered",
            "attempt Some(401) auth",
            "closed to open",
            "call auth",
            "call paused",
        ]
    );
}

#[tokio::test]
async fn metadata_is_read() {
    let statement = r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[{"mode":"server","interaction":[{"code":"transaction"}]}]}"#;
    let server = Server::start([answer(200, &[], statement), status(503), status(200)]).await;
    let stack = plain(&server);
    let capability = stack.metadata().await.unwrap();
    assert!(capability.is_r4() && capability.transaction);
    assert_eq!(server.seen()[0].path, "/fhir/metadata");
    assert!(stack.metadata().await.is_err());
    assert!(stack.metadata().await.is_err());
}
