//! Messages read as their senders meant them: delimiters, line ends, paths, nodes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use hl7v2::{Index, Issue, Level, Message, Node, ParseError, ParseOptions, Path, Version};
use hl7v2::{parse, parse_with};

const ORU: &str = "MSH|^~\\&|LAB^1.2.3^ISO|NORTH|EHR|SOUTH|20250102030405+0100||ORU^R01^ORU_R01|M-1|P|2.5.1\r\
PID|1||4711^^^NORTH^MR~88-1^^^SSA^SS||Sample^Ida^Q&R||19810203|F\r\
OBR|1|A1|B2|GLU^Glucose^L\r\
OBX|1|NM|GLU^Glucose^L||5.4|mmol/L\r\
OBX|2|ST|NOTE||a\\T\\b\\.br\\c~second|\"\"\r\
OBX|3|ED|PDF||^AP^^Base64^JVBERi0=\r\
ZLB|x\r";

fn read(bytes: &[u8]) -> Message<'_> {
    parse(bytes).unwrap().0
}

fn get<'m>(message: &'m Message<'_>, path: &str) -> Node<'m> {
    message.get(&path.parse::<Path>().unwrap()).unwrap()
}

fn names(message: &Message<'_>) -> String {
    let names: Vec<&str> = message.segments().map(|segment| segment.name()).collect();
    names.join(" ")
}

fn codes(issues: &[Issue]) -> Vec<&'static str> {
    issues.iter().map(|issue| issue.code.as_str()).collect()
}

#[test]
fn values_are_found_by_path() {
    let message = read(ORU.as_bytes());
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
        assert_eq!(get(&message, path).place().to_string(), path);
    }
    assert!(message.get(&"NK1-2".parse().unwrap()).is_none());
    assert!(message.get(&"OBX(4)-5".parse().unwrap()).is_none());
    assert!(message.get(&"PID".parse().unwrap()).is_none());
}

#[test]
fn the_header_has_names() {
    let message = read(ORU.as_bytes());
    let header = message.header();
    assert_eq!(header.sending_application().child(3).text(), "ISO");
    assert_eq!(header.receiving_facility().text(), "SOUTH");
    assert_eq!(header.message_datetime().text(), "20250102030405+0100");
    assert_eq!(header.code(), "ORU");
    assert_eq!(header.event(), "R01");
    assert_eq!(header.structure(), "ORU_R01");
    assert_eq!(header.control_id(), "M-1");
    assert_eq!(header.control_id_raw(), b"M-1");
    assert_eq!(header.processing_id().text(), "P");
    assert_eq!(header.version(), Version::V2_5_1);
    assert_eq!(header.accept_ack(), "");
    assert_eq!(header.sequence_number(), None);
    assert!(!header.charset().is_present());
}

#[test]
fn any_delimiters_divide() {
    let message = read(b"MSH$%*@!$LAB%x$N\rPID$1$$47|1^a%b!c*d$@S@@F@@T@\r");
    assert_eq!(get(&message, "MSH-1").text(), "$");
    assert_eq!(get(&message, "MSH-2").text(), "%*@!");
    assert_eq!(get(&message, "MSH-3.2").text(), "x");
    assert_eq!(get(&message, "PID-3").text(), "47|1^a");
    assert_eq!(get(&message, "PID-3.2.2").text(), "c");
    assert_eq!(get(&message, "PID-3(2)").text(), "d");
    assert_eq!(get(&message, "PID-4").text(), "%$!");
}

#[test]
fn the_truncation_character_never_splits() {
    let (message, issues) = parse(b"MSH|^~\\&#|A|||||||||2.7\rPID|1||4#7^#\r").unwrap();
    assert!(issues.is_empty());
    assert_eq!(get(&message, "PID-3").text(), "4#7");
    assert_eq!(get(&message, "PID-3.2").text(), "#");
}

#[test]
fn odd_encoding_characters_are_reported() {
    let parsed = |msh2: &str| {
        let text = format!("MSH|{msh2}|A|||||||||2.5\rPID|1||a~b&c\r");
        let (message, issues) = parse(text.as_bytes()).unwrap();
        let text = get(&message, "PID-3").text().into_owned();
        (text, codes(&issues))
    };
    assert_eq!(parsed("^"), ("a~b&c".into(), vec!["delimiters-missing"]));
    assert_eq!(parsed("^~"), ("a".into(), vec!["delimiters-missing"]));
    assert_eq!(parsed("^~\\&#@"), ("a".into(), vec!["delimiters-extra"]));
    assert_eq!(parsed("^~\\\\&"), ("a".into(), vec!["delimiters-extra"]));
    assert_eq!(
        parse(b"MSH||A\r").unwrap_err(),
        ParseError::UnusableEncodingCharacters
    );
}

