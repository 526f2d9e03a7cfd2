//! The same practitioner or laboratory stands in every OBX of a report. What a rule makes of the same bytes is made once
//! a message: later it is only found again.
//!
//! A rule's inputs are all places it reads, through every map it uses, and the resources it refers to by name. Equal
//! inputs give the same resource, and take the same parts of the message.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use hl7v2::{Node, Place};

use super::access::Here;
use super::trace::StepId;
use super::unmapped::Ignored;
use super::{Run, Spread};
use crate::plan::{
    Access, Argument, Body, BoundId, Call, Condition, Field, Helper, Identity, Makes, OriginId,
    Part, Piece, Plan, Root, Rule, Select, Template, Test,
};
use crate::report::{CodeMiss, ReportIssue};

/// What a rule depends on.
#[derive(Default, Debug)]
pub(crate) struct Inputs {
    pub accesses: Vec<Access>,
    bound: Vec<BoundId>,
    /// Reads the value being mapped where the rule stands.
    pub current: bool,
    /// Takes a reference range apart.
    pub ranges: bool,
    /// Makes a resource.
    makes: bool,
    /// Gives another result each time, or one of the message itself.
    unsteady: bool,
}

/// Deepest nesting that is followed; deeper rules are not remembered.
const MAX_DEPTH: u8 = 24;

/// How far back the report is searched for what it says already.
const LATEST: usize = 32;

/// Inputs by rule, kept from message to message.
pub(crate) type Known = HashMap<OriginId, Arc<Inputs>, Spread>;

/// What was made in this message.
#[derive(Default)]
pub(crate) struct Memo {
    made: HashMap<(OriginId, u64), Vec<Remembered>, Spread>,
}

struct Remembered {
    parts: Vec<Span>,
    resource: Option<u32>,
    /// The steps that made it.
    steps: Range<StepId>,
    /// What was left out on purpose while it was made.
    ignored: Vec<Ignored>,
    /// What was told while it was made; nothing of most.
    told: Option<Box<Told>>,
}

/// What the report says of a place holds wherever the same bytes stand.
struct Told {
    places: Vec<Option<Place>>,
    issues: Vec<ReportIssue>,
    code_misses: Vec<CodeMiss>,
    deleted: Vec<Place>,
}

/// A place in the message: bytes and leaves.
#[derive(Clone, Copy)]
struct Span {
    offset: usize,
    length: usize,
    leaf: usize,
    leaves: usize,
}

impl Memo {
    pub fn clear(&mut self) {
        self.made.clear();
    }
}

impl<'r> Run<'r> {
    /// The resource that a rule makes, or made before of the same bytes.
    pub(crate) fn remembered(
        &mut self,
        rule: &'r Rule,
        here: &Here<'r>,
        make: impl FnOnce(&mut Self) -> Option<u32>,
    ) -> Option<u32> {
        let plan = self.plan;
        let inputs = Arc::clone(
            self.state
                .known
                .entry(rule.origin)
                .or_insert_with(|| Arc::new(Inputs::of(plan, rule))),
        );
        if inputs.unsteady {
            return make(self);
        }
        let mut parts = Vec::with_capacity(inputs.accesses.len() + 1);
        let mut hasher = Spread::default();
        let own = (inputs.current || !matches!(rule.select, Select::Here)).then_some(here.current);
        let nodes = inputs
            .accesses
            .iter()
            .map(|access| self.node(*access, here));
        for node in own.into_iter().chain(nodes) {
            let span = node.map_or(
                Span {
                    offset: 0,
                    length: 0,
                    leaf: 0,
                    leaves: 0,
                },
                span,
            );
            hasher.write(self.bytes(span));
            parts.push(span);
        }
        for name in &inputs.bound {
            self.bound(*name).hash(&mut hasher);
        }
        let key = (rule.origin, hasher.finish());
        let found = self.state.memo.made.get(&key).and_then(|known| {
            let same = |known: &&Remembered| {
                let pairs = known.parts.iter().zip(&parts);
                known.parts.len() == parts.len()
                    && pairs
                        .into_iter()
                        .all(|(a, b)| self.bytes(*a) == self.bytes(*b))
            };
            known.iter().enumerate().find(|(_, known)| same(known))
        });
        if let Some((number, known)) = found {
            let (resource, again) = (known.resource, known.told.is_some());
            let steps = known.steps.clone();
            let moved: Vec<(Span, Span)> = known.parts.iter().copied().zip(parts).collect();
            for one in &known.ignored {
                let at = |(from, to): &(Span, Span)| from.moved(&one.leaves, *to);
                if let Some(leaves) = moved.iter().find_map(at) {
                    let why = one.why;
                    self.state.ignored.push(Ignored { leaves, why });
                }
            }
            for (from, to) in moved {
                self.take_as(from, to);
                if !steps.is_empty() {
                    self.trace_copies(steps.clone(), from.range(), to.range());
                }
            }
            if again {
                self.tell_again(key, number, &inputs, own, here);
            }
            return resource;
        }
        let first = self.trace_steps();
        let (ignored_before, told_before) = (self.state.ignored.len(), self.report_lengths());
        let resource = make(self);
        let steps = first..self.trace_steps();
        let ignored = self.state.ignored.get(ignored_before..).unwrap_or_default();
        let ignored = ignored.to_vec();
        let told = (self.report_lengths() != told_before)
            .then(|| Box::new(self.told_since(told_before, self.places(&inputs, own, here))));
        let remembered = Remembered {
            parts,
            resource,
            steps,
            ignored,
            told,
        };
        self.state
            .memo
            .made
            .entry(key)
            .or_default()
            .push(remembered);
        resource
    }

