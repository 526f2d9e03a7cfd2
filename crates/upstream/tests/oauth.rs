//! Tokens: who asks, when, with what proof, and what happens when there is none (reliability test 21).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA384};
use support::{STORED, Server, Step, answer, status};
use tempfile::TempDir;
use upstream::{
    Action, Auth, Class, Config, ConfigError, Failure, OAuth2, Observer, Proof, Request,
    SigningKey, SigningKeys, Stack, TokenEndpoint, stack,
};

const BUNDLE: &str = r#"{"resourceType":"Bundle","type":"transaction"}"#;

fn request() -> Request {
    Request::transaction(BUNDLE)
}

fn token(text: &str, life: u64) -> Step {
    let body = format!(r#"{{"access_token":"{text}","token_type":"bearer","expires_in":{life}}}"#);
    answer(200, &[("content-type", "application/json")], &body)
}

fn oauth(tokens: &Server) -> OAuth2 {
    OAuth2 {
        endpoint: TokenEndpoint::Url(format!("http://{}/token", tokens.address)),
        client_id: "gate way".into(),
        proof: Proof::SecretBasic("sec:ret".into()),
        scope: Some("system/*.cruds".into()),
        parameters: vec![("audience".into(), "https://fhir.example/r4".into())],
        tls: None,
    }
}

fn config(server: &Server, oauth: OAuth2) -> Config {
    let mut config = Config::new(server.url());
    config.auth = Auth::OAuth2(Box::new(oauth));
    config
}

fn build(server: &Server, oauth: OAuth2) -> Stack {
    stack(&config(server, oauth), Arc::new(())).unwrap()
}

fn form(bytes: &[u8]) -> BTreeMap<String, String> {
    std::str::from_utf8(bytes)
        .unwrap()
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            let decode = |text| {
                percent_encoding::percent_decode_str(text)
                    .decode_utf8()
                    .unwrap()
                    .into_owned()
            };
            (decode(name), decode(value))
        })
        .collect()
}

