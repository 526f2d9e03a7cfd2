//! A field, repetition, component or subcomponent.

use std::borrow::Cow;
use std::ops::Range;

use crate::escape;
use crate::index::Divider;
use crate::issue::Issue;
use crate::leaves::Leaves;
use crate::place::Place;
use crate::segment::Segment;

/// How deep a [`Node`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Between field delimiters; all its repetitions.
    Field,
    /// Between repetition delimiters.
    Repetition,
    /// Between component delimiters.
    Component,
    /// Between subcomponent delimiters.
    Subcomponent,
}

/// A field, repetition, component or subcomponent: a view on a run of leaves,
/// free to copy.
///
/// A node need not be there: asking for a missing part gives an absent node,
/// so that `segment.field(3).child(4).child(2).text()` never fails.
///
/// HL7 counts from the outside in: a field without delimiters in it is at the
/// same time its own first repetition, first component and first subcomponent.
/// So [`Node::child`] of a field is a component of its first repetition, and
/// [`Node::text`] of anything is its first leaf.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    segment: Segment<'a>,
    level: Level,
    /// Its leaves; empty when absent.
    first: u32,
    end: u32,
    field: u32,
    repetition: u32,
    component: u32,
    subcomponent: u32,
}

impl<'a> Node<'a> {
    #[inline]
    pub(crate) fn field(segment: Segment<'a>, number: usize, span: Option<(u32, u32)>) -> Self {
        let (first, end) = span.unwrap_or((0, 0));
        Self {
            segment,
            level: Level::Field,
            first,
            end,
            field: narrow(number),
            repetition: 1,
            component: 1,
            subcomponent: 1,
        }
    }

    /// How deep it is.
    #[must_use]
    #[inline]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Part `n` (from 1) one level down, absent when it is not there.
    ///
    /// Of a field it is a component of its **first** repetition; of a
    /// repetition a component; of a component a subcomponent; of a subcomponent
    /// itself when `n` is 1.
    #[must_use]
    #[inline]
    pub fn child(&self, n: usize) -> Self {
        let mut node = *self;
        let part = match self.level {
            Level::Field | Level::Repetition => {
                node.level = Level::Component;
                node.component = narrow(n);
                self.part(n, Divider::Component)
            }
            Level::Component => {
                node.level = Level::Subcomponent;
                node.subcomponent = narrow(n);
                let leaf = self.first.checked_add(narrow(n)).filter(|_| n > 0);
                leaf.filter(|end| *end <= self.end)
                    .map(|end| (end - 1, end))
            }
            Level::Subcomponent if n == 1 => return node,
            Level::Subcomponent => {
                node.subcomponent = narrow(n);
                None
            }
        };
        (node.first, node.end) = part.unwrap_or((0, 0));
        node
    }

    /// How many parts there are one level down, empty ones included; 0 when absent.
    #[must_use]
    pub fn child_count(&self) -> usize {
        let index = &self.segment.message().index;
        match self.level {
            Level::Field | Level::Repetition => {
                index.part_count((self.first, self.end), Divider::Component)
            }
            Level::Component => self.leaves().len(),
            Level::Subcomponent => usize::from(self.first < self.end),
        }
    }

    /// Which of parts 1 to 63 one level down have bytes, bit `n` for part `n`: bit `n` says what
    /// [`Node::is_present`] of [`Node::child`] `n` does.
    #[must_use]
    pub fn present_children(&self) -> u64 {
        let leaves = self.segment.message().index.leaves.get(self.leaves());
        let divider = match self.level {
            Level::Field | Level::Repetition => Divider::Component,
            Level::Component | Level::Subcomponent => Divider::Subcomponent,
        };
        let (mut bits, mut number) = (0, 1_u32);
        for (at, leaf) in leaves.unwrap_or_default().iter().enumerate() {
            let found = leaf.divider();
            if at > 0 && found > divider {
                break;
            }
            number += u32::from(at > 0 && found == divider);
            let present = u64::from(leaf.end() > leaf.start);
            bits |= present.checked_shl(number).unwrap_or(0);
        }
        bits
    }

