//! No file descriptors left: the listener survives and goes on.

use std::{fs::File, process::Command};

use crate::support::*;

const INNER: &str = "MLLP_TEST_FEW_FILES";

/// Runs [`inner`] in a process of its own that may open few files.
#[test]
fn listener_survives_when_there_are_no_file_descriptors() {
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "emfile::inner",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(INNER, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

/// Does nothing unless started by the test above.
#[tokio::test]
async fn inner() {
    if std::env::var_os(INNER).is_none() {
        return;
    }
    let running = Running::start(server()).await;
    let mut early = running.connect().await;
    early.send(&framed("one")).await;
    early.expect(&ok("one")).await;

    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    assert!(files.len() < 64, "the limit holds");
    // One for the client's end; the server's end finds none.
    drop(files.pop());
    let mut late = running.connect().await;
    late.send(&framed("two")).await;
    running.seen.wait_for(3, |e| *e == Event::AcceptError).await;
    early.send(&framed("six")).await;
    early.expect(&ok("six")).await;

    drop(files);
    late.expect(&ok("two")).await;
    running.stop().await;
}
