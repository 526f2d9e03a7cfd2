//! Puts an [`Explanation`] together: the elements of the Bundle first, then what that says about each field.

use std::collections::{BTreeMap, HashMap};

use fhir::bundle::{BundleKind, entry_order};
use fhir::tree::{Kind, NodeId, Tree};
use hl7v2::structure::GroupTree;
use hl7v2::{Message, Node, Place, Segment};
use serde_json::Value;
use serde_json::value::RawValue;

use super::fate::{Facts, judge, of_block};
use super::sources::{Source, Sources};
use super::{
    Counts, ElementKind, ExplainedElement, ExplainedField, ExplainedResource, ExplainedSegment,
    Explanation, Fate, Piece, Reason, ReasonCode, VERSION, names,
};
use crate::engine::trace::Trace;
use crate::engine::why::LineOutcome;
use crate::engine::{Conversion, Disposition};
use crate::package::Package;
use crate::plan::WriteMode;

/// What there is to build from.
pub(super) struct Input<'i> {
    pub package: &'i Package,
    pub message: &'i Message<'i>,
    pub conversion: &'i Conversion<'i>,
    pub groups: &'i GroupTree,
    pub trace: &'i Trace,
    pub kind: BundleKind,
    pub bundle: &'i [u8],
}

/// Rules by their text, numbered as they are met.
pub(super) struct Rules<'i> {
    package: &'i Package,
    texts: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl<'i> Rules<'i> {
    /// The number of a rule; none for what no rule made.
    pub fn number(&mut self, origin: u32) -> Option<usize> {
        let text = self.package.rule(origin);
        (!text.is_empty()).then(|| self.of_text(&text))
    }

    pub fn of_text(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len();
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

/// A value of the tree on its way into the Bundle.
struct Leaf {
    node: NodeId,
    /// The object it is in.
    parent: NodeId,
    resource: usize,
    pointer: String,
    path: String,
}

pub(super) fn build(input: &Input<'_>) -> Explanation {
    let conversion = input.conversion;
    let mut rules = Rules {
        package: input.package,
        texts: Vec::new(),
        numbers: HashMap::new(),
    };
    let (mut segments, mut fields, field_of) = read(input.message, input.groups);
    let leaves = tree_leaves(input);
    let message_texts: BTreeMap<usize, String> = field_of
        .iter()
        .filter_map(|(leaf, field)| Some((*leaf, fields.get(*field)?.value.clone())))
        .collect();
    let nodes: Vec<(NodeId, NodeId)> = leaves.iter().map(|leaf| (leaf.node, leaf.parent)).collect();
    let text_of = |leaf: usize| message_texts.get(&leaf).cloned().unwrap_or_default();
    let sources = Sources::new(conversion.tree(), input.trace, &nodes, &text_of);
    let resources = resources(input, &mut rules, &field_of);
    let elements = elements(input, &mut rules, &sources, &leaves, &resources, &field_of);
    tell_fields(&mut fields, &elements, &resources);
    let facts = Facts::new(input, &sources, &field_of);
    let mut counts = Counts {
        fields: fields.len(),
        resources: resources.len(),
        ..Counts::default()
    };
    for (number, field) in fields.iter_mut().enumerate() {
        judge(field, number, &facts, &mut rules);
        let count = match field.fate {
            Fate::Mapped => &mut counts.mapped,
            Fate::Used => &mut counts.used,
            Fate::Ignored => &mut counts.ignored,
            Fate::Deleted => &mut counts.deleted,
            Fate::Dropped => &mut counts.dropped,
        };
        *count += 1;
    }
    for element in &elements {
        match element.kind {
            ElementKind::Field => counts.from_fields += 1,
            ElementKind::Constant => counts.constants += 1,
            ElementKind::Reference | ElementKind::Generated => counts.generated += 1,
            ElementKind::Bundle => {}
        }
    }
    lines(input, &mut rules, &mut segments);
    let bundle = String::from_utf8_lossy(input.bundle).into_owned();
    Explanation {
        explain: VERSION,
        structure: input.groups.structure().to_owned(),
        message_map: conversion.report().message_map.clone(),
        fallback: conversion.report().fallback,
        park: conversion.disposition() == Disposition::Park,
        counts,
        rules: rules.texts,
        segments,
        fields,
        resources,
        elements,
        report: conversion.report().clone(),
        // What the writer of Bundles writes is JSON.
        bundle: RawValue::from_string(bundle).unwrap_or_default(),
    }
}

// === the message ===

type Fields = (
    Vec<ExplainedSegment>,
    Vec<ExplainedField>,
    BTreeMap<usize, usize>,
);

/// The segments, the populated fields, and the number of the field of each leaf.
fn read(message: &Message<'_>, groups: &GroupTree) -> Fields {
    let (mut segments, mut fields, mut field_of) = (Vec::new(), Vec::new(), BTreeMap::new());
    let version = message.version();
    let text = |bytes: &[u8]| message.charset().decode(bytes).0.into_owned();
    for segment in message.segments() {
        let raw = segment.raw();
        let mut pieces = Vec::new();
        let mut end = 0;
        for (leaf, place) in segment.leaf_places() {
            let node = part(segment, &place);
            if !node.is_present() {
                continue;
            }
            let start = node.offset().saturating_sub(segment.offset());
            let bytes = node.raw();
            push_text(&mut pieces, text(raw.get(end..start).unwrap_or_default()));
            end = start + bytes.len();
            let (value, as_is) = (node.text().into_owned(), text(bytes));
            pieces.push(Piece::Field(fields.len()));
            field_of.insert(leaf, fields.len());
            let short = short_place(segment, &place);
            fields.push(ExplainedField {
                place: short.to_string(),
                name: names::field(version, segment, &short),
                raw: (as_is != value).then_some(as_is),
                value,
                fate: Fate::Dropped,
                elements: Vec::new(),
                decides: Vec::new(),
                identifies: Vec::new(),
                reasons: Vec::new(),
            });
        }
        push_text(&mut pieces, text(raw.get(end..).unwrap_or_default()));
        segments.push(ExplainedSegment {
            place: segment.place().to_string(),
            name: names::segment(version, segment.name()),
            group: groups.path(groups.group_of(segment.index())),
            pieces,
            lines: Vec::new(),
        });
    }
    (segments, fields, field_of)
}

/// The part of a segment that a place names.
fn part<'m>(segment: Segment<'m>, place: &Place) -> Node<'m> {
    let number = |number: Option<u32>| number.unwrap_or(1) as usize;
    segment
        .field(number(place.field))
        .repetition(number(place.repetition))
        .child(number(place.component))
        .child(number(place.subcomponent))
}

