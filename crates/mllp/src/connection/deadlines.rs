//! What a connection may take: for an answer, a frame, the CR after its FS, the next frame.

use std::{
    future::Future,
    task::{Context as Task, Poll, ready},
};

use tokio::time::{Instant, sleep_until};
use tower::Service;

use super::{Connection, Transport};
use crate::{
    error::FrameError,
    frame::{Frame, Reply},
    observer::{CloseReason, Undelivered},
};

impl<IO, S> Connection<IO, S>
where
    IO: Transport,
    S: Service<Frame, Response = Reply>,
{
    /// Ready when a deadline has passed, and has been seen to.
    pub(super) fn poll_deadline(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline() else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(task));
        self.expire(Instant::now());
        Poll::Ready(())
    }

    fn deadline(&mut self) -> Option<Instant> {
        let [write, frame, end, idle] = self.deadlines();
        write.into_iter().chain(frame).chain(end).chain(idle).min()
    }

    /// For an answer, for the frame being read, for the CR after its FS, for the next frame.
    fn deadlines(&mut self) -> [Option<Instant>; 4] {
        let limits = &self.shared.limits;
        let write = self
            .outgoing
            .stalled()
            .and_then(|since| since.checked_add(limits.write_time));
        // Without room, the sender is not at fault: its bytes are not looked at.
        if self.closing.is_some() || self.ended || !self.has_room() {
            return [write, None, None, None];
        }
        let in_frame = self.codec.in_frame();
        let started = |clock: &mut Option<Instant>| *clock.get_or_insert_with(Instant::now);
        let frame = in_frame
            .then(|| started(&mut self.frame_clock).checked_add(limits.frame_time))
            .flatten();
        let end = (self.codec.awaits_cr())
            .then(|| started(&mut self.end_clock).checked_add(limits.end_grace))
            .flatten();
        let idle = limits
            .idle_time
            .filter(|_| !in_frame && self.received.is_empty())
            .and_then(|time| self.idle_clock.checked_add(time));
        [write, frame, end, idle]
    }

    fn expire(&mut self, now: Instant) {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let [write, frame, end, idle] = self.deadlines();
        if passed(write) {
            self.shared
                .observer
                .ack_undelivered(&self.peer, Undelivered::Timeout);
            self.outgoing.clear();
            self.finish_answer();
            self.stop(CloseReason::WriteTimeout, Undelivered::Timeout);
        } else if passed(end) {
            match self.codec.end_by_silence(&mut self.input) {
                Ok(Some(frame)) => self.accept(frame),
                Ok(None) => self.end_clock = None,
                Err(error) => self.fail(error),
            }
        } else if passed(frame) {
            let held = self.codec.held();
            self.fail(FrameError::Timeout { held });
        } else if passed(idle) {
            self.close(CloseReason::IdleTimeout);
        }
    }
}
