//! One connection: reads frames, hands them to the service in order, writes the answers in the same
//! order.
//!
//! Everything happens in one task. A turn of the loop takes frames out of the buffer while there is
//! room for them, then waits for whatever can go on: an answer to be written, a call to finish, the
//! service to become ready, bytes to arrive, a deadline, the call to drain. Reading stops while
//! [`Limits::in_flight`] frames are with the service, so a fast sender is held back by TCP and
//! memory stays bounded.
//!
//! A frame that was handed to the service is always run to its end, also when the sender is gone:
//! only then can the service know that what it stored will come again.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as Task, Poll, ready},
    time::SystemTime,
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, Sleep},
};
use tokio_util::{
    codec::Decoder,
    sync::{CancellationToken, WaitForCancellationFutureOwned},
};
use tower::Service;

use crate::{
    codec::{Codec, RawFrame},
    error::FrameError,
    frame::{Frame, OVERSIZE_PREFIX, Peer, Reply},
    limits::Limits,
    observer::{CloseReason, ConnectionTotals, Observer, Undelivered},
    outgoing::{Outgoing, Put},
    tolerance::Tolerances,
};

mod deadlines;
mod farewell;

use farewell::Transport;

/// Room made for each read.
const READ_BYTES: usize = 8 * 1024;
/// A buffer larger than this is given back once it is empty.
const KEEP_BYTES: usize = 64 * 1024;

/// What the connections of a listener share.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) tolerances: Tolerances,
    pub(crate) release_2: bool,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) drain: CancellationToken,
}

pub(crate) struct Connection<IO, S: Service<Frame>> {
    io: IO,
    service: S,
    shared: Arc<Shared>,
    peer: Peer,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: Option<Pin<Box<Sleep>>>,

    codec: Codec,
    input: BytesMut,
    /// The other end will send no more.
    ended: bool,
    draining: bool,

    /// A frame for which the service has no room yet.
    waiting: Option<Frame>,
    in_flight: FuturesOrdered<S::Future>,
    answered: VecDeque<Result<Reply, S::Error>>,
    outgoing: Outgoing,
    /// When each frame that is not done with was received, in order: `waiting`, `in_flight`,
    /// `answered`, `outgoing`.
    received: VecDeque<Instant>,

    /// No answer can be written any more.
    mute: Option<Undelivered>,
    /// No frame will be read any more.
    closing: Option<CloseReason>,
    done: bool,
    /// Answers were written, and nothing has been heard from the other end since.
    unconfirmed: bool,

    frame_clock: Option<Instant>,
    end_clock: Option<Instant>,
    idle_clock: Instant,
    totals: ConnectionTotals,
}

// === impl Connection ===

