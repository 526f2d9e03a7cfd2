//! Each row of the framing table: what is forgiven, what is not, and that nothing half read is ever
//! processed.

use std::time::Duration;

use mllp::{CloseReason, OVERSIZE_PREFIX, Refusal, Tolerance, Tolerances};

use crate::support::*;

const ORU: &[u8] = b"MSH|^~\\&|LAB|X|EHR|X|20260101||ORU^R01|1|P|2.5.1\rPID|1\r";

fn without(tolerance: Tolerance) -> mllp::ServerBuilder {
    server().tolerances(Tolerances::default().without(tolerance))
}

/// Sends `bytes` to a server that does not tolerate them, and expects no frame and a close.
async fn is_refused(builder: mllp::ServerBuilder, bytes: &[u8], reason: &str) {
    let running = Running::start(builder).await;
    let mut raw = running.connect().await;
    raw.send(bytes).await;
    raw.expect_closed().await;
    drop(raw);
    running.seen.wait_closed(CloseReason::FrameError).await;
    assert_eq!(running.seen.errors(), [reason]);
    assert!(running.payloads().is_empty());
    running.stop().await;
}

// --- accepted without a word ---

#[tokio::test]
async fn frame_split_at_each_byte_boundary_is_one_frame() {
    let running = Running::start(server().limits(limits(|l| l.end_grace = PATIENCE))).await;
    let frame = framed(ORU);
    for at in 1..frame.len() {
        let mut raw = running.connect().await;
        raw.send_apart(&[&frame[..at], &frame[at..]]).await;
        raw.expect(&ok(ORU)).await;
    }
    assert_eq!(running.seen.warnings(), []);
    assert_eq!(running.payloads().len(), frame.len() - 1);
    running.stop().await;
}

#[tokio::test]
async fn frame_sent_byte_by_byte_is_one_frame() {
    let running = Running::start(server().limits(limits(|l| l.end_grace = PATIENCE))).await;
    let mut raw = running.connect().await;
    let frame = framed(ORU);
    raw.send_apart(&frame.chunks(1).collect::<Vec<_>>()).await;
    raw.expect(&ok(ORU)).await;
    assert_eq!(running.seen.warnings(), []);
    running.stop().await;
}

#[tokio::test]
async fn hundred_frames_in_one_write_are_answered_in_order() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    let payloads: Vec<String> = (0..100).map(|n| format!("MSH|{n}\r")).collect();
    raw.send(&payloads.iter().flat_map(framed).collect::<Vec<_>>())
        .await;
    raw.expect(&payloads.iter().flat_map(ok).collect::<Vec<_>>())
        .await;
    assert_eq!(running.payloads(), payloads);
    assert_eq!(running.seen.warnings(), []);
    running.stop().await;
}

// --- accepted with a warning ---

#[tokio::test]
async fn nuls_and_blanks_between_frames_are_skipped() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    raw.send(b"\x0bone\x1c\x0d\0\0 \t\r\n\x0btwo\x1c\x0d").await;
    raw.expect(b"\x0bok:one\x1c\x0d\x0bok:two\x1c\x0d").await;
    assert_eq!(running.seen.warnings(), [("noise_between_frames", 6)]);
    assert_eq!(running.frames.lock().unwrap()[1].warnings[0].offset, 6);
    running.stop().await;
    is_refused_after_one(
        without(Tolerance::NoiseBetweenFrames),
        b"\0",
        "noise_between_frames",
    )
    .await;
}

#[tokio::test]
async fn fs_without_cr_ends_the_frame_when_vt_follows() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    raw.send(b"\x0bone\x1c\x0btwo\x1c\x0d").await;
    raw.expect(b"\x0bok:one\x1c\x0d\x0bok:two\x1c\x0d").await;
    assert_eq!(running.seen.warnings(), [("fs_without_cr", 4)]);
    running.stop().await;
    is_refused(
        without(Tolerance::FsWithoutCr),
        b"\x0bone\x1c\x0btwo\x1c\x0d",
        "fs_without_cr",
    )
    .await;
}

#[tokio::test]
async fn fs_without_cr_ends_the_frame_at_the_end_of_the_stream() {
    let running = Running::start(server().limits(limits(|l| l.end_grace = PATIENCE))).await;
    let mut raw = running.connect().await;
    raw.send(b"\x0bone\x1c").await;
    tokio::io::AsyncWriteExt::shutdown(&mut raw.0)
        .await
        .unwrap();
    raw.expect(b"\x0bok:one\x1c\x0d").await;
    raw.expect_closed().await;
    assert_eq!(running.seen.warnings(), [("fs_without_cr", 4)]);
    running.stop().await;
}

