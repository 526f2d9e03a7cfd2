//! `fhirway mapping table`: a ConceptMap in, a ConceptMap out.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::support::Command;

fn concept_map() -> String {
    json!({
        "resourceType": "ConceptMap", "status": "active", "name": "Units",
        "group": [{
            "source": "http://terminology.hl7.org/CodeSystem/v2-0002",
            "target": "http://x.example/m",
            "element": [
                {"code": "M", "target": [{"code": "married", "display": "Married, yes", "equivalence": "wider"}]},
                {"code": "X", "target": [{"equivalence": "unmatched"}]}
            ],
            "unmapped": {"mode": "fixed", "code": "unknown"}
        }]
    })
    .to_string()
}

fn export(arguments: &[&str]) -> Command {
    Command::new(["mapping", "table", "export"].iter().chain(arguments))
}

#[test]
fn a_concept_map_becomes_a_table_of_a_package_and_comes_out_again() {
    let site = TempDir::new().unwrap();
    for format in ["yaml", "csv"] {
        let name = format!("Units/{format}");
        let ran = Command::new([
            "mapping", "table", "import", "-", "--name", &name, "--format", format, "--into",
        ])
        .arg(site.path())
        .input(concept_map())
        .run()
        .expect(0);
        let path = site.path().join(format!("tables/{name}.{format}"));
        assert_eq!(ran.stdout, format!("{}: 2 codes\n", path.display()));
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("HL70002") && text.contains("\"Married, yes\""),
            "{text}"
        );
        let map = export(&[&name, "--overlay"])
            .arg(site.path())
            .run()
            .expect(0)
            .json();
        assert_eq!(
            map["group"][0]["source"],
            "http://terminology.hl7.org/CodeSystem/v2-0002"
        );
        assert_eq!(
            map["group"][0]["element"][0]["target"][0]["equivalence"],
            "wider"
        );
        assert_eq!(
            map["group"][0]["element"][1]["target"],
            json!([{"equivalence": "unmatched"}])
        );
        assert_eq!(
            map["group"][0]["unmapped"],
            json!({"mode": "fixed", "code": "unknown"})
        );
        // The package with it is sound.
        Command::new(["mapping", "check", "mappings"])
            .folder(&super::repository())
            .arg(site.path())
            .run()
            .expect(0);
    }
}

#[test]
fn a_shipped_table_in_each_form() {
    let csv = export(&["AdministrativeSex", "--format", "csv"])
        .run()
        .expect(0)
        .stdout;
    assert!(
        csv.contains("# source: HL70001") && csv.contains("\nF,female"),
        "{csv}"
    );
    let yaml = export(&["tables/AdministrativeSex", "--format", "yaml"])
        .run()
        .expect(0)
        .stdout;
    assert!(
        yaml.starts_with("table: AdministrativeSex\n") && yaml.contains("  F: female\n"),
        "{yaml}"
    );
    let map = export(&["PatientClass/EncounterClass"])
        .run()
        .expect(0)
        .json();
    assert_eq!(map["resourceType"], "ConceptMap");
    assert_eq!(map["name"], "PatientClass_EncounterClass");
}

#[test]
fn mistakes_say_where_they_are_and_nothing_is_overwritten() {
    let ran = export(&["AdministrativeSez"]).run().expect(2);
    assert!(
        ran.stderr.contains("did you mean `AdministrativeSex`?"),
        "{}",
        ran.stderr
    );
    let import = || Command::new(["mapping", "table", "import", "-"]);
    let ran = import().input("{").run().expect(1);
    assert!(ran.stderr.contains("not JSON"), "{}", ran.stderr);
    let ran = import()
        .input("{\"resourceType\": \"Patient\"}")
        .run()
        .expect(1);
    assert!(ran.stderr.contains("no FHIR ConceptMap"), "{}", ran.stderr);
    let site = TempDir::new().unwrap();
    let into = |overwrite: &[&str]| {
        import()
            .args(["--into"])
            .arg(site.path())
            .args(overwrite)
            .input(concept_map())
            .run()
    };
    into(&[]).expect(0);
    let ran = into(&[]).expect(2);
    assert!(ran.stderr.contains("--overwrite"), "{}", ran.stderr);
    into(&["--overwrite"]).expect(0);
}
