//! The client: one message at a time, and no answer credited to the wrong one.

use std::{net::SocketAddr, time::Duration};

use mllp::{Client, ClientError, ClientOptions, FrameError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::support::*;

/// A server that speaks as the test wants: each connection in turn goes to `script`, with its
/// number.
async fn scripted<F, Fut>(script: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            script(number, stream).await;
        }
    });
    addr
}

/// Reads one frame, byte by byte.
async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    while !frame.ends_with(b"\x1c\x0d") {
        frame.push(stream.read_u8().await.ok()?);
    }
    Some(frame)
}

async fn connect(addr: SocketAddr) -> Client {
    Client::connect(addr.to_string(), ClientOptions::default())
        .await
        .unwrap()
}

/// One exchange with a server that answers the first message with these bytes and keeps the
/// connection open.
async fn answered_with(bytes: &'static [u8]) -> (Client, Result<bytes::Bytes, ClientError>) {
    let addr = scripted(move |_, mut stream| async move {
        read_frame(&mut stream).await;
        stream.write_all(bytes).await.unwrap();
        tokio::spawn(async move { stream.read_u8().await });
    })
    .await;
    let mut client = connect(addr).await;
    let answer = client.exchange(b"MSH|1\r", PATIENCE).await;
    (client, answer)
}

#[tokio::test]
async fn exchanges_with_the_server() {
    let running = Running::start(server()).await;
    let mut client = connect(running.addr).await;
    for n in 0..100 {
        let payload = format!("MSH|{n}\r");
        let answer = client.exchange(payload.as_bytes(), PATIENCE).await.unwrap();
        assert_eq!(answer, format!("ok:{payload}"));
    }
    let large = vec![b'x'; 5_000_000];
    let answer = client.exchange(&large, PATIENCE).await.unwrap();
    assert_eq!(answer.len(), large.len() + 3);
    assert!(client.is_connected() && client.warnings().is_empty());
    client.close().await;
    assert!(matches!(
        client.exchange(b"one", PATIENCE).await,
        Err(ClientError::NotConnected)
    ));
    running.stop().await;
}

#[tokio::test]
async fn late_answer_is_never_taken_for_the_next_message() {
    let addr = scripted(|number, mut stream| async move {
        let serve = async move {
            while let Some(frame) = read_frame(&mut stream).await {
                if number == 0 {
                    sleep(Duration::from_millis(400)).await;
                }
                if stream.write_all(&frame).await.is_err() {
                    return;
                }
            }
        };
        tokio::spawn(serve);
    })
    .await;
    let mut client = connect(addr).await;
    let late = client.exchange(b"one", SHORT).await.unwrap_err();
    assert!(matches!(late, ClientError::Timeout) && late.may_have_been_received());
    assert!(!client.is_connected());
    // Longer than the answer takes: a client that had kept the connection would find it there.
    sleep(Duration::from_millis(500)).await;
    assert!(matches!(
        client.exchange(b"two", PATIENCE).await,
        Err(ClientError::NotConnected)
    ));
    client.reconnect().await.unwrap();
    assert_eq!(client.exchange(b"two", PATIENCE).await.unwrap(), "two");
}

#[tokio::test]
async fn answer_that_nobody_asked_for_closes_the_connection_before_sending() {
    let (mut client, answer) = answered_with(b"\x0bone\x1c\x0d\x0bone more\x1c\x0d").await;
    assert_eq!(answer.unwrap(), "one");
    sleep(Duration::from_millis(50)).await;
    let refused = client.exchange(b"two", PATIENCE).await.unwrap_err();
    assert!(matches!(refused, ClientError::Unsolicited) && !refused.may_have_been_received());
    assert!(!client.is_connected());
}

#[tokio::test]
async fn dropped_exchange_closes_the_connection() {
    let addr = scripted(|_, mut stream| async move {
        tokio::spawn(async move {
            read_frame(&mut stream).await;
            stream.read_u8().await
        });
    })
    .await;
    let mut client = connect(addr).await;
    timeout(SHORT, client.exchange(b"one", PATIENCE))
        .await
        .unwrap_err();
    assert!(!client.is_connected());
}

#[tokio::test]
async fn closed_connection_is_noticed_before_sending() {
    let (mut client, answer) = {
        let addr = scripted(|_, mut stream| async move {
            read_frame(&mut stream).await;
            stream.write_all(b"\x0bone\x1c\x0d").await.unwrap();
        })
        .await;
        let mut client = connect(addr).await;
        let answer = client.exchange(b"one", PATIENCE).await;
        (client, answer)
    };
    assert_eq!(answer.unwrap(), "one");
    sleep(Duration::from_millis(50)).await;
    let closed = client.exchange(b"two", PATIENCE).await.unwrap_err();
    assert!(matches!(closed, ClientError::ClosedBefore) && !closed.may_have_been_received());
}

