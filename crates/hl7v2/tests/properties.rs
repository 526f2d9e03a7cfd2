//! What holds for any bytes, and for any message.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use hl7v2::edit::Edit;
use hl7v2::{Message, ParseOptions, Place, batch, dtm, parse, parse_with};
use proptest::prelude::*;

/// Everything that can be asked of a message; returns how many leaves were seen.
fn walk(message: &Message<'_>) -> usize {
    let mut issues = Vec::new();
    let mut leaves = 0;
    let mut end = 0;
    for segment in message.segments() {
        assert!(segment.offset() >= end, "segments overlap");
        end = segment.offset() + segment.raw().len();
        assert_eq!(segment.leaf_places().count(), segment.leaves().len());
        for field in segment.fields() {
            let repetitions = field.repetitions().count();
            assert_eq!(repetitions, field.repetition_count());
            for repetition in field.repetitions() {
                assert_eq!(repetition.children().count(), repetition.child_count());
                for leaf in repetition.children().flat_map(|part| part.children()) {
                    let text = leaf.text_with(&mut issues);
                    assert_eq!(text, leaf.text());
                    let _ = (
                        leaf.whole_text(),
                        leaf.is_valued(),
                        leaf.place().to_string(),
                    );
                }
            }
            leaves += field.leaves().len();
        }
    }
    for issue in issues {
        assert!(issue.offset <= message.bytes().len() && issue.place.is_some());
    }
    let header = message.header();
    let _ = (
        header.code(),
        header.sequence_number(),
        format!("{message:?}"),
    );
    leaves
}

fn check(bytes: &[u8]) {
    for flag in [false, true] {
        let options = ParseOptions {
            join_raw_cr: flag,
            split_line_feeds: flag,
            ..ParseOptions::default()
        };
        let Ok((message, issues)) = parse_with(bytes, &options, hl7v2::Index::new()) else {
            return;
        };
        assert!(issues.iter().all(|issue| issue.offset <= bytes.len()));
        assert_eq!(walk(&message), message.leaf_count());
        let places: Vec<Place> = (0..message.leaf_count())
            .filter_map(|leaf| message.leaf_place(leaf))
            .collect();
        assert_eq!(places.len(), message.leaf_count());
        assert!(places.is_sorted(), "places are in message order");
        assert_eq!(Edit::new(&message).to_bytes(), bytes);
    }
}

/// Bytes that are mostly what a message consists of.
fn message_like() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        6 => proptest::sample::select(vec![
            "|", "^", "~", "\\", "&", "\r", "\n", "\r\n", "PID|", "OBX|", "MSH|^~\\&|", "\"\"",
            "\\T\\", "\\X0D\\", "\\.br\\", "\\C2842\\", "\\M2442\\", " ", "BTS|1\r", "BHS|^~\\&|\r",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..6),
        2 => "[ -~]{0,8}".prop_map(String::into_bytes),
    ];
    let header = proptest::sample::select(vec![
        "MSH|^~\\&|A||||||||P|2.5\r",
        "MSH|^~\\&|A||||||||P|2.5||||||8859/1\r",
        "MSH|^~\\&|A||||||||P|2.5||||||GB 18030-2000\n",
        "MSH|^~\\&|A||||||||P|2.5||||||~ISO IR87\r",
        "MSH|^~\\&|A||||||||P|2.5||||||ISO IR14\r\n",
        "MSH$%*@!#$A\r",
        "MSH|^|A",
        "\u{feff}\r\nMSH|^~\\&",
    ]);
    (header, proptest::collection::vec(part, 0..60)).prop_map(|(header, parts)| {
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(parts.concat());
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes);
        let mut message = b"MSH|^~\\&".to_vec();
        message.extend(bytes);
        check(&message);
    }

    #[test]
    fn message_like_bytes_are_read_and_written_back(bytes in message_like()) {
        check(&bytes);
    }

    #[test]
    fn a_batch_loses_no_message(bytes in message_like()) {
        let split = batch::split(&bytes);
        let mut end = 0;
        for (member, part) in split.messages.iter().zip(split.messages()) {
            prop_assert!(member.range.start >= end);
            end = member.range.end;
            prop_assert!(part.starts_with(b"MSH"));
            prop_assert!(parse(part).is_ok());
        }
        prop_assert!(split.issues.iter().all(|issue| issue.offset <= bytes.len()));
    }

    #[test]
    fn any_text_that_is_set_is_read_back(
        text in "\\PC{0,20}[|^~&\\\\\n\u{b}\u{1c}]{0,3}\\PC{0,20}",
        field in 1_u16..9,
        repetition in 1_u16..4,
        component in 1_u16..4,
        subcomponent in 1_u16..4,
    ) {
        let (message, _) = parse(b"MSH|^~\\&|A||||||||P|2.5\rPID|1||a^b&c~d||x\rPV1|1\r").unwrap();
        let path = hl7v2::Path {
            segment: *b"PID",
            occurrence: None,
            field: Some(field),
            repetition: Some(repetition),
            component: Some(component),
            subcomponent: Some(subcomponent),
        };
        let mut edit = Edit::new(&message);
        edit.set(&path, &text).unwrap();
        let bytes = edit.to_bytes();
        let (again, _) = parse(&bytes).unwrap();
        let node = again.get(&path).unwrap();
        prop_assert_eq!(node.text(), text);
        prop_assert_eq!(again.segment(2).unwrap().raw(), b"PV1|1");
    }

    #[test]
    fn paths_print_and_parse(text in "[A-Z][A-Z0-9]{2}(\\([2-9]\\))?-[1-9][0-9]?(\\([2-9]\\))?(\\.[1-9](\\.[1-9])?)?") {
        let path: hl7v2::Path = text.parse().unwrap();
        prop_assert_eq!(path.to_string(), text);
    }

    #[test]
    fn any_text_as_a_path_or_a_date_never_panics(text in "\\PC{0,24}") {
        let _ = text.parse::<hl7v2::Path>();
        for tolerance in [dtm::Tolerance::STRICT, dtm::Tolerance::LENIENT] {
            let _ = (dtm::parse(&text, tolerance), dtm::parse_tm(&text, tolerance));
        }
    }

    #[test]
    fn dates_never_leave_the_calendar(text in "[0-9]{4,14}(\\.[0-9]{1,4})?([+-][0-9]{4})?") {
        if let Ok(date) = dtm::parse(&text, dtm::Tolerance::LENIENT)
            && let (Some(month), Some(day)) = (date.month, date.day)
        {
            prop_assert!((1..=12).contains(&month));
            prop_assert!((1..=dtm::days_in_month(date.year, month)).contains(&day));
            prop_assert!(date.hour.is_none_or(|hour| hour < 24));
        }
    }
}
