//! Findings as SARIF 2.1.0, the form that code hosts show beside the lines of a change.
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::package::{Layer, Package};

/// A SARIF log of one run. `version` is that of the tool; files are named as the package was given them, without `base` where
/// that is the folder they are in: code hosts know files by their paths in the repository.
pub fn sarif(layers: &[Layer], diagnostics: &[Diagnostic], version: &str, base: &str) -> Value {
    let mut seen = HashMap::new();
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|found| {
            let print = fingerprint(layers, found);
            let number = seen
                .entry(print.clone())
                .and_modify(|n| *n += 1)
                .or_insert(1);
            result(found, &format!("{print}:{number}"), base)
        })
        .collect();
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
            "results": results,
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
        "properties": { "tags": ["mapping"], "precision": "very-high" },
    })
}

/// What tells a finding from others while lines above it come and go: its rule, its file, and the line it stands in.
fn fingerprint(layers: &[Layer], found: &Diagnostic) -> String {
    let source = Package::source(layers, &found.file).unwrap_or_default();
    let line = source.lines().nth(found.line().saturating_sub(1) as usize);
    let line: String = line.unwrap_or_default().split_whitespace().collect();
    let text = format!("{} {} {line}", found.code.as_str(), found.file);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
        .simple()
        .to_string()
}

fn result(found: &Diagnostic, print: &str, base: &str) -> Value {
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
            "artifactLocation": { "uri": uri(&found.file, base) },
            "region": {
                "startLine": found.line(),
                "startColumn": found.column(),
                "endLine": found.line(),
                "endColumn": found.column() + found.length(),
            },
        }}],
        "partialFingerprints": { "primaryLocationLineHash": print },
    })
}

/// A path as a URI: relative as it was given, or `file:` when it is absolute.
fn uri(path: &str, base: &str) -> String {
    let inside = path.strip_prefix(base).filter(|_| !base.is_empty());
    let inside = inside.and_then(|path| path.strip_prefix('/'));
    let path = inside.unwrap_or(path);
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
    use crate::SourceFile;

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
        let layers = [layer];
        let (_, found) = Package::compile(&layers);
        let log = sarif(&layers, &found, "1.2.3", "");
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

    #[test]
    fn a_finding_stays_itself_when_lines_above_it_change() {
        let log = |above: &str, name: &str, base: &str| {
            let text = format!("segment: PID\nmakes: Patient\n{above}birthdate: x\ngendr: y\n");
            let layers = [Layer {
                name: name.to_owned(),
                files: vec![SourceFile {
                    path: "segments/PID/Patient.yaml".to_owned(),
                    text,
                }],
            }];
            let (_, found) = Package::compile(&layers);
            sarif(&layers, &found, "1", base)["runs"][0]["results"].clone()
        };
        let prints = |results: &Value| -> Vec<String> {
            let all = results.as_array().unwrap().iter();
            let print =
                |one: &Value| one["partialFingerprints"]["primaryLocationLineHash"].to_string();
            all.map(print).collect()
        };
        let (before, after) = (log("", "m", ""), log("about: more\n", "m", ""));
        assert_eq!(prints(&before), prints(&after));
        assert_ne!(prints(&before)[0], prints(&before)[1]);
        let uri = |results: &Value| {
            results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].clone()
        };
        assert_eq!(
            uri(&log("", "/home/ci/repo/maps", "/home/ci/repo")),
            "maps/segments/PID/Patient.yaml"
        );
        assert_eq!(
            uri(&log("", "/srv/maps", "/home/ci/repo")),
            "file:///srv/maps/segments/PID/Patient.yaml"
        );
    }
}