fn push_text(pieces: &mut Vec<Piece>, text: String) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
}

/// The place without the levels that have only one part: a whole PID-8 instead of its first subcomponent.
fn short_place(segment: Segment<'_>, place: &Place) -> Place {
    let mut short = *place;
    let number = |number: Option<u32>| number.unwrap_or(1) as usize;
    let field = segment.field(number(place.field));
    let repetition = field.repetition(number(place.repetition));
    let component = repetition.child(number(place.component));
    if component.child_count() <= 1 {
        short.subcomponent = None;
        if repetition.child_count() <= 1 {
            short.component = None;
        }
    }
    short
}

/// What the lines of the message map made of the segments.
fn lines(input: &Input<'_>, rules: &mut Rules<'_>, segments: &mut [ExplainedSegment]) {
    for note in &input.trace.why.lines {
        let rule = rules.number(note.origin);
        let told = match note.outcome {
            LineOutcome::Applied => (ReasonCode::Applied, "applied".to_owned()),
            LineOutcome::NoTarget => (
                ReasonCode::NoTarget,
                "adds to a resource that the message does not have".to_owned(),
            ),
            LineOutcome::Blocked(block) => match input.trace.why.blocks.get(block) {
                Some(block) => {
                    let reason = of_block(block, rules);
                    (reason.code, reason.text)
                }
                None => continue,
            },
        };
        let (code, text) = told;
        if let Some(segment) = segments.get_mut(note.segment) {
            segment.lines.push(Reason { code, text, rule });
        }
    }
    for issue in &input.conversion.report().issues {
        let index = issue.place.map(|place| place.segment_index as usize);
        let segment = index.and_then(|index| segments.get_mut(index));
        if let (crate::ReportCode::MisplacedSegment, Some(segment)) = (issue.code, segment) {
            segment.lines.push(Reason {
                code: ReasonCode::Misplaced,
                text: "stands where its structure has no place for it".to_owned(),
                rule: None,
            });
        }
    }
    for segment in segments.iter_mut().filter(|one| one.lines.is_empty()) {
        segment.lines.push(Reason {
            code: ReasonCode::NoLine,
            text: "no line of the message map takes it".to_owned(),
            rule: None,
        });
    }
}

// === the Bundle ===

