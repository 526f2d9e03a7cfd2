//! What the service can answer, and what happens when the answer cannot be written.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use mllp::{CloseReason, Frame, Reply, Undelivered};
use tokio::{io::AsyncWriteExt, sync::Semaphore, time::sleep};

use crate::support::*;

/// Answers each payload with the reply of that name.
async fn replying(release_2: bool, in_flight: usize) -> Running {
    let service = tower::service_fn(|frame: Frame| async move {
        let ack = Bytes::from_static(b"MSA|AA");
        Ok::<_, &str>(match &*frame.payload {
            b"frame" => Reply::Frame(ack),
            b"frames" => Reply::Frames(vec![ack.clone(), ack]),
            b"none" => Reply::None,
            b"close" => Reply::Close,
            b"then-close" => {
                // So that frames after it are in the service by then.
                sleep(Duration::from_millis(50)).await;
                Reply::FrameThenClose(ack)
            }
            b"commit" => Reply::CommitAck,
            b"nak" => Reply::CommitNak,
            b"commit-then" => Reply::CommitAckThen(vec![ack]),
            b"unframable" => Reply::Frame(Bytes::from_static(b"a\x1cb")),
            b"error" => return Err("no"),
            _ => panic!("the service falls over"),
        })
    });
    let limits = limits(|l| l.in_flight = in_flight);
    Running::start_with(server().limits(limits).release_2(release_2), service).await
}

/// Sends frames with these payloads and returns what came back until the server closed, or until
/// the sender did.
async fn answers(running: &Running, payloads: &[&str]) -> Vec<u8> {
    let mut raw = running.connect().await;
    raw.send(&payloads.iter().flat_map(framed).collect::<Vec<_>>())
        .await;
    raw.0.shutdown().await.unwrap();
    raw.rest().await
}

#[tokio::test]
async fn each_reply_is_written_as_it_says() {
    let running = replying(false, 1).await;
    let ack = framed("MSA|AA");
    assert_eq!(
        answers(&running, &["frame", "none", "frame"]).await,
        [&ack[..], &ack].concat()
    );
    assert_eq!(
        answers(&running, &["frames"]).await,
        [&ack[..], &ack].concat()
    );
    assert_eq!(answers(&running, &["commit", "commit-then"]).await, ack);
    running
        .seen
        .wait_for(3, |e| {
            matches!(e, Event::Closed(CloseReason::PeerClosed, _))
        })
        .await;

    assert_eq!(answers(&running, &["then-close", "frame"]).await, ack);
    assert_eq!(answers(&running, &["close", "frame"]).await, b"");
    assert_eq!(answers(&running, &["nak", "frame"]).await, b"");
    running
        .seen
        .wait_for(3, |e| matches!(e, Event::Closed(CloseReason::Service, _)))
        .await;
    assert_eq!(
        running.seen.count(|e| matches!(e, Event::Undelivered(_))),
        0
    );
    running.stop().await;
}

#[tokio::test]
async fn release_2_writes_commit_answers() {
    let running = replying(true, 1).await;
    assert_eq!(
        answers(&running, &["commit", "nak", "commit-then", "frame"]).await,
        b"\x0b\x06\x1c\x0d\x0b\x15\x1c\x0d\x0b\x06\x1c\x0d\x0bMSA|AA\x1c\x0d\x0bMSA|AA\x1c\x0d"
    );
    running.stop().await;
}

#[tokio::test]
async fn service_error_closes_without_an_answer() {
    let running = replying(false, 1).await;
    assert_eq!(
        answers(&running, &["frame", "error", "frame"]).await,
        framed("MSA|AA")
    );
    running.seen.wait_closed(CloseReason::ServiceError).await;
    running.stop().await;
}

#[tokio::test]
async fn reply_that_cannot_be_framed_closes_and_is_counted() {
    let running = replying(false, 1).await;
    assert_eq!(
        answers(&running, &["frame", "unframable", "frame"]).await,
        framed("MSA|AA")
    );
    running.seen.wait_closed(CloseReason::BadReply).await;
    assert_eq!(
        running
            .seen
            .count(|e| *e == Event::Undelivered(Undelivered::Unframable)),
        1
    );
    running.stop().await;
}

#[tokio::test]
async fn answers_after_one_that_closes_are_counted_as_undelivered() {
    let running = replying(false, 8).await;
    assert_eq!(
        answers(&running, &["then-close", "frame", "none", "frame"]).await,
        framed("MSA|AA")
    );
    running.seen.wait_closed(CloseReason::PeerClosed).await;
    assert_eq!(
        running
            .seen
            .count(|e| *e == Event::Undelivered(Undelivered::Closed)),
        2
    );
    running.stop().await;
}

#[tokio::test]
async fn sender_that_sends_no_more_still_gets_its_answers() {
    let running = replying(false, 4).await;
    assert_eq!(
        answers(&running, &["frame"; 10]).await,
        framed("MSA|AA").repeat(10)
    );
    running.stop().await;
}

/// Answers once it is let to; `finished` has a permit for each call that ran to its end.
async fn held_back(release: Arc<Semaphore>, finished: Arc<Semaphore>) -> Running {
    let service = tower::service_fn(move |frame: Frame| {
        let (release, finished) = (Arc::clone(&release), Arc::clone(&finished));
        async move {
            release.acquire().await.unwrap().forget();
            finished.add_permits(1);
            Ok::<_, Infallible>(standard_reply(&frame))
        }
    });
    Running::start_with(server().limits(limits(|l| l.in_flight = 4)), service).await
}

#[tokio::test]
async fn sender_that_leaves_before_the_answer_is_counted_and_the_call_runs_to_its_end() {
    let (release, finished) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let running = held_back(Arc::clone(&release), Arc::clone(&finished)).await;
    let mut raw = running.connect().await;
    raw.send(&[framed("one"), framed("two")].concat()).await;
    running
        .seen
        .wait_for(2, |e| matches!(e, Event::Received(3)))
        .await;
    raw.reset();
    sleep(Duration::from_millis(50)).await;
    release.add_permits(2);
    let _both = finished.acquire_many(2).await.unwrap();
    running.seen.wait_closed(CloseReason::Io).await;
    assert_eq!(
        running.seen.count(|e| matches!(e, Event::Undelivered(_))),
        2,
        "{:?}",
        running.seen.events()
    );
    running.stop().await;
}

#[tokio::test]
async fn answer_that_meets_a_closed_socket_is_counted() {
    let (release, finished) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let running = held_back(Arc::clone(&release), finished).await;
    let mut raw = running.connect().await;
    raw.send(&framed("one")).await;
    running
        .seen
        .wait_for(1, |e| matches!(e, Event::Received(3)))
        .await;
    // An orderly close: the server can only learn from the reset that its answer provokes.
    drop(raw);
    sleep(Duration::from_millis(50)).await;
    release.add_permits(1);
    running
        .seen
        .wait_for(1, |e| matches!(e, Event::Closed(..)))
        .await;
    assert_eq!(
        running.seen.count(|e| matches!(e, Event::Undelivered(_))),
        1,
        "{:?}",
        running.seen.events()
    );
    running.stop().await;
}
