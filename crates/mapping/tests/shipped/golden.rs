//! `mappings/tests/NAME.hl7` must give `NAME.bundle.json`. `UPDATE=1` rewrites what is expected; review the diff.

use std::path::PathBuf;
use std::sync::Arc;

use mapping::Package;

use crate::support::{convert, package, shipped_folder, shipped_layer};

/// What the report of a message says that nothing took.
const LEFT: &[(&str, &[&str])] = &[
    // A document in an OBX is part of the report; its title is the text of OBX-3, the code has no place there.
    ("oru-r01-document.hl7", &["OBX-3.1", "OBX-3.3", "OBX-5.2"]),
];

pub fn pairs() -> Vec<(PathBuf, PathBuf)> {
    let folder = shipped_folder().join("tests");
    let mut messages: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == "hl7"))
        .collect();
    messages.sort();
    messages
        .into_iter()
        .map(|path| (path.clone(), path.with_extension("bundle.json")))
        .collect()
}

pub fn shipped() -> Arc<Package> {
    package(&[shipped_layer()])
}

#[test]
fn messages_give_their_bundles() {
    let package = shipped();
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for (message, expected) in pairs() {
        let text = std::fs::read_to_string(&message).unwrap();
        let made = convert(&package, &text);
        // As `fhirway convert` prints it: the Bundle and a line break.
        let got = format!("{}\n", made.json.trim_end());
        if update {
            std::fs::write(&expected, &got).unwrap();
            continue;
        }
        let known = std::fs::read_to_string(&expected).unwrap_or_default();
        if known != got {
            let line = known.lines().zip(got.lines()).position(|(a, b)| a != b);
            let line = line.unwrap_or_else(|| known.lines().count().min(got.lines().count()));
            let show = |text: &str| text.lines().nth(line).unwrap_or("(the end)").to_owned();
            wrong.push(format!(
                "{}:{}\n  expected {}\n  got      {}",
                expected.display(),
                line + 1,
                show(&known),
                show(&got)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_bundle_is_valid_and_what_is_left_over_is_known() {
    let package = shipped();
    let mut converter = package.converter();
    let found = pairs();
    assert!(found.len() >= 12, "{} golden pairs", found.len());
    for (message, _) in found {
        let bytes = std::fs::read(&message).unwrap();
        let (parsed, issues) = hl7v2::parse(&bytes).unwrap();
        assert!(issues.is_empty(), "{}: {issues:?}", message.display());
        let conversion = converter
            .convert(&parsed, &mapping::Context::default())
            .unwrap();
        let problems: Vec<_> = fhir::validate::entries(
            conversion.tree(),
            &conversion.entries(),
            fhir::definitions::r4(),
        )
        .into_iter()
        .filter(|issue| format!("{:?}", issue.severity) == "Error")
        .collect();
        assert!(problems.is_empty(), "{}: {problems:?}", message.display());
        let unmapped: Vec<String> = conversion
            .report()
            .unmapped
            .iter()
            .map(ToString::to_string)
            .collect();
        let left = LEFT.iter().find(|(name, _)| message.ends_with(name));
        let left = left.map_or(&[][..], |(_, places)| places);
        assert_eq!(unmapped, left, "{}", message.display());
    }
}
