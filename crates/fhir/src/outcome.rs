//! OperationOutcome (<https://hl7.org/fhir/R4/operationoutcome.html>): made from issues, and read down to its codes.

use std::borrow::Cow;
use std::fmt;

use crate::names::NameId;
use crate::tree::{Key, Limits, NodeId, Tree, WriteOptions, read};

/// How bad an issue is (<https://hl7.org/fhir/R4/valueset-issue-severity.html>), worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing more could be checked or done.
    Fatal,
    /// It is wrong.
    Error,
    /// It may be wrong.
    Warning,
    /// It is good to know.
    Information,
}

macro_rules! issue_types {
    ($($variant:ident $code:literal),* $(,)?) => {
        /// What sort of issue it is (<https://hl7.org/fhir/R4/valueset-issue-type.html>).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum IssueType { $(#[doc = concat!("`", $code, "`")] $variant),* }

        impl IssueType {
            /// All of them.
            pub const ALL: &'static [IssueType] = &[$(IssueType::$variant),*];

            /// The code.
            pub fn as_str(self) -> &'static str {
                match self { $(IssueType::$variant => $code),* }
            }

            /// The issue type of a code.
            pub fn from_code(code: &str) -> Option<IssueType> {
                match code { $($code => Some(IssueType::$variant),)* _ => None }
            }
        }
    };
}

issue_types! {
    Invalid "invalid", Structure "structure", Required "required", Value "value", Invariant "invariant",
    Security "security", Login "login", Unknown "unknown", Expired "expired", Forbidden "forbidden",
    Suppressed "suppressed", Processing "processing", NotSupported "not-supported", Duplicate "duplicate",
    MultipleMatches "multiple-matches", NotFound "not-found", Deleted "deleted", TooLong "too-long",
    CodeInvalid "code-invalid", Extension "extension", TooCostly "too-costly", BusinessRule "business-rule",
    Conflict "conflict", Transient "transient", LockError "lock-error", NoStore "no-store", Exception "exception",
    Timeout "timeout", Incomplete "incomplete", Throttled "throttled", Informational "informational",
}

impl Severity {
    /// The code: `fatal`, `error`, `warning`, `information`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Fatal => "fatal",
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Information => "information",
        }
    }

    /// The severity of a code.
    pub fn from_code(code: &str) -> Option<Severity> {
        [
            Severity::Fatal,
            Severity::Error,
            Severity::Warning,
            Severity::Information,
        ]
        .into_iter()
        .find(|severity| severity.as_str() == code)
    }
}

/// One issue of an OperationOutcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// What sort it is.
    pub code: IssueType,
    /// Where: a FHIRPath like `Patient.name[0].family`. May be empty.
    pub expression: String,
    /// What is wrong, in words and without any value.
    pub message: Cow<'static, str>,
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.severity.as_str(), self.code.as_str())?;
        if !self.expression.is_empty() {
            write!(f, "{}: ", self.expression)?;
        }
        f.write_str(&self.message)
    }
}

/// Adds an OperationOutcome to a tree, as a detached root. An outcome must have an issue, so none at all becomes one
/// that says so.
pub fn build(tree: &mut Tree, issues: &[Issue]) -> NodeId {
    let none = [Issue {
        severity: Severity::Information,
        code: IssueType::Informational,
        expression: String::new(),
        message: Cow::Borrowed("no issues"),
    }];
    let issues = if issues.is_empty() { &none } else { issues };
    let key = |tree: &mut Tree, name, order| Key {
        name: tree.name(name),
        order,
    };
    let root = tree.object();
    tree.add_string(
        root,
        Key {
            name: NameId::RESOURCE_TYPE,
            order: 0,
        },
        "OperationOutcome",
    );
    let (issue_key, severity, code) = (
        key(tree, "issue", 1),
        key(tree, "severity", 1),
        key(tree, "code", 2),
    );
    let (diagnostics, expression) = (key(tree, "diagnostics", 3), key(tree, "expression", 4));
    let array = tree.add_array(root, issue_key);
    for issue in issues {
        let node = tree.push_object(array);
        tree.add_string(node, severity, issue.severity.as_str());
        tree.add_string(node, code, issue.code.as_str());
        tree.add_string(node, diagnostics, &issue.message);
        let expressions = tree.add_array(node, expression);
        tree.push_string(expressions, &issue.expression);
    }
    root
}

/// Appends an OperationOutcome as JSON.
pub fn write(issues: &[Issue], pretty: bool, out: &mut Vec<u8>) {
    let mut tree = Tree::new();
    let root = build(&mut tree, issues);
    tree.write(
        root,
        out,
        &WriteOptions {
            pretty,
            ..WriteOptions::default()
        },
    );
}

/// What a server's answer says that may be logged: severities and codes. Its texts can quote what was sent, so none is
/// kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Severity and code of each issue, in the answer's order; at most [`Summary::MAX`].
    pub issues: Vec<(Severity, IssueType)>,
}

impl Summary {
    /// So many issues are kept.
    pub const MAX: usize = 100;

    /// Whether some issue has the code.
    pub fn has(&self, code: IssueType) -> bool {
        self.issues.iter().any(|(_, found)| *found == code)
    }
}