    /// Where the inputs of a rule stand.
    fn places(
        &self,
        inputs: &Inputs,
        own: Option<Option<Node<'r>>>,
        here: &Here<'r>,
    ) -> Vec<Option<Place>> {
        let nodes = inputs
            .accesses
            .iter()
            .map(|access| self.node(*access, here));
        let nodes = own.into_iter().chain(nodes);
        nodes.map(|node| node.map(|node| node.place())).collect()
    }

    /// How much the report says so far.
    fn report_lengths(&self) -> [usize; 3] {
        let report = &self.state.report;
        [
            report.issues.len(),
            report.code_misses.len(),
            report.deleted.len(),
        ]
    }

    #[cold]
    fn told_since(
        &self,
        [issues, misses, deleted]: [usize; 3],
        places: Vec<Option<Place>>,
    ) -> Told {
        let report = &self.state.report;
        Told {
            places,
            issues: report.issues.iter().skip(issues).cloned().collect(),
            code_misses: report.code_misses.iter().skip(misses).cloned().collect(),
            deleted: report.deleted.iter().skip(deleted).copied().collect(),
        }
    }

    /// Says of these places what was said of those where it was made.
    #[cold]
    fn tell_again(
        &mut self,
        key: (OriginId, u64),
        number: usize,
        inputs: &Inputs,
        own: Option<Option<Node<'r>>>,
        here: &Here<'r>,
    ) {
        let places = self.places(inputs, own, here);
        let state = &mut *self.state;
        let known = state.memo.made.get(&key).and_then(|all| all.get(number));
        let Some(told) = known.and_then(|known| known.told.as_deref()) else {
            return;
        };
        let moved = |place: Place| {
            let pairs = told.places.iter().zip(&places);
            let mut found = pairs.filter_map(|(from, to)| moved(place, (*from)?, (*to)?));
            found.next().unwrap_or(place)
        };
        let report = &mut state.report;
        // Twice the same place would say nothing more.
        for issue in &told.issues {
            let issue = ReportIssue {
                place: issue.place.map(moved),
                ..issue.clone()
            };
            if !report
                .issues
                .iter()
                .rev()
                .take(LATEST)
                .any(|known| *known == issue)
            {
                report.issues.push(issue);
            }
        }
        for miss in &told.code_misses {
            let miss = CodeMiss {
                place: moved(miss.place),
                ..miss.clone()
            };
            if !report
                .code_misses
                .iter()
                .rev()
                .take(LATEST)
                .any(|known| *known == miss)
            {
                report.code_misses.push(miss);
            }
        }
        for place in &told.deleted {
            let place = moved(*place);
            if !report
                .deleted
                .iter()
                .rev()
                .take(LATEST)
                .any(|known| *known == place)
            {
                report.deleted.push(place);
            }
        }
    }

