//! Packages and messages that ask for too much: one clear answer each, soon.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use mapping::{Code, Context, ConvertError, Limits, Package};
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

/// What a message with this PID meets under a limit, and with which rule.
#[track_caller]
fn stopped(map: &str, pid: &str, context: &Context) -> (String, String) {
    let package = compiled(&[("segments/PID/Patient.yaml", map)]);
    let text = message(ADMIT, &[pid]);
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let mut converter = package.converter();
    let start = Instant::now();
    let error = match converter.convert(&parsed, context) {
        Ok(_) => panic!("the message has a Bundle"),
        Err(error) => error,
    };
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    let ConvertError::Limit { limit, rule } = error else {
        panic!("{error}");
    };
    // The next message is none the worse.
    let small = message(ADMIT, &["PID|||1^^^A||||||||||1|3"]);
    let (parsed, _) = hl7v2::parse(small.as_bytes()).unwrap();
    assert!(converter.convert(&parsed, &Context::default()).is_ok());
    (limit, rule)
}

fn limited(limits: Limits) -> Context {
    Context {
        limits,
        ..Context::default()
    }
}

fn repeated(count: usize) -> String {
    let numbers: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    numbers.join("~")
}

#[test]
fn rules_are_counted_and_the_limit_names_the_one_it_met() {
    // A contact for each of 3,000 repetitions, each with 3,000 names.
    let map = patient_map("contact:\n  - each: PID-13\n    name: { given: { each: PID-14 } }\n");
    let numbers = repeated(3_000);
    let pid = format!("PID|||1^^^A||||||||||{numbers}|{numbers}");
    let (limit, rule) = stopped(&map, &pid, &Context::default());
    assert_eq!(limit, "4,000,000 elements");
    let line = map.lines().position(|line| line.contains("given")).unwrap() + 1;
    assert_eq!(rule, format!("segments/PID/Patient.yaml:{line}"));
    let steps = Limits {
        steps: 1_000,
        ..Limits::default()
    };
    let (limit, again) = stopped(&map, &pid, &limited(steps));
    assert_eq!((limit.as_str(), again), ("1,000 rules", rule));
}

#[test]
fn texts_are_counted_before_they_are_made() {
    let bytes = Limits {
        bytes: 100_000,
        ..Limits::default()
    };
    let long = "x".repeat(9_000);
    let pid = format!("PID|||1^^^A||||||||||{long}");
    for text in [
        "{{PID-13}}".repeat(20),
        "{{replace PID-13 'x' 'twelve chars'}}".to_owned(),
        "{{#each PID-13}}{{this}}{{this}}{{this}}{{this}}{{this}}{{this}}{{this}}{{this}}{{this}}{{this}}{{this}}{{this}}{{/each}}".to_owned(),
    ] {
        let map = patient_map(&format!("name: [ {{ text: \"{text}\" }} ]"));
        let (limit, rule) = stopped(&map, &pid, &limited(bytes));
        assert_eq!(limit, "100,000 bytes of text", "{text}");
        assert!(rule.starts_with("segments/PID/Patient.yaml:"), "{rule}");
    }
    // Many small ones count too.
    let map = patient_map("contact: [ { each: PID-13, name: { text: \"{{PID-14}}\" } } ]");
    let pid = format!("PID|||1^^^A||||||||||{}|{long}", repeated(100));
    assert_eq!(
        stopped(&map, &pid, &limited(bytes)).0,
        "100,000 bytes of text"
    );
}

#[test]
fn a_template_that_loops_is_stopped_before_it_runs() {
    let mut text = "x".to_owned();
    for _ in 0..6 {
        text = format!("{{{{#each PID-13}}}}{text}{{{{/each}}}}");
    }
    let map = patient_map(&format!("name: [ {{ text: \"{text}\" }} ]"));
    let pid = format!("PID|||1^^^A||||||||||{}", repeated(100));
    let (limit, rule) = stopped(&map, &pid, &Context::default());
    assert_eq!(limit, "5,000,000 rules");
    let line = map.lines().position(|line| line.contains("name")).unwrap() + 1;
    assert_eq!(rule, format!("segments/PID/Patient.yaml:{line}"));
}

