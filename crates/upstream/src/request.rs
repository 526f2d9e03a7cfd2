//! What goes into the stack, and what comes out when all is well.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Method};

use crate::answer::Summary;
use crate::bundle::Asked;
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
    /// Another request than posting the body to the base: set by the stack for the parts of a delivery. Usually `None`.
    pub call: Option<Box<Call>>,
}

/// A request for one resource.
#[derive(Clone)]
pub struct Call {
    pub(crate) method: Method,
    /// Below the base: `Patient/77`, `Patient?identifier=…`.
    pub(crate) path: String,
    pub(crate) if_none_exist: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) if_match: Option<String>,
    /// Another media type than that of FHIR.
    pub(crate) content_type: Option<String>,
}

/// The kind of Bundle (FHIR R4 http.html#transaction).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// All or nothing.
    #[default]
    Transaction,
    /// Each entry on its own.
    Batch,
    /// No Bundle at all: each resource is a request of its own, in the order of their references.
    Single,
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

    /// A Bundle whose resources are to be sent one by one, first attempt.
    pub fn singles(body: impl Into<Bytes>) -> Self {
        Self::new(Kind::Single, body.into())
    }

    fn new(kind: Kind, body: Bytes) -> Self {
        Self {
            body,
            kind,
            attempt: 0,
            entries: None,
            request_id: None,
            refused: Vec::new(),
            call: None,
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

// === impl Call ===

impl Call {
    pub(crate) fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            if_none_exist: None,
            if_none_match: None,
            if_match: None,
            content_type: None,
        }
    }

    /// What an entry of a Bundle asks for, as a request of its own.
    pub(crate) fn of(asked: &Asked<'_>) -> Box<Self> {
        let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let method = match &*asked.method {
            "POST" => Method::POST,
            _ => Method::PUT,
        };
        Box::new(Self {
            if_none_exist: owned(&asked.if_none_exist),
            if_none_match: owned(&asked.if_none_match),
            if_match: owned(&asked.if_match),
            ..Self::new(method, asked.url.to_string())
        })
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path may hold an identifier.
        let type_name = self.path.split(['/', '?']).next();
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("of", &type_name)
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
