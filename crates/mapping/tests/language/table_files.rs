//! Section 7 of the reference: tables as CSV and as ConceptMaps, groups of codes, and what a table says of codes it does not list.

use std::time::{Duration, Instant};

use mapping::tables::{CodeTable, CodingSystems, table};
use mapping::{Code, Package};
use serde_json::{Value, json};

use crate::fixture::{compiled, patient_map, with};
use crate::support::{ADMIT, convert, layer, message};

const CONCEPT: &str = "maritalStatus: { from: PID-16, table: Marital }";

fn marital_of(path: &str, table: &str, value: &str) -> Value {
    let map = patient_map(CONCEPT);
    let package = compiled(&[("segments/PID/Patient.yaml", &map), (path, table)]);
    let pid = format!("PID|||1^^^A|||||||||||||{value}");
    convert(&package, &message(ADMIT, &[&pid])).only("Patient")["maritalStatus"].clone()
}

/// Findings in a CSV table, as `line:column code message | help`.
fn told(csv: &str) -> Vec<String> {
    let (_, found) = Package::compile(&[with(&[("tables/Marital.csv", csv)])]);
    found
        .iter()
        .filter(|found| found.file == "tables/Marital.csv")
        .map(|found| {
            let help = found.help.clone().unwrap_or_default();
            format!(
                "{}:{} {} {} | {help}",
                found.line(),
                found.column(),
                found.code.as_str(),
                found.message
            )
        })
        .collect()
}

const CSV: &str = "\
# table: Marital
# about: invented
# source: HL70002, LOCAL
# target: http://x.example/marital
# a remark
code,target,display,system
M,married,Married,
S,single,,
S,125681006,\"Single, \"\"never\"\" married\",http://snomed.info/sct
X,,,
\"A, B\",ab,,
";

#[test]
fn a_csv_table_is_a_row_per_target() {
    let marital = |value: &str| marital_of("tables/Marital.csv", CSV, value);
    let married =
        json!({"system": "http://x.example/marital", "code": "married", "display": "Married"});
    assert_eq!(marital("M"), json!({"coding": [married]}));
    assert_eq!(
        marital("S"),
        json!({"coding": [
            {"system": "http://x.example/marital", "code": "single"},
            {"system": "http://snomed.info/sct", "code": "125681006", "display": "Single, \"never\" married"}
        ]})
    );
    assert_eq!(marital("A, B")["coding"][0]["code"], "ab");
    assert_eq!(
        marital("M^^99X"),
        json!({"coding": [{"system": "urn:fhirway:system:NORTH:99X", "code": "M"}]})
    );
    // Excel writes semicolons in many countries, a mark at the start, and lines that end in CR LF.
    let excel = CSV
        .replace("# ", "#")
        .replace(',', ";")
        .replace("HL70002; LOCAL", "HL70002, LOCAL")
        .replace('\n', "\r\n");
    let excel = format!("\u{feff}{excel}");
    assert_eq!(
        marital_of("tables/Marital.csv", &excel, "M"),
        json!({"coding": [married]})
    );
}

#[test]
fn a_column_source_makes_groups() {
    let csv = "# target: http://x.example/m\nsource,code,target\nHL70002,M,married\nLOCAL,M,male\n,Q,any\n";
    let code =
        |value: &str| marital_of("tables/Marital.csv", csv, value)["coding"][0]["code"].clone();
    assert_eq!(code("M^^HL70002"), "married");
    assert_eq!(code("M^^LOCAL"), "male");
    assert_eq!(code("Q^^LOCAL"), "any");
    assert_eq!(
        code("M"),
        "married",
        "without a system the first group that lists it"
    );
}

#[test]
fn a_csv_overlay_adds_codes_to_the_table_below() {
    let map = patient_map(CONCEPT);
    let base = with(&[
        ("segments/PID/Patient.yaml", &map),
        ("tables/Marital.csv", CSV),
    ]);
    let over = "# extends: below\ncode,target\nM,wed\nW,widowed\n";
    let package = crate::support::package(&[base, layer("site", &[("tables/Marital.csv", over)])]);
    let code = |value: &str| {
        let pid = format!("PID|||1^^^A|||||||||||||{value}");
        convert(&package, &message(ADMIT, &[&pid])).only("Patient")["maritalStatus"]["coding"][0]
            .clone()
    };
    assert_eq!(
        code("M"),
        json!({"system": "http://x.example/marital", "code": "wed"})
    );
    assert_eq!(
        code("W"),
        json!({"system": "http://x.example/marital", "code": "widowed"})
    );
    assert_eq!(code("S")["code"], "single");
}