#[tokio::test]
async fn close_without_an_answer() {
    let addr = scripted(|_, mut stream| async move {
        read_frame(&mut stream).await;
    })
    .await;
    let closed = connect(addr)
        .await
        .exchange(b"one", PATIENCE)
        .await
        .unwrap_err();
    assert!(matches!(closed, ClientError::ClosedWithoutAnswer) && closed.may_have_been_received());
}

#[tokio::test]
async fn answers_are_read_as_tolerantly_as_frames() {
    for (bytes, warnings) in [
        (&b"\x0bone\x1c\x0d"[..], 0),
        (b"\r\n\x0bone\x1c\x0d", 1),
        (b"\x0bone\x1c", 1),
        (b"\x0bone\x1c\x0a", 2),
    ] {
        let (client, answer) = answered_with(bytes).await;
        assert_eq!(answer.unwrap(), "one");
        assert_eq!(client.warnings().len(), warnings, "{:?}", client.warnings());
    }
}

#[tokio::test]
async fn answers_that_are_no_answers() {
    let (_, http) = answered_with(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let http = http.unwrap_err();
    assert!(matches!(http, ClientError::Answer(FrameError::NotMllp { .. })) && http.is_permanent());
    let (_, cut) = answered_with(b"\x0bon\x0bone\x1c\x0d").await;
    assert!(matches!(cut, Err(ClientError::BadAnswer)));
    let (_, empty) = answered_with(b"\x0b\x1c\x0d").await;
    assert!(matches!(empty, Err(ClientError::BadAnswer)));
    let (client, stray) = answered_with(b"\x0bon\x1ce\x1c\x0d").await;
    assert!(matches!(
        stray,
        Err(ClientError::Answer(FrameError::ByteAfterFs { .. }))
    ));
    assert!(!client.is_connected());
}

#[tokio::test]
async fn answer_over_the_limit_is_refused() {
    let running = Running::start(server()).await;
    let options = ClientOptions {
        frame_bytes: 1000,
        ..ClientOptions::default()
    };
    let mut client = Client::connect(running.addr.to_string(), options)
        .await
        .unwrap();
    let refused = client.exchange(&[b'x'; 2000], PATIENCE).await;
    assert!(matches!(
        refused,
        Err(ClientError::Answer(FrameError::Oversize { limit: 1000 }))
    ));
    running.stop().await;
}

#[tokio::test]
async fn payload_that_cannot_be_framed_is_not_sent_and_harms_nothing() {
    let running = Running::start(server()).await;
    let mut client = connect(running.addr).await;
    for payload in [&b""[..], b"a\x0bb", b"a\x1cb"] {
        let refused = client.exchange(payload, PATIENCE).await.unwrap_err();
        assert!(matches!(refused, ClientError::Payload(_)) && refused.is_permanent());
    }
    assert_eq!(client.exchange(b"one", PATIENCE).await.unwrap(), "ok:one");
    assert_eq!(running.payloads(), ["one"]);
    running.stop().await;
}

#[tokio::test]
async fn release_2() {
    let addr = scripted(|_, mut stream| async move {
        read_frame(&mut stream).await;
        stream.write_all(b"\x0b\x15\x1c\x0d").await.unwrap();
        read_frame(&mut stream).await;
        stream.write_all(b"\x0b\x06\x1c\x0d").await.unwrap();
        read_frame(&mut stream).await;
        stream
            .write_all(b"\x0b\x06\x1c\x0d\x0bMSA|AA\x1c\x0d")
            .await
            .unwrap();
        read_frame(&mut stream).await;
        stream.write_all(b"\x0bMSA|AA\x1c\x0d").await.unwrap();
    })
    .await;
    let mut client = connect(addr).await;
    let nak = client.exchange_release_2(b"one", false, PATIENCE).await;
    assert!(matches!(nak, Err(ClientError::CommitNak)));
    assert_eq!(
        client
            .exchange_release_2(b"one", false, PATIENCE)
            .await
            .unwrap(),
        None
    );
    let answer = client
        .exchange_release_2(b"two", true, PATIENCE)
        .await
        .unwrap();
    assert_eq!(answer.unwrap(), "MSA|AA");
    let none = client.exchange_release_2(b"two", true, PATIENCE).await;
    assert!(matches!(none, Err(ClientError::NoCommit)));
    assert!(!client.is_connected());
}

#[tokio::test]
async fn nobody_listens() {
    let addr = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = Client::connect(addr.to_string(), ClientOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(refused, ClientError::Connect(_)) && !refused.may_have_been_received());
}

#[test]
fn errors_and_debug_output_show_no_payload() {
    let error = ClientError::Answer(FrameError::Timeout { held: 3 });
    assert_eq!(error.to_string(), "answer cannot be read");
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "frame did not end in time, 3 bytes held"
    );
}
