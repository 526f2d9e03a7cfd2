//! The index of one message: where its segments, fields and leaves stand.
//!
//! Three flat lists of numbers, filled by one pass over the bytes
//! ([`crate::scan`]). A leaf is one subcomponent; because a field, a
//! repetition and a component are each a run of neighbouring leaves, nothing
//! else needs a list of its own.

use std::collections::HashMap;
use std::ops::Range;

use crate::leaves::Leaves;

/// The memory behind a [`Message`](crate::Message), reusable for the next one.
///
/// A thread that parses many messages keeps one `Index`, hands it to
/// [`parse_with`](crate::parse_with) and takes it back with
/// [`Message::into_index`](crate::Message::into_index); after the first few
/// messages parsing allocates nothing.
#[derive(Default)]
pub struct Index {
    pub(crate) segments: Vec<SegmentSpan>,
    /// First leaf of every field, segment after segment.
    pub(crate) fields: Vec<u32>,
    pub(crate) leaves: Vec<Leaf>,
    names: NameCounts,
}

#[derive(Clone, Copy)]
pub(crate) struct SegmentSpan {
    pub(crate) name: [u8; 3],
    /// Which of the segments of this name, from 1.
    pub(crate) occurrence: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Position of its field 1 in `Index::fields`.
    pub(crate) first_field: u32,
    /// Position of its first leaf in `Index::leaves`.
    pub(crate) first_leaf: u32,
}

/// One subcomponent: 8 bytes, so that a message of 2 kB needs about 3 kB of index.
#[derive(Clone, Copy)]
pub(crate) struct Leaf {
    pub(crate) start: u32,
    /// The end in the low 30 bits, the [`Divider`] before it in the upper two.
    end_and_divider: u32,
}

/// What stands before a leaf, from the weakest delimiter to the strongest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Divider {
    Subcomponent = 0,
    Component = 1,
    Repetition = 2,
    Field = 3,
}

#[derive(Default)]
struct NameCounts {
    /// Names in order of appearance; a message has about a dozen.
    few: Vec<([u8; 3], u32)>,
    /// The names that do not fit in `few`, so that a hostile message with
    /// thousands of names stays linear.
    many: HashMap<[u8; 3], u32>,
}

const FEW: usize = 32;
const USUAL_BYTES: usize = 16 * 1024;
const END_BITS: u32 = 30;
const END_MASK: u32 = (1 << END_BITS) - 1;

// === impl Leaf ===

impl Leaf {
    /// `divider` is a [`Divider`] as a number, which the token pass has at hand.
    #[inline]
    pub(crate) fn new(start: u32, end: u32, divider: u8) -> Self {
        Self {
            start,
            end_and_divider: end | u32::from(divider) << END_BITS,
        }
    }

    #[inline]
    pub(crate) fn end(self) -> u32 {
        self.end_and_divider & END_MASK
    }

    #[inline]
    pub(crate) fn divider(self) -> Divider {
        match self.strength() {
            0 => Divider::Subcomponent,
            1 => Divider::Component,
            2 => Divider::Repetition,
            _ => Divider::Field,
        }
    }

    /// The divider as a number, as it is ordered.
    #[inline]
    fn strength(self) -> u32 {
        self.end_and_divider >> END_BITS
    }

    #[inline]
    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end() as usize
    }
}

// === impl Index ===

impl Index {
    /// An empty index; it grows with the first messages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the index and makes room for a message of `bytes` bytes.
    pub(crate) fn prepare(&mut self, bytes: usize) {
        self.segments.clear();
        self.fields.clear();
        self.leaves.clear();
        self.names.few.clear();
        self.names.many.clear();
        // Usual densities. A large message is large because of one large
        // field, so beyond the first bytes room is made as it is needed.
        let bytes = bytes.min(USUAL_BYTES);
        self.segments.reserve(bytes / 64);
        self.fields.reserve(bytes / 6);
        self.leaves.reserve(bytes / 4);
        self.names.few.reserve(FEW);
    }

    /// Counts one more segment of this name and says which one it is.
    pub(crate) fn occurrence(&mut self, name: [u8; 3]) -> u32 {
        let names = &mut self.names;
        if let Some((_, count)) = names.few.iter_mut().find(|(seen, _)| *seen == name) {
            *count += 1;
            return *count;
        }
        if names.few.len() < FEW {
            names.few.push((name, 1));
            return 1;
        }
        let count = names.many.entry(name).or_insert(0);
        *count += 1;
        *count
    }

    /// Positions in `fields` of the fields of one segment.
    #[inline]
    pub(crate) fn fields_of(&self, segment: usize) -> Range<usize> {
        let Some(span) = self.segments.get(segment) else {
            return 0..0;
        };
        let end = match self.segments.get(segment + 1) {
            Some(next) => next.first_field as usize,
            None => self.fields.len(),
        };
        span.first_field as usize..end
    }

