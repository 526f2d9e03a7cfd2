//! The walk-through of `mappings/README.md`, "add a message type": what the page says must work as it stands there.

use crate::support::{convert, message, package, shipped_folder, shipped_layer};
use mapping::{Layer, SourceFile};

/// The YAML blocks of section 14, each named by the `site/...` path that the text before it says last.
fn site() -> Vec<SourceFile> {
    let page = std::fs::read_to_string(shipped_folder().join("README.md")).unwrap();
    let start = page.find("\n## 14.").expect("section 14");
    let section = &page[start + 1..];
    let section = &section[..section.find("\n## 15").unwrap_or(section.len())];
    let mut files = Vec::new();
    let mut rest = section;
    while let Some(open) = rest.find("```yaml\n") {
        let before = &rest[..open];
        let name = before.rfind("`site/").expect("the file's name") + 6;
        let path = before[name..].split('`').next().unwrap().to_owned();
        let body = &rest[open + 8..];
        let end = body.find("```").unwrap();
        files.push(SourceFile {
            path,
            text: body[..end].to_owned(),
        });
        rest = &body[end + 3..];
    }
    files
}

#[test]
fn a_message_type_is_added_without_rust() {
    let files = site();
    let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "messages/CRM_C01.yaml",
            "segments/CSR/ResearchSubject.yaml",
            "tables/StudyEvent.yaml"
        ]
    );
    let site = Layer {
        name: "site".to_owned(),
        files,
    };
    let segments = [
        "PID|1||4711^^^NORTH^MR||Roe^Ann||19850412|F",
        "PV1|1|O",
        "CSR|S100^STUDIES^2.999.5^ISO||HUS|77^^^STUDIES&2.999.5.1&ISO||20240318090000+0100||8^Hill^Jo|20240317101500+0100|||^Arm B",
    ];
    let text = message("CRM^C01^CRM_C01", &segments);
    let alone = convert(&package(&[shipped_layer()]), &text);
    assert!(alone.report.fallback, "the shipped package has no CRM_C01");
    assert!(alone.all("ResearchSubject").is_empty());

    let made = convert(&package(&[shipped_layer(), site]), &text);
    assert_eq!(made.report.message_map, "CRM_C01");
    assert!(!made.report.fallback);
    let subject = made.only("ResearchSubject");
    assert_eq!(subject["status"], "on-study", "{}", made.json);
    assert_eq!(subject["identifier"][0]["value"], "77");
    assert_eq!(subject["study"]["identifier"]["value"], "S100");
    assert_eq!(subject["period"]["start"], "2024-03-18T09:00:00+01:00");
    assert_eq!(subject["assignedArm"], "Arm B");
    assert_eq!(subject["individual"]["reference"], made.url("Patient"));
    let consent = made.target(&subject["consent"]);
    assert_eq!(consent["resourceType"], "Consent");
    assert_eq!(consent["patient"]["reference"], made.url("Patient"));
    let focus = made.only("MessageHeader")["focus"].as_array().unwrap();
    let subject_url = made.url("ResearchSubject");
    assert!(focus.iter().any(|one| one["reference"] == subject_url));
    assert_eq!(
        made.entry("Patient")["request"]["method"],
        "POST",
        "the admission system owns the patient"
    );
    // What the walk-through leaves: where it was registered, and by whom it was authorized.
    let left = made.unmapped();
    assert_eq!(left, ["CSR-3", "CSR-8"]);
}

/// The example of section 16 can be read as it stands there.
#[test]
fn the_example_of_an_assertion_file_is_one() {
    let page = std::fs::read_to_string(shipped_folder().join("README.md")).unwrap();
    let section = page.split("\n## 16. Tests").nth(1).expect("section 16");
    let example = section.split("```yaml\n").nth(1).expect("an example");
    let example = example.split("```").next().unwrap();
    let read = mapping::testing::Assertions::read("tests/glucose.assert.yaml", example);
    if let Err(findings) = read {
        let told: Vec<String> = findings.iter().map(|found| found.one_line()).collect();
        panic!("{}", told.join("\n"));
    }
}
