//! What one destination is: where, how to authenticate, how long to wait, when to give up.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use secrecy::{ExposeSecret, SecretString};

use crate::oauth::OAuth2;

/// One FHIR server as a destination. [`Config::new`] gives the defaults; secrets never show in `Debug`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The FHIR base URL, `https://host[:port]/path`. A Bundle is posted to exactly this URL
    /// (FHIR R4 http.html#transaction). No user info, query or fragment.
    pub base_url: String,
    /// The credential sent with each request. Default: none.
    pub auth: Auth,
    /// Allows a credential over `http://` to a host that is not loopback. Default: false.
    pub allow_plaintext_credentials: bool,
    /// Trust and client certificate for `https://`.
    pub tls: Tls,
    /// Limit for the TCP connect of one connection. Default: 10 s.
    pub connect_timeout: Duration,
    /// Limit for one request as a whole: connect, short retries, the last byte of the answer. Default: 30 s.
    pub deadline: Duration,
    /// Requests in flight at most; throttling lowers it for a while, never under 1. Default: 4.
    pub concurrency: usize,
    /// Bytes of an answer that are read at most; the rest is not read. Default: 8 MiB.
    pub max_response_bytes: usize,
    /// Waits and counts of retries.
    pub retry: Retry,
    /// When the circuit opens, and for how long.
    pub breaker: Breaker,
    /// Extra headers on each request, such as an API key or a tenant. Not the ones the stack sets itself.
    pub headers: Vec<(String, SecretString)>,
    /// What the server is asked to answer with (`Prefer: return=…`). Default: minimal.
    pub prefer: Prefer,
    /// The format of requests and answers. Default: JSON.
    pub format: Format,
    /// Whether request bodies are compressed. Default: no.
    pub compression: Compression,
    /// When a Bundle is cut into parts. Default: only when the server refuses it as too large.
    pub split: Split,
    /// Whether updates name the version that they replace, which is read before. Default: no; the last one wins.
    pub versions: bool,
    /// Whether a resource that was deleted at the server (410) is made anew, under another id. Default: no.
    pub recreate: bool,
}

/// The credential of a destination.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// No `Authorization` header.
    #[default]
    None,
    /// `Authorization: Bearer …` with a token that does not change (RFC 6750).
    Bearer {
        /// The token.
        secret: SecretString,
    },
    /// `Authorization: Basic …` (RFC 7617, UTF-8).
    Basic {
        /// The user name; must not contain a colon.
        user: String,
        /// The password.
        secret: SecretString,
    },
    /// `Authorization: Bearer …` with tokens that are asked for and renewed.
    OAuth2(Box<OAuth2>),
}

/// TLS towards a destination: at least TLS 1.2, always verified.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// A PEM file with the certificates to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show when the server asks for one.
    pub client_certificate: Option<ClientCertificate>,
}

/// A client certificate in PEM files.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate chain, leaf first.
    pub chain_file: PathBuf,
    /// The private key (PKCS#8, PKCS#1 or SEC1), not encrypted.
    pub key_file: PathBuf,
}

/// Waits and counts of retries (reliability table 3.4).
#[derive(Debug, Clone)]
pub struct Retry {
    /// Times that one call sends at most, the first included. Default: 3. 1 turns short retries off.
    pub short_attempts: u32,
    /// The upper end of the first short wait; doubled for the second, drawn evenly from zero. Default: 150 ms.
    pub short_wait: Duration,
    /// The upper end of the first long wait (handed to the queue), doubled per counted attempt. Default: 1 s.
    pub first_wait: Duration,
    /// The longest of the long waits. Default: 5 min.
    pub longest_wait: Duration,
    /// The longest that a server's Retry-After is obeyed. Default: 1 h.
    pub longest_retry_after: Duration,
    /// Counted attempts after which an edit conflict (409, 423) parks its key. Default: 5.
    pub conflict_attempts: u32,
}

/// When the circuit opens, and for how long.
#[derive(Debug, Clone)]
pub struct Breaker {
    /// Requests in a row that must fail (5xx, timeout, no connection) to open it. Default: 5. 0 counts as 1.
    pub failures: u32,
    /// How long it stays open the first time; doubled each time that the probe fails. Default: 2 s.
    pub first_pause: Duration,
    /// The longest pause. Default: 60 s. (A Retry-After may be longer.)
    pub longest_pause: Duration,
}

