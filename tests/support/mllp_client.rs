//! An MLLP client of its own: what the gateway writes is read by code that the gateway does not use.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::in_time;

const VT: u8 = 0x0b;
const FS: u8 = 0x1c;
const CR: u8 = b'\r';

/// A payload in its frame.
pub fn frame(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = vec![VT];
    bytes.extend_from_slice(payload.as_ref());
    bytes.extend_from_slice(&[FS, CR]);
    bytes
}

/// One connection.
pub struct MllpClient {
    stream: TcpStream,
    input: Vec<u8>,
}

impl MllpClient {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
        })
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// The next frame; `None` when the other end has closed the connection (or reset it).
    pub async fn frame(&mut self) -> Option<Vec<u8>> {
        in_time("an answer or the end of the connection", self.next()).await
    }

    /// The next frame as an ACK.
    pub async fn ack(&mut self) -> Option<Ack> {
        self.frame().await.map(Ack)
    }

    /// Sends a message and waits for its ACK. An error when the connection ends before.
    pub async fn try_exchange(&mut self, message: impl AsRef<[u8]>) -> io::Result<Ack> {
        self.write(frame(message)).await?;
        self.ack()
            .await
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The same where the connection must hold.
    pub async fn exchange(&mut self, message: impl AsRef<[u8]>) -> Ack {
        self.try_exchange(message)
            .await
            .expect("the connection ended before the ack")
    }

    /// Sends a message that must be acknowledged positively.
    pub async fn send(&mut self, message: impl AsRef<[u8]>) {
        let ack = self.exchange(message).await;
        assert_eq!(ack.code(), "AA", "{}", ack.text());
    }

    /// No more bytes from this side.
    pub async fn end(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Waits for the end of the connection; whatever came before it must not be a frame.
    pub async fn expect_closed(mut self) {
        let frame = self.frame().await;
        assert!(frame.is_none(), "an answer where none was expected");
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == [FS, CR]) {
                let rest = self.input.split_off(end + 2);
                let mut whole = std::mem::replace(&mut self.input, rest);
                whole.truncate(end);
                assert_eq!(whole.first(), Some(&VT), "a frame begins with VT");
                whole.remove(0);
                return Some(whole);
            }
            let mut buffer = [0; 8192];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => {
                    assert!(self.input.is_empty(), "the answer was cut off");
                    return None;
                }
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// An acknowledgement, taken apart without our parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack(pub Vec<u8>);

impl Ack {
    /// All of it, for messages and searches.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).replace('\r', "\n")
    }

    /// MSA-1.
    pub fn code(&self) -> String {
        self.field("MSA", 1)
    }

    /// MSA-2.
    pub fn about(&self) -> String {
        self.field("MSA", 2)
    }

    /// A field of the first segment of that name, empty when there is none.
    pub fn field(&self, segment: &str, number: usize) -> String {
        self.fields(segment, number)
            .into_iter()
            .next()
            .unwrap_or_default()
    }

    /// A field of all segments of that name.
    pub fn fields(&self, segment: &str, number: usize) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0).into_owned();
        // In a batch the first segment may be FHS or BHS; its fourth character is the delimiter as well.
        let delimiter = text.chars().nth(3).expect("no field delimiter");
        let index = if matches!(segment, "MSH" | "BHS" | "FHS") {
            number - 1
        } else {
            number
        };
        text.split('\r')
            .filter(|each| each.starts_with(segment))
            .map(|each| {
                each.split(delimiter)
                    .nth(index)
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    }
}
