//! Reads a server's answer: an OperationOutcome as a summary without text, a response Bundle entry by entry.
//!
//! `diagnostics`, `details.text` and `div` repeat what was sent, so they hold PHI as a rule. Severity and code come
//! from closed value sets (FHIR R4 valueset-issue-severity, valueset-issue-type), and an expression is kept only as
//! far as it is a plain path.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use crate::request::Entry;

/// An HTTP answer, as far as it was read.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Retry-After as a wait from now, when it was there and readable.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) content_type: Option<String>,
    /// Where a single resource is, and its version.
    pub(crate) location: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) body: Bytes,
    pub(crate) truncated: bool,
}

/// What an answer's body is.
pub(crate) enum Reading {
    Empty,
    Outcome(Summary),
    /// A transaction-response or batch-response.
    Response(Vec<(Entry, Summary)>),
    /// FHIR JSON of another kind.
    OtherResource,
    /// Not FHIR JSON at all, or cut off.
    Unreadable,
}

/// The issues of an OperationOutcome without their text, at most 20 of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The issues in order.
    pub issues: Vec<IssueSummary>,
    /// How many more there were.
    pub more: usize,
}

/// One issue of an OperationOutcome without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueSummary {
    /// How bad.
    pub severity: Severity,
    /// The kind of issue.
    pub code: Code,
    /// Plain element paths, `Patient.name[0].family`, at most 5.
    pub expressions: Vec<String>,
}

/// OperationOutcome.issue.severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Told for information.
    Information,
    /// Done, with doubts.
    Warning,
    /// Not done.
    Error,
    /// Not done, and nothing more was tried.
    Fatal,
}

/// OperationOutcome.issue.code: a code of the closed value set, or `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(&'static str);

/// FHIR R4 valueset-issue-type.
const CODES: [&str; 31] = [
    "invalid",
    "structure",
    "required",
    "value",
    "invariant",
    "security",
    "login",
    "unknown",
    "expired",
    "forbidden",
    "suppressed",
    "processing",
    "not-supported",
    "duplicate",
    "multiple-matches",
    "not-found",
    "deleted",
    "too-long",
    "code-invalid",
    "extension",
    "too-costly",
    "business-rule",
    "conflict",
    "transient",
    "lock-error",
    "no-store",
    "exception",
    "timeout",
    "incomplete",
    "throttled",
    "informational",
];

const MAX_ISSUES: usize = 20;
const MAX_EXPRESSIONS: usize = 5;
const MAX_EXPRESSION: usize = 160;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(rename = "resourceType", borrow)]
    resource_type: Cow<'a, str>,
    #[serde(rename = "type", borrow, default)]
    bundle_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    entry: Vec<BodyEntry<'a>>,
    #[serde(borrow, default)]
    issue: Vec<BodyIssue<'a>>,
}

#[derive(Deserialize)]
struct BodyEntry<'a> {
    #[serde(borrow, default)]
    response: Option<BodyResponse<'a>>,
}

#[derive(Deserialize)]
struct BodyResponse<'a> {
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    location: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    etag: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    outcome: Option<BodyOutcome<'a>>,
}

#[derive(Deserialize)]
struct BodyOutcome<'a> {
    #[serde(borrow, default)]
    issue: Vec<BodyIssue<'a>>,
}

#[derive(Deserialize)]
struct BodyIssue<'a> {
    #[serde(borrow, default)]
    severity: Cow<'a, str>,
    #[serde(borrow, default)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    expression: Vec<Cow<'a, str>>,
}

// === impl Answer ===

