//! The shipped package with any bytes, its files with any change, and twice the same.

use std::sync::{Arc, LazyLock};

use fhir::bundle::BundleOptions;
use mapping::{Context, Package};
use proptest::prelude::*;

use crate::support::{package, shipped_files, shipped_folder, shipped_layer};

static SHIPPED: LazyLock<Arc<Package>> = LazyLock::new(|| package(&[shipped_layer()]));

/// All messages of the golden pairs.
static MESSAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut paths: Vec<_> = std::fs::read_dir(shipped_folder().join("tests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == "hl7"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
});

/// Bundle and report; the error where there is none.
fn outcome(converter: &mut mapping::Converter, bytes: &[u8]) -> Option<String> {
    let (parsed, _) = hl7v2::parse(bytes).ok()?;
    Some(match converter.convert(&parsed, &Context::default()) {
        Ok(conversion) => {
            let mut out = Vec::new();
            conversion
                .write_bundle(&BundleOptions::default(), &mut out)
                .unwrap();
            let bundle = String::from_utf8(out).unwrap();
            if conversion.resource_count() > 0 {
                serde_json::from_str::<serde_json::Value>(&bundle).unwrap();
            }
            let report = serde_json::to_string(conversion.report()).unwrap();
            format!("{bundle}\n{report}")
        }
        Err(error) => error.to_string(),
    })
}

#[test]
fn the_shipped_package_has_no_findings() {
    let layers = [shipped_layer()];
    let (_, found) = Package::compile(&layers);
    assert!(
        found.is_empty(),
        "{}",
        crate::support::rendered(&layers, &found)
    );
}

#[test]
fn the_same_message_gives_the_same_bytes_in_any_order() {
    let fresh: Vec<_> = MESSAGES
        .iter()
        .map(|bytes| outcome(&mut SHIPPED.converter(), bytes))
        .collect();
    let other = package(&[shipped_layer()]);
    let mut used = other.converter();
    for round in 0..3 {
        let count = MESSAGES.len();
        for step in 0..count {
            let number = (step * (2 * round + 1) + round) % count;
            assert_eq!(
                outcome(&mut used, &MESSAGES[number]),
                fresh[number],
                "{number}"
            );
        }
    }
}

#[test]
fn a_converter_for_each_thread_gives_the_same() {
    let fresh: Vec<_> = MESSAGES
        .iter()
        .map(|bytes| outcome(&mut SHIPPED.converter(), bytes))
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut converter = SHIPPED.converter();
                for (bytes, expected) in MESSAGES.iter().zip(&fresh) {
                    assert_eq!(&outcome(&mut converter, bytes), expected);
                }
            });
        }
    });
}

/// Changes at places given in thousandths, so that they hit long and short messages alike.
fn changes() -> impl Strategy<Value = Vec<(usize, usize, Vec<u8>)>> {
    let piece = prop_oneof![
        Just(b"|".to_vec()),
        Just(b"^^".to_vec()),
        Just(b"~".to_vec()),
        Just(b"&".to_vec()),
        Just(b"\"\"".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\rPID|||9\r".to_vec()),
        Just(b"\rOBX|1|NM|||<5\r".to_vec()),
        Just(b"\rZZZ|".to_vec()),
        Just(b"\\X1F\\".to_vec()),
        Just(b"\\F\\".to_vec()),
        Just(b"20249999".to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec((0..1000_usize, 0..40_usize, piece), 1..8)
}

fn apply(bytes: &[u8], changes: &[(usize, usize, Vec<u8>)]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for (at, drop, piece) in changes {
        let at = at * out.len() / 1000;
        let end = (at + drop).min(out.len());
        out.splice(at..end, piece.iter().copied());
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_change_of_a_message_gives_a_bundle_or_an_error(number in any::<prop::sample::Index>(), changes in changes()) {
        let bytes = apply(&MESSAGES[number.index(MESSAGES.len())], &changes);
        let mut converter = SHIPPED.converter();
        let first = outcome(&mut converter, &bytes);
        prop_assert_eq!(outcome(&mut converter, &bytes), first);
    }

    #[test]
    fn any_bytes_give_a_bundle_or_an_error(tail in prop::collection::vec(any::<u8>(), 0..400), bare in any::<bool>()) {
        let mut bytes = if bare { Vec::new() } else { b"MSH|^~\\&|A|B|C|D|2024||ORU^R01^ORU_R01|1|P|2.5\r".to_vec() };
        bytes.extend_from_slice(&tail);
        outcome(&mut SHIPPED.converter(), &bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_change_of_a_shipped_file_compiles_or_is_told(
        number in any::<prop::sample::Index>(),
        at in 0..1000_usize,
        drop in 0..30_usize,
        piece in prop_oneof!["[ -~]{0,8}", Just("\n  ".to_owned()), Just("{{".to_owned()), Just("é*&".to_owned())],
    ) {
        let mut files = shipped_files();
        let number = number.index(files.len());
        let mut chars: Vec<char> = files[number].text.chars().collect();
        let at = at * chars.len() / 1000;
        let end = (at + drop).min(chars.len());
        chars.splice(at..end, piece.chars());
        files[number].text = chars.into_iter().collect();
        let layers = [mapping::Layer { name: "mappings".to_owned(), files }];
        let (package, found) = Package::compile(&layers);
        for finding in &found {
            let source = Package::source(&layers, &finding.file).unwrap_or_default();
            prop_assert!(finding.render(source, false).contains(finding.code.as_str()));
        }
        match package {
            None => prop_assert!(!found.is_empty()),
            Some(package) => {
                let mut converter = Arc::new(package).converter();
                for bytes in MESSAGES.iter().take(4) {
                    outcome(&mut converter, bytes);
                }
            }
        }
    }
}
