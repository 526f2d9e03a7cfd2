//! The pages that give the coverage of the guide say what the command says. `UPDATE=1` writes them anew.

use std::path::Path;

use mapping::GuideKind;

use crate::shipped;

/// From the head of the table by kind to the end of what the command writes there.
fn replaced(page: &str, made: &str, whole: bool) -> String {
    let start = page.find("| kind | maps |").unwrap();
    let end = if whole {
        page.len()
    } else {
        page[start..]
            .find("\n\n")
            .map_or(page.len(), |end| start + end + 1)
    };
    format!("{}{made}{}", &page[..start], &page[end..])
}

#[test]
fn the_pages_say_what_the_command_says() {
    let coverage = shipped().coverage();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut stale = Vec::new();
    for (page, made, whole) in [
        ("mappings/COVERAGE.md", coverage.markdown(), true),
        ("mappings/README.md", coverage.summary(), false),
        ("README.md", coverage.summary(), false),
    ] {
        let path = root.join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        let new = replaced(&text, &made, whole);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, new).unwrap();
        } else if new != text {
            stale.push(page);
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?} are out of date: UPDATE=1 cargo test -p mapping --test shipped coverage"
    );
}

#[test]
fn what_is_said_of_a_row_can_be_found() {
    // A `rows:` entry that names what the rules do not do leaves its row missing, with the reason.
    let coverage = shipped().coverage();
    let rows = coverage.maps.iter().flat_map(|map| &map.rows);
    let said: Vec<_> = rows
        .filter(|row| {
            matches!(&row.outcome, mapping::Outcome::Missing { why: Some(why) } if why.contains("no rule writes") || why.contains("does not read"))
        })
        .map(|row| format!("{} -> {} ({:?})", row.source, row.target, row.rule))
        .collect();
    assert!(said.is_empty(), "{said:#?}");
    // Each has been looked at: numbers that ORC and OBR both give, and lists whose first rules that give something win.
    let unasked = coverage.maps.iter().flat_map(|map| &map.rows);
    let unasked = unasked.filter(|row| !row.unasked.is_empty()).count();
    assert_eq!(unasked, 44, "{}", coverage.conditions());
    for kind in [GuideKind::Segment, GuideKind::DataType] {
        let counts = coverage.counts(Some(kind));
        assert_eq!(counts.missing, 0, "{kind:?}");
    }
}
