//! Puts segments into groups: a cursor over the structure that only moves forward.
//!
//! `stack` holds the open groups, each with the first of its children that may
//! still come. For every segment, from the innermost open group outwards:
//!
//! 1. the nearest place at or after the cursor that skips nothing required
//!    (a group that may repeat is such a place for its own next occurrence);
//! 2. in the same order, a place that skips what is required and does not come
//!    any more; a place that the cursor has passed; a group that has to open
//!    without its own first segment;
//! 3. a group once more than it may repeat (a second patient);
//! 4. no place: the segment stays in the group where it stands.
//!
//! A segment out of order must not move the cursor, or what follows it would be
//! torn off: it opens its groups as a *detour*, which the next segments may
//! join (an IN2 after a late IN1) and which ends at the first that does not.
//! The work per segment is bounded by the size of the structure.

use std::borrow::Cow;
use std::mem;

use super::plan::{Plan, Set};
use super::tree::{Group, GroupId, GroupTree, Item, Placed};
use crate::issue::{Issue, IssueCode};
use crate::message::Message;

/// No occurrence yet.
pub(super) const NONE: u32 = u32::MAX;

pub(super) struct Matcher<'m> {
    pub(super) plan: &'static Plan,
    pub(super) message: &'m Message<'m>,
    pub(super) groups: Vec<Group>,
    entries: Vec<(u32, Item)>,
    segments: Vec<Placed>,
    pub(super) stack: Vec<Frame>,
    detour: Vec<Frame>,
    /// The last occurrence of each group node.
    pub(super) last: Vec<u32>,
    /// The segment names that still come, and how many of each.
    pub(super) later: Set,
    remaining: Vec<u32>,
}

/// An open group.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) node: u16,
    pub(super) group: u32,
    /// The first child that may still come, counted from 0.
    pub(super) cursor: u16,
}

/// The segment at hand.
#[derive(Clone, Copy)]
pub(super) struct Current {
    pub(super) index: usize,
    pub(super) bit: Set,
}

// === impl Matcher ===

impl<'m> Matcher<'m> {
    pub(super) fn new(plan: &'static Plan, message: &'m Message<'m>) -> Self {
        Self {
            plan,
            message,
            groups: Vec::with_capacity(message.segment_count() + 1),
            entries: Vec::with_capacity(2 * message.segment_count()),
            segments: Vec::with_capacity(message.segment_count()),
            stack: Vec::with_capacity(8),
            detour: Vec::new(),
            last: vec![NONE; plan.node_count()],
            later: 0,
            remaining: vec![0; plan.name_count()],
        }
    }

    pub(super) fn run(
        mut self,
        structure: Cow<'static, str>,
        known: bool,
        issues: &mut Vec<Issue>,
    ) -> GroupTree {
        self.groups.push(Group {
            name: "",
            node: 0,
            parent: 0,
            first_item: 0,
            items: 0,
            used: 0,
        });
        self.stack.push(Frame {
            node: 0,
            group: 0,
            cursor: 0,
        });
        for segment in self.message.segments() {
            if let Some(number) = self.plan.number_of(segment.id()) {
                self.later |= 1 << number;
                if let Some(count) = self.remaining.get_mut(usize::from(number)) {
                    *count += 1;
                }
            }
        }
        for segment in self.message.segments() {
            let id = segment.id();
            let fits = match self.plan.number_of(id) {
                Some(number) => self.take(segment.index(), number, id),
                None => self.take_any(segment.index()),
            };
            // what a site defined itself is in no structure, and a line without a name has its own issue
            if !fits && !segment.name().starts_with('Z') && segment.name() != "???" {
                issues.push(Issue {
                    code: IssueCode::SegmentMisplaced,
                    place: Some(segment.place()),
                    offset: segment.offset(),
                });
            }
        }
        self.finish(structure, known)
    }

