//! The limits of one listener: what a sender may use before it is stopped.

use std::time::Duration;

/// Limits of a listener, with defaults that suit a hospital feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time. More are closed at once and counted. Default 64.
    pub connections: usize,
    /// Connections at one time from one IP address. Default 8.
    pub connections_per_peer: usize,
    /// Bytes of payload in one frame; also how many blanks in a row are read between two frames.
    /// Default 16 MiB.
    pub frame_bytes: usize,
    /// From the first byte of a frame to its FS, while the server is reading. Default 30 s.
    pub frame_time: Duration,
    /// How long a connection may stay open with no frame. Blanks do not count as life. Default
    /// `None`: feeds are quiet at night.
    pub idle_time: Option<Duration>,
    /// How long the other end may take to accept one answer. Default 10 s.
    pub write_time: Duration,
    /// How long a TLS handshake may take. Default 10 s.
    pub handshake_time: Duration,
    /// Frames of one connection in the service at one time; answers keep the order of the frames.
    /// At the limit the server stops reading. Default 1.
    pub in_flight: usize,
    /// How long to wait for CR after FS before the frame is taken as ended without it. Only senders
    /// that leave out CR pay it. Default 200 ms.
    pub end_grace: Duration,
    /// Idle time before TCP keepalive probes, and between them. Default 3 minutes: cloud NAT
    /// forgets a connection after 10.
    pub keepalive: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            connections_per_peer: 8,
            frame_bytes: 16 * 1024 * 1024,
            frame_time: Duration::from_secs(30),
            idle_time: None,
            write_time: Duration::from_secs(10),
            handshake_time: Duration::from_secs(10),
            in_flight: 1,
            end_grace: Duration::from_millis(200),
            keepalive: Some(Duration::from_secs(180)),
        }
    }
}
