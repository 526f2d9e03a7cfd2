//! `auth` of a destination: how to prove who we are.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    destination::{ClientTls, client_tls},
    problem::Kind,
    secret::Secret,
    section::Section,
};

/// How to authenticate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Bearer` with a token that does not change.
    Bearer(Secret),
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// Tokens by OAuth2 client credentials, or as a SMART backend service.
    OAuth2(Box<OAuth2>),
}

/// OAuth2 client credentials (RFC 6749 section 4.4; SMART App Launch, backend services).
#[derive(Clone, Debug, Serialize)]
pub struct OAuth2 {
    /// Where tokens are asked for.
    pub token_url: TokenUrl,
    /// The name under which the gateway is registered.
    pub client_id: String,
    /// How the gateway proves that it is the one.
    pub proof: ClientProof,
    /// Scopes, separated by blanks.
    pub scope: Option<String>,
    /// Further form parameters, such as `audience`.
    pub parameters: Vec<(String, String)>,
    /// TLS towards the token endpoint. `None`: that of the destination.
    pub tls: Option<ClientTls>,
}

/// Where tokens are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenUrl {
    /// As `.well-known/smart-configuration` of the server says.
    Discover,
    /// There.
    Url(String),
}

/// How the gateway proves who it is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientProof {
    /// A secret in the `Authorization` header.
    SecretInHeader(Secret),
    /// A secret in the form.
    SecretInForm(Secret),
    /// A signed assertion.
    PrivateKeyJwt {
        /// PEM files; the first signs, all are published.
        signing_keys: Vec<PathBuf>,
        /// Where the server finds the public keys, if it is told.
        jwks_url: Option<String>,
    },
}

/// Reads `auth` of a destination.
pub(super) fn read(section: &Section<'_>) -> Auth {
    let Some(auth) = section.section("auth") else {
        return Auth::None;
    };
    let found = [
        auth.secret("bearer").map(Auth::Bearer),
        auth.section("basic").map(basic),
        auth.section("oauth2").map(oauth2),
    ];
    let mut found = found.into_iter().flatten();
    let first = found.next();
    if found.next().is_some() {
        auth.error_of(
            Kind::Conflict,
            auth.origin(),
            format!(
                "{} has more than one of bearer, basic and oauth2",
                section.path_of("auth")
            ),
        );
    }
    auth.finish();
    first.unwrap_or(Auth::None)
}

fn basic(basic: Section<'_>) -> Auth {
    let user = basic.required_text("user");
    let password = required_secret(&basic, "password");
    basic.finish();
    Auth::Basic { user, password }
}

fn oauth2(oauth: Section<'_>) -> Auth {
    let token_url = match oauth.required_text("token_url") {
        word if word == "discover" => TokenUrl::Discover,
        url => TokenUrl::Url(url),
    };
    let read = OAuth2 {
        client_id: oauth.required_text("client_id"),
        proof: proof(&oauth),
        scope: oauth.text("scope"),
        parameters: oauth
            .text_map("parameters")
            .into_iter()
            .map(|(name, value, _)| (name, value))
            .collect(),
        tls: client_tls(&oauth),
        token_url,
    };
    oauth.finish();
    Auth::OAuth2(Box::new(read))
}

fn proof(oauth: &Section<'_>) -> ClientProof {
    let in_form = oauth.choice("secret_in", &[("header", false), ("form", true)]);
    let keys = oauth.texts("signing_keys");
    let jwks_url = oauth.text("jwks_url");
    let Some(keys) = keys else {
        if oauth.node("client_secret").is_none() {
            oauth.error_with_help(
                oauth.origin(),
                format!("{} cannot prove who it is", oauth.path_of("client_id")),
                "add `client_secret: {file: ...}`, or `signing_keys: [key.pem]` for signed assertions",
            );
        }
        let secret = oauth.secret("client_secret").unwrap_or_else(Secret::unset);
        return match in_form {
            Some(true) => ClientProof::SecretInForm(secret),
            _ => ClientProof::SecretInHeader(secret),
        };
    };
    if oauth.node("client_secret").is_some() || in_form.is_some() {
        let path = oauth.path_of("client_secret");
        oauth.error_of(
            Kind::Conflict,
            oauth.origin(),
            format!("{path} and signing_keys exclude each other"),
        );
    }
    if keys.is_empty() {
        oauth.error(
            &oauth.origin_of("signing_keys"),
            format!("{} is empty", oauth.path_of("signing_keys")),
        );
    }
    ClientProof::PrivateKeyJwt {
        signing_keys: keys
            .into_iter()
            .map(|(file, _)| PathBuf::from(file))
            .collect(),
        jwks_url,
    }
}

/// A secret that must be there; a stand-in where it is not, so that other mistakes are found too.
fn required_secret(section: &Section<'_>, key: &'static str) -> Secret {
    if section.node(key).is_none() {
        section.error_of(
            Kind::Missing,
            section.origin(),
            format!("{} is missing", section.path_of(key)),
        );
    }
    section.secret(key).unwrap_or_else(Secret::unset)
}