    /// Finds a place for a segment of the structure; false when it had none where it stands.
    fn take(&mut self, index: usize, number: u8, name: [u8; 3]) -> bool {
        if let Some(count) = self.remaining.get_mut(usize::from(number)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.later &= !(1 << number);
            }
        }
        let current = Current {
            index,
            bit: 1 << number,
        };
        let mut detour = mem::take(&mut self.detour);
        if self.in_order(&mut detour, current) {
            self.detour = detour;
            return true;
        }
        let innermost = detour.last().or(self.stack.last()).copied();
        let mut stack = mem::take(&mut self.stack);
        let fits = self.in_order(&mut stack, current);
        self.stack = stack;
        if fits {
            return true;
        }
        if matches!(&name, b"NTE" | b"PRT" | b"ROL" | b"ARV") {
            self.detour = detour;
            self.attach(innermost, current);
            return false;
        }
        match self.out_of_order(current) {
            Some(in_order) => in_order,
            None => {
                self.detour = detour;
                self.keep(innermost, current.index);
                false
            }
        }
    }

    /// A segment that the structure does not have: where it takes any, or where it stands.
    fn take_any(&mut self, index: usize) -> bool {
        let wildcard = self.plan.wildcard;
        for depth in (0..self.stack.len()).rev() {
            let Some(frame) = self.stack.get(depth).copied() else {
                continue;
            };
            if Some(frame.node) == wildcard {
                self.stack.truncate(depth + 1);
                self.add_segment(frame.group, index, true, "");
                return true;
            }
            let inside = self
                .plan
                .children(frame.node)
                .position(|child| Some(child) == wildcard);
            if let Some(offset) = inside.and_then(|offset| u16::try_from(offset).ok()) {
                self.stack.truncate(depth + 1);
                let group = self.open(frame, offset);
                self.stack.push(group);
                self.add_segment(group.group, index, true, "");
                return true;
            }
        }
        let innermost = self.detour.last().or(self.stack.last()).copied();
        self.keep(innermost, index);
        false
    }

    // --- 1: in order

    fn in_order(&mut self, frames: &mut Vec<Frame>, current: Current) -> bool {
        for depth in (0..frames.len()).rev() {
            let Some(frame) = frames.get(depth).copied() else {
                continue;
            };
            let Some(offset) = self.next_place(frame, current) else {
                continue;
            };
            frames.truncate(depth + 1);
            self.enter(frames, offset, current);
            return true;
        }
        false
    }

    // --- 2 and 3: out of order

    /// Whether a place was found, and whether that leaves the order as the structure has it.
    fn out_of_order(&mut self, current: Current) -> Option<bool> {
        for depth in (0..self.stack.len()).rev() {
            let Some(frame) = self.stack.get(depth).copied() else {
                continue;
            };
            if let Some(in_order) = self.skip_to(depth, frame, current) {
                return Some(in_order);
            }
            if let Some((group, offset)) = self.passed_place(frame, current) {
                self.side_step(group, offset, current);
                return Some(false);
            }
            if let Some(offset) = self.headless_place(frame, current) {
                self.stack.truncate(depth + 1);
                let mut stack = mem::take(&mut self.stack);
                self.enter(&mut stack, offset, current);
                self.stack = stack;
                return Some(true);
            }
        }
        let once_more = self.stack.iter().rev().find_map(|frame| {
            let mut children = self.children(*frame);
            let (offset, _) =
                children.find(|(_, child)| child.group && self.can_start(child, current))?;
            Some((*frame, offset))
        });
        let (frame, offset) = once_more?;
        self.side_step(frame, offset, current);
        Some(false)
    }

    /// A place after something required that is not there. When that still
    /// comes, the cursor waits for it.
    fn skip_to(&mut self, depth: usize, frame: Frame, current: Current) -> Option<bool> {
        let found = self
            .children(frame)
            .skip(frame.cursor.into())
            .find(|(offset, child)| {
                self.can_start(child, current)
                    && (child.repeats || !self.is_used(frame.group, *offset))
            });
        let (offset, _) = found?;
        let waits = self
            .children(frame)
            .take(offset.into())
            .skip(frame.cursor.into())
            .any(|(at, child)| {
                child.required && !self.is_used(frame.group, at) && child.starts & self.later != 0
            });
        if waits {
            self.side_step(frame, offset, current);
            return Some(false);
        }
        self.stack.truncate(depth + 1);
        let mut stack = mem::take(&mut self.stack);
        self.enter(&mut stack, offset, current);
        self.stack = stack;
        Some(true)
    }

    /// Places the segment without moving the cursor.
    fn side_step(&mut self, frame: Frame, offset: u16, current: Current) {
        let mut detour = vec![frame];
        self.enter(&mut detour, offset, current);
        detour.remove(0);
        detour.append(&mut self.detour);
        self.detour = detour;
    }

    // --- 4: no place

    /// A note or participation belongs to what stands before it, or to the
    /// group that this is a detail of; never to something further off.
    fn attach(&mut self, innermost: Option<Frame>, current: Current) {
        let mut at = innermost;
        while let Some(frame) = at {
            let direct = self
                .children(frame)
                .filter(|(_, child)| !child.group && child.starts & current.bit != 0);
            let (passed, ahead): (Vec<_>, Vec<_>) =
                direct.partition(|(offset, _)| *offset < frame.cursor);
            if let Some((offset, child)) = passed.last().or(ahead.first()).copied()
                && (child.repeats || !self.is_used(frame.group, offset))
            {
                self.mark_used(frame.group, offset);
                self.add_segment(frame.group, current.index, true, child.follows);
                return;
            }
            let head = self.children(frame).next().map(|(_, child)| child.name);
            if !matches!(head, Some("TQ1" | "PV1" | "ORC")) || frame.node == 0 {
                break;
            }
            at = self.around(frame);
        }
        self.keep(innermost, current.index);
    }

    fn keep(&mut self, frame: Option<Frame>, index: usize) {
        self.add_segment(frame.map_or(0, |frame| frame.group), index, false, "");
    }

    // --- steps

    /// Places the segment at a child of the last frame, opening the groups on
    /// the way and moving the cursors behind it.
    fn enter(&mut self, frames: &mut Vec<Frame>, offset: u16, current: Current) {
        let mut offset = offset;
        let mut beside: Option<Vec<Frame>> = None;
        self.detour.clear();
        loop {
            let frames = beside.as_mut().unwrap_or(&mut *frames);
            let Some(frame) = frames.last_mut() else {
                break;
            };
            let Some(child) = self.plan.child(frame.node, offset) else {
                break;
            };
            frame.cursor = frame.cursor.max(offset + u16::from(!child.repeats));
            let frame = *frame;
            if !child.group {
                self.mark_used(frame.group, offset);
                self.add_segment(frame.group, current.index, true, child.follows);
                break;
            }
            let opened = self.open(frame, offset);
            frames.push(opened);
            let Some(inner) = self.way_in(opened, current) else {
                // cannot be, as `holds` says; a segment must not be lost all the same
                self.keep(Some(opened), current.index);
                break;
            };
            offset = inner;
            if self.waits_for_head(opened, inner, current) {
                // a copy of the frame goes on without moving the cursor of the one that waits
                beside = Some(vec![opened]);
            }
        }
        if let Some(mut beside) = beside {
            beside.remove(0);
            self.detour = beside;
        }
    }

    fn open(&mut self, frame: Frame, offset: u16) -> Frame {
        let node = self.plan.children(frame.node).start + offset;
        let group = u32::try_from(self.groups.len()).unwrap_or(NONE);
        self.mark_used(frame.group, offset);
        let name = self.plan.node(node).map_or("", |node| node.name);
        self.groups.push(Group {
            name,
            node,
            parent: frame.group,
            first_item: 0,
            items: 0,
            used: 0,
        });
        self.entries
            .push((frame.group, Item::Group(GroupId(group))));
        if let Some(last) = self.last.get_mut(usize::from(node)) {
            *last = group;
        }
        Frame {
            node,
            group,
            cursor: 0,
        }
    }

    fn add_segment(&mut self, group: u32, index: usize, placed: bool, follows: &'static str) {
        self.entries.push((group, Item::Segment { index, placed }));
        self.segments.push(Placed { group, follows });
    }

    fn mark_used(&mut self, group: u32, offset: u16) {
        if let Some(group) = self.groups.get_mut(group as usize) {
            group.used |= 1_u128.checked_shl(offset.into()).unwrap_or(0);
        }
    }

    /// Sorts the items by group; within a group they are in order already.
    fn finish(mut self, structure: Cow<'static, str>, known: bool) -> GroupTree {
        for (group, _) in &self.entries {
            if let Some(group) = self.groups.get_mut(*group as usize) {
                group.items += 1;
            }
        }
        let mut first = 0;
        for group in &mut self.groups {
            group.first_item = first;
            first += mem::take(&mut group.items);
        }
        let mut items = vec![Item::Group(GroupId(0)); self.entries.len()];
        for (group, item) in &self.entries {
            if let Some(group) = self.groups.get_mut(*group as usize) {
                if let Some(slot) = items.get_mut((group.first_item + group.items) as usize) {
                    *slot = *item;
                }
                group.items += 1;
            }
        }
        GroupTree {
            structure,
            known,
            groups: self.groups,
            items,
            segments: self.segments,
        }
    }
}
