//! The table of message types and special rules in `mappings/tests/README.md` is true: each type has a map of its own and a golden message.

use std::collections::{BTreeMap, BTreeSet};

use mapping::Context;

use crate::support::{convert, message, shipped_folder};
use crate::{pairs, shipped};

/// Type (`ADT A01`) and message map of each golden message, by its name.
fn golden() -> BTreeMap<String, (String, String)> {
    let package = shipped();
    let mut converter = package.converter();
    pairs()
        .into_iter()
        .map(|(path, _)| {
            let bytes = std::fs::read(&path).unwrap();
            let (message, _) = hl7v2::parse(&bytes).unwrap();
            let header = message.header();
            let kind = format!("{} {}", header.code(), header.event());
            let conversion = converter.convert(&message, &Context::default()).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, (kind, conversion.report().message_map.clone()))
        })
        .collect()
}

/// First cell, and the names in the second, of each row of a table with this heading.
fn rows(page: &str, heading: &str) -> Vec<(String, Vec<String>)> {
    let table = page.split(heading).nth(1).expect("the table");
    table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let first = cells.next().unwrap().to_owned();
            let names = cells.next().unwrap().split(", ");
            (
                first,
                names
                    .map(|name| name.trim_matches('`').to_owned())
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn every_type_has_a_map_and_every_row_its_messages() {
    let page = std::fs::read_to_string(shipped_folder().join("tests/README.md")).unwrap();
    let golden = golden();
    let types = rows(&page, "| Type | Messages |");
    let said: usize = page
        .split("taken together, are ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap();
    let distinct: BTreeSet<&String> = types.iter().map(|(kind, _)| kind).collect();
    assert_eq!(distinct.len(), said);
    assert!(said >= 70, "{said}");
    for (kind, names) in &types {
        for name in names {
            let (found, map) = golden.get(name).unwrap_or_else(|| panic!("{kind}: {name}"));
            assert_eq!(found, kind, "{name}");
            assert_ne!(map, "any", "{name}");
        }
    }
    let rules = rows(&page, "| Rule | Messages |");
    assert!(rules.len() > 15);
    for (rule, names) in &rules {
        for name in names {
            assert!(golden.contains_key(name), "{rule}: {name}");
        }
    }
}

/// What a site or an old system may write into MSH-9, none of which a message map names.
const UNNAMED: &[&str] = &[
    "",
    "ZPX^Z01",
    "ZZZ^Z99^ZZZ_Z99",
    "CSU^C09^CSU_C09",
    "INU^U05^INU_U05",
    "EHC^E01^EHC_E01",
    "zpx",
];

#[test]
fn a_patient_is_found_in_structures_that_no_map_names_and_the_report_says_so() {
    let package = shipped();
    let pid = "PID|1||77^^^NORTH^MR||Roe^Ann||19850412|F";
    let value = "OBX|1|NM|8867-4^Heart rate^LN||72|/min^^UCUM|||||F";
    let orders: [&[&str]; 4] = [
        &[pid],
        &[value, pid],
        &["ZAA|1", pid, value],
        &[pid, "PID|2||78^^^NORTH^MR"],
    ];
    for kind in UNNAMED {
        for segments in orders {
            let made = convert(&package, &message(kind, segments));
            let patients = segments
                .iter()
                .filter(|segment| segment.starts_with("PID"))
                .count();
            assert_eq!(made.all("Patient").len(), patients, "{kind} {segments:?}");
            assert!(made.report.fallback, "{kind}");
            assert_eq!(made.report.message_map, "any");
            let left: &[&str] = if segments.contains(&"ZAA|1") {
                &["ZAA"]
            } else {
                &[]
            };
            assert_eq!(made.unmapped(), left, "{kind} {segments:?}");
        }
    }
}
