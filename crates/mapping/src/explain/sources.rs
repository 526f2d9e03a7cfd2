//! Which parts of the message each node of the tree was made of.

use std::collections::{BTreeMap, BTreeSet};

use fhir::tree::{Kind, NodeId, Tree};

use crate::engine::trace::{NO_STEP, Step, StepId, Trace};

/// Where a node comes from.
#[derive(Default)]
pub(super) struct Source {
    /// Rules, the innermost first.
    pub origins: Vec<u32>,
    /// Leaves it was made of.
    pub leaves: BTreeSet<usize>,
    /// Leaves that conditions looked at.
    pub decided: BTreeSet<usize>,
}

/// The sources of the nodes of one tree.
pub(super) struct Sources<'t> {
    trace: &'t Trace,
    by_node: BTreeMap<NodeId, BTreeSet<usize>>,
    also: BTreeMap<NodeId, Vec<StepId>>,
}

impl<'t> Sources<'t> {
    /// `nodes` are those that hold a value and are in the Bundle, each with the object it is in; `text_of` gives the text of a leaf.
    pub fn new(
        tree: &Tree,
        trace: &'t Trace,
        nodes: &[(NodeId, NodeId)],
        text_of: &dyn Fn(usize) -> String,
    ) -> Sources<'t> {
        let mut by_step: BTreeMap<StepId, Vec<(NodeId, NodeId)>> = BTreeMap::new();
        for pair in nodes {
            by_step.entry(owner(trace, pair.0)).or_default().push(*pair);
        }
        let mut by_node: BTreeMap<NodeId, BTreeSet<usize>> = BTreeMap::new();
        for (step, nodes) in by_step {
            if let Some(step) = trace.steps.get(step as usize) {
                share(tree, step, &nodes, text_of, &mut by_node);
            }
        }
        let mut also: BTreeMap<NodeId, Vec<StepId>> = BTreeMap::new();
        for (node, step) in &trace.also {
            also.entry(*node).or_default().push(*step);
            if let Some(step) = trace.steps.get(*step as usize) {
                share(tree, step, &[(*node, *node)], text_of, &mut by_node);
            }
        }
        Sources {
            trace,
            by_node,
            also,
        }
    }

    /// Where a node with a value comes from; `origin` is what its tree says.
    pub fn of(&self, node: NodeId, origin: u32) -> Source {
        let mut source = Source::default();
        let own = owner(self.trace, node);
        source.origins.push(origin);
        for step in self.chain(own) {
            source.origins.push(step.origin);
            source.decided.extend(&step.asked);
        }
        source.origins.retain(|origin| *origin != 0);
        source.origins.dedup();
        source
            .leaves
            .extend(self.by_node.get(&node).into_iter().flatten());
        for step in self.also.get(&node).into_iter().flatten() {
            source
                .decided
                .extend(self.chain(*step).flat_map(|step| &step.asked));
        }
        source.decided.retain(|leaf| !source.leaves.contains(leaf));
        source
    }

    /// A step and those it was inside of, the innermost first.
    pub fn chain(&self, step: StepId) -> impl Iterator<Item = &'t Step> {
        let trace = self.trace;
        let mut next = step;
        std::iter::from_fn(move || {
            let step = trace.steps.get(next as usize)?;
            next = step.parent;
            Some(step)
        })
    }
}

fn owner(trace: &Trace, node: NodeId) -> StepId {
    trace.owner.get(node.index()).copied().unwrap_or(NO_STEP)
}

/// Gives each node its part of what a step took. Where a rule makes several elements at once (a coding), what says the same
/// as a field comes from that field; others of the same object share what is left, and in an object where nothing says the
/// same (a translation), everything.
fn share(
    tree: &Tree,
    step: &Step,
    nodes: &[(NodeId, NodeId)],
    text_of: &dyn Fn(usize) -> String,
    by_node: &mut BTreeMap<NodeId, BTreeSet<usize>>,
) {
    let texts: Vec<(usize, String)> = step
        .own
        .iter()
        .map(|leaf| (*leaf, text_of(*leaf)))
        .collect();
    let same = |node: NodeId| -> Vec<usize> {
        let equal = texts
            .iter()
            .filter(|(_, text)| text.trim() == tree.text(node));
        equal.map(|(leaf, _)| *leaf).collect()
    };
    let matched: BTreeSet<usize> = nodes.iter().flat_map(|(node, _)| same(*node)).collect();
    let left: Vec<usize> = step
        .own
        .iter()
        .copied()
        .filter(|leaf| !matched.contains(leaf))
        .collect();
    let quoting: BTreeSet<NodeId> = nodes
        .iter()
        .filter(|(node, _)| !same(*node).is_empty())
        .map(|(_, parent)| *parent)
        .collect();
    let all_match = nodes.iter().all(|(node, _)| !same(*node).is_empty());
    for (node, parent) in nodes {
        let mut leaves = same(*node);
        if matches!(tree.kind(*node), Kind::Reference(_) | Kind::Address(_)) {
            // What made the resource that it refers to.
            leaves.extend(step.own.iter().chain(&step.inner));
        } else if nodes.len() < 2 || leaves.is_empty() && !quoting.contains(parent) {
            leaves.clone_from(&step.own);
        } else if leaves.is_empty() || all_match {
            leaves.extend(&left);
        }
        if leaves.is_empty() {
            leaves.clone_from(&step.own);
        }
        let copies = step
            .copies
            .iter()
            .filter(|(from, _)| leaves.contains(from))
            .map(|(_, copy)| *copy);
        let known = by_node.entry(*node).or_default();
        known.extend(&leaves);
        known.extend(copies);
    }
}
