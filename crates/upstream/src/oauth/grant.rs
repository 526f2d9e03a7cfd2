//! The question to the token endpoint, and its answer.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tower::ServiceExt;

use super::{OAuth2, Proof};
use crate::auth::AuthError;
use crate::http_client::{HttpClient, Outgoing};

/// Life of a token whose answer does not tell (RFC 6749 section 5.1 only recommends to).
const USUAL_LIFE: u64 = 300;
/// No token is kept for longer, whatever its answer says.
const LONGEST_LIFE: u64 = 24 * 3600;
/// What a form leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// `error` values of RFC 6749 section 5.2: the only text of an answer that is repeated.
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// A token.
pub(super) struct Grant {
    pub(super) header: HeaderValue,
    pub(super) life: Duration,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// Asks once.
pub(super) async fn ask(
    http: &HttpClient,
    endpoint: &Uri,
    config: &OAuth2,
) -> Result<Grant, AuthError> {
    let failed = |reason: String, transient| AuthError {
        reason: format!("token endpoint: {reason}"),
        transient,
    };
    let mut form = vec![("grant_type", "client_credentials".to_owned())];
    if let Some(scope) = &config.scope {
        form.push(("scope", scope.clone()));
    }
    let mut authorization = None;
    match &config.proof {
        Proof::SecretBasic(secret) => {
            authorization = Some(basic(&config.client_id, secret).ok_or_else(|| {
                failed(
                    "the client secret cannot stand in a header".to_owned(),
                    false,
                )
            })?);
        }
        Proof::SecretPost(secret) => {
            form.push(("client_id", config.client_id.clone()));
            form.push(("client_secret", secret.expose_secret().to_owned()));
        }
        Proof::PrivateKeyJwt(keys) => {
            let assertion = keys
                .assertion(&config.client_id, &endpoint.to_string())
                .map_err(|reason| failed(reason, false))?;
            form.push((
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
            ));
            form.push(("client_assertion", assertion));
        }
    }
    for (name, value) in &config.parameters {
        form.push((name, value.clone()));
    }
    let outgoing = Outgoing {
        method: Method::POST,
        uri: endpoint.clone(),
        headers: HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("application/json")),
            (
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            ),
        ]),
        authorization,
        body: Bytes::from(encode(&form)),
    };
    let answer = http
        .clone()
        .oneshot(outgoing)
        .await
        .map_err(|error| failed(error.to_string(), error.may_pass()))?;
    match answer.status {
        200 => read(&answer.body).map_err(|reason| failed(reason.to_owned(), false)),
        status => {
            let code = serde_json::from_slice(&answer.body)
                .ok()
                .and_then(|Refused { error }| ERRORS.into_iter().find(|known| *known == error));
            let reason = code.map_or_else(
                || format!("status {status}"),
                |code| format!("{code} (status {status})"),
            );
            Err(failed(reason, matches!(status, 408 | 425 | 429 | 500..)))
        }
    }
}

/// The form's bytes (application/x-www-form-urlencoded).
fn encode(form: &[(&str, String)]) -> String {
    form.iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect::<Vec<_>>()
        .join("&")
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// Both halves are form-encoded before they are joined (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &SecretString) -> Option<HeaderValue> {
    let pair = format!("{}:{}", escape(id), escape(secret.expose_secret()));
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut value: HeaderValue = format!("Basic {encoded}").parse().ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn read(body: &[u8]) -> Result<Grant, &'static str> {
    let granted: Granted =
        serde_json::from_slice(body).map_err(|_| "the answer has no access_token")?;
    let bearer = granted
        .token_type
        .is_none_or(|name| name.eq_ignore_ascii_case("bearer"));
    if !bearer {
        return Err("the token is of a type other than bearer");
    }
    let mut header: HeaderValue = format!("Bearer {}", granted.access_token)
        .parse()
        .map_err(|_| "the token cannot stand in a header")?;
    header.set_sensitive(true);
    // Some servers write the number as a text.
    let told = granted.expires_in.and_then(|value| match value {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    });
    let life = told.unwrap_or(USUAL_LIFE).clamp(1, LONGEST_LIFE);
    Ok(Grant {
        header,
        life: Duration::from_secs(life),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let form = [("a", "x y&z=ä".to_owned()), ("b", "-_.~".to_owned())];
        assert_eq!(encode(&form), "a=x%20y%26z%3D%C3%A4&b=-_.~");
        let value = basic("a:b", &"p w".into()).unwrap();
        assert_eq!(value.as_bytes(), b"Basic YSUzQWI6cCUyMHc=");
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn answers() {
        let life = |text: &str| read(text.as_bytes()).map(|grant| grant.life.as_secs());
        assert_eq!(
            life(r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#),
            Ok(60)
        );
        assert_eq!(life(r#"{"access_token":"t","expires_in":"90"}"#), Ok(90));
        assert_eq!(life(r#"{"access_token":"t"}"#), Ok(USUAL_LIFE));
        assert_eq!(life(r#"{"access_token":"t","expires_in":1e99}"#), Ok(300));
        assert_eq!(
            life(r#"{"access_token":"t","expires_in":18446744073709551615}"#),
            Ok(LONGEST_LIFE)
        );
        for text in [
            "",
            "{}",
            "[]",
            r#"{"access_token":"a\nb"}"#,
            r#"{"access_token":"t","token_type":"mac"}"#,
        ] {
            assert!(life(text).is_err(), "{text}");
        }
    }
}