#[test]
fn mistakes_in_a_csv_table_have_a_line_and_a_column() {
    assert_eq!(
        told("code,targt\nM,x\n"),
        ["1:6 M003 a code table has no column `targt` | did you mean `target`?"]
    );
    assert_eq!(
        told("target,display\nx,y\n"),
        [
            "1:1 M004 the header row has no column `code` | name the columns in the first row, such as `code,target,display`"
        ]
    );
    assert_eq!(
        told("code,target\nM,x,y\nN,n\n"),
        [
            "2:1 M004 this row has 3 cells, the header has 2 | part the cells with `,`, and quote a cell that has one in it"
        ]
    );
    assert_eq!(
        told("code,target\n,x\n"),
        ["2:1 M004 the row has no code | write the sender's code into the column `code`"]
    );
    assert_eq!(
        told("code,target\nA,\"x\nB,y\n"),
        ["2:3 M004 the quote is not closed | a quote inside a quoted cell is written twice"]
    );
    assert_eq!(
        told("code,target\nA,\"x\" y\nB,z\n"),
        [
            "2:6 M004 something stands behind the quoted cell | a quote inside a quoted cell is written twice"
        ]
    );
    assert_eq!(
        told("code,target\nA,\"x\ny\"\nA,\"x\ny\"\n"),
        [
            "4:1 M004 the code `A` stands twice with this target | remove the row; a second target of a code is a row with another `target`"
        ]
    );
    assert_eq!(
        told("# targt: http://x\ncode,target\nA,x\n"),
        [
            "1:1 M003 a code table has no key `targt` | did you mean `target`? A remark has no colon behind its first word"
        ]
    );
    assert_eq!(
        told("code,target,equivalence\nA,x,same\n")[0]
            .split(" | ")
            .next()
            .unwrap(),
        "2:5 M003 `same` is no equivalence"
    );
    let (_, found) = Package::compile(&[with(&[("tables/Sex.csv", "code,target\nF,female\n")])]);
    assert_eq!(
        found[0].one_line(),
        "tables/Sex.csv:1:1: error[M002]: there is tables/Sex.yaml too"
    );
}

#[test]
fn a_code_without_a_target_is_no_miss() {
    let map = patient_map(
        "maritalStatus: { from: PID-16, table: Marital }\ngender: { from: PID-8, table: Sex }",
    );
    let package = compiled(&[
        ("segments/PID/Patient.yaml", &map),
        ("tables/Marital.csv", CSV),
        (
            "tables/Sex.yaml",
            "table: Sex\ntarget: http://hl7.org/fhir/administrative-gender\ncodes: { F: female, N: ~, D: { equivalence: disjoint, code: male } }\nmiss: fail\n",
        ),
    ]);
    let made = convert(
        &package,
        &message(ADMIT, &["PID|||1^^^A|||||N||||||||X^Odd"]),
    );
    assert!(
        made.report.code_misses.is_empty(),
        "{:?}",
        made.report.code_misses
    );
    assert_eq!(
        made.only("Patient")["maritalStatus"],
        json!({"coding": [{"code": "X", "display": "Odd"}], "text": "Odd"})
            .get("coding")
            .map(|coding| json!({"coding": coding}))
            .unwrap()
    );
    assert!(made.only("Patient").get("gender").is_none());
    let made = convert(&package, &message(ADMIT, &["PID|||1^^^A|||||D"]));
    assert!(made.only("Patient").get("gender").is_none());
}

