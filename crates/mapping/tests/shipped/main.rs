//! The shipped maps through the library: the walk-through of the reference, and input that nobody meant.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared by two test programs")]
mod support;

mod coverage;
mod explain;
mod identity;
mod profiles;
mod robust;
mod types;
mod walkthrough;

use std::path::PathBuf;
use std::sync::Arc;

/// Message and golden Bundle of every test of the shipped maps; `fhirway mapping test` compares them.
fn pairs() -> Vec<(PathBuf, PathBuf)> {
    let folder = support::shipped_folder().join("tests");
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

fn shipped() -> Arc<mapping::Package> {
    support::package(&[support::shipped_layer()])
}
