//! Section 9 of the reference: parts, the lines that several message maps share.

use mapping::Package;

use crate::fixture::with;
use crate::support::{ADMIT, Converted, File, convert, layer, message, package};

const MAPS: &[File<'static>] = &[
    (
        "segments/MSH/MessageHeader.yaml",
        "segment: MSH\nmakes: MessageHeader\nkey: message\neventCoding: { code: \"{{MSH-9.2}}\" }\nsource: { name: x, endpoint: \"urn:fhirway:x\" }\n",
    ),
    (
        "segments/AL1/AllergyIntolerance.yaml",
        "segment: AL1\nmakes: AllergyIntolerance\nkey: [patient, AL1-3]\npatient: { ref: patient }\ncode: { text: \"{{AL1-3.2}}\" }\n",
    ),
    (
        "segments/PR1/Procedure.yaml",
        "segment: PR1\nmakes: Procedure\nkey: [patient, PR1-3]\nstatus: completed\nsubject: { ref: patient }\ncode: { text: \"{{PR1-3.2}}\" }\n",
    ),
    (
        "messages/ADT_A01.yaml",
        "message: ADT_A01\nmap:\n  - use: person\n  - AL1: AL1/AllergyIntolerance as allergy\n  - PROCEDURE:\n      - use: procedure\n",
    ),
    (
        "messages/parts/person.yaml",
        "part: person\nabout: who\nmap:\n  - use: head\n  - PID: PID/Patient as patient\n    write: create\nlink:\n  header.focus: patient\n",
    ),
    (
        "messages/parts/head.yaml",
        "part: head\nmap: { MSH: MSH/MessageHeader as header }\n",
    ),
    (
        "messages/parts/procedure.yaml",
        "part: procedure\nmap:\n  - PR1: PR1/Procedure as procedure\n    set: { note: [ { text: \"in a group\" } ] }\n",
    ),
];

const SEGMENTS: &[&str] = &[
    "PID|||1^^^A||Roe",
    "AL1|1||P^Pollen",
    "PR1|1||A^Appendectomy",
];