#[test]
fn codes_that_are_not_listed_stay_or_are_asked_of_another_table() {
    let all = "table: Marital\nsource: [HL70002]\ntarget: http://x.example/m\ncodes: { M: married }\nsame: all\n";
    assert_eq!(
        marital_of("tables/Marital.yaml", all, "Q^Odd^HL70002"),
        json!({"coding": [{"system": "http://x.example/m", "code": "Q", "display": "Odd"}]})
    );
    assert_eq!(
        marital_of("tables/Marital.yaml", all, "M")["coding"][0]["code"],
        "married"
    );
    assert_eq!(
        marital_of("tables/Marital.yaml", all, "Q^Odd^99X")["coding"][0]["system"],
        "urn:fhirway:system:NORTH:99X"
    );
    let map = patient_map("gender: { from: PID-8, table: Local }");
    let with_else = |local: &str| {
        let package = compiled(&[
            ("segments/PID/Patient.yaml", &map),
            ("tables/Local.yaml", local),
        ]);
        convert(&package, &message(ADMIT, &["PID|||1^^^A|||||F"])).only("Patient")["gender"].clone()
    };
    assert_eq!(
        with_else("table: Local\ncodes: { W: female }\nelse: Sex\n"),
        "female"
    );
    assert_eq!(
        with_else("table: Local\ncodes: { F: other }\nelse: Sex\n"),
        "other"
    );
    let circle = [
        ("tables/A.yaml", "table: A\nelse: B\n"),
        ("tables/B.yaml", "table: B\nelse: A\n"),
    ];
    let (package, found) = Package::compile(&[with(&circle)]);
    assert!(package.is_none() && found.iter().any(|found| found.code == Code::Circle));
    let (_, found) = Package::compile(&[with(&[("tables/A.yaml", "table: A\nelse: Sez\n")])]);
    assert_eq!(found[0].help.as_deref(), Some("did you mean `Sex`?"));
}

#[test]
fn a_system_is_the_same_by_its_name_and_by_its_uri() {
    let systems = "table: CodingSystem\ncodes: { LN: http://loinc.org, L: http://loinc.org }\n";
    let map = patient_map(CONCEPT);
    let code = |source: &str, value: &str| {
        let table = format!("table: Marital\nsource: [{source}]\ncodes: {{ M: married }}\n");
        let package = compiled(&[
            ("segments/PID/Patient.yaml", &map),
            ("tables/Marital.yaml", &table),
            ("tables/CodingSystem.yaml", systems),
        ]);
        let pid = format!("PID|||1^^^A|||||||||||||M^^{value}");
        convert(&package, &message(ADMIT, &[&pid])).only("Patient")["maritalStatus"]["coding"][0]["code"].clone()
    };
    for (source, value) in [
        ("LN", "LN"),
        ("LN", "http://loinc.org"),
        ("\"http://loinc.org\"", "LN"),
        ("LN", "L"),
        (
            "\"http://terminology.hl7.org/CodeSystem/v2-0002\"",
            "HL70002",
        ),
    ] {
        assert_eq!(code(source, value), "married", "{source} {value}");
    }
    assert_eq!(code("LN", "99X"), "M");
}

#[test]
fn a_map_beside_a_table_makes_the_source_coding() {
    let cwe = "datatype: CWE\nmakes: CodeableConcept\ncoding: [ { code: \"{{CWE.1}}\", display: \"{{CWE.2}}\", system: \"{{system CWE.3}}\", version: \"{{CWE.7}}\" } ]\ntext: \"{{CWE.9}}\"\n";
    let map =
        patient_map("maritalStatus: { from: PID-16, table: Marital, map: CWE/CodeableConcept }");
    let package = compiled(&[
        ("segments/PID/Patient.yaml", &map),
        ("tables/Marital.csv", CSV),
        ("datatypes/CWE/CodeableConcept.yaml", cwe),
    ]);
    let made = |value: &str| {
        let pid = format!("PID|||1^^^A|||||||||||||{value}");
        convert(&package, &message(ADMIT, &[&pid]))
    };
    let married =
        json!({"system": "http://x.example/marital", "code": "married", "display": "Married"});
    let one = made("M^Wed^LOCAL^^^^2.1^^as told");
    assert_eq!(
        one.only("Patient")["maritalStatus"],
        json!({"coding": [married, {"system": "urn:fhirway:system:NORTH:LOCAL", "version": "2.1", "code": "M", "display": "Wed"}], "text": "as told"})
    );
    assert!(
        !one.unmapped().iter().any(|place| place.starts_with("PID")),
        "{:?}",
        one.unmapped()
    );
    // Without a system the source code says nothing more.
    assert_eq!(
        made("M").only("Patient")["maritalStatus"],
        json!({"coding": [married]})
    );
}

