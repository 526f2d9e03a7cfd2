//! Golden pairs: `mappings/tests/NAME.hl7` and the Bundle it becomes, `NAME.bundle.json`.
//!
//! `UPDATE=1 cargo test -p gateway --test golden` writes the Bundles anew; look at the difference before you commit it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::Command;

fn mappings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../mappings")
        .canonicalize()
        .unwrap()
}

/// Files with an ending below `mappings/tests`, sorted.
fn found(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![mappings().join("tests")];
    while let Some(folder) = open.pop() {
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What the message in a file becomes with the maps as they are in the folder.
fn convert(path: &Path) -> String {
    let package = mappings();
    Command::new(["convert", "--validate", "enforce", "--package"])
        .arg(package)
        .arg(path)
        .run()
        .expect(0)
        .stdout
}

#[test]
fn messages_become_their_bundles() {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let messages = found(".hl7");
    assert!(!messages.is_empty(), "there is no pair in mappings/tests");
    let mut wrong = Vec::new();
    for message in &messages {
        let bundle = message.with_extension("bundle.json");
        let made = convert(message);
        if update {
            fs::write(&bundle, &made).unwrap();
            continue;
        }
        let Ok(expected) = fs::read_to_string(&bundle) else {
            wrong.push(format!("{} is missing", bundle.display()));
            continue;
        };
        if made != expected {
            wrong.push(format!(
                "{}: {}",
                bundle.display(),
                first_difference(&expected, &made)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} pairs differ (UPDATE=1 writes them anew):\n{}",
        wrong.len(),
        messages.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_bundle_has_its_message_and_can_be_read() {
    for bundle in found(".bundle.json") {
        let text = fs::read_to_string(&bundle).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["resourceType"], "Bundle", "{}", bundle.display());
        let name = bundle.to_string_lossy().into_owned();
        let message = PathBuf::from(name.trim_end_matches(".bundle.json").to_owned() + ".hl7");
        assert!(message.is_file(), "{} has no message", bundle.display());
    }
}

#[test]
fn the_same_messages_give_the_same_bytes() {
    let all = |jobs: &str| {
        Command::new(["convert", "--ndjson", "--jobs", jobs, "--package"])
            .arg(mappings())
            .arg(mappings().join("tests"))
            .run()
            .expect(0)
            .stdout
    };
    let (one, many) = (all("1"), all("4"));
    assert!(one.lines().count() >= found(".hl7").len());
    assert!(one == many, "other bytes the second time");
}

fn first_difference(expected: &str, made: &str) -> String {
    let mut expected_lines = expected.lines();
    let mut made_lines = made.lines();
    for number in 1.. {
        match (expected_lines.next(), made_lines.next()) {
            (None, None) => break,
            (expected, made) if expected == made => {}
            (expected, made) => {
                return format!(
                    "line {number}\n  expected {}\n  made     {}",
                    expected.unwrap_or("(the end)"),
                    made.unwrap_or("(the end)")
                );
            }
        }
    }
    "only the line ends differ".to_owned()
}
