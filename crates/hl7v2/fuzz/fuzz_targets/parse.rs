//! Any bytes: no panic, every leaf has its place, an edit without changes gives the bytes back.
#![no_main]

use hl7v2::{Index, Message, ParseOptions, batch, edit::Edit, parse_with};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let split = batch::split(bytes);
    for part in split.messages().chain([bytes]) {
        for flag in [false, true] {
            let options = ParseOptions {
                join_raw_cr: flag,
                split_line_feeds: flag,
                ..ParseOptions::default()
            };
            if let Ok((message, _)) = parse_with(part, &options, Index::new()) {
                walk(&message);
                assert_eq!(Edit::new(&message).to_bytes(), part);
            }
        }
    }
});

fn walk(message: &Message<'_>) {
    let mut issues = Vec::new();
    let mut leaves = 0;
    for segment in message.segments() {
        assert_eq!(segment.leaf_places().count(), segment.leaves().len());
        let repetitions = segment.fields().flat_map(|field| {
            leaves += field.leaves().len();
            // An empty field has one empty leaf and no repetition.
            field.repetitions()
        });
        let components = repetitions.flat_map(|repetition| repetition.children());
        for leaf in components.flat_map(|component| component.children()) {
            assert_eq!(leaf.text_with(&mut issues), leaf.text());
            let _ = leaf.whole_text();
        }
    }
    assert_eq!(leaves, message.leaf_count());
}
