//! Several frames of one connection under way: answers keep their order, and a fast sender is held
//! back.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use mllp::{Frame, Reply};
use tokio::{
    io::AsyncWriteExt,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tower::Service;

use crate::support::*;

/// Number in `MSH|n`.
fn number(frame: &Frame) -> usize {
    std::str::from_utf8(&frame.payload[4..])
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn answers_keep_the_order_of_frames_whatever_the_service_takes() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&under_way), Arc::clone(&most));
    let service = tower::service_fn(move |frame: Frame| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Later frames are done first.
            sleep(Duration::from_millis(16 - (number(&frame) % 16) as u64)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, Infallible>(standard_reply(&frame))
        }
    });
    let running = Running::start_with(server().limits(limits(|l| l.in_flight = 8)), service).await;
    let mut raw = running.connect().await;
    let payloads: Vec<String> = (0..200).map(|n| format!("MSH|{n}\r")).collect();
    raw.send(&payloads.iter().flat_map(framed).collect::<Vec<_>>())
        .await;
    raw.expect(&payloads.iter().flat_map(ok).collect::<Vec<_>>())
        .await;
    assert_eq!(
        most.load(Ordering::SeqCst),
        8,
        "as many as allowed, and no more"
    );
    running.stop().await;
}

#[tokio::test]
async fn answers_keep_their_order_while_the_sender_reads_none() {
    let service = tower::service_fn(|frame: Frame| async move {
        // Each alone fills the buffers of the sockets, so that answers pile up behind the first.
        let answer = vec![b'0' + number(&frame) as u8; 8 * 1024 * 1024];
        Ok::<_, Infallible>(Reply::Frame(answer.into()))
    });
    let running = Running::start_with(server().limits(limits(|l| l.in_flight = 6)), service).await;
    let mut raw = running.connect().await;
    let frames: Vec<u8> = (0..6).flat_map(|n| framed(format!("MSH|{n}"))).collect();
    raw.send(&frames).await;
    running
        .seen
        .wait_for(6, |event| matches!(event, Event::Received(_)))
        .await;
    sleep(Duration::from_millis(100)).await;
    let mut answer = vec![0; 8 * 1024 * 1024 + 3];
    for n in 0..6 {
        let reading = tokio::io::AsyncReadExt::read_exact(&mut raw.0, &mut answer);
        timeout(PATIENCE, reading).await.unwrap().unwrap();
        assert!(
            answer[1..answer.len() - 2]
                .iter()
                .all(|byte| *byte == b'0' + n)
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn one_frame_at_a_time_by_default() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let service = tower::service_fn(move |frame: Frame| {
        let now = Arc::clone(&under_way);
        async move {
            assert_eq!(now.fetch_add(1, Ordering::SeqCst), 0);
            sleep(Duration::from_millis(2)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, Infallible>(standard_reply(&frame))
        }
    });
    let running = Running::start_with(server(), service).await;
    let mut raw = running.connect().await;
    let payloads: Vec<String> = (0..20).map(|n| format!("MSH|{n}\r")).collect();
    raw.send(&payloads.iter().flat_map(framed).collect::<Vec<_>>())
        .await;
    raw.expect(&payloads.iter().flat_map(ok).collect::<Vec<_>>())
        .await;
    running.stop().await;
}

#[tokio::test]
async fn fast_sender_is_held_back_while_the_service_is_busy() {
    let gate = Arc::new(Semaphore::new(0));
    let open = Arc::clone(&gate);
    let calls = Arc::new(AtomicUsize::new(0));
    let called = Arc::clone(&calls);
    let service = tower::service_fn(move |frame: Frame| {
        called.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&open);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(standard_reply(&frame))
        }
    });
    let running = Running::start_with(server().limits(limits(|l| l.in_flight = 2)), service).await;
    let (mut read, mut write) = running.connect().await.0.into_split();
    let frames = 4000;
    let sender = tokio::spawn(async move {
        let payload = vec![b'x'; 50_000];
        for _ in 0..frames {
            write.write_all(&framed(&payload)).await.unwrap();
        }
        write
    });
    // 200 MB do not fit into the buffers of two sockets: the sender is stopped by the server that
    // does not read.
    let mut sender = sender;
    assert!(
        timeout(Duration::from_millis(700), &mut sender)
            .await
            .is_err(),
        "the server read it all"
    );
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    gate.add_permits(frames);
    let mut answered = 0;
    let mut buffer = vec![0; 1 << 20];
    while answered < frames * 50_006 {
        answered += timeout(
            PATIENCE,
            tokio::io::AsyncReadExt::read(&mut read, &mut buffer),
        )
        .await
        .unwrap()
        .unwrap();
    }
    timeout(PATIENCE, sender)
        .await
        .expect("all was sent")
        .unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), frames);
    running.stop().await;
}

/// Is ready only while none of its calls is under way, so that a caller which waits for readiness
/// without driving its calls would stand still.
#[derive(Clone)]
struct OneAtATime {
    permits: tokio_util::sync::PollSemaphore,
    permit: Arc<std::sync::Mutex<Option<tokio::sync::OwnedSemaphorePermit>>>,
}

impl Service<Frame> for OneAtATime {
    type Response = Reply;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let mut held = self.permit.lock().unwrap();
        if held.is_none() {
            match self.permits.poll_acquire(task) {
                Poll::Ready(permit) => *held = permit,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, frame: Frame) -> Self::Future {
        let permit = self
            .permit
            .lock()
            .unwrap()
            .take()
            .expect("called only when ready");
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            drop(permit);
            Ok(standard_reply(&frame))
        })
    }
}

#[tokio::test]
async fn service_that_is_not_ready_before_its_calls_are_done_goes_on() {
    let service = OneAtATime {
        permits: tokio_util::sync::PollSemaphore::new(Arc::new(Semaphore::new(1))),
        permit: Arc::default(),
    };
    let running = Running::start_with(server().limits(limits(|l| l.in_flight = 16)), service).await;
    let mut raw = running.connect().await;
    let payloads: Vec<String> = (0..50).map(|n| format!("MSH|{n}\r")).collect();
    raw.send(&payloads.iter().flat_map(framed).collect::<Vec<_>>())
        .await;
    raw.expect(&payloads.iter().flat_map(ok).collect::<Vec<_>>())
        .await;
    running.stop().await;
}
