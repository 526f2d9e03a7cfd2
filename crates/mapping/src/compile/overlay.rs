//! What an overlay changes in the file below it: single rules, each found by its address.
//!
//! An address is written in the key: `birthDate` is an element, `identifier[PID-2]` the one rule of its list that says
//! PID-2, `telecom[PID-13, XTN/ContactPoint].use` an element of that rule. In message maps an address is a line, by its map or
//! the name it binds (`PID/Patient`, `patient`), with as many of the groups around it in front as tell it from others.

use std::collections::HashMap;

use super::Compiler;
use super::address::{Address, Found, Step, at, locate};
use crate::diagnostic::Code;
use crate::yaml::{Node, Value};

/// What kind of file an overlay changes: it decides what an address can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A segment or datatype map.
    Map,
    /// A message map, or a part of one.
    Message,
    /// A code table.
    Table,
}

/// The key that makes a file an overlay on the one below it.
const EXTENDS: &str = "extends";

impl FileKind {
    /// Keys whose value is a map of names that are no addresses: `codes`, `link` and the like.
    pub(super) fn is_names(self, key: &str) -> bool {
        match self {
            FileKind::Map => key == "rows",
            FileKind::Message => matches!(key, "rows" | "link"),
            FileKind::Table => matches!(key, "rows" | "codes" | "same"),
        }
    }
}

/// Whether the file changes the one below it; any other file replaces it.
pub(super) fn extends(node: &Node) -> bool {
    node.get(EXTENDS).is_some()
}

impl Compiler {
    /// Applies an overlay's file to the one below.
    pub(super) fn overlay(&mut self, kind: FileKind, base: Node, over: &Node) -> Node {
        let mut base = base;
        if let Some(how) = over.get(EXTENDS)
            && how.text() != Some("below")
        {
            self.error(
                Code::Shape,
                how.span,
                "an overlay can only extend the file below it",
                "write `extends: below`",
            );
            return base;
        }
        if base.pairs().is_none() {
            // The file below is told to be wrong where it is read.
            return base;
        }
        for (key, value) in over.pairs().unwrap_or_default() {
            match key.text().unwrap_or_default() {
                EXTENDS => {}
                "remove" => {
                    for name in value.members() {
                        if let Some(address) = self.text_of(name, "what to remove") {
                            let address = address.to_owned();
                            self.change(kind, &mut base, name, &address, Remove);
                        }
                    }
                }
                word @ ("add" | "before" | "after") => {
                    self.changes(kind, &mut base, word, value);
                }
                word if kind.is_names(word) => self.change(kind, &mut base, key, word, Add(value)),
                address => {
                    let address = address.to_owned();
                    self.change(kind, &mut base, key, &address, Set(value));
                }
            }
        }
        base
    }

    /// `add: { ADDRESS: RULE }` and the like.
    fn changes(&mut self, kind: FileKind, base: &mut Node, word: &str, node: &Node) {
        let Some(pairs) = node.pairs() else {
            self.error(
                Code::Shape,
                node.span,
                format!("`{word}` is a map of addresses, not {}", node.kind()),
                format!("write `{word}: {{ ADDRESS: RULE }}`"),
            );
            return;
        };
        for (key, value) in pairs {
            let address = key.text().unwrap_or_default().to_owned();
            let change = match word {
                "add" => Add(value),
                "before" => Insert(0, value),
                _ => Insert(1, value),
            };
            self.change(kind, base, key, &address, change);
        }
    }

    fn change(
        &mut self,
        kind: FileKind,
        base: &mut Node,
        key: &Node,
        address: &str,
        change: Change<'_>,
    ) {
        let done = Address::parse(address)
            .and_then(|parsed| locate(kind, base, &parsed))
            .and_then(|found| change.apply(base, key, &found));
        if let Err(problem) = done {
            self.error(Code::UnknownRule, key.span, problem.message, problem.help);
        }
    }
}

use Change::{Add, Insert, Remove, Set};

/// One change of what an address names.
enum Change<'n> {
    Set(&'n Node),
    Add(&'n Node),
    /// Before it (0) or behind it (1).
    Insert(usize, &'n Node),
    Remove,
}

/// Why an address names nothing, or more than one thing.
pub(super) struct Problem {
    pub message: String,
    pub help: String,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem {
            message: message.into(),
            help: help.into(),
        }
    }
}

impl Change<'_> {
    fn apply(&self, base: &mut Node, key: &Node, found: &Found) -> Result<(), Problem> {
        match (self, &found.missing) {
            (Set(value) | Add(value), Some(missing)) => {
                add_pair(base, &found.path, key, missing, value)
            }
            (Remove | Insert(..), Some(missing)) => Err(Problem::new(
                format!("there is no `{}` to change", missing.name),
                missing.help.clone(),
            )),
            (Set(value), None) => set(base, key, &found.path, value),
            (Add(value), None) => add(base, key, found, value),
            (Insert(behind, value), None) => insert(base, &found.path, *behind, value),
            (Remove, None) => remove(base, &found.path),
        }
    }
}

