//! Reliability test 21: tokens that end, and a token endpoint that is down, cost no message. As a SMART backend service:
//! the token endpoint trusts what the gateway publishes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};
use support::{Answer, Command, Feed, FhirServer, FhirwayTest};
use tokio::net::TcpListener;

/// A token endpoint.
#[derive(Clone, Default)]
struct Tokens(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The keys of the client, once it is registered.
    keys: Option<JwkSet>,
    /// Assertions that were used.
    used: BTreeSet<String>,
    issued: usize,
    /// The token that is good now.
    good: String,
    down: bool,
    why_refused: Vec<String>,
}

impl Tokens {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tokens = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tokens = tokens.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let tokens = tokens.clone();
                    async move {
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        Ok::<_, Infallible>(tokens.answer(address, &body))
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        address
    }

    fn answer(&self, address: SocketAddr, body: &[u8]) -> Response<Full<Bytes>> {
        let mut inner = self.0.lock().unwrap();
        let answer = |status: u16, body: Value| {
            let body = Full::from(body.to_string());
            Response::builder().status(status).body(body).unwrap()
        };
        if inner.down {
            return answer(503, json!({}));
        }
        match inner.accepts(&format!("http://{address}/token"), body) {
            Ok(()) => {
                inner.issued += 1;
                inner.good = format!("token-{}", inner.issued);
                let body =
                    json!({"access_token": inner.good, "token_type": "bearer", "expires_in": 2});
                answer(200, body)
            }
            Err(why) => {
                inner.why_refused.push(why);
                answer(401, json!({"error": "invalid_client"}))
            }
        }
    }
}

impl Inner {
    fn accepts(&mut self, audience: &str, body: &[u8]) -> Result<(), String> {
        #[derive(serde::Deserialize)]
        struct Claims {
            jti: String,
        }
        let text = std::str::from_utf8(body).unwrap();
        let assertion = text
            .split('&')
            .find_map(|pair| pair.strip_prefix("client_assertion="))
            .ok_or("no assertion")?;
        let keys = self.keys.as_ref().ok_or("not registered")?;
        let header = jsonwebtoken::decode_header(assertion).map_err(|e| e.to_string())?;
        let key = keys.find(&header.kid.ok_or("no kid")?).ok_or("unknown")?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[audience]);
        validation.set_issuer(&["fhirway"]);
        let key = DecodingKey::from_jwk(key).map_err(|e| e.to_string())?;
        let claims = jsonwebtoken::decode::<Claims>(assertion, &key, &validation)
            .map_err(|e| e.to_string())?
            .claims;
        if self.used.insert(claims.jti) {
            Ok(())
        } else {
            Err("used before".to_owned())
        }
    }
}

fn key_file(test: &FhirwayTest) -> String {
    let path = test.folder().join("key.pem");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    std::fs::write(&path, key.serialize_pem()).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_end_and_an_endpoint_that_is_down_cost_no_message() {
    let server = FhirServer::start().await;
    let tokens = Tokens::default();
    let address = tokens.start().await;
    // Nobody gets in without the token that is good at this moment.
    let door = tokens.clone();
    server.answer(move |request| {
        let good = format!("Bearer {}", door.0.lock().unwrap().good);
        if request.authorization.as_deref() == Some(&good) {
            Answer::Store
        } else {
            Answer::status(401)
        }
    });
    let test = FhirwayTest::new().destination("fhir", &server);
    let key = key_file(&test);
    let gateway = test
        .set(
            "destinations.fhir.auth",
            json!({"oauth2": {
                "token_url": format!("http://{address}/token"),
                "client_id": "fhirway",
                "signing_keys": [key],
                "scope": "system/*.cruds",
            }}),
        )
        .start()
        .await;

    // Not registered yet: the destination pauses, nothing is given up.
    let mut feed = Feed::default();
    feed.send(&gateway, 5).await;
    gateway.is_in("fhir", "paused").await;
    assert_eq!(gateway.counts("fhir")["dead"], 0);

    // Registered with what the gateway publishes: the feed begins to flow by itself.
    let (status, published) = gateway.get("admin", "/.well-known/jwks.json").await;
    assert_eq!(status, 200);
    assert!(!published.contains("\"d\""), "{published}");
    tokens.0.lock().unwrap().keys = Some(serde_json::from_str(&published).unwrap());
    gateway.has_delivered("fhir", 5).await;

    // Revoked in the middle, and ended by time: asked for again.
    for round in 0..3 {
        tokens.0.lock().unwrap().good.clear();
        feed.send(&gateway, 10).await;
        gateway.has_delivered("fhir", 15 + round * 10).await;
    }

    // The endpoint is down and the token no longer good: everything waits, then everything arrives.
    {
        let mut inner = tokens.0.lock().unwrap();
        inner.down = true;
        inner.good.clear();
    }
    feed.send(&gateway, 20).await;
    gateway
        .metric_becomes(
            "fhirway_oauth_token_refresh_total{destination=\"fhir\",result=\"failed\"}",
            |count| count >= 2.0,
        )
        .await;
    tokens.0.lock().unwrap().down = false;
    gateway.drained().await;
    feed.arrived(&server);
    assert_eq!(gateway.counts("fhir")["dead"], 0);
    let expiry = gateway
        .metric("fhirway_oauth_token_expiry_timestamp_seconds{destination=\"fhir\"}")
        .await;
    assert!(expiry > 1.7e9, "{expiry}");
    let refused = tokens.0.lock().unwrap().why_refused.clone();
    assert!(
        refused.iter().all(|why| why == "not registered"),
        "{refused:?}"
    );
    let log = gateway.log();
    assert!(
        !log.contains("token-1") && !log.contains("PRIVATE"),
        "secrets in the log"
    );
}

#[test]
fn the_published_keys_can_be_printed() {
    let test = FhirwayTest::new();
    let key = key_file(&test);
    let auth =
        json!({"oauth2": {"token_url": "discover", "client_id": "fhirway", "signing_keys": [key]}});
    let test = test.set(
        "destinations.cloud",
        json!({"url": "https://fhir.example/r4", "auth": auth}),
    );
    let config = test.write_config();
    let printed = Command::new(["upstream", "jwks", "cloud", "--config"])
        .arg(&config)
        .run()
        .expect(0)
        .json();
    assert_eq!(printed["keys"][0]["alg"], "ES384");
    assert_eq!(printed["keys"][0]["use"], "sig");
    assert!(printed["keys"][0].get("d").is_none());
    let wrong = Command::new(["upstream", "jwks", "clowd", "--config"])
        .arg(&config)
        .run()
        .expect(2);
    assert!(wrong.stderr.contains("cloud"));
}
