//! A run of leaves without its place.

use std::ops::Range;

/// A run of neighbouring leaves of a message: what a [`Node`](crate::Node) is, without where it is. 8 bytes, for those who
/// ask for many values and for few places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaves {
    pub(crate) first: u32,
    /// Behind the last; not above `first` when there are none.
    pub(crate) end: u32,
}

impl Leaves {
    /// No leaves.
    pub const NONE: Leaves = Leaves { first: 0, end: 0 };

    /// Whether there are none. A leaf may be there and have no bytes: see
    /// [`Message::is_present`](crate::Message::is_present).
    #[must_use]
    #[inline]
    pub fn is_empty(self) -> bool {
        self.first >= self.end
    }

    /// Numbers of the leaves in the message.
    #[must_use]
    #[inline]
    pub fn range(self) -> Range<usize> {
        self.first as usize..self.end as usize
    }

    /// Leaf `number` of them, from 1.
    #[inline]
    pub(crate) fn leaf(self, number: usize) -> Leaves {
        let end = u32::try_from(number)
            .ok()
            .and_then(|number| self.first.checked_add(number));
        match end {
            Some(end) if number > 0 && end <= self.end => Leaves {
                first: end - 1,
                end,
            },
            _ => Leaves::NONE,
        }
    }
}
