//! `fhirway demo`: all of it in one process.

use tempfile::TempDir;

use crate::support::Command;

#[test]
fn it_runs_to_its_end_and_says_where_to_look() {
    let folder = TempDir::new().unwrap();
    let ran = Command::new([
        "demo",
        "--any-port",
        "--rate",
        "1000",
        "--count",
        "60",
        "--data",
    ])
    .arg(folder.path())
    .run()
    .expect(0);
    for says in [
        "MLLP",
        "/fhir/Patient",
        "/metrics",
        "60 messages accepted, 60 delivered, 0 waiting, 0 dead letters",
    ] {
        assert!(ran.stdout.contains(says), "{says}\n{}", ran.stdout);
    }
    assert!(!ran.stderr.contains("ERROR"), "{}", ran.stderr);
}