impl Answer {
    /// Reads the body. Never fails: what cannot be read is [`Reading::Unreadable`].
    pub(crate) fn read(&self) -> Reading {
        if self.body.iter().all(u8::is_ascii_whitespace) && !self.truncated {
            return Reading::Empty;
        }
        // A `type` that is no string (Observation has none, but Composition.type is an object) makes the typed
        // read fail; such a body is FHIR all the same, yet never an answer to a Bundle.
        match serde_json::from_slice::<Body<'_>>(&self.body) {
            Ok(body) if body.resource_type == "OperationOutcome" => {
                Reading::Outcome(Summary::of(&body.issue))
            }
            Ok(body)
                if matches!(
                    body.bundle_type.as_deref(),
                    Some("transaction-response" | "batch-response")
                ) && body.resource_type == "Bundle" =>
            {
                Reading::Response(body.entry.into_iter().map(BodyEntry::read).collect())
            }
            Ok(_) => Reading::OtherResource,
            Err(_) => Reading::Unreadable,
        }
    }

    /// `Patient/77` of a resource that is sent back.
    pub(crate) fn own_name(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Own<'a> {
            #[serde(rename = "resourceType", borrow)]
            resource_type: Cow<'a, str>,
            #[serde(borrow, default)]
            id: Cow<'a, str>,
        }
        let own: Own<'_> = serde_json::from_slice(&self.body).ok()?;
        (!own.id.is_empty()).then(|| format!("{}/{}", own.resource_type, own.id))
    }

    /// Whether the body claims to be JSON or XML.
    pub(crate) fn is_fhir(&self) -> bool {
        self.content_type.as_deref().is_some_and(|media_type| {
            let media_type = media_type.to_ascii_lowercase();
            media_type.contains("json") || media_type.contains("xml")
        })
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}

// === impl BodyEntry ===

impl BodyEntry<'_> {
    fn read(self) -> (Entry, Summary) {
        let Some(response) = self.response else {
            let entry = Entry {
                status: 0,
                location: None,
                etag: None,
            };
            return (entry, Summary::default());
        };
        let summary = response
            .outcome
            .map(|outcome| Summary::of(&outcome.issue))
            .unwrap_or_default();
        let entry = Entry {
            // "201 Created" as most servers write it, or "201".
            status: response
                .status
                .split_ascii_whitespace()
                .next()
                .and_then(|digits| digits.parse().ok())
                .unwrap_or(0),
            location: response.location.map(Cow::into_owned),
            etag: response.etag.map(Cow::into_owned),
        };
        (entry, summary)
    }
}

// === impl Summary ===

