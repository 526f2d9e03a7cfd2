//! Why something was left out: before a line of the message map is applied for `explain`, its map is walked once without
//! making anything. Each place that a rule would read is noted, with the condition that keeps the rule from it.

use std::ops::Range;

use hl7v2::Node;

use super::Run;
use super::access::Here;
use super::unmapped::ignored_leaves;
use crate::plan::{
    Access, Argument, Asked, Bind, Body, Call, Comparison, Condition, Entry, Field, Form, Helper,
    Identity, Map, MapId, OriginId, Part, Piece, Root, Rule, Select, Set, Template, Test,
};

/// Deepest nesting that is walked.
const MAX_DEPTH: u8 = 24;

/// What the walks found.
#[derive(Default)]
pub(crate) struct Why {
    pub lines: Vec<LineNote>,
    pub tries: Vec<Try>,
    pub blocks: Vec<Block>,
    /// Leaves that a map leaves out on purpose, the map, and why: a number in [`crate::plan::Plan::reasons`].
    pub ignored: Vec<(Range<usize>, OriginId, u16)>,
}

/// A line of the message map met a segment.
pub(crate) struct LineNote {
    pub segment: usize,
    pub origin: OriginId,
    pub outcome: LineOutcome,
}

#[derive(Clone, Copy)]
pub(crate) enum LineOutcome {
    Applied,
    /// A condition does not hold, see [`Why::blocks`].
    Blocked(usize),
    /// It adds to a resource that the message does not have.
    NoTarget,
}

/// A rule that would read a leaf.
pub(crate) struct Try {
    pub leaf: usize,
    pub origin: OriginId,
    /// What keeps it from that, see [`Why::blocks`].
    pub block: Option<usize>,
}

/// A condition that does not hold.
pub(crate) struct Block {
    pub origin: OriginId,
    /// The part that does not hold, with the places it looks at.
    pub condition: String,
    /// Whether a policy decides it.
    pub policy: bool,
}

/// Where the walk is: what holds it back, the rule, and how many maps and objects it is in.
#[derive(Clone, Copy)]
struct At {
    origin: OriginId,
    block: Option<usize>,
    depth: u8,
}

impl At {
    fn deeper(self) -> At {
        At {
            depth: self.depth.saturating_add(1),
            ..self
        }
    }
}

impl<'r> Run<'r> {
    /// As [`Run::apply_entry`], and notes what came of it.
    #[cold]
    pub(crate) fn entry_traced(&mut self, entry: &'r Entry, here: &Here<'r>) {
        if entry
            .after
            .is_some_and(|after| self.anchor(here.segment, &entry.anchors) != Some(after))
        {
            return;
        }
        let mut why = self
            .state
            .trace
            .as_mut()
            .map(|trace| std::mem::take(&mut trace.why))
            .unwrap_or_default();
        self.why_entry(&mut why, entry, here);
        if let Some(trace) = &mut self.state.trace {
            trace.why = why;
        }
        let before = self.state.tree.node_count();
        self.state.open_step(entry.origin);
        self.apply_entry(entry, here);
        self.state.close_step(self.state.tree.node_count() > before);
    }

    fn why_entry(&self, why: &mut Why, entry: &'r Entry, here: &Here<'r>) {
        let plan = self.plan;
        let Some(map) = plan.maps.get(entry.map) else {
            return;
        };
        let at = At {
            origin: entry.origin,
            block: None,
            depth: 0,
        };
        let at = self.guarded(why, at, entry.when.as_ref(), here);
        let inside = At {
            origin: map.origin,
            ..at
        };
        let inside = self.guarded(why, inside, map.when.as_ref(), here);
        let outcome = match (inside.block, entry.bind) {
            (Some(block), _) => LineOutcome::Blocked(block),
            (None, Bind::Into(name)) if self.bound(name).is_none() => LineOutcome::NoTarget,
            _ => LineOutcome::Applied,
        };
        why.lines.push(LineNote {
            segment: here.segment.index(),
            origin: entry.origin,
            outcome,
        });
        if matches!(outcome, LineOutcome::NoTarget) {
            return;
        }
        self.why_fields(why, inside, &map.fields, here);
        self.why_key(why, inside, entry.key.as_ref().or(map.key.as_ref()), here);
        for Set { fields, .. } in &entry.set {
            self.why_fields(why, at, fields, here);
        }
        if inside.block.is_none() {
            self.why_ignored(why, map, here);
        }
    }

