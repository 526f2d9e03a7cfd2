//! The profile of the laboratory's overlay: its maps keep it, and a rule that does not is found.

use std::fs;

use mapping::{Diagnostic, Layer, Package, SourceFile};

use crate::support::{shipped_folder, shipped_layer};

const FILES: [&str; 3] = [
    "package.yaml",
    "profiles/patient.json",
    "segments/PID/Patient.yaml",
];

/// Findings in the overlay's Patient map with these rules more.
fn found(rules: &str) -> Vec<Diagnostic> {
    let folder = shipped_folder().join("examples/lab");
    let files = FILES.map(|path| SourceFile {
        path: path.to_owned(),
        text: fs::read_to_string(folder.join(path)).unwrap(),
    });
    let mut site = Layer {
        name: "lab".to_owned(),
        files: files.to_vec(),
    };
    site.files[2].text.push_str(rules);
    let (package, mut found) = Package::compile(&[shipped_layer(), site]);
    assert!(package.is_some(), "{found:?}");
    found.retain(|found| found.file.starts_with("lab/"));
    found
}

#[test]
fn the_laboratory_keeps_its_profile() {
    let told = found("");
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_rule_against_the_profile_is_found_where_it_stands() {
    let told = found("photo: [ { title: portrait } ]\n");
    let [one] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(
        one.one_line()
            .contains("warning[M053]: this gives `photo`, which https://north-lab.example"),
        "{}",
        one.one_line()
    );
    // The line that was added, which is the last one.
    let text = fs::read_to_string(shipped_folder().join("examples/lab").join(FILES[2])).unwrap();
    assert_eq!(one.line() as usize, text.lines().count() + 1);
}