#[test]
fn versions_are_known_or_the_newest_with_an_issue() {
    for (id, version, issue) in [
        ("2.1", Version::V2_1, None),
        ("2.9", Version::V2_9, None),
        ("2.3.1^DEU", Version::V2_3_1, None),
        ("2.10", Version::V2_9, Some("version-unknown")),
        ("", Version::V2_9, Some("version-missing")),
    ] {
        let text = format!("MSH|^~\\&|A||||||||P|{id}\r");
        let (message, issues) = parse(text.as_bytes()).unwrap();
        assert_eq!(message.version(), version, "{id}");
        assert_eq!(codes(&issues), issue.into_iter().collect::<Vec<_>>());
    }
}

const LINES: [&str; 3] = ["MSH|^~\\&|A||||||||P|2.5", "PID|1||x", "PV1|1|I"];

#[test]
fn segments_end_in_cr_lf_or_both() {
    for (end, expected) in [
        ("\r", vec![]),
        ("\r\n", vec![]),
        ("\n", vec!["line-feed-ends"]),
        ("\r\r\n \t\r", vec![]),
        ("\n\n \n", vec!["line-feed-ends"]),
    ] {
        for last in [end, "", "\r", "\x1c\r", "   ", "\n"] {
            let text = format!("{}{last}", LINES.join(end));
            let (message, issues) = parse(text.as_bytes()).unwrap();
            if end.starts_with('\r') || !last.contains('\r') {
                assert_eq!(codes(&issues), expected, "{text:?}");
            }
            assert_eq!(names(&message), "MSH PID PV1", "{text:?}");
            assert_eq!(get(&message, "PID-3").text(), "x", "{text:?}");
            assert_eq!(get(&message, "PV1-2").text().trim_end(), "I", "{text:?}");
            assert_eq!(message.segment(1).unwrap().raw(), b"PID|1||x");
        }
    }
}

#[test]
fn a_byte_order_mark_blanks_and_framing_before_the_header_are_skipped() {
    for (before, expected) in [
        ("\u{feff}", vec!["byte-order-mark"]),
        ("\r\n  ", vec![]),
        ("\x0b", vec![]),
        ("\u{feff}\r\n", vec!["byte-order-mark"]),
        ("FHS|^~\\&|x\r", vec!["text-before-header"]),
    ] {
        let text = format!("{before}{}", LINES.join("\r"));
        let (message, issues) = parse(text.as_bytes()).unwrap();
        assert_eq!(codes(&issues), expected);
        assert_eq!(names(&message), "MSH PID PV1");
        assert_eq!(message.segment(0).unwrap().offset(), before.len());
    }
}

#[test]
fn without_a_header_there_is_no_message() {
    for bytes in ["", "\r\n", "PID|1\r", "xMSH|^~\\&\r", "MS", "\u{feff}"] {
        assert_eq!(parse(bytes.as_bytes()).unwrap_err(), ParseError::NoHeader);
    }
}

#[test]
fn a_line_feed_is_data_where_cr_ends_segments() {
    let text = "MSH|^~\\&|A||||||||P|2.5\rNTE|1||first\nsecond\n\nthird|L\r";
    let (message, issues) = parse(text.as_bytes()).unwrap();
    assert!(issues.is_empty());
    assert_eq!(get(&message, "NTE-3").text(), "first\nsecond\n\nthird");
    assert_eq!(get(&message, "NTE-4").text(), "L");
}

#[test]
fn a_segment_behind_a_line_feed_is_reported_and_split_on_request() {
    let text = "MSH|^~\\&|A||||||||P|2.5\rPID|1||x\nPV1|1|I\r";
    let (message, issues) = parse(text.as_bytes()).unwrap();
    assert_eq!(names(&message), "MSH PID");
    assert_eq!(codes(&issues), ["line-feed-segment"]);
    assert_eq!(issues[0].to_string(), "line-feed-segment at PID (byte 33)");
    let options = ParseOptions {
        split_line_feeds: true,
        ..ParseOptions::default()
    };
    let (message, issues) = parse_with(text.as_bytes(), &options, Index::new()).unwrap();
    assert_eq!(names(&message), "MSH PID PV1");
    assert_eq!(codes(&issues), ["line-feed-segment"]);
    // No field of a header holds a line end, so this file was written with LF.
    let mixed = "MSH|^~\\&|A||||||||P|2.5\nPID|1||x\rPV1|1|I\r\n";
    assert_eq!(names(&read(mixed.as_bytes())), "MSH PID PV1");
}

