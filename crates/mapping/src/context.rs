//! What a conversion may know beside the message.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

/// What the route and the listener say about a message. Nothing else gets in: no clock, no files, no network.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Who sends, as a short stable name: salts identifiers that say no assigning authority, so that two senders'
    /// numbers never meet. Empty: MSH-4.1 of the message.
    pub sender: String,
    /// The zone of times that say none. Without it such a `dateTime` is cut to its date, and reported.
    pub zone: Option<TimeZone>,
    /// Start of the URIs of what has only a local name, such as `urn:fhirway`. Empty: `urn:fhirway`.
    pub naming_base: String,
    /// Policies that differ from the package's defaults.
    pub policies: BTreeMap<String, String>,
}

impl Context {
    /// The start of local URIs.
    pub(crate) fn base(&self) -> &str {
        if self.naming_base.is_empty() {
            "urn:fhirway"
        } else {
            &self.naming_base
        }
    }
}
