//! The line of `--report` about one message: places, codes and timings, nothing of the content.

use std::time::Duration;

use serde_json::{Value, json};

use super::Job;
use crate::convert::{ConvertFailure, Converted};

/// The line, with its end.
pub(super) fn line(job: &Job, result: &Result<Converted, ConvertFailure>) -> Vec<u8> {
    let mut value = match result {
        Ok(converted) => good(converted),
        Err(failure) => json!({
            "ok": false,
            "reason": failure.reason(),
            "error": failure.to_string(),
            "validation": findings(&failure.issues()),
        }),
    };
    if let Value::Object(map) = &mut value {
        map.insert("input".to_owned(), job.name.as_ref().into());
        map.insert("message".to_owned(), job.message.into());
    }
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn good(converted: &Converted) -> Value {
    let timings = converted.timings;
    json!({
        "ok": true,
        "resources": converted.resources,
        "bundle_bytes": converted.bundle.len(),
        "parse_issues": converted.parse_issues.iter().map(|issue| json!({
            "code": issue.code.as_str(),
            "place": issue.place.as_ref().map(ToString::to_string),
            "offset": issue.offset,
        })).collect::<Vec<_>>(),
        "mapping": serde_json::to_value(&converted.report).unwrap_or_default(),
        "validation": findings(&converted.findings),
        "timings_us": {
            "parse": micros(timings.parse),
            "map": micros(timings.map),
            "validate": micros(timings.validate),
            "write": micros(timings.write),
        },
    })
}

fn findings(issues: &[fhir::outcome::Issue]) -> Vec<Value> {
    issues
        .iter()
        .map(|issue| {
            json!({
                "severity": issue.severity.as_str(),
                "code": issue.code.as_str(),
                "expression": issue.expression,
                "message": issue.message,
            })
        })
        .collect()
}

/// Microseconds with one decimal.
fn micros(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 10.0
}
