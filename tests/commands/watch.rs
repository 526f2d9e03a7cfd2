//! `--watch`: what a person sees while they edit maps, messages and tests.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Instant,
};

use tempfile::TempDir;

use crate::{
    support::{Command, PATIENCE, update},
    write,
};

/// A command that goes on, and all its lines as they come.
struct Watching {
    process: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(command: Command) -> Self {
        let mut process = command
            .into_process()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(process.stdout.take().unwrap()),
            Box::new(process.stderr.take().unwrap()),
        ];
        for output in outputs {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Self { process, lines }
    }

    /// Waits for a line that holds a text, and for the end of that round.
    #[track_caller]
    fn shows(&self, text: &str) {
        let started = Instant::now();
        let mut seen = Vec::new();
        let (mut found, mut ended) = (false, false);
        while !(found && ended) {
            let left = PATIENCE.saturating_sub(started.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("waited in vain for {text}\n{}", seen.join("\n"));
            };
            assert!(!line.contains('\x1b'), "this is no terminal: {line:?}");
            found |= line.contains(text);
            ended = line.contains("waiting for changes");
            seen.push(line);
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn mappings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mappings")
}

fn site() -> TempDir {
    let folder = TempDir::new().unwrap();
    write(
        folder.path(),
        "package.yaml",
        "package: site\nversion: \"1\"\n",
    );
    folder
}

#[test]
fn tests_run_again_after_a_change_and_mistakes_are_waited_out() {
    let site = site();
    write(site.path(), "tests/one.hl7", update("A1", "P77", "Cosima"));
    write(
        site.path(),
        "tests/one.assert.yaml",
        "Patient.gender: female\n",
    );
    let watching = Watching::start(
        Command::new(["mapping", "test", "--watch", "--filter", "tests/one"])
            .arg(mappings())
            .arg(site.path()),
    );
    watching.shows("1 test, 1 passed, 0 failed");
    write(
        site.path(),
        "tests/one.assert.yaml",
        "Patient.gender: male\n",
    );
    watching.shows("1 test, 0 passed, 1 failed");
    // As editors save: a new file takes the place of the old one.
    write(
        site.path(),
        "segments/PID/.new",
        "extends: below\ngender: male\n",
    );
    let map = site.path().join("segments/PID/Patient.yaml");
    std::fs::rename(site.path().join("segments/PID/.new"), &map).unwrap();
    watching.shows("1 test, 1 passed, 0 failed");
    std::fs::write(&map, "extends: below\ngender: [\n").unwrap();
    watching.shows("so no test was run");
    std::fs::remove_file(&map).unwrap();
    watching.shows("1 test, 0 passed, 1 failed");
}

#[test]
fn messages_are_converted_again_after_a_change() {
    let site = site();
    let message = site.path().join("message.txt");
    std::fs::write(&message, update("A1", "P77", "Cosima")).unwrap();
    let watching = Watching::start(
        Command::new(["convert", "--watch", "--ndjson", "--package"])
            .arg(mappings())
            .arg("--package")
            .arg(site.path())
            .arg(&message),
    );
    watching.shows("\"Cosima\"");
    std::fs::write(&message, update("A1", "P77", "Guinevere")).unwrap();
    watching.shows("\"Guinevere\"");
    write(
        site.path(),
        "segments/PID/Patient.yaml",
        "extends: below\nbirthdate: \"{{PID-7}}\"\n",
    );
    watching.shows("did you mean `birthDate`?");
    write(
        site.path(),
        "segments/PID/Patient.yaml",
        "extends: below\ngender: other\n",
    );
    watching.shows("\"gender\":\"other\"");
    std::fs::remove_file(&message).unwrap();
    watching.shows("there is no file or folder");
    std::fs::write(&message, update("A1", "P77", "Imogen")).unwrap();
    watching.shows("\"Imogen\"");
}

#[test]
fn standard_input_cannot_be_watched() {
    let ran = Command::new(["convert", "--watch", "-"]).run().expect(2);
    assert!(ran.stderr.contains("--watch needs files"), "{ran:?}");
}
