//! The answer that is being written.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{io::AsyncWrite, time::Instant};

use crate::{
    codec::{Commit, encode},
    error::FrameError,
    frame::Reply,
};

/// At most one answer, of any number of frames. Each frame is given to the stream in one write.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    buffer: BytesMut,
    /// Lengths of the frames still in the buffer.
    frames: VecDeque<usize>,
    bytes: usize,
    busy: bool,
    then_close: bool,
    stalled: Option<Instant>,
}

/// What an answer was, once it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) bytes: usize,
    pub(crate) then_close: bool,
}

/// An answer with nothing to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// There is something to write.
    Busy,
    /// There is nothing to write.
    Nothing {
        /// The service asks to close the connection.
        then_close: bool,
    },
}

// === impl Outgoing ===

impl Outgoing {
    /// Whether nothing is being written.
    pub(crate) const fn is_idle(&self) -> bool {
        !self.busy
    }

    /// Since when the other end has accepted nothing.
    pub(crate) const fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// Takes an answer. Only when idle.
    pub(crate) fn put(&mut self, reply: Reply, release_2: bool) -> Result<Put, FrameError> {
        self.clear();
        let result = self.encode(reply, release_2);
        match result {
            Ok(()) if self.frames.is_empty() => Ok(Put::Nothing {
                then_close: self.then_close,
            }),
            Ok(()) => {
                self.bytes = self.buffer.len();
                self.busy = true;
                Ok(Put::Busy)
            }
            Err(error) => {
                self.clear();
                Err(error)
            }
        }
    }

    fn encode(&mut self, reply: Reply, release_2: bool) -> Result<(), FrameError> {
        match reply {
            Reply::Frame(payload) => self.frame(&payload)?,
            Reply::Frames(payloads) => self.all(&payloads)?,
            Reply::FrameThenClose(payload) => {
                self.frame(&payload)?;
                self.then_close = true;
            }
            Reply::CommitAckThen(payloads) => {
                if release_2 {
                    self.frame(Commit::Ack.payload())?;
                }
                self.all(&payloads)?;
            }
            Reply::CommitAck if release_2 => self.frame(Commit::Ack.payload())?,
            Reply::CommitNak if release_2 => self.frame(Commit::Nak.payload())?,
            Reply::CommitAck | Reply::None => {}
            Reply::CommitNak | Reply::Close => self.then_close = true,
        }
        Ok(())
    }

    fn all(&mut self, payloads: &[Bytes]) -> Result<(), FrameError> {
        payloads.iter().try_for_each(|payload| self.frame(payload))
    }

    fn frame(&mut self, payload: &[u8]) -> Result<(), FrameError> {
        let before = self.buffer.len();
        encode(payload, &mut self.buffer)?;
        self.frames
            .push_back(self.buffer.len().saturating_sub(before));
        Ok(())
    }

    /// Forgets what has not been written.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.frames.clear();
        self.busy = false;
        self.then_close = false;
        self.stalled = None;
    }

    /// Ready when the whole answer is written and flushed.
    pub(crate) fn poll_write<IO>(
        &mut self,
        io: &mut IO,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<Written>>
    where
        IO: AsyncWrite + Unpin,
    {
        let result = self.poll_frames(io, task);
        match result {
            Poll::Pending => {
                self.stalled.get_or_insert_with(Instant::now);
                Poll::Pending
            }
            Poll::Ready(result) => {
                let written = Written {
                    bytes: self.bytes,
                    then_close: self.then_close,
                };
                self.clear();
                Poll::Ready(result.map(|()| written))
            }
        }
    }

    fn poll_frames<IO>(&mut self, io: &mut IO, task: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        while let Some(left) = self.frames.front_mut() {
            let frame = self.buffer.get(..*left).unwrap_or_default();
            let count = ready!(Pin::new(&mut *io).poll_write(task, frame))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(count);
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.frames.pop_front();
            }
        }
        Pin::new(io).poll_flush(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: Reply, release_2: bool) -> (Vec<u8>, bool) {
        let mut outgoing = Outgoing::default();
        outgoing.put(reply, release_2).unwrap();
        (outgoing.buffer.to_vec(), outgoing.then_close)
    }

    #[test]
    fn commit_answers_are_written_only_in_release_2() {
        let payload = Bytes::from_static(b"MSA");
        for (reply, release_2, bytes, then_close) in [
            (Reply::CommitAck, true, &b"\x0b\x06\x1c\x0d"[..], false),
            (Reply::CommitNak, true, b"\x0b\x15\x1c\x0d", false),
            (
                Reply::CommitAckThen(vec![payload.clone()]),
                true,
                b"\x0b\x06\x1c\x0d\x0bMSA\x1c\x0d",
                false,
            ),
            (Reply::CommitAck, false, b"", false),
            (Reply::CommitNak, false, b"", true),
            (
                Reply::CommitAckThen(vec![payload.clone()]),
                false,
                b"\x0bMSA\x1c\x0d",
                false,
            ),
            (
                Reply::FrameThenClose(payload.clone()),
                false,
                b"\x0bMSA\x1c\x0d",
                true,
            ),
            (
                Reply::Frames(vec![payload.clone(), payload]),
                false,
                b"\x0bMSA\x1c\x0d\x0bMSA\x1c\x0d",
                false,
            ),
            (Reply::None, false, b"", false),
            (Reply::Close, true, b"", true),
        ] {
            let name = format!("{reply:?} {release_2}");
            assert_eq!(
                written(reply, release_2),
                (bytes.to_vec(), then_close),
                "{name}"
            );
        }
    }

    #[test]
    fn a_bad_frame_takes_the_whole_answer_back() {
        let mut outgoing = Outgoing::default();
        let reply = Reply::Frames(vec![
            Bytes::from_static(b"MSA"),
            Bytes::from_static(b"M\x1cSA"),
        ]);
        assert!(matches!(
            outgoing.put(reply, false),
            Err(FrameError::Unframable { offset: 1 })
        ));
        assert!(outgoing.is_idle() && outgoing.buffer.is_empty() && outgoing.frames.is_empty());
    }

    #[tokio::test]
    async fn each_frame_is_one_write() {
        let frame = |text: &[u8]| [b"\x0b", text, b"\x1c\x0d"].concat();
        // The mock stream expects these writes, one by one.
        let mut io = Writes::default();
        let mut outgoing = Outgoing::default();
        outgoing
            .put(
                Reply::Frames(vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]),
                false,
            )
            .unwrap();
        let written = std::future::poll_fn(|task| outgoing.poll_write(&mut io, task))
            .await
            .unwrap();
        assert_eq!(io.0, [frame(b"one"), frame(b"two")]);
        assert_eq!(written.bytes, 12);
        assert!(outgoing.is_idle());
    }

    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
}
