//! `.well-known/smart-configuration` (SMART App Launch, section "Conformance").

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header::ACCEPT};
use serde::Deserialize;
use tower::ServiceExt;

use crate::auth::AuthError;
use crate::http_client::{HttpClient, Outgoing};

#[derive(Deserialize)]
struct SmartConfiguration {
    token_endpoint: Option<String>,
}

/// Asks the FHIR server where its tokens come from.
pub(super) async fn token_endpoint(http: &HttpClient, base: &Uri) -> Result<String, AuthError> {
    let failed = |reason: &str, transient| AuthError {
        reason: format!("discovery of the token endpoint: {reason}"),
        transient,
    };
    let path = format!(
        "{}/.well-known/smart-configuration",
        base.path().trim_end_matches('/')
    );
    let mut parts = base.clone().into_parts();
    parts.path_and_query = path.parse().ok();
    let uri = Uri::from_parts(parts).map_err(|_| failed("the base url has no such path", false))?;
    let outgoing = Outgoing {
        method: Method::GET,
        uri,
        headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
        authorization: None,
        body: Bytes::new(),
    };
    let answer = http
        .clone()
        .oneshot(outgoing)
        .await
        .map_err(|error| failed(&error.to_string(), error.may_pass()))?;
    if answer.status != 200 {
        let transient = answer.status >= 500 || answer.status == 429;
        return Err(failed(&format!("status {}", answer.status), transient));
    }
    let found: SmartConfiguration = serde_json::from_slice(&answer.body)
        .map_err(|_| failed("the document is not readable", false))?;
    found
        .token_endpoint
        .ok_or_else(|| failed("the document names none", false))
}
