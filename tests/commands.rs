//! The commands, as a person or a script uses them: output, exit codes, and what they say when something is wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

#[path = "commands/bench.rs"]
mod bench;
#[path = "commands/config_check.rs"]
mod config_check;
#[path = "commands/convert.rs"]
mod convert;
#[path = "commands/demo.rs"]
mod demo;
#[path = "commands/explain.rs"]
mod explain;
#[path = "commands/help.rs"]
mod help;
#[path = "commands/mapping_check.rs"]
mod mapping_check;
#[path = "commands/mapping_diff.rs"]
mod mapping_diff;
#[path = "commands/mapping_examples.rs"]
mod mapping_examples;
#[path = "commands/mapping_explain.rs"]
mod mapping_explain;
#[path = "commands/mapping_lsp.rs"]
mod mapping_lsp;
#[path = "commands/mapping_misses.rs"]
mod mapping_misses;
#[path = "commands/mapping_schema.rs"]
mod mapping_schema;
#[path = "commands/mapping_show.rs"]
mod mapping_show;
#[path = "commands/mapping_table.rs"]
mod mapping_table;
#[path = "commands/mapping_test.rs"]
mod mapping_test;
#[path = "commands/queue.rs"]
mod queue;
#[path = "commands/queue_by_hand.rs"]
mod queue_by_hand;
#[path = "commands/send.rs"]
mod send;

#[path = "commands/upstream_check.rs"]
mod upstream_check;
#[path = "commands/watch.rs"]
mod watch;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

const NO_MESSAGE: &str = "PID|1||P1\r";

/// The root of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn write(folder: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The control id of each line, `-` for an OperationOutcome.
fn control_ids(lines: &[Value]) -> Vec<String> {
    lines
        .iter()
        .map(|line| match line["resourceType"].as_str() {
            Some("OperationOutcome") => "-".to_owned(),
            Some("Bundle") => line["entry"]
                .as_array()
                .unwrap()
                .iter()
                .find_map(|entry| {
                    entry["resource"]["entity"][0]["what"]["identifier"]["value"].as_str()
                })
                .unwrap()
                .to_owned(),
            other => panic!("{other:?}"),
        })
        .collect()
}
