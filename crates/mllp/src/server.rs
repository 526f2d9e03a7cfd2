//! The listener: accepts connections within its limits, serves each in a task of its own, drains
//! them at the end.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::{
    connection::{Connection, Shared},
    frame::{Frame, Peer, Reply},
    limits::Limits,
    observer::{NoObserver, Observer, RejectReason},
    slots::{Slot, Slots},
    tls::ServerTls,
    tolerance::Tolerances,
};

const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// A bound listener, ready to serve.
#[must_use = "a server does nothing until it serves"]
pub struct Server {
    listener: TcpListener,
    settings: Settings,
}

/// Settings of a [`Server`], before it is bound.
#[derive(Default)]
#[must_use]
pub struct ServerBuilder {
    settings: Settings,
}

/// How a [`Server`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open when the drain deadline had passed, and were cut.
    pub aborted: usize,
}

struct Settings {
    limits: Limits,
    tolerances: Tolerances,
    release_2: bool,
    drain_time: Duration,
    tls: Option<Arc<ServerTls>>,
    allow: Option<Box<dyn Fn(IpAddr) -> bool + Send + Sync>>,
    observer: Arc<dyn Observer>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tolerances: Tolerances::default(),
            release_2: false,
            drain_time: Duration::from_secs(10),
            tls: None,
            allow: None,
            observer: Arc::new(NoObserver),
        }
    }
}

// === impl ServerBuilder ===

impl ServerBuilder {
    /// What a sender may use. Default [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// What the reader forgives. Default [`Tolerances::default`].
    pub fn tolerances(mut self, tolerances: Tolerances) -> Self {
        self.settings.tolerances = tolerances;
        self
    }

    /// Writes the MLLP release 2 commit answers that the service asks for. Off by default.
    pub fn release_2(mut self, on: bool) -> Self {
        self.settings.release_2 = on;
        self
    }

    /// How long frames in progress may take after the call to shut down, before their connections
    /// are cut. Default 10 s.
    pub fn drain_time(mut self, time: Duration) -> Self {
        self.settings.drain_time = time;
        self
    }

    /// Serves TLS, and only TLS.
    pub fn tls(mut self, tls: Arc<ServerTls>) -> Self {
        self.settings.tls = Some(tls);
        self
    }

    /// Asks `allow` about each address (IPv4 addresses mapped into IPv6 as IPv4) before a
    /// connection is taken.
    pub fn allow(mut self, allow: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        self.settings.allow = Some(Box::new(allow));
        self
    }

    /// Who hears of what happens.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.settings.observer = observer;
        self
    }

    /// Binds the listener. Nothing is accepted before [`Server::serve`].
    ///
    /// # Errors
    /// The address cannot be resolved or is taken.
    pub async fn bind(self, addr: impl ToSocketAddrs) -> io::Result<Server> {
        Ok(self.listener(TcpListener::bind(addr).await?))
    }

    /// Uses a listener that is bound already.
    pub fn listener(self, listener: TcpListener) -> Server {
        Server {
            listener,
            settings: self.settings,
        }
    }
}

// === impl Server ===

