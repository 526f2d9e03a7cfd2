//! The sending side: one message at a time, and no answer is ever credited to the wrong one.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::codec::Decoder;

use crate::{
    codec::{Codec, Commit, RawFrame, encode},
    error::FrameError,
    limits::Limits,
    server::tune,
    tls::{self, ClientTls, TlsError},
    tolerance::{FrameWarning, Tolerances},
};

const READ_BYTES: usize = 8 * 1024;

/// How a client connects and reads.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// TLS, if the server speaks it.
    pub tls: Option<Arc<ClientTls>>,
    /// How long connecting may take, TLS handshake included. Default 10 s.
    pub connect_time: Duration,
    /// Largest answer, in bytes of payload. Default 16 MiB.
    pub frame_bytes: usize,
    /// How long to wait for CR after FS in an answer. Default 200 ms.
    pub end_grace: Duration,
    /// What is forgiven in answers. Default [`Tolerances::default`].
    pub tolerances: Tolerances,
    /// Idle time before TCP keepalive probes. Default 3 minutes.
    pub keepalive: Option<Duration>,
}

/// A connection to one MLLP server, with at most one message under way.
///
/// After a response timeout, a broken connection, or anything unexpected from the other end, the
/// connection is closed and every exchange fails with [`ClientError::NotConnected`] until
/// [`reconnect`](Self::reconnect). So a late answer cannot be taken for the answer to the next
/// message. The same happens when the future of an exchange is dropped.
pub struct Client {
    address: String,
    options: ClientOptions,
    link: Option<Link>,
    warnings: Vec<FrameWarning>,
}

