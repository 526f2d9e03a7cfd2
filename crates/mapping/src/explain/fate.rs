//! What became of a field, and why.

use std::collections::{BTreeMap, BTreeSet};

use hl7v2::Place;

use super::build::{Input, Rules};
use super::sources::Sources;
use super::{ExplainedField, Fate, Reason, ReasonCode};
use crate::engine::trace::{StepId, Trace};
use crate::engine::why::{Block, LineOutcome, Why};
use crate::report::{Report, ReportCode, ReportIssue};

/// Reasons of one kind that are told for one field.
const MOST_REASONS: usize = 3;

/// What is known about the leaves of the message.
pub(super) struct Facts<'f> {
    trace: &'f Trace,
    report: &'f Report,
    sources: &'f Sources<'f>,
    leaf_of: BTreeMap<usize, (usize, Place)>,
    /// The map that leaves it out, and why.
    ignored: BTreeMap<usize, (u32, &'f str)>,
    /// The steps that took each leaf.
    readers: BTreeMap<usize, Vec<StepId>>,
    asked: BTreeSet<usize>,
    tries: BTreeMap<usize, Vec<usize>>,
}

impl<'f> Facts<'f> {
    pub fn new(
        input: &'f Input<'f>,
        sources: &'f Sources<'f>,
        field_of: &BTreeMap<usize, usize>,
    ) -> Facts<'f> {
        let trace = input.trace;
        let places = input.message.segments().flat_map(|one| one.leaf_places());
        let leaf_of = places
            .filter_map(|(leaf, place)| Some((*field_of.get(&leaf)?, (leaf, place))))
            .collect();
        let mut ignored = BTreeMap::new();
        let said = &input.package.plan.reasons;
        for (leaves, origin, why) in &trace.why.ignored {
            let why = said.get(usize::from(*why)).map_or("", |why| &**why);
            ignored.extend(leaves.clone().map(|leaf| (leaf, (*origin, why))));
        }
        let mut readers: BTreeMap<usize, Vec<StepId>> = BTreeMap::new();
        let mut asked = BTreeSet::new();
        for (number, step) in (0..).zip(&trace.steps) {
            let copies = step.copies.iter().map(|(_, copy)| copy);
            for leaf in step.own.iter().chain(copies) {
                readers.entry(*leaf).or_default().push(number);
            }
            if step.emitted {
                asked.extend(step.asked.iter().copied());
            }
        }
        let mut tries: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, one) in trace.why.tries.iter().enumerate() {
            tries.entry(one.leaf).or_default().push(number);
        }
        Facts {
            trace,
            report: input.conversion.report(),
            sources,
            leaf_of,
            ignored,
            readers,
            asked,
            tries,
        }
    }

    fn why(&self) -> &'f Why {
        &self.trace.why
    }

    /// Issues of the report that are about a place.
    fn issues(&self, place: &Place) -> impl Iterator<Item = &'f ReportIssue> {
        self.report
            .issues
            .iter()
            .filter(move |issue| issue.place.is_some_and(|of| covers(&of, place)))
    }
}

/// Fills in fate and reasons; what it became is there already.
pub(super) fn judge(
    field: &mut ExplainedField,
    number: usize,
    facts: &Facts<'_>,
    rules: &mut Rules<'_>,
) {
    let Some((leaf, place)) = facts.leaf_of.get(&number) else {
        return;
    };
    let mut reasons = notes(*leaf, place, facts, rules);
    let deleted = facts.report.deleted.iter().any(|of| covers(of, place));
    let delimiters = place.segment == *b"MSH" && place.field.is_some_and(|field| field <= 2);
    field.fate = if !field.elements.is_empty() {
        Fate::Mapped
    } else if delimiters {
        reasons.push(reason(ReasonCode::Delimiters, "how to read the message"));
        Fate::Ignored
    } else if deleted {
        let text = "asks to delete the value; that is never written";
        reasons.push(reason(ReasonCode::Deleted, text));
        Fate::Deleted
    } else if !field.identifies.is_empty() || !field.decides.is_empty() {
        Fate::Used
    } else if let Some((origin, why)) = facts.ignored.get(leaf) {
        let text = match crate::syntax::path::looks_like_path(why) {
            true => "the map leaves it out on purpose".to_owned(),
            false => format!("left out on purpose: {why}"),
        };
        reasons.push(Reason {
            rule: rules.number(*origin),
            ..reason(ReasonCode::Ignored, text)
        });
        Fate::Ignored
    } else if facts.asked.contains(leaf) {
        Fate::Used
    } else {
        reasons.retain(|one| !matches!(one.code, ReasonCode::OddText | ReasonCode::Misplaced));
        dropped(*leaf, place, facts, rules, &mut reasons);
        Fate::Dropped
    };
    reasons.dedup();
    field.reasons = reasons;
}