    /// All parts one level down in their order, in linear time.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'a> {
        let mut node = *self;
        let mut parts = Parts::new(self, Divider::Component);
        let mut number = 0;
        let leaf_by_leaf = self.level >= Level::Component;
        let same = self.level == Level::Subcomponent;
        node.level = if leaf_by_leaf {
            Level::Subcomponent
        } else {
            Level::Component
        };
        std::iter::from_fn(move || {
            (node.first, node.end) = if leaf_by_leaf {
                parts.next_leaf()?
            } else {
                parts.next_part()?
            };
            number += 1;
            if !leaf_by_leaf {
                node.component = number;
            } else if !same {
                node.subcomponent = number;
            }
            Some(node)
        })
    }

    /// The repetitions of a field in their order, empty ones between others
    /// included; none of an absent or empty field. Anything but a field gives
    /// itself once when it is present.
    pub fn repetitions(&self) -> impl Iterator<Item = Self> + use<'a> {
        let mut node = *self;
        let mut parts = Parts::new(self, Divider::Repetition);
        let mut itself = self.level != Level::Field && self.is_present();
        let is_field = self.level == Level::Field;
        if is_field {
            node.level = Level::Repetition;
            node.repetition = 0;
            if self.raw().is_empty() {
                parts.first = parts.end;
            }
        }
        std::iter::from_fn(move || {
            if !is_field {
                return std::mem::take(&mut itself).then_some(node);
            }
            (node.first, node.end) = parts.next_part()?;
            node.repetition += 1;
            Some(node)
        })
    }

    /// Repetition `n` (from 1) of a field, absent when it is not there.
    /// Anything but a field is its own first repetition.
    #[must_use]
    pub fn repetition(&self, n: usize) -> Self {
        let mut node = *self;
        if self.level == Level::Field {
            node.level = Level::Repetition;
            node.repetition = narrow(n);
            let part = self.part(n, Divider::Repetition);
            (node.first, node.end) = part.unwrap_or((0, 0));
        } else if n != 1 {
            (node.first, node.end) = (0, 0);
        }
        node
    }

    /// How many repetitions [`Node::repetitions`] gives.
    #[must_use]
    pub fn repetition_count(&self) -> usize {
        if self.level != Level::Field {
            return usize::from(self.is_present());
        }
        if self.raw().is_empty() {
            return 0;
        }
        let index = &self.segment.message().index;
        index.part_count((self.first, self.end), Divider::Repetition)
    }

    /// Whether any leaf has bytes. `""` is present, `^^` is not.
    #[must_use]
    #[inline]
    pub fn is_present(&self) -> bool {
        let index = &self.segment.message().index;
        index.has_bytes(self.first, self.end)
    }

    /// Whether it is exactly `""`: the sender asks to delete the value (chapter 2.5.3).
    #[must_use]
    #[inline]
    pub fn is_null(&self) -> bool {
        self.raw() == b"\"\""
    }

    /// Present, and not the deletion `""`.
    #[must_use]
    #[inline]
    pub fn is_valued(&self) -> bool {
        self.is_present() && !self.is_null()
    }

    /// The bytes of the whole node, neither unescaped nor decoded, delimiters included.
    #[must_use]
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.segment.message().raw_leaves(self.leaves())
    }

    /// Where the bytes of the whole node stand in the input; an empty range when absent.
    #[must_use]
    pub fn bytes(&self) -> Range<usize> {
        let start = self.offset();
        start..start + self.raw().len()
    }

    /// The text of its first leaf, unescaped and decoded; empty when absent.
    ///
    /// Borrows from the message when there is nothing to unescape or decode.
    #[must_use]
    #[inline]
    pub fn text(&self) -> Cow<'a, str> {
        // In a plain message every leaf is text as it stands; nothing of it needs to be looked at again.
        match self.segment.message().plain_leaf(self.first, self.end) {
            Some(text) => Cow::Borrowed(text),
            None => self.checked_text(),
        }
    }

    fn checked_text(&self) -> Cow<'a, str> {
        let leaf = self.first_leaf();
        let raw = leaf.raw();
        let message = self.segment.message();
        let escape = message.delimiters.escape;
        let plain = |byte: &u8| (b' '..0x7F).contains(byte) && Some(*byte) != escape;
        // Plain ASCII means itself in every character set without shift states.
        if message.charset.encoding.is_ascii_compatible()
            && raw.iter().all(plain)
            && let Ok(text) = std::str::from_utf8(raw)
        {
            return Cow::Borrowed(text);
        }
        leaf.decoded(&mut |_, _| {})
    }

    /// The text of the whole node, unescaped and decoded, with the delimiters
    /// in it as they stand: for free text whose sender does not escape.
    #[must_use]
    pub fn whole_text(&self) -> Cow<'a, str> {
        self.decoded(&mut |_, _| {})
    }

    /// As [`Node::text`], and notes what is odd about escapes and characters.
    pub fn text_with(&self, issues: &mut Vec<Issue>) -> Cow<'a, str> {
        let leaf = self.first_leaf();
        let place = self.place();
        let start = leaf.offset();
        leaf.decoded(&mut |code, offset| {
            issues.push(Issue {
                code,
                place: Some(place),
                offset: start + offset,
            });
        })
    }

    /// Numbers of its leaves in the message; empty when absent.
    #[must_use]
    #[inline]
    pub fn leaves(&self) -> Range<usize> {
        self.first as usize..self.end as usize
    }

    /// The leaves of one of its parts: the same as those of [`Node::repetition`] and twice [`Node::child`], where 0 leaves
    /// a step out. For those who ask for a value and not for its place, at a fraction of the price.
    #[must_use]
    #[inline]
    pub fn part_leaves(&self, repetition: u16, component: u16, subcomponent: u16) -> Leaves {
        let index = &self.segment.message().index;
        let mut run = self.run();
        let mut level = self.level;
        if repetition > 0 {
            let number = usize::from(repetition);
            run = match level {
                Level::Field => index.run(run, number, Divider::Repetition),
                _ if number == 1 => run,
                _ => Leaves::NONE,
            };
            level = level.max(Level::Repetition);
        }
        for number in [component, subcomponent] {
            if number == 0 {
                break;
            }
            let number = usize::from(number);
            run = match level {
                Level::Field | Level::Repetition => index.run(run, number, Divider::Component),
                Level::Component => run.leaf(number),
                Level::Subcomponent if number == 1 => run,
                Level::Subcomponent => Leaves::NONE,
            };
            level = match level {
                Level::Field | Level::Repetition => Level::Component,
                Level::Component | Level::Subcomponent => Level::Subcomponent,
            };
        }
        run
    }

    /// Its leaves as a run.
    #[must_use]
    #[inline]
    pub fn run(&self) -> Leaves {
        Leaves {
            first: self.first,
            end: self.end,
        }
    }

    /// Where it is, or where it would be.
    #[must_use]
    pub fn place(&self) -> Place {
        let down_to = |level: Level, number: u32| (self.level >= level).then_some(number);
        Place {
            field: Some(self.field),
            repetition: down_to(Level::Repetition, self.repetition),
            component: down_to(Level::Component, self.component),
            subcomponent: down_to(Level::Subcomponent, self.subcomponent),
            ..self.segment.place()
        }
    }

    /// Offset of its first byte in the input; of its segment when absent.
    #[must_use]
    pub fn offset(&self) -> usize {
        let leaves = &self.segment.message().index.leaves;
        match leaves.get(self.first as usize) {
            Some(leaf) if self.first < self.end => leaf.range().start,
            _ => self.segment.offset(),
        }
    }

    /// The segment that it is part of.
    #[must_use]
    pub fn segment(&self) -> Segment<'a> {
        self.segment
    }

    /// The places of some of a field's leaves. The range must start with the node.
    pub(crate) fn leaf_places(
        &self,
        leaves: Range<usize>,
    ) -> impl Iterator<Item = Place> + use<'a> {
        let message = self.segment.message();
        let mut place = Place {
            repetition: Some(1),
            component: Some(1),
            subcomponent: Some(1),
            ..self.place()
        };
        let mut first = true;
        leaves.map(move |leaf| {
            let divider = message.index.leaves.get(leaf).map(|leaf| leaf.divider());
            let up = |number: &mut Option<u32>| *number = number.map(|number| number + 1);
            match divider {
                _ if std::mem::take(&mut first) => {}
                Some(Divider::Subcomponent) => up(&mut place.subcomponent),
                Some(Divider::Component) => {
                    up(&mut place.component);
                    place.subcomponent = Some(1);
                }
                _ => {
                    up(&mut place.repetition);
                    (place.component, place.subcomponent) = (Some(1), Some(1));
                }
            }
            place
        })
    }

    #[inline]
    fn part(&self, number: usize, divider: Divider) -> Option<(u32, u32)> {
        let index = &self.segment.message().index;
        index.part((self.first, self.end), number, divider)
    }

    fn first_leaf(&self) -> Self {
        let end = self.end.min(self.first.saturating_add(1));
        Self { end, ..*self }
    }

    fn decoded(&self, report: &mut dyn FnMut(crate::issue::IssueCode, usize)) -> Cow<'a, str> {
        let message = self.segment.message();
        let mut delimiters = message.delimiters();
        if self.field <= 2 && self.segment.is_header() {
            // MSH-2 names the escape character, it does not use it.
            delimiters.escape = None;
        }
        escape::decode(self.raw(), &delimiters, message.charset(), report)
    }
}

