//! Section 12 of the reference: further folders on top.

use mapping::Package;
use serde_json::{Value, json};

use crate::fixture::{BASE, patient_map};
use crate::support::{ADMIT, Converted, File, convert, layer, message, package};

const RULES: &str =
    "active: \"true\"\ngender: { from: PID-8, table: Sex }\nbirthDate: \"{{PID-7}}\"";

fn site(files: &[File<'_>], pid: &str) -> Converted {
    let map = patient_map(RULES);
    let mut base = layer("base", BASE);
    for file in &mut base.files {
        if file.path == "segments/PID/Patient.yaml" {
            file.text.clone_from(&map);
        }
    }
    let package = package(&[base, layer("site", files)]);
    convert(&package, &message(ADMIT, &[pid]))
}

fn patient(files: &[File<'_>], pid: &str) -> Value {
    let mut made = site(files, pid).only("Patient").clone();
    let object = made.as_object_mut().unwrap();
    object.remove("identifier");
    object.remove("resourceType");
    made
}

const PID: &str = "PID|||1^^^A||Roe||1985|F";

#[test]
fn single_rules_are_added_replaced_and_removed() {
    assert_eq!(
        patient(&[], PID),
        json!({"active": true, "gender": "female", "birthDate": "1985"})
    );
    let over = "extends: below\nremove: [active]\nbirthDate: \"1900\"\nname: [ { text: \"{{PID-5}}\" } ]\n";
    assert_eq!(
        patient(&[("segments/PID/Patient.yaml", over)], PID),
        json!({"gender": "female", "birthDate": "1900", "name": [{"text": "Roe"}]})
    );
}

#[test]
fn a_file_of_the_same_place_replaces_the_one_below() {
    let over =
        "segment: PID\nmakes: Patient\nkey: PID-3\ngender: other\nbirthDate: \"{{PID-7}}\"\n";
    assert_eq!(
        patient(&[("segments/PID/Patient.yaml", over)], PID),
        json!({"gender": "other", "birthDate": "1985"})
    );
}

#[test]
fn tables_are_merged_code_by_code() {
    let over = "extends: below\ncodes: { F: other, W: female }\n";
    let files = [("tables/Sex.yaml", over)];
    assert_eq!(patient(&files, PID)["gender"], "other");
    assert_eq!(patient(&files, "PID|||1^^^A|||||W")["gender"], "female");
    assert_eq!(patient(&files, "PID|||1^^^A|||||M")["gender"], "male");
}

#[test]
fn a_policy_and_a_message_map_of_the_site() {
    let files = [
        ("package.yaml", "policies: { colour: green }\n"),
        (
            "segments/PID/Patient.yaml",
            "extends: below\nactive: { is: \"false\", when: policy colour = green }\n",
        ),
        (
            "messages/ADT_A01.yaml",
            "message: ADT_A01\nmap:\n  - PID: PID/Patient as person\n    write: create\n",
        ),
    ];
    let made = site(&files, PID);
    assert_eq!(made.only("Patient")["active"], false);
    assert_eq!(made.entry("Patient")["request"]["method"], "POST");
}

#[test]
fn three_layers_and_the_report_names_the_layer_of_a_rule() {
    let map = patient_map(RULES);
    let base: Vec<File<'_>> = BASE
        .iter()
        .map(|(path, text)| {
            (
                *path,
                if *path == "segments/PID/Patient.yaml" {
                    map.as_str()
                } else {
                    *text
                },
            )
        })
        .collect();
    let layers = [
        layer("base", &base),
        layer(
            "land",
            &[(
                "segments/PID/Patient.yaml",
                "extends: below\nremove: [active]\n",
            )],
        ),
        layer(
            "site",
            &[(
                "segments/PID/Patient.yaml",
                "extends: below\n\ngender: \"{{PID-8}}\"\n",
            )],
        ),
    ];
    let made = convert(
        &package(&layers),
        &message(ADMIT, &["PID|||1^^^A||||bad|a b  c"]),
    );
    assert!(made.only("Patient").get("active").is_none());
    let rules: Vec<&str> = made
        .report
        .issues
        .iter()
        .map(|issue| &*issue.rule)
        .collect();
    assert_eq!(
        rules,
        [
            "site/segments/PID/Patient.yaml:3",
            "base/segments/PID/Patient.yaml:7"
        ]
    );
}

#[test]
fn what_is_not_there_cannot_be_removed() {
    let layers = [
        layer("base", BASE),
        layer(
            "site",
            &[(
                "segments/PID/Patient.yaml",
                "extends: below\nremove: [ active ]\n",
            )],
        ),
    ];
    let (package, found) = Package::compile(&layers);
    assert!(package.is_none());
    assert_eq!(
        found[0].one_line(),
        "site/segments/PID/Patient.yaml:2:11: error[M003]: there is no such rule to remove"
    );
}
