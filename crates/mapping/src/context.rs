//! What a conversion may know beside the message.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::translate::Translations;

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
    /// What a terminology server said of codes that tables do not list.
    pub translations: Translations,
    /// What the message may cost.
    pub limits: Limits,
    /// When it must be done.
    pub deadline: Deadline,
}

/// What one message may cost. A message that needs more has no Bundle; the error names the limit and the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rules applied, and rounds of the loops in templates.
    pub steps: u32,
    /// Elements made, those included that were taken back.
    pub elements: usize,
    /// Bytes of text in all elements.
    pub bytes: usize,
    /// Maps inside each other; never more than 48, whatever is asked.
    pub depth: u8,
}

impl Default for Limits {
    /// 5,000,000 rules, 4,000,000 elements, 256 MiB of text, 48 maps inside each other.
    fn default() -> Limits {
        Limits {
            steps: 5_000_000,
            elements: 4_000_000,
            bytes: 256 << 20,
            depth: MAX_DEPTH,
        }
    }
}

/// Maps are applied recursively, so this much stack must always be there.
pub(crate) const MAX_DEPTH: u8 = 48;

/// Says whether the time of a message is up. The engine has no clock: it asks every few thousand rules.
#[derive(Clone, Default)]
pub struct Deadline(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Deadline {
    /// Time is up as soon as `passed` says so; without one it never is.
    pub fn new(passed: impl Fn() -> bool + Send + Sync + 'static) -> Deadline {
        Deadline(Some(Arc::new(passed)))
    }

    pub(crate) fn passed(&self) -> bool {
        self.0.as_ref().is_some_and(|passed| passed())
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deadline").field(&self.0.is_some()).finish()
    }
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