impl std::fmt::Debug for Node<'_> {
    /// Structure only, no text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("place", &format_args!("{}", self.place()))
            .field("level", &self.level)
            .field("bytes", &self.raw().len())
            .finish()
    }
}

/// Walks the parts of a run of leaves.
struct Parts<'a> {
    segment: Segment<'a>,
    first: u32,
    end: u32,
    divider: Divider,
}

impl<'a> Parts<'a> {
    fn new(node: &Node<'a>, divider: Divider) -> Self {
        Self {
            segment: node.segment,
            first: node.first,
            end: node.end,
            divider,
        }
    }

    fn next_part(&mut self) -> Option<(u32, u32)> {
        let index = &self.segment.message().index;
        let (first, end) = index.part((self.first, self.end), 1, self.divider)?;
        let stronger = index
            .leaves
            .get(end as usize)
            .is_some_and(|leaf| leaf.divider() > self.divider);
        // A stronger delimiter ends the walk: components stop at a repetition.
        self.first = if stronger { self.end } else { end };
        Some((first, end))
    }

    fn next_leaf(&mut self) -> Option<(u32, u32)> {
        let first = self.first;
        (first < self.end).then(|| {
            self.first += 1;
            (first, first + 1)
        })
    }
}

#[inline]
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn a_plain_message_reads_as_any_other() {
        let start = "MSH|^~\\&|A^B||C|||||1|P|2.5.1\r";
        let endings = ["", "PID|||x^y&z~w||Doe", "PID|||\\T\\^ä\tb"];
        for (number, ending) in endings.into_iter().enumerate() {
            let bytes = format!("{start}{ending}\r\n");
            let (message, _) = parse(bytes.as_bytes()).unwrap();
            assert_eq!(message.plain_text().is_some(), number < 2, "{ending}");
            for field in message.segments().flat_map(|segment| segment.fields()) {
                for node in field.repetitions().chain(field.children()) {
                    let present = |n: &usize| node.child(*n).is_present();
                    let bits = (1..9).filter(present).fold(0, |bits, n| bits | 1 << n);
                    assert_eq!(node.present_children(), bits, "{node:?}");
                }
                for repetition in 0..3 {
                    let node = match repetition {
                        0 => field,
                        number => field.repetition(number),
                    };
                    for (component, subcomponent) in
                        [(0, 0), (1, 0), (2, 0), (1, 1), (2, 2), (9, 1)]
                    {
                        let [mut part, mut inner] = [node; 2];
                        if component > 0 {
                            part = node.child(component);
                            inner = part;
                        }
                        if subcomponent > 0 {
                            inner = part.child(subcomponent);
                        }
                        let [r, c, s] = [repetition, component, subcomponent].map(|n| n as u16);
                        let number = field.place().field.unwrap() as u16;
                        let found = field.segment().part_leaves(number, r, c, s);
                        assert_eq!(found, field.part_leaves(r, c, s));
                        assert_eq!(node.part_leaves(0, c, s), found);
                        assert_eq!(part.part_leaves(0, s, 0), found);
                        assert_eq!(message.is_present(found), inner.is_present(), "{inner:?}");
                        assert_eq!(message.is_valued(found), inner.is_valued(), "{inner:?}");
                        if let Some(text) = message.plain_text() {
                            assert_eq!(text[message.leaf_bytes(found)], inner.text());
                        }
                    }
                }
                let parts = field.children().flat_map(|part| part.children());
                for node in parts.chain([field, field.child(9)]) {
                    assert_eq!(node.text(), node.checked_text(), "{node:?}");
                }
            }
        }
    }
}
