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
            "messages/SRM_S01.yaml",
            "segments/ARQ/Appointment.yaml",
            "tables/RequestPriority.yaml"
        ]
    );
    let site = Layer {
        name: "site".to_owned(),
        files,
    };
    let segments = [
        "ARQ|R1^WARD|||||CHECK|FOLLOWUP^^HL70276||30|min|20240318^20240322|R|||7^Grey^Meg^^^^^^NORTH||||8^Hill^Jo^^^^^^NORTH",
        "PID|1||4711^^^NORTH^MR||Roe^Ann||19850412|F",
        "RGS|1",
        "AIS|1||24623002^Exercise ECG^SCT",
    ];
    let text = message("SRM^S01^SRM_S01", &segments);
    let alone = convert(&package(&[shipped_layer()]), &text);
    assert!(alone.report.fallback, "the shipped package has no SRM_S01");

    let made = convert(&package(&[shipped_layer(), site]), &text);
    assert_eq!(made.report.message_map, "SRM_S01");
    assert!(!made.report.fallback);
    let appointment = made.only("Appointment");
    assert_eq!(appointment["status"], "proposed", "{}", made.json);
    assert_eq!(appointment["priority"], 5);
    assert_eq!(appointment["minutesDuration"], 30);
    assert_eq!(appointment["identifier"][0]["value"], "R1");
    assert_eq!(appointment["requestedPeriod"][0]["end"], "2024-03-22");
    assert_eq!(
        appointment["serviceType"][0]["coding"][0]["display"],
        "Exercise ECG"
    );
    let participants = appointment["participant"].as_array().unwrap();
    assert_eq!(
        made.target(&participants[0]["actor"])["name"][0]["family"],
        "Grey"
    );
    assert!(
        participants
            .iter()
            .any(|one| one["actor"]["reference"] == made.url("Patient"))
    );
    assert_eq!(
        made.only("MessageHeader")["focus"][0]["reference"],
        made.url("Appointment")
    );
    assert_eq!(
        made.entry("Patient")["request"]["method"],
        "POST",
        "the admission system owns the patient"
    );
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