    /// Leaves of one segment.
    pub(crate) fn leaves_of(&self, segment: usize) -> Range<usize> {
        let Some(span) = self.segments.get(segment) else {
            return 0..0;
        };
        let end = match self.segments.get(segment + 1) {
            Some(next) => next.first_leaf as usize,
            None => self.leaves.len(),
        };
        span.first_leaf as usize..end
    }

    /// Leaves of the field at this position in `fields`.
    ///
    /// A segment without fields owns no leaf, so the next field's first leaf
    /// is always this one's end.
    #[inline]
    pub(crate) fn leaves_of_field(&self, field: usize) -> Option<(u32, u32)> {
        let first = *self.fields.get(field)?;
        let end = match self.fields.get(field + 1) {
            Some(next) => *next,
            None => u32::try_from(self.leaves.len()).unwrap_or(u32::MAX),
        };
        Some((first, end))
    }

    /// Whether any of these leaves has bytes.
    #[inline]
    pub(crate) fn has_bytes(&self, first: u32, end: u32) -> bool {
        let leaves = self.leaves.get(first as usize..end as usize);
        leaves.is_some_and(have_bytes)
    }

    /// Part `number` (from 1) of the leaves `first..end`, cut at every leaf
    /// that `divider` precedes and ended by any stronger one.
    #[inline]
    pub(crate) fn part(
        &self,
        (first, end): (u32, u32),
        number: usize,
        divider: Divider,
    ) -> Option<(u32, u32)> {
        // Most fields are one leaf.
        if end.saturating_sub(first) <= 1 {
            return (first < end && number == 1).then_some((first, end));
        }
        self.part_of_many((first, end), number, divider as u32)
    }

    /// As [`Index::part`], of a run.
    #[inline]
    pub(crate) fn run(&self, of: Leaves, number: usize, divider: Divider) -> Leaves {
        self.part((of.first, of.end), number, divider)
            .map_or(Leaves::NONE, |(first, end)| Leaves { first, end })
    }

    fn part_of_many(
        &self,
        (first, end): (u32, u32),
        number: usize,
        divider: u32,
    ) -> Option<(u32, u32)> {
        let (_, rest) = self
            .leaves
            .get(first as usize..end as usize)?
            .split_first()?;
        let (mut current, mut start, mut at) = (1, first, first);
        for leaf in rest {
            at += 1;
            let found = leaf.strength();
            if found < divider {
                continue;
            }
            if current == number {
                return Some((start, at));
            }
            if found > divider {
                return None;
            }
            current += 1;
            start = at;
        }
        (current == number).then_some((start, end))
    }

    /// How many parts [`Index::part`] finds.
    pub(crate) fn part_count(&self, (first, end): (u32, u32), divider: Divider) -> usize {
        let leaves = self
            .leaves
            .get(first as usize..end as usize)
            .unwrap_or_default();
        let inner = leaves.iter().skip(1).map(|leaf| leaf.divider());
        let dividers = inner.take_while(|found| *found <= divider);
        usize::from(!leaves.is_empty()) + dividers.filter(|found| *found == divider).count()
    }

    /// Which segment a leaf belongs to.
    pub(crate) fn segment_of_leaf(&self, leaf: usize) -> Option<usize> {
        if leaf >= self.leaves.len() {
            return None;
        }
        // Segments without fields share their first leaf with the next one:
        // the last that starts at or before the leaf is its owner.
        let after = self
            .segments
            .partition_point(|span| span.first_leaf as usize <= leaf);
        after.checked_sub(1)
    }

    /// Position in `fields` of the field that holds a leaf of this segment.
    pub(crate) fn field_of_leaf(&self, segment: usize, leaf: usize) -> Option<usize> {
        let range = self.fields_of(segment);
        let fields = self.fields.get(range.clone())?;
        let after = fields.partition_point(|first| *first as usize <= leaf);
        Some(range.start + after.checked_sub(1)?)
    }
}

/// Whether any of neighbouring leaves has bytes: with only delimiters between them there is one byte less than leaves.
#[inline]
pub(crate) fn have_bytes(leaves: &[Leaf]) -> bool {
    match leaves {
        [] => false,
        [only] => only.end() > only.start,
        [from, .., to] => to.end().saturating_sub(from.start) as usize >= leaves.len(),
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("segments", &self.segments.len())
            .field("fields", &self.fields.len())
            .field("leaves", &self.leaves.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_eight_bytes_and_keep_both_facts() {
        assert_eq!(size_of::<Leaf>(), 8);
        let leaf = Leaf::new(5, END_MASK, Divider::Repetition as u8);
        assert_eq!(leaf.range(), 5..END_MASK as usize);
        assert!(leaf.divider() == Divider::Repetition);
    }

    #[test]
    fn occurrences_are_counted_beyond_the_short_list() {
        let mut index = Index::new();
        let name = |n: u32| {
            let digits = format!("{n:03}");
            <[u8; 3]>::try_from(digits.as_bytes()).unwrap()
        };
        for round in 1..=3 {
            for n in 0..100 {
                assert_eq!(index.occurrence(name(n)), round);
            }
        }
        index.prepare(0);
        assert_eq!(index.occurrence(name(99)), 1);
    }
}