    fn bytes(&self, span: Span) -> &'r [u8] {
        let range = span.offset..span.offset + span.length;
        self.message.bytes().get(range).unwrap_or_default()
    }

    /// Takes of one place what was taken of another with the same bytes.
    fn take_as(&mut self, from: Span, to: Span) {
        for number in 0..from.leaves.min(to.leaves) {
            if self.is_taken(from.leaf + number) {
                let leaf = to.leaf + number;
                self.take(leaf..leaf + 1);
            }
        }
    }
}

/// The same part of another place; `None` when the place is no part of `from`.
fn moved(place: Place, from: Place, to: Place) -> Option<Place> {
    let within = |outer: Option<u32>, inner: Option<u32>| outer.is_none() || outer == inner;
    let inside = (place.segment, place.segment_index) == (from.segment, from.segment_index)
        && within(from.field, place.field)
        && within(from.repetition, place.repetition)
        && within(from.component, place.component)
        && within(from.subcomponent, place.subcomponent);
    inside.then(|| Place {
        field: to.field.or(place.field),
        repetition: to.repetition.or(place.repetition),
        component: to.component.or(place.component),
        subcomponent: to.subcomponent.or(place.subcomponent),
        ..to
    })
}

fn span(node: Node<'_>) -> Span {
    let leaves = node.leaves();
    Span {
        offset: node.offset(),
        length: node.raw().len(),
        leaf: leaves.start,
        leaves: leaves.len(),
    }
}

impl Span {
    /// The same leaves in a span of equal bytes; `None` when they are not in this one.
    fn moved(self, leaves: &Range<usize>, to: Span) -> Option<Range<usize>> {
        let (start, end) = (self.leaf, self.leaf + self.leaves);
        let inside = leaves.start >= start && leaves.end <= end;
        inside.then(|| leaves.start - start + to.leaf..leaves.end - start + to.leaf)
    }

    fn range(self) -> Range<usize> {
        self.leaf..self.leaf + self.leaves
    }
}

impl Inputs {
    /// What the rule depends on, once it has a value and its condition holds.
    pub fn of(plan: &Plan, rule: &Rule) -> Inputs {
        let mut inputs = Inputs::default();
        let here = matches!(rule.select, Select::Here);
        inputs.body(plan, &rule.body, here, 0);
        inputs.fields(plan, &rule.set, here, 0);
        inputs
    }

    /// Whether equal places give an equal element in any message of the same sender.
    pub fn is_steady(&self) -> bool {
        !self.unsteady && !self.makes && self.bound.is_empty()
    }

    /// `top` tells that the value being mapped is the one where the remembered rule stands.
    fn access(&mut self, access: Access, top: bool) {
        match access.root {
            Root::Current => self.current |= top,
            Root::Segment(_) if self.accesses.contains(&access) => {}
            Root::Segment(_) => self.accesses.push(access),
        }
    }

    fn fields(&mut self, plan: &Plan, fields: &[Field], top: bool, depth: u8) {
        for rule in fields.iter().flat_map(|field| &field.rules) {
            self.rule(plan, rule, top, depth);
        }
    }

    fn rule(&mut self, plan: &Plan, rule: &Rule, top: bool, depth: u8) {
        if depth > MAX_DEPTH {
            self.unsteady = true;
            return;
        }
        let inner = match rule.select {
            Select::Here => top,
            Select::From(access) | Select::Each(access) => {
                self.access(access, top);
                false
            }
        };
        if let Some(when) = &rule.when {
            self.condition(plan, when, inner);
        }
        self.body(plan, &rule.body, inner, depth);
        self.fields(plan, &rule.set, inner, depth + 1);
    }

    fn body(&mut self, plan: &Plan, body: &Body, top: bool, depth: u8) {
        match body {
            Body::Value => self.current |= top,
            Body::Place(access) => self.access(*access, top),
            Body::Fixed(_) => {}
            Body::Text(template) => self.template(template, top),
            Body::Texts(templates) => templates
                .iter()
                .for_each(|template| self.template(template, top)),
            Body::Object(fields) => self.fields(plan, fields, top, depth + 1),
            Body::Map(map) => {
                self.current |= top;
                self.map(plan, *map, depth);
            }
            Body::Table(_, _, base) => {
                self.current |= top;
                if let Some(map) = base {
                    self.map(plan, *map, depth);
                }
            }
            Body::Ref(name) => self.bound.push(*name),
            // What is called by a key changes as the message goes on.
            Body::Called(..) => self.unsteady = true,
            Body::Make(make) => {
                self.makes = true;
                self.identity(make.key.as_ref(), top);
                self.fields(plan, &make.fields, top, depth + 1);
            }
        }
    }