    fn why_ignored(&self, why: &mut Why, map: &Map, here: &Here<'r>) {
        for ignore in &map.ignore {
            if self.condition_holds(ignore.when.as_ref(), here) {
                ignored_leaves(ignore.access, here, |leaves| {
                    why.ignored.push((leaves, map.origin, ignore.why));
                });
            }
        }
    }

    fn why_fields(&self, why: &mut Why, at: At, fields: &'r [Field], here: &Here<'r>) {
        if at.depth > MAX_DEPTH {
            return;
        }
        for rule in fields.iter().flat_map(|field| &field.rules) {
            self.why_rule(why, at, rule, here);
        }
    }

    fn why_rule(&self, why: &mut Why, at: At, rule: &'r Rule, here: &Here<'r>) {
        let at = At {
            origin: rule.origin,
            ..at
        };
        match rule.select {
            Select::Here => self.why_once(why, at, rule, here),
            Select::From(access) => {
                if let Some(node) = self.node(access, here).filter(Node::is_present) {
                    self.why_once(why, at, rule, &here.at(node));
                }
            }
            Select::Each(access) => {
                let Some(node) = self.node(access, here) else {
                    return;
                };
                for repetition in node.repetitions().filter(Node::is_present) {
                    self.why_once(why, at, rule, &here.at(repetition));
                }
            }
        }
    }

    fn why_once(&self, why: &mut Why, at: At, rule: &'r Rule, here: &Here<'r>) {
        let at = self.guarded(why, at, rule.when.as_ref(), here);
        let deeper = at.deeper();
        match &rule.body {
            Body::Value | Body::Table(_, _, None) => self.why_current(why, at, here),
            Body::Table(_, _, Some(map)) => {
                self.why_current(why, at, here);
                self.why_map(why, deeper, *map, here);
            }
            Body::Place(access) => self.why_access(why, at, *access, here),
            Body::Text(template) => self.why_template(why, at, template, here),
            Body::Texts(templates) => templates
                .iter()
                .for_each(|template| self.why_template(why, at, template, here)),
            Body::Object(fields) => self.why_fields(why, deeper, fields, here),
            Body::Map(map) => self.why_map(why, deeper, *map, here),
            Body::Ref(_) | Body::Fixed(_) => {}
            Body::Called(_, key) => self.why_key(why, at, Some(key), here),
            Body::Make(make) => {
                self.why_key(why, at, make.key.as_ref(), here);
                self.why_fields(why, deeper, &make.fields, here);
            }
        }
        self.why_fields(why, deeper, &rule.set, here);
    }

    fn why_map(&self, why: &mut Why, at: At, map: MapId, here: &Here<'r>) {
        let Some(map) = self.plan.maps.get(map) else {
            return;
        };
        let inside = At {
            origin: map.origin,
            ..at
        };
        let at = self.guarded(why, inside, map.when.as_ref(), here);
        if at.block.is_none() {
            self.why_ignored(why, map, here);
        }
        self.why_key(why, at, map.key.as_ref(), here);
        self.why_fields(why, at, &map.fields, here);
        if at.depth <= MAX_DEPTH {
            for rule in &map.result {
                self.why_rule(why, at.deeper(), rule, here);
            }
        }
    }

    /// The same place, held back if the condition does not hold.
    fn guarded(&self, why: &mut Why, at: At, condition: Option<&Condition>, here: &Here<'r>) -> At {
        let Some(condition) = condition.filter(|_| at.block.is_none()) else {
            return at;
        };
        if self.holds(condition, here) {
            return at;
        }
        let failing = self.failing(condition, here);
        why.blocks.push(Block {
            origin: at.origin,
            condition: self.condition_text(&failing, here),
            policy: names_policy(&failing),
        });
        At {
            block: Some(why.blocks.len() - 1),
            ..at
        }
    }

    /// The parts of a condition that keep it from holding.
    fn failing(&self, condition: &Condition, here: &Here<'r>) -> Condition {
        match condition {
            Condition::All(parts) => {
                let mut failing: Vec<Condition> = parts
                    .iter()
                    .filter(|part| !self.holds(part, here))
                    .map(|part| self.failing(part, here))
                    .collect();
                match (failing.pop(), failing.is_empty()) {
                    (Some(one), true) => one,
                    (one, _) => Condition::All(failing.into_iter().chain(one).collect()),
                }
            }
            other => other.clone(),
        }
    }

