//! Every default, in one place. `config/fhirway.yaml` documents each of them; a test holds the two together.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Where everything durable lives.
pub const DATA_DIR: &str = "./data";
/// Names of identifiers made here are derived from this (a `urn` or URL of the site).
pub const NAMING_BASE: &str = "urn:fhirway";
/// Time a drain may take.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// `/metrics`, `/livez`, `/readyz`.
pub const ADMIN_BIND: SocketAddr = loopback(9464);
/// The embedded repository.
pub const REPOSITORY_BIND: SocketAddr = loopback(8090);

/// The IANA port of MLLP, on loopback: a port that takes patient data is opened to a network on purpose.
pub const MLLP_BIND: SocketAddr = loopback(2575);
/// Open connections per listener.
pub const CONNECTIONS: usize = 64;
/// Open connections per peer address.
pub const CONNECTIONS_PER_ADDRESS: usize = 8;
/// Largest frame.
pub const FRAME_BYTES: u64 = 16 << 20;
/// From the first byte of a frame to the last.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// Feeds are quiet at night.
pub const IDLE_TIMEOUT: Option<Duration> = None;
/// Time for the peer to take an ACK.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// Cloud address translation drops idle links after 10 minutes, some after 4.
pub const KEEPALIVE: Option<Duration> = Some(Duration::from_secs(180));
/// Frames worked on at once per connection.
pub const IN_FLIGHT: usize = 1;
/// Most senders wait for an ACK even where the standard says none.
pub const ALWAYS_ANSWER: bool = true;

/// Unacknowledged deliveries per RabbitMQ queue; 1 is forty times slower on a quorum queue.
pub const PREFETCH: u16 = 64;
/// First wait before connecting to the broker again.
pub const RECONNECT_INITIAL: Duration = Duration::from_millis(500);
/// Longest wait before connecting to the broker again.
pub const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// What a destination takes: what is not meant for production must not get there because nobody thought of it.
pub const PROCESSING: [&str; 1] = ["P"];
/// What the embedded repository takes; trying out is what it is for.
pub const PROCESSING_OF_TRIALS: [&str; 3] = ["P", "T", "D"];
/// How long a message waits for a test server that gets a share of the traffic.
pub const MIRROR_MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Requests in flight per destination.
pub const CONCURRENCY: usize = 4;
/// Time to connect to a destination.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for one request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// First wait before trying again.
pub const RETRY_INITIAL: Duration = Duration::from_secs(1);
/// Longest wait before trying again.
pub const RETRY_MAX: Duration = Duration::from_secs(300);
/// Messages wait for a server that is down as long as it takes.
pub const RETRY_MAX_AGE: Option<Duration> = None;
/// Attempts after a conflict.
pub const RETRY_CONFLICTS: u32 = 5;
/// Failures in a row that open the circuit.
pub const BREAKER_FAILURES: u32 = 5;
/// How long an open circuit stays open the first time.
pub const BREAKER_FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest that it stays open.
pub const BREAKER_LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a server is asked what it can do.
pub const CAPABILITY_EVERY: Duration = Duration::from_secs(12 * 3600);

/// How long a control id is remembered.
pub const DEDUP_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long delivered messages are kept, for replay.
pub const KEEP_DELIVERED: Option<Duration> = Some(Duration::from_secs(7 * 24 * 3600));
/// How long dead letters are kept.
pub const KEEP_DEAD: Option<Duration> = Some(Duration::from_secs(90 * 24 * 3600));
/// Size at which messages are no longer accepted.
pub const QUEUE_BYTES: Option<u64> = Some(20 << 30);
/// Size from which on delivered messages go before their time.
pub const QUEUE_KEEP_BYTES: Option<u64> = Some(16 << 30);
/// What must stay free on the disk of the queue.
pub const QUEUE_MIN_FREE: Option<u64> = Some(256 << 20);
/// How often TLS files are looked at.
pub const TLS_RELOAD: Option<Duration> = Some(Duration::from_secs(60));
/// How long the mapping of one message may take.
pub const MAPPING_TIME: Duration = Duration::from_secs(20);
