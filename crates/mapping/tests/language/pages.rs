//! The pages of `fhirway explain`: the wrong example of each gives its code, the right one does not.

use mapping::{Code, Diagnostic, Layer, Package, ReportCode, Severity};

use crate::fixture::with;
use crate::support::{File, convert, layer, rendered};

/// What stands in the blocks of a page.
#[derive(Default, Debug)]
struct Example {
    files: Vec<(String, String)>,
    message: Option<String>,
}

/// The wrong and the right example.
fn examples(page: &str) -> [Example; 2] {
    let mut examples = [Example::default(), Example::default()];
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let which: &[usize] = match line.split([' ', ',', ':']).next() {
            Some("Wrong") => &[0],
            Some("Right") => &[1],
            Some("Message" | "Both") => &[0, 1],
            _ => continue,
        };
        if !line.ends_with(':') {
            continue;
        }
        let opening = lines.next().unwrap();
        assert!(opening.starts_with("```"), "{opening}");
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        for number in which {
            let example = &mut examples[*number];
            match line.split('`').nth(1) {
                Some(path) => example
                    .files
                    .push((path.to_owned(), block.join("\n") + "\n")),
                None => example.message = Some(block.join("\r") + "\r"),
            }
        }
    }
    examples
}

impl Example {
    /// The base with the example's files; those under `site/` are an overlay.
    fn layers(&self) -> Vec<Layer> {
        let files = |site: bool| -> Vec<File<'_>> {
            self.files
                .iter()
                .filter(|(path, _)| path.starts_with("site/") == site)
                .map(|(path, text)| (path.trim_start_matches("site/"), text.as_str()))
                .collect()
        };
        vec![with(&files(false)), layer("site", &files(true))]
    }
}

/// What the compiler finds, or the reader of assertions where the example is one.
fn found(example: &Example) -> (bool, Vec<Diagnostic>) {
    if let [(path, text)] = example.files.as_slice()
        && path.ends_with(".assert.yaml")
    {
        let read = mapping::testing::Assertions::read(path, text);
        return (read.is_ok(), read.err().unwrap_or_default());
    }
    let (package, found) = Package::compile(&example.layers());
    (package.is_some(), found)
}

/// A page has a title with its code, text, both examples, and no line that a terminal would break.
fn well_formed(code: &str, page: &str) -> [Example; 2] {
    let title = page.lines().next().unwrap();
    assert!(title.starts_with(&format!("# {code}: ")), "{title}");
    assert!(page.ends_with('\n') && !page.ends_with("\n\n"), "{code}");
    for line in page.lines() {
        assert!(line.chars().count() <= 160, "{code}: {line}");
    }
    let both = examples(page);
    for example in &both {
        assert!(!example.files.is_empty(), "{code} has not both examples");
    }
    both
}

#[test]
fn the_wrong_example_of_a_diagnostic_gives_its_code_and_the_right_one_is_right() {
    for code in Code::ALL {
        let [wrong, right] = well_formed(code.as_str(), code.page());
        let (_, told) = found(&wrong);
        let text = rendered(&wrong.layers(), &told);
        assert!(
            told.iter().any(|found| found.code == *code),
            "{}: {text}",
            code.as_str()
        );
        let (usable, told) = found(&right);
        let text = rendered(&right.layers(), &told);
        assert!(usable, "{}: {text}", code.as_str());
        assert!(
            !told
                .iter()
                .any(|found| found.code == *code || found.severity == Severity::Error),
            "{}: {text}",
            code.as_str()
        );
    }
}

#[test]
fn the_wrong_example_of_a_report_code_gives_it_and_the_right_one_does_not() {
    for code in ReportCode::ALL {
        let [wrong, right] = well_formed(code.as_str(), code.page());
        for (example, expected) in [(wrong, true), (right, false)] {
            let (package, found) = Package::compile(&example.layers());
            let Some(package) = package else {
                panic!("{code}: {}", rendered(&example.layers(), &found));
            };
            let message = example.message.as_ref().unwrap();
            let converted = convert(&std::sync::Arc::new(package), message);
            let codes = converted.codes();
            let told = converted
                .report
                .issues
                .iter()
                .any(|issue| issue.code == *code);
            assert_eq!(told, expected, "{code}: {codes:?} {}", converted.json);
        }
    }
}

#[test]
fn every_page_belongs_to_a_code() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("codes");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let known = Code::ALL.iter().any(|code| code.as_str() == stem)
            || ReportCode::ALL.iter().any(|code| code.as_str() == stem);
        assert!(known, "{} is the page of no code", path.display());
    }
}
