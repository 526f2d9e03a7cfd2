//! What another package makes of the same messages: elements that appear, vanish or change, grouped by the rules that make
//! them; resources with another id; fields that are mapped now, or no longer.
//!
//! A rule that only moved to another line is no change. Lists are compared member by member, equal ones first, so that one
//! more identifier at the front does not change all that follow.

mod compare;
mod outline;
mod render;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use compare::compare;
pub use outline::Outline;
pub use render::{DiffOptions, markdown, text};

/// What differs for one message.
#[derive(Debug, Default)]
pub struct MessageDiff {
    pub(crate) elements: Vec<ElementDiff>,
    pub(crate) resources: Vec<(ResourceChange, String)>,
    pub(crate) newly_unmapped: BTreeSet<String>,
    pub(crate) newly_mapped: BTreeSet<String>,
}

/// One element that differs. Holds values of the message: no `Debug` of them.
pub(crate) struct ElementDiff {
    pub key: ElementKey,
    /// With list positions.
    pub place: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

/// What element diffs are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ElementKey {
    pub old_rule: String,
    pub new_rule: String,
    pub change: Change,
    /// Without list positions.
    pub path: String,
}

/// What happened to an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Only the new package makes it.
    Appears,
    /// Only the old package makes it.
    Vanishes,
    /// Both make it, with different values.
    Changes,
}

/// What happened to resources, or to the whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceChange {
    /// Only the new package makes it.
    Appears,
    /// Only the old package makes it.
    Vanishes,
    /// The same resource has another id: a server will not know that it is the same.
    Identity,
    /// It is written in another way.
    Write,
    /// The conditional write asks for another identifier.
    Condition,
    /// The message can no longer be converted.
    Fails,
    /// The message can be converted now.
    Converts,
}

/// What differs for many messages.
#[derive(Debug, Default, Serialize)]
pub struct DiffReport {
    /// How many messages were compared.
    pub messages: usize,
    /// How many of them differ.
    pub changed: usize,
    /// Differences of elements, by rule.
    pub rules: Vec<RuleDiff>,
    /// Differences of whole resources and messages.
    pub resources: Vec<ResourceDiff>,
    /// Fields that the new package leaves over, without list positions.
    pub newly_unmapped: Vec<FieldDiff>,
    /// Fields that only the old package leaves over.
    pub newly_mapped: Vec<FieldDiff>,
}

/// Elements that one rule, or a pair of an old and a new rule, makes otherwise.
#[derive(Debug, Serialize)]
pub struct RuleDiff {
    /// The old package's rule, `file:line`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The new package's rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// In how many messages.
    pub messages: usize,
    /// The elements.
    pub elements: Vec<PathDiff>,
}

/// An element that differs in some messages.
#[derive(Debug, Serialize)]
pub struct PathDiff {
    /// Such as `Patient.name[].family`.
    pub path: String,
    /// What happened to it.
    pub change: Change,
    /// In how many messages.
    pub messages: usize,
    /// How often.
    pub count: usize,
    /// Some of them.
    pub examples: Vec<Example>,
}

/// One place where an element differs.
#[derive(Serialize)]
pub struct Example {
    /// The message, as it was named to [`DiffBuilder::add`].
    pub message: String,
    /// The element with list positions.
    pub place: String,
    /// The old value; only where values were asked for, and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The new value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// Resources, or messages, that something happened to.
#[derive(Debug, Serialize)]
pub struct ResourceDiff {
    /// What.
    pub change: ResourceChange,
    /// Which: a type, a type with its write modes, or an error.
    pub what: String,
    /// In how many messages.
    pub messages: usize,
    /// How often.
    pub count: usize,
    /// Some of the messages.
    pub examples: Vec<String>,
}

/// A field that is mapped now, or no longer.
#[derive(Debug, Serialize)]
pub struct FieldDiff {
    /// Such as `PID-13.2`.
    pub field: String,
    /// In how many messages.
    pub messages: usize,
    /// Some of them.
    pub examples: Vec<String>,
}

/// Collects the differences of many messages.
pub struct DiffBuilder {
    examples: usize,
    values: bool,
    messages: usize,
    changed: usize,
    elements: BTreeMap<ElementKey, Tally<Example>>,
    resources: BTreeMap<(ResourceChange, String), Tally<String>>,
    unmapped: BTreeMap<String, Tally<String>>,
    mapped: BTreeMap<String, Tally<String>>,
}

struct Tally<E> {
    messages: usize,
    count: usize,
    last: usize,
    examples: Vec<E>,
}

// === impl MessageDiff ===

impl MessageDiff {
    /// Whether both packages make the same of the message.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
            && self.resources.is_empty()
            && self.newly_unmapped.is_empty()
            && self.newly_mapped.is_empty()
    }
}

