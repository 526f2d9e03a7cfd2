//! Escape sequences (HL7 v2 chapter 2.7) and decoding, in one step.
//!
//! Fields are split first and unescaped once, afterwards: what `\T\` or
//! `\X7C\` stand for can never divide anything. Escapes become bytes of the
//! message's character set and are decoded together with what stands around
//! them, so a character may be written as `\XC3\\XA9\`.
//!
//! | sequence | becomes |
//! |---|---|
//! | `\F\ \S\ \T\ \R\ \E\ \P\` | the delimiter, as MSH-1 and MSH-2 declare it |
//! | `\Xhh..\` | bytes; CR and CR LF become a line feed |
//! | `\Cxxyy\`, `\Mxxyy\`, `\Mxxyyzz\` | what follows is in another character set |
//! | `\H\`, `\N\`, `\.fi\`, `\.nf\` | nothing (highlighting, word wrap) |
//! | `\.br\`, `\.ce\`, `\.sp n\` | line feeds |
//! | `\.in n\`, `\.ti n\`, `\.sk n\` | blanks |
//! | `\Z..\`, unknown ones, a lone `\` | kept as they are, with an issue |

use std::borrow::Cow;

use encoding_rs::{
    EUC_KR, Encoding, GB18030, ISO_2022_JP, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5,
    ISO_8859_6, ISO_8859_7, ISO_8859_8, ISO_8859_15, SHIFT_JIS, WINDOWS_1252, WINDOWS_1254,
};

use crate::charset::{self, Charset, MultiByte};
use crate::delimiters::Delimiters;
use crate::issue::IssueCode;

/// Indents and skips are a few columns; more would only let a short message
/// make a long text.
const MOST_BLANKS: usize = 200;

/// The characters that [`encode`] must escape are not all expressible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inexpressible {
    /// The message's character set does not have the character.
    Character,
    /// The text holds a delimiter, and MSH-2 declares no escape character.
    Delimiter,
}

/// Unescapes and decodes. `report` gets each oddity with its offset in `raw`.
pub(crate) fn decode<'a>(
    raw: &'a [u8],
    delimiters: &Delimiters,
    charset: Charset,
    report: &mut dyn FnMut(IssueCode, usize),
) -> Cow<'a, str> {
    if let Some(text) = short_and_plain(raw, delimiters.escape) {
        return Cow::Borrowed(text);
    }
    let multi_byte = charset.multi_byte();
    let first = delimiters
        .escape
        .and_then(|escape| Some((escape, find(raw, 0, escape, multi_byte)?)));
    let Some((escape, first)) = first else {
        let (text, undecodable) = charset.decode(raw);
        if undecodable {
            report(IssueCode::UndecodableBytes, 0);
        }
        return text;
    };
    let mut unescaper = Unescaper {
        delimiters,
        base: charset.encoding,
        encoding: charset.encoding,
        out: String::with_capacity(raw.len()),
        pending: Vec::with_capacity(raw.len()),
        pending_at: 0,
        after_return: false,
        report,
    };
    let part = |from: usize, to: usize| raw.get(from..to).unwrap_or_default();
    let mut done = 0;
    let mut next = Some(first);
    while let Some(open) = next {
        unescaper.plain(part(done, open));
        let close = find(raw, open + 1, escape, multi_byte);
        let taken = close.is_some_and(|close| unescaper.sequence(part(open + 1, close), open));
        match close {
            Some(close) if taken => {
                done = close + 1;
                next = find(raw, done, escape, multi_byte);
            }
            // Only this one byte is text: the next escape character may open a
            // sequence of its own, as in `C:\A\T\B`.
            _ => {
                let body = close.map(|close| part(open + 1, close));
                (unescaper.report)(oddity(body), open);
                unescaper.plain(part(open, open + 1));
                done = open + 1;
                next = close;
            }
        }
    }
    unescaper.plain(part(done, raw.len()));
    unescaper.flush(raw.len());
    Cow::Owned(unescaper.out)
}

/// Most leaves are a few ASCII bytes without escapes, and then the same text in
/// every character set: no ISO 2022 control, nothing to search or convert.
#[inline]
fn short_and_plain(raw: &[u8], escape: Option<u8>) -> Option<&str> {
    let plain = |byte: &u8| byte.is_ascii() && *byte != 0x1B && Some(*byte) != escape;
    if raw.len() > 24 || !raw.iter().all(plain) {
        return None;
    }
    std::str::from_utf8(raw).ok()
}

