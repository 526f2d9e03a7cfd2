//! One message, two outlines.

use std::collections::BTreeSet;

use super::outline::{Leaf, Outline, Resource, Text, Value};
use super::{Change, ElementDiff, ElementKey, MessageDiff, ResourceChange};

/// Longest list whose members are looked for in any place; of longer ones each is compared with that of its own place.
const LONGEST_MATCHED: usize = 300;

/// What differs between what an old and a new package make of one message. An error is what to call a failure, without
/// anything of the message.
pub fn compare(old: &Result<Outline, String>, new: &Result<Outline, String>) -> MessageDiff {
    let mut diff = MessageDiff::default();
    match (old, new) {
        (Ok(old), Ok(new)) => outlines(old, new, &mut diff),
        (Ok(_), Err(why)) => diff.resources.push((ResourceChange::Fails, why.clone())),
        (Err(why), Ok(_)) => diff.resources.push((ResourceChange::Converts, why.clone())),
        (Err(old), Err(new)) if old == new => {}
        (Err(old), Err(new)) => {
            let what = format!("{old}, now {new}");
            diff.resources.push((ResourceChange::Fails, what));
        }
    }
    diff
}

fn outlines(old: &Outline, new: &Outline, diff: &mut MessageDiff) {
    let pairs = pair_resources(&old.resources, &new.resources);
    let mut sides = Sides {
        old,
        new,
        pairs: &pairs,
        diff,
    };
    for (old_number, new_number) in &pairs {
        let pair = (
            old_number.and_then(|number| old.resources.get(number)),
            new_number.and_then(|number| new.resources.get(number)),
        );
        match pair {
            (Some(one), Some(other)) => sides.resource(one, other),
            (Some(one), None) => sides.one_resource(Change::Vanishes, one),
            (None, Some(one)) => sides.one_resource(Change::Appears, one),
            (None, None) => {}
        }
    }
    let only_in = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other).cloned().collect::<BTreeSet<_>>()
    };
    diff.newly_unmapped = only_in(&new.unmapped, &old.unmapped);
    diff.newly_mapped = only_in(&old.unmapped, &new.unmapped);
}

type Pair = (Option<usize>, Option<usize>);

/// Resources of one id are the same; what is left of a type is paired in its order.
fn pair_resources(old: &[Resource], new: &[Resource]) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut taken = vec![false; new.len()];
    let mut left = Vec::new();
    let mut find = |wanted: &dyn Fn(&Resource) -> bool| {
        let free = new
            .iter()
            .zip(&mut taken)
            .enumerate()
            .find(|(_, (one, taken))| !**taken && wanted(one));
        let (number, (_, taken)) = free?;
        *taken = true;
        Some(number)
    };
    for (number, one) in old.iter().enumerate() {
        match find(&|other| other.uuid == one.uuid) {
            Some(found) => pairs.push((Some(number), Some(found))),
            None => left.push((number, one)),
        }
    }
    for (number, one) in left {
        pairs.push((
            Some(number),
            find(&|other| other.type_name == one.type_name),
        ));
    }
    let rest = taken.iter().enumerate().filter(|(_, taken)| !**taken);
    pairs.extend(rest.map(|(number, _)| (None, Some(number))));
    pairs
}

struct Sides<'s> {
    old: &'s Outline,
    new: &'s Outline,
    pairs: &'s [Pair],
    diff: &'s mut MessageDiff,
}

/// Where an element is: with list positions, and without.
#[derive(Clone)]
struct At {
    place: String,
    path: String,
}

impl At {
    fn member(&self, name: &str) -> At {
        At {
            place: format!("{}.{name}", self.place),
            path: format!("{}.{name}", self.path),
        }
    }

    fn item(&self, number: usize) -> At {
        At {
            place: format!("{}[{number}]", self.place),
            path: format!("{}[]", self.path),
        }
    }
}