#[test]
fn a_raw_cr_in_a_field_makes_no_segment() {
    let text = "MSH|^~\\&|A||||||||P|2.5\rOBX|1|TX|N||first\rsecond line|x\r\rthird\rNTE|1\r";
    let (message, issues) = parse(text.as_bytes()).unwrap();
    assert_eq!(names(&message), "MSH OBX ??? ??? NTE");
    assert_eq!(codes(&issues), ["segment-name", "segment-name"]);
    assert_eq!(issues[0].offset, text.find("second").unwrap());
    // All of the stray line is content, also what stands where a name would.
    let stray = message.segment(2).unwrap();
    assert_eq!(stray.field(1).text(), "second line");
    assert_eq!(stray.field(2).text(), "x");
    assert_eq!(message.segment(3).unwrap().occurrence(), 2);
}

#[test]
fn a_raw_cr_is_joined_on_request() {
    let text = "MSH|^~\\&|A||||||||P|2.5\rOBX|1|TX|N||first\r\nsecond line|x\r\rthird\rNTE|1\r\r";
    let options = ParseOptions {
        join_raw_cr: true,
        ..ParseOptions::default()
    };
    let (message, issues) = parse_with(text.as_bytes(), &options, Index::new()).unwrap();
    assert_eq!(names(&message), "MSH OBX NTE");
    assert_eq!(codes(&issues), ["carriage-return-joined"; 2]);
    assert_eq!(get(&message, "OBX-5").text(), "first\r\nsecond line");
    assert_eq!(get(&message, "OBX-6").text(), "x\r\rthird");
}

#[test]
fn segment_names_have_three_letters_or_digits() {
    let text = "MSH|^~\\&|A||||||||P|2.5\rZ01|1\rPIDX|2\rP|3\r\u{e9}D|4\r  NTE|5\rDSC\rADD  \r";
    let (message, issues) = parse(text.as_bytes()).unwrap();
    assert_eq!(names(&message), "MSH Z01 ??? ??? ??? NTE DSC ADD");
    assert_eq!(codes(&issues), ["segment-name"; 3]);
    assert_eq!(message.segment(2).unwrap().field(2).text(), "2");
    assert_eq!(message.segment(6).unwrap().field_count(), 0);
    assert!(message.segment(6).unwrap().leaves().is_empty());
}

#[test]
fn a_second_header_is_reported() {
    let (message, issues) = parse(b"MSH|^~\\&|A||||||||P|2.5\rMSH|^~\\&|B\r").unwrap();
    assert_eq!(codes(&issues), ["second-header"]);
    assert_eq!(get(&message, "MSH(2)-3").text(), "B");
    assert_eq!(get(&message, "MSH(2)-2").text(), "^~\\&");
}

#[test]
fn text_is_decoded_in_the_character_set_of_the_message() {
    for (code, raw, text) in [
        ("8859/1", &b"M\xFCller"[..], "Müller"),
        ("8859/5", b"\xB6", "Ж"),
        ("8859/15", b"\xA4", "€"),
        ("UNICODE UTF-8", "Müller".as_bytes(), "Müller"),
        ("GB 18030-2000", b"\x81\x7C", "亅"),
        ("BIG-5", b"\xA5\x5C", "功"),
        ("KS X 1001", b"\xC7\xD1", "한"),
        ("ISO IR14", b"\xBD", "ｽ"),
        ("~ISO IR87", b"\x1B$BF|K\\\x1B(B", "日本"),
        ("", b"M\xFCller", "Müller"),
        ("", "Müller".as_bytes(), "Müller"),
    ] {
        let header = format!("MSH|^~\\&|A||||||||P|2.5||||||{code}\rPID|1|");
        let bytes = [header.as_bytes(), raw, b"^x|y\rPV1|1\r"].concat();
        let message = read(&bytes);
        assert_eq!(get(&message, "PID-2").text(), text, "{code}");
        // Second bytes that look like delimiters divide nothing.
        assert_eq!(get(&message, "PID-2.2").text(), "x", "{code}");
        assert_eq!(get(&message, "PID-3").text(), "y", "{code}");
        assert_eq!(names(&message), "MSH PID PV1", "{code}");
        assert!(message.undecodable().is_none());
    }
}

