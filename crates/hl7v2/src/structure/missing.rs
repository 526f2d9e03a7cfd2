//! Which required segments are missing.

use std::cell::LazyCell;

use super::plan::Plan;
use super::tree::{GroupTree, Item};
use super::{GroupId, Message};
use crate::definitions::{StructureDefinition, for_version};
use crate::issue::{Issue, IssueCode};
use crate::place::Place;

/// Reports required segments that a group of the message does not have, at the
/// first segment of that group. Only what the version of the message requires
/// as well: the groups are those of the newest version.
pub(super) fn report(
    tree: &GroupTree,
    plan: &'static Plan,
    message: &Message<'_>,
    issues: &mut Vec<Issue>,
) {
    if !tree.known() {
        return;
    }
    let definitions = for_version(message.version());
    // Most messages lack nothing, and do not ask for it.
    let own = LazyCell::new(|| {
        let header = message.header();
        let id = || format!("{}_{}", header.code(), header.event());
        let structure = definitions.structure(plan.id());
        structure.or_else(|| definitions.structure(&id()))
    });
    for (group, id) in tree.groups.iter().zip(tree.groups()) {
        let lacking = plan
            .node(group.node)
            .map_or(0, |node| node.needed & !group.used);
        if lacking == 0 {
            continue;
        }
        for (offset, child) in (0_u32..).zip(plan.children(group.node)) {
            if lacking & 1_u128.checked_shl(offset).unwrap_or(0) == 0 {
                continue;
            }
            let Some(name) = first_required(plan, child) else {
                continue;
            };
            let required = match *own {
                Some(own) => requires(own, name),
                None => definitions.segment(name).is_some(),
            };
            if required {
                issues.extend(missing(tree, id, name, message));
            }
        }
    }
}

/// The segment that a required child starts with.
fn first_required(plan: &Plan, child: u16) -> Option<&'static str> {
    let node = plan.node(child)?;
    if !node.group {
        return (node.name != "***").then_some(node.name);
    }
    let required = plan
        .children(child)
        .find(|inner| plan.node(*inner).is_some_and(|node| node.required));
    first_required(plan, required.or_else(|| plan.children(child).next())?)
}

fn requires(structure: &StructureDefinition, name: &str) -> bool {
    structure
        .items()
        .any(|item| item.name() == name && !item.is_group() && item.is_required())
}

fn missing(tree: &GroupTree, group: GroupId, name: &str, message: &Message<'_>) -> Option<Issue> {
    let index = first_segment(tree, group)?;
    let segment = message.segment(index)?;
    let place = Place {
        segment_index: u32::try_from(index).unwrap_or(u32::MAX),
        segment: name.as_bytes().try_into().ok()?,
        occurrence: 1,
        field: None,
        repetition: None,
        component: None,
        subcomponent: None,
    };
    Some(Issue {
        code: IssueCode::SegmentMissing,
        place: Some(place),
        offset: segment.offset(),
    })
}

fn first_segment(tree: &GroupTree, group: GroupId) -> Option<usize> {
    match tree.items(group).first()? {
        Item::Segment { index, .. } => Some(*index),
        Item::Group(inner) => first_segment(tree, *inner),
    }
}
