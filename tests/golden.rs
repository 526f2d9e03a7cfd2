//! The shipped maps as a whole: their own tests pass, and the same messages always give the same bytes.
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

#[test]
fn the_tests_of_the_shipped_maps_pass() {
    let ran = Command::new(["mapping", "test"]).arg(mappings()).run();
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let count = found(".hl7").len();
    assert!(
        ran.stdout
            .contains(&format!("{count} tests, {count} passed, 0 failed")),
        "{}",
        ran.stdout
    );
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
