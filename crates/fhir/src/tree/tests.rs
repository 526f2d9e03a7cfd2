use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn key(tree: &mut Tree, name: &str, order: u16) -> Key {
    Key {
        name: tree.name(name),
        order,
    }
}

fn text(tree: &Tree, node: NodeId) -> String {
    let mut out = Vec::new();
    let references = |n: u32, out: &mut Vec<u8>| {
        if n < 10 {
            out.extend_from_slice(format!("Patient/{n}").as_bytes());
        }
    };
    tree.write(
        node,
        &mut out,
        &WriteOptions {
            pretty: false,
            references: &references,
        },
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn children_are_sorted_and_equals_stay_in_order() {
    let mut tree = Tree::new();
    let root = tree.object();
    for (name, order) in [
        ("gender", 30),
        ("resourceType", 0),
        ("name", 20),
        ("active", 10),
        ("_gender", 30),
        ("id", 5),
    ] {
        let key = key(&mut tree, name, order);
        tree.add_string(root, key, "x");
    }
    let names: Vec<_> = tree
        .children(root)
        .map(|(name, _)| tree.name_text(name))
        .collect();
    assert_eq!(
        names,
        ["resourceType", "id", "active", "name", "gender", "_gender"]
    );
    // The list's end is still known after inserting in front.
    let last = key(&mut tree, "link", 99);
    tree.add_string(root, last, "y");
    assert!(text(&tree, root).ends_with(r#""_gender":"x","link":"y"}"#));
}

#[test]
fn nothing_empty_is_written() {
    let mut tree = Tree::new();
    let root = tree.object();
    let (name, given, contact) = (
        key(&mut tree, "name", 1),
        key(&mut tree, "given", 2),
        key(&mut tree, "contact", 3),
    );
    let names = tree.add_array(root, name);
    let human = tree.push_object(names);
    let givens = tree.add_array(human, given);
    tree.push_string(givens, "");
    tree.push_null(givens);
    tree.add_object(root, contact);
    assert!(tree.is_empty(root));
    assert_eq!(text(&tree, root), "");
    tree.push_string(givens, "Ada");
    assert_eq!(text(&tree, root), r#"{"name":[{"given":[null,"Ada"]}]}"#);
    assert!(!tree.is_empty(root));
}

#[test]
fn numbers_keep_their_digits_and_others_are_refused() {
    let mut tree = Tree::new();
    let root = tree.object();
    let value = key(&mut tree, "value", 1);
    for wrong in ["<5", "1,5", "", "05", "1.", "NaN"] {
        assert_eq!(tree.add_number(root, value, wrong), None);
    }
    tree.add_number(root, value, "1.50").unwrap();
    assert_eq!(text(&tree, root), r#"{"value":1.50}"#);
}

#[test]
fn references_are_resolved_when_written() {
    let mut tree = Tree::new();
    let root = tree.object();
    let (subject, reference, display, focus) = (
        key(&mut tree, "subject", 1),
        key(&mut tree, "reference", 1),
        key(&mut tree, "display", 2),
        key(&mut tree, "focus", 9),
    );
    tree.add_reference(root, subject, 3);
    let focuses = tree.add_array(root, focus);
    tree.push_reference(focuses, 4);
    let with_display = tree.push_object(focuses);
    tree.add_reference(with_display, reference, 5);
    tree.add_string(with_display, display, "Lab");
    tree.push_reference(focuses, 77);
    assert_eq!(
        text(&tree, root),
        r#"{"subject":{"reference":"Patient/3"},"focus":[{"reference":"Patient/4"},{"reference":"Patient/5","display":"Lab"}]}"#
    );
    let url = key(&mut tree, "url", 10);
    let address = tree.add_address(root, url, 6);
    assert!(text(&tree, root).ends_with(r#"],"url":"Patient/6"}"#));
    assert_eq!(tree.kind(address), Kind::Address(6));
    assert!(!tree.equal(address, tree.get(root, subject.name).unwrap()));
    // Unresolved, only what stands beside the reference is left.
    let mut out = Vec::new();
    assert!(tree.write(focuses, &mut out, &WriteOptions::default()));
    assert_eq!(out, br#"[{"display":"Lab"}]"#);
}

#[test]
fn truncate_returns_to_the_mark() {
    let mut tree = Tree::new();
    let root = tree.object();
    let (name, family, given) = (
        key(&mut tree, "name", 5),
        key(&mut tree, "family", 2),
        key(&mut tree, "given", 1),
    );
    let names = tree.add_array(root, name);
    let human = tree.push_object(names);
    let old = tree.add_string(human, family, "Old");
    let before = text(&tree, root);

    let mark = tree.mark();
    tree.add_string(human, given, "Extra");
    tree.push_object(names);
    let other = tree.push_object(names);
    tree.add_string(other, family, "Other");
    let gender = key(&mut tree, "gender", 1);
    tree.add_string(root, gender, "female");
    tree.truncate(root, mark);
    assert_eq!(text(&tree, root), before);
    tree.add_string(human, given, "New");
    assert_eq!(
        text(&tree, root),
        r#"{"name":[{"given":"New","family":"Old"}]}"#
    );

    // Text set on an older node survives.
    let mark = tree.mark();
    tree.set_text(old, "Changed");
    tree.push_object(names);
    tree.truncate(root, mark);
    tree.push_string(names, "z");
    assert_eq!(
        text(&tree, root),
        r#"{"name":[{"given":"New","family":"Changed"},"z"]}"#
    );
}

#[test]
fn remove_takes_out_one_child() {
    let mut tree = Tree::new();
    let root = tree.array();
    let nodes: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|text| tree.push_string(root, text))
        .collect();
    tree.remove(root, nodes[2]);
    tree.push_string(root, "d");
    tree.remove(root, nodes[0]);
    assert_eq!(text(&tree, root), r#"["b","d"]"#);
}

#[test]
fn pretty_is_for_people() {
    let mut tree = Tree::new();
    let root = tree.object();
    let (kind, name, subject) = (
        key(&mut tree, "resourceType", 0),
        key(&mut tree, "name", 1),
        key(&mut tree, "subject", 2),
    );
    tree.add_string(root, kind, "Patient");
    let names = tree.add_array(root, name);
    tree.push_object(names);
    tree.push_string(names, "A");
    tree.add_reference(root, subject, 0);
    let mut out = Vec::new();
    let references = |_: u32, out: &mut Vec<u8>| out.extend_from_slice(b"X/1");
    tree.write(
        root,
        &mut out,
        &WriteOptions {
            pretty: true,
            references: &references,
        },
    );
    let expected = "{\n  \"resourceType\": \"Patient\",\n  \"name\": [\n    \"A\"\n  ],\n  \"subject\": {\n    \"reference\": \"X/1\"\n  }\n}";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn foreign_nodes_and_leaf_parents_are_harmless() {
    let mut tree = Tree::new();
    let root = tree.object();
    let name = key(&mut tree, "name", 1);
    let leaf = tree.add_string(root, name, "A");
    tree.add_string(leaf, name, "lost");
    assert_eq!(text(&tree, root), r#"{"name":"A"}"#);
    tree.clear();
    assert_eq!(tree.kind(leaf), Kind::Null);
    assert_eq!(tree.text(leaf), "");
    assert!(tree.is_empty(root) && !tree.write(root, &mut Vec::new(), &WriteOptions::default()));
}

#[test]
fn debug_shows_no_text() {
    let mut tree = Tree::new();
    let root = tree.array();
    tree.push_string(root, "Secret");
    assert!(!format!("{tree:?}").contains("Secret"));
}

#[test]
fn the_first_byte_to_escape_is_found() {
    for special in ['"', '\\', '\0', '\u{1f}', '\n'] {
        for before in 0..20 {
            for after in 0..10 {
                // Bytes next to the limits, which a careless word trick takes for special.
                let plain = [
                    "\u{20}", "!", "#", "[", "]", "\u{7f}", "\u{80}", "é", "\u{ffff}",
                ]
                .join("");
                let plain: String = plain.chars().cycle().take(before).collect();
                let text = format!("{plain}{special}{}", "\"".repeat(after));
                assert_eq!(
                    write::first_special(text.as_bytes()),
                    Some(plain.len()),
                    "{text:?}"
                );
                assert_eq!(write::first_special(plain.as_bytes()), None);
            }
        }
    }
}

/// What must remain of a value: no empty strings, arrays, objects, nulls outside arrays.
fn pruned(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| value.clone()),
        Value::Array(items) => {
            let kept: Vec<_> = items
                .iter()
                .filter_map(|item| {
                    if item.is_null() {
                        Some(Value::Null)
                    } else {
                        pruned(item)
                    }
                })
                .collect();
            kept.iter()
                .any(|item| !item.is_null())
                .then_some(Value::Array(kept))
        }
        Value::Object(members) => {
            let kept: serde_json::Map<_, _> = members
                .iter()
                .filter_map(|(name, item)| Some((name.clone(), pruned(item)?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        _ => Some(value.clone()),
    }
}

fn build(tree: &mut Tree, parent: NodeId, key: Key, value: &Value) {
    match value {
        Value::Null => _ = tree.add_null(parent, key),
        Value::Bool(value) => _ = tree.add_boolean(parent, key, *value),
        Value::Number(number) => _ = tree.add_number(parent, key, &number.to_string()).unwrap(),
        Value::String(text) => _ = tree.add_string(parent, key, text),
        Value::Array(items) => {
            let array = tree.add_array(parent, key);
            for item in items {
                build(tree, array, key, item);
            }
        }
        Value::Object(members) => {
            let object = tree.add_object(parent, key);
            for (order, (name, item)) in members.iter().enumerate() {
                let order = u16::try_from((order * 7919) % 5).unwrap();
                let key = Key {
                    name: tree.name(name),
                    order,
                };
                build(tree, object, key, item);
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| json!(n)),
        ".{0,20}".prop_map(Value::String),
        proptest::collection::vec(any::<char>(), 0..30)
            .prop_map(|chars| Value::String(chars.into_iter().collect())),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let name = prop_oneof![
            "[a-z]{1,8}",
            Just("birthDate".to_owned()),
            Just("_birthDate".to_owned()),
            ".{0,5}"
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::btree_map(name, inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_built_is_what_is_written(value in any_json(), pretty: bool) {
        let mut tree = Tree::new();
        let root = tree.object();
        let name = key(&mut tree, "value", 1);
        build(&mut tree, root, name, &value);
        let mut out = Vec::new();
        let wrote = tree.write(root, &mut out, &WriteOptions { pretty, ..WriteOptions::default() });
        match pruned(&value) {
            None => prop_assert!(!wrote && out.is_empty()),
            Some(expected) => {
                let read: Value = serde_json::from_slice(&out).unwrap();
                prop_assert_eq!(read, json!({ "value": expected }));
            }
        }
        prop_assert_eq!(tree.is_empty(root), !wrote);
    }
}

#[test]
fn equal_nodes_say_the_same() {
    let mut tree = Tree::new();
    let (code, system) = (key(&mut tree, "code", 5), key(&mut tree, "system", 3));
    let list = tree.array();
    let mut coding = |first: &str, second: Option<&str>| {
        let object = tree.push_object(list);
        tree.add_string(object, code, first);
        if let Some(text) = second {
            tree.add_string(object, system, text);
        }
        tree.set_origin(object, u32::try_from(first.len()).unwrap());
        object
    };
    let a = coding("x", Some("y"));
    let others = [
        coding("x", None),
        coding("y", Some("y")),
        coding("xy", None),
    ];
    let same = coding("x", Some("y"));
    tree.set_origin(same, 9);
    assert!(tree.equal(a, same) && tree.equal(a, a));
    for other in others {
        assert!(!tree.equal(a, other) && !tree.equal(other, a));
    }
    let (yes, no) = (
        tree.push_boolean(list, true),
        tree.push_boolean(list, false),
    );
    let number = tree.push_number(list, "1").unwrap();
    let text = tree.push_string(list, "1");
    for (a, b) in [(yes, no), (number, text), (yes, number), (a, text)] {
        assert!(!tree.equal(a, b) && tree.equal(b, b));
    }
}
