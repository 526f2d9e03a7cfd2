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
            "messages/MDM_T02.yaml",
            "segments/OBX/DocumentReference.yaml",
            "segments/TXA/DocumentReference.yaml",
            "tables/DocumentCompletionStatus.yaml"
        ]
    );
    let site = Layer {
        name: "site".to_owned(),
        files,
    };
    let segments = [
        "EVN|T02|20240301101530+0100",
        "PID|1||4711^^^NORTH^MR||Roe^Ann||19850412|F",
        "PV1|1|I|WARD^1^A|||||||||||||||V100^^^NORTH^VN",
        "TXA|1|DS^Discharge summary^HL70270|TX|||20240301090000+0100|20240301100000+0100||7^Grey^Meg^^^^^^NORTH|||D1^NORTH|||||AU||AV",
        "OBX|1|ED|DS^Discharge summary^L||^application^pdf^Base64^JVBERi0xLjQK||||||F",
    ];
    let text = message("MDM^T02^MDM_T02", &segments);
    let alone = convert(&package(&[shipped_layer()]), &text);
    assert!(alone.report.fallback, "the shipped package has no MDM_T02");

    let made = convert(&package(&[shipped_layer(), site]), &text);
    assert_eq!(made.report.message_map, "MDM_T02");
    assert!(!made.report.fallback);
    let document = made.only("DocumentReference");
    assert_eq!(document["status"], "current", "{}", made.json);
    assert_eq!(document["docStatus"], "final");
    assert_eq!(document["identifier"][0]["value"], "D1");
    assert_eq!(document["content"][0]["attachment"]["data"], "JVBERi0xLjQK");
    assert_eq!(
        document["content"][0]["attachment"]["title"],
        "Discharge summary"
    );
    assert_eq!(document["subject"]["reference"], made.url("Patient"));
    assert_eq!(
        document["context"]["encounter"][0]["reference"],
        made.url("Encounter")
    );
    assert_eq!(
        made.target(&document["author"][0])["name"][0]["family"],
        "Grey"
    );
    assert_eq!(
        made.only("MessageHeader")["focus"][0]["reference"],
        made.url("DocumentReference")
    );
    assert_eq!(
        made.entry("Patient")["request"]["method"],
        "POST",
        "the admission system owns the patient"
    );
}
