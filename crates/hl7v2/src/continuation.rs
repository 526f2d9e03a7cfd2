//! Messages that were sent in pieces (HL7 v2 chapter 2.10.2).
//!
//! A piece that is not the last ends in `DSC|pointer|F`; the next one repeats
//! the pointer in MSH-14. When a piece ends inside a segment, the next one
//! goes on with an `ADD` segment, whose first field continues the last field
//! of that segment. An `ADD` may also stand inside one message.
//!
//! Keeping the pieces until all are there, and giving up after a time, is the
//! caller's part.

use std::borrow::Cow;

use crate::message::Message;

/// What a `DSC` segment says about the rest of the message (DSC-2, table 0398).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `F`: further pieces are sent unasked. An empty DSC-2 means the same.
    Fragment,
    /// `I`: further pieces of a query's answer come when they are asked for.
    Interactive,
    /// A code that table 0398 does not have.
    Unknown,
}

/// That a piece is not the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continues<'m> {
    /// DSC-1: what MSH-14 of the next piece says.
    pub pointer: Cow<'m, str>,
    /// Whether the next piece comes by itself.
    pub style: Style,
}

/// Why pieces do not make one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// There are no pieces.
    #[error("no pieces")]
    Empty,
    /// MSH-14 of a piece is not DSC-1 of the one before.
    #[error("piece {piece} does not continue the one before")]
    Pointer {
        /// Which piece, counted from 1.
        piece: usize,
    },
    /// A piece has other delimiters or another character set than the first.
    #[error("piece {piece} is written differently than the first")]
    Written {
        /// Which piece, counted from 1.
        piece: usize,
    },
}

/// Whether a message ends in a `DSC` with a pointer, so that another piece belongs to it.
#[must_use]
pub fn continues<'m>(message: &'m Message<'_>) -> Option<Continues<'m>> {
    let last = message.segments().next_back()?;
    let pointer = last.field(1);
    if last.name() != "DSC" || !pointer.is_valued() {
        return None;
    }
    let style = match last.field(2).text().trim() {
        "" | "F" => Style::Fragment,
        "I" => Style::Interactive,
        _ => Style::Unknown,
    };
    Some(Continues {
        pointer: pointer.text(),
        style,
    })
}

/// Puts the pieces of one message together, in their order: the header of the
/// first, then all segments without `DSC`, and each `ADD` joined to the segment
/// before it. Segments end in CR. One piece alone may be given for its `ADD`s.
///
/// # Errors
/// [`JoinError`] when the pieces do not follow each other.
pub fn join(pieces: &[Message<'_>]) -> Result<Vec<u8>, JoinError> {
    let first = pieces.first().ok_or(JoinError::Empty)?;
    let mut out = Vec::with_capacity(pieces.iter().map(|piece| piece.bytes().len()).sum());
    let mut expected = None;
    for (piece, number) in pieces.iter().zip(1..) {
        let pointer = piece.header().continuation().text();
        if expected.is_some_and(|expected| expected != Some(pointer)) {
            return Err(JoinError::Pointer { piece: number });
        }
        let same = piece.delimiters() == first.delimiters()
            && piece.charset().encoding == first.charset().encoding;
        if !same {
            return Err(JoinError::Written { piece: number });
        }
        let next = continues(piece).map(|next| next.pointer);
        let last = piece.segment_count() - usize::from(next.is_some());
        expected = Some(next);
        // Only the first piece gives the header.
        for segment in piece.segments().take(last).skip(usize::from(number > 1)) {
            let raw = segment.raw();
            match raw.strip_prefix(b"ADD").filter(|_| segment.name() == "ADD") {
                Some(rest) => {
                    // Continue the field that the line end cut off.
                    let cut = out.last() == Some(&b'\r');
                    out.truncate(out.len() - usize::from(cut));
                    out.extend_from_slice(rest.get(1..).unwrap_or_default());
                }
                None => out.extend_from_slice(raw),
            }
            out.push(b'\r');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn joined(pieces: &[&str]) -> Result<String, JoinError> {
        let pieces: Vec<Message<'_>> = pieces
            .iter()
            .map(|piece| parse(piece.as_bytes()).unwrap().0)
            .collect();
        join(&pieces).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    const FIRST: &str = "MSH|^~\\&|A|||||||1|P|2.5\rPID|1\rOBX|1|TX|N||begin\rDSC|p1|F\r";
    const SECOND: &str = "MSH|^~\\&|A|||||||2|P|2.5||p1\nADD|ning|mg\nOBX|2\nDSC|p2\n";
    const THIRD: &str = "MSH|^~\\&|A|||||||3|P|2.5||p2\rNTE|1\r";

    #[test]
    fn pieces_become_one_message() {
        let whole = "MSH|^~\\&|A|||||||1|P|2.5\rPID|1\rOBX|1|TX|N||beginning|mg\rOBX|2\rNTE|1\r";
        assert_eq!(joined(&[FIRST, SECOND, THIRD]).as_deref(), Ok(whole));
    }

    #[test]
    fn an_add_continues_the_segment_before_it_in_one_message_too() {
        let one = "MSH|^~\\&|A\rNTE|1||a\rADD|b|c\rADD\rPID|1\r";
        let whole = "MSH|^~\\&|A\rNTE|1||ab|c\rPID|1\r";
        assert_eq!(joined(&[one]).as_deref(), Ok(whole));
    }

    #[test]
    fn the_pointer_and_style_are_read() {
        let read = |text: &str| {
            let (message, _) = parse(text.as_bytes()).unwrap();
            continues(&message).map(|next| (next.pointer.into_owned(), next.style))
        };
        assert_eq!(read(FIRST), Some(("p1".into(), Style::Fragment)));
        assert_eq!(read(THIRD), None);
        assert_eq!(read("MSH|^~\\&|A\rDSC|\r"), None);
        let interactive = read("MSH|^~\\&|A\rDSC|x|I\r");
        assert_eq!(interactive, Some(("x".into(), Style::Interactive)));
        assert_eq!(read("MSH|^~\\&|A\rDSC|x|Q\r").unwrap().1, Style::Unknown);
    }

    #[test]
    fn pieces_that_do_not_follow_each_other_are_refused() {
        assert_eq!(joined(&[]), Err(JoinError::Empty));
        let skipped = joined(&[FIRST, THIRD]);
        assert_eq!(skipped, Err(JoinError::Pointer { piece: 2 }));
        let beyond = joined(&[THIRD, THIRD]);
        assert_eq!(beyond, Err(JoinError::Pointer { piece: 2 }));
        let other = "MSH$^~\\&$A$$$$$$$2$P$2.5$$p1\r";
        assert_eq!(
            joined(&[FIRST, other]),
            Err(JoinError::Written { piece: 2 })
        );
    }
}
