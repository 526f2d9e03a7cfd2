//! Packages and messages that ask for too much: one clear answer each, soon.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use mapping::{Code, Context, ConvertError, Package};
use proptest::prelude::*;

use crate::fixture::{BASE, admit, compiled, patient_map, with};
use crate::support::{ADMIT, File, layer, message};

/// The only finding of a package with this Patient map.
#[track_caller]
fn refused(text: &str) -> mapping::Diagnostic {
    let start = Instant::now();
    let (package, mut found) = Package::compile(&[with(&[("segments/PID/Patient.yaml", text)])]);
    assert!(package.is_none());
    // Another file may miss the map; the file itself has one finding.
    found.retain(|found| found.file == "segments/PID/Patient.yaml");
    assert_eq!(
        found.len(),
        1,
        "{:?}",
        found.iter().map(|f| f.one_line()).collect::<Vec<_>>()
    );
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    found.remove(0)
}

#[test]
fn deep_nesting_is_one_finding() {
    for depth in [70, 5_000, 100_000] {
        for (open, close) in [("[", "]"), ("{ a: ", " }")] {
            let text = format!(
                "segment: PID\nname: {}x{}\n",
                open.repeat(depth),
                close.repeat(depth)
            );
            let found = refused(&text);
            assert_eq!(
                (found.code, found.line()),
                (Code::Yaml, 2),
                "{}",
                found.one_line()
            );
        }
    }
    let mut text = String::from("segment: PID\n");
    for level in 0..500 {
        let _ = writeln!(text, "{}a:", " ".repeat(level));
    }
    assert_eq!(refused(&text).code, Code::Yaml);
}

#[test]
fn bombs_are_one_finding() {
    let mut laughs = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (new, old) in [('b', 'a'), ('c', 'b'), ('d', 'c'), ('e', 'd'), ('f', 'e')] {
        let _ = writeln!(laughs, "{new}: &{new} [{}]", format!("*{old}, ").repeat(9));
    }
    let found = refused(&laughs);
    assert_eq!(
        (found.code, found.line(), found.column()),
        (Code::Yaml, 1, 4)
    );
    let many = format!("segment: PID\nname: [{}]\n", "x, ".repeat(300_000));
    let found = refused(&many);
    assert_eq!(found.code, Code::Yaml);
    assert!(found.message.contains("too large"), "{}", found.message);
}

#[test]
fn a_file_of_ten_megabytes_is_one_finding() {
    let text = format!("segment: PID\n# {}\n", "x".repeat(10 << 20));
    let found = refused(&text);
    assert_eq!(found.code, Code::Layout);
    assert!(found.message.contains("4 MiB") && found.help.is_some());
}

#[test]
fn an_empty_package_and_one_of_too_many_files() {
    let (package, found) = Package::compile(&[]);
    assert!(package.is_none() && found.len() == 1, "{found:?}");
    let files: Vec<(String, String)> = (0..10_001)
        .map(|n| (format!("tables/T{n}.yaml"), format!("table: T{n}\n")))
        .collect();
    let files: Vec<File<'_>> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let (package, found) = Package::compile(&[layer("", &files)]);
    assert!(package.is_none() && found.len() == 1, "{found:?}");
    assert!(found[0].message.contains("too many files"));
}

#[test]
fn long_circles_of_maps_are_found() {
    let types = ["CX", "XPN", "XCN", "XON", "HD", "PL", "EI", "CWE"];
    let files: Vec<(String, String)> = types
        .iter()
        .zip(types.iter().cycle().skip(1))
        .map(|(name, next)| {
            (
                format!("datatypes/{name}/Organization.yaml"),
                format!("datatype: {name}\nmakes: Organization\npartOf: {{ from: {name}, map: {next}/Organization }}\n"),
            )
        })
        .collect();
    let files: Vec<File<'_>> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let (package, found) = Package::compile(&[with(&files)]);
    assert!(package.is_none());
    assert_eq!(
        found
            .iter()
            .filter(|found| found.code == Code::Circle)
            .count(),
        1,
        "{found:?}"
    );
}

