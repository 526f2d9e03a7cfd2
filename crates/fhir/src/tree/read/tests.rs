use super::*;
use crate::tree::{Kind, WriteOptions};
use proptest::prelude::*;
use serde_json::Value;

fn error(json: &[u8]) -> (ReadProblem, String, usize) {
    let error = read(json, &Limits::default()).unwrap_err();
    (error.problem, error.path, error.offset)
}

fn written(json: &str) -> String {
    let (tree, root) = read(json.as_bytes(), &Limits::default()).unwrap();
    let mut out = Vec::new();
    tree.write(root, &mut out, &WriteOptions::default());
    String::from_utf8(out).unwrap()
}

#[test]
fn digits_order_and_text_survive() {
    let json = r#"{"resourceType":"X","z":1.50,"a":[1E+2,-0.0,null,true,{"b":"é😀"}],"valueQuantity":{"value":100.000}}"#;
    assert_eq!(written(json), json);
    assert_eq!(written("\t{ \"a\" :\n[ 1 , 2 ] } \r\n"), r#"{"a":[1,2]}"#);
    assert_eq!(
        written(r#"{"a":"\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\"}"#),
        "{\"a\":\"é😀/\\b\\f\\n\\r\\t\\\"\\\\\"}"
    );
}

#[test]
fn empties_are_kept_to_be_found() {
    let (tree, root) = read(br#"{"a":"","b":[],"c":{},"d":null}"#, &Limits::default()).unwrap();
    let kinds: Vec<_> = tree
        .children(root)
        .map(|(_, node)| tree.kind(node))
        .collect();
    assert_eq!(kinds, [Kind::String, Kind::Array, Kind::Object, Kind::Null]);
}

#[test]
fn errors_say_where() {
    assert_eq!(
        error(br#"{"name":[{"given":["A",]}]}"#),
        (ReadProblem::Syntax, "name[0].given[1]".into(), 23)
    );
    assert_eq!(
        error(br#"{"a":1,"a":2}"#),
        (ReadProblem::Duplicate, "a".into(), 10)
    );
    assert_eq!(
        error(br#"{"a":01}"#),
        (ReadProblem::BadNumber, "a".into(), 5)
    );
    assert_eq!(
        error(br#"{"a":1.}"#),
        (ReadProblem::BadNumber, "a".into(), 5)
    );
    assert_eq!(
        error(b"{\"a\":\"x\ny\"}"),
        (ReadProblem::BadString, "a".into(), 7)
    );
    assert_eq!(error(br#"{"a":"\x"}"#).0, ReadProblem::BadString);
    assert_eq!(error(br#"{"a":"\ud83d"}"#).0, ReadProblem::BadString);
    assert_eq!(error(br#"{"a":"\ude00"}"#).0, ReadProblem::BadString);
    assert_eq!(error(br#"{"a":"\u00g0"}"#).0, ReadProblem::BadString);
    assert_eq!(
        error(b"{\"a\":\"\xff\"}"),
        (ReadProblem::Encoding, String::new(), 6)
    );
    assert_eq!(error(b"[1]").0, ReadProblem::NotAnObject);
    assert_eq!(error(b"").0, ReadProblem::Syntax);
    assert_eq!(error(b"\xef\xbb\xbf{}").0, ReadProblem::NotAnObject);
    assert_eq!(error(b"{} x"), (ReadProblem::Trailing, String::new(), 3));
    assert_eq!(error(br#"{"a":tru}"#), (ReadProblem::Syntax, "a".into(), 5));
    for cut in [
        "{",
        "{\"a",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":[",
        "{\"a\":\"\\",
        "{\"a\":\"\\u1",
    ] {
        assert!(read(cut.as_bytes(), &Limits::default()).is_err(), "{cut}");
    }
    // A name that holds a value by mistake is not repeated.
    assert_eq!(error(br#"{"Mrs Secret":}"#).1, "?");
}

#[test]
fn duplicates_are_found_in_large_objects() {
    let mut json = String::from("{");
    for number in 0..5000 {
        json.push_str(&format!("\"n{number}\":1,"));
    }
    assert_eq!(
        error(format!("{json}\"n4999\":1}}").as_bytes()).0,
        ReadProblem::Duplicate
    );
    assert!(read(format!("{json}\"x\":1}}").as_bytes(), &Limits::default()).is_ok());
}

#[test]
fn limits_hold() {
    let limits = |bytes, depth, nodes| Limits {
        bytes,
        depth,
        nodes,
    };
    let problem = |json: &str, limits: &Limits| {
        read(json.as_bytes(), limits)
            .map(|_| ())
            .map_err(|error| error.problem)
    };
    assert_eq!(problem("{}", &limits(1, 9, 9)), Err(ReadProblem::TooLarge));
    assert_eq!(problem(r#"{"a":[{}]}"#, &limits(99, 3, 9)), Ok(()));
    assert_eq!(
        problem(r#"{"a":[{}]}"#, &limits(99, 2, 9)),
        Err(ReadProblem::TooDeep)
    );
    assert_eq!(
        problem(r#"{"a":[1],"b":[2],"c":[[3]]}"#, &limits(99, 3, 99)),
        Ok(())
    );
    assert_eq!(
        problem(r#"{"a":[1,2,3]}"#, &limits(99, 9, 4)),
        Err(ReadProblem::TooMany)
    );
    let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
    assert_eq!(
        problem(&deep, &limits(usize::MAX, usize::MAX, usize::MAX)),
        Err(ReadProblem::TooDeep)
    );
}

#[test]
fn a_failed_read_leaves_the_tree_as_it_was() {
    let mut tree = Tree::new();
    let first = read_into(&mut tree, br#"{"a":"one"}"#, &Limits::default()).unwrap();
    let count = tree.node_count();
    assert!(read_into(&mut tree, br#"{"b":{"c":"two"},"#, &Limits::default()).is_err());
    assert_eq!(tree.node_count(), count);
    let name = tree.name("a");
    assert_eq!(tree.text(tree.get(first, name).unwrap()), "one");
}

proptest! {
    #[test]
    fn agrees_with_serde_json(json in r#"\{("[a-c]":([0-9.eE+-]{1,5}|"[a-z\\"u0-9é]{0,8}"|\[[1, n]{0,4}\]|\{\}|true|null),? ?){0,4}\}?"#) {
        let ours = read(json.as_bytes(), &Limits::default());
        match serde_json::from_str::<Value>(&json) {
            Ok(_) => prop_assert!(ours.is_ok() || ours.is_err_and(|error| error.problem == ReadProblem::Duplicate)),
            // Numbers beyond f64 are its own limit.
            Err(error) => prop_assert!(ours.is_err() || error.to_string().contains("out of range"), "{json}"),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(&bytes, &Limits::default());
    }
}