    // === what would be read ===

    fn why_current(&self, why: &mut Why, at: At, here: &Here<'r>) {
        if let Some(node) = here.current {
            try_leaves(why, at, node.leaves());
        }
    }

    fn why_access(&self, why: &mut Why, at: At, access: Access, here: &Here<'r>) {
        if let Some(node) = self.node(access, here) {
            let leaves = node.leaves();
            try_leaves(why, at, leaves.start..leaves.end.min(leaves.start + 1));
        }
    }

    fn why_key(&self, why: &mut Why, at: At, key: Option<&'r Identity>, here: &Here<'r>) {
        if at.block.is_none() {
            return;
        }
        for part in key.iter().flat_map(|key| &key.parts) {
            if let Part::Value(choices) = part {
                for (access, _) in choices {
                    if let Some(node) = self.node(*access, here) {
                        try_leaves(why, at, node.leaves());
                    }
                }
            }
        }
    }

    fn why_template(&self, why: &mut Why, at: At, template: &'r Template, here: &Here<'r>) {
        self.why_pieces(why, at, &template.pieces, here);
    }

    fn why_pieces(&self, why: &mut Why, at: At, pieces: &'r [Piece], here: &Here<'r>) {
        for piece in pieces {
            match piece {
                Piece::Text(_) => {}
                Piece::Value(access) => self.why_access(why, at, *access, here),
                Piece::Call(call) => self.why_call(why, at, call, here),
                Piece::If {
                    test,
                    then,
                    otherwise,
                } => {
                    self.why_test(why, at, test, here);
                    self.why_pieces(why, at, then, here);
                    self.why_pieces(why, at, otherwise, here);
                }
                Piece::Handlebars { reads, .. } => {
                    for (_, access, _) in reads {
                        self.why_access(why, at, *access, here);
                    }
                }
            }
        }
    }

    fn why_call(&self, why: &mut Why, at: At, call: &'r Call, here: &Here<'r>) {
        let whole = matches!(
            call.helper,
            Helper::Whole | Helper::Authority | Helper::Parts
        );
        for argument in &call.arguments {
            match argument {
                Argument::Value(access) if call.helper == Helper::Join => {
                    for node in self.every(*access, here) {
                        try_leaves(why, at, node.leaves());
                    }
                }
                Argument::Value(access) if whole => {
                    if let Some(node) = self.node(*access, here) {
                        try_leaves(why, at, node.leaves());
                    }
                }
                argument => self.why_argument(why, at, argument, here),
            }
        }
    }

    fn why_argument(&self, why: &mut Why, at: At, argument: &'r Argument, here: &Here<'r>) {
        match argument {
            Argument::Value(access) => self.why_access(why, at, *access, here),
            Argument::Text(_) => {}
            Argument::Call(call) => self.why_call(why, at, call, here),
        }
    }

    fn why_test(&self, why: &mut Why, at: At, test: &'r Test, here: &Here<'r>) {
        match test {
            Test::Valued(argument) => self.why_argument(why, at, argument, here),
            Test::Equal(left, right) | Test::NotEqual(left, right) => {
                self.why_argument(why, at, left, here);
                self.why_argument(why, at, right, here);
            }
            Test::And(parts) | Test::Or(parts) => parts
                .iter()
                .for_each(|part| self.why_test(why, at, part, here)),
            Test::Not(inner) => self.why_test(why, at, inner, here),
        }
    }

    // === conditions as text ===

