//! The groups of one message.

use std::borrow::Cow;
use std::fmt;

/// A group occurrence of a [`GroupTree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub(super) u32);

impl GroupId {
    /// Position among the group occurrences of its tree; the root is 0.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a group holds, in message order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A segment directly in the group.
    Segment {
        /// Position of the segment in the message, counted from 0.
        index: usize,
        /// Whether the structure has a place for it in this group. When not, it
        /// is kept in the group where it stands.
        placed: bool,
    },
    /// A group in the group.
    Group(GroupId),
}

/// The segments of a message in the groups of its structure.
///
/// Every segment of the message is in exactly one group. The root is the
/// message itself and has the name of the structure.
pub struct GroupTree {
    pub(super) structure: Cow<'static, str>,
    pub(super) known: bool,
    pub(super) groups: Vec<Group>,
    pub(super) items: Vec<Item>,
    pub(super) segments: Vec<Placed>,
}

/// One occurrence of a group.
pub(super) struct Group {
    pub(super) name: &'static str,
    /// Which node of the plan it is an occurrence of.
    pub(super) node: u16,
    pub(super) parent: u32,
    pub(super) first_item: u32,
    pub(super) items: u32,
    /// Which children of the node were used, one bit each.
    pub(super) used: u128,
}

/// Where a segment went.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) group: u32,
    /// The segment that a place follows, when its group has several places for
    /// segments of that name; else empty.
    pub(super) follows: &'static str,
}

// === impl GroupTree ===

impl GroupTree {
    /// Id of the structure that the segments were grouped by, `ORU_R01`. The one
    /// that MSH-9 names when nothing is known about that.
    #[must_use]
    pub fn structure(&self) -> &str {
        &self.structure
    }

    /// Whether MSH-9 leads to a structure that the standard has. When not, the
    /// groups are a best effort.
    #[must_use]
    pub fn known(&self) -> bool {
        self.known
    }

    /// The message itself.
    #[must_use]
    pub fn root(&self) -> GroupId {
        GroupId(0)
    }

    /// How many group occurrences there are, the root included. Their ids
    /// count from the root on, every group after the one around it.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// All group occurrences, the root first.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = GroupId> + use<> {
        (0..u32::try_from(self.groups.len()).unwrap_or(u32::MAX)).map(GroupId)
    }

    /// Name of the group, `ORDER_OBSERVATION`; for the root the structure.
    #[must_use]
    pub fn name(&self, group: GroupId) -> &str {
        match self.get(group) {
            Some(found) if group.0 > 0 => found.name,
            _ => &self.structure,
        }
    }

    /// Names from the root down without the root, `PATIENT_RESULT.PATIENT`;
    /// empty for the root.
    #[must_use]
    pub fn path(&self, group: GroupId) -> String {
        let mut names = Vec::new();
        let mut at = group;
        while let Some(parent) = self.parent(at) {
            names.push(self.name(at));
            at = parent;
        }
        names.reverse();
        names.join(".")
    }

    /// The group around it; `None` for the root.
    #[must_use]
    pub fn parent(&self, group: GroupId) -> Option<GroupId> {
        let found = self.get(group)?;
        (group.0 > 0).then_some(GroupId(found.parent))
    }

    /// What is in the group, in message order.
    #[must_use]
    pub fn items(&self, group: GroupId) -> &[Item] {
        let Some(found) = self.get(group) else {
            return &[];
        };
        let first = found.first_item as usize;
        self.items
            .get(first..first + found.items as usize)
            .unwrap_or_default()
    }

    /// The positions of the segments directly in the group, in message order.
    pub fn segments(&self, group: GroupId) -> impl Iterator<Item = usize> + '_ {
        self.items(group).iter().filter_map(|item| match item {
            Item::Segment { index, .. } => Some(*index),
            Item::Group(_) => None,
        })
    }

    /// The groups directly in the group, in message order.
    pub fn subgroups(&self, group: GroupId) -> impl Iterator<Item = GroupId> + '_ {
        self.items(group).iter().filter_map(|item| match item {
            Item::Group(inner) => Some(*inner),
            Item::Segment { .. } => None,
        })
    }

    /// The group that a segment is directly in; the root for a position that the
    /// message does not have.
    #[must_use]
    pub fn group_of(&self, segment_index: usize) -> GroupId {
        self.segments
            .get(segment_index)
            .map_or(self.root(), |placed| GroupId(placed.group))
    }

    /// Tells apart the places of one segment name in one group: a ROL of an
    /// ADT_A01 follows `PID` or `PV1`. `None` when the group has only one place
    /// for that name, or none.
    #[must_use]
    pub fn follows(&self, segment_index: usize) -> Option<&'static str> {
        self.segments
            .get(segment_index)
            .map(|placed| placed.follows)
            .filter(|name| !name.is_empty())
    }

    fn get(&self, group: GroupId) -> Option<&Group> {
        self.groups.get(group.0 as usize)
    }
}

impl fmt::Debug for GroupTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "GroupTree({}, {} groups, {} segments)",
            self.structure,
            self.groups.len(),
            self.segments.len()
        )
    }
}
