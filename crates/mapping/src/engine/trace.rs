//! What `explain` wants to know beside the tree: which rule made which nodes of which parts of the message.
//!
//! Off, it is one question per rule, line and resource. On, every rule that is applied is a [`Step`]: the leaves that were
//! taken and the nodes that were added while it ran are its own, but for those of steps inside it.

use std::ops::Range;

use fhir::tree::{Kind, NodeId, Tree};
use hl7v2::Node;

use super::access::Here;
use super::slot::{Emitted, Slot};
use super::why::Why;
use super::{Run, State};
use crate::plan::{Identity, OriginId, Part, Rule, Shape};

/// Number of a step; [`NO_STEP`] is none.
pub(crate) type StepId = u32;
/// What no step made.
pub(crate) const NO_STEP: StepId = u32::MAX;

/// Everything noted about one message.
#[derive(Default)]
pub(crate) struct Trace {
    pub steps: Vec<Step>,
    /// The step that made each node.
    pub owner: Vec<StepId>,
    /// Nodes that a later step would have made in the same way.
    pub also: Vec<(NodeId, StepId)>,
    pub keys: Vec<Keyed>,
    pub why: Why,
    stack: Vec<Open>,
    /// What was taken so far, wherever it is noted at the moment.
    all: Vec<u64>,
}

/// A rule or a line at work, once.
pub(crate) struct Step {
    pub origin: OriginId,
    /// The step it was inside of.
    pub parent: StepId,
    /// Leaves taken, without those of steps inside.
    pub own: Vec<usize>,
    /// Leaves taken inside.
    pub inner: Vec<usize>,
    /// Leaves that its condition looked at.
    pub asked: Vec<usize>,
    /// Leaves with the same bytes elsewhere, from which it would have made the same: those here, those there.
    pub copies: Vec<(usize, usize)>,
    /// Whether something came out of it.
    pub emitted: bool,
}

/// A resource that was identified.
pub(crate) struct Keyed {
    pub resource: u32,
    pub origin: OriginId,
    pub leaves: Vec<usize>,
    /// How many steps there were by then.
    steps: StepId,
}

struct Open {
    step: StepId,
    taken: Vec<u64>,
    inner: Vec<u64>,
}

// === impl Trace ===

impl Trace {
    pub fn is_taken(&self, leaf: usize) -> bool {
        has(&self.all, leaf)
    }

    /// How many steps there are: what is added from here on was made after this moment.
    pub fn step_count(&self) -> StepId {
        StepId::try_from(self.steps.len()).unwrap_or(NO_STEP)
    }

    /// The nodes made since the last look belong to the innermost step.
    fn settle(&mut self, tree: &Tree) {
        let owner = self.stack.last().map_or(NO_STEP, |open| open.step);
        self.owner.resize(tree.node_count(), owner);
    }

    fn own(&mut self, node: NodeId, step: StepId) {
        if let Some(owner) = self.owner.get_mut(node.index()) {
            *owner = step;
        }
    }

    fn owner_of(&self, node: NodeId) -> StepId {
        self.owner.get(node.index()).copied().unwrap_or(NO_STEP)
    }

    /// Follows what [`merge::merge`] did: copies belong to the step that made the original.
    fn merged(&mut self, tree: &Tree, to: NodeId, from: NodeId, since: usize) {
        for (name, child) in tree.children(from) {
            let Some(there) = tree.get(to, name) else {
                continue;
            };
            if there.index() >= since {
                self.copied(tree, there, child);
                continue;
            }
            match tree.kind(child) {
                Kind::Array => {
                    for (_, member) in tree.children(child) {
                        let same = tree
                            .children(there)
                            .map(|(_, other)| other)
                            .find(|other| tree.equal(*other, member));
                        match same {
                            Some(same) if same.index() >= since => self.copied(tree, same, member),
                            Some(same) => self.said_again(tree, same, member),
                            None => {}
                        }
                    }
                }
                Kind::Object => self.merged(tree, there, child, since),
                _ if tree.equal(there, child) => self.said_again(tree, there, child),
                _ => {}
            }
        }
    }

    fn copied(&mut self, tree: &Tree, to: NodeId, from: NodeId) {
        let step = self.owner_of(from);
        self.own(to, step);
        for ((_, to), (_, from)) in tree.children(to).zip(tree.children(from)) {
            self.copied(tree, to, from);
        }
    }

    fn said_again(&mut self, tree: &Tree, to: NodeId, from: NodeId) {
        self.also.push((to, self.owner_of(from)));
        for ((_, to), (_, from)) in tree.children(to).zip(tree.children(from)) {
            self.said_again(tree, to, from);
        }
    }
}

// === impl State ===

impl State {
    /// Begins a step.
    pub(crate) fn open_step(&mut self, origin: OriginId) {
        let Some(trace) = &mut self.trace else { return };
        trace.settle(&self.tree);
        let words = self.taken.len();
        trace.all.resize(words, 0);
        add(&mut trace.all, &self.taken);
        let step = trace.step_count();
        trace.steps.push(Step {
            origin,
            parent: trace.stack.last().map_or(NO_STEP, |open| open.step),
            own: Vec::new(),
            inner: Vec::new(),
            asked: Vec::new(),
            copies: Vec::new(),
            emitted: false,
        });
        trace.stack.push(Open {
            step,
            taken: std::mem::replace(&mut self.taken, vec![0; words]),
            inner: vec![0; words],
        });
    }

