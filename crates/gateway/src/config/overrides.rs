//! Environment variables on top of the file: `FHIRWAY__SECTION__KEY=value`.
//!
//! `FHIRWAY__LISTENERS__LAB__BIND=0.0.0.0:2575` sets `listeners.lab.bind`. Two underscores part the
//! levels; letters may be of any case, and `-` in a name is written `_`. The value is read as YAML, so
//! a list is `[a, b]`. What an override names need not be in the file.

use super::{
    problem::{Kind, Problem},
    source::{self, Entry, Node, Origin, Value},
};

const PREFIX: &str = "FHIRWAY__";

/// Applies the overrides among `variables` (all others are ignored), in the order of their names.
pub fn apply(
    root: &mut Node,
    variables: impl Iterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) {
    let mut overrides: Vec<(String, String)> = variables
        .filter(|(name, _)| name.to_ascii_uppercase().starts_with(PREFIX))
        .collect();
    overrides.sort();
    for (name, text) in overrides {
        let origin = Origin::Environment(name.clone());
        let path: Vec<String> = name
            .chars()
            .skip(PREFIX.len())
            .collect::<String>()
            .to_ascii_lowercase()
            .split("__")
            .map(str::to_owned)
            .collect();
        if path.iter().any(String::is_empty) {
            problems.push(
                Problem::error(origin, "an override needs a key after each `__`".to_owned())
                    .of(Kind::Override),
            );
            continue;
        }
        match source::read(&text) {
            Ok(mut value) => {
                relocate(&mut value, &origin);
                // An empty document reads as an empty section; an empty variable means "not set".
                if text.trim().is_empty() {
                    value.value = Value::Null;
                }
                set(root, &path, value, &origin, problems);
            }
            Err(problem) => problems.push(Problem { origin, ..problem }),
        }
    }
}

fn set(
    node: &mut Node,
    path: &[String],
    value: Node,
    origin: &Origin,
    problems: &mut Vec<Problem>,
) {
    let Some((first, rest)) = path.split_first() else {
        *node = value;
        return;
    };
    if matches!(node.value, Value::Null) {
        node.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut node.value else {
        problems.push(
            Problem::error(
                origin.clone(),
                format!("`{first}` is below something that has no keys"),
            )
            .of(Kind::Override),
        );
        return;
    };
    let known = entries
        .iter_mut()
        .find(|entry| entry.key.replace('-', "_").eq_ignore_ascii_case(first));
    match known {
        Some(entry) => set(&mut entry.node, rest, value, origin, problems),
        None => {
            let mut node = Node {
                origin: origin.clone(),
                value: Value::Null,
            };
            set(&mut node, rest, value, origin, problems);
            entries.push(Entry {
                key: first.clone(),
                origin: origin.clone(),
                node,
            });
        }
    }
}

fn relocate(node: &mut Node, origin: &Origin) {
    node.origin = origin.clone();
    match &mut node.value {
        Value::Null | Value::Scalar(_) => {}
        Value::List(items) => items.iter_mut().for_each(|item| relocate(item, origin)),
        Value::Map(entries) => {
            for entry in entries {
                entry.origin = origin.clone();
                relocate(&mut entry.node, origin);
            }
        }
    }
}
