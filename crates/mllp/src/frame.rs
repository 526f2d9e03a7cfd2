//! What the server hands to the service, and what the service answers.

use std::{fmt, net::SocketAddr, sync::Arc, time::SystemTime};

use bytes::Bytes;

use crate::{certificate::ClientCertFacts, tolerance::FrameWarning};

/// How much of an oversized frame is kept for the service, enough for the first segment of any
/// message.
pub const OVERSIZE_PREFIX: usize = 4096;

/// One MLLP frame as it was received, without VT, FS and CR.
///
/// A frame for which [`must_refuse`](Self::must_refuse) answers `Some` is not a whole message: it
/// must get a negative answer or none, and must never be processed.
#[derive(Clone)]
pub struct Frame {
    /// The payload. Empty if `oversized`; the part after the last VT if `truncated`. Never holds VT
    /// or FS.
    pub payload: Bytes,
    /// When the last byte of the frame had been read.
    pub received_at: SystemTime,
    /// What was forgiven in reading it, with what was forgiven between the frame before and this
    /// one.
    pub warnings: Vec<FrameWarning>,
    /// A second VT stood inside the frame: the raw bytes before it (with any earlier second VT).
    /// The sender began a message, gave up and began another, so what was meant by the end of the
    /// frame cannot be known.
    pub truncated: Option<Bytes>,
    /// The frame was larger than the limit: its first [`OVERSIZE_PREFIX`] bytes, from which a
    /// negative answer can be made. The rest was not read; the connection closes after the answer.
    pub oversized: Option<Bytes>,
    /// Who sent it.
    pub peer: Peer,
}

/// Why a frame must not be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// See [`Frame::truncated`].
    Truncated,
    /// See [`Frame::oversized`].
    Oversized,
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Number of the connection, unique in this process.
    pub connection: u64,
    /// Address and port of the other end.
    pub addr: SocketAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The certificate the other end showed, if it showed one. It was verified against the
    /// listener's CA.
    pub tls: Option<Arc<ClientCertFacts>>,
}

/// The service's answer to a frame.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// One payload, usually an ACK.
    Frame(Bytes),
    /// Several payloads, each in its own frame.
    Frames(Vec<Bytes>),
    /// Nothing; the connection stays open.
    None,
    /// Nothing, and the connection is closed: the sender learns that the frame was not taken.
    Close,
    /// One payload, then the connection is closed.
    FrameThenClose(Bytes),
    /// MLLP release 2: stored. Written only when the server has
    /// [`release_2`](crate::ServerBuilder::release_2) on, else as [`Reply::None`].
    CommitAck,
    /// MLLP release 2: not stored. With release 2 off, as [`Reply::Close`].
    CommitNak,
    /// MLLP release 2: stored, followed by the payloads, each in its own frame. With release 2 off,
    /// as [`Reply::Frames`].
    CommitAckThen(Vec<Bytes>),
}

// === impl Frame ===

impl Frame {
    /// Why this frame must not be processed, if so.
    pub const fn must_refuse(&self) -> Option<Refusal> {
        if self.oversized.is_some() {
            Some(Refusal::Oversized)
        } else if self.truncated.is_some() {
            Some(Refusal::Truncated)
        } else {
            None
        }
    }
}

// Bytes prints its content: these print lengths only.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("payload_bytes", &self.payload.len())
            .field("received_at", &self.received_at)
            .field("warnings", &self.warnings)
            .field("truncated_bytes", &self.truncated.as_ref().map(Bytes::len))
            .field("oversized_bytes", &self.oversized.as_ref().map(Bytes::len))
            .field("peer", &self.peer)
            .finish()
    }
}

// === impl Reply ===

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(payload) => write!(f, "Frame({} bytes)", payload.len()),
            Self::Frames(payloads) => sizes(f, "Frames", payloads),
            Self::None => f.write_str("None"),
            Self::Close => f.write_str("Close"),
            Self::FrameThenClose(payload) => write!(f, "FrameThenClose({} bytes)", payload.len()),
            Self::CommitAck => f.write_str("CommitAck"),
            Self::CommitNak => f.write_str("CommitNak"),
            Self::CommitAckThen(payloads) => sizes(f, "CommitAckThen", payloads),
        }
    }
}

fn sizes(f: &mut fmt::Formatter<'_>, name: &str, payloads: &[Bytes]) -> fmt::Result {
    f.write_str(name)?;
    f.debug_list()
        .entries(payloads.iter().map(Bytes::len))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_payload() {
        let frame = Frame {
            payload: Bytes::from_static(b"MSH|CANARY"),
            received_at: SystemTime::UNIX_EPOCH,
            warnings: Vec::new(),
            truncated: Some(Bytes::from_static(b"CANARY")),
            oversized: Some(Bytes::from_static(b"CANARY")),
            peer: Peer {
                connection: 1,
                addr: SocketAddr::from(([127, 0, 0, 1], 2575)),
                encrypted: false,
                tls: None,
            },
        };
        let payload = Bytes::from_static(b"CANARY");
        let replies = [
            Reply::Frame(payload.clone()),
            Reply::Frames(vec![payload.clone()]),
            Reply::FrameThenClose(payload.clone()),
            Reply::CommitAckThen(vec![payload]),
        ];
        assert!(!format!("{frame:?}{replies:?}").contains("CANARY"));
        assert_eq!(frame.must_refuse(), Some(Refusal::Oversized));
    }
}