#[tokio::test]
async fn fs_without_cr_ends_the_frame_after_a_short_silence() {
    let running = Running::start(server().limits(limits(|l| l.end_grace = SHORT))).await;
    let mut raw = running.connect().await;
    for n in 0..3_u64 {
        raw.send(b"\x0bone\x1c").await;
        raw.expect(b"\x0bok:one\x1c\x0d").await;
        assert_eq!(
            running.seen.warnings().last(),
            Some(&("fs_without_cr", n * 5 + 4))
        );
    }
    // A CR that comes late belongs to the frame that was taken without it.
    raw.send(b"\x0d").await;
    raw.send(&framed("two")).await;
    raw.expect(b"\x0bok:two\x1c\x0d").await;
    assert_eq!(running.seen.warnings().len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn fs_without_cr_is_waited_for_and_never_processed_where_not_tolerated() {
    let builder = without(Tolerance::FsWithoutCr).limits(limits(|l| {
        (l.end_grace, l.frame_time) = (Duration::from_millis(1), SHORT)
    }));
    is_refused(builder, b"\x0bone\x1c", "timeout").await;
}

#[tokio::test]
async fn lf_after_fs_and_after_fs_cr() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    raw.send(b"\x0bone\x1c\x0d\x0a\x0btwo\x1c\x0a\x0bsix\x1c\x0d")
        .await;
    raw.expect(b"\x0bok:one\x1c\x0d\x0bok:two\x1c\x0d\x0bok:six\x1c\x0d")
        .await;
    assert_eq!(
        running.seen.warnings(),
        [
            ("lf_after_fs", 6),
            ("fs_without_cr", 11),
            ("lf_after_fs", 12)
        ]
    );
    running.stop().await;
    is_refused(
        without(Tolerance::LfAfterFs),
        b"\x0bone\x1c\x0a",
        "lf_after_fs",
    )
    .await;
    is_refused_after_one(without(Tolerance::LfAfterFs), b"\x0a", "lf_after_fs").await;
}

#[tokio::test]
async fn leading_whitespace() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    raw.send_apart(&[b"\r", b"\n ", &framed("one")]).await;
    raw.expect(&ok("one")).await;
    assert_eq!(running.seen.warnings(), [("leading_whitespace", 0)]);
    running.stop().await;
    is_refused(
        without(Tolerance::LeadingWhitespace),
        b" \x0bone\x1c\x0d",
        "leading_whitespace",
    )
    .await;
}

#[tokio::test]
async fn missing_leading_vt_only_where_switched_on() {
    is_refused(server(), b"MSH|1\r\x1c\x0d", "not_mllp").await;
    is_refused_after_one(server(), b"MSH|1\r\x1c\x0d", "bytes_between_frames").await;

    let on = || server().tolerances(Tolerances::default().with(Tolerance::MissingLeadingVt));
    let running = Running::start(on()).await;
    let mut raw = running.connect().await;
    raw.send(b"MSH|1\r\x1c\x0dMSH|2\r\x1c\x0d").await;
    raw.expect(b"\x0bok:MSH|1\r\x1c\x0d\x0bok:MSH|2\r\x1c\x0d")
        .await;
    assert_eq!(
        running.seen.warnings(),
        [("missing_leading_vt", 0), ("missing_leading_vt", 8)]
    );
    running.stop().await;
    is_refused(on(), b"GET / HTTP/1.1\r\n\r\n", "not_mllp").await;
}

#[tokio::test]
async fn second_vt_hands_on_both_parts_to_be_refused() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    raw.send_apart(&[
        b"\x0bfir",
        b"st\x0bsec",
        b"ond\x1c\x0d",
        b"\x0bthird\x1c\x0d",
    ])
    .await;
    raw.expect(b"\x0bcut\x1c\x0d\x0bok:third\x1c\x0d").await;
    assert_eq!(running.seen.warnings(), [("second_vt", 6)]);
    let frame = running.frames.lock().unwrap()[0].clone();
    assert_eq!(frame.must_refuse(), Some(Refusal::Truncated));
    assert_eq!(frame.truncated.as_deref(), Some(&b"first"[..]));
    assert_eq!(frame.payload, "second");
    running.stop().await;
    is_refused(
        without(Tolerance::SecondVt),
        b"\x0bfirst\x0bsecond\x1c\x0d",
        "second_vt",
    )
    .await;
}

