//! Named events of a server: the gateway turns each into a metric and a log line. No event can hold
//! bytes of a payload.

use std::{io, net::SocketAddr, time::Duration};

use crate::{error::FrameError, frame::Peer, tolerance::FrameWarning};

/// Receives the events of a server. Methods are called from the connection's task and must not
/// block; all do nothing by default.
pub trait Observer: Send + Sync + 'static {
    /// A connection was accepted, and its TLS handshake is done.
    fn connection_opened(&self, _peer: &Peer) {}
    /// A connection that had been opened is closed.
    fn connection_closed(&self, _peer: &Peer, _reason: CloseReason, _totals: ConnectionTotals) {}
    /// A connection was closed before it was opened, because a limit or the address list said no.
    fn connection_rejected(&self, _addr: SocketAddr, _reason: RejectReason) {}
    /// A whole frame with `bytes` bytes of payload is about to be handed to the service.
    fn frame_received(&self, _peer: &Peer, _bytes: usize) {}
    /// A deviation was forgiven.
    fn frame_warning(&self, _peer: &Peer, _warning: FrameWarning) {}
    /// Reading ended with `error`; `held` payload bytes of an unfinished frame were thrown away (an
    /// oversized frame's prefix still goes to the service). The connection closes.
    fn frame_error(&self, _peer: &Peer, _error: &FrameError, _held: usize) {}
    /// An answer of `bytes` bytes was written, `latency` after its frame had been read.
    fn reply_written(&self, _peer: &Peer, _bytes: usize, _latency: Duration) {}
    /// The service was given a frame, but the sender did not get the answer. It will send the frame
    /// again.
    fn ack_undelivered(&self, _peer: &Peer, _reason: Undelivered) {}
    /// Accepting failed; the listener tries again after `retry_in`.
    fn accept_error(&self, _error: &io::Error, _retry_in: Duration) {}
    /// A TLS handshake failed.
    fn tls_failure(&self, _addr: SocketAddr, _reason: TlsFailure) {}
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// What a connection did in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTotals {
    /// Frames handed to the service.
    pub frames: u64,
    /// Bytes read, framing included.
    pub bytes: u64,
    /// Payload bytes of an unfinished frame that were thrown away at the end.
    pub held: usize,
}

/// Declares an enum of labels with `as_str` and `Display`.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// The label in metrics and logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

labels! {
    /// Why a connection was closed.
    CloseReason {
        /// The other end closed it between two frames.
        PeerClosed = "peer_closed",
        /// The connection broke.
        Io = "io",
        /// A framing error, see [`Observer::frame_error`].
        FrameError = "frame_error",
        /// No frame for longer than the idle time.
        IdleTimeout = "idle_timeout",
        /// The other end did not accept an answer in time.
        WriteTimeout = "write_timeout",
        /// The service asked for it.
        Service = "service",
        /// The service failed; the frame was not answered.
        ServiceError = "service_error",
        /// The service answered with what cannot be framed.
        BadReply = "bad_reply",
        /// The server is shutting down, and everything received was answered.
        Drained = "drained",
        /// The connection's task was stopped: the drain deadline passed, or the service panicked.
        Aborted = "aborted",
    }
}

labels! {
    /// Why a connection was not taken.
    RejectReason {
        /// The listener has its full number of connections.
        Connections = "connections",
        /// The IP address has its full number of connections.
        ConnectionsPerPeer = "connections_per_peer",
        /// The address list does not allow the IP address.
        NotAllowed = "not_allowed",
    }
}

labels! {
    /// Why an answer did not reach the sender.
    Undelivered {
        /// The connection was gone, or broke while writing.
        Gone = "gone",
        /// The connection was reset after writing, before anything else was heard from the sender.
        Reset = "reset",
        /// The sender did not read it in time.
        Timeout = "timeout",
        /// An answer to an earlier frame closed the connection.
        Closed = "closed",
        /// It holds VT or FS, or is empty: MLLP cannot carry it.
        Unframable = "unframable",
        /// The connection was stopped before the service had answered.
        Aborted = "aborted",
    }
}

labels! {
    /// Why a TLS handshake failed.
    TlsFailure {
        /// It took too long.
        Timeout = "timeout",
        /// The other end closed the connection, or the connection broke.
        Disconnected = "disconnected",
        /// The other end does not speak TLS.
        NotTls = "not_tls",
        /// A client certificate is needed, and none was shown.
        NoClientCertificate = "no_client_certificate",
        /// The client's certificate is not valid here: unknown CA, expired, revoked, wrong use.
        BadClientCertificate = "bad_client_certificate",
        /// The other end refused, for example because it does not know our CA.
        RefusedByPeer = "refused_by_peer",
        /// No version or cipher in common, or any other protocol failure.
        Protocol = "protocol",
    }
}