/// What the server is asked to return (FHIR R4 http.html#ops).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// `return=minimal`: statuses only.
    #[default]
    Minimal,
    /// `return=representation`: what is stored.
    Representation,
    /// `return=OperationOutcome`: hints and warnings too.
    OperationOutcome,
    /// No `Prefer` header.
    Unset,
}

/// When a Bundle is cut into parts, which are then no longer stored all or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Split {
    /// Entries of a Bundle at most.
    pub max_entries: Option<usize>,
    /// Bytes of a Bundle as JSON at most.
    pub max_bytes: Option<usize>,
}

/// How FHIR is written (<https://hl7.org/fhir/R4/formats.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/fhir+json`.
    #[default]
    Json,
    /// `application/fhir+xml`.
    Xml,
}

/// How request bodies are compressed. Answers may always be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// `Content-Encoding: gzip`. A server must be known to take it.
    Gzip,
}

/// Why a destination cannot be used as configured. No secret is ever part of the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The base URL is not an absolute http or https URL with a host, or has user info, a query or a fragment.
    #[error("base url must be an absolute http(s) url without user info, query or fragment: {0}")]
    BaseUrl(&'static str),
    /// A credential would go unencrypted over a network.
    #[error(
        "refusing to send a credential over plain http to {host}: use https, or allow plaintext credentials explicitly"
    )]
    PlaintextCredential {
        /// The host it would have gone to.
        host: String,
    },
    /// A token, user or password that cannot stand in a header.
    #[error("credential has characters that cannot stand in a header")]
    Credential,
    /// An extra header with an unusable name or value, or one that the stack sets itself.
    #[error("header `{name}` cannot be set")]
    Header {
        /// The name as configured.
        name: String,
    },
    /// A certificate or key file that cannot be read or holds nothing usable.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate file without any certificate in it.
    #[error("no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    /// A token endpoint that no secret may be sent to.
    #[error("token url cannot be used: {0}")]
    TokenUrl(&'static str),
    /// A signing key that cannot be used.
    #[error("cannot sign with {}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS that rustls refuses: a key that does not fit its certificate, no usable platform roots.
    #[error("tls cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Header names that the stack owns.
const RESERVED: [HeaderName; 10] = [
    http::header::AUTHORIZATION,
    http::header::HOST,
    http::header::CONTENT_TYPE,
    http::header::CONTENT_LENGTH,
    http::header::CONTENT_ENCODING,
    http::header::TRANSFER_ENCODING,
    http::header::CONNECTION,
    http::header::ACCEPT,
    http::header::ACCEPT_ENCODING,
    http::header::UPGRADE,
];

// === impl Config ===

impl Config {
    /// A destination at `base_url` with every default.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            auth: Auth::None,
            allow_plaintext_credentials: false,
            tls: Tls::default(),
            connect_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            concurrency: 4,
            max_response_bytes: 8 * 1024 * 1024,
            retry: Retry::default(),
            breaker: Breaker::default(),
            headers: Vec::new(),
            prefer: Prefer::default(),
            format: Format::default(),
            compression: Compression::default(),
            split: Split::default(),
            versions: false,
            recreate: false,
        }
    }

    /// The base URL, checked, without a slash at the end.
    pub(crate) fn base(&self) -> Result<Uri, ConfigError> {
        if self.base_url.contains('#') {
            return Err(ConfigError::BaseUrl("it has a fragment"));
        }
        let uri: Uri = self
            .base_url
            .trim_end_matches('/')
            .parse()
            .map_err(|_| ConfigError::BaseUrl("it is not a url"))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            _ => return Err(ConfigError::BaseUrl("it has no http or https scheme")),
        }
        if uri.query().is_some() {
            return Err(ConfigError::BaseUrl("it has a query"));
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => {
                Err(ConfigError::BaseUrl("it has user info"))
            }
            Some(authority) if !authority.host().is_empty() => Ok(uri),
            _ => Err(ConfigError::BaseUrl("it has no host")),
        }
    }

    /// Refuses a credential (or secret header) in clear text to another machine.
    pub(crate) fn check_plaintext(&self, base: &Uri, credential: bool) -> Result<(), ConfigError> {
        let host = base.host().unwrap_or_default();
        let secret = credential || !self.headers.is_empty();
        if base.scheme_str() == Some("https")
            || !secret
            || self.allow_plaintext_credentials
            || is_loopback(host)
        {
            return Ok(());
        }
        Err(ConfigError::PlaintextCredential {
            host: host.to_owned(),
        })
    }

    /// The extra headers, checked and marked as sensitive.
    pub(crate) fn extra_headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
        self.headers
            .iter()
            .map(|(name, value)| {
                let refused = || ConfigError::Header { name: name.clone() };
                let header: HeaderName = name.parse().map_err(|_| refused())?;
                if RESERVED.contains(&header) {
                    return Err(refused());
                }
                let mut value: HeaderValue =
                    value.expose_secret().parse().map_err(|_| refused())?;
                value.set_sensitive(true);
                Ok((header, value))
            })
            .collect()
    }
}