/// A place that the search has just been at.
fn lost() -> Problem {
    Problem::new(
        "the address can't be followed",
        "write it without the last step, and change the whole rule",
    )
}

fn add_pair(
    base: &mut Node,
    path: &[Step],
    key: &Node,
    missing: &super::address::Missing,
    value: &Node,
) -> Result<(), Problem> {
    let Some(Value::Map(pairs)) = at(base, path).map(|node| &mut node.value) else {
        return Err(lost());
    };
    let key = Node {
        span: key.span,
        value: Value::Scalar {
            text: missing.name.clone(),
            quoted: false,
        },
    };
    pairs.push((key, value.clone()));
    Ok(())
}

fn set(base: &mut Node, key: &Node, path: &[Step], value: &Node) -> Result<(), Problem> {
    let (last, parent) = path.split_last().ok_or_else(lost)?;
    let parent = at(base, parent).ok_or_else(lost)?;
    match (&mut parent.value, last, &value.value) {
        (Value::List(members), Step::Member(number), Value::List(new))
            if *number < members.len() =>
        {
            members.splice(*number..=*number, new.iter().cloned());
        }
        (Value::List(members), Step::Member(number), _) => {
            *members.get_mut(*number).ok_or_else(lost)? = value.clone();
        }
        (Value::Map(pairs), Step::Pair(number), _) => {
            let pair = pairs.get_mut(*number).ok_or_else(lost)?;
            pair.0.span = key.span;
            pair.1 = value.clone();
        }
        _ => return Err(lost()),
    }
    Ok(())
}

/// More rules of an element, more lines of a group, more keys of a rule or of a map of names.
fn add(base: &mut Node, key: &Node, found: &Found, value: &Node) -> Result<(), Problem> {
    let path: Vec<Step> = found.path.iter().copied().chain(found.inner).collect();
    let node = at(base, &path).ok_or_else(lost)?;
    match &mut node.value {
        Value::List(members) => members.extend(value.members().iter().cloned()),
        Value::Map(pairs) if found.keyed => {
            let Value::Map(more) = &value.value else {
                return Err(Problem::new(
                    format!("keys are added here, not {}", value.kind()),
                    "write `{ key: value }`",
                ));
            };
            merge_pairs(pairs, more);
        }
        // A lone rule becomes the first of a list.
        _ => {
            let mut members = vec![node.clone()];
            members.extend(value.members().iter().cloned());
            *node = Node {
                span: key.span,
                value: Value::List(members),
            };
        }
    }
    Ok(())
}

/// Keys that are there keep their place and get the new value.
fn merge_pairs(pairs: &mut Vec<(Node, Node)>, more: &[(Node, Node)]) {
    let known: HashMap<String, usize> = pairs
        .iter()
        .enumerate()
        .filter_map(|(number, (key, _))| Some((key.text()?.to_owned(), number)))
        .collect();
    for pair in more {
        let number = pair.0.text().and_then(|key| known.get(key));
        match number.and_then(|number| pairs.get_mut(*number)) {
            Some(old) => *old = pair.clone(),
            None => pairs.push(pair.clone()),
        }
    }
}

fn insert(base: &mut Node, path: &[Step], behind: usize, value: &Node) -> Result<(), Problem> {
    let new = value.members().iter().cloned();
    let (last, parent) = path.split_last().ok_or_else(lost)?;
    if let Step::Member(number) = last {
        let Some(Value::List(members)) = at(base, parent).map(|node| &mut node.value) else {
            return Err(lost());
        };
        let place = (number + behind).min(members.len());
        members.splice(place..place, new);
        return Ok(());
    }
    // Before or behind all rules of an element.
    let node = at(base, path).ok_or_else(lost)?;
    let mut members = match std::mem::replace(&mut node.value, Value::List(Vec::new())) {
        Value::List(members) => members,
        value => vec![Node {
            span: node.span,
            value,
        }],
    };
    let place = if behind == 0 { 0 } else { members.len() };
    members.splice(place..place, new);
    node.value = Value::List(members);
    Ok(())
}

/// Takes it away, and the list or map around it when nothing else is in it.
fn remove(base: &mut Node, path: &[Step]) -> Result<(), Problem> {
    let (last, parent) = path.split_last().ok_or_else(lost)?;
    let node = at(base, parent).ok_or_else(lost)?;
    let empty = match (&mut node.value, last) {
        (Value::List(members), Step::Member(number)) if *number < members.len() => {
            members.remove(*number);
            members.is_empty()
        }
        (Value::Map(pairs), Step::Pair(number)) if *number < pairs.len() => {
            pairs.remove(*number);
            pairs.is_empty()
        }
        _ => return Err(lost()),
    };
    if empty && !parent.is_empty() {
        return remove(base, parent);
    }
    Ok(())
}