    /// A condition with the concrete places it looks at: `OBX(2)-2 = ED`.
    fn condition_text(&self, condition: &Condition, here: &Here<'r>) -> String {
        let place = |access: &Access| self.access_text(*access, here);
        let list = |values: &[String]| values.join(", ");
        match condition {
            Condition::All(parts) => self.joined(parts, " and ", here),
            Condition::Any(parts) => self.joined(parts, " or ", here),
            Condition::Not(inner) => match &**inner {
                Condition::Valued(access) => format!("{} not valued", place(access)),
                Condition::Equals(access, value) => format!("{} != {value}", place(access)),
                Condition::In(access, values) => {
                    format!("{} not in ({})", place(access), list(values))
                }
                Condition::Is(access, form) => {
                    format!("{} is not {}", place(access), form_text(*form))
                }
                Condition::Same(left, right) => {
                    format!("{} not same as {}", place(left), place(right))
                }
                inner => format!("not ({})", self.condition_text(inner, here)),
            },
            Condition::Valued(access) => format!("{} valued", place(access)),
            Condition::Null(access) => format!("{} is null", place(access)),
            Condition::Equals(access, value) => format!("{} = {value}", place(access)),
            Condition::In(access, values) => format!("{} in ({})", place(access), list(values)),
            Condition::OneOf(asked) => self.one_of_text(*asked, here),
            Condition::Count(access, comparison, number) => {
                let sign = comparison_text(*comparison);
                format!("count({}) {sign} {number}", place(access))
            }
            Condition::Is(access, form) => format!("{} is {}", place(access), form_text(*form)),
            Condition::StartsWith(access, start) => {
                format!("{} starts with {start}", place(access))
            }
            Condition::Contains(access, part) => format!("{} contains {part}", place(access)),
            Condition::Same(left, right) => format!("{} same as {}", place(left), place(right)),
            Condition::Policy(policy, value) => self.policy_text(*policy, value),
            Condition::Switch(switch) => match self.plan.switches.get(*switch) {
                Some((policy, value)) => self.policy_text(*policy, value),
                None => String::new(),
            },
            Condition::Bound(name) => {
                let name = usize::try_from(*name).ok();
                let name = name.and_then(|name| self.plan.names.get(name));
                format!("bound {}", name.map_or("", String::as_str))
            }
        }
    }

    fn policy_text(&self, policy: usize, value: &str) -> String {
        let policy = self.plan.policies.get(policy);
        let name = policy.map_or("", |policy| policy.name.as_str());
        format!("policy {name} = {value}")
    }

    fn one_of_text(&self, asked: Asked, here: &Here<'r>) -> String {
        let Some(probe) = self.plan.probes.get(asked.probe) else {
            return String::new();
        };
        // Bit 0 stands for any other text.
        let other = asked.texts & 1 != 0;
        let listed: Vec<&str> = (1..)
            .zip(&probe.texts)
            .filter(|(bit, _)| (asked.texts >> bit & 1 != 0) != other)
            .map(|(_, text)| text.as_str())
            .collect();
        let place = self.access_text(probe.access, here);
        match (other, listed.as_slice()) {
            (false, [one]) => format!("{place} = {one}"),
            (false, many) => format!("{place} in ({})", many.join(", ")),
            (true, [one]) => format!("{place} != {one}"),
            (true, many) => format!("{place} not in ({})", many.join(", ")),
        }
    }

    fn joined(&self, parts: &[Condition], word: &str, here: &Here<'r>) -> String {
        let parts: Vec<String> = parts
            .iter()
            .map(|part| match part {
                Condition::Any(_) => format!("({})", self.condition_text(part, here)),
                part => self.condition_text(part, here),
            })
            .collect();
        parts.join(word)
    }

    fn access_text(&self, access: Access, here: &Here<'r>) -> String {
        if let Some(node) = self.node(access, here) {
            return node.place().to_string();
        }
        let Root::Segment(name) = access.root else {
            return "the value".to_owned();
        };
        let mut text = String::from_utf8_lossy(&name).into_owned();
        if access.field > 0 {
            super::text::append(&mut text, format_args!("-{}", access.field));
        }
        if access.repetition > 1 {
            super::text::append(&mut text, format_args!("({})", access.repetition));
        }
        for number in [access.component, access.subcomponent] {
            if number > 0 {
                super::text::append(&mut text, format_args!(".{number}"));
            }
        }
        text
    }
}

fn try_leaves(why: &mut Why, at: At, leaves: Range<usize>) {
    why.tries.extend(leaves.map(|leaf| Try {
        leaf,
        origin: at.origin,
        block: at.block,
    }));
}

fn names_policy(condition: &Condition) -> bool {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().any(names_policy),
        Condition::Not(inner) => names_policy(inner),
        Condition::Policy(..) | Condition::Switch(_) => true,
        _ => false,
    }
}

fn comparison_text(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

fn form_text(form: Form) -> &'static str {
    match form {
        Form::Number => "number",
        Form::Quantity => "quantity",
        Form::Ratio => "ratio",
        Form::Range => "range",
        Form::Integer => "integer",
        Form::Date => "date",
        Form::Time => "time",
        Form::Oid => "oid",
        Form::Uri => "uri",
    }
}
