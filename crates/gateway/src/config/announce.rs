//! `events`: an exchange of RabbitMQ that is told what becomes of records.

use std::path::PathBuf;

use serde::Serialize;

use super::{exchange, secret::Secret, section::Section};

/// Where events go.
#[derive(Clone, Debug, Serialize)]
pub struct Announce {
    /// `amqp://` or `amqps://` URL; may hold a password, so it is a secret.
    pub url: Secret,
    /// The exchange, which must exist.
    pub exchange: String,
    /// What the routing keys begin with: `fhirway` makes `fhirway.delivered`.
    pub prefix: String,
    /// Authorities to trust instead of the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Client certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Client private key, PEM.
    pub key: Option<PathBuf>,
}

/// Reads the section, if there is one.
pub(super) fn read(root: &Section<'_>) -> Option<Announce> {
    let section = root.section("events")?;
    let tls = section.section_or_empty("tls");
    let announce = Announce {
        url: exchange::url(&section),
        exchange: section.required_text("exchange"),
        prefix: section
            .text("prefix")
            .unwrap_or_else(|| "fhirway".to_owned()),
        ca: tls.path("ca"),
        certificate: tls.path("certificate"),
        key: tls.path("key"),
    };
    tls.finish();
    section.finish();
    Some(announce)
}
