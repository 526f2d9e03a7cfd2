//! Section 12 of the reference: further folders on top.

use mapping::Package;
use serde_json::{Value, json};

use crate::fixture::{BASE, patient_map, with};
use crate::support::{ADMIT, Converted, File, RESULT, convert, layer, message, package, rendered};

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
fn a_policy_of_the_site_must_exist_below() {
    let files = [("package.yaml", "policies: { color: green }\n")];
    let layers = [with(&[]), layer("site", &files)];
    let (package, found) = Package::compile(&layers);
    assert!(package.is_none());
    let text = rendered(&layers, &found);
    for part in [
        "error[M032]",
        "site/package.yaml:1:13",
        "did you mean `colour`?",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // A declaration of its own makes a new one.
    let own = "policies: { color: { default: blue, values: [blue], about: new } }\n";
    let (package, _) = Package::compile(&[with(&[]), layer("site", &[("package.yaml", own)])]);
    let package = package.unwrap();
    assert_eq!(package.refuses_policy("color", "blue"), None);
    let why = |name, value| package.refuses_policy(name, value).unwrap();
    assert!(why("colr", "blue").contains("did you mean `color`?"));
    assert!(why("colour", "gren").contains("not one of red, green"));
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
        "site/segments/PID/Patient.yaml:2:11: error[M036]: there is no `active` to change"
    );
}