/// What the report says about a place.
fn notes(leaf: usize, place: &Place, facts: &Facts<'_>, rules: &mut Rules<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for issue in facts.issues(place) {
        let element = match issue.element {
            "" => String::new(),
            element => format!(" for {element}"),
        };
        let (code, text) = match issue.code {
            ReportCode::BadValue => (ReasonCode::BadValue, format!("no possible value{element}")),
            ReportCode::CutToDate => (
                ReasonCode::CutToDate,
                format!("cut to its date{element}: it has a time, and nothing says of which zone"),
            ),
            ReportCode::SecondChoice => (
                ReasonCode::SecondChoice,
                format!("another type of the same choice was there first{element}"),
            ),
            ReportCode::CodeDropped => (
                ReasonCode::TableMiss,
                format!("its table leaves out codes it does not list{element}"),
            ),
            ReportCode::OddText => (
                ReasonCode::OddText,
                "an escape sequence or byte can't be read".to_owned(),
            ),
            ReportCode::Reversed => (
                ReasonCode::BadValue,
                format!("the end is before the start{element}"),
            ),
            // Of the whole segment, and told with it.
            ReportCode::NoTarget | ReportCode::MisplacedSegment => continue,
        };
        let rule = match &*issue.rule {
            "" => None,
            rule => Some(rules.of_text(rule)),
        };
        reasons.push(Reason { code, text, rule });
    }
    for miss in &facts.report.code_misses {
        let reader = facts.readers.get(&leaf).and_then(|steps| steps.first());
        let step = reader.and_then(|step| facts.trace.steps.get(*step as usize));
        if let (true, Some(step)) = (covers(&miss.place, place), step) {
            reasons.push(Reason {
                code: ReasonCode::TableMiss,
                text: format!("table {} does not list it", miss.table),
                rule: rules.number(step.origin),
            });
        }
    }
    reasons
}

/// Why nothing became of a leaf.
fn dropped(
    leaf: usize,
    place: &Place,
    facts: &Facts<'_>,
    rules: &mut Rules<'_>,
    reasons: &mut Vec<Reason>,
) {
    if !reasons.is_empty() {
        return;
    }
    let read: Vec<StepId> = facts.readers.get(&leaf).cloned().unwrap_or_default();
    for step in read.iter().take(MOST_REASONS) {
        reasons.extend(of_reader(*step, facts, rules));
    }
    let tries = facts
        .tries
        .get(&leaf)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let tries = || tries.iter().filter_map(|one| facts.why().tries.get(*one));
    if reasons.is_empty()
        && let Some(open) = tries().find(|one| one.block.is_none())
    {
        reasons.push(Reason {
            rule: rules.number(open.origin),
            ..reason(
                ReasonCode::AlreadyGiven,
                "another rule gave the element before",
            )
        });
    }
    if reasons.is_empty() {
        for one in tries() {
            let block = one.block.and_then(|block| facts.why().blocks.get(block));
            push(reasons, block.map(|block| of_block(block, rules)));
        }
    }
    if !reasons.is_empty() {
        return;
    }
    let lines = || {
        let of =
            |line: &&crate::engine::why::LineNote| line.segment == place.segment_index as usize;
        facts.why().lines.iter().filter(of)
    };
    if lines().any(|line| matches!(line.outcome, LineOutcome::Applied)) {
        reasons.push(reason(ReasonCode::NoRule, "no rule reads it"));
        return;
    }
    for line in lines() {
        let found = match line.outcome {
            LineOutcome::Applied => None,
            LineOutcome::NoTarget => Some(Reason {
                rule: rules.number(line.origin),
                ..reason(
                    ReasonCode::NoTarget,
                    "its line adds to a resource that the message does not have",
                )
            }),
            LineOutcome::Blocked(block) => facts
                .why()
                .blocks
                .get(block)
                .map(|block| of_block(block, rules)),
        };
        push(reasons, found);
    }
    if reasons.is_empty() {
        let text = "no line of the message map takes its segment here";
        reasons.push(reason(ReasonCode::NoLine, text));
    }
}

/// A rule read it, and yet there is no element.
fn of_reader(step: StepId, facts: &Facts<'_>, rules: &mut Rules<'_>) -> Option<Reason> {
    let step_of = facts.trace.steps.get(step as usize)?;
    let rule = rules.number(step_of.origin);
    let told = facts.sources.chain(step).find_map(|outer| {
        let text = rules.number(outer.origin)?;
        facts
            .report
            .issues
            .iter()
            .find(|issue| issue.place.is_none() && rules.of_text(&issue.rule) == text)
    });
    let (code, text) = match told.map(|issue| issue.code) {
        Some(ReportCode::BadValue) => (ReasonCode::BadValue, "no possible value"),
        Some(ReportCode::SecondChoice) => (
            ReasonCode::SecondChoice,
            "another type of the same choice was there first",
        ),
        _ if step_of.emitted => (
            ReasonCode::AlreadyGiven,
            "the element had a value before, or the same stands there already",
        ),
        _ => (
            ReasonCode::NoResult,
            "a rule reads it, but makes nothing of it without what belongs to it",
        ),
    };
    Some(Reason {
        rule,
        ..reason(code, text)
    })
}

pub(super) fn of_block(block: &Block, rules: &mut Rules<'_>) -> Reason {
    let (code, words) = match block.policy {
        true => (ReasonCode::PolicyOff, "policy set otherwise"),
        false => (ReasonCode::ConditionFalse, "condition false"),
    };
    Reason {
        rule: rules.number(block.origin),
        ..reason(code, format!("{words}: {}", block.condition))
    }
}

fn push(reasons: &mut Vec<Reason>, reason: Option<Reason>) {
    if let Some(reason) = reason
        && reasons.len() < MOST_REASONS
        && !reasons.contains(&reason)
    {
        reasons.push(reason);
    }
}

fn reason(code: ReasonCode, text: impl Into<String>) -> Reason {
    Reason {
        code,
        text: text.into(),
        rule: None,
    }
}

/// Whether a place is another or lies in it.
fn covers(outer: &Place, inner: &Place) -> bool {
    let level = |outer: Option<u32>, inner: Option<u32>| outer.is_none() || outer == inner;
    outer.segment_index == inner.segment_index
        && level(outer.field, inner.field)
        && level(outer.repetition, inner.repetition)
        && level(outer.component, inner.component)
        && level(outer.subcomponent, inner.subcomponent)
}
