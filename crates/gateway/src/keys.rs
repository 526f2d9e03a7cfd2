//! `/.well-known/jwks.json`: the public halves of the keys that sign for us, for the servers that are to trust them.

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use upstream::ConfigError;

use crate::{config::Destination, deliver::signing_keys};

/// Public keys of all given destinations as one JSON Web Key Set (RFC 7517), each once.
///
/// # Errors
/// [`ConfigError::Key`]: a key file that cannot be used.
pub fn public_keys<'d>(
    destinations: impl IntoIterator<Item = &'d Destination>,
) -> Result<Value, ConfigError> {
    let mut keys: Vec<Value> = Vec::new();
    for destination in destinations {
        let Some(signing) = signing_keys(destination)? else {
            continue;
        };
        for key in signing.public().keys {
            let key = serde_json::to_value(key).unwrap_or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    Ok(json!({ "keys": keys }))
}

/// The endpoint.
pub fn router(keys: Value) -> Router {
    let body = keys.to_string();
    let answer = move || -> std::future::Ready<Response> {
        let headers = [
            (header::CONTENT_TYPE, "application/jwk-set+json"),
            // Short, so that a new key is seen soon.
            (header::CACHE_CONTROL, "max-age=300"),
        ];
        std::future::ready((headers, body.clone()).into_response())
    };
    Router::new().route("/.well-known/jwks.json", get(answer))
}
