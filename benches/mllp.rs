//! MLLP: frames answered per second over loopback, beside a bare tokio loop.
//!
//! The bare loop knows how long the request is, reads that many bytes and
//! writes the same answer: the least that the exchange can cost on this machine.
//! What the server adds is finding the end of the frame, the limits, the
//! observer's events and the call of the service.
//!
//! `cargo bench -p benches --bench mllp`

use std::{convert::Infallible, net::SocketAddr};

use benches::Race;
use bytes::Bytes;
use mllp::{Frame, Limits, Reply, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// About the size of a laboratory result.
const PAYLOAD: usize = 2_100;
/// About the size of an ACK.
const ACK: &[u8] = &[b'A'; 120];
/// Frames in one run, over all connections.
const FRAMES: usize = 1024;

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    for (connections, in_flight) in [(1, 1), (16, 1), (64, 1), (1, 16), (64, 16)] {
        let bare = runtime.block_on(bare(in_flight));
        let ours = runtime.block_on(ours(connections, in_flight));
        let mut to_bare = runtime.block_on(connect(bare, connections));
        let mut to_ours = runtime.block_on(connect(ours, connections));
        let title = format!(
            "{connections} connections, {in_flight} in flight, {} byte ACK",
            ACK.len()
        );
        let figures = Race::new(title, FRAMES, FRAMES * PAYLOAD)
            .candidate("bare loop", || {
                runtime.block_on(run(&mut to_bare, in_flight))
            })
            .candidate("mllp server", || {
                runtime.block_on(run(&mut to_ours, in_flight))
            })
            .run();
        for figure in figures {
            println!(
                "  {:>11}: {:>9.0} frames/s",
                figure.name,
                1e9 / figure.nanoseconds
            );
        }
    }
}

fn framed(payload: &[u8]) -> Vec<u8> {
    [b"\x0b", payload, b"\x1c\x0d"].concat()
}

fn request() -> Vec<u8> {
    framed(&[b'M'; PAYLOAD])
}

/// Reads and answers as many bytes as requests of a known length have.
async fn bare(in_flight: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("an option");
            tokio::spawn(async move {
                let length = request().len();
                let answer = framed(ACK);
                // Room for all that can be under way: the same reads as a server that reads ahead.
                let mut buffer = vec![0; length * in_flight];
                let mut held = 0;
                while let Ok(count @ 1..) = stream.read(&mut buffer[held..]).await {
                    held += count;
                    while held >= length {
                        held -= length;
                        if stream.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    addr
}

async fn ours(connections: usize, in_flight: usize) -> SocketAddr {
    let limits = Limits {
        connections,
        connections_per_peer: connections,
        in_flight,
        ..Limits::default()
    };
    let server = Server::builder().limits(limits).bind("127.0.0.1:0").await;
    let server = server.expect("a port");
    let addr = server.local_addr().expect("an address");
    let service = tower::service_fn(|frame: Frame| {
        assert_eq!(frame.payload.len(), PAYLOAD);
        std::future::ready(Ok::<_, Infallible>(Reply::Frame(Bytes::from_static(ACK))))
    });
    tokio::spawn(server.serve(service, std::future::pending()));
    addr
}

async fn connect(addr: SocketAddr, connections: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(addr).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        streams.push(stream);
    }
    streams
}

/// Sends all frames over the connections at the same time, `in_flight` at once on each.
async fn run(streams: &mut Vec<TcpStream>, in_flight: usize) -> usize {
    let rounds = FRAMES / streams.len() / in_flight;
    let rounds = rounds.max(1);
    let tasks: Vec<_> = streams
        .drain(..)
        .map(|stream| tokio::spawn(exchange(stream, rounds, in_flight)))
        .collect();
    for task in tasks {
        streams.push(task.await.expect("an exchange"));
    }
    rounds
}

async fn exchange(mut stream: TcpStream, rounds: usize, in_flight: usize) -> TcpStream {
    let requests = request().repeat(in_flight);
    let mut answers = vec![0; framed(ACK).len() * in_flight];
    for _ in 0..rounds {
        stream.write_all(&requests).await.expect("sent");
        stream.read_exact(&mut answers).await.expect("answered");
    }
    stream
}
