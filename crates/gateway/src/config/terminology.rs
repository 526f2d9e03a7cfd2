//! `routes.NAME.terminology`: a server that is asked for codes that the code tables do not list.

use std::time::Duration;

use serde::Serialize;

use super::{
    auth::{self, Auth},
    destination::{self, ClientTls},
    secret::Secret,
    section::Section,
    show::as_duration,
};

/// A terminology server.
#[derive(Clone, Debug, Serialize)]
pub struct Terminology {
    /// Its FHIR base URL.
    pub url: String,
    /// How to authenticate.
    pub auth: Auth,
    /// Sends a secret over `http://` to another machine.
    pub allow_plaintext_credentials: bool,
    /// Trust and client certificate.
    pub tls: ClientTls,
    /// Further headers of each request.
    pub headers: Vec<(String, Secret)>,
    /// Longest wait for an answer, for all codes of a message together.
    #[serde(serialize_with = "as_duration")]
    pub deadline: Duration,
    /// How long a translation is remembered.
    #[serde(serialize_with = "as_duration")]
    pub cache: Duration,
    /// How long it is remembered that the server knows no translation.
    #[serde(serialize_with = "as_duration")]
    pub cache_missing: Duration,
    /// Most answers that are remembered.
    pub cache_entries: usize,
    /// What happens to a message when the server does not answer.
    pub on_failure: OnFailure,
}

/// What happens to a message when the terminology server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It is mapped as if there were no server: the table's `miss:` decides.
    Continue,
    /// It waits for a person, and with it what comes behind it for the patient.
    Park,
}

impl Terminology {
    /// A server with every default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: Auth::None,
            allow_plaintext_credentials: false,
            tls: ClientTls::default(),
            headers: Vec::new(),
            deadline: Duration::from_secs(2),
            cache: Duration::from_secs(24 * 3600),
            cache_missing: Duration::from_secs(3600),
            cache_entries: 100_000,
            on_failure: OnFailure::Continue,
        }
    }
}

/// The section `terminology`, if there is one.
pub(super) fn read(section: &Section<'_>) -> Option<Terminology> {
    let section = section.section("terminology")?;
    let known = Terminology::new(section.required_text("url").trim_end_matches('/'));
    let usable = known.url.parse::<http::Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
    });
    if !usable && !known.url.is_empty() {
        section.error_with_help(
            &section.origin_of("url"),
            format!(
                "{}: `{}` is not an http or https URL",
                section.path_of("url"),
                known.url
            ),
            "write the base URL of a FHIR terminology server",
        );
    }
    let read = Terminology {
        auth: auth::read(&section),
        allow_plaintext_credentials: section
            .boolean("allow_plaintext_credentials")
            .unwrap_or(false),
        tls: destination::client_tls(&section).unwrap_or_default(),
        headers: destination::headers(&section),
        deadline: section.duration("deadline").unwrap_or(known.deadline),
        cache: section.duration("cache").unwrap_or(known.cache),
        cache_missing: section
            .duration("cache_missing")
            .unwrap_or(known.cache_missing),
        cache_entries: section
            .number("cache_entries", 1)
            .unwrap_or(known.cache_entries),
        on_failure: section
            .choice(
                "on_failure",
                &[("continue", OnFailure::Continue), ("park", OnFailure::Park)],
            )
            .unwrap_or(known.on_failure),
        url: known.url,
    };
    section.finish();
    Some(read)
}
