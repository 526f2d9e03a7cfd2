//! A message from its bytes to the bytes of its Bundle, with the shipped maps: parse, group, convert, write.
//!
//! Beside it in the same race: the parse alone, and what `serde_json` takes to clone the finished Bundle as a value and
//! write it, which is the least that a converter building JSON values can cost. Asked of it: a 2.1 kB ORU of 15
//! resources in less than 50 us on one core. All data is invented. `cargo bench -p benches --bench convert`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use benches::{Figure, Race};
use fhir::bundle::BundleOptions;
use hl7v2::{Index, ParseOptions};
use mapping::{Context, Layer, Package, SourceFile};
use serde_json::Value;

/// Messages that differ in their numbers and values, so that none is learnt by heart.
const MESSAGES: usize = 64;
/// What a peer, Microsoft's Handlebars converter, took for an ORU of 1.4 kB: a figure seen on another day and not
/// measured here.
const PEER_NANOSECONDS: f64 = 20e6;

fn main() {
    let package = shipped();
    let mut target = None;
    for (title, observations, texts, make) in [
        (
            "ORU of 1.4 kB",
            5,
            0,
            oru as fn(usize, usize, usize) -> Vec<u8>,
        ),
        ("ORU of 2.1 kB", 8, 1, oru),
        ("ORU of 10 kB", 45, 4, oru),
        ("ADT of 0.7 kB", 0, 0, adt),
    ] {
        let messages: Vec<Vec<u8>> = (0..MESSAGES)
            .map(|seed| make(seed, observations, texts))
            .collect();
        let (resources, bytes) = made(&package, &messages[0]);
        let figures = race(
            &format!("{title}: {resources} resources, {bytes} bytes of JSON"),
            &package,
            &messages,
        );
        let whole = figure(&figures, "bytes to Bundle bytes");
        println!(
            "  {:.1} us, {:.2} of what serde_json takes for the Bundle",
            whole.nanoseconds / 1e3,
            1.0 / figure(&figures, "serde_json clone + to_vec").ratio
        );
        if title.contains("1.4") {
            println!(
                "  {:.0} times faster than the 20 ms quoted of a peer's converter (not measured here)",
                PEER_NANOSECONDS / whole.nanoseconds
            );
        }
        if title.contains("2.1") {
            assert_eq!(resources, 15, "the target is about 15 resources");
            target = Some(whole);
        }
    }
    let target = target.unwrap();
    println!(
        "\nORU of 2.1 kB to 15 resources: median {:.1} us, best {:.1} us (asked: 50)",
        target.nanoseconds / 1e3,
        target.best / 1e3
    );
}

fn figure(figures: &[Figure], name: &str) -> Figure {
    *figures.iter().find(|figure| figure.name == name).unwrap()
}

fn race(title: &str, package: &Arc<Package>, messages: &[Vec<u8>]) -> Vec<Figure> {
    let bytes = messages.iter().map(Vec::len).sum::<usize>() / messages.len();
    let context = Context::default();
    let (parse_options, bundle_options) = (ParseOptions::default(), BundleOptions::default());
    let cycle = || messages.iter().cycle();
    let (mut whole, mut parsed, mut grouped) = (cycle(), cycle(), cycle());
    let (mut index, mut bare, mut again) = (Index::new(), Index::new(), Index::new());
    let mut converter = package.converter();
    let mut out = Vec::new();
    let values: Vec<Value> = messages
        .iter()
        .map(|message| serde_json::from_slice(&bundle(package, message)).unwrap())
        .collect();
    let mut values = values.iter().cycle();
    let mut written = Vec::new();
    Race::new(title, 1, bytes)
        .candidate("bytes to Bundle bytes", move || {
            out.clear();
            let reused = std::mem::take(&mut index);
            let (message, _) =
                hl7v2::parse_with(whole.next().unwrap(), &parse_options, reused).unwrap();
            converter
                .convert(&message, &context)
                .unwrap()
                .write_bundle(&bundle_options, &mut out)
                .unwrap();
            index = message.into_index();
            out.len()
        })
        .candidate("parse alone", move || {
            let reused = std::mem::take(&mut bare);
            let (message, _) =
                hl7v2::parse_with(parsed.next().unwrap(), &ParseOptions::default(), reused)
                    .unwrap();
            let leaves = message.leaf_count();
            bare = message.into_index();
            leaves
        })
        .candidate("parse and group", move || {
            let reused = std::mem::take(&mut again);
            let (message, _) =
                hl7v2::parse_with(grouped.next().unwrap(), &ParseOptions::default(), reused)
                    .unwrap();
            let (groups, issues) = hl7v2::structure::group(&message);
            let count = groups.items(groups.root()).len() + issues.len();
            again = message.into_index();
            count
        })
        .candidate("serde_json clone + to_vec", move || {
            let value = values.next().unwrap().clone();
            written.clear();
            serde_json::to_writer(&mut written, &value).unwrap();
            written.len()
        })
        .run()
}

fn bundle(package: &Arc<Package>, bytes: &[u8]) -> Vec<u8> {
    let (message, _) = hl7v2::parse(bytes).unwrap();
    let mut converter = package.converter();
    let conversion = converter.convert(&message, &Context::default()).unwrap();
    let mut out = Vec::new();
    conversion
        .write_bundle(&BundleOptions::default(), &mut out)
        .unwrap();
    out
}

/// How many resources, and how large a Bundle.
fn made(package: &Arc<Package>, bytes: &[u8]) -> (usize, usize) {
    let out = bundle(package, bytes);
    let value: Value = serde_json::from_slice(&out).unwrap();
    (value["entry"].as_array().unwrap().len(), out.len())
}

