//! A bad client, and a bad call, disturb nobody else.

use std::convert::Infallible;

use mllp::{CloseReason, Frame};

use crate::support::*;

#[tokio::test]
async fn bad_clients_do_not_disturb_a_good_one() {
    let running = Running::start(server().limits(limits(|l| {
        l.frame_bytes = 10_000;
        l.connections_per_peer = 64;
        l.frame_time = SHORT;
    })))
    .await;
    let mut good = running.connect().await;
    let bad: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\xf4\x01\x00",
        b"\x0bhalf",
        b"\x0bone\x1cjunk",
        &[0x0b; 20_000],
        &[b'x'; 20_000],
        &[0x1c; 10],
    ];
    for (n, bytes) in bad.into_iter().cycle().take(35).enumerate() {
        let mut raw = running.connect().await;
        raw.send(bytes).await;
        let payload = format!("MSH|{n}");
        good.send(&framed(&payload)).await;
        good.expect(&ok(&payload)).await;
        if n % 3 == 0 {
            raw.reset();
        }
    }
    assert_eq!(running.payloads().len(), 35);
    running
        .seen
        .wait_for(35, |e| matches!(e, Event::Closed(..)))
        .await;
    running.stop().await;
}

#[tokio::test]
async fn panic_of_the_service_ends_only_its_connection() {
    let service = tower::service_fn(|frame: Frame| async move {
        assert!(frame.payload != "bad", "the service falls over");
        Ok::<_, Infallible>(standard_reply(&frame))
    });
    let running = Running::start_with(
        server().limits(limits(|l| l.connections_per_peer = 2)),
        service,
    )
    .await;
    let mut good = running.connect().await;
    // More often than there are places: each must be given back.
    for n in 1..=5 {
        let mut bad = running.connect().await;
        bad.send(&framed("bad")).await;
        bad.expect_closed().await;
        running
            .seen
            .wait_for(n, |e| matches!(e, Event::Closed(CloseReason::Aborted, _)))
            .await;
        good.send(&framed("one")).await;
        good.expect(&ok("one")).await;
    }
    running.stop().await;
}