    /// What was taken since then was for the condition of the step.
    fn note_asked(&mut self, before: &[u64]) {
        let Some(trace) = &mut self.trace else { return };
        let asked = bits(&self.taken)
            .filter(|leaf| !has(before, *leaf))
            .collect();
        if let Some(step) = trace
            .stack
            .last()
            .and_then(|open| trace.steps.get_mut(open.step as usize))
        {
            step.asked = asked;
        }
    }

    /// Ends the innermost step.
    pub(crate) fn close_step(&mut self, emitted: bool) {
        let Some(trace) = &mut self.trace else { return };
        trace.settle(&self.tree);
        let Some(open) = trace.stack.pop() else {
            return;
        };
        let mut own = std::mem::replace(&mut self.taken, open.taken);
        if let Some(step) = trace.steps.get_mut(open.step as usize) {
            step.emitted = emitted;
            step.own = bits(&own)
                .filter(|leaf| !step.asked.contains(leaf))
                .collect();
            step.inner = bits(&open.inner).collect();
        }
        add(&mut own, &open.inner);
        add(&mut trace.all, &own);
        match trace.stack.last_mut() {
            Some(outer) => add(&mut outer.inner, &own),
            None => add(&mut self.taken, &own),
        }
    }
}

// === impl Run ===

impl<'r> Run<'r> {
    /// As [`Run::once`], and notes what came of it.
    #[cold]
    pub(crate) fn once_traced(
        &mut self,
        slot: Slot,
        shape: Shape,
        rule: &'r Rule,
        here: &Here<'r>,
    ) -> Emitted {
        if !self.condition_holds(rule.when.as_ref(), here) {
            return Emitted::Nothing;
        }
        self.state.open_step(rule.origin);
        let emitted = self.body(slot, shape, rule, here);
        let made = emitted != Emitted::Nothing;
        if let (true, Some(when)) = (made, &rule.when) {
            let before = self.state.taken.clone();
            self.take_condition(when, here);
            self.state.note_asked(&before);
        }
        self.state.close_step(made);
        emitted
    }

    /// Notes what a resource is identified by.
    #[inline]
    pub(crate) fn trace_key(
        &mut self,
        resource: u32,
        key: Option<&'r Identity>,
        here: &Here<'r>,
        origin: OriginId,
    ) {
        if self.state.trace.is_some() {
            self.note_key(resource, key, here, origin);
        }
    }

    #[cold]
    fn note_key(
        &mut self,
        resource: u32,
        key: Option<&'r Identity>,
        here: &Here<'r>,
        origin: OriginId,
    ) {
        let mut leaves = Vec::new();
        for part in key.iter().flat_map(|key| &key.parts) {
            if let Part::Value(choices) = part {
                let valued = choices
                    .iter()
                    .filter_map(|(access, _)| self.node(*access, here))
                    .find(Node::is_valued);
                leaves.extend(valued.into_iter().flat_map(|node| node.leaves()));
            }
        }
        if let Some(trace) = &mut self.state.trace {
            trace.keys.push(Keyed {
                resource,
                origin,
                leaves,
                steps: trace.step_count(),
            });
        }
    }

    /// Where a merge begins, see [`Run::trace_merge`].
    #[inline]
    pub(crate) fn trace_mark(&mut self) -> usize {
        if let Some(trace) = &mut self.state.trace {
            trace.settle(&self.state.tree);
        }
        self.state.tree.node_count()
    }

    /// Notes which steps the nodes come from that a merge has copied since the mark.
    #[inline]
    pub(crate) fn trace_merge(&mut self, to: NodeId, from: NodeId, since: usize) {
        if let Some(trace) = &mut self.state.trace {
            trace.settle(&self.state.tree);
            trace.merged(&self.state.tree, to, from, since);
        }
    }

    /// The number of the next step; 0 when nothing is traced.
    #[inline]
    pub(crate) fn trace_steps(&self) -> StepId {
        self.state
            .trace
            .as_ref()
            .map_or(0, |trace| trace.step_count())
    }

    /// Notes that these steps would have made the same of other leaves with the same bytes.
    #[cold]
    pub(crate) fn trace_copies(
        &mut self,
        steps: Range<StepId>,
        from: Range<usize>,
        to: Range<usize>,
    ) {
        let Some(trace) = &mut self.state.trace else {
            return;
        };
        let copies = |leaves: &[usize]| -> Vec<(usize, usize)> {
            let inside = leaves.iter().filter(|leaf| from.contains(leaf));
            inside
                .map(|leaf| (*leaf, to.start + (leaf - from.start)))
                .filter(|(_, copy)| to.contains(copy))
                .collect()
        };
        // A key is noted when its resource is ready, so after the last step.
        let noted = steps.start..=steps.end;
        for key in trace
            .keys
            .iter_mut()
            .filter(|key| noted.contains(&key.steps))
        {
            let same = copies(&key.leaves);
            key.leaves.extend(same.into_iter().map(|(_, copy)| copy));
        }
        let steps = steps.start as usize..steps.end as usize;
        for step in trace.steps.get_mut(steps).unwrap_or_default() {
            let same = copies(&step.own);
            step.copies.extend(same);
        }
    }
}

fn has(words: &[u64], leaf: usize) -> bool {
    words
        .get(leaf / 64)
        .is_some_and(|word| word & (1 << (leaf % 64)) != 0)
}

fn add(to: &mut [u64], from: &[u64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to |= from;
    }
}

fn bits(words: &[u64]) -> impl Iterator<Item = usize> {
    words.iter().enumerate().flat_map(|(number, word)| {
        let word = *word;
        (0..64)
            .filter(move |bit| word & (1 << bit) != 0)
            .map(move |bit| number * 64 + bit)
    })
}
