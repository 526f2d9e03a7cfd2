//! The end of a connection: that the last answer arrives, or is known not to have arrived.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tower::Service;

use super::{Connection, READ_BYTES};
use crate::{
    frame::{Frame, Reply},
    observer::{CloseReason, Undelivered},
};

/// How long, after the last answer, bytes are still read and thrown away. Closing with unread bytes
/// would reset the connection, and a reset can take the answer from the other end before it was
/// read.
const LINGER: Duration = Duration::from_secs(1);

/// How long a reset may take that answers an answer.
const RESET_TIME: Duration = Duration::from_millis(200);

/// A stream that is, or runs over, TCP.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Transport for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl<IO, S> Connection<IO, S>
where
    IO: Transport,
    S: Service<Frame, Response = Reply>,
{
    /// Says goodbye, and gives the other end time to read the last answer.
    pub(super) async fn hang_up(&mut self) {
        if matches!(self.mute, Some(Undelivered::Gone | Undelivered::Timeout)) {
            return;
        }
        self.input = BytesMut::with_capacity(READ_BYTES);
        let ended = self.ended;
        let goodbye = async {
            self.io.shutdown().await?;
            while !self.ended {
                self.input.clear();
                self.ended = self.io.read_buf(&mut self.input).await? == 0;
            }
            Ok::<_, io::Error>(())
        };
        let reset = match timeout(LINGER, goodbye).await {
            // The end of the stream came before the answer. Was it a sender that only sends no
            // more, or one that is gone? The answer then meets a reset.
            Ok(Ok(())) if ended && self.unconfirmed => {
                let error = self.io.tcp().ready(Interest::ERROR);
                timeout(RESET_TIME, error).await.is_ok()
            }
            Ok(Ok(())) | Err(_) => false,
            Ok(Err(_)) => self.unconfirmed,
        };
        if reset {
            self.shared
                .observer
                .ack_undelivered(&self.peer, Undelivered::Reset);
        }
    }
}

impl<IO, S: Service<Frame>> Drop for Connection<IO, S> {
    fn drop(&mut self) {
        let mut reason = self.closing.unwrap_or(CloseReason::Aborted);
        if !self.done {
            reason = CloseReason::Aborted;
            self.totals.held = self.codec.held();
            let called = self
                .received
                .len()
                .saturating_sub(usize::from(self.waiting.is_some()));
            for _ in 0..called {
                self.shared
                    .observer
                    .ack_undelivered(&self.peer, Undelivered::Aborted);
            }
        }
        self.shared
            .observer
            .connection_closed(&self.peer, reason, self.totals);
    }
}
