//! What ends a connection: the framing errors, each one fact.

use std::{fmt, io};

use crate::tolerance::Tolerance;

/// Why a stream of bytes cannot be read as frames any further, or a payload cannot be written as
/// one.
///
/// A framing error ends its connection: there is no search for the next frame inside the stream,
/// since what would be found could be half a message. No variant holds bytes of a payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is larger than the limit.
    #[error("frame is larger than {limit} bytes")]
    Oversize {
        /// The limit in bytes of payload.
        limit: usize,
    },
    /// The other end does not speak MLLP. It will not do so on the next connection either.
    #[error("not mllp: {foreign}")]
    NotMllp {
        /// What it looks like.
        foreign: Foreign,
    },
    /// The frame did not end within its time.
    #[error("frame did not end in time, {held} bytes held")]
    Timeout {
        /// Payload bytes read and thrown away.
        held: usize,
    },
    /// The stream ended inside a frame.
    #[error("stream ended inside a frame, {held} bytes held")]
    Truncated {
        /// Payload bytes read and thrown away.
        held: usize,
    },
    /// FS is followed by a byte that can neither end a frame nor start the next one. Taking FS for
    /// the end would pass on half a message.
    #[error("unexpected byte after fs at byte {offset}")]
    ByteAfterFs {
        /// Position in the stream.
        offset: u64,
    },
    /// Something other than blanks stands between two frames.
    #[error("unexpected byte between frames at byte {offset}")]
    BytesBetweenFrames {
        /// Position in the stream.
        offset: u64,
    },
    /// A deviation that could be forgiven, but is switched off here.
    #[error("{tolerance} at byte {offset} is not tolerated")]
    NotTolerated {
        /// The tolerance that is off.
        tolerance: Tolerance,
        /// Position in the stream.
        offset: u64,
    },
    /// A payload to be written holds VT or FS, which MLLP cannot carry.
    #[error("payload cannot be framed: control byte at {offset}")]
    Unframable {
        /// Position in the payload.
        offset: usize,
    },
    /// A payload to be written is empty, which no receiver can answer.
    #[error("payload to be framed is empty")]
    Empty,
    /// The stream failed.
    #[error("stream failed")]
    Io(#[from] io::Error),
}

/// What a stream that is not MLLP looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// An HTTP request: a health probe, a browser, a scanner.
    Http,
    /// A TLS handshake on a port without TLS.
    Tls,
    /// Anything else.
    Other,
}

// === impl FrameError ===

impl FrameError {
    /// The label for metrics and logs: `oversize`, `not_mllp`, …
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Oversize { .. } => "oversize",
            Self::NotMllp { .. } => "not_mllp",
            Self::Timeout { .. } => "timeout",
            Self::Truncated { .. } => "truncated",
            Self::ByteAfterFs { .. } => "byte_after_fs",
            Self::BytesBetweenFrames { .. } => "bytes_between_frames",
            Self::NotTolerated { tolerance, .. } => tolerance.as_str(),
            Self::Unframable { .. } => "unframable",
            Self::Empty => "empty",
            Self::Io(_) => "io",
        }
    }
}

// === impl Foreign ===

impl Foreign {
    /// Judges the first bytes of a stream that do not start with VT.
    pub(crate) fn judge(first: &[u8]) -> Self {
        const METHODS: [&[u8]; 9] = [
            b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"CONN", b"OPTI", b"TRAC", b"PATC",
        ];
        match first.first() {
            // TLS record type "handshake" (RFC 8446, 5.1).
            Some(0x16) => Self::Tls,
            Some(_)
                if first.starts_with(b"PRI ") || METHODS.iter().any(|m| first.starts_with(m)) =>
            {
                Self::Http
            }
            _ => Self::Other,
        }
    }

    /// The name for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
