//! The order of a batch: what is referred to comes before what refers to it.

use super::Entry;
use crate::tree::{Kind, NodeId, Tree};

/// The numbers of the entries, dependencies first and otherwise as given; a circle stays as given.
pub(super) fn by_dependency(tree: &Tree, entries: &[Entry<'_>]) -> Vec<usize> {
    let mut ordered = Vec::with_capacity(entries.len());
    let mut visited = vec![false; entries.len()];
    // A stack of our own: a chain of references may be as long as the Bundle.
    let mut stack: Vec<(usize, Vec<usize>)> = Vec::new();
    for root in 0..entries.len() {
        visit(tree, entries, root, &mut visited, &mut stack);
        while let Some((number, targets)) = stack.last_mut() {
            let number = *number;
            match targets.pop() {
                Some(target) => visit(tree, entries, target, &mut visited, &mut stack),
                None => {
                    ordered.push(number);
                    stack.pop();
                }
            }
        }
    }
    ordered
}

fn visit(
    tree: &Tree,
    entries: &[Entry<'_>],
    number: usize,
    visited: &mut [bool],
    stack: &mut Vec<(usize, Vec<usize>)>,
) {
    let (Some(seen @ false), Some(entry)) = (visited.get_mut(number), entries.get(number)) else {
        return;
    };
    *seen = true;
    let mut targets = Vec::new();
    references(tree, entry.resource, &mut targets);
    // The last is taken first.
    targets.reverse();
    stack.push((number, targets));
}

fn references(tree: &Tree, node: NodeId, targets: &mut Vec<usize>) {
    match tree.kind(node) {
        Kind::Reference(target) | Kind::Address(target) => targets.push(target as usize),
        Kind::Object | Kind::Array => tree
            .children(node)
            .for_each(|(_, child)| references(tree, child, targets)),
        _ => {}
    }
}