/// Why an exchange failed. Holds nothing of a payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no connection; reconnect first.
    #[error("not connected")]
    NotConnected,
    /// The connection could not be made.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection could not be made in time.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The name of the server cannot be verified.
    #[error("tls cannot be used")]
    Tls(#[from] TlsError),
    /// The TLS handshake failed.
    #[error("tls handshake failed")]
    Handshake(#[source] io::Error),
    /// The payload cannot be sent; the connection is still good.
    #[error("payload cannot be sent")]
    Payload(#[source] FrameError),
    /// The other end had closed the connection before the message was sent.
    #[error("connection was closed by the other end before sending")]
    ClosedBefore,
    /// The other end had sent something that nobody asked for, perhaps a late answer; the message
    /// was not sent.
    #[error("unexpected bytes before sending")]
    Unsolicited,
    /// The message could not be written to its end.
    #[error("cannot send")]
    Send(#[source] io::Error),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The other end closed the connection without an answer.
    #[error("connection was closed by the other end without an answer")]
    ClosedWithoutAnswer,
    /// The answer is no good frame.
    #[error("answer cannot be read")]
    Answer(#[source] FrameError),
    /// The answer was cut off by another one, or is empty.
    #[error("answer is not whole")]
    BadAnswer,
    /// Release 2: the other end could not store the message. The connection is still good; the
    /// message may be sent again.
    #[error("not stored by the other end")]
    CommitNak,
    /// Release 2: the first frame of the answer is not a commit answer.
    #[error("answer is not a commit answer")]
    NoCommit,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// One connection. Whoever takes it and does not put it back closes it.
struct Link {
    stream: Box<dyn Stream>,
    codec: Codec,
    input: BytesMut,
    end_grace: Duration,
}

// === impl ClientOptions ===

impl Default for ClientOptions {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            tls: None,
            connect_time: Duration::from_secs(10),
            frame_bytes: limits.frame_bytes,
            end_grace: limits.end_grace,
            tolerances: Tolerances::default(),
            keepalive: limits.keepalive,
        }
    }
}

// === impl Client ===

impl Client {
    /// Connects to `address`, a `host:port`.
    ///
    /// # Errors
    /// [`ClientError::Connect`], [`ClientError::ConnectTimeout`], [`ClientError::Tls`] or
    /// [`ClientError::Handshake`].
    pub async fn connect(
        address: impl Into<String>,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let mut client = Self {
            address: address.into(),
            options,
            link: None,
            warnings: Vec::new(),
        };
        client.reconnect().await?;
        Ok(client)
    }

    /// Closes the connection, if there is one, and makes a new one.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn reconnect(&mut self) -> Result<(), ClientError> {
        self.link = None;
        let link = timeout(
            self.options.connect_time,
            Link::open(&self.address, &self.options),
        )
        .await
        .map_err(|_| ClientError::ConnectTimeout)??;
        self.link = Some(link);
        Ok(())
    }

    /// Whether there is a connection, as far as is known here.
    pub const fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// What was forgiven in the last answer, and between it and the one before.
    pub fn warnings(&self) -> &[FrameWarning] {
        &self.warnings
    }

    /// Sends a message and waits for the answer, together for at most `limit`.
    ///
    /// # Errors
    /// See [`ClientError`]. After all but [`ClientError::Payload`] there is no connection any more.
    pub async fn exchange(
        &mut self,
        payload: &[u8],
        limit: Duration,
    ) -> Result<Bytes, ClientError> {
        let (mut link, frame) = self.begin(payload)?;
        let talk = async {
            link.send(&frame).await?;
            link.answer().await
        };
        let answer = timeout(limit, talk)
            .await
            .map_err(|_| ClientError::Timeout)??;
        self.link = Some(link);
        self.warnings = answer.warnings;
        Ok(answer.payload)
    }

    /// Sends a message by MLLP release 2: waits for the commit answer, and then, if `answer` is
    /// set, for the answer of the application; all together for at most `limit`.
    ///
    /// # Errors
    /// See [`ClientError`]. After all but [`ClientError::Payload`] and [`ClientError::CommitNak`]
    /// there is no connection any more.
    pub async fn exchange_release_2(
        &mut self,
        payload: &[u8],
        answer: bool,
        limit: Duration,
    ) -> Result<Option<Bytes>, ClientError> {
        let (mut link, frame) = self.begin(payload)?;
        let talk = async {
            link.send(&frame).await?;
            let commit = Commit::of(&link.answer().await?.payload).ok_or(ClientError::NoCommit)?;
            let answer = match commit {
                Commit::Ack if answer => Some(link.answer().await?),
                Commit::Ack | Commit::Nak => None,
            };
            Ok::<_, ClientError>((commit, answer))
        };
        let (commit, answer) = timeout(limit, talk)
            .await
            .map_err(|_| ClientError::Timeout)??;
        self.link = Some(link);
        if commit == Commit::Nak {
            return Err(ClientError::CommitNak);
        }
        let answer = answer.unwrap_or_default();
        self.warnings = answer.warnings;
        Ok(Some(answer.payload).filter(|payload| !payload.is_empty()))
    }

    /// Closes the connection, so that the other end sees an orderly end.
    pub async fn close(&mut self) {
        if let Some(mut link) = self.link.take() {
            let _ = timeout(Duration::from_secs(1), link.stream.shutdown()).await;
        }
    }

    /// The frame to send, and the connection to send it on.
    fn begin(&mut self, payload: &[u8]) -> Result<(Link, BytesMut), ClientError> {
        let mut frame = BytesMut::new();
        encode(payload, &mut frame).map_err(ClientError::Payload)?;
        Ok((self.link.take().ok_or(ClientError::NotConnected)?, frame))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

// === impl Link ===

impl Link {
    async fn open(address: &str, options: &ClientOptions) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(ClientError::Connect)?;
        tune(&stream, options.keepalive);
        let stream: Box<dyn Stream> = match &options.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = match &tls.server_name {
                    Some(name) => name.clone(),
                    None => tls::server_name(host(address))?,
                };
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                Box::new(
                    connector
                        .connect(name, stream)
                        .await
                        .map_err(ClientError::Handshake)?,
                )
            }
        };
        Ok(Self {
            stream,
            codec: Codec::new(options.frame_bytes, options.tolerances),
            input: BytesMut::new(),
            end_grace: options.end_grace,
        })
    }

    async fn send(&mut self, frame: &[u8]) -> Result<(), ClientError> {
        self.listen().await?;
        self.stream
            .write_all(frame)
            .await
            .map_err(ClientError::Send)?;
        self.stream.flush().await.map_err(ClientError::Send)
    }

    /// Makes sure that nothing has come since the last answer.
    async fn listen(&mut self) -> Result<(), ClientError> {
        loop {
            match self.codec.decode(&mut self.input) {
                Ok(None) if !self.codec.in_frame() => {}
                _ => return Err(ClientError::Unsolicited),
            }
            self.input.reserve(READ_BYTES);
            let read =
                poll_fn(|task| Poll::Ready(pin!(self.stream.read_buf(&mut self.input)).poll(task)))
                    .await;
            match read {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0) | Err(_)) => return Err(ClientError::ClosedBefore),
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    async fn answer(&mut self) -> Result<RawFrame, ClientError> {
        let answer = loop {
            if let Some(answer) = self
                .codec
                .decode(&mut self.input)
                .map_err(ClientError::Answer)?
            {
                break answer;
            }
            self.input.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.input);
            let read = if self.codec.awaits_cr() {
                match timeout(self.end_grace, read).await {
                    Ok(read) => read,
                    Err(_) => match self
                        .codec
                        .end_by_silence(&mut self.input)
                        .map_err(ClientError::Answer)?
                    {
                        Some(answer) => break answer,
                        None => continue,
                    },
                }
            } else {
                read.await
            };
            match read {
                Ok(0) => match self.codec.decode_eof(&mut self.input) {
                    Ok(Some(answer)) => break answer,
                    Ok(None) => return Err(ClientError::ClosedWithoutAnswer),
                    Err(error) => return Err(ClientError::Answer(error)),
                },
                Ok(_) => {}
                Err(error) if self.codec.in_frame() => {
                    return Err(ClientError::Answer(error.into()));
                }
                Err(_) => return Err(ClientError::ClosedWithoutAnswer),
            }
        };
        if answer.truncated.is_some() || answer.payload.is_empty() {
            return Err(ClientError::BadAnswer);
        }
        Ok(answer)
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

// === impl ClientError ===

impl ClientError {
    /// Whether the message may have reached the other end, so that sending it again may double it.
    pub const fn may_have_been_received(&self) -> bool {
        match self {
            Self::Send(_)
            | Self::Timeout
            | Self::ClosedWithoutAnswer
            | Self::Answer(_)
            | Self::BadAnswer
            | Self::NoCommit => true,
            Self::NotConnected
            | Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Tls(_)
            | Self::Handshake(_)
            | Self::Payload(_)
            | Self::ClosedBefore
            | Self::Unsolicited
            | Self::CommitNak => false,
        }
    }

    /// Whether trying again is no use before something is changed: the other end does not speak
    /// MLLP, or the payload cannot be sent.
    pub const fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Tls(_)
                | Self::Payload(_)
                | Self::Answer(FrameError::NotMllp { .. })
                | Self::NoCommit
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_of_an_address() {
        assert_eq!(host("lab.example.org:2575"), "lab.example.org");
        assert_eq!(host("192.0.2.1:2575"), "192.0.2.1");
        assert_eq!(host("[2001:db8::1]:2575"), "2001:db8::1");
    }
}