impl<IO, S> Connection<IO, S>
where
    IO: Transport,
    S: Service<Frame, Response = Reply>,
{
    pub(crate) fn new(io: IO, peer: Peer, service: S, shared: Arc<Shared>) -> Self {
        shared.observer.connection_opened(&peer);
        Self {
            io,
            service,
            peer,
            drain: Box::pin(shared.drain.child_token().cancelled_owned()),
            timer: None,
            codec: Codec::new(shared.limits.frame_bytes, shared.tolerances),
            input: BytesMut::new(),
            ended: false,
            draining: false,
            waiting: None,
            in_flight: FuturesOrdered::new(),
            answered: VecDeque::new(),
            outgoing: Outgoing::default(),
            received: VecDeque::new(),
            mute: None,
            closing: None,
            done: false,
            unconfirmed: false,
            frame_clock: None,
            end_clock: None,
            idle_clock: Instant::now(),
            totals: ConnectionTotals::default(),
            shared,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(mut self) {
        loop {
            self.admit();
            if self.closing.is_some() && self.received.is_empty() {
                break;
            }
            poll_fn(|task| self.poll_turn(task)).await;
        }
        self.done = true;
        self.hang_up().await;
    }

    // --- frames in ---

    /// Takes frames out of the buffer while there is room for them.
    fn admit(&mut self) {
        while self.closing.is_none() && self.has_room() {
            if self.draining && !self.codec.in_frame() {
                return self.close(CloseReason::Drained);
            }
            let decoded = if self.ended {
                self.codec.decode_eof(&mut self.input)
            } else {
                self.codec.decode(&mut self.input)
            };
            match decoded {
                Ok(Some(frame)) => self.accept(frame),
                Ok(None) if self.ended => self.close(CloseReason::PeerClosed),
                Ok(None) => break,
                Err(error) => self.fail(error),
            }
        }
        if self.input.is_empty() && self.input.capacity() > KEEP_BYTES {
            self.input = BytesMut::new();
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.is_none() && self.received.len() < self.shared.limits.in_flight.max(1)
    }

    fn accept(&mut self, frame: RawFrame) {
        self.frame_clock = None;
        self.end_clock = None;
        for warning in &frame.warnings {
            self.shared.observer.frame_warning(&self.peer, *warning);
        }
        if frame.payload.is_empty() && frame.truncated.is_none() {
            return;
        }
        self.shared
            .observer
            .frame_received(&self.peer, frame.payload.len());
        self.hand_on(frame, None);
    }

    fn hand_on(&mut self, frame: RawFrame, oversized: Option<Bytes>) {
        let now = Instant::now();
        self.idle_clock = now;
        self.received.push_back(now);
        self.totals.frames = self.totals.frames.saturating_add(1);
        self.waiting = Some(Frame {
            payload: frame.payload,
            received_at: SystemTime::now(),
            warnings: frame.warnings,
            truncated: frame.truncated,
            oversized,
            peer: self.peer.clone(),
        });
    }

    /// Ends reading because of a framing error. Frames before it are still answered.
    fn fail(&mut self, error: FrameError) {
        self.totals.held = self.codec.held();
        let warnings = self.codec.take_warnings();
        for warning in &warnings {
            self.shared.observer.frame_warning(&self.peer, *warning);
        }
        self.shared
            .observer
            .frame_error(&self.peer, &error, self.totals.held);
        self.close(CloseReason::FrameError);
        if matches!(error, FrameError::Oversize { .. }) {
            let prefix = self.codec.prefix(&self.input, OVERSIZE_PREFIX);
            let frame = RawFrame {
                payload: Bytes::new(),
                truncated: None,
                warnings,
            };
            self.hand_on(frame, Some(prefix));
        }
        self.input = BytesMut::new();
    }

    fn close(&mut self, reason: CloseReason) {
        if self.closing.is_none() {
            self.closing = Some(reason);
            for warning in self.codec.take_warnings() {
                self.shared.observer.frame_warning(&self.peer, warning);
            }
        }
    }

    // --- one turn ---

    /// Ready as soon as anything went on.
    fn poll_turn(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let mut progress = self.poll_write(task).is_ready();
        progress |= self.poll_service(task).is_ready();
        progress |= self.poll_read(task).is_ready();
        if progress {
            return Poll::Ready(());
        }
        if !self.draining && self.drain.as_mut().poll(task).is_ready() {
            self.draining = true;
            return Poll::Ready(());
        }
        self.poll_deadline(task)
    }

    fn poll_service(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let mut progress = Poll::Pending;
        if !self.in_flight.is_empty()
            && let Poll::Ready(Some(answer)) = self.in_flight.poll_next_unpin(task)
        {
            self.answered.push_back(answer);
            progress = Poll::Ready(());
        }
        if self.outgoing.is_idle()
            && let Some(answer) = self.answered.pop_front()
        {
            self.answer(answer);
            progress = Poll::Ready(());
        }
        if self.waiting.is_some()
            && let Poll::Ready(ready) = self.service.poll_ready(task)
        {
            match (ready, self.waiting.take()) {
                (Ok(()), Some(frame)) => self.in_flight.push_back(self.service.call(frame)),
                _ => {
                    // The service takes no more. Frames before this one are still answered.
                    self.received.pop_back();
                    self.close(CloseReason::ServiceError);
                }
            }
            progress = Poll::Ready(());
        }
        progress
    }

    fn poll_read(&mut self, task: &mut Task<'_>) -> Poll<()> {
        if !self.may_read() {
            return Poll::Pending;
        }
        if self.input.spare_capacity_mut().len() < READ_BYTES / 2 {
            self.input.reserve(READ_BYTES);
        }
        // Polled once and dropped: `read_buf` takes nothing from the stream unless it is ready.
        match pin!(self.io.read_buf(&mut self.input)).poll(task) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => self.end(),
            Poll::Ready(Ok(count)) => {
                self.totals.bytes = self.totals.bytes.saturating_add(count as u64);
                self.unconfirmed = false;
            }
            // TLS without close_notify. A frame has an end of its own, so nothing can be cut off
            // unseen.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.end(),
            Poll::Ready(Err(error)) => self.broken(error),
        }
        Poll::Ready(())
    }

    /// Also without room for a frame, up to one read ahead: so it is seen when the sender goes
    /// away.
    fn may_read(&self) -> bool {
        self.closing.is_none()
            && !self.ended
            && (self.has_room() || self.input.len() < READ_BYTES / 2)
    }

    /// The other end will send no more. What was answered before was read, as far as can be known.
    fn end(&mut self) {
        self.ended = true;
        self.unconfirmed = false;
    }

    /// The connection broke while reading.
    fn broken(&mut self, error: io::Error) {
        if self.unconfirmed {
            self.unconfirmed = false;
            self.shared
                .observer
                .ack_undelivered(&self.peer, Undelivered::Reset);
        }
        self.mute = Some(Undelivered::Gone);
        if self.codec.in_frame() {
            self.totals.held = self.codec.held();
            self.shared
                .observer
                .frame_error(&self.peer, &error.into(), self.totals.held);
        }
        self.close(CloseReason::Io);
    }

    // --- answers out ---

    fn answer(&mut self, answer: Result<Reply, S::Error>) {
        let Ok(reply) = answer else {
            self.finish_answer();
            return self.stop(CloseReason::ServiceError, Undelivered::Closed);
        };
        if let Some(reason) = self.mute {
            if !matches!(reply, Reply::None | Reply::Close) {
                self.shared.observer.ack_undelivered(&self.peer, reason);
            }
            return self.finish_answer();
        }
        match self.outgoing.put(reply, self.shared.release_2) {
            Ok(Put::Busy) => {}
            Ok(Put::Nothing { then_close }) => {
                self.finish_answer();
                if then_close {
                    self.stop(CloseReason::Service, Undelivered::Closed);
                }
            }
            Err(_) => {
                self.shared
                    .observer
                    .ack_undelivered(&self.peer, Undelivered::Unframable);
                self.finish_answer();
                self.stop(CloseReason::BadReply, Undelivered::Closed);
            }
        }
    }

    fn poll_write(&mut self, task: &mut Task<'_>) -> Poll<()> {
        if self.outgoing.is_idle() {
            return Poll::Pending;
        }
        match ready!(self.outgoing.poll_write(&mut self.io, task)) {
            Ok(written) => {
                self.unconfirmed = true;
                let latency = self
                    .received
                    .front()
                    .map(Instant::elapsed)
                    .unwrap_or_default();
                self.shared
                    .observer
                    .reply_written(&self.peer, written.bytes, latency);
                self.finish_answer();
                if written.then_close {
                    self.stop(CloseReason::Service, Undelivered::Closed);
                }
            }
            Err(_) => {
                self.shared
                    .observer
                    .ack_undelivered(&self.peer, Undelivered::Gone);
                self.finish_answer();
                self.stop(CloseReason::Io, Undelivered::Gone);
            }
        }
        Poll::Ready(())
    }

    fn finish_answer(&mut self) {
        self.received.pop_front();
        if self.shared.limits.idle_time.is_some() {
            self.idle_clock = Instant::now();
        }
    }

    /// Reads no more frames and writes no more answers. Calls that have begun still run to their
    /// end.
    fn stop(&mut self, reason: CloseReason, undelivered: Undelivered) {
        self.close(reason);
        self.mute.get_or_insert(undelivered);
        if self.waiting.take().is_some() {
            self.received.pop_back();
        }
    }
}
