//! Limits of a listener: connections, addresses, times.

use std::{net::SocketAddr, time::Duration};

use mllp::{CloseReason, RejectReason, Undelivered};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::support::*;

/// Connects from another address of the loopback network.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    Raw(socket.connect(to).await.unwrap())
}

async fn works(raw: &mut Raw) {
    raw.send(&framed("one")).await;
    raw.expect(&ok("one")).await;
}

#[tokio::test]
async fn connections_of_one_address_are_capped() {
    let running = Running::start(server().limits(limits(|l| l.connections_per_peer = 2))).await;
    let mut first = running.connect().await;
    let mut second = running.connect().await;
    works(&mut first).await;
    works(&mut second).await;
    running.connect().await.expect_closed().await;
    running
        .seen
        .wait_for(1, |e| {
            *e == Event::Rejected(RejectReason::ConnectionsPerPeer)
        })
        .await;
    // Another address is not concerned, and neither are the two that were first.
    works(&mut connect_from([127, 0, 0, 2], running.addr).await).await;
    works(&mut first).await;
    // A place that is given back can be taken.
    drop(second);
    running
        .seen
        .wait_for(1, |e| {
            matches!(e, Event::Closed(CloseReason::PeerClosed, _))
        })
        .await;
    eventually_works(&running).await;
    running.stop().await;
}

