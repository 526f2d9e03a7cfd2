//! `destinations`: FHIR servers that Bundles are delivered to, and exchanges of RabbitMQ that they are published to.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

pub use super::auth::{Auth, ClientProof, OAuth2, TokenUrl};
pub use super::writing::{Compression, Format, Gone, Prefer, Split, Stale, Versions, Writing};
use super::{
    auth, defaults,
    exchange::{self, Exchange},
    problem::Kind,
    secret::Secret,
    section::Section,
    show::{as_duration, as_option_duration},
    takes::{self, Takes},
    writing,
};

/// One FHIR server, or one exchange; the latter makes no use of what is about HTTP.
#[derive(Clone, Debug, Serialize)]
pub struct Destination {
    /// Its name: a metric label, a queue position of its own, and what routes refer to.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// How to prove who we are.
    pub auth: Auth,
    /// Send a secret over plain http to another machine.
    pub allow_plaintext_credentials: bool,
    /// TLS beyond the system's authorities.
    pub tls: ClientTls,
    /// How resources are identified in the Bundle.
    pub ids: Ids,
    /// What kind of Bundle is sent.
    pub bundle: BundleKind,
    /// Requests in flight at once.
    pub concurrency: usize,
    /// Time to connect.
    #[serde(serialize_with = "as_duration")]
    pub connect_timeout: Duration,
    /// Time for one request, from the first byte to the last of the answer.
    #[serde(serialize_with = "as_duration")]
    pub timeout: Duration,
    /// Waiting and trying again.
    pub retry: Retry,
    /// The circuit breaker.
    pub breaker: Breaker,
    /// Further request headers; an API key is one.
    pub headers: Vec<(String, Secret)>,
    /// What it takes.
    #[serde(flatten)]
    pub takes: Takes,
    /// Looking at what the server says it can do.
    pub capability: Capability,
    /// How requests are written.
    #[serde(flatten)]
    pub writing: Writing,
}

/// Where a destination is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// The repository inside this process.
    Embedded,
    /// Base URL of a server, without a slash at its end.
    Url(String),
    /// An exchange of a RabbitMQ broker.
    Exchange(Box<Exchange>),
}

/// TLS of a client.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClientTls {
    /// Authorities to trust instead of the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Client certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Client private key, PEM.
    pub key: Option<PathBuf>,
}

/// How resources are identified (FHIR R4 http.html, transaction rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// Conditional create and update by identifier.
    Conditional,
    /// `PUT Type/id` with an id made here.
    Client,
}

/// What kind of Bundle is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BundleKind {
    /// All or nothing.
    Transaction,
    /// Each entry on its own, for servers without transactions.
    Batch,
    /// No Bundle: one request for each resource, in the order of their references.
    Single,
}

/// Waiting and trying again.
#[derive(Clone, Debug, Serialize)]
pub struct Retry {
    /// First wait; doubles each time, with jitter.
    #[serde(serialize_with = "as_duration")]
    pub initial: Duration,
    /// Longest wait.
    #[serde(serialize_with = "as_duration")]
    pub max: Duration,
    /// A message older than this is dead-lettered instead of tried again; `None` is never.
    #[serde(serialize_with = "as_option_duration")]
    pub max_age: Option<Duration>,
    /// Attempts after a conflict (409, 423) before the message is poison.
    pub conflicts: u32,
}

/// When to stop asking a server that is down.
#[derive(Clone, Debug, Serialize)]
pub struct Breaker {
    /// Failures in a row that open the circuit.
    pub failures: u32,
    /// How long it stays open the first time; doubles each time that the probe fails.
    #[serde(serialize_with = "as_duration")]
    pub first_pause: Duration,
    /// The longest pause.
    #[serde(serialize_with = "as_duration")]
    pub longest_pause: Duration,
}

/// Looking at what the server says it can do.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Capability {
    /// Whether, and what follows when something is missing.
    pub check: CapabilityCheck,
    /// How often after the start.
    #[serde(serialize_with = "as_duration")]
    pub every: Duration,
}

/// What follows when a server does not offer what the routes need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CapabilityCheck {
    /// It is not looked at.
    Off,
    /// A log line and a metric.
    Warn,
    /// The gateway does not start.
    Strict,
}

impl Destination {
    /// Whether it is a FHIR server, and no exchange.
    pub fn is_server(&self) -> bool {
        !matches!(self.address, Address::Exchange(_))
    }
}

/// Reads all destinations.
pub fn read(root: &Section<'_>) -> Vec<Destination> {
    root.named_sections("destinations")
        .into_iter()
        .map(|(name, section)| one(name, section))
        .collect()
}