impl std::fmt::Debug for ElementDiff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.key.change, self.place)
    }
}

impl std::fmt::Debug for Example {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.message, self.place)
    }
}

// === impl DiffBuilder ===

impl DiffBuilder {
    /// `examples` of each difference are kept; with `values` they hold what stands in the elements, which may be patient data.
    pub fn new(examples: usize, values: bool) -> DiffBuilder {
        DiffBuilder {
            examples,
            values,
            messages: 0,
            changed: 0,
            elements: BTreeMap::new(),
            resources: BTreeMap::new(),
            unmapped: BTreeMap::new(),
            mapped: BTreeMap::new(),
        }
    }

    /// Adds a message, by the name that examples give it.
    pub fn add(&mut self, message: &str, diff: MessageDiff) {
        self.messages += 1;
        self.changed += usize::from(!diff.is_empty());
        let (now, most, values) = (self.messages, self.examples, self.values);
        for one in diff.elements {
            let tally = self.elements.entry(one.key).or_default();
            tally.add(now, most, || Example {
                message: message.to_owned(),
                place: one.place,
                old: one.old.filter(|_| values),
                new: one.new.filter(|_| values),
            });
        }
        for key in diff.resources {
            let tally = self.resources.entry(key).or_default();
            tally.add(now, most, || message.to_owned());
        }
        let fields = [
            (&mut self.unmapped, diff.newly_unmapped),
            (&mut self.mapped, diff.newly_mapped),
        ];
        for (tallies, fields) in fields {
            for field in fields {
                let tally = tallies.entry(field).or_default();
                tally.add(now, most, || message.to_owned());
            }
        }
    }

    /// What was collected, the most frequent first.
    pub fn finish(self) -> DiffReport {
        let fields = |tallies: BTreeMap<String, Tally<String>>| {
            let mut found: Vec<FieldDiff> = tallies
                .into_iter()
                .map(|(field, tally)| FieldDiff {
                    field,
                    messages: tally.messages,
                    examples: tally.examples,
                })
                .collect();
            found.sort_by_key(|one| std::cmp::Reverse(one.messages));
            found
        };
        let mut resources: Vec<ResourceDiff> = self
            .resources
            .into_iter()
            .map(|((change, what), tally)| ResourceDiff {
                change,
                what,
                messages: tally.messages,
                count: tally.count,
                examples: tally.examples,
            })
            .collect();
        resources.sort_by_key(|one| std::cmp::Reverse(one.messages));
        DiffReport {
            messages: self.messages,
            changed: self.changed,
            rules: by_rule(self.elements),
            resources,
            newly_unmapped: fields(self.unmapped),
            newly_mapped: fields(self.mapped),
        }
    }
}

fn by_rule(elements: BTreeMap<ElementKey, Tally<Example>>) -> Vec<RuleDiff> {
    let some = |rule: &str| (!rule.is_empty()).then(|| rule.to_owned());
    let mut rules: Vec<RuleDiff> = Vec::new();
    // Keys are sorted by their rules.
    for (key, tally) in elements {
        let (old, new) = (some(&key.old_rule), some(&key.new_rule));
        let path = PathDiff {
            path: key.path,
            change: key.change,
            messages: tally.messages,
            count: tally.count,
            examples: tally.examples,
        };
        match rules.last_mut() {
            Some(rule) if rule.old == old && rule.new == new => {
                rule.messages = rule.messages.max(path.messages);
                rule.elements.push(path);
            }
            _ => rules.push(RuleDiff {
                old,
                new,
                messages: path.messages,
                elements: vec![path],
            }),
        }
    }
    for rule in &mut rules {
        rule.elements
            .sort_by_key(|one| std::cmp::Reverse(one.messages));
    }
    rules.sort_by_key(|one| std::cmp::Reverse(one.messages));
    rules
}

// === impl DiffReport ===

impl DiffReport {
    /// Whether both packages make the same of all messages.
    pub fn is_empty(&self) -> bool {
        self.changed == 0
    }
}

// === impl Tally ===

impl<E> Default for Tally<E> {
    fn default() -> Self {
        Tally {
            messages: 0,
            count: 0,
            last: 0,
            examples: Vec::new(),
        }
    }
}

impl<E> Tally<E> {
    /// Counts one more in message number `now`; examples are of different messages.
    fn add(&mut self, now: usize, most: usize, example: impl FnOnce() -> E) {
        self.count += 1;
        if self.last == now {
            return;
        }
        self.last = now;
        self.messages += 1;
        if self.examples.len() < most {
            self.examples.push(example());
        }
    }
}