/// Escapes and encodes text so that [`decode`] gives it back, and appends it to `out`.
pub(crate) fn encode(
    text: &str,
    delimiters: &Delimiters,
    charset: Charset,
    out: &mut Vec<u8>,
) -> Result<(), Inexpressible> {
    let mut rest = text;
    while !rest.is_empty() {
        let special = rest
            .char_indices()
            .find_map(|(at, c)| Some((at, c, escaped(c, delimiters)?)));
        let end = special.as_ref().map_or(rest.len(), |(at, ..)| *at);
        let plain = rest.get(..end).unwrap_or_default();
        let bytes = charset.encode(plain).ok_or(Inexpressible::Character)?;
        out.extend_from_slice(&bytes);
        let Some((_, c, sequence)) = special else {
            break;
        };
        let escape = delimiters.escape.ok_or(Inexpressible::Delimiter)?;
        out.push(escape);
        out.extend_from_slice(sequence);
        out.push(escape);
        rest = rest.get(end + c.len_utf8()..).unwrap_or_default();
    }
    Ok(())
}

/// The sequence for a character that cannot stand in a field as it is.
fn escaped(c: char, delimiters: &Delimiters) -> Option<&'static [u8]> {
    let byte = u8::try_from(c).ok()?;
    let is = |delimiter: Option<u8>| delimiter == Some(byte);
    match byte {
        _ if byte == delimiters.field => Some(b"F"),
        _ if byte == delimiters.component => Some(b"S"),
        _ if is(delimiters.subcomponent) => Some(b"T"),
        _ if is(delimiters.repetition) => Some(b"R"),
        _ if is(delimiters.escape) => Some(b"E"),
        _ if is(delimiters.truncation) => Some(b"P"),
        b'\n' => Some(b".br"),
        b'\r' => Some(b"X0D"),
        // The bytes that frame a message in MLLP.
        0x0B => Some(b"X0B"),
        0x1C => Some(b"X1C"),
        _ => None,
    }
}

/// The next delimiter or escape character that is no part of a two-byte character.
pub(crate) fn find(raw: &[u8], from: usize, escape: u8, multi_byte: MultiByte) -> Option<usize> {
    let rest = raw.get(from..)?;
    if multi_byte == MultiByte::None {
        return memchr::memchr(escape, rest).map(|at| from + at);
    }
    let mut at = from;
    loop {
        let rest = raw.get(at..)?;
        let byte = *rest.first()?;
        if byte == escape {
            return Some(at);
        }
        at += if multi_byte.is_lead(byte) {
            multi_byte.skip(rest)
        } else {
            1
        };
    }
}

/// Whether an escape character that opens no known sequence looks like a
/// sequence at all or like a path of Windows.
fn oddity(body: Option<&[u8]>) -> IssueCode {
    let looks_like_one = |body: &[u8]| {
        body.len() <= 16
            && body
                .first()
                .is_some_and(|byte| byte.is_ascii_uppercase() || *byte == b'.')
            && body.iter().all(|byte| byte.is_ascii_graphic())
    };
    match body {
        Some(body) if looks_like_one(body) => IssueCode::EscapeUnknown,
        _ => IssueCode::EscapeLone,
    }
}

/// Collects bytes and turns them into text whenever the character set changes.
struct Unescaper<'d, 'r> {
    delimiters: &'d Delimiters,
    base: &'static Encoding,
    encoding: &'static Encoding,
    out: String,
    pending: Vec<u8>,
    /// Where in the raw bytes `pending` began.
    pending_at: usize,
    /// The last byte was a CR written in hexadecimal.
    after_return: bool,
    report: &'r mut dyn FnMut(IssueCode, usize),
}

// === impl Unescaper ===