impl Summary {
    fn of(issues: &[BodyIssue<'_>]) -> Self {
        Self {
            issues: issues
                .iter()
                .take(MAX_ISSUES)
                .map(IssueSummary::of)
                .collect(),
            more: issues.len().saturating_sub(MAX_ISSUES),
        }
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.issues.is_empty()
    }

    /// The worst severity.
    pub fn worst(&self) -> Option<Severity> {
        self.issues.iter().map(|issue| issue.severity).max()
    }

    /// Whether an issue that is an error or fatal has one of these codes.
    pub fn has_error(&self, codes: &[&str]) -> bool {
        self.issues
            .iter()
            .any(|issue| issue.severity >= Severity::Error && codes.contains(&issue.code.as_str()))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, issue) in self.issues.iter().enumerate() {
            if place > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{} {}", issue.severity.as_str(), issue.code.as_str())?;
            for expression in &issue.expressions {
                write!(f, " at {expression}")?;
            }
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

// === impl IssueSummary ===

impl IssueSummary {
    fn of(issue: &BodyIssue<'_>) -> Self {
        Self {
            severity: match issue.severity.as_ref() {
                "information" => Severity::Information,
                "warning" => Severity::Warning,
                "fatal" => Severity::Fatal,
                _ => Severity::Error,
            },
            code: Code::of(&issue.code),
            expressions: issue
                .expression
                .iter()
                .filter_map(|expression| plain_path(expression))
                .take(MAX_EXPRESSIONS)
                .collect(),
        }
    }
}

// === impl Severity ===

impl Severity {
    /// The FHIR code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Information => "information",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

// === impl Code ===

impl Code {
    fn of(text: &str) -> Self {
        Self(
            CODES
                .into_iter()
                .find(|code| *code == text)
                .unwrap_or("unknown"),
        )
    }

    /// The FHIR code.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// The head of an expression that is a plain element path (`Bundle.entry[3].resource.name`). What follows the first
/// function call or literal is dropped, since literals are values: `where(value='…')`.
fn plain_path(expression: &str) -> Option<String> {
    let mut path = String::new();
    for token in expression.split('.') {
        let (name, index) = match token.split_once('[') {
            Some((name, index)) => (name, Some(index)),
            None => (token, None),
        };
        let is_name = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_alphabetic())
            && (!path.is_empty() || name.starts_with(|first: char| first.is_ascii_uppercase()));
        let is_index = index.is_none_or(|index| {
            index.strip_suffix(']').is_some_and(|digits| {
                (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
            })
        });
        if !is_name || !is_index || path.len() + token.len() >= MAX_EXPRESSION {
            break;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(token);
    }
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &'static str) -> Answer {
        Answer {
            status: 200,
            retry_after: None,
            content_type: None,
            location: None,
            etag: None,
            body: Bytes::from_static(body.as_bytes()),
            truncated: false,
        }
    }

    #[test]
    fn an_outcome_keeps_codes_and_paths_and_no_text() {
        let body = r#"{"resourceType":"OperationOutcome","text":{"div":"<div>Marple</div>"},"issue":[
            {"severity":"error","code":"value","diagnostics":"bad date for Marple, Jane","details":{"text":"Marple"},
             "expression":["Bundle.entry[3].resource.name[0].where(family='Marple').given","'Marple'","marple"]},
            {"severity":"shout","code":"Marple"}]}"#;
        let Reading::Outcome(summary) = answer(body).read() else {
            panic!("an outcome");
        };
        assert_eq!(
            summary.to_string(),
            "error value at Bundle.entry[3].resource.name[0]; error unknown"
        );
        assert!(!format!("{summary:?}").contains("arple"));
    }

    #[test]
    fn a_response_is_read_entry_by_entry() {
        let body = r#"{"resourceType":"Bundle","type":"batch-response","entry":[
            {"response":{"status":"201 Created","location":"Patient/1/_history/1","etag":"W/\"1\""}},
            {"response":{"status":"429","outcome":{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"throttled"}]}}},
            {}]}"#;
        let Reading::Response(entries) = answer(body).read() else {
            panic!("a response");
        };
        let statuses: Vec<u16> = entries.iter().map(|(entry, _)| entry.status).collect();
        assert_eq!(statuses, [201, 429, 0]);
        assert_eq!(entries[0].0.etag.as_deref(), Some("W/\"1\""));
        assert!(entries[1].1.has_error(&["throttled"]));
    }

    #[test]
    fn other_bodies() {
        assert!(matches!(answer("").read(), Reading::Empty));
        assert!(matches!(answer(" \r\n").read(), Reading::Empty));
        assert!(matches!(answer("<html>").read(), Reading::Unreadable));
        assert!(matches!(
            answer("{\"resourceType\":\"Bu").read(),
            Reading::Unreadable
        ));
        assert!(matches!(
            answer(r#"{"resourceType":"Bundle","type":"transaction"}"#).read(),
            Reading::OtherResource
        ));
    }

    #[test]
    fn a_long_outcome_is_cut() {
        let issue = r#"{"severity":"warning","code":"value"}"#;
        let body = format!(
            r#"{{"resourceType":"OperationOutcome","issue":[{}]}}"#,
            vec![issue; 25].join(",")
        );
        let answer = Answer {
            body: body.into(),
            ..answer("")
        };
        let Reading::Outcome(summary) = answer.read() else {
            panic!("an outcome");
        };
        assert_eq!((summary.issues.len(), summary.more), (20, 5));
    }
}
