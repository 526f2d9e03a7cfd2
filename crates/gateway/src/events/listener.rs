//! What happens at a listener: connections, frames, messages, acknowledgements.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use mllp::{
    CloseReason, ConnectionTotals, FrameError, FrameWarning, Peer, RejectReason, TlsFailure,
    Undelivered,
};
use prometheus::{Gauge, Histogram, IntCounter};
use tracing::{debug, error, info, warn};

use super::Throttle;
use crate::{
    announce::{Announcer, Event},
    metrics::{Metrics, unix_seconds},
};

/// Events of one listener; also the observer of its MLLP server.
pub struct ListenerEvents {
    name: String,
    metrics: Arc<Metrics>,
    connections: Gauge,
    connections_total: IntCounter,
    bytes: IntCounter,
    size: Histogram,
    ack_latency: Histogram,
    undelivered: IntCounter,
    last_message: Gauge,
    throttle: Throttle,
    announcer: Option<Announcer>,
}

impl ListenerEvents {
    pub(super) fn new(metrics: &Arc<Metrics>, name: &str, announcer: Option<Announcer>) -> Self {
        Self {
            connections: metrics.mllp_connections.with_label_values(&[name]),
            connections_total: metrics.mllp_connections_total.with_label_values(&[name]),
            bytes: metrics.received_bytes.with_label_values(&[name]),
            size: metrics.message_size.with_label_values(&[name]),
            ack_latency: metrics.ack_latency.with_label_values(&[name]),
            undelivered: metrics.ack_undelivered.with_label_values(&[name]),
            last_message: metrics.last_message.with_label_values(&[name]),
            throttle: Throttle::new(),
            announcer,
            name: name.to_owned(),
            metrics: Arc::clone(metrics),
        }
    }

    /// One message came in; `message_type` as in MSH-9 (`ORU_R01`).
    #[allow(clippy::cast_precision_loss)] // sizes stay far below 2^53
    pub fn message_received(&self, message_type: &str, bytes: usize) {
        let label = self.metrics.message_type(message_type);
        self.metrics
            .received
            .with_label_values(&[&self.name, label])
            .inc();
        self.bytes.inc_by(bytes as u64);
        self.size.observe(bytes as f64);
        self.last_message.set(unix_seconds());
        debug!(event = "message_received", listener = %self.name, message_type = label, bytes);
    }

    /// A message is in the queue, durably.
    pub fn stored(&self, record: queue::RecordId, route: &str) {
        debug!(event = "message_stored", listener = %self.name, route, record = record.0);
        if let Some(announcer) = &self.announcer {
            announcer.tell(Event {
                event: "stored",
                record: record.0,
                listener: Some(self.name.clone()),
                route: Some(route.to_owned()),
                destination: None,
                reason: None,
            });
        }
    }

    /// An acknowledgement was decided; `code` is a value of table 0008, `none` or `close`.
    pub fn acknowledged(&self, code: &'static str) {
        self.metrics
            .acks
            .with_label_values(&[&self.name, code])
            .inc();
        if !matches!(code, "AA" | "CA" | "none")
            && let Some(held_back) = self.throttle.pass()
        {
            warn!(event = "negative_ack", listener = %self.name, ack_code = code, held_back);
        }
    }

    /// What came in cannot be a message.
    pub fn unusable(&self, reason: &'static str, bytes: usize) {
        self.metrics
            .parse_errors
            .with_label_values(&[&self.name, reason])
            .inc();
        if let Some(held_back) = self.throttle.pass() {
            warn!(event = "unusable_message", listener = %self.name, reason, bytes, held_back);
        }
    }

    /// The same message was seen before; its stored ACK goes back.
    pub fn duplicate(&self, of: queue::RecordId) {
        self.metrics
            .duplicates
            .with_label_values(&[&self.name, "replayed_ack"])
            .inc();
        debug!(event = "duplicate_message", listener = %self.name, of = of.0);
        if let Some(held_back) = self.throttle.pass() {
            info!(event = "duplicates", listener = %self.name, held_back);
        }
    }

    /// A known control id with other bytes.
    pub fn control_id_reused(&self, of: queue::RecordId, processed: bool) {
        let action = if processed { "processed" } else { "rejected" };
        self.metrics
            .duplicates
            .with_label_values(&[&self.name, action])
            .inc();
        if let Some(held_back) = self.throttle.pass() {
            warn!(event = "control_id_reused", listener = %self.name, of = of.0, action, held_back);
        }
    }

    /// No route takes the message.
    pub fn unrouted(&self, message_type: &str) {
        self.metrics.unrouted.with_label_values(&[&self.name]).inc();
        if let Some(held_back) = self.throttle.pass() {
            let message_type = self.metrics.message_type(message_type);
            warn!(event = "message_unrouted", listener = %self.name, message_type, held_back);
        }
    }

    /// A message was taken by a route without destinations.
    pub fn filtered(&self, route: &str) {
        self.metrics.filtered.with_label_values(&[route]).inc();
        debug!(event = "message_filtered", listener = %self.name, route);
    }