const LISTS: &str = "\
identifier:
  - { each: PID-3, map: CX/Identifier }
  - { each: PID-2, map: CX/Identifier }
  - { when: policy colour = red, value: \"{{PID-19}}\" }
  - { when: policy colour = green, value: \"{{PID-19}}\", use: old }
name:
  - { each: PID-5, map: XPN/HumanName }
  - { each: PID-5, use: nickname, text: \"{{PID-5.2}}\" }
telecom: [ { from: PID-13, system: phone, value: \"{{PID-13.1}}\" } ]
gender: [ { from: PID-8, table: Sex }, unknown ]
extension:
  - { url: http://x.example/StructureDefinition/religion, valueString: \"{{PID-17}}\" }
  - { url: http://x.example/StructureDefinition/birthPlace, valueString: \"{{PID-23}}\" }
communication: [ { language: [ { text: \"{{PID-15}}\" }, { text: none } ] } ]
";

/// The Patient of one PID when `over` changes [`LISTS`].
fn changed(over: &str) -> Value {
    let (base, site) = lists(over);
    let pid = "PID||2^^^A|1^^^A||Roe^Ann||1985|X|||||555||en||cat||99||||Graz";
    let made = convert(&package(&[base, site]), &message(ADMIT, &[pid]));
    let mut patient = made.only("Patient").clone();
    patient.as_object_mut().unwrap().remove("resourceType");
    patient
}

fn lists(over: &str) -> (mapping::Layer, mapping::Layer) {
    let mut base = layer("base", BASE);
    for file in &mut base.files {
        if file.path == "segments/PID/Patient.yaml" {
            file.text = format!("segment: PID\nmakes: Patient\nkey: PID-3\n{LISTS}");
        }
    }
    let over = format!("extends: below\n{over}\n");
    (base, layer("site", &[("segments/PID/Patient.yaml", &over)]))
}

/// Message and help of the only finding in the overlay.
fn refused(over: &str) -> (String, String) {
    let (base, site) = lists(over);
    let (package, mut found) = Package::compile(&[base, site]);
    assert!(package.is_none(), "{over}");
    found.retain(|found| found.code == mapping::Code::UnknownRule);
    let [one] = found.as_slice() else {
        panic!("{over}: {found:?}")
    };
    assert_eq!(one.file, "site/segments/PID/Patient.yaml");
    (one.message.clone(), one.help.clone().unwrap_or_default())
}

#[test]
fn one_rule_of_a_list_is_replaced_by_what_it_says() {
    let names = |over: &str| changed(over)["name"].clone();
    assert_eq!(names("")[1], json!({"use": "nickname", "text": "Ann"}));
    assert_eq!(
        names("\"name[nickname]\": { each: PID-5, text: \"{{PID-5.1}}\" }"),
        json!([{"family": "Roe", "given": ["Ann"]}, {"text": "Roe"}])
    );
    // By several words; and by the end of a URL.
    assert_eq!(
        names("\"name[PID-5, XPN/HumanName]\": { text: x }")[0],
        json!({"text": "x"})
    );
    let extensions =
        changed("\"extension[religion].valueString\": \"({{PID-17}})\"")["extension"].clone();
    assert_eq!(extensions[0]["valueString"], "(cat)");
    assert_eq!(extensions[1]["valueString"], "Graz");
    // A list in the place of one rule.
    let two = "\"name[nickname]\": [ { text: a }, { text: b } ]";
    assert_eq!(names(two).as_array().unwrap().len(), 3);
}

#[test]
fn elements_inside_a_rule_are_replaced_added_and_removed() {
    let telecom = |over: &str| changed(over)["telecom"].clone();
    assert_eq!(
        telecom("telecom.system: fax"),
        json!([{"system": "fax", "value": "555"}])
    );
    assert_eq!(
        telecom("telecom.use: home"),
        json!([{"system": "phone", "value": "555", "use": "home"}])
    );
    assert_eq!(
        telecom("remove: [telecom.system]"),
        json!([{"value": "555"}])
    );
    assert_eq!(
        telecom("add: { \"telecom[PID-13]\": { rank: \"1\" } }")[0]["rank"],
        1
    );
    // The condition of a rule is an element of it for this.
    assert_eq!(telecom("telecom.when: PID-8 = F"), Value::Null);
    assert_eq!(
        changed("\"communication.language[none]\": { text: some }")["communication"][0]["language"],
        json!({"text": "en"})
    );
}

#[test]
fn rules_are_added_before_and_behind_others() {
    let gender = |over: &str| changed(over)["gender"].clone();
    assert_eq!(gender(""), "unknown");
    assert_eq!(
        gender("before: { \"gender[unknown]\": { when: PID-8 = X, is: other } }"),
        "other"
    );
    assert_eq!(
        gender("after: { \"gender[PID-8]\": { when: PID-8 = X, is: other } }"),
        "other"
    );
    assert_eq!(gender("before: { gender: male }"), "male");
    let numbers = |over: &str| -> Vec<String> {
        let made = changed(over);
        let list = made["identifier"].as_array().unwrap();
        list.iter()
            .map(|one| one["value"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(numbers(""), ["1", "2", "99"]);
    assert_eq!(
        numbers("add: { identifier: { value: \"{{PID-13}}\" } }"),
        ["1", "2", "99", "555"]
    );
    assert_eq!(
        numbers("add: { identifier: [ { value: a }, { value: b } ] }"),
        ["1", "2", "99", "a", "b"]
    );
    assert_eq!(numbers("remove: [ \"identifier[PID-2]\" ]"), ["1", "99"]);
    assert_eq!(
        numbers("remove: [ \"identifier[PID-19, policy colour = red]\" ]"),
        ["1", "2"]
    );
    // A lone rule becomes a list; an element that is not there is made.
    assert_eq!(changed("add: { active: \"true\" }")["active"], true);
}

#[test]
fn what_an_address_does_not_find_is_told_with_what_there_is() {
    let expect = |over: &str, message: &str, help: &str| {
        let (told, fix) = refused(over);
        assert!(
            told == message && fix.contains(help),
            "{over}\n{told}\n{fix}"
        );
    };
    expect(
        "\"identifer[PID-2]\": x",
        "there is no rule for `identifer` below",
        "did you mean `identifier`?",
    );
    expect(
        "remove: [gendr]",
        "there is no `gendr` to change",
        "did you mean `gender`?",
    );
    expect(
        "\"identifier[PID-4]\": { value: x }",
        "no rule of `identifier` says PID-4",
        "its rules are `identifier[PID-3]`, `identifier[PID-2]`, `identifier[policy colour = red]`, `identifier[old]`",
    );
    expect(
        "remove: [ \"name[PID-5]\" ]",
        "2 rules of `name` say PID-5",
        "add a word that only one says: `name[XPN/HumanName]`, `name[nickname]`",
    );
    expect(
        "name.use: old",
        "`name` has 2 rules",
        "say which: `name[XPN/HumanName]`, `name[nickname]`",
    );
    expect(
        "remove: [ \"extension[religon]\" ]",
        "no rule of `extension` says religon",
        "`extension[religion]`, `extension[birthPlace]`",
    );
    expect(
        "makes.x: y",
        "there is no `x` in a text",
        "leave the last step out",
    );
    expect(
        "\"name[PID-5\": x",
        "the address has no `]`",
        "identifier[PID-2]",
    );
    expect(
        "add: { \"telecom[PID-13]\": x }",
        "keys are added here, not a text",
        "{ key: value }",
    );
}

#[test]
fn a_file_that_extends_nothing_is_told() {
    let one = |path: &str, text: &str| {
        let layers = [layer("base", BASE), layer("site", &[(path, text)])];
        let (package, found) = Package::compile(&layers);
        assert!(package.is_none());
        (
            found[0].one_line(),
            found[0].help.clone().unwrap_or_default(),
        )
    };
    let (told, help) = one(
        "segments/PID/Patent.yaml",
        "extends: below\nactive: \"true\"\n",
    );
    assert_eq!(
        told,
        "site/segments/PID/Patent.yaml:1:1: error[M002]: there is no `PID/Patent` below that could be extended"
    );
    assert!(help.contains("name the folder"), "{help}");
    let (told, _) = one("tables/Sex.yaml", "extends: base\ncodes: { F: female }\n");
    assert_eq!(
        told,
        "site/tables/Sex.yaml:1:10: error[M004]: an overlay can only extend the file below it"
    );
}

const ORU: &str = "\
message: ORU_R01
map:
  - PATIENT_RESULT:
      - PATIENT:
          - PID: PID/Patient as patient
          - PATIENT_OBSERVATION:
              - OBX: OBX/Observation as observation
                set: { subject: patient }
      - ORDER_OBSERVATION:
          - OBSERVATION:
              - OBX: OBX/Observation as observation
                when: OBX-2 = NM
                set: { status: final, subject: patient }
              - OBX: OBX/Observation as observation
                when: OBX-2 = ST
              - NTE: NTE/Observation into observation
";
const OBX: &str = "segment: OBX\nmakes: Observation\nkey: [OBX-3, repeat]\nstatus: registered\ncode: { text: \"{{OBX-3}}\" }\nvalueString: \"{{OBX-5}}\"\n";
const NTE: &str = "segment: NTE\nmakes: Observation\nnote: [ { text: \"{{NTE-3}}\" } ]\n";
const ZPI: &str = "segment: ZPI\nmakes: Patient\nactive: \"{{ZPI-1}}\"\n";

fn result_layers(over: &str) -> [mapping::Layer; 2] {
    let mut base = layer("base", BASE);
    let more = [
        ("messages/ORU_R01.yaml", ORU),
        ("segments/OBX/Observation.yaml", OBX),
        ("segments/NTE/Observation.yaml", NTE),
        ("segments/ZPI/Patient.yaml", ZPI),
    ];
    base.files.extend(layer("base", &more).files);
    let over = format!("extends: below\n{over}\n");
    [base, layer("site", &[("messages/ORU_R01.yaml", &over)])]
}

fn results(over: &str) -> Converted {
    let segments = [
        "PID|||1^^^A",
        "ZPI|Y",
        "OBR|1",
        "OBX|1|NM|a||5",
        "NTE|1||hello",
        "OBX|2|ST|b||x",
    ];
    convert(&package(&result_layers(over)), &message(RESULT, &segments))
}

#[test]
fn lines_of_message_maps_are_changed_by_their_map_or_name() {
    let plain = results("");
    assert_eq!(plain.all("Observation").len(), 2);
    assert_eq!(plain.only("Patient").get("active"), None);
    // A line behind another, in its group.
    let made = results("after: { PID/Patient: { ZPI: ZPI/Patient into patient } }");
    assert_eq!(made.only("Patient")["active"], true);
    let made = results("after: { patient: [ { ZPI: ZPI/Patient into patient } ] }");
    assert_eq!(made.only("Patient")["active"], true);
    // At the end of a group.
    let made = results("add: { PATIENT_RESULT.PATIENT: { ZPI: ZPI/Patient into patient } }");
    assert_eq!(made.only("Patient")["active"], true);
    // One of two lines with the same map.
    let made = results("remove: [ \"OBSERVATION.OBX/Observation[OBX-2 = ST]\" ]");
    assert_eq!(made.only("Observation")["valueString"], "5");
    let made = results("\"OBSERVATION.OBX/Observation[OBX-2 = NM].when\": OBX-2 = XX");
    assert_eq!(made.only("Observation")["valueString"], "x");
    let made = results(
        "\"OBSERVATION.OBX/Observation[OBX-2 = NM].set.status\": corrected\nremove: [NTE/Observation]",
    );
    assert_eq!(made.all("Observation")[0]["status"], "corrected");
    assert_eq!(made.all("Observation")[0].get("note"), None);
    assert!(made.all("Observation")[0].get("subject").is_some());
    let made = results("PID/Patient.write: create");
    assert_eq!(made.entry("Patient")["request"]["method"], "POST");
    let made = results("remove: [ORDER_OBSERVATION]");
    assert!(made.all("Observation").is_empty());
}

#[test]
fn lines_that_are_not_there_or_not_one_are_told() {
    let expect = |over: &str, message: &str, help: &str| {
        let (package, found) = Package::compile(&result_layers(over));
        assert!(package.is_none());
        let fix = found[0].help.clone().unwrap_or_default();
        assert!(
            found[0].message == message && fix.contains(help),
            "{over}\n{}\n{fix}",
            found[0].message
        );
    };
    expect(
        "remove: [PID/Patent]",
        "no line is called `PID/Patent` here",
        "did you mean `PID/Patient`?",
    );
    expect(
        "remove: [OBX/Observation]",
        "3 lines are called `OBX/Observation` here",
        "say which: `PATIENT_OBSERVATION.OBX/Observation`, `OBSERVATION.OBX/Observation[OBX-2 = NM]`, `OBSERVATION.OBX/Observation[OBX-2 = ST]`",
    );
    expect(
        "add: { ORDER_OBSERVATON: { PID: PID/Patient } }",
        "no line is called `ORDER_OBSERVATON` here",
        "did you mean `ORDER_OBSERVATION`?",
    );
    expect(
        "\"OBSERVATION.OBX/Observation[OBX-2 = XX]\": x",
        "no line `OBX/Observation` says OBX-2 = XX",
        "`OBX/Observation[OBX-2 = NM]`",
    );
}

#[test]
fn the_merged_file_says_where_each_line_comes_from_and_can_be_read_again() {
    let (base, site) = lists(
        "\n\"telecom.system\": fax\nadd: { identifier: { value: \"{{PID-13}}\" } }\nremove: [communication]",
    );
    let layers = [base, site];
    let (shown, found) = mapping::show(&layers, "PID/Patient");
    assert!(found.is_empty());
    let shown = shown.unwrap();
    assert_eq!(shown.place, "segments/PID/Patient");
    let yaml = shown.yaml();
    let lines: Vec<&str> = yaml.lines().collect();
    assert_eq!(
        lines[0].split("# ").collect::<Vec<_>>()[1],
        "base/segments/PID/Patient.yaml:1"
    );
    let line = |start: &str| {
        *lines
            .iter()
            .find(|line| line.trim_start().starts_with(start))
            .unwrap_or_else(|| panic!("{yaml}"))
    };
    assert!(
        line("- value: \"{{PID-13}}\"").ends_with("# site/segments/PID/Patient.yaml:4"),
        "{yaml}"
    );
    assert!(
        line("system: fax").ends_with("# site/segments/PID/Patient.yaml:3"),
        "{yaml}"
    );
    assert!(
        line("- { each: PID-2, map: CX/Identifier }")
            .ends_with("# base/segments/PID/Patient.yaml:6"),
        "{yaml}"
    );
    assert!(!yaml.contains("communication"));
    let columns: Vec<usize> = lines
        .iter()
        .map(|line| line.rfind(" # ").unwrap())
        .collect();
    assert!(columns.iter().all(|column| *column == columns[0]), "{yaml}");
    // Instead of both layers it makes the same package.
    let mut one = layers[0].clone();
    for file in &mut one.files {
        if file.path == "segments/PID/Patient.yaml" {
            file.text.clone_from(&yaml);
        }
    }
    let text = message(
        ADMIT,
        &["PID||2^^^A|1^^^A||Roe^Ann||1985|F|||||555||en||||99"],
    );
    assert_eq!(
        convert(&package(&[one]), &text).json,
        convert(&package(&layers), &text).json
    );
    assert_eq!(shown.document["telecom"][0]["system"], "fax");
    assert_eq!(shown.lines[0].layer, "base");
}

#[test]
fn what_cannot_be_shown_is_told_with_what_was_meant() {
    let layers = [layer("base", BASE)];
    let told = |name: &str| mapping::show(&layers, name).0.unwrap_err().to_string();
    assert_eq!(
        told("PID/Patent"),
        "there is no map, table or message map `PID/Patent`; did you mean `PID/Patient`?"
    );
    assert_eq!(
        told("completely-else"),
        "there is no map, table or message map `completely-else`"
    );
    assert!(mapping::show(&layers, "tables/Sex").0.is_ok());
    assert!(mapping::show(&layers, "ADT_A01").0.is_ok());
}

#[test]
fn lines_of_parts_are_changed_in_one_message_or_in_all() {
    let base = || {
        let mut base = layer("base", BASE);
        base.files
            .retain(|file| file.path != "messages/ADT_A01.yaml");
        let more = [
            (
                "messages/ADT_A01.yaml",
                "message: ADT_A01\nmap:\n  - use: person\n",
            ),
            (
                "messages/parts/person.yaml",
                "part: person\nmap:\n  - PID: PID/Patient as patient\n",
            ),
            (
                "messages/parts/local.yaml",
                "part: local\nmap:\n  - ZPI: ZPI/Patient into patient\n",
            ),
            ("segments/ZPI/Patient.yaml", ZPI),
        ];
        base.files.extend(layer("base", &more).files);
        base
    };
    let made = |files: &[File<'_>]| {
        let layers = [base(), layer("site", files)];
        convert(
            &package(&layers),
            &message(ADMIT, &["PID|||1^^^A", "ZPI|Y"]),
        )
    };
    assert_eq!(made(&[]).only("Patient").get("active"), None);
    let over =
        "extends: below\nafter: { PID/Patient: { use: local } }\nPID/Patient.write: create\n";
    for path in ["messages/ADT_A01.yaml", "messages/parts/person.yaml"] {
        let made = made(&[(path, over)]);
        assert_eq!(made.only("Patient")["active"], true, "{path}");
        assert_eq!(made.entry("Patient")["request"]["method"], "POST", "{path}");
    }
    let layers = [base(), layer("site", &[("messages/ADT_A01.yaml", over)])];
    let yaml = mapping::show(&layers, "ADT_A01").0.unwrap().yaml();
    assert!(yaml.contains("- ZPI: ZPI/Patient into patient"), "{yaml}");
    assert!(
        yaml.contains("# base/messages/parts/person.yaml:3"),
        "{yaml}"
    );
}
