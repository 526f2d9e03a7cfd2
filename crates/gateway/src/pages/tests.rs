//! Every code that a person can meet has a page, and the pages are true where that can be tried.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::config;

/// The codes that a group has pages for.
fn pages_of(group: &str) -> BTreeSet<String> {
    let pages = all().into_iter().filter(|page| page.group == group);
    pages.map(|page| page.code.to_owned()).collect()
}

/// The text of a source file, up to its tests.
fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../crates")
        .join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end].to_owned()
}

/// What the functions of that head give: the texts behind each `=> "..."` of their bodies.
fn labels(text: &str, head: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, _) in text.match_indices(head) {
        let body = &text[start..];
        let end = body.find("\n    }\n").unwrap_or(body.len());
        for (at, _) in body[..end].match_indices("=> \"") {
            let word = &body[at + 4..];
            found.insert(word[..word.find('"').unwrap()].to_owned());
        }
    }
    assert!(!found.is_empty(), "nothing behind `{head}`");
    found
}

/// The labels that `labels! { NAME { ... } }` declares.
fn declared(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim);
    let labels = lines.filter_map(|line| {
        let (name, label) = line.strip_suffix("\",")?.split_once(" = \"")?;
        let word = name.chars().all(char::is_alphanumeric);
        word.then(|| label.to_owned())
    });
    labels.collect()
}

/// All Rust files below a folder, without tests.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// Texts that code gives as the reason of an outcome: `reason: "x"`, `poison("x"`, `later("x"`.
fn reasons() -> BTreeSet<String> {
    let mut sources = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for part in ["gateway/src/deliver", "queue/src"] {
        files(&root.join(part), &mut sources);
    }
    sources.push(root.join("gateway/src/deliver.rs"));
    let mut found = BTreeSet::new();
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        let text = &text[..text.find("#[cfg(test)]").unwrap_or(text.len())];
        for head in [
            "reason: \"",
            "poison(\"",
            "later(\"",
            "REASON_CORRUPT: &str = \"",
        ] {
            for (at, _) in text.match_indices(head) {
                let word = &text[at + head.len()..];
                let word = &word[..word.find('"').unwrap()];
                // What lints are allowed for is a sentence.
                if !word.contains(' ') {
                    found.insert(word.to_owned());
                }
            }
        }
    }
    found
}

fn missing(codes: &BTreeSet<String>, group: &str) {
    let pages = pages_of(group);
    let missing: Vec<&String> = codes.difference(&pages).collect();
    assert!(
        missing.is_empty(),
        "no page crates/gateway/codes/*-{group}/CODE.md of {missing:?}"
    );
}

#[test]
fn every_code_has_a_page() {
    let texts = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect();
    let codes: Vec<&str> = hl7v2::IssueCode::ALL
        .iter()
        .map(|code| code.as_str())
        .collect();
    missing(&texts(&codes), "parser");
    let errors = hl7v2::ack::ErrorCode::ALL.map(hl7v2::ack::ErrorCode::as_str);
    missing(&texts(&errors), "acknowledgement");
    let acks = hl7v2::ack::AckCode::ALL.map(hl7v2::ack::AckCode::as_str);
    missing(&texts(&acks), "acknowledgement");
    missing(
        &labels(&source("gateway/src/receive/fault.rs"), "fn as_str"),
        "refusal",
    );
    missing(&labels(&source("mllp/src/error.rs"), "fn reason"), "mllp");
    missing(&declared(&source("mllp/src/observer.rs")), "mllp");
    let tolerances: Vec<&str> = mllp::Tolerance::ALL
        .iter()
        .map(|tolerance| tolerance.as_str())
        .collect();
    missing(&texts(&tolerances), "mllp");
    for (path, head) in [
        ("upstream/src/failure.rs", "pub fn as_str"),
        ("upstream/src/breaker.rs", "impl Reason {"),
        ("gateway/src/convert.rs", "fn reason"),
        ("gateway/src/deliver/mapping_step.rs", "fn reason"),
    ] {
        missing(&labels(&source(path), head), "delivery");
    }
    let reasons = reasons();
    assert!(
        reasons.contains("max-age") && reasons.contains("corrupt"),
        "{reasons:?}"
    );
    missing(&reasons, "delivery");
    let kinds: Vec<&str> = config::Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    missing(&texts(&kinds), "configuration");
    // The types of issues that the validator's own code names.
    let mut sources = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../fhir/src/validate.rs")];
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../fhir/src/validate"),
        &mut sources,
    );
    sources.retain(|path| !path.components().any(|part| part.as_os_str() == "tests"));
    let text: String = sources
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let named = |name: &str| {
        let imported = text.split("IssueType::{").skip(1);
        let mut imported = imported.filter_map(|rest| rest.split('}').next());
        text.contains(&format!("IssueType::{name}"))
            || imported.any(|names| names.split(", ").any(|known| known == name))
    };
    let issues: BTreeSet<String> = fhir::outcome::IssueType::ALL
        .iter()
        .filter(|issue| named(&format!("{issue:?}")))
        .map(|issue| issue.as_str().to_owned())
        .collect();
    assert!(
        issues.contains("duplicate") && issues.contains("required"),
        "{issues:?}"
    );
    missing(&issues, "validation");
}