    /// The queue did not take a message.
    pub fn store_failed(&self, error: &queue::QueueError) {
        if let Some(held_back) = self.throttle.pass() {
            error!(event = "store_failed", listener = %self.name, %error, held_back);
        }
    }

    /// The bytes of a message do not fit its MSH-18.
    pub fn charset_doubtful(&self) {
        self.metrics
            .charset_warnings
            .with_label_values(&[&self.name])
            .inc();
    }

    /// The certificate of the listener ends at this time.
    pub fn certificate_ends(&self, at: std::time::SystemTime) {
        let seconds = at
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        self.metrics
            .certificate_expiry
            .with_label_values(&[&self.name])
            .set(seconds);
        if at < std::time::SystemTime::now() + Duration::from_secs(21 * 24 * 3600) {
            warn!(event = "certificate_ends_soon", listener = %self.name);
        }
    }

    /// Changed TLS files are in use.
    pub fn certificate_reloaded(&self, ends: Option<std::time::SystemTime>) {
        info!(event = "certificate_reloaded", listener = %self.name);
        if let Some(ends) = ends {
            self.certificate_ends(ends);
        }
    }

    /// Changed TLS files cannot be used; the earlier ones stay in use.
    pub fn certificate_unusable(&self, why: &mllp::TlsError) {
        error!(event = "certificate_unusable", listener = %self.name, why = why as &dyn std::error::Error);
    }

    /// Connected to a broker and consuming `queue`.
    pub fn broker_connected(&self, queue: &str) {
        self.metrics
            .amqp_consumers
            .with_label_values(&[&self.name])
            .inc();
        info!(event = "broker_connected", listener = %self.name, queue);
    }

    /// A connection to a broker has ended.
    pub fn broker_disconnected(&self) {
        self.metrics
            .amqp_consumers
            .with_label_values(&[&self.name])
            .dec();
    }

    /// The broker is gone or said no; tried again after `retry_in`.
    pub fn broker_lost(&self, queue: &str, why: &str, retry_in: Duration) {
        self.metrics
            .amqp_reconnects
            .with_label_values(&[&self.name])
            .inc();
        warn!(event = "broker_lost", listener = %self.name, queue, why, retry_ms = millis(retry_in));
    }

    /// An ACK message could not be published to where the sender asked for it.
    pub fn reply_failed(&self, why: &str) {
        self.undelivered.inc();
        if let Some(held_back) = self.throttle.pass() {
            warn!(event = "reply_failed", listener = %self.name, why, held_back);
        }
    }
}

impl mllp::Observer for ListenerEvents {
    fn connection_opened(&self, peer: &Peer) {
        self.connections.inc();
        self.connections_total.inc();
        info!(event = "connection_opened", listener = %self.name, connection = peer.connection, peer = %peer.addr, tls = peer.encrypted);
    }

    fn connection_closed(&self, peer: &Peer, reason: CloseReason, totals: ConnectionTotals) {
        self.connections.dec();
        info!(event = "connection_closed", listener = %self.name, connection = peer.connection, %reason, frames = totals.frames, bytes = totals.bytes);
    }

    fn connection_rejected(&self, addr: SocketAddr, reason: RejectReason) {
        self.metrics
            .mllp_rejected
            .with_label_values(&[&self.name, reason.as_str()])
            .inc();
        if let Some(held_back) = self.throttle.pass() {
            warn!(event = "connection_rejected", listener = %self.name, peer = %addr, %reason, held_back);
        }
    }

    fn frame_warning(&self, peer: &Peer, warning: FrameWarning) {
        self.metrics
            .mllp_frame_warnings
            .with_label_values(&[&self.name, warning.as_str()])
            .inc();
        debug!(event = "frame_warning", listener = %self.name, connection = peer.connection, %warning);
    }

    fn frame_error(&self, peer: &Peer, error: &FrameError, held: usize) {
        self.metrics
            .mllp_frame_errors
            .with_label_values(&[&self.name, error.reason()])
            .inc();
        if let Some(held_back) = self.throttle.pass() {
            warn!(event = "frame_error", listener = %self.name, connection = peer.connection, %error, held, held_back);
        }
    }

    fn reply_written(&self, _peer: &Peer, _bytes: usize, latency: Duration) {
        self.ack_latency.observe(latency.as_secs_f64());
    }

    fn ack_undelivered(&self, peer: &Peer, reason: Undelivered) {
        self.undelivered.inc();
        warn!(event = "ack_undelivered", listener = %self.name, connection = peer.connection, %reason);
    }

    fn accept_error(&self, error: &io::Error, retry_in: Duration) {
        if let Some(held_back) = self.throttle.pass() {
            error!(event = "accept_error", listener = %self.name, %error, retry_ms = millis(retry_in), held_back);
        }
    }

    fn tls_failure(&self, addr: SocketAddr, reason: TlsFailure) {
        self.metrics
            .mllp_tls_failures
            .with_label_values(&[&self.name, reason.as_str()])
            .inc();
        if let Some(held_back) = self.throttle.pass() {
            warn!(event = "tls_failure", listener = %self.name, peer = %addr, %reason, held_back);
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
