//! What goes wrong in an interaction, as an HTTP status and an OperationOutcome. Never holds a value of a resource.

use serde_json::{Value, json};

/// An interaction that was not carried out. Each variant is a status and an issue code
/// (<https://hl7.org/fhir/R4/valueset-issue-type.html>).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// 400: the request cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// 400: a search parameter or feature that there is not.
    #[error("{0} is not supported")]
    NotSupported(String),
    /// 404: no resource type of R4 has this name.
    #[error("no such resource type")]
    UnknownType,
    /// 404: no such resource, version or path.
    #[error("not found")]
    NotFound,
    /// 405.
    #[error("method not allowed here")]
    Method,
    /// 406: only XML would be accepted.
    #[error("only application/fhir+json can be given")]
    NotAcceptable,
    /// 409: an id that is taken.
    #[error("{0}")]
    Conflict(&'static str),
    /// 410.
    #[error("deleted")]
    Gone,
    /// 412: If-Match does not name the current version, or If-None-Match does not hold.
    #[error("version condition does not hold")]
    Precondition,
    /// 412: a condition or conditional reference matches several resources.
    #[error("condition matches several resources")]
    MultipleMatches,
    /// 413.
    #[error("body too large")]
    TooLarge,
    /// 415.
    #[error("content type must be application/fhir+json")]
    MediaType,
    /// 422: not a valid resource.
    #[error("not a valid resource")]
    Unprocessable(Vec<Issue>),
    /// 500.
    #[error("storage failed")]
    Storage(#[from] rusqlite::Error),
    /// An entry of a Bundle failed, and with it the transaction.
    #[error("entry {index}: {fault}")]
    Entry {
        /// The entry, counted from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        fault: Box<Fault>,
    },
}

/// One finding of the validator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// OperationOutcome.issue.code.
    pub code: &'static str,
    /// What, without values.
    pub text: String,
    /// The element.
    pub expression: String,
}

// === impl Fault ===

impl Fault {
    /// A fault of an entry; one that names its entry already stays as it is.
    pub(super) fn at(self, index: usize) -> Self {
        match self {
            Self::Entry { .. } => self,
            fault => Self::Entry {
                index,
                fault: Box::new(fault),
            },
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) | Self::NotSupported(_) => 400,
            Self::UnknownType | Self::NotFound => 404,
            Self::Method => 405,
            Self::NotAcceptable => 406,
            Self::Conflict(_) => 409,
            Self::Gone => 410,
            Self::Precondition | Self::MultipleMatches => 412,
            Self::TooLarge => 413,
            Self::MediaType => 415,
            Self::Unprocessable(_) => 422,
            Self::Storage(_) => 500,
            Self::Entry { fault, .. } => fault.status(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::NotSupported(_)
            | Self::UnknownType
            | Self::Method
            | Self::NotAcceptable
            | Self::MediaType => "not-supported",
            Self::NotFound => "not-found",
            Self::Conflict(_) | Self::Precondition => "conflict",
            Self::Gone => "deleted",
            Self::MultipleMatches => "multiple-matches",
            Self::TooLarge => "too-long",
            Self::Unprocessable(_) => "processing",
            Self::Storage(_) => "exception",
            Self::Entry { fault, .. } => fault.code(),
        }
    }

    /// The OperationOutcome.
    pub(super) fn outcome(&self) -> Value {
        json!({"resourceType": "OperationOutcome", "issue": self.issues("")})
    }

    fn issues(&self, prefix: &str) -> Vec<Value> {
        match self {
            Self::Entry { index, fault } => fault.issues(&format!("Bundle.entry[{index}]")),
            Self::Unprocessable(issues) => issues
                .iter()
                .map(|issue| {
                    issue_json(issue.code, &issue.text, &inside(prefix, &issue.expression))
                })
                .collect(),
            fault => vec![issue_json(fault.code(), &fault.to_string(), prefix)],
        }
    }
}

/// `Patient.name[0]` inside of an entry: `Bundle.entry[3].resource.name[0]`.
fn inside(prefix: &str, expression: &str) -> String {
    match (prefix, expression.split_once('.')) {
        ("", _) => expression.to_owned(),
        (_, Some((_, rest))) => format!("{prefix}.resource.{rest}"),
        (_, None) => format!("{prefix}.resource"),
    }
}

fn issue_json(code: &str, text: &str, expression: &str) -> Value {
    let mut issue = json!({"severity": "error", "code": code, "diagnostics": text});
    if !expression.is_empty()
        && let Some(issue) = issue.as_object_mut()
    {
        issue.insert("expression".into(), json!([expression]));
    }
    issue
}
