//! What a conversion has to say beside its Bundle. Places and codes, never content.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hl7v2::Place;
use serde::{Serialize, Serializer};

/// The report of one message.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The message map that was used.
    pub message_map: String,
    /// Whether no message map names the message's structure, so that `any` was used.
    pub fallback: bool,
    /// What went wrong or was decided, in message order.
    pub issues: Vec<ReportIssue>,
    /// Populated fields that nothing took: a segment, a field or a component each.
    #[serde(serialize_with = "places")]
    pub unmapped: Vec<Place>,
    /// How many places are unmapped, by segment.
    pub unmapped_segments: BTreeMap<String, u32>,
    /// How many fields and parts of fields the maps left out on purpose, by the reason that they give.
    #[serde(serialize_with = "by_reason")]
    pub ignored: Vec<IgnoredCount>,
    /// Codes that a table does not list.
    pub code_misses: Vec<CodeMiss>,
    /// Values that the sender asks to delete (`""`).
    #[serde(serialize_with = "places")]
    pub deleted: Vec<Place>,
}

/// What was left out on purpose for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct IgnoredCount {
    /// The reason that the map gives, else the field, such as `OBX-1`.
    pub why: Arc<str>,
    /// How many fields or parts of fields, at least 1.
    pub count: u32,
}

/// A code that its table does not list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CodeMiss {
    /// The table.
    pub table: String,
    /// Where the code stands.
    #[serde(serialize_with = "place")]
    pub place: Place,
    /// Which code. It is content of the message, so no report has it.
    #[serde(skip)]
    pub code: MissedCode,
}

/// A code of a message, and the coding system it said: only what looks like a code, so never a sentence. Its `Debug`
/// says nothing of it.
#[derive(Clone, Default, PartialEq)]
pub struct MissedCode {
    code: Option<Box<str>>,
    system: Option<Box<str>>,
    /// Of a table that may be asked for.
    uri: Option<Box<str>>,
}

/// Longest text that is taken for a code, in bytes.
const LONGEST_CODE: usize = 40;

// === impl MissedCode ===

impl MissedCode {
    pub(crate) fn new(code: &str, system: &str) -> MissedCode {
        let kept = |text: &str| {
            Some(text.trim())
                .filter(|text| is_code(text))
                .map(Box::from)
        };
        MissedCode {
            code: kept(code),
            system: kept(system),
            uri: None,
        }
    }

    /// The same with the URI of its coding system.
    pub(crate) fn of_system(mut self, uri: &str) -> MissedCode {
        self.uri = Some(uri.into());
        self
    }

    /// The URI of its coding system, where it may be asked for.
    pub(crate) fn uri(&self) -> Option<&str> {
        self.uri.as_deref()
    }

    /// The code; `None` when the text does not look like one.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// The name of its coding system, if there is one that looks like a name.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }
}

impl fmt::Debug for MissedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MissedCode").finish_non_exhaustive()
    }
}

/// Printable, without blanks, short, and with a letter or digit in it.
fn is_code(text: &str) -> bool {
    text.len() <= LONGEST_CODE
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportIssue {
    /// What happened.
    pub code: ReportCode,
    /// Where in the message.
    #[serde(serialize_with = "optional_place")]
    pub place: Option<Place>,
    /// The rule, as `file:line`.
    #[serde(serialize_with = "shared")]
    pub rule: Arc<str>,
    /// The element that is missing or changed for it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub element: &'static str,
}

macro_rules! report_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// What can happen to a rule. The codes are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ReportCode { $($(#[$doc])* $variant,)* }
        impl ReportCode {
            /// All codes.
            pub const ALL: &'static [ReportCode] = &[$(ReportCode::$variant,)*];

            /// The code as it is printed, such as `bad-value`.
            pub fn as_str(self) -> &'static str {
                match self { $(ReportCode::$variant => $text,)* }
            }

            /// Its page in Markdown, as [`crate::Code::page`].
            pub fn page(self) -> &'static str {
                match self { $(ReportCode::$variant => include_str!(concat!("../codes/", $text, ".md")),)* }
            }
        }
    };
}

report_codes! {
    /// The value is no value of the element's type; the element is left out.
    BadValue = "bad-value",
    /// A time without a zone was cut to its date.
    CutToDate = "cut-to-date",
    /// The end of a period is before its start, or the high end of a range below the low one.
    Reversed = "reversed",
    /// A second variant of a choice type was left out.
    SecondChoice = "second-choice",
    /// A rule adds to a resource that the message does not have.
    NoTarget = "no-target",
    /// A segment stands where its structure has no place, and was mapped nevertheless.
    MisplacedSegment = "misplaced-segment",
    /// A code that a table does not list was left out.
    CodeDropped = "code-dropped",
    /// An escape sequence or a byte that can't be read; it is kept as it stands.
    OddText = "odd-text",
}

impl fmt::Display for ReportCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ReportCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Report {
    pub(crate) fn clear(&mut self) {
        self.message_map.clear();
        self.fallback = false;
        self.issues.clear();
        self.unmapped.clear();
        self.unmapped_segments.clear();
        self.ignored.clear();
        self.code_misses.clear();
        self.deleted.clear();
    }
}

fn place<S: Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(place)
}

fn shared<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn by_reason<S: Serializer>(counts: &[IgnoredCount], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|one| (&*one.why, one.count)))
}

fn optional_place<S: Serializer>(place: &Option<Place>, serializer: S) -> Result<S::Ok, S::Error> {
    match place {
        Some(place) => serializer.collect_str(place),
        None => serializer.serialize_none(),
    }
}

fn places<S: Serializer>(places: &[Place], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(places.iter().map(Place::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_code_is_kept_and_debug_says_nothing_of_it() {
        let kept = |text: &str| MissedCode::new(text, "99L").code().map(str::to_owned);
        for code in ["GLU", "2345-7", " K+ ", "a.b/c#1"] {
            assert_eq!(kept(code).as_deref(), Some(code.trim()));
        }
        let long = "x".repeat(41);
        for text in ["", "not a code", "M\u{fc}ller", "--", &long] {
            assert_eq!(kept(text), None, "{text}");
        }
        let shown = format!("{:?}", MissedCode::new("SECRET", "99L"));
        assert!(!shown.contains("SECRET"), "{shown}");
    }
}