#[test]
fn a_senders_character_set_can_be_configured() {
    let bytes = b"MSH|^~\\&|A||||||||P|2.5||||||UNICODE UTF-8\rPID|1|\xB6\r";
    let (message, issues) = parse(bytes).unwrap();
    assert_eq!(codes(&issues), ["charset-mismatch"]);
    assert_eq!(get(&message, "PID-2").text(), "\u{fffd}");
    assert_eq!(get(&message, "PID-2").raw(), b"\xB6");
    let first = message.undecodable().unwrap().to_string();
    let offset = bytes.iter().position(|byte| *byte == 0xB6).unwrap();
    assert_eq!(
        first,
        format!("undecodable-bytes at PID-2.1.1 (byte {offset})")
    );
    let options = ParseOptions {
        charset_override: Some(encoding_rs::ISO_8859_5),
        ..ParseOptions::default()
    };
    let (message, issues) = parse_with(bytes, &options, Index::new()).unwrap();
    assert!(issues.is_empty());
    assert_eq!(get(&message, "PID-2").text(), "Ж");
    let undeclared = b"MSH|^~\\&|A||||||||P|2.5\rPID|1|\xB6\r";
    let options = ParseOptions {
        fallback_charset: Some(encoding_rs::ISO_8859_5),
        ..ParseOptions::default()
    };
    let (message, issues) = parse_with(undeclared, &options, Index::new()).unwrap();
    assert_eq!(codes(&issues), ["charset-fallback"]);
    assert_eq!(get(&message, "PID-2").text(), "Ж");
}

#[test]
fn escape_issues_have_a_place_and_an_offset() {
    let text = "MSH|^~\\&|A||||||||P|2.5\rNTE|1||a\\T\\b~x^3\\4\r";
    let message = read(text.as_bytes());
    let mut issues = Vec::new();
    let note = get(&message, "NTE-3(2).2");
    assert_eq!(note.text_with(&mut issues), "3\\4");
    assert_eq!(issues.len(), 1);
    let offset = text.find("3\\4").unwrap() + 1;
    assert_eq!(
        issues[0].to_string(),
        format!("escape-lone at NTE-3(2).2 (byte {offset})")
    );
}

#[test]
fn absent_empty_and_null_differ() {
    let message = read(b"MSH|^~\\&|A||||||||P|2.5\rPID|\"\"||^^~&|\"\"^x|x\r");
    let facts = |path: &str| {
        let node = get(&message, path);
        (node.is_present(), node.is_null(), node.is_valued())
    };
    assert_eq!(facts("PID-1"), (true, true, false));
    assert_eq!(facts("PID-1.1.1"), (true, true, false));
    assert_eq!(facts("PID-2"), (false, false, false));
    assert_eq!(facts("PID-3"), (false, false, false));
    assert_eq!(facts("PID-3(2).1.2"), (false, false, false));
    assert_eq!(facts("PID-4"), (true, false, true));
    assert_eq!(facts("PID-4.1"), (true, true, false));
    assert_eq!(facts("PID-5"), (true, false, true));
    assert_eq!(facts("PID-6"), (false, false, false));
}

#[test]
fn repetitions_and_children_are_walked_in_order() {
    let message = read(b"MSH|^~\\&|A||||||||P|2.5\rPID|a^b&c~~d|~||x\r");
    let pid = message.segment(1).unwrap();
    let texts = |nodes: Vec<Node<'_>>| -> Vec<String> {
        let text = |node: &Node<'_>| format!("{}={}", node.place(), node.whole_text());
        nodes.iter().map(text).collect()
    };
    let first = pid.field(1);
    let repetitions = texts(first.repetitions().collect());
    assert_eq!(repetitions, ["PID-1=a^b&c", "PID-1(2)=", "PID-1(3)=d"]);
    assert_eq!(first.repetition_count(), 3);
    let children = texts(first.children().collect());
    assert_eq!(children, ["PID-1.1=a", "PID-1.2=b&c"]);
    assert_eq!(first.child_count(), 2);
    let subcomponents = texts(first.child(2).children().collect());
    assert_eq!(subcomponents, ["PID-1.2.1=b", "PID-1.2.2=c"]);
    assert_eq!(first.child(2).child_count(), 2);
    assert_eq!(pid.field(2).repetition_count(), 2);
    assert_eq!(pid.field(3).repetitions().count(), 0);
    assert_eq!(pid.field(9).repetitions().count(), 0);
    assert_eq!(pid.field(9).child_count(), 0);
    // What is not divided is its own first part, all the way down.
    let whole = pid.field(4);
    let down = whole.repetition(1).child(1).child(1).child(1);
    assert_eq!(
        (down.text(), down.level()),
        ("x".into(), Level::Subcomponent)
    );
    assert_eq!(down.repetitions().count(), 1);
    assert!(!whole.child(1).child(1).child(2).is_present());
    assert!(!whole.child(0).is_present() && !whole.child(1).child(0).is_present());
    assert!(!pid.field(0).is_present() && !pid.field(usize::MAX).is_present());
}

