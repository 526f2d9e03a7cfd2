//! Findings as SARIF 2.1.0, the form that code hosts show beside the lines of a change.
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::diagnostic::{Code, Diagnostic, Severity};

/// A SARIF log of one run. `version` is that of the tool; files are named as the package was given them.
pub fn sarif(diagnostics: &[Diagnostic], version: &str) -> Value {
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "fhirway",
                "semanticVersion": version,
                "rules": Code::ALL.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": diagnostics.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn rule(code: Code) -> Value {
    let page = code.page();
    let (title, text) = page.split_once('\n').unwrap_or((page, ""));
    let title = title.split_once(": ").map_or(title, |(_, title)| title);
    // The first paragraph, on one line.
    let first = text.trim().split("\n\n").next().unwrap_or_default();
    json!({
        "id": code.as_str(),
        "name": format!("{code:?}"),
        "shortDescription": { "text": title },
        "fullDescription": { "text": first.replace('\n', " ") },
        "help": { "text": text.trim(), "markdown": text.trim() },
    })
}

fn result(found: &Diagnostic) -> Value {
    let level = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let text = match &found.help {
        Some(help) => format!("{}. {help}", found.message),
        None => found.message.clone(),
    };
    json!({
        "ruleId": found.code.as_str(),
        "ruleIndex": Code::ALL.iter().position(|code| *code == found.code),
        "level": level,
        "message": { "text": text },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(&found.file) },
            "region": {
                "startLine": found.line(),
                "startColumn": found.column(),
                "endLine": found.line(),
                "endColumn": found.column() + found.length(),
            },
        }}],
    })
}

/// A path as a URI: relative as it was given, or `file:` when it is absolute.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layer, Package, SourceFile};

    #[test]
    fn every_finding_names_its_rule_and_its_region() {
        let file = |path: &str, text: &str| SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let layer = Layer {
            name: "./my maps".to_owned(),
            files: vec![file(
                "segments/PID/Patient.yaml",
                "segment: PID\nmakes: Patient\nbirthdate: \"{{PID-7}}\"\n",
            )],
        };
        let (_, found) = Package::compile(&[layer]);
        let log = sarif(&found, "1.2.3");
        let run = &log["runs"][0];
        let result = &run["results"][0];
        let rule = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
        assert_eq!(result["ruleId"], "M010");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(
            place["artifactLocation"]["uri"],
            "my%20maps/segments/PID/Patient.yaml"
        );
        assert_eq!(
            place["region"],
            json!({ "startLine": 3, "startColumn": 1, "endLine": 3, "endColumn": 10 })
        );
        for rule in run["tool"]["driver"]["rules"].as_array().unwrap() {
            for text in ["shortDescription", "fullDescription", "help"] {
                assert!(rule[text]["text"].as_str().unwrap().len() > 10, "{rule}");
            }
        }
    }
}
