//! MLLP framing: `VT payload FS CR`, read tolerantly and written strictly.
//!
//! The decoder is incremental and linear: each byte is looked at once, whatever the sizes of the
//! reads. It holds at most one frame, so memory is bounded by the frame limit.
//!
//! Where a frame ends. FS (0x1C) cannot be part of a payload: none of the character sets that HL7
//! allows on MLLP uses it. FS CR ends a frame. FS alone ends it too ([`Tolerance::FsWithoutCr`]) if
//! VT or LF is the next byte, at the end of the stream, or after a short silence. FS before any
//! other byte is [`FrameError::ByteAfterFs`]: the byte may be a stray one inside a message, and
//! half a message must never be passed on.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::memchr2;
use tokio_util::codec::{Decoder, Encoder};

use crate::{
    error::{Foreign, FrameError},
    tolerance::{FrameWarning, Tolerance, Tolerances},
};

/// Start of a frame.
pub const VT: u8 = 0x0b;
/// End of a payload.
pub const FS: u8 = 0x1c;
/// End of a frame.
pub const CR: u8 = 0x0d;
const LF: u8 = 0x0a;
const ACK: u8 = 0x06;
const NAK: u8 = 0x15;

/// Bytes that a frame adds to its payload.
pub const OVERHEAD: usize = 3;

/// Decodes and encodes frames. One codec serves one connection.
#[derive(Debug)]
pub struct Codec {
    frame_bytes: usize,
    tolerances: Tolerances,
    state: State,
    /// Payload bytes at the front of the buffer that hold neither VT nor FS.
    scanned: usize,
    /// Position in the stream of the first byte in the buffer.
    offset: u64,
    /// Blanks skipped since the last frame.
    skipped: usize,
    /// What stood before a second VT.
    truncated: Option<BytesMut>,
    warnings: Vec<FrameWarning>,
    any_frame: bool,
    /// What was held when reading failed.
    lost: usize,
}

/// A frame without the facts of its connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawFrame {
    /// The payload; may be empty.
    pub payload: Bytes,
    /// What stood before a second VT; see [`Frame::truncated`](crate::Frame::truncated).
    pub truncated: Option<Bytes>,
    /// What was forgiven.
    pub warnings: Vec<FrameWarning>,
}

/// An MLLP release 2 commit answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// `VT 0x06 FS CR`: stored.
    Ack,
    /// `VT 0x15 FS CR`: not stored.
    Nak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Between(Tail),
    /// Inside a frame. `sniff`: it started without VT at the start of the stream, so it may be no
    /// frame at all.
    Payload {
        sniff: bool,
    },
    /// FS has been seen after `length` bytes of payload.
    Ended {
        length: usize,
    },
    /// An error was returned; nothing can be read any more.
    Failed,
}

/// What may still belong to the end of the last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// Nothing.
    None,
    /// LF.
    Lf,
    /// CR that came late, then perhaps LF.
    CrLf,
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | CR | LF | 0)
}

// === impl Codec ===

impl Codec {
    /// A codec that reads payloads of up to `frame_bytes` bytes with the given tolerances.
    pub const fn new(frame_bytes: usize, tolerances: Tolerances) -> Self {
        Self {
            frame_bytes,
            tolerances,
            state: State::Between(Tail::None),
            scanned: 0,
            offset: 0,
            skipped: 0,
            truncated: None,
            warnings: Vec::new(),
            any_frame: false,
            lost: 0,
        }
    }

    /// Whether the bytes read so far end inside a frame.
    pub const fn in_frame(&self) -> bool {
        matches!(self.state, State::Payload { .. } | State::Ended { .. })
    }

    /// Whether only the CR of the current frame is awaited, and the frame may end without it.
    pub const fn awaits_cr(&self) -> bool {
        matches!(self.state, State::Ended { .. }) && self.tolerances.allow(Tolerance::FsWithoutCr)
    }