impl fmt::Display for Summary {
    /// `error/required, error/value (3), warning/invariant`: each kind once, worst first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds = self.issues.clone();
        kinds.sort_unstable();
        kinds.dedup();
        for (position, (severity, code)) in kinds.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{}/{}", severity.as_str(), code.as_str())?;
            let count = self
                .issues
                .iter()
                .filter(|issue| **issue == (*severity, *code))
                .count();
            if count > 1 {
                write!(f, " ({count})")?;
            }
        }
        Ok(())
    }
}

/// Reads the codes out of an answer: an OperationOutcome, or a Bundle whose entries have one in `response.outcome`.
/// `None` when it is neither.
pub fn summarize(json: &[u8]) -> Option<Summary> {
    let (tree, root) = read(json, &Limits::default()).ok()?;
    let mut summary = Summary::default();
    match tree.text(tree.get(root, NameId::RESOURCE_TYPE)?) {
        "OperationOutcome" => collect(&tree, root, &mut summary),
        "Bundle" => {
            let (response, outcome) = (NameId::of("response")?, NameId::of("outcome")?);
            for (_, entry) in tree.children(tree.get(root, NameId::ENTRY)?) {
                let found = tree
                    .get(entry, response)
                    .and_then(|node| tree.get(node, outcome));
                found
                    .into_iter()
                    .for_each(|node| collect(&tree, node, &mut summary));
            }
        }
        _ => return None,
    }
    Some(summary)
}

fn collect(tree: &Tree, outcome: NodeId, summary: &mut Summary) {
    let code_of = |issue, name| {
        NameId::of(name)
            .and_then(|name| tree.get(issue, name))
            .map(|node| tree.text(node))
    };
    let issues = NameId::of("issue").and_then(|name| tree.get(outcome, name));
    for (_, issue) in issues.into_iter().flat_map(|issues| tree.children(issues)) {
        if summary.issues.len() == Summary::MAX {
            return;
        }
        let severity = code_of(issue, "severity")
            .and_then(Severity::from_code)
            .unwrap_or(Severity::Error);
        let code = code_of(issue, "code")
            .and_then(IssueType::from_code)
            .unwrap_or(IssueType::Unknown);
        summary.issues.push((severity, code));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(severity: Severity, code: IssueType, expression: &str) -> Issue {
        Issue {
            severity,
            code,
            expression: expression.to_owned(),
            message: Cow::Borrowed("words"),
        }
    }

    #[test]
    fn what_is_written_is_a_valid_outcome_and_is_read_back() {
        let issues = [
            issue(Severity::Warning, IssueType::NotFound, ""),
            issue(Severity::Error, IssueType::CodeInvalid, "Patient.gender"),
            issue(Severity::Error, IssueType::CodeInvalid, "Patient.gender"),
        ];
        let mut out = Vec::new();
        write(&issues, false, &mut out);
        let text = String::from_utf8(out.clone()).unwrap();
        assert!(text.starts_with(
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"not-found","diagnostics":"words"},"#
        ));
        let (tree, root) = read(&out, &Limits::default()).unwrap();
        assert_eq!(
            crate::validate::resource(&tree, root, crate::definitions::r4()),
            []
        );
        let summary = summarize(&out).unwrap();
        assert_eq!(
            summary.to_string(),
            "error/code-invalid (2), warning/not-found"
        );
        assert!(summary.has(IssueType::NotFound) && !summary.has(IssueType::Login));
    }

    #[test]
    fn no_issues_is_an_issue_too() {
        let mut out = Vec::new();
        write(&[], true, &mut out);
        assert_eq!(
            summarize(&out).unwrap().issues,
            [(Severity::Information, IssueType::Informational)]
        );
    }

    #[test]
    fn answers_of_servers() {
        let bundle = br#"{"resourceType":"Bundle","entry":[{"response":{"status":"201"}},
            {"response":{"outcome":{"resourceType":"OperationOutcome","issue":[{"severity":"odd","diagnostics":"Mrs Secret"}]}}}]}"#;
        let summary = summarize(bundle).unwrap();
        assert_eq!(summary.issues, [(Severity::Error, IssueType::Unknown)]);
        assert!(!format!("{summary:?} {summary}").contains("Secret"));
        assert_eq!(summarize(b"<html>"), None);
        assert_eq!(summarize(br#"{"resourceType":"Patient"}"#), None);
        assert_eq!(summarize(br#"{"resourceType":"Bundle"}"#), None);
        let many = format!(
            r#"{{"resourceType":"OperationOutcome","issue":[{}{{}}]}}"#,
            "{},".repeat(500)
        );
        assert_eq!(
            summarize(many.as_bytes()).unwrap().issues.len(),
            Summary::MAX
        );
    }

    #[test]
    fn codes_go_both_ways_and_are_the_standards() {
        let set = |url| crate::definitions::r4().value_set_by_url(url).unwrap();
        for (_, code) in set("http://hl7.org/fhir/ValueSet/issue-type").codes() {
            assert_eq!(IssueType::from_code(code).unwrap().as_str(), code);
        }
        for (_, code) in set("http://hl7.org/fhir/ValueSet/issue-severity").codes() {
            assert_eq!(Severity::from_code(code).unwrap().as_str(), code);
        }
        assert_eq!(IssueType::from_code("nonsense"), None);
    }
}