/// The package of this repository.
fn shipped() -> Arc<Package> {
    fn walk(folder: &Path, base: &Path, files: &mut Vec<SourceFile>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, base, files);
            } else if path.extension().is_some_and(|found| found == "yaml") {
                files.push(SourceFile {
                    path: path
                        .strip_prefix(base)
                        .unwrap()
                        .to_string_lossy()
                        .replace('\\', "/"),
                    text: std::fs::read_to_string(&path).unwrap(),
                });
            }
        }
    }
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings");
    let mut files = Vec::new();
    walk(&base, &base, &mut files);
    let layers = [Layer {
        name: String::new(),
        files,
    }];
    let (package, found) = Package::compile(&layers);
    let lines: Vec<String> = found.iter().map(mapping::Diagnostic::one_line).collect();
    Arc::new(package.unwrap_or_else(|| panic!("{}", lines.join("\n"))))
}

const TESTS: [(&str, &str, &str, &str); 10] = [
    (
        "2345-7",
        "Glucose [Mass/volume] in Serum or Plasma",
        "mg/dL",
        "70-105",
    ),
    (
        "3094-0",
        "Urea nitrogen [Mass/volume] in Serum or Plasma",
        "mg/dL",
        "7-18",
    ),
    (
        "2160-0",
        "Creatinine [Mass/volume] in Serum or Plasma",
        "mg/dL",
        "0.5-1.1",
    ),
    (
        "17861-6",
        "Calcium [Mass/volume] in Serum or Plasma",
        "mg/dL",
        "8.4-10.2",
    ),
    (
        "2951-2",
        "Sodium [Moles/volume] in Serum or Plasma",
        "mmol/L",
        "137-145",
    ),
    (
        "2823-3",
        "Potassium [Moles/volume] in Serum or Plasma",
        "mmol/L",
        "3.5-5.1",
    ),
    (
        "2075-0",
        "Chloride [Moles/volume] in Serum or Plasma",
        "mmol/L",
        "98-107",
    ),
    (
        "2885-2",
        "Protein [Mass/volume] in Serum or Plasma",
        "g/dL",
        "6.3-8.2",
    ),
    (
        "1751-7",
        "Albumin [Mass/volume] in Serum or Plasma",
        "g/dL",
        "3.5-5.0",
    ),
    (
        "1975-2",
        "Bilirubin.total [Mass/volume] in Serum or Plasma",
        "mg/dL",
        "0.2-1.3",
    ),
];

/// A laboratory report of a patient whom the laboratory knows by number and name only.
fn oru(seed: usize, numbers: usize, texts: usize) -> Vec<u8> {
    let mut text = format!(
        "MSH|^~\\&|||||20240301093000+0100||ORU^R01^ORU_R01|MSG{seed:08}|P|2.5.1|||AL|NE||UNICODE UTF-8\r\
         PID|1||{seed:06}^^^FJORD&2.999.10.1.1&ISO^MR||Berg^Solveig^Marie^^^^L||19850201|F|||Strandgata {seed}^^Tromso^^9008^NOR^H||+4777600000^PRN^PH|||M\r\
         ORC|RE|P{seed:06}^FJORD|F{seed:06}^FJORDLAB||CM\r\
         OBR|1|P{seed:06}^FJORD|F{seed:06}^FJORDLAB|24323-8^Comprehensive metabolic panel^LN|||20240301083000+0100|||||||||||||||20240301092500+0100||CH|F\r"
    );
    for number in 0..numbers {
        let (code, name, unit, range) = TESTS[(seed + number) % TESTS.len()];
        let _ = write!(
            text,
            "OBX|{}|NM|{code}^{name}^LN^{seed}{number}^Local {number}^99LAB||{}.{}|{unit}^{unit}^UCUM|{range}|N|||F|||20240301083000+0100\rNTE|1|L|Measured twice, the second time on {seed}.\r",
            number + 1,
            (seed * 7 + number * 13) % 200,
            number % 10
        );
    }
    for number in 0..texts {
        let _ = write!(
            text,
            "OBX|{}|TX|8251-1^Service comment^LN|{number}|Sample {seed} was slightly haemolysed; the potassium may be raised. Please repeat if it does not fit.||||||F|||20240301083000+0100\r",
            numbers + number + 1
        );
    }
    text.into_bytes()
}

/// An admission with next of kin, allergy and diagnosis.
fn adt(seed: usize, _: usize, _: usize) -> Vec<u8> {
    format!(
        "MSH|^~\\&|ADMIT|FJORD^2.999.10.1^ISO|FHIR|FJORD|20240301081500+0100||ADT^A01^ADT_A01|ADT{seed:08}|P|2.5.1\r\
         EVN|A01|20240301081200+0100\r\
         PID|1||{seed:06}^^^FJORD&2.999.10.1.1&ISO^MR||Berg^Solveig^Marie^^^^L||19850201|F|||Strandgata {seed}^^Tromso^^9008^NOR^H||+4777600000^PRN^PH|+4777611111^WPN^PH|nb^Norwegian^ISO639|M\r\
         NK1|1|Berg^Ola|SPO^Spouse^HL70063|Strandgata {seed}^^Tromso^^9008^NOR|+4777622222^PRN^PH\r\
         PV1|1|I|MED7^712^{seed}^FJORD^^B^HUS1^7|E^Emergency^HL70007|||30411^Vik^Ingrid^^^Dr^^^HPR&2.999.30&ISO|||MED|||||||||V{seed:06}^^^FJORD&2.999.10.1.2&ISO^VN|||||||||||||||||||||||||20240301080500+0100\r\
         AL1|1|DA|7980^Penicillin^RXNORM|SV|Urticaria|20190504\r\
         DG1|1||J18.9^Pneumonia, unspecified organism^I10||20240301081000+0100|A\r"
    )
    .into_bytes()
}
