//! Whether a resource is one: its structure against the R4 definitions.

use serde_json::value::RawValue;

use super::fault::{Fault, Issue};

/// Checks a resource.
pub(super) fn check(resource: &RawValue) -> Result<(), Fault> {
    let limits = fhir::tree::Limits::default();
    fhir::tree::read(resource.get().as_bytes(), &limits).map_err(|error| {
        Fault::Unprocessable(vec![Issue {
            code: "structure",
            text: error.problem.to_string(),
            expression: error.path,
        }])
    })?;
    Ok(())
}
