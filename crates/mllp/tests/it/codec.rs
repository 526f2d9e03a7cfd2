//! The codec on its own: any bytes in any pieces.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use mllp::{Codec, Commit, FrameError, RawFrame, Tolerance, Tolerances, codec::encode};
use proptest::{prelude::*, sample::select};
use tokio_util::codec::{Decoder, Encoder};

use crate::support::PATIENCE;

const LIMIT: usize = 64;

/// Frames, and how it ended.
type Read = (Vec<RawFrame>, Option<String>);

/// Decodes `bytes` in pieces of the given sizes, to the end of the stream.
fn read(bytes: &[u8], sizes: &[usize], tolerances: Tolerances) -> Read {
    let mut codec = Codec::new(LIMIT, tolerances);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().copied().cycle();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        buffer.extend_from_slice(piece);
        rest = after;
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
        assert!(codec.held() <= LIMIT, "the codec holds more than the limit");
    }
    loop {
        match codec.decode_eof(&mut buffer) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error.to_string())),
        }
    }
}

/// Bytes that mean something to the codec, and some that do not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => select(vec![0x0b, 0x1c, 0x0d, 0x0a, 0x00, b' ']),
        4 => select(b"MSH|".to_vec()),
        1 => any::<u8>(),
    ];
    // Mostly starting as a frame, else nearly every stream ends at its first byte.
    (any::<u8>(), proptest::collection::vec(byte, 0..300)).prop_map(|(start, mut bytes)| {
        if start > 40 {
            bytes.insert(0, 0x0b);
        }
        bytes
    })
}

fn payload_byte() -> impl Strategy<Value = u8> {
    any::<u8>().prop_filter("no framing", |byte| ![0x0b, 0x1c].contains(byte))
}

fn tolerances() -> impl Strategy<Value = Tolerances> {
    proptest::sample::subsequence(Tolerance::ALL.to_vec(), 0..=Tolerance::ALL.len())
        .prop_map(|set| set.into_iter().fold(Tolerances::strict(), Tolerances::with))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_never_panic_and_no_payload_holds_framing(
        bytes in bytes(),
        sizes in proptest::collection::vec(1_usize..20, 1..5),
        tolerances in tolerances(),
    ) {
        let (frames, _) = read(&bytes, &sizes, tolerances);
        for frame in frames {
            prop_assert!(!frame.payload.contains(&0x0b) && !frame.payload.contains(&0x1c));
            prop_assert!(frame.payload.len() <= LIMIT);
            prop_assert!(!frame.truncated.unwrap_or_default().contains(&0x1c));
            for warning in frame.warnings {
                prop_assert!(tolerances.allow(warning.tolerance));
                prop_assert!(warning.offset < bytes.len() as u64);
            }
        }
    }

    #[test]
    fn the_sizes_of_the_reads_make_no_difference(
        bytes in bytes(),
        sizes in proptest::collection::vec(1_usize..20, 1..5),
        // Without VT, what a stream is can only be told once its first four bytes are there.
        tolerances in tolerances().prop_map(|set| set.without(Tolerance::MissingLeadingVt)),
    ) {
        let without_kind = |(frames, end): Read| {
            (frames, end.map(|end| end.split(':').next().unwrap_or_default().to_owned()))
        };
        let whole = without_kind(read(&bytes, &[usize::MAX], tolerances));
        prop_assert_eq!(without_kind(read(&bytes, &sizes, tolerances)), whole);
    }

    #[test]
    fn what_is_written_is_read_back(
        payloads in proptest::collection::vec(
            proptest::collection::vec(payload_byte(), 1..LIMIT),
            1..10,
        ),
        sizes in proptest::collection::vec(1_usize..100, 1..5),
    ) {
        let mut wire = BytesMut::new();
        for payload in &payloads {
            encode(payload, &mut wire).unwrap();
        }
        let (frames, end) = read(&wire, &sizes, Tolerances::strict());
        prop_assert_eq!(end, None);
        let found: Vec<Bytes> = frames.into_iter().map(|frame| frame.payload).collect();
        prop_assert_eq!(found, payloads);
    }
}

#[test]
fn what_cannot_be_framed_is_not_written() {
    let mut out = BytesMut::from(&b"kept"[..]);
    assert!(matches!(encode(b"", &mut out), Err(FrameError::Empty)));
    assert!(matches!(
        encode(b"a\x0bb", &mut out),
        Err(FrameError::Unframable { offset: 1 })
    ));
    assert!(matches!(
        encode(b"ab\x1c", &mut out),
        Err(FrameError::Unframable { offset: 2 })
    ));
    assert_eq!(&out[..], b"kept");
}

#[test]
fn commit_answers_of_release_2() {
    let mut codec = Codec::new(LIMIT, Tolerances::strict());
    let mut wire = BytesMut::new();
    codec.encode(Commit::Ack, &mut wire).unwrap();
    codec.encode(Commit::Nak, &mut wire).unwrap();
    assert_eq!(&wire[..], b"\x0b\x06\x1c\x0d\x0b\x15\x1c\x0d");
    let commits: Vec<_> = std::iter::from_fn(|| codec.decode(&mut wire).unwrap())
        .map(|frame| Commit::of(&frame.payload))
        .collect();
    assert_eq!(commits, [Some(Commit::Ack), Some(Commit::Nak)]);
    assert_eq!(Commit::of(b"\x06\x06"), None);
}

#[test]
fn nothing_is_looked_at_twice() {
    // Scanning from the start at each read would look at 16 MiB * 131072 / 2 bytes: hours.
    let size = 16 * 1024 * 1024;
    let mut codec = Codec::new(size, Tolerances::strict());
    let mut buffer = BytesMut::with_capacity(size + 3);
    let started = Instant::now();
    buffer.extend_from_slice(b"\x0b");
    for _ in 0..size / 128 {
        buffer.extend_from_slice(&[b'x'; 128]);
        assert!(codec.decode(&mut buffer).unwrap().is_none());
    }
    buffer.extend_from_slice(b"\x1c\x0d");
    assert_eq!(
        codec.decode(&mut buffer).unwrap().unwrap().payload.len(),
        size
    );
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn nothing_is_read_after_an_error() {
    let mut codec = Codec::new(LIMIT, Tolerances::default());
    let mut buffer = BytesMut::from(&b"junk\x0bone\x1c\x0d"[..]);
    assert!(codec.decode(&mut buffer).is_err());
    assert!(codec.decode(&mut buffer).unwrap().is_none());
    buffer.extend_from_slice(b"\x0btwo\x1c\x0d");
    assert!(codec.decode(&mut buffer).unwrap().is_none());
    assert!(codec.decode_eof(&mut buffer).unwrap().is_none());
}

#[test]
fn works_as_a_codec_of_tokio_util() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        use futures_util::StreamExt;
        let bytes = &b"\x0bone\x1c\x0d\x0btwo\x1c\x0d"[..];
        let frames =
            tokio_util::codec::FramedRead::new(bytes, Codec::new(LIMIT, Tolerances::strict()));
        let payloads: Vec<Bytes> = frames.map(|frame| frame.unwrap().payload).collect().await;
        assert_eq!(payloads, ["one", "two"]);
    });
}