fn resources(
    input: &Input<'_>,
    rules: &mut Rules<'_>,
    field_of: &BTreeMap<usize, usize>,
) -> Vec<ExplainedResource> {
    let made = input.conversion.made();
    let resource = |number: usize| {
        let made = made.get(number)?;
        let keys = || {
            let of = |key: &&crate::engine::trace::Keyed| key.resource as usize == number;
            input.trace.keys.iter().filter(of)
        };
        let mut key: Vec<usize> = keys()
            .flat_map(|key| &key.leaves)
            .filter_map(|leaf| field_of.get(leaf).copied())
            .collect();
        key.sort_unstable();
        key.dedup();
        Some(ExplainedResource {
            type_name: made.type_name,
            label: String::new(),
            id: made.uuid.hyphenated().to_string(),
            write: match made.write {
                WriteMode::Update => "update",
                WriteMode::Create => "create",
            },
            rule: keys().next().and_then(|key| rules.number(key.origin)),
            key,
        })
    };
    let mut found: Vec<ExplainedResource> = order(input).into_iter().filter_map(resource).collect();
    let types: Vec<&str> = found.iter().map(|one| one.type_name).collect();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for resource in &mut found {
        let number = seen.entry(resource.type_name).or_default();
        *number += 1;
        let several = types
            .iter()
            .filter(|one| **one == resource.type_name)
            .nth(1);
        resource.label = match several {
            Some(_) => format!("{}({number})", resource.type_name),
            None => resource.type_name.to_owned(),
        };
    }
    found
}

fn order(input: &Input<'_>) -> Vec<usize> {
    let conversion = input.conversion;
    entry_order(conversion.tree(), &conversion.entries(), input.kind)
}

/// The nodes with a value, in the order of the Bundle.
fn tree_leaves(input: &Input<'_>) -> Vec<Leaf> {
    let (tree, made) = (input.conversion.tree(), input.conversion.made());
    let mut leaves = Vec::new();
    for (position, number) in order(input).into_iter().enumerate() {
        let Some(made) = made.get(number) else {
            continue;
        };
        let mut walk = Walk {
            tree,
            resource: position,
            leaves: &mut leaves,
        };
        let pointer = format!("/entry/{position}/resource");
        walk.object(made.node, &pointer, made.type_name);
    }
    leaves
}

struct Walk<'w> {
    tree: &'w Tree,
    resource: usize,
    leaves: &'w mut Vec<Leaf>,
}

impl Walk<'_> {
    fn object(&mut self, node: NodeId, pointer: &str, path: &str) {
        for (name, child) in self.tree.children(node) {
            let name_text = self.tree.name_text(name);
            let pointer = format!("{pointer}/{name_text}");
            let path = format!("{path}.{name_text}");
            let bare = name == fhir::NameId::REFERENCE;
            self.value(child, node, pointer, path, bare);
        }
    }

    fn value(
        &mut self,
        node: NodeId,
        parent: NodeId,
        mut pointer: String,
        mut path: String,
        bare: bool,
    ) {
        if self.tree.is_empty(node) {
            return;
        }
        match self.tree.kind(node) {
            Kind::Object => return self.object(node, &pointer, &path),
            Kind::Array => {
                // As the writer: what is empty is not there, and a hole is.
                let written = |child: &NodeId| {
                    self.tree.kind(*child) == Kind::Null || !self.tree.is_empty(*child)
                };
                let children: Vec<NodeId> = self
                    .tree
                    .children(node)
                    .map(|(_, child)| child)
                    .filter(written)
                    .collect();
                for (number, child) in children.into_iter().enumerate() {
                    self.value(
                        child,
                        parent,
                        format!("{pointer}/{number}"),
                        format!("{path}[{number}]"),
                        bare,
                    );
                }
                return;
            }
            Kind::Reference(_) if !bare => {
                pointer.push_str("/reference");
                path.push_str(".reference");
            }
            _ => {}
        }
        self.leaves.push(Leaf {
            node,
            parent,
            resource: self.resource,
            pointer,
            path,
        });
    }
}

fn elements(
    input: &Input<'_>,
    rules: &mut Rules<'_>,
    sources: &Sources<'_>,
    leaves: &[Leaf],
    resources: &[ExplainedResource],
    field_of: &BTreeMap<usize, usize>,
) -> Vec<ExplainedElement> {
    let by_pointer: HashMap<&str, &Leaf> = leaves
        .iter()
        .map(|leaf| (leaf.pointer.as_str(), leaf))
        .collect();
    let mut elements = Vec::new();
    let bundle: Value = serde_json::from_slice(input.bundle).unwrap_or_default();
    let mut values = Vec::new();
    scalars(&bundle, &mut String::new(), &mut values);
    for (pointer, value) in values {
        let mut value = value;
        let element = match by_pointer.get(pointer.as_str()) {
            Some(leaf) => {
                let tree = input.conversion.tree();
                if tree.kind(leaf.node) == Kind::Number {
                    // With all its digits.
                    tree.text(leaf.node).clone_into(&mut value);
                }
                of_tree(input, rules, sources, leaf, resources, field_of)
            }
            None => of_writer(&pointer, resources),
        };
        elements.push(ExplainedElement {
            pointer,
            value,
            ..element
        });
    }
    elements
}

