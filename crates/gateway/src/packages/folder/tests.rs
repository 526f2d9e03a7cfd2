use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn package(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn refused(folder: &Path) -> String {
    crate::cli::chain(&read(folder).unwrap_err())
}

#[test]
fn every_yaml_file_is_read_but_for_tests_and_hidden_ones() {
    let folder = package(&[
        ("package.yaml", b"package: a"),
        ("tables/A.yaml", b"table: A"),
        ("tables/B/C.yml", b"table: B/C"),
        ("profiles/a.json", b"{}"),
        ("segments/a.json", b"{}"),
        ("tests/a.assert.yaml", b"x"),
        (".git/a.yaml", b"x"),
        ("..2026/tables/A.yaml", b"x"),
        ("notes.txt", b"\xff"),
    ]);
    let layer = read(folder.path()).unwrap();
    let paths: Vec<&str> = layer.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "package.yaml",
            "profiles/a.json",
            "tables/A.yaml",
            "tables/B/C.yml"
        ]
    );
}

#[test]
fn what_is_no_package_is_told() {
    let folder = package(&[("feeds/a.yaml", b"x")]);
    assert!(refused(folder.path()).contains("is not a mapping package"));
    assert!(refused(&folder.path().join("feeds/a.yaml")).contains("is not a folder"));
    assert!(refused(&folder.path().join("none")).contains("No such file"));
}

#[test]
fn another_encoding_has_its_line() {
    let folder = package(&[("tables/A.yaml", b"table: A\ncodes: { M: m\xe4nnlich }\n")]);
    let why = refused(folder.path());
    assert!(
        why.contains("tables/A.yaml:2: byte 22 is not UTF-8"),
        "{why}"
    );
}

#[test]
fn a_huge_file_is_not_read() {
    let folder = package(&[("tables/A.yaml", b"")]);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join("tables/A.yaml"))
        .unwrap();
    // A hole: it has the length, and takes no room on the disk.
    file.set_len(1 << 30).unwrap();
    let started = std::time::Instant::now();
    let why = refused(folder.path());
    assert!(why.contains("has 1073741824 bytes"), "{why}");
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn links_may_lead_anywhere_but_in_a_circle() {
    let folder = package(&[("tables/A.yaml", b"table: A")]);
    let other = package(&[("B.yaml", b"table: B")]);
    symlink(
        other.path().join("B.yaml"),
        folder.path().join("tables/B.yaml"),
    )
    .unwrap();
    assert_eq!(read(folder.path()).unwrap().files.len(), 2);
    symlink(folder.path(), folder.path().join("tables/again")).unwrap();
    assert!(refused(folder.path()).contains("tables/again leads back"));
    fs::remove_file(folder.path().join("tables/again")).unwrap();
    symlink("C.yaml", folder.path().join("tables/C.yaml")).unwrap();
    let why = refused(folder.path());
    assert!(why.contains("tables/C.yaml"), "{why}");
}

#[test]
fn pipes_and_what_may_not_be_read_are_told() {
    let folder = package(&[("tables/A.yaml", b"table: A")]);
    let path = folder.path().join("tables/A.yaml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything.
    if File::open(&path).is_err() {
        let why = refused(folder.path());
        assert!(
            why.contains("cannot read") && why.contains("tables/A.yaml"),
            "{why}"
        );
    }
    fs::remove_file(&path).unwrap();
    let made = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(refused(folder.path()).contains("tables/A.yaml is not a file"));
    drop(made);
}

#[test]
fn folders_without_end_have_one() {
    let deep = "a/".repeat(30) + "A.yaml";
    let folder = package(&[("package.yaml", b"package: a"), (&deep, b"")]);
    assert!(refused(folder.path()).contains("nested too deeply"));
}
