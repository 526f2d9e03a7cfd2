//! Section 3 and 13 of the reference: what a rule names must be able to be there, in the structures and versions of its map,
//! and a helper must be given what it can use.

use mapping::Package;

use crate::diagnostics::{PATIENT, expect, lines, rule};
use crate::fixture::with;
use crate::support::File;

/// `line:column code message`, of all files, without what must be in a resource.
fn all(files: &[File<'_>]) -> Vec<String> {
    let (_, found) = Package::compile(&[with(files)]);
    let told = found.iter().filter(|found| found.code.as_str() != "M014");
    told.map(|found| {
        format!(
            "{} {}:{} {} {}",
            found.file,
            found.line(),
            found.column(),
            found.code.as_str(),
            found.message
        )
    })
    .collect()
}

const NO_ORC: &str = "M026 no message with this rule has a segment ORC";

#[test]
fn a_path_to_a_segment_that_no_structure_of_the_map_has() {
    for (text, place) in [
        (
            "active: { is: \"true\", when: PID-30 = N and ORC-1 = NW }",
            "4:44",
        ),
        ("photo: [ { title: \"a {{ORC-2}}\" } ]", "4:24"),
        ("photo: [ { title: { from: ORC-2 } } ]", "4:27"),
        (
            "photo: [ { title: \"{{#if (eq ORC-1 \\\"NW\\\")}}x{{/if}}\" } ]",
            "4:30",
        ),
    ] {
        expect(
            &rule(text),
            &format!("{place} {NO_ORC}"),
            "segment of the structure",
        );
    }
    let key = "segment: PID\nmakes: Patient\nkey: [ PID-3, PID-2 else ORC-2 ]\n";
    expect(&lines(PATIENT, key), &format!("3:26 {NO_ORC}"), "");
    // Its own segment, the header, local segments, and what the structure has somewhere else.
    for fine in [
        "PID-8 = F",
        "MSH-4 = A",
        "ZPI-3 = A",
        "PV1-2 = I",
        "OBX-3 valued",
    ] {
        let found = rule(&format!("active: {{ is: \"true\", when: {fine} }}"));
        assert!(found.is_empty(), "{fine}: {found:?}");
    }
}

#[test]
fn one_structure_that_has_it_is_enough_and_any_says_nothing() {
    let map =
        "segment: PID\nmakes: Patient\nkey: PID-3\nactive: { is: \"true\", when: ORC-1 = NW }\n";
    let order = "message: OML_O21\nmap:\n  - PATIENT: [ { PID: PID/Patient as patient } ]\n";
    let any = "message: any\nmap:\n  - PID: PID/Patient as patient\n";
    let files = [(PATIENT, map), ("messages/OML_O21.yaml", order)];
    assert_eq!(all(&files), [""; 0]);
    let files = [(PATIENT, map), ("messages/any.yaml", any)];
    assert_eq!(
        all(&files),
        [format!("{PATIENT} 4:29 {NO_ORC}: its structure has none")]
    );
    // Nobody uses it: nothing is known of it.
    let files = [(
        "segments/PV1/Encounter.yaml",
        "segment: PV1\nmakes: Encounter\nkey: PV1-19\nlength: { when: ORC-1 = NW, unit: x }\n",
    )];
    assert_eq!(all(&files), [""; 0]);
    // A sender who puts it there has a line for it.
    let message = "message: ADT_A01\nmap:\n  - use: order\n  - PID: PID/Patient as patient\n";
    let part = "part: order\nmap:\n  - ORC: ORC/ServiceRequest as order\n";
    let order = "segment: ORC\nmakes: ServiceRequest\nkey: ORC-2\n";
    let files = [
        (PATIENT, map),
        ("messages/ADT_A01.yaml", message),
        ("messages/parts/order.yaml", part),
        ("segments/ORC/ServiceRequest.yaml", order),
    ];
    assert_eq!(all(&files), [""; 0]);
}

#[test]
fn a_datatype_map_and_a_line_of_a_part_are_for_all_who_use_them() {
    let name = "datatype: XPN\nmakes: HumanName\nfamily: { from: XPN.1, when: OBR-2 not valued }\n";
    let map =
        "segment: PID\nmakes: Patient\nkey: PID-3\nname: [ { each: PID-5, map: XPN/HumanName } ]\n";
    let files = [("datatypes/XPN/HumanName.yaml", name), (PATIENT, map)];
    let found = all(&files);
    assert!(
        matches!(found.as_slice(), [one] if one.starts_with("datatypes/XPN/HumanName.yaml 3:30 M026")),
        "{found:?}"
    );

    let part = "part: patient\nmap:\n  - PID: PID/Patient as patient\n    when: OBR-2 not valued\n";
    let admit = "message: ADT_A01\nmap: [ { use: patient } ]\n";
    let result =
        "message: ORU_R01\nmap: [ { PATIENT_RESULT: [ { PATIENT: [ { use: patient } ] } ] } ]\n";
    let mut files = vec![
        ("messages/parts/patient.yaml", part),
        ("messages/ADT_A01.yaml", admit),
    ];
    let found = all(&files);
    assert!(
        matches!(found.as_slice(), [one] if one.starts_with("messages/parts/patient.yaml 4:11 M026")),
        "{found:?}"
    );
    files.push(("messages/ORU_R01.yaml", result));
    assert_eq!(all(&files), [""; 0]);
}

#[test]
fn a_field_of_a_version_that_the_senders_do_not_have() {
    let map = |versions: &str| {
        format!(
            "segment: PID\nmakes: Patient\nkey: PID-3\n{versions}\nphoto: [ {{ title: \"{{{{PID-40}}}}\" }} ]\n"
        )
    };
    let told = "5:22 M026 PID-40 is in none of the versions that this is for";
    expect(
        &lines(PATIENT, &map("versions: 2.3 to 2.5.1")),
        told,
        "came with version 2.7",
    );
    expect(
        &lines(PATIENT, &map("versions: 2.4")),
        told,
        "widen `versions:`",
    );
    for fine in ["versions: from 2.5", "versions: 2.3 to 2.7", "about: x"] {
        assert!(lines(PATIENT, &map(fine)).is_empty(), "{fine}");
    }
    // The package and the message map may say it too.
    let package = format!("{}versions: to 2.6\n", crate::fixture::PACKAGE);
    let own = map("about: x");
    let files = [("package.yaml", package.as_str()), (PATIENT, own.as_str())];
    assert_eq!(all(&files).len(), 1);
    let message = "message: ADT_A01\nversions: 2.3\nmap:\n  - PID: PID/Patient as patient\n";
    let files = [("messages/ADT_A01.yaml", message), (PATIENT, own.as_str())];
    assert_eq!(all(&files).len(), 1);
    for wrong in ["5.1", "2.7 to 2.3", "2.3 - 2.5"] {
        let found = lines(PATIENT, &map(&format!("versions: {wrong}")));
        expect(&found, "4:11 M004", "write `2.3 to 2.5.1`");
    }
}

#[test]
fn a_name_that_no_message_of_the_map_binds() {
    let order = "message: OML_O21\nmap:\n  - PATIENT: [ { PID: PID/Patient as person } ]\n";
    let rule = "segment: PID\nmakes: Patient\nkey: PID-3\nlink: [ { other: { ref: person }, type: seealso } ]\n";
    let admit = (
        "messages/ADT_A01.yaml",
        "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n",
    );
    // The message that binds the name uses the map.
    let files = [(PATIENT, rule), ("messages/OML_O21.yaml", order), admit];
    assert_eq!(all(&files), [""; 0]);
    let other = "segment: PD1\nmakes: Patient\nkey: PD1-4\nlink: [ { other: { ref: person }, type: seealso } ]\n";
    let admit = "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n  - PD1: PD1/Patient into patient\n";
    let files = [
        ("segments/PD1/Patient.yaml", other),
        ("messages/OML_O21.yaml", order),
        ("messages/ADT_A01.yaml", admit),
    ];
    assert_eq!(
        all(&files),
        [
            "segments/PD1/Patient.yaml 4:25 M033 no message map with this rule binds a resource to the name `person`"
        ]
    );
    // In a message map: another one binds it.
    let admit = "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\nlink:\n  patient.managingOrganization: person\n";
    let files = [
        ("messages/OML_O21.yaml", order),
        ("messages/ADT_A01.yaml", admit),
    ];
    let found = all(&files);
    assert!(
        matches!(found.as_slice(), [one] if one.starts_with("messages/ADT_A01.yaml 5:33 M033")),
        "{found:?}"
    );
}

#[test]
fn the_events_of_a_message_map() {
    let events = |events: &str| {
        let text =
            format!("message: ADT_A01\nevents: {events}\nmap:\n  - PID: PID/Patient as patient\n");
        lines("messages/ADT_A01.yaml", &text)
    };
    for fine in ["[A01, A04, A08, A13]", "A01", "[Z01, \"*\"]"] {
        assert!(events(fine).is_empty(), "{fine}");
    }
    expect(
        &events("[A01, A99]"),
        "2:15 M024 A99 is no event of the structure ADT_A01",
        "did you mean",
    );
    let admit = "message: ADT_A01\nevents: [A03]\nmap:\n  - PID: PID/Patient as patient\n";
    let discharge = "message: ADT_A03\nmap:\n  - PID: PID/Patient as patient\n";
    let found = all(&[
        ("messages/ADT_A01.yaml", admit),
        ("messages/ADT_A03.yaml", discharge),
    ]);
    assert!(
        matches!(found.as_slice(), [one] if one.contains("2:10 M024")),
        "{found:?}"
    );
}

#[test]
fn what_helpers_are_given() {
    for (template, told, help) in [
        (
            "{{substring PID-5 \"a\"}}",
            "M023 `a` is no number",
            "counts",
        ),
        ("{{substring PID-5 1 \"-1\"}}", "M023 `-1` is no number", ""),
        ("{{join \"x\"}}", "M023 `join` looks at a field", "a path"),
        (
            "{{whole (upper PID-5)}}",
            "M023 `whole` looks at a field",
            "",
        ),
        (
            "{{authority \"NORTH\"}}",
            "M023 `authority` looks at a field",
            "",
        ),
        ("{{date \"soon\"}}", "M023 `soon` is no time", "20240131"),
        ("{{number \"many\"}}", "M023 `many` is no number", ""),
        (
            "{{minutes \"x\" \"min\"}}",
            "M023 `x` is no number",
            "amount",
        ),
        (
            "{{later PID-7 \"1\" \"moons\"}}",
            "M023 `moons` is no unit of time",
            "min",
        ),
        (
            "x {{upper (date PID-5)}}",
            "M025 `date` reads a time, and the value is of type XPN",
            "",
        ),
        ("{{number PID-7}}", "M025 `number` reads a number", ""),
    ] {
        let found = rule(&format!("photo: [ {{ title: '{template}' }} ]"));
        let [one] = found.as_slice() else {
            panic!("{template}: {found:?}")
        };
        assert!(
            one.contains(told) && one.contains(help),
            "{template}: {one}"
        );
    }
    for fine in [
        "{{date PID-7}}",
        "{{date \"20240131\"}}",
        "{{substring PID-5.1 1 3}}",
        "{{later PID-7 \"30\" \"min\"}}",
        "{{minutes PID-25 \"h\"}}",
        "{{join PID-5.1 \", \"}}",
    ] {
        let found = rule(&format!("photo: [ {{ title: '{fine}' }} ]"));
        assert!(found.is_empty(), "{fine}: {found:?}");
    }
}
