//! Messages changed and written back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use hl7v2::edit::{Edit, EditError};
use hl7v2::parse;

/// Sets one path in a message of one PID and shows what became of the PID.
fn set(pid: &str, path: &str, text: &str) -> String {
    let source = format!("\u{feff}MSH|^~\\&|A||||||||P|2.5\r\n{pid}\r\n\r\nZZZ|1  \x1c\r");
    let (message, _) = parse(source.as_bytes()).unwrap();
    let mut edit = Edit::new(&message);
    edit.set(&path.parse().unwrap(), text).unwrap();
    let bytes = edit.to_bytes();
    let changed = String::from_utf8(bytes.clone()).unwrap();
    // What is set is what is read.
    let (again, _) = parse(&bytes).unwrap();
    let node = again.get(&path.parse().unwrap()).unwrap();
    assert_eq!(node.whole_text(), text, "{path}");
    let before = source.split(pid).next().unwrap();
    let after = source.rsplit(pid).next().unwrap();
    let rest = changed.strip_prefix(before).unwrap();
    rest.strip_suffix(after).unwrap().to_owned()
}

#[test]
fn only_the_node_that_was_set_changes() {
    let pid = "PID|1||4711^^^A&B~88||Sample^Ida||x^y^z  ";
    for (path, expected) in [
        ("PID-5.1", "PID|1||4711^^^A&B~88||New^Ida||x^y^z  "),
        ("PID-5", "PID|1||4711^^^A&B~88||New||x^y^z  "),
        ("PID-3.4.2", "PID|1||4711^^^A&New~88||Sample^Ida||x^y^z  "),
        ("PID-3(2)", "PID|1||4711^^^A&B~New||Sample^Ida||x^y^z  "),
        (
            "PID-3(2).2",
            "PID|1||4711^^^A&B~88^New||Sample^Ida||x^y^z  ",
        ),
        ("PID-2", "PID|1|New|4711^^^A&B~88||Sample^Ida||x^y^z  "),
    ] {
        assert_eq!(set(pid, path, "New"), expected);
    }
}

#[test]
fn what_is_missing_before_a_node_is_filled_up() {
    assert_eq!(set("PID|1", "PID-3(2).4.2", "x"), "PID|1||~^^^&x");
    assert_eq!(set("PID", "PID-2", "x"), "PID||x");
}

#[test]
fn text_is_escaped() {
    assert_eq!(
        set("PID|1", "PID-2", "a|b^c\n\\"),
        "PID|1|a\\F\\b\\S\\c\\.br\\\\E\\"
    );
}

#[test]
fn text_is_written_in_the_character_set_of_the_message() {
    let (message, _) = parse(b"MSH|^~\\&|A||||||||P|2.5||||||8859/1\rPID|1|M\xFCller\r").unwrap();
    let mut edit = Edit::new(&message);
    let path = "PID-2.2".parse().unwrap();
    edit.set(&path, "Zo\u{eb}").unwrap();
    assert_eq!(edit.set(&path, "\u{8a9e}"), Err(EditError::NotInCharset));
    assert!(edit.to_bytes().ends_with(b"PID|1|M\xFCller^Zo\xEB\r"));
}

#[test]
fn two_byte_characters_are_not_divided() {
    // The second byte of the first character is a component delimiter.
    let source = b"MSH|^~\\&|A||||||||P|2.5||||||BIG-5\rPID|1|\xA5\x5E^x\r";
    let (message, _) = parse(source).unwrap();
    let path = "PID-2.2".parse().unwrap();
    assert_eq!(message.get(&path).unwrap().text(), "x");
    let mut edit = Edit::new(&message);
    edit.set(&path, "y").unwrap();
    assert!(edit.to_bytes().ends_with(b"PID|1|\xA5\x5E^y\r"));
}

#[test]
fn several_changes_add_up() {
    let (message, _) = parse(b"MSH|^~\\&|A\rPID|1\rOBX|1\rOBX|2\r").unwrap();
    let mut edit = Edit::new(&message);
    for (path, text) in [
        ("OBX(2)-5", "b"),
        ("PID-3", "c"),
        ("PID-3.2", "d"),
        ("MSH-4.1", "e"),
    ] {
        edit.set(&path.parse().unwrap(), text).unwrap();
    }
    edit.set_raw(&"OBX-5".parse().unwrap(), b"\"\"".to_vec())
        .unwrap();
    let expected = "MSH|^~\\&|A|e\rPID|1||c^d\rOBX|1||||\"\"\rOBX|2||||b\r";
    assert_eq!(edit.to_bytes(), expected.as_bytes());
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let (message, _) = parse(b"MSH|^|A\rPID|1\r").unwrap();
    let mut edit = Edit::new(&message);
    for (path, text, error) in [
        ("NK1-1", "x", EditError::NoSegment),
        ("PID(2)-1", "x", EditError::NoSegment),
        ("PID", "x", EditError::NoField),
        ("MSH-1", "x", EditError::Delimiters),
        ("MSH-2", "x", EditError::Delimiters),
        ("PID-3(2)", "x", EditError::NoDelimiter),
        ("PID-3.1.2", "x", EditError::NoDelimiter),
        ("PID-3", "a^b", EditError::NoEscape),
    ] {
        assert_eq!(edit.set(&path.parse().unwrap(), text), Err(error), "{path}");
    }
    assert_eq!(edit.to_bytes(), message.bytes());
}
