//! What goes into the stack, and what comes out when all is well.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;

use crate::answer::Summary;
use crate::failure::EntryFailure;

/// One Bundle to deliver. Cheap to clone; `Debug` shows sizes only.
#[derive(Clone)]
pub struct Request {
    /// The Bundle as FHIR JSON.
    pub body: Bytes,
    /// What the Bundle is; decides how the answer is read.
    pub kind: Kind,
    /// Counted attempts that this record has had before: sets the length of the next wait. 0 at first.
    pub attempt: u32,
    /// For a batch: the entries (0-based) to send; `None` sends the Bundle as it is. Comes from
    /// [`crate::Action::RetryEntries`], so that what is stored already is not sent again.
    pub entries: Option<Vec<usize>>,
    /// Sent as `X-Request-Id` (FHIR R4 http.html#custom), so that both logs can be laid side by side.
    /// An id of ours, never from a message.
    pub request_id: Option<String>,
    /// For a batch: entries that an earlier try found refused for good. They are not sent; they are part of the
    /// final word, so that a batch is never [`Delivered`] while some of it was refused. Usually empty.
    pub refused: Vec<EntryFailure>,
}

/// The kind of Bundle (FHIR R4 http.html#transaction).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// All or nothing.
    #[default]
    Transaction,
    /// Each entry on its own.
    Batch,
}

/// The server has stored everything that was sent. `Debug` shows counts only.
#[derive(Clone)]
pub struct Delivered {
    /// The HTTP status, 2xx.
    pub status: u16,
    /// The answer's entries in the request's order; empty when the answer had none.
    pub entries: Vec<Entry>,
    /// Hints and warnings of the server, without text.
    pub summary: Summary,
    /// The answer's body as far as it was read. May hold PHI: for the encrypted store, not for a log.
    pub body: Bytes,
    /// Whether the body went over the limit and the rest was not read.
    pub truncated: bool,
}

/// What the server says of one entry (Bundle.entry.response).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The entry's HTTP status; 0 when the server gave none.
    pub status: u16,
    /// Where it is stored, `Patient/1/_history/2` or an absolute URL.
    pub location: Option<String>,
    /// The version as an entity tag, `W/"2"`.
    pub etag: Option<String>,
}

// === impl Request ===

impl Request {
    /// A transaction Bundle, first attempt.
    pub fn transaction(body: impl Into<Bytes>) -> Self {
        Self::new(Kind::Transaction, body.into())
    }

    /// A batch Bundle, first attempt.
    pub fn batch(body: impl Into<Bytes>) -> Self {
        Self::new(Kind::Batch, body.into())
    }

    fn new(kind: Kind, body: Bytes) -> Self {
        Self {
            body,
            kind,
            attempt: 0,
            entries: None,
            request_id: None,
            refused: Vec::new(),
        }
    }

    /// The request id as a header, when it can be one.
    pub(crate) fn request_id_header(&self) -> Option<HeaderValue> {
        self.request_id.as_deref()?.parse().ok()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("kind", &self.kind)
            .field("bytes", &self.body.len())
            .field("attempt", &self.attempt)
            .field("entries", &self.entries.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

// === impl Delivered ===

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered")
            .field("status", &self.status)
            .field("entries", &self.entries.len())
            .field("summary", &self.summary)
            .field("bytes", &self.body.len())
            .field("truncated", &self.truncated)
            .finish()
    }
}
