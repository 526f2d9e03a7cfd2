//! The worked overlays: they are right, their tests pass, and their READMEs say what is there.

use crate::support::{Command, Ran};

fn mapping(command: &str, folders: &[&str]) -> Ran {
    let folders = folders
        .iter()
        .map(|name| format!("mappings/examples/{name}"));
    Command::new(["mapping", command, "mappings"])
        .args(folders)
        .folder(&super::repository())
        .run()
}

#[test]
fn the_worked_overlays_are_right_and_do_what_their_tests_say() {
    for folders in [&["us-core"][..], &["lab"], &["lab", "lab-east"]] {
        let checked = mapping("check", folders).expect(0);
        assert!(
            checked.stdout.contains(" 0 errors, 0 warnings"),
            "{folders:?}: {}{}",
            checked.stdout,
            checked.stderr
        );
        let last = folders.last().unwrap();
        let ran = Command::new(["mapping", "test", "--filter", &format!("examples/{last}/")])
            .arg("mappings")
            .args(
                folders
                    .iter()
                    .map(|name| format!("mappings/examples/{name}")),
            )
            .folder(&super::repository())
            .run()
            .expect(0);
        assert!(ran.stdout.contains(" 0 failed"), "{}", ran.stdout);
    }
}

/// A test that the laboratory does not list holds the message, and says which code it was.
#[test]
fn what_the_laboratory_does_not_list_is_named() {
    let feed = tempfile::TempDir::new().unwrap();
    let message = std::fs::read_to_string(
        super::repository().join("mappings/examples/lab/tests/fasting-glucose.hl7"),
    )
    .unwrap();
    super::write(
        feed.path(),
        "one.hl7",
        message.replace("LIPEMIA^Lipaemic index", "ICT^Icteric index"),
    );
    let told = Command::new(["mapping", "misses", "--package", "mappings", "--overlay"])
        .arg("mappings/examples/lab")
        .arg(feed.path())
        .folder(&super::repository())
        .run()
        .expect(0)
        .stdout;
    assert!(
        told.contains("# tables/LabTests.yaml of an overlay"),
        "{told}"
    );
    assert!(told.contains("  ICT: \"\""), "{told}");
}