// === impl Retry ===

impl Default for Retry {
    fn default() -> Self {
        Self {
            short_attempts: 3,
            short_wait: Duration::from_millis(150),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(300),
            longest_retry_after: Duration::from_secs(3600),
            conflict_attempts: 5,
        }
    }
}

// === impl Breaker ===

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 5,
            first_pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(60),
        }
    }
}

// === impl Prefer ===

impl Prefer {
    /// The header's value, if one is sent.
    pub(crate) fn value(self) -> Option<HeaderValue> {
        match self {
            Self::Minimal => Some(HeaderValue::from_static("return=minimal")),
            Self::Representation => Some(HeaderValue::from_static("return=representation")),
            Self::OperationOutcome => Some(HeaderValue::from_static("return=OperationOutcome")),
            Self::Unset => None,
        }
    }
}

// === impl Format ===

impl Format {
    /// Its name: `json`, `xml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Xml => "xml",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/fhir+json",
            Self::Xml => "application/fhir+xml",
        }
    }
}

/// Whether a URL's host can only be this machine. A name other than `localhost` may point anywhere.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        let base = |url: &str| Config::new(url).base().map(|uri| uri.to_string());
        assert_eq!(
            base("https://fhir.example/r4/").unwrap(),
            "https://fhir.example/r4"
        );
        assert_eq!(
            base("http://127.0.0.1:8080").unwrap(),
            "http://127.0.0.1:8080/"
        );
        for url in [
            "",
            "fhir.example/r4",
            "/r4",
            "ftp://fhir.example",
            "https://user:word@fhir.example/r4",
            "https://fhir.example/r4?x=1",
            "https://fhir.example/r4#x",
        ] {
            assert!(base(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_credential_does_not_go_over_plain_http() {
        let check = |url: &str, allow: bool| {
            let config = Config {
                allow_plaintext_credentials: allow,
                ..Config::new(url)
            };
            config.check_plaintext(&config.base().unwrap(), true)
        };
        for url in [
            "https://fhir.example/r4",
            "http://localhost:8080",
            "http://127.9.9.9/r4",
            "http://[::1]:8080/r4",
        ] {
            assert!(check(url, false).is_ok(), "{url}");
        }
        for url in [
            "http://fhir.example",
            "http://10.0.0.1",
            "http://localhost.example",
        ] {
            assert!(
                matches!(
                    check(url, false),
                    Err(ConfigError::PlaintextCredential { .. })
                ),
                "{url}"
            );
            assert!(check(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_secret_header_counts_as_a_credential_and_stays_hidden() {
        let config = Config {
            headers: vec![("X-Api-Key".into(), "rosebud".into())],
            auth: Auth::Bearer {
                secret: "xanadu".into(),
            },
            ..Config::new("http://fhir.example")
        };
        assert!(
            config
                .check_plaintext(&config.base().unwrap(), false)
                .is_err()
        );
        let debug = format!("{config:?} {:?}", config.extra_headers().unwrap());
        assert!(
            !debug.contains("rosebud") && !debug.contains("xanadu"),
            "{debug}"
        );
        for name in ["Authorization", "content-length", "bad name", ""] {
            let config = Config {
                headers: vec![(name.into(), "x".into())],
                ..Config::new("https://fhir.example")
            };
            assert!(config.extra_headers().is_err(), "{name}");
        }
    }
}
