//! `--help` of every command.

use crate::support::Command;

/// Every command below `path`, itself included.
fn walk(path: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let help = Command::new(path).arg("--help").run().expect(0).stdout;
    let commands: Vec<String> = help
        .split("Commands:\n")
        .nth(1)
        .unwrap_or_default()
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    for command in commands {
        let mut path = path.to_vec();
        path.push(command);
        walk(&path, found);
    }
    found.push((path.to_vec(), help));
}

#[test]
fn every_command_has_an_example_that_begins_with_itself() {
    let mut found = Vec::new();
    walk(&[], &mut found);
    let names: Vec<String> = found.iter().map(|(path, _)| path.join(" ")).collect();
    for name in [
        "serve",
        "send",
        "convert",
        "demo",
        "mapping check",
        "mapping test",
        "config check",
        "queue replay",
    ] {
        assert!(
            names.iter().any(|found| found == name),
            "{name} in {names:?}"
        );
    }
    for (path, help) in &found {
        let command = format!("  fhirway {}", path.join(" "));
        let examples = help.split("Example").nth(1).unwrap_or_default();
        assert!(examples.contains(command.trim_end()), "{path:?}\n{help}");
        assert!(
            help.lines().all(|line| line.chars().count() <= 110),
            "{path:?} is too wide"
        );
    }
}

#[test]
fn the_version_is_told_and_nonsense_is_refused() {
    let ran = Command::new(["--version"]).run().expect(0);
    assert_eq!(
        ran.stdout,
        format!("fhirway {}\n", env!("CARGO_PKG_VERSION"))
    );
    let ran = Command::new(["convrt"]).run().expect(2);
    assert!(ran.stderr.contains("convert"), "{ran:?}");
    Command::new(["serve", "--config", "/no/such/file"])
        .run()
        .expect(2);
}