#[test]
fn a_code_element_takes_what_the_triplet_says() {
    let map = patient_map("gender: { from: PID-8, table: Sex }");
    let package = compiled(&[("segments/PID/Patient.yaml", &map)]);
    let made = |value: &str| {
        convert(
            &package,
            &message(ADMIT, &[&format!("PID|||1^^^A|||||{value}")]),
        )
    };
    let coded = made("F^Female^HL70001");
    assert_eq!(coded.only("Patient")["gender"], "female");
    assert!(
        !coded
            .unmapped()
            .iter()
            .any(|place| place.starts_with("PID")),
        "{:?}",
        coded.unmapped()
    );
    // The alternate coding counts when the first is of another system.
    assert_eq!(
        made("1^Woman^99X^F^Female^HL70001").only("Patient")["gender"],
        "female"
    );
    // And a code whose system is not the table's is better than none.
    assert_eq!(made("F^Female^99X").only("Patient")["gender"], "female");
}

// === ConceptMaps ===

fn read(path: &str, text: &str) -> (CodeTable, CodingSystems) {
    let systems = "table: CodingSystem\ncodes: { LN: http://loinc.org }\n";
    let layers = [with(&[(path, text), ("tables/CodingSystem.yaml", systems)])];
    let (package, found) = Package::compile(&layers);
    assert!(package.is_some(), "{found:?}");
    table(&layers, "Marital").0.unwrap()
}

