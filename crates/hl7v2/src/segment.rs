//! A segment of a message.

use std::ops::Range;

use crate::index::{Divider, have_bytes};
use crate::leaves::Leaves;
use crate::message::Message;
use crate::node::Node;
use crate::place::Place;

/// One segment: a view on its message, free to copy.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    message: &'a Message<'a>,
    index: u32,
}

impl<'a> Segment<'a> {
    pub(crate) fn new(message: &'a Message<'a>, index: usize) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Self { message, index }
    }

    /// The message that it is part of.
    #[must_use]
    pub fn message(&self) -> &'a Message<'a> {
        self.message
    }

    /// Its position in the message, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// Its name, three letters or digits; `???` for a line that has no usable one.
    #[must_use]
    pub fn name(&self) -> &'a str {
        let span = self.message.index.segments.get(self.index());
        let name = span.and_then(|span| std::str::from_utf8(&span.name).ok());
        name.unwrap_or("???")
    }

    /// Its name as bytes: quicker to compare than [`Segment::name`].
    #[must_use]
    #[inline]
    pub fn id(&self) -> [u8; 3] {
        let span = self.message.index.segments.get(self.index());
        span.map_or(*b"???", |span| span.name)
    }

    /// Which of the segments of its name, counted from 1.
    #[must_use]
    pub fn occurrence(&self) -> usize {
        let span = self.message.index.segments.get(self.index());
        span.map_or(1, |span| span.occurrence as usize)
    }

    /// How many fields it has, empty ones included. MSH-1 is the delimiter itself.
    #[must_use]
    pub fn field_count(&self) -> usize {
        self.message.index.fields_of(self.index()).len()
    }

    /// A field by its number, counted from 1; an absent node when it is not there.
    #[must_use]
    #[inline]
    pub fn field(&self, number: usize) -> Node<'a> {
        let fields = self.message.index.fields_of(self.index());
        let span = number
            .checked_sub(1)
            .and_then(|before| fields.start.checked_add(before))
            .filter(|position| *position < fields.end)
            .and_then(|position| self.message.index.leaves_of_field(position));
        Node::field(*self, number, span)
    }

    /// The leaves of a field or of a part of it: the same as those of [`Segment::field`], [`Node::repetition`] and twice
    /// [`Node::child`], where 0 leaves a step out.
    #[must_use]
    #[inline]
    pub fn part_leaves(
        &self,
        field: u16,
        repetition: u16,
        component: u16,
        subcomponent: u16,
    ) -> Leaves {
        let index = &self.message.index;
        let fields = index.fields_of(self.index());
        let position = fields.start + usize::from(field);
        if field == 0 || position > fields.end {
            return Leaves::NONE;
        }
        let Some((first, end)) = index.leaves_of_field(position - 1) else {
            return Leaves::NONE;
        };
        let mut run = Leaves { first, end };
        if repetition > 0 {
            run = index.run(run, usize::from(repetition), Divider::Repetition);
        }
        if component > 0 {
            run = index.run(run, usize::from(component), Divider::Component);
            if subcomponent > 0 {
                run = run.leaf(usize::from(subcomponent));
            }
        }
        run
    }

    /// Which of fields 1 to 63 have bytes, bit `n` for field `n`: one look for those who ask about many fields that are
    /// mostly empty.
    #[must_use]
    pub fn present_fields(&self) -> u64 {
        let index = &self.message.index;
        let range = index.fields_of(self.index());
        let firsts = index.fields.get(range.clone()).unwrap_or_default();
        let behind = match index.fields.get(range.end) {
            Some(next) => *next as usize,
            None => index.leaves.len(),
        };
        let ends = firsts.iter().skip(1).map(|next| *next as usize);
        let runs = firsts.iter().zip(ends.chain([behind]));
        (1..64).zip(runs).fold(0, |bits, (number, (first, end))| {
            let leaves = index.leaves.get(*first as usize..end);
            bits | u64::from(leaves.is_some_and(have_bytes)) << number
        })
    }

    /// All fields in their order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Node<'a>> + use<'a> {
        let segment = *self;
        (0..self.field_count()).map(move |before| segment.field(before + 1))
    }

    /// Its bytes, without the line end.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        let span = self.message.index.segments.get(self.index());
        span.and_then(|span| {
            let range = span.start as usize..span.end as usize;
            self.message.bytes().get(range)
        })
        .unwrap_or_default()
    }

    /// Offset of its first byte in the input.
    #[must_use]
    pub fn offset(&self) -> usize {
        let span = self.message.index.segments.get(self.index());
        span.map_or(0, |span| span.start as usize)
    }

    /// Numbers of its leaves in the message.
    #[must_use]
    pub fn leaves(&self) -> Range<usize> {
        self.message.index.leaves_of(self.index())
    }

    /// The place of every leaf of the segment with its number, in linear time.
    pub fn leaf_places(&self) -> impl Iterator<Item = (usize, Place)> + use<'a> {
        self.fields().flat_map(|field| {
            let leaves = field.leaves();
            leaves.clone().zip(field.leaf_places(leaves))
        })
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> Place {
        let span = self.message.index.segments.get(self.index());
        Place {
            segment_index: self.index,
            segment: span.map_or(*b"???", |span| span.name),
            occurrence: span.map_or(1, |span| span.occurrence),
            field: None,
            repetition: None,
            component: None,
            subcomponent: None,
        }
    }

    /// Whether MSH-1 and MSH-2 (or their like in a batch) are read verbatim.
    pub(crate) fn is_header(&self) -> bool {
        matches!(self.name(), "MSH" | "BHS" | "FHS")
    }
}

impl std::fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment")
            .field("place", &format_args!("{}", self.place()))
            .field("fields", &self.field_count())
            .field("bytes", &self.raw().len())
            .finish()
    }
}
