//! From a path of the plan to a node of the message, and the conditions that look there.

use std::borrow::Cow;
use std::cell::Cell;

use hl7v2::structure::{GroupId, Item};
use hl7v2::{Leaves, Node, Segment};

use super::{Run, helpers};
use crate::plan::{Access, Asked, Comparison, Condition, Field, Form, Needs, Of, Root, short};

/// How many segment lookups are remembered.
pub(crate) const CACHE: usize = 64;

/// A remembered lookup: from which group, for which name, and where it is in the message.
pub(crate) type Lookup = (Option<GroupId>, [u8; 3], Option<usize>);

/// A remembered answer of an enclosing group: which, asked for what, by an inner group of which name.
pub(crate) type Climbed<'r> = (Option<GroupId>, [u8; 3], &'r str, Option<usize>);

/// Where the engine stands.
#[derive(Clone, Copy)]
pub(crate) struct Here<'r> {
    pub segment: Segment<'r>,
    pub name: [u8; 3],
    /// The segment, as rules ask for it.
    of: Of,
    /// Which of its fields have bytes, see [`Segment::present_fields`].
    pub present: u64,
    pub group: GroupId,
    /// The value being mapped.
    pub current: Option<Node<'r>>,
    /// Which of its parts have bytes, see [`Node::present_children`].
    pub parts: u64,
}