#[test]
fn every_leaf_has_its_place() {
    let message = read(ORU.as_bytes());
    let mut next = 0;
    for segment in message.segments() {
        assert_eq!(segment.leaves().start, next);
        for (leaf, place) in segment.leaf_places() {
            assert_eq!(leaf, next);
            next += 1;
            assert_eq!(message.leaf_place(leaf), Some(place));
            let node = message.get(&place.to_path().unwrap()).unwrap();
            assert_eq!(node.leaves(), leaf..leaf + 1, "{place}");
            assert_eq!(node.place(), place);
            assert_eq!(node.raw().is_empty(), message.leaf_is_empty(leaf));
            let at = node.offset()..node.offset() + node.raw().len();
            assert_eq!(&message.bytes()[at], node.raw());
        }
    }
    assert_eq!(next, message.leaf_count());
    assert_eq!(message.leaf_place(next), None);
    assert!(message.leaf_is_empty(next));
}

#[test]
fn free_text_with_raw_delimiters_can_be_read_whole() {
    let message = read(b"MSH|^~\\&|A||||||||P|2.5\rNTE|1||salt & pepper^x\\T\\y~z\r");
    let note = get(&message, "NTE-3");
    assert_eq!(note.text(), "salt ");
    assert_eq!(note.whole_text(), "salt & pepper^x&y~z");
    assert_eq!(note.raw(), b"salt & pepper^x\\T\\y~z");
}

#[test]
fn an_index_is_reused_without_leftovers() {
    let options = ParseOptions::default();
    let (first, _) = parse_with(ORU.as_bytes(), &options, Index::new()).unwrap();
    let fresh = first.leaf_count();
    let index = first.into_index();
    let (small, _) = parse_with(b"MSH|^~\\&|A\r", &options, index).unwrap();
    assert_eq!((small.segment_count(), small.leaf_count()), (1, 3));
    let (again, _) = parse_with(ORU.as_bytes(), &options, small.into_index()).unwrap();
    assert_eq!(again.leaf_count(), fresh);
    assert_eq!(again.segment(5).unwrap().occurrence(), 3);
}

#[test]
fn debug_output_shows_structure_and_no_text() {
    let message = read(ORU.as_bytes());
    let segment = message.segment(1).unwrap();
    let shown = format!(
        "{message:?} {segment:?} {:?} {:?}",
        segment.field(5),
        message.header()
    );
    assert!(shown.contains("PID-5") && shown.contains("segments: 7"));
    assert!(!shown.contains("Sample") && !shown.contains("4711") && !shown.contains("LAB"));
}

#[test]
fn a_large_document_is_borrowed_and_many_leaves_take_linear_time() {
    let base64 = "QUJD".repeat(1_500_000);
    let parts = "&".repeat(300_000);
    let text = format!(
        "MSH|^~\\&|A||||||||P|2.5\rOBX|1|ED|PDF||^AP^^Base64^{base64}\rOBX|2|ST|X||{parts}\r{}",
        "\n \r".repeat(100_000)
    );
    let message = read(text.as_bytes());
    let document = get(&message, "OBX-5.5").text();
    assert!(matches!(document, std::borrow::Cow::Borrowed(_)));
    assert_eq!(document.len(), base64.len());
    // Were these walks quadratic, this test would take an hour.
    let many = message.segment(2).unwrap();
    assert_eq!(many.leaf_places().count(), 300_005);
    assert_eq!(many.field(5).child(1).children().count(), 300_001);
}

#[test]
fn oversized_inputs_are_refused() {
    let length = hl7v2::MAX_BYTES + 1;
    let bytes = vec![0; length];
    let expected = ParseError::TooLarge {
        length,
        limit: hl7v2::MAX_BYTES,
    };
    assert_eq!(parse(&bytes).unwrap_err(), expected);
}

#[test]
fn messages_can_cross_threads() {
    fn both<T: Send + Sync>(_: &T) {}
    both(&read(ORU.as_bytes()));
}