fn sent(server: &Server) -> Vec<String> {
    let seen = server.seen();
    seen.iter()
        .map(|seen| seen.headers["authorization"].to_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn one_token_serves_many_requests() {
    let (server, tokens) = (
        Server::start([]).await,
        Server::start([token("t1", 3600)]).await,
    );
    let stack = build(&server, oauth(&tokens));
    for _ in 0..3 {
        stack.deliver(request()).await.unwrap();
    }
    assert_eq!(tokens.count(), 1);
    assert_eq!(sent(&server), ["Bearer t1"; 3]);
    let seen = tokens.seen();
    assert_eq!(seen[0].method, "POST");
    assert_eq!(
        seen[0].headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    // Both halves are form-encoded before they are joined.
    assert_eq!(
        seen[0].headers["authorization"],
        "Basic Z2F0ZSUyMHdheTpzZWMlM0FyZXQ="
    );
    let form = form(&seen[0].body);
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["scope"], "system/*.cruds");
    assert_eq!(form["audience"], "https://fhir.example/r4");
}

#[tokio::test]
async fn a_secret_may_stand_in_the_form() {
    let (server, tokens) = (
        Server::start([]).await,
        Server::start([token("t1", 60)]).await,
    );
    let stack = build(
        &server,
        OAuth2 {
            proof: Proof::SecretPost("s&cret".into()),
            ..oauth(&tokens)
        },
    );
    stack.deliver(request()).await.unwrap();
    let form = form(&tokens.seen()[0].body);
    assert_eq!(
        (form["client_id"].as_str(), form["client_secret"].as_str()),
        ("gate way", "s&cret")
    );
}

/// Sixty-four requests at once, no token yet: one question.
#[tokio::test]
async fn requests_that_come_together_ask_once() {
    let (server, tokens) = (
        Server::start([]).await,
        Server::start([token("t1", 3600)]).await,
    );
    let stack = build(&server, oauth(&tokens));
    let together: Vec<_> = (0..64).map(|_| stack.deliver(request())).collect();
    for result in futures_util::future::join_all(together).await {
        result.unwrap();
    }
    assert_eq!((tokens.count(), server.count()), (1, 64));
}

/// The token ends early, in the middle of a crowd: one refresh, and each request is answered.
#[tokio::test]
async fn a_token_that_is_refused_is_asked_for_once_more() {
    let tokens = Server::start([token("old", 3600), token("new", 3600)]).await;
    let server = Server::start([]).await;
    let stack = build(&server, oauth(&tokens));
    stack.deliver(request()).await.unwrap();
    server.then([status(401), status(401), status(401), status(401)]);
    let together: Vec<_> = (0..4).map(|_| stack.deliver(request())).collect();
    for result in futures_util::future::join_all(together).await {
        result.unwrap();
    }
    assert_eq!(tokens.count(), 2, "one question for all");
    assert_eq!(sent(&server)[5..], ["Bearer new"; 4]);
}

/// A second 401 with a fresh token is the server's last word: the destination pauses, the message is not at fault.
#[tokio::test]
async fn a_fresh_token_that_is_refused_too_pauses_the_destination() {
    let tokens = Server::start([token("t1", 3600), token("t2", 3600)]).await;
    let server = Server::start([status(401), status(401)]).await;
    let stack = build(&server, oauth(&tokens));
    let failure = stack.deliver(request()).await.unwrap_err();
    assert_eq!(failure.class, Class::Auth);
    assert!(matches!(failure.action(), Action::PauseDestination { .. }));
    assert_eq!((tokens.count(), server.count()), (2, 2));
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let tokens = Server::start([token("first", 1), token("second", 3600)]).await;
    let server = Server::start([]).await;
    let stack = build(&server, oauth(&tokens));
    stack.deliver(request()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(850)).await;
    stack.deliver(request()).await.unwrap();
    assert_eq!(sent(&server), ["Bearer first", "Bearer second"]);
}

/// The token endpoint is down while the token still serves: nobody notices.
#[tokio::test]
async fn an_outage_of_the_token_endpoint_is_bridged_by_the_token_in_use() {
    let tokens = Server::start([token("first", 2), status(503), token("second", 3600)]).await;
    let server = Server::start([]).await;
    let stack = build(&server, oauth(&tokens));
    stack.deliver(request()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1700)).await;
    stack.deliver(request()).await.unwrap();
    stack.deliver(request()).await.unwrap();
    assert_eq!(tokens.count(), 2, "it is not asked again at once");
    tokio::time::sleep(Duration::from_millis(500)).await;
    stack.deliver(request()).await.unwrap();
    let first = "Bearer first";
    assert_eq!(sent(&server), [first, first, first, "Bearer second"]);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_reason_is_told() {
    for (step, class, words) in [
        (status(503), Class::Transient, "status 503"),
        (status(500), Class::Transient, "status 500"),
        (Step::Cut, Class::Transient, "token endpoint"),
        (
            answer(
                401,
                &[],
                r#"{"error":"invalid_client","error_description":"Ms Ashgrove"}"#,
            ),
            Class::Auth,
            "invalid_client (status 401)",
        ),
        (
            answer(400, &[], r#"{"error":"<b>PID|1</b>"}"#),
            Class::Auth,
            "status 400",
        ),
        (answer(200, &[], "<html>"), Class::Auth, "no access_token"),
    ] {
        // Short retries ask again; the script has the same answer for each.
        let tokens = Server::start([step.clone(), step.clone(), step]).await;
        let server = Server::start([]).await;
        let stack = build(&server, oauth(&tokens));
        let failure: Failure = stack.deliver(request()).await.unwrap_err();
        assert_eq!(failure.class, class, "{words}");
        let text = format!("{failure} {failure:?}");
        assert!(text.contains(words), "{text}");
        for secret in ["sec:ret", "Ashgrove", "PID|1"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!(server.count(), 0);
    }
}

/// Those who waited for a token share its outcome, the bad one too: no stampede on an endpoint that is down.
#[tokio::test]
async fn a_failure_is_shared_by_those_who_waited() {
    let slow = answer(401, &[], r#"{"error":"invalid_client"}"#);
    let tokens = Server::start(vec![slow; 64]).await;
    let server = Server::start([]).await;
    let mut config = config(&server, oauth(&tokens));
    config.concurrency = 32;
    let stack = stack(&config, Arc::new(())).unwrap();
    let together: Vec<_> = (0..32).map(|_| stack.deliver(request())).collect();
    for result in futures_util::future::join_all(together).await {
        result.unwrap_err();
    }
    assert!(tokens.count() <= 2, "{} questions", tokens.count());
}

#[tokio::test]
async fn the_endpoint_is_found_by_discovery() {
    let tokens = Server::start([token("t1", 3600)]).await;
    let configuration = format!(r#"{{"token_endpoint":"http://{}/t"}}"#, tokens.address);
    let server = Server::start([answer(200, &[], &configuration)]).await;
    let stack = build(
        &server,
        OAuth2 {
            endpoint: TokenEndpoint::Discover,
            ..oauth(&tokens)
        },
    );
    stack.deliver(request()).await.unwrap();
    assert_eq!(
        server.seen()[0].path,
        "/fhir/.well-known/smart-configuration"
    );
    assert_eq!(tokens.seen()[0].path, "/t");

    // A server cannot lead the secret away from https.
    let foreign = r#"{"token_endpoint":"http://tokens.example/t"}"#;
    let server = Server::start([answer(200, &[], foreign)]).await;
    let stack = build(
        &server,
        OAuth2 {
            endpoint: TokenEndpoint::Discover,
            ..oauth(&tokens)
        },
    );
    let failure = stack.deliver(request()).await.unwrap_err();
    assert_eq!(failure.class, Class::Auth);
    assert!(failure.to_string().contains("plain http"), "{failure}");
}

fn key(folder: &TempDir, name: &str, pem: &str) -> SigningKey {
    let file = folder.path().join(name);
    std::fs::write(&file, pem).unwrap();
    SigningKey { file, kid: None }
}

fn generated(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    KeyPair::generate_for(algorithm).unwrap().serialize_pem()
}

/// What a server does with an assertion: find the key by its id, check signature, audience and times.
fn verify(assertion: &str, keys: &JwkSet, audience: &str) -> (Algorithm, String, String) {
    #[derive(serde::Deserialize)]
    struct Claims {
        iss: String,
        sub: String,
        exp: u64,
        jti: String,
    }
    let header = jsonwebtoken::decode_header(assertion).unwrap();
    assert_eq!(header.jku.as_deref(), Some("https://gateway.example/jwks"));
    let kid = header.kid.unwrap();
    let jwk = keys.find(&kid).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[audience]);
    validation.set_issuer(&["gate way"]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let decoded = jsonwebtoken::decode::<Claims>(
        assertion,
        &DecodingKey::from_jwk(jwk).unwrap(),
        &validation,
    )
    .unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = decoded.claims;
    assert_eq!(
        (claims.iss.as_str(), claims.sub.as_str()),
        ("gate way", "gate way")
    );
    assert!(
        claims.exp > now && claims.exp <= now + 300,
        "at most five minutes"
    );
    (header.alg, kid, claims.jti)
}

/// SMART Backend Services with both algorithms, and a change of keys with an overlap.
#[tokio::test]
async fn assertions_are_signed_and_their_keys_published() {
    let folder = tempfile::tempdir().unwrap();
    let rsa = key(&folder, "rsa.pem", &generated(&PKCS_RSA_SHA384));
    let ec = key(&folder, "ec.pem", &generated(&PKCS_ECDSA_P384_SHA384));
    let mut seen = HashSet::new();
    for (order, algorithm) in [
        ([rsa.clone(), ec.clone()], Algorithm::RS384),
        ([ec, rsa], Algorithm::ES384),
    ] {
        let keys = SigningKeys::load(&order, Some("https://gateway.example/jwks".into())).unwrap();
        let public = serde_json::to_string(&keys.public()).unwrap();
        let published: JwkSet = serde_json::from_str(&public).unwrap();
        assert_eq!(
            published.keys.len(),
            2,
            "the next key is known before it signs"
        );
        for secret in ["\"d\"", "\"p\"", "\"q\"", "PRIVATE"] {
            assert!(!public.contains(secret), "{public}");
        }
        let tokens = Server::start([token("t1", 1), token("t2", 3600)]).await;
        let server = Server::start([]).await;
        let oauth = OAuth2 {
            proof: Proof::PrivateKeyJwt(keys),
            ..oauth(&tokens)
        };
        assert!(!format!("{oauth:?}").contains("PRIVATE"));
        let stack = build(&server, oauth);
        stack.deliver(request()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        stack.deliver(request()).await.unwrap();
        assert_eq!(tokens.count(), 2);
        for question in tokens.seen().iter() {
            let form = form(&question.body);
            assert_eq!(
                form["client_assertion_type"],
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            assert!(!form.contains_key("client_secret"));
            let audience = format!("http://{}/token", tokens.address);
            let (signed, _, jti) = verify(&form["client_assertion"], &published, &audience);
            assert_eq!(signed, algorithm);
            assert!(seen.insert(jti), "an assertion is used once");
        }
    }
}

#[test]
fn keys_that_cannot_sign_are_refused_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let load = |keys: &[SigningKey]| SigningKeys::load(keys, None);
    let missing = SigningKey {
        file: folder.path().join("none.pem"),
        kid: None,
    };
    let p256 = key(&folder, "p256.pem", &generated(&PKCS_ECDSA_P256_SHA256));
    let text = key(&folder, "text.pem", "not a key");
    let good = key(&folder, "ec.pem", &generated(&PKCS_ECDSA_P384_SHA384));
    for (keys, words) in [
        (vec![], "no signing key"),
        (vec![missing], "none.pem"),
        (vec![p256], "P-384"),
        (vec![text], "text.pem"),
        (vec![good.clone(), good], "same id"),
    ] {
        let error = load(&keys).unwrap_err();
        assert!(matches!(error, ConfigError::Key { .. }));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[derive(Default)]
struct Told {
    good: AtomicUsize,
    bad: AtomicUsize,
    ends: Mutex<Option<SystemTime>>,
}

impl Observer for Told {
    fn token(&self, ends: Option<SystemTime>) {
        match ends {
            Some(_) => self.good.fetch_add(1, Ordering::SeqCst),
            None => self.bad.fetch_add(1, Ordering::SeqCst),
        };
        *self.ends.lock().unwrap() = ends;
    }
}

#[tokio::test]
async fn an_observer_is_told_of_each_question() {
    let tokens = Server::start([token("t1", 600)]).await;
    let server = Server::start([answer(200, &[], STORED)]).await;
    let told = Arc::new(Told::default());
    let stack = stack(
        &config(&server, oauth(&tokens)),
        Arc::clone(&told) as Arc<dyn Observer>,
    )
    .unwrap();
    stack.deliver(request()).await.unwrap();
    let left = told
        .ends
        .lock()
        .unwrap()
        .unwrap()
        .duration_since(SystemTime::now());
    assert!(left.unwrap() > Duration::from_secs(500));
    assert_eq!(told.good.load(Ordering::SeqCst), 1);
    assert_eq!(told.bad.load(Ordering::SeqCst), 0);
}