    fn map(&mut self, plan: &Plan, map: usize, depth: u8) {
        let Some(map) = plan.maps.get(map).filter(|_| depth <= MAX_DEPTH) else {
            self.unsteady = true;
            return;
        };
        if matches!(map.makes, Makes::Resource(_)) {
            self.makes = true;
            self.identity(map.key.as_ref(), false);
        }
        if let Some(when) = &map.when {
            self.condition(plan, when, false);
        }
        for when in map.ignore.iter().filter_map(|one| one.when.as_ref()) {
            self.condition(plan, when, false);
        }
        self.fields(plan, &map.fields, false, depth + 1);
        for rule in &map.result {
            self.rule(plan, rule, false, depth + 1);
        }
    }

    fn identity(&mut self, key: Option<&Identity>, top: bool) {
        let Some(key) = key else {
            self.unsteady = true;
            return;
        };
        for part in &key.parts {
            match part {
                Part::Value(choices) => choices
                    .iter()
                    .for_each(|(access, _)| self.access(*access, top)),
                Part::Bound(names) => self.bound.extend(names),
                Part::Repeat | Part::Message => self.unsteady = true,
                Part::Template(template) => self.template(template, top),
                Part::Sender | Part::Text(_) => {}
            }
        }
    }

    fn condition(&mut self, plan: &Plan, condition: &Condition, top: bool) {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => parts
                .iter()
                .for_each(|part| self.condition(plan, part, top)),
            Condition::Not(inner) => self.condition(plan, inner, top),
            Condition::Valued(access)
            | Condition::Null(access)
            | Condition::Equals(access, _)
            | Condition::In(access, _)
            | Condition::Count(access, _, _)
            | Condition::Is(access, _)
            | Condition::StartsWith(access, _)
            | Condition::Contains(access, _) => self.access(*access, top),
            Condition::Same(left, right) => {
                self.access(*left, top);
                self.access(*right, top);
            }
            Condition::OneOf(asked) => {
                if let Some(probe) = plan.probes.get(asked.probe) {
                    self.access(probe.access, top);
                }
            }
            Condition::Policy(..) | Condition::Switch(_) => {}
            Condition::Bound(name) => self.bound.push(*name),
        }
    }

    fn template(&mut self, template: &Template, top: bool) {
        self.pieces(&template.pieces, top);
    }

    fn pieces(&mut self, pieces: &[Piece], top: bool) {
        for piece in pieces {
            match piece {
                Piece::Text(_) => {}
                Piece::Value(access) => self.access(*access, top),
                Piece::Call(call) => self.call(call, top),
                Piece::If {
                    test,
                    then,
                    otherwise,
                } => {
                    self.test(test, top);
                    self.pieces(then, top);
                    self.pieces(otherwise, top);
                }
                Piece::Handlebars { reads, .. } => reads
                    .iter()
                    .for_each(|(_, access, _)| self.access(*access, top)),
            }
        }
    }

    fn call(&mut self, call: &Call, top: bool) {
        // It looks at segments that no path names.
        self.unsteady |= matches!(
            call.helper,
            Helper::Lines | Helper::Sections | Helper::Beside
        );
        self.ranges |= matches!(call.helper, Helper::RangeLow | Helper::RangeHigh);
        for argument in &call.arguments {
            match argument {
                Argument::Value(access) if call.helper == Helper::Join => {
                    self.access(access.all_repetitions(), top);
                }
                argument => self.argument(argument, top),
            }
        }
    }

    fn argument(&mut self, argument: &Argument, top: bool) {
        match argument {
            Argument::Value(access) => self.access(*access, top),
            Argument::Text(_) => {}
            Argument::Call(call) => self.call(call, top),
        }
    }

    fn test(&mut self, test: &Test, top: bool) {
        match test {
            Test::Valued(argument) => self.argument(argument, top),
            Test::Equal(left, right) | Test::NotEqual(left, right) => {
                self.argument(left, top);
                self.argument(right, top);
            }
            Test::And(parts) | Test::Or(parts) => {
                parts.iter().for_each(|part| self.test(part, top))
            }
            Test::Not(inner) => self.test(inner, top),
        }
    }
}