#[tokio::test]
async fn second_vt_with_nothing_before_it_cuts_nothing_off() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    raw.send(b"\x0b\x0bone\x1c\x0d").await;
    raw.expect(b"\x0bok:one\x1c\x0d").await;
    assert_eq!(running.seen.warnings(), [("second_vt", 1)]);
    running.stop().await;
}

#[tokio::test]
async fn second_vt_before_the_end_is_refused_though_the_payload_is_empty() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    raw.send(b"\x0ba\x0bb\x0b\x1c\x0d").await;
    raw.expect(b"\x0bcut\x1c\x0d").await;
    let frame = running.frames.lock().unwrap()[0].clone();
    assert_eq!(frame.truncated.as_deref(), Some(&b"a\x0bb"[..]));
    assert_eq!(frame.payload, "");
    running.stop().await;
}

#[tokio::test]
async fn empty_payload_is_skipped() {
    let running = Running::start(server().limits(limits(|l| l.end_grace = SHORT))).await;
    let mut raw = running.connect().await;
    raw.send(b"\x0b\x1c\x0d\x0bone\x1c\x0d").await;
    raw.expect(b"\x0bok:one\x1c\x0d").await;
    raw.send(b"\x0b\x1c").await;
    running
        .seen
        .wait_for(1, |event| *event == Event::Warning("empty_payload", 10))
        .await;
    assert_eq!(running.payloads(), ["one"]);
    running.stop().await;
    is_refused(
        without(Tolerance::EmptyPayload),
        b"\x0b\x1c\x0d",
        "empty_payload",
    )
    .await;
}

// --- refused ---

#[tokio::test]
async fn frame_of_the_limit_is_taken() {
    let running = Running::start(server().limits(limits(|l| l.frame_bytes = 100_000))).await;
    let mut raw = running.connect().await;
    let payload = vec![b'x'; 100_000];
    raw.send(&framed(&payload)).await;
    raw.expect(&ok(&payload)).await;
    running.stop().await;
}

#[tokio::test]
async fn frame_of_the_limit_and_one_byte_is_refused_and_the_connection_closed() {
    let running = Running::start(server().limits(limits(|l| l.frame_bytes = 100_000))).await;
    let mut raw = running.connect().await;
    raw.send(&framed("one")).await;
    raw.send(&framed(vec![b'x'; 100_001])).await;
    assert_eq!(raw.rest().await, b"\x0bok:one\x1c\x0d\x0bbig\x1c\x0d");
    running.seen.wait_closed(CloseReason::FrameError).await;
    assert_eq!(running.seen.errors(), ["oversize"]);
    let frame = running.frames.lock().unwrap()[1].clone();
    assert_eq!(frame.must_refuse(), Some(Refusal::Oversized));
    assert_eq!(frame.oversized.unwrap(), vec![b'x'; OVERSIZE_PREFIX]);
    assert_eq!(frame.payload, "");
    running.stop().await;
}

#[tokio::test]
async fn sender_of_a_frame_far_over_the_limit_still_reads_the_answer() {
    let running = Running::start(server().limits(limits(|l| l.frame_bytes = 10_000))).await;
    let mut raw = running.connect().await;
    // More than the buffers of both sockets hold: the server has to take the bytes to be heard.
    raw.send(&framed(vec![b'x'; 32 * 1024 * 1024])).await;
    assert_eq!(raw.rest().await, b"\x0bbig\x1c\x0d");
    running.stop().await;
}

#[tokio::test]
async fn endless_frame_is_cut_at_the_limit() {
    let limit = 1_000_000;
    let running = Running::start(server().limits(limits(|l| l.frame_bytes = limit))).await;
    let raw = running.connect().await;
    let (mut read, mut write) = raw.0.into_split();
    let sender = tokio::spawn(async move {
        let chunk = vec![b'x'; 10_000];
        tokio::io::AsyncWriteExt::write_all(&mut write, b"\x0b")
            .await
            .unwrap();
        while tokio::io::AsyncWriteExt::write_all(&mut write, &chunk)
            .await
            .is_ok()
        {}
    });
    let mut answer = vec![0; 6];
    tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer)
        .await
        .unwrap();
    assert_eq!(answer, b"\x0bbig\x1c\x0d");
    tokio::time::timeout(PATIENCE, sender)
        .await
        .expect("the server hangs up")
        .unwrap();
    running.seen.wait_closed(CloseReason::FrameError).await;
    let totals = running
        .seen
        .events()
        .into_iter()
        .find_map(|event| match event {
            Event::Closed(_, totals) => Some(totals),
            _ => None,
        });
    // What was read is what was held: the limit and at most one more read of the doubled buffer.
    assert!(totals.unwrap().bytes < 3 * limit as u64, "{totals:?}");
    assert!(totals.unwrap().held > limit, "{totals:?}");
    running.stop().await;
}

