//! Shutting down: nothing new, everything begun is answered, and it ends in time.

use std::{convert::Infallible, sync::Arc, time::Duration};

use mllp::{CloseReason, Frame, Undelivered};
use tokio::{net::TcpStream, sync::Semaphore, time::sleep};

use crate::support::*;

/// Answers each frame once a permit is there.
async fn gated(gate: &Arc<Semaphore>, drain_time: Duration) -> Running {
    let gate = Arc::clone(gate);
    let service = tower::service_fn(move |frame: Frame| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(standard_reply(&frame))
        }
    });
    Running::start_with(server().drain_time(drain_time), service).await
}

#[tokio::test]
async fn idle_connections_are_closed_and_new_ones_refused() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    raw.send(&framed("one")).await;
    raw.expect(&ok("one")).await;
    let (addr, seen) = (running.addr, Arc::clone(&running.seen));
    let end = running.call_to_drain();
    raw.expect_closed().await;
    drop(raw);
    assert_eq!(end.await.aborted, 0);
    seen.wait_closed(CloseReason::Drained).await;
    TcpStream::connect(addr).await.expect_err("nobody listens");
}

#[tokio::test]
async fn frame_in_the_service_is_answered() {
    let gate = Arc::new(Semaphore::new(0));
    let running = gated(&gate, PATIENCE).await;
    let mut raw = running.connect().await;
    raw.send(&framed("one")).await;
    running
        .seen
        .wait_for(1, |e| matches!(e, Event::Received(_)))
        .await;
    let end = running.call_to_drain();
    sleep(Duration::from_millis(200)).await;
    gate.add_permits(1);
    assert_eq!(raw.rest().await, ok("one"));
    drop(raw);
    assert_eq!(end.await.aborted, 0);
}

#[tokio::test]
async fn frame_half_read_is_read_to_its_end_and_answered_and_the_next_one_is_not() {
    let gate = Arc::new(Semaphore::new(9));
    let running = gated(&gate, PATIENCE).await;
    let mut raw = running.connect().await;
    raw.send(&[&framed("one")[..], b"\x0btw"].concat()).await;
    raw.expect(&ok("one")).await;
    // Let the server read the half.
    sleep(Duration::from_millis(200)).await;
    let end = running.call_to_drain();
    sleep(Duration::from_millis(200)).await;
    raw.send(b"o\x1c\x0d\x0bthree\x1c\x0d").await;
    assert_eq!(raw.rest().await, ok("two"));
    drop(raw);
    assert_eq!(end.await.aborted, 0);
}

#[tokio::test]
async fn what_is_not_done_at_the_deadline_is_cut_and_not_answered() {
    let gate = Arc::new(Semaphore::new(0));
    let running = gated(&gate, SHORT).await;
    let mut half = running.connect().await;
    half.send(b"\x0bhalf").await;
    let mut hanging = running.connect().await;
    hanging.send(&framed("one")).await;
    running
        .seen
        .wait_for(1, |e| matches!(e, Event::Received(_)))
        .await;
    sleep(Duration::from_millis(200)).await;
    let seen = Arc::clone(&running.seen);
    assert_eq!(running.drain().await.aborted, 2);
    hanging.expect_closed().await;
    half.expect_closed().await;
    assert_eq!(
        seen.count(|e| *e == Event::Undelivered(Undelivered::Aborted)),
        1
    );
    assert_eq!(
        seen.count(|e| matches!(e, Event::Closed(CloseReason::Aborted, _))),
        2
    );
    assert_eq!(
        seen.count(|e| matches!(e, Event::Closed(_, totals) if totals.held == 4)),
        1
    );
}

#[tokio::test]
async fn busy_connections_drain_too() {
    let running = Running::start(server().limits(limits(|l| l.in_flight = 4))).await;
    let raw = running.connect().await;
    let (mut read, mut write) = raw.0.into_split();
    let sender = tokio::spawn(async move {
        let frames = framed("one").repeat(100);
        while tokio::io::AsyncWriteExt::write_all(&mut write, &frames)
            .await
            .is_ok()
        {}
    });
    let reader =
        tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
    running
        .seen
        .wait_for(500, |e| matches!(e, Event::Written(_)))
        .await;
    let seen = Arc::clone(&running.seen);
    assert_eq!(running.drain().await.aborted, 0);
    let _ = reader.await.unwrap();
    sender.await.unwrap();
    assert_eq!(
        seen.count(|e| matches!(e, Event::Received(_))),
        seen.count(|e| matches!(e, Event::Written(_)))
    );
}
