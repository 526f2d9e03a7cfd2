//! `fhirway mapping schema`, held against the shipped maps by a validator that is not ours.

use std::path::{Path, PathBuf};

use jsonschema::Validator;
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;

use crate::support::Command;

fn mappings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mappings")
}

fn schema(arguments: &[&str]) -> Validator {
    let text = Command::new(["mapping", "schema"].iter().chain(arguments))
        .run()
        .expect(0);
    jsonschema::draft7::new(&text.json()).unwrap()
}

/// YAML as an editor sees it, with its types.
fn data(text: &str) -> Value {
    fn value(yaml: &Yaml<'_>) -> Value {
        if let Some(pairs) = yaml.as_mapping() {
            let pairs = pairs.iter().map(|(key, inner)| {
                let key = match value(key) {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                (key, value(inner))
            });
            return Value::Object(pairs.collect());
        }
        if let Some(members) = yaml.as_sequence() {
            return members.iter().map(value).collect();
        }
        if let Some(flag) = yaml.as_bool() {
            return flag.into();
        }
        if let Some(number) = yaml.as_integer() {
            return number.into();
        }
        if let Some(number) = yaml.as_floating_point() {
            return number.into();
        }
        yaml.as_str().map_or(Value::Null, Value::from)
    }
    value(&Yaml::load_from_str(text).unwrap()[0])
}

fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
            yaml_files(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            found.push(path);
        }
    }
}

fn mistakes(validator: &Validator, text: &str) -> Vec<String> {
    let data = data(text);
    validator
        .iter_errors(&data)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[test]
fn the_schema_in_the_folder_is_the_one_the_command_makes() {
    let made = Command::new(["mapping", "schema"]).run().expect(0).stdout;
    let kept = std::fs::read_to_string(mappings().join("schema.json")).unwrap();
    assert!(
        made == kept,
        "make it anew: fhirway mapping schema > mappings/schema.json"
    );
}

#[test]
fn every_shipped_file_is_valid_as_its_kind_and_as_any() {
    let any = schema(&[]);
    let kinds = [
        "segment", "datatype", "table", "message", "part", "package", "overlay",
    ]
    .map(|kind| (kind, schema(&["--kind", kind])));
    let mut files = Vec::new();
    yaml_files(&mappings(), &mut files);
    assert!(files.len() > 150, "{}", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let inside = path
            .strip_prefix(mappings())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let kind = if text.contains("\nextends: below") || text.starts_with("extends: below") {
            "overlay"
        } else if inside.contains("parts/") {
            "part"
        } else if inside.ends_with("package.yaml") {
            "package"
        } else {
            let folders = [
                ("segments/", "segment"),
                ("datatypes/", "datatype"),
                ("tables/", "table"),
                ("messages/", "message"),
            ];
            folders
                .into_iter()
                .find(|(folder, _)| inside.contains(folder))
                .unwrap()
                .1
        };
        let (_, own) = kinds.iter().find(|(name, _)| *name == kind).unwrap();
        assert_eq!(mistakes(own, &text), Vec::<String>::new(), "{inside}");
        assert!(any.is_valid(&data(&text)), "{inside}");
    }
}

#[test]
fn mistakes_are_found_as_people_type() {
    let segment = schema(&["--kind", "segment"]);
    let map = |rules: &str| {
        mistakes(
            &segment,
            &format!("segment: PID\nmakes: Patient\n{rules}\n"),
        )
    };
    for fine in [
        "birthDate: \"{{PID-7}}\"",
        "active: true",
        "name: [ { each: PID-5, family: x } ]",
        "gender: { from: PID-8, table: Sex, miss: keep }",
        "gender: [ female, \"{{PID-8}}\" ]",
        "_birthDate: { extension: [ { url: x, valueCode: y } ] }",
        "managingOrganization: { make: Organization, key: PID-3, name: x }",
        "ignore: [ PID-1, { PID-2: PID-3 valued } ]",
    ] {
        assert_eq!(map(fine), Vec::<String>::new(), "{fine}");
    }
    for wrong in [
        "birthdate: \"{{PID-7}}\"",
        "name: [ { each: PID-5, famly: x } ]",
        "gender: femal",
        "gender: { form: PID-8 }",
        "gender: { from: PID-8, table: Sex, miss: keeep }",
        "write: always",
        "birthDate: { x: y }",
        "from: PID-3",
        "name: [ { each: PID-5, ignore: [ PID-1 ] } ]",
        "managingOrganization: { make: Organisation }",
    ] {
        assert_ne!(map(wrong), Vec::<String>::new(), "{wrong}");
    }
    let message = schema(&["--kind", "message"]);
    assert!(message.is_valid(&data("message: ADT_A01\nmap:\n  - use: header\n  - PID: PID/Patient as patient\n    when: PID-3 valued\n  - VISIT:\n      - PV1: PV1/Encounter\n")));
    for wrong in [
        "message: ADT_A01\nmaps: []\n",
        "message: ADT_A01\nmap:\n  - PID: PID/Patient\n    wen: x\n",
    ] {
        assert!(!message.is_valid(&data(wrong)), "{wrong}");
    }
    let table = schema(&["--kind", "table"]);
    assert!(table.is_valid(&data(
        "table: Sex\ncodes: { F: female, M: { code: male }, 1: [ a, b ], N: ~ }\nsame: all\n"
    )));
    assert!(!table.is_valid(&data("table: Sex\ncode: { F: female }\n")));
    assert!(!table.is_valid(&data("table: Sex\nmiss: ignore\n")));
}