/// The slot of a closed connection is free a moment after its event.
async fn eventually_works(running: &Running) {
    let trying = async {
        loop {
            let mut raw = running.connect().await;
            raw.send(&framed("one")).await;
            if raw.0.read_u8().await.is_ok_and(|byte| byte == 0x0b) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, trying).await.expect("a free place");
}

#[tokio::test]
async fn connections_in_total_are_capped() {
    let running = Running::start(server().limits(limits(|l| l.connections = 3))).await;
    let mut open = Vec::new();
    for last in 1..=3 {
        let mut raw = connect_from([127, 0, 0, last], running.addr).await;
        works(&mut raw).await;
        open.push(raw);
    }
    connect_from([127, 0, 0, 9], running.addr)
        .await
        .expect_closed()
        .await;
    running
        .seen
        .wait_for(1, |e| *e == Event::Rejected(RejectReason::Connections))
        .await;
    for raw in &mut open {
        works(raw).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn flood_of_connections_leaves_the_first_ones_alone() {
    let running = Running::start(server()).await;
    let mut feed = connect_from([127, 0, 0, 2], running.addr).await;
    works(&mut feed).await;
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.push(TcpStream::connect(running.addr).await.unwrap());
    }
    running
        .seen
        .wait_for(292, |e| {
            *e == Event::Rejected(RejectReason::ConnectionsPerPeer)
        })
        .await;
    assert_eq!(running.seen.count(|e| *e == Event::Opened), 1 + 8);
    works(&mut feed).await;
    works(&mut connect_from([127, 0, 0, 3], running.addr).await).await;
    running.stop().await;
}

#[tokio::test]
async fn address_that_is_not_allowed_is_closed() {
    let allowed = std::net::Ipv4Addr::new(127, 0, 0, 2);
    let running = Running::start(server().allow(move |addr| addr == allowed)).await;
    running.connect().await.expect_closed().await;
    running
        .seen
        .wait_for(1, |e| *e == Event::Rejected(RejectReason::NotAllowed))
        .await;
    works(&mut connect_from([127, 0, 0, 2], running.addr).await).await;
    running.stop().await;
}

#[tokio::test]
async fn slowloris_is_closed_at_the_frame_deadline() {
    let running =
        Running::start(server().limits(limits(|l| l.frame_time = Duration::from_millis(400))))
            .await;
    let mut feed = running.connect().await;
    let slow = running.connect().await;
    let (mut read, mut write) = slow.0.into_split();
    let sender = tokio::spawn(async move {
        // Each byte comes well before the deadline: only a deadline for the whole frame ends this.
        let mut byte = 0x0b;
        while tokio::io::AsyncWriteExt::write_all(&mut write, &[byte])
            .await
            .is_ok()
        {
            byte = b'x';
            sleep(Duration::from_millis(20)).await;
        }
    });
    works(&mut feed).await;
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, read.read_to_end(&mut rest))
        .await
        .expect("closed");
    assert_eq!(rest, b"");
    running.seen.wait_closed(CloseReason::FrameError).await;
    assert_eq!(running.seen.errors(), ["timeout"]);
    works(&mut feed).await;
    timeout(PATIENCE, sender)
        .await
        .expect("the sender sees the close")
        .unwrap();
    running.stop().await;
}

#[tokio::test]
async fn frame_time_begins_anew_with_each_frame() {
    let running = Running::start(server().limits(limits(|l| {
        l.frame_time = Duration::from_secs(2);
        l.in_flight = 4;
    })))
    .await;
    let mut raw = running.connect().await;
    // Together longer than the frame time; the end of one frame and the start of the next share a
    // read.
    raw.send(b"\x0bone").await;
    for _ in 0..3 {
        sleep(Duration::from_millis(900)).await;
        raw.send(b"\x1c\x0d\x0bone").await;
        raw.expect(&ok("one")).await;
    }
    assert!(running.seen.errors().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn idle_connection_stays_open_by_default_and_closes_where_asked() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    let nothing = timeout(Duration::from_millis(500), raw.0.read_u8()).await;
    assert!(nothing.is_err(), "closed or spoke");
    running.stop().await;

    let running =
        Running::start(server().limits(limits(|l| l.idle_time = Some(Duration::from_millis(500)))))
            .await;
    let mut raw = running.connect().await;
    works(&mut raw).await;
    raw.expect_closed().await;
    running.seen.wait_closed(CloseReason::IdleTimeout).await;
    running.stop().await;
}

#[tokio::test]
async fn blanks_do_not_keep_an_idle_connection_open() {
    let running =
        Running::start(server().limits(limits(|l| l.idle_time = Some(Duration::from_millis(300)))))
            .await;
    let raw = running.connect().await;
    let (_read, mut write) = raw.0.into_split();
    let blanks = async {
        while tokio::io::AsyncWriteExt::write_all(&mut write, b"\0")
            .await
            .is_ok()
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, blanks).await.expect("closed");
    running.seen.wait_closed(CloseReason::IdleTimeout).await;
    running.stop().await;
}

#[tokio::test]
async fn connection_is_not_idle_while_the_service_works() {
    let service = tower::service_fn(|frame: mllp::Frame| async move {
        sleep(Duration::from_millis(1200)).await;
        Ok::<_, std::convert::Infallible>(standard_reply(&frame))
    });
    let builder = server().limits(limits(|l| {
        l.idle_time = Some(SHORT * 4);
        l.frame_time = SHORT * 4;
    }));
    let running = Running::start_with(builder, service).await;
    let mut raw = running.connect().await;
    // Half a frame behind it is not the sender's delay either: the server is not reading.
    raw.send(&[&framed("one")[..], b"\x0btw"].concat()).await;
    raw.expect(&ok("one")).await;
    raw.send(b"o\x1c\x0d").await;
    raw.expect(&ok("two")).await;
    running.stop().await;
}

#[tokio::test]
async fn sender_that_does_not_read_answers_harms_only_itself() {
    let service = tower::service_fn(|frame: mllp::Frame| async move {
        let reply = if frame.payload == "big" {
            vec![b'x'; 32 * 1024 * 1024]
        } else {
            b"ok:one".to_vec()
        };
        Ok::<_, std::convert::Infallible>(mllp::Reply::Frame(reply.into()))
    });
    let builder = server().limits(limits(|l| l.write_time = Duration::from_millis(500)));
    let running = Running::start_with(builder, service).await;
    let mut slow = running.connect().await;
    let mut feed = running.connect().await;
    slow.send(&framed("big")).await;
    works(&mut feed).await;
    running.seen.wait_closed(CloseReason::WriteTimeout).await;
    assert_eq!(
        running
            .seen
            .count(|e| *e == Event::Undelivered(Undelivered::Timeout)),
        1
    );
    works(&mut feed).await;
    running.stop().await;
}