/// Every text, number and boolean of a document.
fn scalars(value: &Value, pointer: &mut String, found: &mut Vec<(String, String)>) {
    let start = pointer.len();
    let mut inside = |name: &str, value: &Value, found: &mut Vec<(String, String)>| {
        pointer.push('/');
        pointer.push_str(name);
        scalars(value, pointer, found);
        pointer.truncate(start);
    };
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| inside(name, value, found)),
        Value::Array(members) => members
            .iter()
            .enumerate()
            .for_each(|(number, value)| inside(&number.to_string(), value, found)),
        Value::Null => {}
        Value::String(text) => found.push((pointer.clone(), text.clone())),
        other => found.push((pointer.clone(), other.to_string())),
    }
}

fn of_tree(
    input: &Input<'_>,
    rules: &mut Rules<'_>,
    sources: &Sources<'_>,
    leaf: &Leaf,
    resources: &[ExplainedResource],
    field_of: &BTreeMap<usize, usize>,
) -> ExplainedElement {
    let tree = input.conversion.tree();
    let origin = tree.origin(leaf.node);
    let resource = resources.get(leaf.resource);
    let Source {
        origins,
        leaves,
        decided,
    } = sources.of(leaf.node, origin);
    let numbers = |leaves: std::collections::BTreeSet<usize>| -> Vec<usize> {
        leaves
            .iter()
            .filter_map(|leaf| field_of.get(leaf).copied())
            .collect()
    };
    let mut fields = numbers(leaves);
    let kind = match tree.kind(leaf.node) {
        Kind::Reference(_) | Kind::Address(_) => ElementKind::Reference,
        _ if leaf.pointer.ends_with("/resource/resourceType") => {
            fields.clear();
            ElementKind::Constant
        }
        _ if origin == 0 => {
            fields = resource
                .map(|resource| resource.key.clone())
                .unwrap_or_default();
            ElementKind::Generated
        }
        _ if fields.is_empty() => ElementKind::Constant,
        _ => ElementKind::Field,
    };
    let mut chain: Vec<usize> = origins
        .into_iter()
        .filter_map(|origin| rules.number(origin))
        .collect();
    if origin == 0
        && let Some(rule) = resource.and_then(|resource| resource.rule)
    {
        chain = vec![rule];
    }
    ExplainedElement {
        pointer: String::new(),
        path: leaf.path.clone(),
        value: String::new(),
        resource: Some(leaf.resource),
        kind,
        rules: chain,
        fields,
        decided: numbers(decided),
    }
}

/// What the writer of the Bundle adds: the frame, and what names a resource or asks for it.
fn of_writer(pointer: &str, resources: &[ExplainedResource]) -> ExplainedElement {
    let number = pointer
        .strip_prefix("/entry/")
        .and_then(|rest| rest.split('/').next()?.parse::<usize>().ok());
    let resource = number.and_then(|number| resources.get(number));
    let constant = pointer.ends_with("/method") || pointer.ends_with("/ifNoneMatch");
    let mut path = "Bundle".to_owned();
    for part in pointer.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(number) => path.push_str(&format!("[{number}]")),
            Err(_) => {
                path.push('.');
                path.push_str(part);
            }
        }
    }
    ExplainedElement {
        pointer: String::new(),
        path,
        value: String::new(),
        resource: number,
        kind: match resource {
            None => ElementKind::Bundle,
            Some(_) if constant => ElementKind::Constant,
            Some(_) => ElementKind::Generated,
        },
        rules: resource
            .and_then(|resource| resource.rule)
            .into_iter()
            .collect(),
        fields: resource
            .filter(|_| !constant)
            .map(|resource| resource.key.clone())
            .unwrap_or_default(),
        decided: Vec::new(),
    }
}

/// The other way round: what each field became.
fn tell_fields(
    fields: &mut [ExplainedField],
    elements: &[ExplainedElement],
    resources: &[ExplainedResource],
) {
    for (number, element) in elements.iter().enumerate() {
        let made_of = match element.kind {
            ElementKind::Field | ElementKind::Reference => element.fields.as_slice(),
            _ => &[],
        };
        for field in made_of {
            if let Some(field) = fields.get_mut(*field) {
                field.elements.push(number);
            }
        }
        for field in &element.decided {
            if let Some(field) = fields.get_mut(*field) {
                field.decides.push(number);
            }
        }
    }
    for (number, resource) in resources.iter().enumerate() {
        for field in &resource.key {
            if let Some(field) = fields.get_mut(*field) {
                field.identifies.push(number);
            }
        }
    }
}
