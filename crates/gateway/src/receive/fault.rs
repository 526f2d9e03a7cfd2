//! Why something is not stored, and what the sender is told.

use queue::{Class, QueueError};

use super::Received;

/// Why something is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No MSH, or none that can be read.
    NoHeader,
    /// Nothing at all.
    Empty,
    /// MSH-10 is empty: nothing could be acknowledged (v2 chapter 2.9.2.2).
    NoControlId,
    /// An acknowledgement, which is never acknowledged.
    Acknowledgement,
    /// The sender's certificate does not allow its MSH-3 and MSH-4.
    ForeignSender,
    /// No route takes it, and the listener refuses such messages.
    Unrouted,
    /// A known control id with other bytes, where that is refused.
    ControlIdReused,
    /// The counts of a batch are wrong (BTS-1, FTS-1): something is missing or too much.
    BatchCount,
    /// The frame began anew in the middle.
    Truncated,
    /// The frame is larger than the limit.
    Oversized,
    /// The queue is full.
    Full,
    /// The queue cannot store.
    Storage,
}

impl Fault {
    /// What a failed append means.
    pub(crate) fn of_queue(error: &QueueError) -> Self {
        match error.class() {
            Class::Full => Self::Full,
            _ => Self::Storage,
        }
    }

    /// Whether the same bytes may be accepted later.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Truncated | Self::BatchCount | Self::Full | Self::Storage
        )
    }

    /// For whoever hands the bytes on.
    pub fn result(self) -> Received {
        if self.is_retryable() {
            Received::Retryable
        } else {
            Received::Unusable
        }
    }

    /// The label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoHeader => "no_header",
            Self::Empty => "empty",
            Self::NoControlId => "no_control_id",
            Self::Acknowledgement => "acknowledgement",
            Self::ForeignSender => "foreign_sender",
            Self::Unrouted => "unrouted",
            Self::ControlIdReused => "control_id_reused",
            Self::BatchCount => "batch_count",
            Self::Truncated => "truncated",
            Self::Oversized => "oversized",
            Self::Full => "queue_full",
            Self::Storage => "storage",
        }
    }

    /// The text of ERR-8 or MSA-3. Never anything of the message.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoHeader => "no readable MSH segment",
            Self::Empty => "the message is empty",
            Self::NoControlId => "MSH-10 is empty",
            Self::Acknowledgement => "acknowledgements are not accepted here",
            Self::ForeignSender => "the certificate does not allow this MSH-3 and MSH-4",
            Self::Unrouted => "no route takes this message",
            Self::ControlIdReused => "MSH-10 was used before for another message",
            Self::BatchCount => "the number of messages is not what the trailer says",
            Self::Truncated => "the message was cut off by the start of another one",
            Self::Oversized => "the message is larger than the limit",
            Self::Full => "not stored: the queue is full",
            Self::Storage => "not stored: storage failure",
        }
    }
}