fn all(changes: &[File<'static>]) -> Vec<File<'static>> {
    let mut files = MAPS.to_vec();
    for change in changes {
        files.retain(|(path, _)| path != &change.0);
        files.push(*change);
    }
    files
}

fn made(changes: &[File<'static>]) -> Converted {
    let package = package(&[with(&all(changes))]);
    convert(&package, &message(ADMIT, SEGMENTS))
}

/// All findings, as `file:line:column: severity[code]: message | help`.
fn found(changes: &[File<'static>]) -> Vec<String> {
    let (_, found) = Package::compile(&[with(&all(changes))]);
    let line = |found: &mapping::Diagnostic| {
        let help = found.help.clone().unwrap_or_default();
        format!("{} | {help}", found.one_line())
    };
    found.iter().map(line).collect()
}

#[track_caller]
fn expect(changes: &[File<'static>], start: &str, help: &str) {
    let found = found(changes);
    let [one] = found.as_slice() else {
        panic!("{} findings: {found:#?}", found.len());
    };
    let (told, fix) = one.split_once(" | ").unwrap();
    assert!(told.starts_with(start) && fix.contains(help), "{one}");
}

#[test]
fn the_lines_of_a_part_stand_in_its_place_in_groups_too() {
    let made = made(&[]);
    assert_eq!(made.entry("Patient")["request"]["method"], "POST");
    assert_eq!(
        made.only("Procedure")["subject"]["reference"],
        made.url("Patient")
    );
    assert_eq!(made.only("Procedure")["note"][0]["text"], "in a group");
    assert_eq!(
        made.only("AllergyIntolerance")["patient"]["reference"],
        made.url("Patient")
    );
    // The part's own `link:` counts, through the part that uses it.
    assert_eq!(
        made.only("MessageHeader")["focus"][0]["reference"],
        made.url("Patient")
    );
}

#[test]
fn a_message_says_itself_what_a_part_links() {
    let own = (
        "messages/ADT_A01.yaml",
        "message: ADT_A01\nmap:\n  - use: person\n  - AL1: AL1/AllergyIntolerance as allergy\nlink:\n  header.focus: allergy\n",
    );
    let made = made(&[own]);
    let focus = made.only("MessageHeader")["focus"].as_array().unwrap();
    assert_eq!(focus.len(), 1);
    assert_eq!(focus[0]["reference"], made.url("AllergyIntolerance"));
}

#[test]
fn what_is_wrong_in_a_part_is_told_once_and_where_it_stands() {
    let second = (
        "messages/ADT_A03.yaml",
        "message: ADT_A03\nmap:\n  - use: person\n",
    );
    let person = (
        "messages/parts/person.yaml",
        "part: person\nmap:\n  - use: head\n  - PID: PID/Patient as patient\n    wen: x\n",
    );
    expect(
        &[second, person],
        "messages/parts/person.yaml:5:5: error[M003]: a line of a message map has no key `wen`",
        "when, set",
    );
}

#[test]
fn m035_m040_parts_that_are_missing_or_use_themselves() {
    let message = (
        "messages/ADT_A01.yaml",
        "message: ADT_A01\nmap:\n  - use: person\n  - PROCEDURE: [ { use: procedur } ]\n",
    );
    expect(
        &[message],
        "messages/ADT_A01.yaml:4:25: error[M035]: there is no part `procedur`",
        "did you mean `procedure`?",
    );
    let message = (
        "messages/ADT_A01.yaml",
        "message: ADT_A01\nmap: [ { use: person }, { use: x9 } ]\n",
    );
    expect(
        &[message],
        "messages/ADT_A01.yaml:2:32: error[M035]: there is no part `x9`",
        "make the file messages/parts/x9.yaml",
    );
    let head = (
        "messages/parts/head.yaml",
        "part: head\nmap:\n  - MSH: MSH/MessageHeader as header\n  - use: person\n",
    );
    expect(
        &[head],
        "messages/parts/head.yaml:4:10: error[M040]: the part `person` uses `head` uses `person` again",
        "break the circle",
    );
}

#[test]
fn headers_of_parts_and_lines_that_use_them() {
    for (text, start, help) in [
        (
            "part: heads\nmap: [ { MSH: MSH/MessageHeader as header } ]\n",
            "messages/parts/head.yaml:1:7: error[M002]: this file is the part head",
            "write `part: head`",
        ),
        (
            "map: [ { MSH: MSH/MessageHeader as header } ]\n",
            "messages/parts/head.yaml:1:1: error[M002]: the file does not say which part it is",
            "start with `part: head`",
        ),
        (
            "part: head\nevents: [A01]\nmap: [ { MSH: MSH/MessageHeader as header } ]\n",
            "messages/parts/head.yaml:2:1: error[M003]: a part has no key `events`",
            "part, about, map, link",
        ),
    ] {
        expect(&[("messages/parts/head.yaml", text)], start, help);
    }
    let message = (
        "messages/ADT_A01.yaml",
        "message: ADT_A01\nmap:\n  - use: person\n    when: PID-8 valued\n",
    );
    expect(
        &[message],
        "messages/ADT_A01.yaml:4:5: error[M003]: `use:` stands alone; it takes no `when`",
        "at the lines of the part",
    );
}

#[test]
fn parts_that_grow_without_bound_are_refused() {
    let mut files = MAPS.to_vec();
    let texts: Vec<(String, String)> = (0..20)
        .map(|n| {
            let next = n + 1;
            (
                format!("messages/parts/p{n}.yaml"),
                format!("part: p{n}\nmap: [ {{ use: p{next} }}, {{ use: p{next} }} ]\n"),
            )
        })
        .collect();
    for (path, text) in &texts {
        files.push((path, text));
    }
    files.push((
        "messages/parts/p20.yaml",
        "part: p20\nmap: [ { PID: PID/Patient as patient } ]\n",
    ));
    files.retain(|(path, _)| *path != "messages/ADT_A01.yaml");
    files.push((
        "messages/ADT_A01.yaml",
        "message: ADT_A01\nmap: [ { use: p0 } ]\n",
    ));
    let (package, found) = Package::compile(&[with(&files)]);
    assert!(package.is_none());
    let told = found[0].one_line();
    assert!(
        told.contains("M004") && told.contains("too many lines"),
        "{told}"
    );
}

#[test]
fn an_overlay_changes_a_part_for_all_messages_that_use_it() {
    let over = layer(
        "site",
        &[(
            "messages/parts/person.yaml",
            "extends: below\nmap:\n  - use: head\n  - PID: PID/Patient as patient\n",
        )],
    );
    let base = with(MAPS);
    let made = convert(&package(&[base, over]), &message(ADMIT, SEGMENTS));
    assert_eq!(made.entry("Patient")["request"]["method"], "PUT");
    // What the overlay does not name stays: the part's link.
    assert_eq!(
        made.only("MessageHeader")["focus"][0]["reference"],
        made.url("Patient")
    );
}

#[test]
fn a_part_may_name_a_segment_that_a_structure_lacks() {
    // a message map's own line must fit its structure, a part serves several of them
    let part = (
        "messages/parts/procedure.yaml",
        "part: procedure\nmap:\n  - PR1: PR1/Procedure as procedure\n  - SPM: PR1/Procedure as other\n    when: bound other\n",
    );
    assert!(
        !found(&[part])
            .iter()
            .any(|finding| finding.contains("M034")),
        "{:?}",
        found(&[part])
    );
    let own = (
        "messages/ADT_A01.yaml",
        "message: ADT_A01\nmap:\n  - use: person\n  - SPM: AL1/AllergyIntolerance as allergy\n",
    );
    assert!(found(&[own]).iter().any(|finding| finding.contains("M034")));
}