impl<'r> Here<'r> {
    pub fn new(segment: Segment<'r>, group: GroupId) -> Here<'r> {
        Here {
            segment,
            name: segment.id(),
            of: Of::segment(segment.id()),
            present: segment.present_fields(),
            group,
            current: None,
            parts: 0,
        }
    }

    #[inline]
    pub fn at(&self, current: Node<'r>) -> Here<'r> {
        Here {
            current: Some(current),
            parts: current.present_children(),
            ..*self
        }
    }
}

impl<'r> Run<'r> {
    pub(crate) fn node(&self, access: Access, here: &Here<'r>) -> Option<Node<'r>> {
        let mut node = match access.root {
            Root::Current => here.current?,
            Root::Segment(name) => self.segment(name, here)?.field(usize::from(access.field)),
        };
        if access.repetition > 0 {
            node = node.repetition(usize::from(access.repetition));
        }
        if access.component > 0 {
            node = node.child(usize::from(access.component));
            if access.subcomponent > 0 {
                node = node.child(usize::from(access.subcomponent));
            }
        }
        Some(node)
    }

    /// The leaves at a path; none where there is nothing.
    #[inline]
    pub(crate) fn leaves(&self, access: Access, here: &Here<'r>) -> Leaves {
        let Access {
            root,
            field,
            repetition,
            component,
            subcomponent,
        } = access;
        match root {
            Root::Current => here.current.map_or(Leaves::NONE, |node| {
                node.part_leaves(repetition, component, subcomponent)
            }),
            Root::Segment(name) => self.segment(name, here).map_or(Leaves::NONE, |segment| {
                segment.part_leaves(field, repetition, component, subcomponent)
            }),
        }
    }

    /// The fields or parts that have bytes, of what the needs are about; `None` when that is unknown or stands elsewhere.
    #[inline]
    fn present(needs: &Needs, here: &Here<'r>) -> Option<u64> {
        if needs.of == here.of {
            Some(here.present)
        } else if needs.of == Of::CURRENT {
            Some(here.parts)
        } else {
            None
        }
    }

    /// A first look: `false` when a rule with these needs, or a field of such rules, has nothing to do here.
    #[inline]
    pub(crate) fn may_have_needs(&self, needs: &Needs, here: &Here<'r>) -> bool {
        if let Some(present) = Self::present(needs, here)
            && needs.bits & present == 0
        {
            return false;
        }
        match needs.asked {
            // A rule tells of a value that the sender deletes before it compares anything.
            Some(asked) => self.has_nulls || self.is_one_of(asked, here),
            None => true,
        }
    }

    /// Whether the message has anything of what a rule can't do without.
    #[inline]
    pub(crate) fn has_needs(&self, needs: &Needs, here: &Here<'r>) -> bool {
        self.may_have_needs(needs, here)
            && (needs.places.is_empty()
                || (needs.whole && Self::present(needs, here).is_some())
                || self.has_any(&needs.places, here))
    }

    /// As [`Run::has_needs`], for a rule of a field that passed the first look: of a single rule that was all but the last.
    #[inline]
    pub(crate) fn has_needs_in(&self, field: &Field, needs: &Needs, here: &Here<'r>) -> bool {
        if field.choice || field.rules.len() != 1 {
            return self.has_needs(needs, here);
        }
        needs.places.is_empty()
            || (needs.whole && Self::present(needs, here).is_some())
            || self.has_any(&needs.places, here)
    }

    fn has_any(&self, places: &[Access], here: &Here<'r>) -> bool {
        places
            .iter()
            .any(|access| match Self::is_there(*access, here) {
                Some((false, _)) => false,
                Some((true, true)) => true,
                _ => self.message.is_present(self.leaves(*access, here)),
            })
    }

    /// What the bits of what is present say: whether the field or part of the place has bytes, and whether that is all of
    /// the place; `None` when they do not tell.
    #[inline]
    fn is_there(access: Access, here: &Here<'r>) -> Option<(bool, bool)> {
        let (present, number, whole) = match access.root {
            Root::Segment(name) if name == here.name => {
                let whole = access.repetition == 0 && access.component == 0;
                (here.present, access.field, whole)
            }
            Root::Current if access.repetition == 0 && access.component > 0 => {
                (here.parts, access.component, access.subcomponent == 0)
            }
            _ => return None,
        };
        (number < 64).then(|| (present >> number & 1 != 0, whole))
    }

    /// Whether nothing can be at the place; `false` when it takes more than a look at the bits to know.
    #[inline]
    fn is_absent(access: Access, here: &Here<'r>) -> bool {
        matches!(Self::is_there(access, here), Some((false, _)))
    }

    /// Whether the place has a value; most are told by the bits of what is present.
    #[inline]
    fn is_valued(&self, access: Access, here: &Here<'r>) -> bool {
        match Self::is_there(access, here) {
            Some((false, _)) => false,
            Some((true, true)) if !self.has_nulls => true,
            _ => self.message.is_valued(self.leaves(access, here)),
        }
    }

    /// Whether the text at a probe's place is one of those asked for.
    #[inline]
    pub(crate) fn is_one_of(&self, asked: Asked, here: &Here<'r>) -> bool {
        let segment = self.first_segment.wrapping_add(here.segment.index());
        let answer = match self.answers.get(asked.probe).map(Cell::get) {
            Some((of, text)) if of == segment => text,
            _ => self.answer(asked, here),
        };
        asked.texts >> answer & 1 != 0
    }

    /// Which of its texts stands at the probe's place, from 1; 0 for any other.
    #[inline(never)]
    fn answer(&self, asked: Asked, here: &Here<'r>) -> u8 {
        let Some(probe) = self.plan.probes.get(asked.probe) else {
            return 0;
        };
        let text = self.peek_at(probe.access, here);
        let found = match short(&text) {
            Some(text) => probe.shorts.iter().position(|known| *known == text),
            None => probe.texts.iter().position(|known| *known == *text),
        };
        let answer = found.map_or(0, |before| u8::try_from(before + 1).unwrap_or(0));
        if let Some(known) = self.answers.get(asked.probe) {
            let segment = self.first_segment.wrapping_add(here.segment.index());
            known.set((segment, answer));
        }
        answer
    }

    /// The segment of that name that belongs to where we stand.
    #[inline]
    pub(crate) fn segment(&self, name: [u8; 3], here: &Here<'r>) -> Option<Segment<'r>> {
        if here.name == name {
            return Some(here.segment);
        }
        self.other_segment(name, here)
    }

    fn other_segment(&self, name: [u8; 3], here: &Here<'r>) -> Option<Segment<'r>> {
        if &name == b"MSH" {
            return self
                .message
                .segment(0)
                .filter(|segment| segment.id() == *b"MSH")
                .or_else(|| self.first(name));
        }
        let slot = cache_slot(name, here.group);
        if let Some((group, cached, found)) = self.cache.borrow().get(slot)
            && *group == Some(here.group)
            && *cached == name
        {
            return found.and_then(|index| self.message.segment(index));
        }
        let found = self.search(name, here.group);
        if let Some(entry) = self.cache.borrow_mut().get_mut(slot) {
            *entry = (Some(here.group), name, found.map(|segment| segment.index()));
        }
        found
    }

    fn search(&self, name: [u8; 3], mut group: GroupId) -> Option<Segment<'r>> {
        let mut came_from = "";
        loop {
            if let Some(segment) = self.in_group_remembered(group, name, came_from) {
                return Some(segment);
            }
            came_from = self.groups.name(group);
            group = self.groups.parent(group)?;
        }
    }

    /// A group with thousands of inner ones is asked by each of them: what it has is found once.
    fn in_group_remembered(
        &self,
        group: GroupId,
        name: [u8; 3],
        came_from: &'r str,
    ) -> Option<Segment<'r>> {
        if came_from.is_empty() {
            return self.in_group(group, name, came_from);
        }
        let slot = cache_slot(name, group);
        if let Some((of, asked, from, found)) = self.climbed.borrow().get(slot)
            && (*of, *asked, *from) == (Some(group), name, came_from)
        {
            return found.and_then(|index| self.message.segment(index));
        }
        let found = self.in_group(group, name, came_from);
        if let Some(entry) = self.climbed.borrow_mut().get_mut(slot) {
            *entry = (
                Some(group),
                name,
                came_from,
                found.map(|segment| segment.index()),
            );
        }
        found
    }

    fn first(&self, name: [u8; 3]) -> Option<Segment<'r>> {
        self.message.segments().find(|segment| segment.id() == name)
    }

    /// Directly in the group, else in a group inside it that is not another occurrence of where we come from.
    fn in_group(&self, group: GroupId, name: [u8; 3], came_from: &str) -> Option<Segment<'r>> {
        let items = self.groups.items(group);
        let direct = items.iter().find_map(|item| match item {
            Item::Segment { index, .. } => self
                .message
                .segment(*index)
                .filter(|segment| segment.id() == name),
            Item::Group(_) => None,
        });
        direct.or_else(|| {
            items.iter().find_map(|item| match item {
                Item::Group(inner) if self.groups.name(*inner) != came_from => {
                    self.in_group(*inner, name, "")
                }
                _ => None,
            })
        })
    }

    /// The text of a node's first leaf, without the blanks that senders pad with; nothing when absent or `""`.
    pub(crate) fn text(&mut self, node: Node<'r>) -> Option<Cow<'r, str>> {
        let text = self.raw_text(node);
        if text.is_empty() {
            return None;
        }
        self.take_first(node);
        if text == "\"\"" {
            self.take_null(node);
            return None;
        }
        if matches!(text, Cow::Owned(_)) {
            self.odd_text(node);
        }
        let text = trimmed(text);
        (!text.is_empty()).then_some(text)
    }

    /// As [`Run::text`] of the node at a path, without making the node.
    #[inline]
    pub(crate) fn text_at(&mut self, access: Access, here: &Here<'r>) -> Option<Cow<'r, str>> {
        if Self::is_absent(access, here) {
            return None;
        }
        let leaves = self.leaves(access, here);
        match self.plain(leaves) {
            Some("") => None,
            Some("\"\"") | None => {
                let node = self.node(access, here)?;
                self.text(node)
            }
            Some(text) => {
                self.take_leaf(leaves.range().start);
                let text = trimmed_text(text);
                (!text.is_empty()).then_some(Cow::Borrowed(text))
            }
        }
    }

    #[inline]
    fn raw_text(&self, node: Node<'r>) -> Cow<'r, str> {
        match self.plain(node.run()) {
            Some(text) => Cow::Borrowed(text),
            None => node.text(),
        }
    }

    /// The text of the first of these leaves as it stands, when the whole message is plain.
    #[inline]
    fn plain(&self, leaves: Leaves) -> Option<&'r str> {
        self.plain?.get(self.message.leaf_bytes(leaves))
    }

    /// The text for a test: nothing is marked as taken.
    pub(crate) fn peek(&self, node: Node<'r>) -> Cow<'r, str> {
        match self.raw_text(node) {
            text if text == "\"\"" => Cow::Borrowed(""),
            text => trimmed(text),
        }
    }

    /// The text at a path for a test.
    #[inline]
    fn peek_at(&self, access: Access, here: &Here<'r>) -> Cow<'r, str> {
        if Self::is_absent(access, here) {
            return Cow::Borrowed("");
        }
        match self.plain(self.leaves(access, here)) {
            Some("\"\"") => Cow::Borrowed(""),
            Some(text) => Cow::Borrowed(trimmed_text(text)),
            None => self
                .node(access, here)
                .map_or(Cow::Borrowed(""), |node| self.peek(node)),
        }
    }

    pub(crate) fn holds(&self, condition: &Condition, here: &Here<'r>) -> bool {
        let text = |access: &Access| self.peek_at(*access, here);
        match condition {
            Condition::All(parts) => parts.iter().all(|part| self.holds(part, here)),
            Condition::Any(parts) => parts.iter().any(|part| self.holds(part, here)),
            Condition::Not(inner) => !self.holds(inner, here),
            Condition::Valued(access) => self.is_valued(*access, here),
            Condition::OneOf(asked) => self.is_one_of(*asked, here),
            Condition::Null(access) => self.node(*access, here).is_some_and(|node| node.is_null()),
            Condition::Equals(access, value) => text(access) == value.as_str(),
            Condition::In(access, values) => {
                let text = text(access);
                values.iter().any(|value| value.as_str() == text)
            }
            Condition::Count(access, comparison, number) => {
                let count = self
                    .node(*access, here)
                    .map_or(0, |node| node.repetitions().filter(Node::is_valued).count());
                match comparison {
                    Comparison::Equal => count == *number,
                    Comparison::NotEqual => count != *number,
                    Comparison::Less => count < *number,
                    Comparison::LessOrEqual => count <= *number,
                    Comparison::Greater => count > *number,
                    Comparison::GreaterOrEqual => count >= *number,
                }
            }
            Condition::Is(access, form) => has_form(&text(access), *form),
            Condition::StartsWith(access, start) => text(access).starts_with(start.as_str()),
            Condition::Contains(access, part) => text(access).contains(part.as_str()),
            Condition::Same(left, right) => {
                let whole = |access: &Access| {
                    self.node(*access, here)
                        .map_or(Cow::Borrowed(""), |node| node.whole_text())
                };
                whole(left).trim() == whole(right).trim()
            }
            Condition::Policy(policy, value) => self
                .state
                .policies
                .get(*policy)
                .is_some_and(|set| set == value),
            Condition::Switch(switch) => self.state.switches.get(*switch) == Some(&true),
            Condition::Bound(name) => self.bound(*name).is_some(),
        }
    }

    /// A rule that had an effect has used what its condition looked at.
    pub(crate) fn take_condition(&mut self, condition: &Condition, here: &Here<'r>) {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => parts
                .iter()
                .for_each(|part| self.take_condition(part, here)),
            Condition::Not(inner) => self.take_condition(inner, here),
            Condition::Equals(access, _) | Condition::In(access, _) => {
                self.take_first_of(self.leaves(*access, here));
            }
            Condition::OneOf(asked) => {
                if let Some(probe) = self.plan.probes.get(asked.probe) {
                    self.take_first_of(self.leaves(probe.access, here));
                }
            }
            _ => {}
        }
    }
}

/// Without blanks around it; most texts have none.
#[inline]
fn trimmed_text(text: &str) -> &str {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte <= b' ' || *byte >= 0x80);
    let bytes = text.as_bytes();
    if edge(bytes.first()) || edge(bytes.last()) {
        text.trim()
    } else {
        text
    }
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(trimmed_text(text)),
        Cow::Owned(text) => match trimmed_text(&text) {
            inner if inner.len() == text.len() => Cow::Owned(text),
            inner => Cow::Owned(inner.to_owned()),
        },
    }
}

/// Where a lookup is remembered: most messages ask for few names from few groups at a time.
fn cache_slot(name: [u8; 3], group: GroupId) -> usize {
    let [a, b, c] = name.map(usize::from);
    (a.wrapping_mul(7) ^ b.wrapping_mul(31) ^ c.wrapping_mul(11) ^ group.index()) % CACHE
}

/// Whether a text can be read as that form.
pub(crate) fn has_form(text: &str, form: Form) -> bool {
    use hl7v2::dtm::{Tolerance, parse, parse_tm};
    match form {
        Form::Number => {
            text.bytes().any(|byte| byte.is_ascii_digit())
                && fhir::tree::is_json_number(&super::slot::decimal(text))
        }
        Form::Quantity => helpers::quantity(text).is_some(),
        Form::Ratio => helpers::is_ratio(text),
        Form::Range => matches!(helpers::range(text), (Some(_), Some(_))),
        Form::Integer => {
            !text.is_empty()
                && text
                    .strip_prefix(['-', '+'])
                    .unwrap_or(text)
                    .bytes()
                    .all(|b| b.is_ascii_digit())
        }
        Form::Date => parse(text, Tolerance::LENIENT).is_ok(),
        Form::Time => parse_tm(text, Tolerance::LENIENT).is_ok(),
        Form::Oid => helpers::is_oid(text),
        Form::Uri => helpers::is_uri(text),
    }
}