fn one(name: String, section: Section<'_>) -> Destination {
    let address = address(&section);
    let retry = section.section_or_empty("retry");
    let breaker = section.section_or_empty("breaker");
    let capability = section.section_or_empty("capability");
    let destination = Destination {
        writing: writing::read(&section),
        takes: takes::read(&section, matches!(address, Address::Embedded)),
        name,
        auth: auth::read(&section),
        address,
        allow_plaintext_credentials: section
            .boolean("allow_plaintext_credentials")
            .unwrap_or(false),
        tls: client_tls(&section).unwrap_or_default(),
        ids: section
            .choice(
                "ids",
                &[("conditional", Ids::Conditional), ("client", Ids::Client)],
            )
            .unwrap_or(Ids::Conditional),
        bundle: section
            .choice(
                "bundle",
                &[
                    ("transaction", BundleKind::Transaction),
                    ("batch", BundleKind::Batch),
                    ("single", BundleKind::Single),
                ],
            )
            .unwrap_or(BundleKind::Transaction),
        concurrency: section
            .number("concurrency", 1)
            .unwrap_or(defaults::CONCURRENCY),
        connect_timeout: section
            .duration("connect_timeout")
            .unwrap_or(defaults::CONNECT_TIMEOUT),
        timeout: section
            .duration("timeout")
            .unwrap_or(defaults::REQUEST_TIMEOUT),
        retry: Retry {
            initial: retry.duration("initial").unwrap_or(defaults::RETRY_INITIAL),
            max: retry.duration("max").unwrap_or(defaults::RETRY_MAX),
            max_age: retry
                .duration_or_off("max_age")
                .unwrap_or(defaults::RETRY_MAX_AGE),
            conflicts: retry
                .number("conflicts", 0)
                .unwrap_or(defaults::RETRY_CONFLICTS),
        },
        breaker: Breaker {
            failures: breaker
                .number("failures", 1)
                .unwrap_or(defaults::BREAKER_FAILURES),
            first_pause: breaker
                .duration("first_pause")
                .unwrap_or(defaults::BREAKER_FIRST_PAUSE),
            longest_pause: breaker
                .duration("longest_pause")
                .unwrap_or(defaults::BREAKER_LONGEST_PAUSE),
        },
        headers: headers(&section),
        capability: Capability {
            check: capability
                .choice(
                    "check",
                    &[
                        ("warn", CapabilityCheck::Warn),
                        ("strict", CapabilityCheck::Strict),
                        ("off", CapabilityCheck::Off),
                    ],
                )
                .unwrap_or(CapabilityCheck::Warn),
            every: capability
                .duration("every")
                .unwrap_or(defaults::CAPABILITY_EVERY),
        },
    };
    if destination.retry.initial > destination.retry.max {
        retry.error(
            retry.origin(),
            format!("{}: initial is longer than max", section.path_of("retry")),
        );
    }
    retry.finish();
    breaker.finish();
    capability.finish();
    section.finish();
    destination
}

/// The section `tls`, if there is one.
pub(super) fn client_tls(section: &Section<'_>) -> Option<ClientTls> {
    let tls = section.section("tls")?;
    let read = ClientTls {
        ca: tls.path("ca"),
        certificate: tls.path("certificate"),
        key: tls.path("key"),
    };
    if read.certificate.is_some() != read.key.is_some() {
        tls.error_of(
            Kind::Conflict,
            tls.origin(),
            format!(
                "{} needs both certificate and key, or neither",
                section.path_of("tls")
            ),
        );
    }
    tls.finish();
    Some(read)
}

fn address(section: &Section<'_>) -> Address {
    let broker = section.choice("type", &[("fhir", false), ("rabbitmq", true)]);
    if broker == Some(true) {
        return Address::Exchange(Box::new(exchange::read(section)));
    }
    let url = section.required_text("url");
    if url == "embedded" {
        return Address::Embedded;
    }
    let origin = section.origin_of("url");
    match url.parse::<http::Uri>() {
        Ok(uri)
            if matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some() =>
        {
            if uri
                .authority()
                .is_some_and(|authority| authority.as_str().contains('@'))
            {
                section.error_with_help(
                    &origin,
                    format!("{} holds a user name or password", section.path_of("url")),
                    "use `auth: {basic: {user: ..., password: {file: ...}}}`",
                );
            }
        }
        _ if url.is_empty() => {}
        _ => section.error_with_help(
            &origin,
            format!(
                "{}: `{url}` is not an http or https URL",
                section.path_of("url")
            ),
            "write the base URL of a FHIR server, or `embedded`",
        ),
    }
    Address::Url(url.trim_end_matches('/').to_owned())
}

pub(super) fn headers(section: &Section<'_>) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for (name, value, origin) in section.secret_map("headers") {
        let usable = http::HeaderName::try_from(name.as_str()).is_ok()
            && http::HeaderValue::try_from(value.expose()).is_ok();
        if usable {
            headers.push((name, value));
        } else {
            section.error(
                &origin,
                format!("{}: not a usable header", section.path_of("headers")),
            );
        }
    }
    headers
}
