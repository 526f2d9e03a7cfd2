//! Where a segment could go: the questions that the matcher asks its plan.

use super::matcher::{Current, Frame, Matcher, NONE};
use super::plan::PlanNode;

/// How far to look for the TXA of a document that starts with an OBX.
const DOCUMENT_LOOKAHEAD: usize = 64;

// === impl Matcher ===

impl Matcher<'_> {
    /// The nearest child at or after the cursor that the segment can start,
    /// nothing required being skipped.
    pub(super) fn next_place(&self, frame: Frame, current: Current) -> Option<u16> {
        for (offset, child) in self.children(frame).skip(frame.cursor.into()) {
            if child.starts & current.bit != 0 && self.may_open(child, current) {
                return Some(offset);
            }
            if child.required && !self.is_used(frame.group, offset) {
                return None;
            }
        }
        None
    }

    /// A place that the cursor has passed and that has room: in this group, or
    /// in the last occurrence of a group in it.
    pub(super) fn passed_place(&self, frame: Frame, current: Current) -> Option<(Frame, u16)> {
        let mut passed: Vec<_> = self.children(frame).take(frame.cursor.into()).collect();
        passed.reverse();
        passed
            .into_iter()
            .find_map(|(offset, child)| self.room(frame, offset, child, current))
    }

    fn room(
        &self,
        frame: Frame,
        offset: u16,
        child: &PlanNode,
        current: Current,
    ) -> Option<(Frame, u16)> {
        if child.holds & current.bit == 0 {
            return None;
        }
        if self.can_start(child, current) && (child.repeats || !self.is_used(frame.group, offset)) {
            return Some((frame, offset));
        }
        let node = self.plan.children(frame.node).start + offset;
        let last = self
            .last
            .get(usize::from(node))
            .copied()
            .filter(|last| *last != NONE)?;
        let there = self
            .groups
            .get(last as usize)
            .filter(|group| group.parent == frame.group)?;
        let inner = Frame {
            node: there.node,
            group: last,
            cursor: 0,
        };
        self.children(inner)
            .find_map(|(offset, child)| self.room(inner, offset, child, current))
    }

    /// A group after the cursor that has a place for the segment, though not as its first.
    pub(super) fn headless_place(&self, frame: Frame, current: Current) -> Option<u16> {
        let mut ahead = self.children(frame).skip(frame.cursor.into());
        let found = ahead.find(|(offset, child)| {
            child.group
                && !child.strict
                && child.holds & current.bit != 0
                && self.may_open(child, current)
                && (child.repeats || !self.is_used(frame.group, *offset))
        });
        found.map(|(offset, _)| offset)
    }

    /// Which child of a group just opened leads to the place of the segment.
    pub(super) fn way_in(&self, frame: Frame, current: Current) -> Option<u16> {
        let starts = |child: &PlanNode| self.can_start(child, current);
        let holds = |child: &PlanNode| {
            child.holds & current.bit != 0 && !child.strict && self.may_open(child, current)
        };
        self.next_place(frame, current)
            .or_else(|| {
                self.children(frame)
                    .find(|(_, child)| starts(child))
                    .map(|(offset, _)| offset)
            })
            .or_else(|| {
                self.children(frame)
                    .find(|(_, child)| holds(child))
                    .map(|(offset, _)| offset)
            })
    }

    /// Whether a group that opened without its first segment should still take
    /// it: a visit before its patient, an order header before its detail. Not a
    /// detail before its header: that header is the next order's.
    pub(super) fn waits_for_head(&self, frame: Frame, offset: u16, current: Current) -> bool {
        let order = self
            .plan
            .number("ORC")
            .is_some_and(|number| current.bit == 1 << number);
        self.children(frame).take(offset.into()).any(|(_, child)| {
            child.required && child.starts & self.later != 0 && (order || child.name == "PID")
        })
    }

    pub(super) fn children(
        &self,
        frame: Frame,
    ) -> impl Iterator<Item = (u16, &'static PlanNode)> + use<> {
        let plan = self.plan;
        (0_u16..).zip(plan.nodes_in(frame.node))
    }

    pub(super) fn around(&self, frame: Frame) -> Option<Frame> {
        let group = self.groups.get(frame.group as usize)?.parent;
        let open = self.stack.iter().find(|open| open.group == group).copied();
        open.or_else(|| {
            Some(Frame {
                node: self.groups.get(group as usize)?.node,
                group,
                cursor: 0,
            })
        })
    }

    pub(super) fn can_start(&self, child: &PlanNode, current: Current) -> bool {
        child.starts & current.bit != 0 && self.may_open(child, current)
    }

    pub(super) fn may_open(&self, child: &PlanNode, current: Current) -> bool {
        if !child.needs_document {
            return true;
        }
        let following = (current.index + 1..)
            .take(DOCUMENT_LOOKAHEAD)
            .map_while(|at| self.message.segment(at));
        let next = following
            .map(|segment| segment.id())
            .find(|name| !matches!(name, b"OBX" | b"PRT" | b"NTE"));
        next == Some(*b"TXA")
    }

    pub(super) fn is_used(&self, group: u32, offset: u16) -> bool {
        let used = self
            .groups
            .get(group as usize)
            .map_or(0, |group| group.used);
        used & 1_u128.checked_shl(offset.into()).unwrap_or(0) != 0
    }
}