    /// Payload bytes of the unfinished frame, also after an error in it.
    pub fn held(&self) -> usize {
        let current = match self.state {
            State::Payload { .. } => self.scanned,
            State::Ended { length } => length,
            State::Between(_) => 0,
            State::Failed => return self.lost,
        };
        current.saturating_add(self.truncated.as_ref().map_or(0, BytesMut::len))
    }

    /// Up to `limit` first bytes of the unfinished frame, copied from `buffer`.
    pub(crate) fn prefix(&self, buffer: &[u8], limit: usize) -> Bytes {
        let source = self.truncated.as_deref().unwrap_or(buffer);
        Bytes::copy_from_slice(source.get(..limit).unwrap_or(source))
    }

    /// Takes the warnings that no frame has carried away yet.
    pub fn take_warnings(&mut self) -> Vec<FrameWarning> {
        std::mem::take(&mut self.warnings)
    }

    /// Ends the frame whose FS has been seen, since no CR came for a while. `None` if there is no
    /// such frame, or if that is not tolerated.
    ///
    /// # Errors
    /// [`FrameError::NotTolerated`] for an empty payload, as in [`decode`](Self::decode).
    pub fn end_by_silence(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<RawFrame>, FrameError> {
        let State::Ended { length } = self.state else {
            return Ok(None);
        };
        if !self.tolerances.allow(Tolerance::FsWithoutCr)
            || buffer.len() != length.saturating_add(1)
        {
            return Ok(None);
        }
        let result = self
            .forgive(Tolerance::FsWithoutCr, length)
            .and_then(|()| self.finish(buffer, length, 1, Tail::CrLf));
        self.fail_on_error(result.map(Some))
    }

    fn fail_on_error<T>(&mut self, result: Result<T, FrameError>) -> Result<T, FrameError> {
        if result.is_err() {
            self.lost = self.held();
            self.state = State::Failed;
        }
        result
    }

    /// Notes a deviation at `at` bytes into the buffer, or refuses it.
    fn forgive(&mut self, tolerance: Tolerance, at: usize) -> Result<(), FrameError> {
        if !self.tolerances.allow(tolerance) {
            return Err(FrameError::NotTolerated {
                tolerance,
                offset: self.offset.saturating_add(at as u64),
            });
        }
        self.warnings.push(FrameWarning {
            tolerance,
            offset: self.offset.saturating_add(at as u64),
        });
        Ok(())
    }

    fn advance(&mut self, buffer: &mut BytesMut, count: usize) {
        buffer.advance(count);
        self.offset = self.offset.saturating_add(count as u64);
    }

    /// Cuts the payload and the `end` bytes after it off the buffer.
    fn finish(
        &mut self,
        buffer: &mut BytesMut,
        length: usize,
        end: usize,
        tail: Tail,
    ) -> Result<RawFrame, FrameError> {
        if length == 0 && self.truncated.is_none() {
            self.forgive(Tolerance::EmptyPayload, 0)?;
        }
        let payload = buffer.split_to(length).freeze();
        self.offset = self.offset.saturating_add(length as u64);
        self.advance(buffer, end);
        self.state = State::Between(tail);
        self.scanned = 0;
        self.skipped = 0;
        self.any_frame = true;
        Ok(RawFrame {
            payload,
            truncated: self.truncated.take().map(BytesMut::freeze),
            warnings: self.take_warnings(),
        })
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<Option<RawFrame>, FrameError> {
        loop {
            let frame = match self.state {
                State::Between(tail) => self.between(buffer, tail)?,
                State::Payload { sniff } => self.payload(buffer, sniff)?,
                State::Ended { length } => return self.ended(buffer, length),
                State::Failed => {
                    buffer.clear();
                    return Ok(None);
                }
            };
            if frame == Progress::NeedsBytes {
                return Ok(None);
            }
        }
    }

    /// Looks for the start of the next frame.
    fn between(&mut self, buffer: &mut BytesMut, tail: Tail) -> Result<Progress, FrameError> {
        let Some(&first) = buffer.first() else {
            return Ok(Progress::NeedsBytes);
        };
        match (tail, first) {
            (Tail::CrLf, CR) => {
                self.advance(buffer, 1);
                self.state = State::Between(Tail::Lf);
                return Ok(Progress::Made);
            }
            (Tail::Lf | Tail::CrLf, LF) => {
                self.forgive(Tolerance::LfAfterFs, 0)?;
                self.advance(buffer, 1);
                self.state = State::Between(Tail::None);
                return Ok(Progress::Made);
            }
            _ => self.state = State::Between(Tail::None),
        }
        let blanks = buffer.iter().take_while(|byte| is_blank(**byte)).count();
        if blanks > 0 {
            if self.skipped == 0 {
                // One warning for a run, however many reads it spans.
                self.forgive(
                    if self.any_frame {
                        Tolerance::NoiseBetweenFrames
                    } else {
                        Tolerance::LeadingWhitespace
                    },
                    0,
                )?;
            }
            self.skipped = self.skipped.saturating_add(blanks);
            if self.skipped > self.frame_bytes {
                return Err(FrameError::BytesBetweenFrames {
                    offset: self.offset,
                });
            }
            self.advance(buffer, blanks);
        }
        match buffer.first() {
            None => Ok(Progress::NeedsBytes),
            Some(&VT) => {
                self.advance(buffer, 1);
                self.state = State::Payload { sniff: false };
                Ok(Progress::Made)
            }
            Some(_) if self.any_frame && !self.tolerances.allow(Tolerance::MissingLeadingVt) => {
                Err(FrameError::BytesBetweenFrames {
                    offset: self.offset,
                })
            }
            Some(_) => {
                let foreign = Foreign::judge(buffer);
                if foreign != Foreign::Other || !self.tolerances.allow(Tolerance::MissingLeadingVt)
                {
                    return Err(FrameError::NotMllp { foreign });
                }
                self.forgive(Tolerance::MissingLeadingVt, 0)?;
                self.state = State::Payload {
                    sniff: !self.any_frame,
                };
                Ok(Progress::Made)
            }
        }
    }

    /// Looks for the end of the payload, from where the last look ended.
    fn payload(&mut self, buffer: &mut BytesMut, sniff: bool) -> Result<Progress, FrameError> {
        if sniff && buffer.len() >= 4 {
            let foreign = Foreign::judge(buffer);
            if foreign != Foreign::Other {
                return Err(FrameError::NotMllp { foreign });
            }
            self.state = State::Payload { sniff: false };
        }
        let unseen = buffer.get(self.scanned..).unwrap_or_default();
        let found = memchr2(VT, FS, unseen).map(|at| self.scanned.saturating_add(at));
        self.scanned = found.unwrap_or(buffer.len());
        if self.held() > self.frame_bytes {
            return Err(FrameError::Oversize {
                limit: self.frame_bytes,
            });
        }
        let Some(at) = found else {
            return Ok(Progress::NeedsBytes);
        };
        if buffer.get(at) == Some(&FS) {
            self.state = State::Ended { length: at };
            return Ok(Progress::Made);
        }
        // A second VT. With nothing before it nothing was lost, so only the warning remains.
        if !self
            .warnings
            .iter()
            .any(|warning| warning.tolerance == Tolerance::SecondVt)
        {
            self.forgive(Tolerance::SecondVt, at)?;
        }
        if at > 0 || self.truncated.is_some() {
            let before = buffer.split_to(at);
            self.offset = self.offset.saturating_add(at as u64);
            match &mut self.truncated {
                Some(parts) => {
                    parts.put_u8(VT);
                    parts.extend_from_slice(&before);
                }
                empty => *empty = Some(before),
            }
        }
        self.advance(buffer, 1);
        self.scanned = 0;
        self.state = State::Payload { sniff: false };
        Ok(Progress::Made)
    }

    /// Judges the byte after FS.
    fn ended(
        &mut self,
        buffer: &mut BytesMut,
        length: usize,
    ) -> Result<Option<RawFrame>, FrameError> {
        let after = length.saturating_add(1);
        let (end, tail) = match buffer.get(after) {
            None => return Ok(None),
            Some(&CR) => (2, Tail::Lf),
            Some(&VT) => {
                self.forgive(Tolerance::FsWithoutCr, length)?;
                (1, Tail::None)
            }
            Some(&LF) => {
                self.forgive(Tolerance::FsWithoutCr, length)?;
                self.forgive(Tolerance::LfAfterFs, after)?;
                (2, Tail::None)
            }
            Some(_) => {
                return Err(FrameError::ByteAfterFs {
                    offset: self.offset.saturating_add(after as u64),
                });
            }
        };
        self.finish(buffer, length, end, tail).map(Some)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Made,
    NeedsBytes,
}

impl Decoder for Codec {
    type Item = RawFrame;
    type Error = FrameError;

    /// The next whole frame, or `None` if more bytes are needed. After an error the codec reads
    /// nothing more.
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<RawFrame>, FrameError> {
        let result = self.step(buffer);
        self.fail_on_error(result)
    }

    /// The last frame, if only its CR is missing; [`FrameError::Truncated`] if the stream ended
    /// inside a frame.
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<RawFrame>, FrameError> {
        if let Some(frame) = self.decode(buffer)? {
            return Ok(Some(frame));
        }
        if let Some(frame) = self.end_by_silence(buffer)? {
            return Ok(Some(frame));
        }
        if self.in_frame() {
            let held = self.held();
            return self.fail_on_error(Err(FrameError::Truncated { held }));
        }
        Ok(None)
    }
}

impl Encoder<&[u8]> for Codec {
    type Error = FrameError;

    /// Writes one strict frame.
    fn encode(&mut self, payload: &[u8], out: &mut BytesMut) -> Result<(), FrameError> {
        encode(payload, out)
    }
}

impl Encoder<Commit> for Codec {
    type Error = FrameError;

    /// Writes a release 2 commit answer.
    fn encode(&mut self, commit: Commit, out: &mut BytesMut) -> Result<(), FrameError> {
        encode(commit.payload(), out)
    }
}

/// Appends `VT payload FS CR` to `out`.
///
/// # Errors
/// [`FrameError::Empty`], or [`FrameError::Unframable`] if the payload holds VT or FS; `out` is
/// then unchanged.
pub fn encode(payload: &[u8], out: &mut BytesMut) -> Result<(), FrameError> {
    if payload.is_empty() {
        return Err(FrameError::Empty);
    }
    if let Some(offset) = memchr2(VT, FS, payload) {
        return Err(FrameError::Unframable { offset });
    }
    out.reserve(payload.len().saturating_add(OVERHEAD));
    out.put_u8(VT);
    out.put_slice(payload);
    out.put_slice(&[FS, CR]);
    Ok(())
}

// === impl Commit ===

impl Commit {
    /// The commit answer that `payload` is, if it is one.
    pub const fn of(payload: &[u8]) -> Option<Self> {
        match payload {
            [ACK] => Some(Self::Ack),
            [NAK] => Some(Self::Nak),
            _ => None,
        }
    }

    /// Its one byte of payload.
    pub const fn payload(self) -> &'static [u8] {
        match self {
            Self::Ack => &[ACK],
            Self::Nak => &[NAK],
        }
    }
}

// === impl RawFrame ===

impl std::fmt::Debug for RawFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawFrame")
            .field("payload_bytes", &self.payload.len())
            .field("truncated_bytes", &self.truncated.as_ref().map(Bytes::len))
            .field("warnings", &self.warnings)
            .finish()
    }
}