impl Server {
    /// A server with default settings, to be changed and bound.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is ready, then drains: no new connections, no new frames; frames in
    /// progress are read to their end and answered; connections close. What is not done after the
    /// drain time is cut.
    ///
    /// The service is cloned for each connection, and called for its frames in their order. Its
    /// error closes the connection with no answer. A panic of the service ends that connection
    /// only.
    pub async fn serve<S>(self, service: S, shutdown: impl Future<Output = ()>) -> Drained
    where
        S: Service<Frame, Response = Reply> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
    {
        let Self { listener, settings } = self;
        let Settings { limits, .. } = &settings;
        let slots = Slots::new(limits.connections, limits.connections_per_peer);
        let drain = CancellationToken::new();
        let gate = Gate {
            slots,
            allow: settings.allow,
            tls: settings.tls,
            shared: Arc::new(Shared {
                limits: settings.limits,
                tolerances: settings.tolerances,
                release_2: settings.release_2,
                observer: settings.observer,
                drain: drain.clone(),
            }),
        };

        let mut shutdown = pin!(shutdown);
        let mut tasks = JoinSet::new();
        let mut backoff = FIRST_BACKOFF;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, addr)) => {
                    backoff = FIRST_BACKOFF;
                    if let Some(slot) = gate.admit(addr) {
                        tasks.spawn(serve_stream(
                            stream,
                            addr,
                            slot,
                            gate.tls.clone(),
                            service.clone(),
                            Arc::clone(&gate.shared),
                        ));
                    }
                }
                // The connection is gone, not the listener.
                Err(error) if is_of_connection(&error) => {
                    gate.shared.observer.accept_error(&error, Duration::ZERO)
                }
                // Out of file descriptors or memory: closing connections will help, asking again at
                // once will not.
                Err(error) => {
                    gate.shared.observer.accept_error(&error, backoff);
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = sleep(backoff) => {}
                    }
                    backoff = backoff.saturating_mul(2).min(LAST_BACKOFF);
                }
            }
        }

        drop(listener);
        drain.cancel();
        let all_done = async { while tasks.join_next().await.is_some() {} };
        let in_time = timeout(settings.drain_time, all_done).await;
        let aborted = tasks.len();
        if in_time.is_err() {
            tasks.shutdown().await;
        }
        Drained { aborted }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listener", &self.listener)
            .field("settings", &self.settings)
            .finish()
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerBuilder")
            .field(&self.settings)
            .finish()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("limits", &self.limits)
            .field("tolerances", &self.tolerances)
            .field("release_2", &self.release_2)
            .field("drain_time", &self.drain_time)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// What a connection must pass before it gets a task.
struct Gate {
    slots: Arc<Slots>,
    allow: Option<Box<dyn Fn(IpAddr) -> bool + Send + Sync>>,
    tls: Option<Arc<ServerTls>>,
    shared: Arc<Shared>,
}

impl Gate {
    fn admit(&self, addr: SocketAddr) -> Option<Slot> {
        let allowed = self
            .allow
            .as_ref()
            .is_none_or(|allow| allow(addr.ip().to_canonical()));
        let slot = if allowed {
            self.slots.take(addr.ip())
        } else {
            Err(RejectReason::NotAllowed)
        };
        slot.inspect_err(|reason| self.shared.observer.connection_rejected(addr, *reason))
            .ok()
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Serves one accepted stream; the slot is held until it is closed.
async fn serve_stream<S>(
    stream: TcpStream,
    addr: SocketAddr,
    _slot: Slot,
    tls: Option<Arc<ServerTls>>,
    service: S,
    shared: Arc<Shared>,
) where
    S: Service<Frame, Response = Reply>,
{
    static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
    tune(&stream, shared.limits.keepalive);
    let mut peer = Peer {
        connection: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
        addr,
        encrypted: tls.is_some(),
        tls: None,
    };
    let Some(tls) = tls else {
        return Connection::new(stream, peer, service, shared).run().await;
    };
    let handshake = tokio::select! {
        biased;
        // Nothing was received on it yet.
        () = shared.drain.cancelled() => return,
        handshake = tls.accept(stream, shared.limits.handshake_time) => handshake,
    };
    match handshake {
        Ok((stream, facts)) => {
            peer.tls = facts.map(Arc::new);
            Connection::new(stream, peer, service, shared).run().await;
        }
        Err(failure) => shared.observer.tls_failure(addr, failure),
    }
}

/// Sets what a long-lived connection with small frames wants. A socket that refuses is used as it
/// is.
pub(crate) fn tune(stream: &TcpStream, keepalive: Option<Duration>) {
    let _ = stream.set_nodelay(true);
    if let Some(time) = keepalive {
        let keepalive = TcpKeepalive::new().with_time(time).with_interval(time);
        let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
}
