//! Message structures: which one a message has, and its segments in groups.
//!
//! Segments are grouped by the newest known definition of the structure,
//! whatever the version of the message, so that one map fits all of them. That
//! definition also holds what newer versions dropped. Nothing is refused: a
//! segment without a place stays in the group where it stands.

use std::borrow::Cow;

use crate::issue::Issue;
use crate::message::Message;

mod derive;
mod matcher;
mod missing;
mod plan;
mod search;
mod tree;

pub use derive::structure_id;
pub use tree::{GroupId, GroupTree, Item};

/// Puts the segments of a message into the groups of its structure, and says
/// which ones have no place there or are missing.
///
/// Reads as a clinician would: a note belongs to what it follows; an order
/// header and its detail stay together; a segment that comes late (a visit after
/// the order) goes to the group that it belongs to, with an issue. Takes one
/// pass over the segments. An unknown structure is grouped by the default of its
/// message code, or else like results; then [`GroupTree::known`] is false.
///
/// ```
/// let bytes = b"MSH|^~\\&|LAB|NORTH|||20250314||ORU^R01|42|P|2.3\rPID|||4711\rOBR|1\rOBX|1\rNTE|1\r";
/// let (message, _) = hl7v2::parse(bytes)?;
/// let (tree, _) = hl7v2::structure::group(&message);
/// assert_eq!(tree.structure(), "ORU_R01");
/// let note = tree.group_of(4);
/// assert_eq!(tree.path(note), "PATIENT_RESULT.ORDER_OBSERVATION.OBSERVATION");
/// assert_eq!(tree.segments(note).collect::<Vec<_>>(), [3, 4]);
/// # Ok::<(), hl7v2::ParseError>(())
/// ```
#[must_use]
pub fn group(message: &Message<'_>) -> (GroupTree, Vec<Issue>) {
    let mut issues = Vec::new();
    let id = derive::structure_of(message, &mut issues);
    let (plan, known) = plan::for_structure(&id);
    let name = if plan.id().is_empty() {
        id
    } else {
        Cow::Borrowed(plan.id())
    };
    let tree = matcher::Matcher::new(plan, message).run(name, known, &mut issues);
    missing::report(&tree, plan, message, &mut issues);
    (tree, issues)
}

#[cfg(test)]
mod tests;