impl Unescaper<'_, '_> {
    fn plain(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.after_return = false;
            self.pending.extend_from_slice(bytes);
        }
    }

    fn flush(&mut self, at: usize) {
        let (text, undecodable) = charset::decode(self.encoding, &self.pending);
        self.out.push_str(&text);
        if undecodable {
            (self.report)(IssueCode::UndecodableBytes, self.pending_at);
        }
        self.pending.clear();
        self.pending_at = at;
    }

    /// Takes what stands between two escape characters, of which the first is
    /// at `at`; false when it is no sequence.
    fn sequence(&mut self, body: &[u8], at: usize) -> bool {
        let Some((&kind, rest)) = body.split_first() else {
            return false;
        };
        match (kind, rest) {
            (b'X', _) => return self.hexadecimal(rest),
            (b'C' | b'M', _) => return self.switch(rest, at),
            (b'.', _) => return self.format(rest),
            (b'Z', _) if rest.iter().all(u8::is_ascii_alphanumeric) => {
                (self.report)(IssueCode::EscapeLocal, at);
                let escape = self.delimiters.escape.unwrap_or(b'\\');
                self.plain(&[escape]);
                self.plain(body);
                self.plain(&[escape]);
                return true;
            }
            (b'H' | b'N', []) => return true,
            _ => {}
        }
        let standard = Delimiters::STANDARD;
        let declared = self.delimiters;
        let byte = match body {
            b"F" => Some(declared.field),
            b"S" => Some(declared.component),
            b"T" => declared.subcomponent.or(standard.subcomponent),
            b"R" => declared.repetition.or(standard.repetition),
            b"E" => declared.escape,
            b"P" => declared.truncation.or(Some(b'#')),
            _ => None,
        };
        let Some(byte) = byte else {
            return false;
        };
        self.plain(&[byte]);
        true
    }

    fn hexadecimal(&mut self, digits: &[u8]) -> bool {
        let Some(bytes) = hex(digits) else {
            return false;
        };
        for byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\r' => {
                    self.pending.push(b'\n');
                    self.after_return = true;
                }
                _ => self.plain(&[byte]),
            }
        }
        true
    }

    /// `\Cxxyy\` and `\Mxxyyzz\`: the bytes of an ISO 2022 control without its ESC.
    fn switch(&mut self, digits: &[u8], at: usize) -> bool {
        let Some(control) = hex(digits) else {
            return false;
        };
        let encoding = match control.as_slice() {
            b"(B" => self.base,
            b"(J" | b")I" => SHIFT_JIS,
            b"-A" => WINDOWS_1252,
            b"-B" => ISO_8859_2,
            b"-C" => ISO_8859_3,
            b"-D" => ISO_8859_4,
            b"-L" => ISO_8859_5,
            b"-G" => ISO_8859_6,
            b"-F" => ISO_8859_7,
            b"-H" => ISO_8859_8,
            b"-M" => WINDOWS_1254,
            b"-b" => ISO_8859_15,
            b"$B" | b"$@" | b"$(B" => ISO_2022_JP,
            b"$)C" => EUC_KR,
            b"$)A" => GB18030,
            _ => return false,
        };
        self.flush(at);
        self.encoding = encoding;
        if encoding == ISO_2022_JP && control.first() == Some(&b'$') {
            self.pending.extend_from_slice(b"\x1B$B");
        }
        true
    }

    /// The formatting commands of FT fields, `.sp`, `.sp3`, `.sp+3`, `.sp 3`.
    fn format(&mut self, command: &[u8]) -> bool {
        let name = command.get(..2).unwrap_or_default();
        let number = command.get(2..).unwrap_or_default().trim_ascii();
        let (backwards, digits) = match number.split_first() {
            Some((b'+', digits)) => (false, digits),
            Some((b'-', digits)) => (true, digits),
            _ => (false, number),
        };
        let count = std::str::from_utf8(digits).ok();
        let count = match count.map(str::parse::<usize>) {
            Some(Ok(count)) if count <= MOST_BLANKS => Some(count),
            _ if number.is_empty() => None,
            _ => return false,
        };
        let (filler, count) = match name.to_ascii_lowercase().as_slice() {
            b"br" | b"ce" if count.is_none() => (b'\n', 1),
            b"fi" | b"nf" if count.is_none() => (b' ', 0),
            b"sp" => (b'\n', count.unwrap_or(1).max(1)),
            b"in" | b"ti" | b"sk" if backwards => (b' ', 0),
            b"in" | b"ti" | b"sk" => (b' ', count.unwrap_or(0)),
            _ => return false,
        };
        self.plain(&vec![filler; count]);
        true
    }
}

/// Pairs of hexadecimal digits, at least one pair.
fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = digits.chunks_exact(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests;