#[tokio::test]
async fn endless_blanks_are_cut_too() {
    is_refused(
        server().limits(limits(|l| l.frame_bytes = 1000)),
        &[0; 1001],
        "bytes_between_frames",
    )
    .await;
}

#[tokio::test]
async fn http_probe_is_closed_and_counted() {
    is_refused(
        server(),
        b"GET /health HTTP/1.1\r\nHost: lab\r\n\r\n",
        "not_mllp",
    )
    .await;
}

#[tokio::test]
async fn tls_hello_on_a_plain_port_is_closed_and_counted() {
    is_refused(
        server(),
        b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03",
        "not_mllp",
    )
    .await;
}

#[tokio::test]
async fn half_a_frame_times_out_and_is_never_processed() {
    let running = Running::start(server().limits(limits(|l| l.frame_time = SHORT))).await;
    let mut raw = running.connect().await;
    raw.send(b"\x0bMSH|half").await;
    raw.expect_closed().await;
    running.seen.wait_closed(CloseReason::FrameError).await;
    assert!(running.seen.events().contains(&Event::Error("timeout", 8)));
    assert!(running.payloads().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn frame_cut_at_each_byte_and_closed_is_never_processed() {
    let running = Running::start(server().limits(limits(|l| l.connections_per_peer = 64))).await;
    let frame = framed(ORU);
    let before_fs = frame.len() - 2;
    for at in 0..=before_fs {
        let mut raw = running.connect().await;
        raw.send(&frame[..at]).await;
        tokio::io::AsyncWriteExt::shutdown(&mut raw.0)
            .await
            .unwrap();
        raw.expect_closed().await;
    }
    assert!(running.payloads().is_empty());
    let cut = running
        .seen
        .count(|event| matches!(event, Event::Error("truncated", _)));
    // Nothing at all is an orderly close.
    assert_eq!(cut, before_fs);
    running.stop().await;
}

#[tokio::test]
async fn frame_cut_before_cr_is_never_processed_where_cr_is_needed() {
    let running = Running::start(without(Tolerance::FsWithoutCr)).await;
    let mut raw = running.connect().await;
    raw.send(b"\x0bone\x1c").await;
    tokio::io::AsyncWriteExt::shutdown(&mut raw.0)
        .await
        .unwrap();
    raw.expect_closed().await;
    assert_eq!(running.seen.errors(), ["truncated"]);
    assert!(running.payloads().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn frame_cut_by_a_reset_is_never_processed() {
    let running = Running::start(server()).await;
    let mut raw = running.connect().await;
    raw.send(&framed(ORU)[..20]).await;
    running
        .seen
        .wait_for(1, |event| *event == Event::Opened)
        .await;
    raw.reset();
    running
        .seen
        .wait_for(1, |event| matches!(event, Event::Closed(..)))
        .await;
    assert!(running.payloads().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn stray_fs_inside_a_message_never_passes_on_half_of_it() {
    is_refused(
        server(),
        b"\x0bMSH|1\rOBX|one\x1ctwo\r\x1c\x0d",
        "byte_after_fs",
    )
    .await;
    is_refused(server(), b"\x0bMSH|1\x1c two\x1c\x0d", "byte_after_fs").await;
    is_refused(server(), b"\x0bMSH|1\x1c\x1c\x0d", "byte_after_fs").await;
}

#[tokio::test]
async fn there_is_no_search_for_the_next_frame_after_an_error() {
    is_refused_after_one(server(), b"junk\x0btwo\x1c\x0d", "bytes_between_frames").await;
}

/// One good frame, then `bytes`: the frame is answered, the connection ends, nothing more is
/// processed.
async fn is_refused_after_one(builder: mllp::ServerBuilder, bytes: &[u8], reason: &str) {
    let running = Running::start(builder).await;
    let mut raw = running.connect().await;
    raw.send(&[&framed("one"), bytes].concat()).await;
    assert_eq!(raw.rest().await, ok("one"));
    drop(raw);
    assert_eq!(running.seen.errors(), [reason]);
    assert_eq!(running.payloads(), ["one"]);
    running.stop().await;
}
