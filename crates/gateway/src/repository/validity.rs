//! Whether a resource is one: its structure against the R4 definitions.

use fhir::definitions::r4;
use fhir::outcome::Severity;
use fhir::tree::{Limits, read};
use fhir::validate;
use serde_json::value::RawValue;

use super::fault::{Fault, Issue};

/// Issues that are told at most.
const MOST: usize = 20;

/// Checks a resource as it was sent. Warnings pass.
pub(super) fn check(resource: &RawValue) -> Result<(), Fault> {
    let (tree, node) = read(resource.get().as_bytes(), &Limits::default()).map_err(|error| {
        Fault::Unprocessable(vec![Issue {
            code: "structure",
            text: error.problem.to_string(),
            expression: error.path,
        }])
    })?;
    let issues: Vec<Issue> = validate::resource(&tree, node, r4())
        .into_iter()
        .filter(|issue| matches!(issue.severity, Severity::Fatal | Severity::Error))
        .take(MOST)
        .map(|issue| Issue {
            code: issue.code.as_str(),
            text: issue.message.into_owned(),
            expression: issue.expression,
        })
        .collect();
    if issues.is_empty() {
        return Ok(());
    }
    Err(Fault::Unprocessable(issues))
}