#[test]
fn every_page_says_what_it_means_and_what_to_do() {
    for page in all() {
        let lines: Vec<&str> = page.text.lines().collect();
        assert!(
            lines[0].starts_with(&format!("# {}: ", page.code)),
            "{}/{}",
            page.group,
            page.code
        );
        assert!(lines[1].is_empty() && lines.len() > 6, "{}", page.code);
        let example = page.text.contains("\n```");
        assert!(example, "{}/{} has no example", page.group, page.code);
        let last = lines.last().unwrap();
        assert!(
            last.ends_with('.') && !last.starts_with("```"),
            "{}/{} does not say what to do",
            page.group,
            page.code
        );
        // Lines of code and tables of examples aside, pages are read on a terminal.
        assert!(!page.text.contains('\t'));
    }
    for group in groups() {
        assert!(
            !group.about.is_empty() && !pages_of(group.name).is_empty(),
            "{}",
            group.name
        );
    }
}

/// The first block of that kind behind a line.
fn block<'t>(text: &'t str, opening: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(opening)?;
    rest.split_once("\n```").map(|(block, _)| block)
}

#[test]
fn examples_of_the_parser_have_their_issue() {
    let mut tried = 0;
    for page in all().into_iter().filter(|page| page.group == "parser") {
        let Some(example) = block(page.text, "```hl7\n") else {
            continue;
        };
        let message = example.replace('\n', "\r");
        let (message, mut issues) = hl7v2::parse(message.as_bytes()).unwrap();
        issues.extend(hl7v2::structure::group(&message).1);
        // Escapes are read with their field.
        for segment in message.segments() {
            for number in 1..=segment.field_count() {
                segment.field(number).text_with(&mut issues);
            }
        }
        let codes: Vec<&str> = issues.iter().map(|issue| issue.code.as_str()).collect();
        assert!(codes.contains(&page.code), "{}: {codes:?}", page.code);
        tried += 1;
    }
    assert!(tried >= 12, "{tried}");
}

#[test]
fn examples_of_the_configuration_have_their_problem() {
    let kinds = |text: &str| -> Vec<&str> {
        let loaded = config::load_text("f".into(), text.into(), std::iter::empty());
        let kinds = loaded.problems.iter().map(|problem| problem.kind.as_str());
        kinds.collect()
    };
    let mut tried = 0;
    for page in all()
        .into_iter()
        .filter(|page| page.group == "configuration")
    {
        let (Some(wrong), Some(right)) = (
            block(page.text, "Wrong:\n```yaml\n"),
            block(page.text, "Right:\n```yaml\n"),
        ) else {
            continue;
        };
        let found = kinds(wrong);
        assert!(found.contains(&page.code), "{}: {found:?}", page.code);
        let found = kinds(right);
        assert!(!found.contains(&page.code), "{}: {found:?}", page.code);
        tried += 1;
    }
    assert!(tried >= 10, "{tried}");
}

#[test]
fn codes_are_found_by_name_and_near_ones_are_offered() {
    assert_eq!(find("m010")[0].group, "check");
    assert!(find("empty").len() == 2 && find("mllp/empty").len() == 1);
    assert_eq!(near("premanent")[0], "permanent");
    assert!(near("bad-valeu").contains(&"bad-value"));
    assert!(near("fs-without").contains(&"fs_without_cr"));
    assert!(near("zzzzzzzz").is_empty());
}
