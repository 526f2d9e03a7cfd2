//! The house rules that a compiler does not hold: who may know whom, how long a file may be, what is never written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Crate, what of ours it may depend on, and what it must know nothing of by any path.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("hl7v2", &[]),
    ("fhir", &[]),
    ("mapping", &["fhir", "hl7v2"]),
    ("mllp", &[]),
    ("queue", &[]),
    ("upstream", &["fhir"]),
    (
        "gateway",
        &["fhir", "hl7v2", "mapping", "mllp", "queue", "upstream"],
    ),
];

/// The pure cores: bytes in, bytes out.
const PURE: [&str; 3] = ["hl7v2", "fhir", "mapping"];

/// Crates that open files or sockets, wait, or keep data.
const EFFECTS: [&str; 17] = [
    "tokio",
    "tokio-util",
    "mio",
    "socket2",
    "hyper",
    "hyper-util",
    "axum",
    "tower",
    "reqwest",
    "rusqlite",
    "libsqlite3-sys",
    "lapin",
    "rustls",
    "rustix",
    "clap",
    "tracing-subscriber",
    "prometheus",
];

/// What each edge is not about.
const EDGES: [(&str, &[&str]); 3] = [
    (
        "mllp",
        &[
            "hl7v2",
            "fhir",
            "mapping",
            "rusqlite",
            "hyper",
            "nom",
            "handlebars",
        ],
    ),
    // No `nom` here: the AMQP client of the RabbitMQ store reads its frames with it.
    (
        "queue",
        &["hl7v2", "fhir", "mapping", "hyper", "handlebars"],
    ),
    (
        "upstream",
        &["hl7v2", "mapping", "queue", "rusqlite", "nom", "handlebars"],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The resolved workspace: names by package id, and for each id what it needs to be built (no dev-dependencies).
struct Workspace {
    names: BTreeMap<String, String>,
    needs: BTreeMap<String, BTreeSet<String>>,
    members: BTreeMap<String, String>,
}

impl Workspace {
    fn load() -> Self {
        // Of this machine only: what other systems need may not be there to be read.
        let rustc = Command::new("rustc").arg("-vV").output().unwrap().stdout;
        let rustc = String::from_utf8(rustc).unwrap();
        let host = rustc
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap();
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(["--filter-platform", host])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names: BTreeMap<String, String> = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let mut needs = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array().unwrap() {
            let built = node["deps"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| {
                    let kinds = dependency["dep_kinds"].as_array().unwrap();
                    kinds.iter().any(|kind| kind["kind"].is_null())
                });
            needs.insert(
                text(&node["id"]),
                built.map(|dependency| text(&dependency["pkg"])).collect(),
            );
        }
        let members = metadata["workspace_members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| (names[id.as_str().unwrap()].clone(), text(id)))
            .collect();
        Self {
            names,
            needs,
            members,
        }
    }

    /// Names of what a member needs itself.
    fn direct(&self, member: &str) -> BTreeSet<&str> {
        let needs = &self.needs[&self.members[member]];
        needs.iter().map(|id| self.names[id].as_str()).collect()
    }

    /// Names of what a member needs by any path.
    fn all(&self, member: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open = vec![&self.members[member]];
        while let Some(id) = open.pop() {
            for needed in &self.needs[id] {
                if found.insert(needed) {
                    open.push(needed);
                }
            }
        }
        found.iter().map(|id| self.names[*id].as_str()).collect()
    }
}

#[test]
fn crates_know_only_whom_they_may() {
    let workspace = Workspace::load();
    let ours: BTreeSet<&str> = workspace.members.keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let surplus: Vec<_> = ours.difference(&expected).collect();
    assert_eq!(
        surplus,
        [&"benches"],
        "a crate without a place in the house"
    );
    for (name, allowed) in ALLOWED {
        let used: BTreeSet<&str> = workspace
            .direct(name)
            .intersection(&ours)
            .copied()
            .collect();
        let allowed = allowed.iter().copied().collect();
        assert!(
            used.is_subset(&allowed),
            "{name} uses {:?}",
            used.difference(&allowed)
        );
    }
}

#[test]
fn pure_crates_have_no_effects() {
    let workspace = Workspace::load();
    for name in PURE {
        let all = workspace.all(name);
        let effects: Vec<_> = EFFECTS.iter().filter(|each| all.contains(*each)).collect();
        assert!(effects.is_empty(), "{name} can reach {effects:?}");
        // The list above can only find what it names: a crate that names an effect is caught at its source.
        for file in files(&root().join("crates").join(name).join("src"), "rs") {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for word in [
                "std::fs",
                "std::net",
                "std::process",
                "std::env",
                "std::thread::spawn",
            ] {
                assert!(!code.contains(word), "{word} in {}", file.display());
            }
        }
    }
}

#[test]
fn edges_know_nothing_of_what_they_carry() {
    let workspace = Workspace::load();
    for (name, unknown) in EDGES {
        let all = workspace.all(name);
        let known: Vec<_> = unknown.iter().filter(|each| all.contains(*each)).collect();
        assert!(known.is_empty(), "{name} can reach {known:?}");
    }
}

/// Files below a folder with an extension, without what tools make.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn files_stay_small() {
    let mut lengths: Vec<(usize, PathBuf)> = files(&root(), "rs")
        .into_iter()
        .filter(|path| !is_generated(path))
        .map(|path| {
            (
                std::fs::read_to_string(&path).unwrap().lines().count(),
                path,
            )
        })
        .collect();
    lengths.sort();
    assert!(lengths.len() > 100, "the sources were not found");
    let (longest, path) = lengths.last().unwrap();
    assert!(*longest <= 1000, "{} has {longest} lines", path.display());
    let (ninth_decile, path) = &lengths[lengths.len() * 9 / 10];
    assert!(
        *ninth_decile <= 500,
        "more than a tenth of the files is longer than 500 lines, from {} on",
        path.display()
    );
}

/// Data in the shape of a source file says so in its first lines.
fn is_generated(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().take(3).any(|line| line.contains("@generated"))
}

#[test]
fn nothing_is_left_for_later() {
    // In pieces, so that this file does not find itself.
    let never = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[", "ignore"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("XX", "X:"),
    ];
    for path in files(&root(), "rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for word in never {
                assert!(
                    !line.contains(word),
                    "{}:{}: {word}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn no_crate_opens_the_door_to_unsafe_or_to_panics() {
    let manifests = files(&root().join("crates"), "toml");
    let crates: Vec<_> = manifests
        .iter()
        .filter(|path| {
            path.ends_with("Cargo.toml")
                && !path.components().any(|part| part.as_os_str() == "fuzz")
        })
        .collect();
    assert!(crates.len() >= ALLOWED.len());
    for path in crates {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{} goes without the lints of the workspace",
            path.display()
        );
    }
    for (name, _) in ALLOWED {
        for path in files(&root().join("crates").join(name).join("src"), "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let is_test = path.to_string_lossy().contains("tests");
            for lint in [
                "unwrap_used",
                "expect_used",
                "clippy::panic",
                "indexing_slicing",
            ] {
                assert!(
                    is_test
                        || !code.contains(&format!(
                            "allow(clippy::{}",
                            lint.trim_start_matches("clippy::")
                        )),
                    "{lint} is allowed in {}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_top_level_folder_and_every_crate_says_what_it_is() {
    let root = root();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap()
        .chain(std::fs::read_dir(root.join("crates")).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            !name.starts_with('.') && !matches!(name.as_str(), "target" | "data")
        })
        .collect();
    folders.sort();
    assert!(folders.len() > 10);
    let mute: Vec<_> = folders
        .iter()
        .filter(|folder| !folder.join("README.md").is_file())
        .collect();
    assert!(mute.is_empty(), "without a README.md: {mute:?}");
}