impl Sides<'_> {
    fn resource(&mut self, old: &Resource, new: &Resource) {
        let name = old.type_name;
        let mut note = |change, what: String| self.diff.resources.push((change, what));
        if old.uuid != new.uuid {
            note(ResourceChange::Identity, name.to_owned());
        } else if old.condition != new.condition {
            note(ResourceChange::Condition, name.to_owned());
        }
        if old.write != new.write {
            let what = format!("{name}: {}, now {}", old.write, new.write);
            note(ResourceChange::Write, what);
        }
        self.value(&root(old), &old.content, &new.content);
    }

    fn one_resource(&mut self, change: Change, one: &Resource) {
        let of_resource = match change {
            Change::Appears => ResourceChange::Appears,
            Change::Vanishes | Change::Changes => ResourceChange::Vanishes,
        };
        let name = one.type_name.to_owned();
        self.diff.resources.push((of_resource, name));
        self.all(change, &root(one), &one.content);
    }

    fn value(&mut self, at: &At, old: &Value, new: &Value) {
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => self.objects(at, old, new),
            (Value::Array(old), Value::Array(new)) => self.arrays(at, old, new),
            (Value::Leaf(old), Value::Leaf(new)) => {
                if !self.same_text(&old.text, &new.text) {
                    self.note(Change::Changes, at, Some(old), Some(new));
                }
            }
            (old, new) => {
                self.all(Change::Vanishes, at, old);
                self.all(Change::Appears, at, new);
            }
        }
    }

    fn objects(&mut self, at: &At, old: &[(String, Value)], new: &[(String, Value)]) {
        let find = |members: &[(String, Value)], name: &str| {
            members.iter().position(|(member, _)| member == name)
        };
        for (name, value) in old {
            let at = at.member(name);
            match find(new, name).and_then(|number| new.get(number)) {
                Some((_, other)) => self.value(&at, value, other),
                None => self.all(Change::Vanishes, &at, value),
            }
        }
        for (name, value) in new {
            if find(old, name).is_none() {
                self.all(Change::Appears, &at.member(name), value);
            }
        }
    }

    /// Equal members first, the others in their order.
    fn arrays(&mut self, at: &At, old: &[Value], new: &[Value]) {
        let mut taken = vec![false; new.len()];
        let mut left = Vec::new();
        let search = old.len().max(new.len()) <= LONGEST_MATCHED;
        for (number, value) in old.iter().enumerate() {
            let same = |position: &usize| {
                let free = taken.get(*position) == Some(&false);
                let other = new.get(*position);
                free && other.is_some_and(|other| self.same(value, other))
            };
            let found = if search {
                (0..new.len()).find(same)
            } else {
                Some(number).filter(same)
            };
            match found.and_then(|found| taken.get_mut(found)) {
                Some(taken) => *taken = true,
                None => left.push((number, value)),
            }
        }
        let mut rest = new
            .iter()
            .enumerate()
            .filter(|(position, _)| taken.get(*position) == Some(&false));
        let rest: Vec<(usize, &Value)> = rest.by_ref().collect();
        let mut rest = rest.into_iter();
        for (number, value) in left {
            match rest.next() {
                Some((_, other)) => self.value(&at.item(number), value, other),
                None => self.all(Change::Vanishes, &at.item(number), value),
            }
        }
        for (number, value) in rest {
            self.all(Change::Appears, &at.item(number), value);
        }
    }

    fn same(&self, old: &Value, new: &Value) -> bool {
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                old.len() == new.len()
                    && old
                        .iter()
                        .zip(new)
                        .all(|((name, a), (other, b))| name == other && self.same(a, b))
            }
            (Value::Array(old), Value::Array(new)) => {
                old.len() == new.len() && old.iter().zip(new).all(|(a, b)| self.same(a, b))
            }
            (Value::Leaf(old), Value::Leaf(new)) => self.same_text(&old.text, &new.text),
            _ => false,
        }
    }

    fn same_text(&self, old: &Text, new: &Text) -> bool {
        match (old, new) {
            (Text::Reference(old), Text::Reference(new)) => {
                self.pairs.contains(&(Some(*old), Some(*new)))
            }
            (old, new) => old == new,
        }
    }

    /// Every element of a part that only one side has.
    fn all(&mut self, change: Change, at: &At, value: &Value) {
        match value {
            Value::Object(members) => members
                .iter()
                .for_each(|(name, value)| self.all(change, &at.member(name), value)),
            Value::Array(members) => members
                .iter()
                .enumerate()
                .for_each(|(number, value)| self.all(change, &at.item(number), value)),
            Value::Leaf(leaf) => match change {
                Change::Appears => self.note(change, at, None, Some(leaf)),
                Change::Vanishes | Change::Changes => self.note(change, at, Some(leaf), None),
            },
        }
    }

    fn note(&mut self, change: Change, at: &At, old: Option<&Leaf>, new: Option<&Leaf>) {
        let rule = |leaf: Option<&Leaf>| leaf.map_or(String::new(), |leaf| leaf.rule.to_string());
        self.diff.elements.push(ElementDiff {
            key: ElementKey {
                old_rule: rule(old),
                new_rule: rule(new),
                change,
                path: at.path.clone(),
            },
            place: at.place.clone(),
            old: old.map(|leaf| shown(&leaf.text, &self.old.resources)),
            new: new.map(|leaf| shown(&leaf.text, &self.new.resources)),
        });
    }
}

fn root(resource: &Resource) -> At {
    At {
        place: resource.type_name.to_owned(),
        path: resource.type_name.to_owned(),
    }
}

fn shown(text: &Text, resources: &[Resource]) -> String {
    match text {
        Text::Text(text) => text.clone(),
        Text::Reference(number) => resources.get(*number).map_or(String::new(), |target| {
            format!("{}/{}", target.type_name, target.uuid)
        }),
    }
}
