//! A server to test against, a raw client, and an observer that remembers.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use mllp::{
    CloseReason, ConnectionTotals, Drained, Frame, FrameError, FrameWarning, Limits, Observer,
    Peer, Refusal, RejectReason, Reply, Server, ServerBuilder, TlsFailure, Undelivered,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tower::Service;

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// For deadlines under test.
pub const SHORT: Duration = Duration::from_millis(150);

/// An event, as far as tests look at it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Opened,
    Closed(CloseReason, ConnectionTotals),
    Rejected(RejectReason),
    Received(usize),
    Warning(&'static str, u64),
    Error(&'static str, usize),
    Written(usize),
    Undelivered(Undelivered),
    AcceptError,
    TlsFailure(TlsFailure),
}

#[derive(Default)]
pub struct Recorder {
    events: Mutex<Vec<Event>>,
    changed: Notify,
}

impl Recorder {
    fn push(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.changed.notify_waiters();
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events().iter().filter(|event| wanted(event)).count()
    }

    pub fn warnings(&self) -> Vec<(&'static str, u64)> {
        let warning = |event| match event {
            Event::Warning(name, offset) => Some((name, offset)),
            _ => None,
        };
        self.events().into_iter().filter_map(warning).collect()
    }

    pub fn errors(&self) -> Vec<&'static str> {
        let reason = |event| match event {
            Event::Error(reason, _) => Some(reason),
            _ => None,
        };
        self.events().into_iter().filter_map(reason).collect()
    }

    /// Waits until there are `count` events of a kind.
    pub async fn wait_for(&self, count: usize, wanted: impl Fn(&Event) -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if self.count(&wanted) >= count {
                    return;
                }
                let _ = timeout(Duration::from_millis(50), changed).await;
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            panic!("never happened; seen: {:?}", self.events());
        }
    }

    pub async fn wait_closed(&self, reason: CloseReason) {
        self.wait_for(
            1,
            |event| matches!(event, Event::Closed(found, _) if *found == reason),
        )
        .await;
    }
}

impl Observer for Recorder {
    fn connection_opened(&self, _: &Peer) {
        self.push(Event::Opened);
    }
    fn connection_closed(&self, _: &Peer, reason: CloseReason, totals: ConnectionTotals) {
        self.push(Event::Closed(reason, totals));
    }
    fn connection_rejected(&self, _: SocketAddr, reason: RejectReason) {
        self.push(Event::Rejected(reason));
    }
    fn frame_received(&self, _: &Peer, bytes: usize) {
        self.push(Event::Received(bytes));
    }
    fn frame_warning(&self, _: &Peer, warning: FrameWarning) {
        self.push(Event::Warning(warning.as_str(), warning.offset));
    }
    fn frame_error(&self, _: &Peer, error: &FrameError, held: usize) {
        self.push(Event::Error(error.reason(), held));
    }
    fn reply_written(&self, _: &Peer, bytes: usize, _: Duration) {
        self.push(Event::Written(bytes));
    }
    fn ack_undelivered(&self, _: &Peer, reason: Undelivered) {
        self.push(Event::Undelivered(reason));
    }
    fn accept_error(&self, _: &io::Error, _: Duration) {
        self.push(Event::AcceptError);
    }
    fn tls_failure(&self, _: SocketAddr, reason: TlsFailure) {
        self.push(Event::TlsFailure(reason));
    }
}

/// A running server.
pub struct Running {
    pub addr: SocketAddr,
    pub seen: Arc<Recorder>,
    /// Frames that the standard service was given.
    pub frames: Arc<Mutex<Vec<Frame>>>,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<Drained>,
}

impl Running {
    /// Serves with the standard service: `ok:` and the payload, `cut` for a truncated frame, `big`
    /// for an oversized one.
    pub async fn start(builder: ServerBuilder) -> Self {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&frames);
        let service = tower::service_fn(move |frame: Frame| {
            let reply = standard_reply(&frame);
            kept.lock().unwrap().push(frame);
            async move { Ok::<_, Infallible>(reply) }
        });
        let mut running = Self::start_with(builder, service).await;
        running.frames = frames;
        running
    }

    pub async fn start_with<S>(builder: ServerBuilder, service: S) -> Self
    where
        S: Service<Frame, Response = Reply> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
    {
        let seen = Arc::new(Recorder::default());
        let observer: Arc<dyn Observer> = Arc::clone(&seen) as _;
        let server = builder
            .observer(observer)
            .bind("127.0.0.1:0")
            .await
            .unwrap();
        let addr = server.local_addr().unwrap();
        let (shutdown, called) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            server
                .serve(service, async {
                    let _ = called.await;
                })
                .await
        });
        Self {
            addr,
            seen,
            frames: Arc::default(),
            shutdown,
            task,
        }
    }

    pub fn payloads(&self) -> Vec<Bytes> {
        self.frames
            .lock()
            .unwrap()
            .iter()
            .map(|frame| frame.payload.clone())
            .collect()
    }

    pub async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.addr).await.unwrap())
    }

    /// Ends the server without a word.
    pub async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Calls to shut down and waits for the end.
    pub async fn drain(self) -> Drained {
        self.call_to_drain().await
    }

    /// Calls to shut down now; the end can be awaited later.
    pub fn call_to_drain(self) -> impl Future<Output = Drained> {
        let _ = self.shutdown.send(());
        async { timeout(PATIENCE, self.task).await.expect("drains").unwrap() }
    }
}

pub fn standard_reply(frame: &Frame) -> Reply {
    match frame.must_refuse() {
        None => Reply::Frame([b"ok:", &*frame.payload].concat().into()),
        Some(Refusal::Truncated) => Reply::Frame(Bytes::from_static(b"cut")),
        Some(Refusal::Oversized) => Reply::Frame(Bytes::from_static(b"big")),
    }
}

/// A client that sends and receives bytes as they are.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Sends each part in a TCP segment of its own, as far as that can be forced.
    pub async fn send_apart(&mut self, parts: &[&[u8]]) {
        self.0.set_nodelay(true).unwrap();
        for part in parts {
            self.0.write_all(part).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Receives exactly these bytes.
    pub async fn expect(&mut self, wanted: &[u8]) {
        let mut found = vec![0; wanted.len()];
        timeout(PATIENCE, self.0.read_exact(&mut found))
            .await
            .expect("an answer in time")
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(wanted)
        );
    }

    /// Receives until the other end closes. A reset is a close too.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut found = Vec::new();
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut found))
            .await
            .expect("closed in time");
        found
    }

    pub async fn expect_closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest().await), "");
    }

    /// Closes with a reset.
    pub fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }
}

/// `VT payload FS CR`.
pub fn framed(payload: impl AsRef<[u8]>) -> Vec<u8> {
    [b"\x0b", payload.as_ref(), b"\x1c\x0d"].concat()
}

/// What the standard service answers to `payload`, framed.
pub fn ok(payload: impl AsRef<[u8]>) -> Vec<u8> {
    framed([b"ok:", payload.as_ref()].concat())
}

pub fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

pub fn server() -> ServerBuilder {
    Server::builder()
}