const EVERYTHING: &str = r#"
table: Marital
about: invented, for the round trip
miss: park
groups:
  - source: [HL70002, LOCAL]
    target: http://x.example/marital
    codes:
      M: { code: married, display: "Married, or so", equivalence: equal, name: Verheiratet }
      S: [ single, { code: "125681006", display: Single, system: http://snomed.info/sct, equivalence: wider, comment: "not quite" } ]
      X: ~
      Y: { equivalence: disjoint, comment: never }
    default: { code: unknown, display: Unknown }
  - source: [LN]
    target: http://x.example/marital
    codes: { M: male }
    same: all
  - codes: { Q: any }
else: Sex
"#;

#[test]
fn a_table_survives_the_way_through_a_concept_map_yaml_and_csv() {
    let (one, systems) = read("tables/Marital.yaml", EVERYTHING);
    let map = one.to_concept_map(&systems);
    assert_eq!(
        map["group"][0]["source"],
        "http://terminology.hl7.org/CodeSystem/v2-0002"
    );
    assert_eq!(
        map["group"][0]["unmapped"],
        json!({"mode": "fixed", "code": "unknown", "display": "Unknown"})
    );
    assert_eq!(
        map["group"][0]["element"][2],
        json!({"code": "X", "target": [{"equivalence": "unmatched"}]})
    );
    assert_eq!(map["group"][1]["target"], "http://snomed.info/sct");
    assert_eq!(map["group"][4]["source"], "http://loinc.org");
    assert_eq!(map["group"][4]["unmapped"], json!({"mode": "provided"}));
    assert_eq!(
        map["group"][5]["unmapped"],
        json!({"mode": "other-map", "url": "urn:fhirway:table:Sex"})
    );
    assert_eq!(
        CodeTable::of_concept_map(&map, None, &systems).unwrap(),
        one
    );
    // It is FHIR.
    assert_valid(&map);
    // And as YAML, which is the same package.
    let (again, _) = read("tables/Marital.yaml", &one.to_yaml());
    assert_eq!(again, one);
}

#[test]
fn a_table_of_one_group_survives_csv() {
    let (one, systems) = read("tables/Marital.csv", CSV);
    let (again, _) = read("tables/Marital.csv", &one.to_csv());
    assert_eq!(again, one);
    assert_eq!(
        CodeTable::of_concept_map(&one.to_concept_map(&systems), None, &systems)
            .unwrap()
            .to_csv(),
        one.to_csv()
    );
}

/// The validator that Bundles go through has nothing against it.
fn assert_valid(map: &Value) {
    let limits = fhir::tree::Limits::default();
    let (tree, node) = fhir::tree::read(map.to_string().as_bytes(), &limits).unwrap();
    let issues = fhir::validate::resource(&tree, node, fhir::definitions::r4());
    assert!(issues.is_empty(), "{issues:?}");
}

#[test]
fn a_concept_map_of_somebody_else() {
    let map = json!({
        "resourceType": "ConceptMap", "status": "draft", "name": "lab-units", "title": "Units of the lab",
        "group": [
            {"source": "http://lab.example/units", "target": "http://unitsofmeasure.org", "element": [
                {"code": "mgdl", "target": [{"code": "mg/dL", "equivalence": "equivalent"}]},
                {"code": "U", "target": [{"equivalence": "unmatched"}]}
            ], "unmapped": {"mode": "fixed", "code": "1"}}
        ]
    });
    let table = CodeTable::of_concept_map(&map, None, &CodingSystems::default()).unwrap();
    assert_eq!(
        table.to_yaml(),
        "table: lab-units\nabout: Units of the lab\nsource: [http://lab.example/units]\ntarget: http://unitsofmeasure.org\ncodes:\n  mgdl: mg/dL\n  U: ~\ndefault: 1\n"
    );
    let named =
        CodeTable::of_concept_map(&map, Some("Units/Lab"), &CodingSystems::default()).unwrap();
    assert_eq!(named.name, "Units/Lab");
    for (change, place) in [
        (
            json!({"resourceType": "Patient"}),
            "$: this is no FHIR ConceptMap",
        ),
        (
            json!({"resourceType": "ConceptMap", "name": "a", "group": []}),
            "ConceptMap: it has no groups",
        ),
        (
            json!({"resourceType": "ConceptMap", "name": "a b", "group": [{}]}),
            "ConceptMap: it has no name",
        ),
        (
            json!({"resourceType": "ConceptMap", "name": "a", "group": [{"element": [{"code": "x"}, {}]}]}),
            "ConceptMap.group[0].element[1]: it has no code",
        ),
        (
            json!({"resourceType": "ConceptMap", "name": "a", "group": [{"element": [{"code": "x", "target": [{"equivalence": "same"}]}]}]}),
            "ConceptMap.group[0].element[0].target[0]: `same` is no equivalence",
        ),
        (
            json!({"resourceType": "ConceptMap", "name": "a", "group": [{"element": [{"code": "x", "target": [{"equivalence": "equal"}]}]}]}),
            "ConceptMap.group[0].element[0].target[0]: a target needs a code",
        ),
        (
            json!({"resourceType": "ConceptMap", "name": "a", "group": [{"element": [{"code": "x", "target": [{"code": "y", "equivalence": "equal", "dependsOn": []}]}]}]}),
            "ConceptMap.group[0].element[0].target[0]: a table can't hold `dependsOn`",
        ),
        (
            json!({"resourceType": "ConceptMap", "name": "a", "group": [{"unmapped": {"mode": "none"}}]}),
            "ConceptMap.group[0].unmapped: `none` is no mode",
        ),
    ] {
        let error = CodeTable::of_concept_map(&change, None, &CodingSystems::default())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(place), "{error}");
    }
}

// === size ===

#[test]
fn a_table_of_ten_megabytes_is_read_in_time_and_a_larger_file_is_refused() {
    let mut csv = String::from("code,target,display\n");
    let mut number = 0u64;
    while csv.len() < 10 << 20 {
        number += 1;
        csv.push_str(&format!("L{number},{},Display of {number}\n", number * 7));
    }
    let started = Instant::now();
    assert_eq!(
        marital_of("tables/Marital.csv", &csv, &format!("L{number}"))["coding"][0]["code"],
        (number * 7).to_string()
    );
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    let large = format!("{csv}{csv}{csv}{csv}");
    assert_eq!(
        told(&large)[0].split(" | ").next().unwrap(),
        "1:1 M002 the file is larger than 32 MiB"
    );
    let yaml = format!("table: Marital\ncodes: {{ A: {} }}\n", "x".repeat(5 << 20));
    let (_, found) = Package::compile(&[with(&[("tables/Marital.yaml", &yaml)])]);
    assert_eq!(found[0].message, "the file is larger than 4 MiB");
    assert!(found[0].help.as_ref().unwrap().contains("CSV"));
}