#[test]
fn conditions_and_templates_are_not_followed_without_end() {
    let deep = format!("{}PID-8 valued{}", "(".repeat(5_000), ")".repeat(5_000));
    let found = refused(&patient_map(&format!(
        "active: {{ is: \"true\", when: '{deep}' }}"
    )));
    assert_eq!(found.code, Code::BadCondition);
    let deep = format!("{}x{}", "{{#if PID-8}}".repeat(200), "{{/if}}".repeat(200));
    let (_, found) = Package::compile(&[with(&[(
        "segments/PID/Patient.yaml",
        &patient_map(&format!("name: [ {{ text: \"{deep}\" }} ]")),
    )])]);
    assert!(found.len() <= 1);
}

#[test]
fn a_limit_names_its_rule() {
    // A contact for each of 3,000 repetitions, each with 3,000 names.
    let package = compiled(&[(
        "segments/PID/Patient.yaml",
        "segment: PID\nmakes: Patient\nkey: PID-3\nidentifier: [ { each: PID-3, map: CX/Identifier } ]\ncontact:\n  - each: PID-13\n    name: { given: { each: PID-14 } }\n",
    )]);
    let numbers: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
    let numbers = numbers.join("~");
    let pid = format!("PID|||1^^^A||||||||||{numbers}|{numbers}");
    let text = message(ADMIT, &[&pid]);
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let mut converter = package.converter();
    let Err(error) = converter.convert(&parsed, &Context::default()) else {
        panic!("nine million numbers are too many");
    };
    let ConvertError::Limit { limit, rule } = &error else {
        panic!("{error}");
    };
    assert!(limit.contains("000"), "{limit}");
    assert!(rule.starts_with("segments/PID/Patient.yaml:"), "{rule}");
    let small = message(ADMIT, &["PID|||1^^^A||||||||||1~2|3"]);
    let (parsed, _) = hl7v2::parse(small.as_bytes()).unwrap();
    assert!(converter.convert(&parsed, &Context::default()).is_ok());
}

#[test]
fn large_text_goes_through_whole() {
    let data = "QUJD".repeat(1 << 19);
    let pid = format!("PID|||1^^^A||||||||||||||||||||{data}");
    let made = admit("photo: [ { data: \"{{PID-23}}\" } ]", &[&pid]);
    assert_eq!(
        made.only("Patient")["photo"][0]["data"]
            .as_str()
            .map(str::len),
        Some(data.len())
    );
}

// === no YAML makes the compiler panic ===

/// A file of the base, some of its bytes changed, moved or taken out.
fn mutated() -> impl Strategy<Value = (usize, Vec<(usize, u8, String)>)> {
    let piece = prop_oneof![
        Just("{{".to_owned()),
        Just("}}".to_owned()),
        Just("{{#each PID-3}}".to_owned()),
        Just("PID-3(2)".to_owned()),
        Just(" when: (".to_owned()),
        Just("\n".to_owned()),
        Just("\n  - ".to_owned()),
        Just(": ".to_owned()),
        Just("&a *a ".to_owned()),
        Just("é\u{1F600}".to_owned()),
        "[ -~]{0,6}",
    ];
    (
        0..BASE.len(),
        prop::collection::vec((0..400_usize, 0..3_u8, piece), 1..6),
    )
}

fn changed(text: &str, changes: &[(usize, u8, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, kind, piece) in changes {
        let at = at % (chars.len() + 1);
        match kind {
            0 => drop(chars.splice(at..at, piece.chars())),
            1 => drop(chars.splice(at..(at + 4).min(chars.len()), piece.chars())),
            _ => drop(chars.drain(at..(at + 9).min(chars.len()))),
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_file_makes_the_compiler_panic((file, changes) in mutated()) {
        let (path, text) = BASE[file];
        let text = changed(text, &changes);
        let layers = [with(&[(path, &text)])];
        let (package, found) = Package::compile(&layers);
        prop_assert_eq!(package.is_none(), found.iter().any(|f| f.severity == mapping::Severity::Error));
        for finding in &found {
            let source = Package::source(&layers, &finding.file).unwrap_or_default();
            prop_assert!(!finding.render(source, false).is_empty());
            prop_assert!(finding.line() >= 1 && finding.column() >= 1);
        }
        if let Some(package) = package {
            let package = std::sync::Arc::new(package);
            let text = message(ADMIT, &["PID|||1^^^A~2||Roe^Ann~Doe||1985|F", "PV1||I"]);
            let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
            let _ = package.converter().convert(&parsed, &Context::default());
        }
    }
}
