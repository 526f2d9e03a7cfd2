//! Messages read as their senders meant them: delimiters, line ends, paths, nodes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use hl7v2::{IssueCode, Level, Message, Path, parse};

const ORU: &str = "MSH|^~\\&|LAB^1.2.3^ISO|NORTH|EHR|SOUTH|20250102030405+0100||ORU^R01^ORU_R01|M-1|P|2.5.1\r\
PID|1||4711^^^NORTH^MR~88-1^^^SSA^SS||Sample^Ida^Q&R||19810203|F\r\
OBR|1|A1|B2|GLU^Glucose^L\r\
OBX|1|NM|GLU^Glucose^L||5.4|mmol/L\r\
OBX|2|ST|NOTE||a\\T\\b\\.br\\c~second|\"\"\r\
OBX|3|ED|PDF||^AP^^Base64^JVBERi0=\r\
ZLB|x\r";

fn message(bytes: &[u8]) -> Message<'_> {
    parse(bytes).unwrap().0
}

fn get<'m>(message: &'m Message<'_>, path: &str) -> hl7v2::Node<'m> {
    message.get(&path.parse::<Path>().unwrap()).unwrap()
}

#[test]
fn values_are_found_by_path() {
    let message = message(ORU.as_bytes());
    for (path, text) in [
        ("MSH-1", "|"),
        ("MSH-2", "^~\\&"),
        ("MSH-3.2", "1.2.3"),
        ("PID-3", "4711"),
        ("PID-3(2)", "88-1"),
        ("PID-3(2).5", "SS"),
        ("PID-3.5", "MR"),
        ("PID-5.3.2", "R"),
        ("PID-5.3", "Q"),
        ("OBX(2)-5", "a&b\nc"),
        ("OBX(2)-5(2)", "second"),
        ("OBX(3)-5.5", "JVBERi0="),
        ("ZLB-1", "x"),
        ("PID-4", ""),
        ("PID-99.3.2", ""),
        ("PID-3(9).1", ""),
        ("PID-8.2", ""),
    ] {
        assert_eq!(get(&message, path).text(), text, "{path}");
    }
    assert!(message.get(&"NK1-2".parse().unwrap()).is_none());
    assert!(message.get(&"OBX(4)-5".parse().unwrap()).is_none());
}