#[test]
fn maps_inside_each_other_have_an_end() {
    let depth = Limits {
        depth: 0,
        ..Limits::default()
    };
    let map =
        patient_map("contact: [ { each: PID-13, name: { from: PID-14, map: XPN/HumanName } } ]");
    let package = compiled(&[
        ("segments/PID/Patient.yaml", &map),
        (
            "datatypes/XPN/HumanName.yaml",
            "datatype: XPN\nmakes: HumanName\nfamily: \"{{XPN.1}}\"\n",
        ),
    ]);
    let text = message(ADMIT, &["PID|||1^^^A||||||||||1|Roe"]);
    let (parsed, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let result = package
        .converter()
        .convert(&parsed, &limited(depth))
        .map(|_| ());
    let Err(ConvertError::Limit { limit, rule }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(limit, "0 maps inside each other");
    assert!(rule.contains(".yaml:"), "{rule}");
}

#[test]
fn time_is_somebody_elses_and_is_asked_now_and_then() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let asked = std::sync::Arc::new(AtomicU32::new(0));
    let counter = std::sync::Arc::clone(&asked);
    let context = Context {
        deadline: mapping::Deadline::new(move || counter.fetch_add(1, Ordering::Relaxed) >= 2),
        ..Context::default()
    };
    let map = patient_map("contact:\n  - each: PID-13\n    name: { given: { each: PID-14 } }\n");
    let numbers = repeated(300);
    let pid = format!("PID|||1^^^A||||||||||{numbers}|{numbers}");
    let (limit, rule) = stopped(&map, &pid, &context);
    assert_eq!(limit, "the time a message may take");
    assert!(rule.starts_with("segments/PID/Patient.yaml:"), "{rule}");
    assert_eq!(asked.load(Ordering::Relaxed), 3, "not for every rule");
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

/// What looks like the files of a package, and what does not at all.
fn soup() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("segment: PID\n".to_owned()),
        Just("makes: Patient\n".to_owned()),
        Just("extends: below\n".to_owned()),
        Just("name: ".to_owned()),
        Just("  - { each: PID-5, map: XPN/HumanName }\n".to_owned()),
        Just("map:\n".to_owned()),
        Just("table: T\ncodes: {".to_owned()),
        Just("}\n".to_owned()),
        Just("\"{{PID-8}}\"".to_owned()),
        Just("{{#each PID-3}}{{/each}}".to_owned()),
        Just("when: PID-8 = M and (".to_owned()),
        Just("\n    ".to_owned()),
        Just("\t".to_owned()),
        Just("---\n".to_owned()),
        Just("Patient.name.where(given = 'x')".to_owned()),
        Just("[0]: ".to_owned()),
        "[ -~]{0,8}",
        any::<String>(),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text_as_a_file_is_a_package_or_findings(
        text in soup(),
        path in prop_oneof![
            Just("package.yaml"),
            Just("segments/PID/Patient.yaml"),
            Just("datatypes/XPN/HumanName.yaml"),
            Just("tables/T.yaml"),
            Just("tables/T.csv"),
            Just("messages/ADT_A01.yaml"),
            Just("messages/parts/P.yaml"),
            Just("nowhere/at/all.yaml"),
        ],
    ) {
        let layers = [with(&[]), layer("site", &[(path, text.as_str())])];
        let (package, found) = Package::compile(&layers);
        prop_assert_eq!(package.is_none(), found.iter().any(|f| f.severity == mapping::Severity::Error));
        for finding in &found {
            let source = Package::source(&layers, &finding.file).unwrap_or_default();
            prop_assert!(!finding.render(source, false).is_empty());
        }
        if let Err(findings) = mapping::testing::Assertions::read("a.assert.yaml", &text) {
            prop_assert!(!findings.is_empty());
            for finding in findings {
                prop_assert!(!finding.render(&text, false).is_empty());
            }
        }
    }
}
