//! The character set of one message: MSH-18 and table 0211 (HL7 v2 chapter 2.14.9.18).
//!
//! MSH-18 is found in the raw bytes before anything is decoded. The sets that
//! table 0211 names are read by `encoding_rs`, which follows the WHATWG
//! tables: `8859/1` is therefore windows-1252, a superset in all printable
//! characters.

use std::borrow::Cow;

use encoding_rs::{BIG5, Encoding, GB18030, ISO_2022_JP, SHIFT_JIS, UTF_8, WINDOWS_1252};

use crate::issue::IssueCode;

/// How the text of a message is encoded, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset {
    /// The encoding that text is read and written with.
    pub encoding: &'static Encoding,
    /// Where the choice comes from.
    pub source: CharsetSource,
}

/// How the character set of a message was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CharsetSource {
    /// MSH-18 names it.
    Declared,
    /// MSH-18 says nothing useful, and all bytes are valid UTF-8 (or ASCII).
    Valid,
    /// MSH-18 says nothing useful, the bytes are no UTF-8: the configured fallback.
    Fallback,
    /// The configuration of this sender overrules MSH-18.
    Override,
}

/// What a code of table 0211 means to a reader of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Empty.
    Missing,
    /// 7-bit ASCII, which any byte over 127 contradicts.
    Ascii,
    /// An encoding that can be read.
    Encoding(&'static Encoding),
    /// Not in the table, or not possible in a stream of single bytes
    /// (UTF-16, UTF-32), or without a decoder (CNS 11643).
    Unknown,
}

/// Multi-byte sets whose second bytes include `|`, `^`, `~`, `\` or `&`:
/// the token pass must step over their characters as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MultiByte {
    /// Every delimiter byte is a delimiter (ASCII, 8859, UTF-8, EUC-KR).
    None,
    /// GB 18030, BIG-5.
    Wide,
    /// Shift_JIS.
    ShiftJis,
    /// Two-byte characters between escape controls (ISO IR87).
    Iso2022Jp,
}

/// One repetition of MSH-18, by table 0211. Case and blanks do not matter, and
/// the usual names of the web (`UTF-8`, `ISO-8859-1`) are understood too.
#[must_use]
pub fn declared(code: &[u8]) -> Declared {
    let code = code.trim_ascii();
    if code.is_empty() {
        return Declared::Missing;
    }
    let code = code.to_ascii_uppercase();
    let encoding = match code.as_slice() {
        b"ASCII" | b"US-ASCII" | b"ISO IR6" => return Declared::Ascii,
        b"UNICODE" | b"UNICODE UTF-8" | b"UTF8" => Some(UTF_8),
        b"ISO IR14" => Some(SHIFT_JIS),
        b"ISO IR87" | b"ISO IR159" => Some(ISO_2022_JP),
        b"GB 18030-2000" | b"GB18030-2000" => Some(GB18030),
        b"KS X 1001" => Some(encoding_rs::EUC_KR),
        b"BIG-5" => Some(BIG5),
        other => match other.strip_prefix(b"8859/") {
            Some(part) => Encoding::for_label(&[b"iso-8859-", part].concat()),
            None => Encoding::for_label(other),
        },
    };
    match encoding {
        Some(encoding) if encoding.is_ascii_compatible() || encoding == ISO_2022_JP => {
            Declared::Encoding(encoding)
        }
        _ => Declared::Unknown,
    }
}

/// Decides from MSH-18 (all its repetitions, raw) and the bytes of the message.
///
/// A Japanese message declares `~ISO IR87`: ASCII until an escape control
/// switches. Any repetition that names such a set therefore counts, before the first.
pub(crate) fn decide<'a>(
    codes: impl Iterator<Item = &'a [u8]>,
    bytes: &[u8],
    fallback: &'static Encoding,
) -> (Charset, Option<IssueCode>) {
    let mut first = Declared::Missing;
    let mut switched = false;
    for (position, code) in codes.enumerate() {
        let declared = declared(code);
        switched |= declared == Declared::Encoding(ISO_2022_JP);
        if position == 0 {
            first = declared;
        }
    }
    if switched {
        first = Declared::Encoding(ISO_2022_JP);
    }
    let chosen = |encoding, source| Charset { encoding, source };
    if let Declared::Encoding(encoding) = first {
        let issue = match (encoding == UTF_8, std::str::from_utf8(bytes).is_ok()) {
            (true, false) => Some(IssueCode::CharsetMismatch),
            (false, true) if !bytes.is_ascii() => Some(IssueCode::CharsetDoubtful),
            _ => None,
        };
        return (chosen(encoding, CharsetSource::Declared), issue);
    }
    let ascii = bytes.is_ascii();
    let issue = match first {
        Declared::Unknown => Some(IssueCode::CharsetUnknown),
        Declared::Ascii if !ascii => Some(IssueCode::CharsetMismatch),
        _ => None,
    };
    if ascii || std::str::from_utf8(bytes).is_ok() {
        (chosen(UTF_8, CharsetSource::Valid), issue)
    } else {
        let issue = issue.unwrap_or(IssueCode::CharsetFallback);
        (chosen(fallback, CharsetSource::Fallback), Some(issue))
    }
}

/// The fallback that is used when nobody configured one.
pub(crate) const DEFAULT_FALLBACK: &Encoding = WINDOWS_1252;

// === impl Charset ===

impl Charset {
    /// Decodes bytes of the message. The second value says whether bytes that
    /// the set does not have became U+FFFD. Borrows when it can.
    #[must_use]
    pub fn decode<'a>(&self, bytes: &'a [u8]) -> (Cow<'a, str>, bool) {
        decode(self.encoding, bytes)
    }

    /// Encodes text into the set of the message; `None` when a character does
    /// not exist in it.
    #[must_use]
    pub fn encode<'t>(&self, text: &'t str) -> Option<Cow<'t, [u8]>> {
        let (bytes, _, unmappable) = self.encoding.encode(text);
        (!unmappable).then_some(bytes)
    }

    pub(crate) fn multi_byte(&self) -> MultiByte {
        MultiByte::of(self.encoding)
    }
}

pub(crate) fn decode<'a>(encoding: &'static Encoding, bytes: &'a [u8]) -> (Cow<'a, str>, bool) {
    // Most fields are a few ASCII bytes, for which the general decoder is slow.
    if (encoding == UTF_8 || (encoding != ISO_2022_JP && bytes.is_ascii()))
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return (Cow::Borrowed(text), false);
    }
    encoding.decode_without_bom_handling(bytes)
}

// === impl MultiByte ===

impl MultiByte {
    pub(crate) fn of(encoding: &'static Encoding) -> Self {
        if encoding == GB18030 || encoding == encoding_rs::GBK || encoding == BIG5 {
            Self::Wide
        } else if encoding == SHIFT_JIS {
            Self::ShiftJis
        } else if encoding == ISO_2022_JP {
            Self::Iso2022Jp
        } else {
            Self::None
        }
    }

    /// Whether [`MultiByte::skip`] must be asked at this byte: the first of a
    /// two-byte character, or the escape control.
    pub(crate) fn is_lead(self, byte: u8) -> bool {
        match self {
            Self::None => false,
            Self::Wide => matches!(byte, 0x81..=0xFE),
            Self::ShiftJis => matches!(byte, 0x81..=0x9F | 0xE0..=0xFC),
            Self::Iso2022Jp => byte == 0x1B,
        }
    }

    /// How many bytes to step over at a lead byte or an escape control, at
    /// least one. Never steps over a line end.
    pub(crate) fn skip(self, bytes: &[u8]) -> usize {
        match bytes {
            [0x1B, b'$', b'@' | b'B', rest @ ..] => 3 + two_byte_run(rest),
            [0x1B, b'$', b'(', _, rest @ ..] => 4 + two_byte_run(rest),
            [0x1B, b'(' | b')', _, ..] => 3,
            [0x1B, ..] => 1,
            // The second byte of GB 18030's four-byte characters is a digit.
            [_, second, ..] if *second >= 0x30 => 2,
            _ => 1,
        }
    }
}

/// Bytes until the next escape control or line end.
fn two_byte_run(bytes: &[u8]) -> usize {
    memchr::memchr3(0x1B, b'\r', b'\n', bytes).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(msh18: &str, bytes: &[u8]) -> (&'static str, CharsetSource, Option<IssueCode>) {
        let codes = msh18.split('~').map(str::as_bytes);
        let (charset, issue) = decide(codes, bytes, DEFAULT_FALLBACK);
        (charset.encoding.name(), charset.source, issue)
    }

    #[test]
    fn table_0211_is_known() {
        for (code, name) in [
            ("8859/1", "windows-1252"),
            ("8859/2", "ISO-8859-2"),
            ("8859/3", "ISO-8859-3"),
            ("8859/4", "ISO-8859-4"),
            ("8859/5", "ISO-8859-5"),
            ("8859/6", "ISO-8859-6"),
            ("8859/7", "ISO-8859-7"),
            ("8859/8", "ISO-8859-8"),
            ("8859/9", "windows-1254"),
            ("8859/15", "ISO-8859-15"),
            ("ISO IR14", "Shift_JIS"),
            ("ISO IR87", "ISO-2022-JP"),
            ("ISO IR159", "ISO-2022-JP"),
            ("GB 18030-2000", "gb18030"),
            ("KS X 1001", "EUC-KR"),
            ("BIG-5", "Big5"),
            ("UNICODE", "UTF-8"),
            ("UNICODE UTF-8", "UTF-8"),
            ("unicode utf-8 ", "UTF-8"),
            ("utf-8", "UTF-8"),
            ("ISO-8859-1", "windows-1252"),
        ] {
            match declared(code.as_bytes()) {
                Declared::Encoding(encoding) => assert_eq!(encoding.name(), name, "{code}"),
                other => panic!("{code}: {other:?}"),
            }
        }
        assert_eq!(declared(b"ASCII"), Declared::Ascii);
        assert_eq!(declared(b"ISO IR6"), Declared::Ascii);
        assert_eq!(declared(b" "), Declared::Missing);
        for code in [
            "UNICODE UTF-16",
            "UNICODE UTF-32",
            "UTF-16",
            "CNS 11643-1992",
            "8859/99",
        ] {
            assert_eq!(declared(code.as_bytes()), Declared::Unknown, "{code}");
        }
    }

    #[test]
    fn a_missing_code_is_utf_8_when_valid_and_else_the_fallback() {
        let valid = ("UTF-8", CharsetSource::Valid, None);
        assert_eq!(decided("", b"plain"), valid);
        assert_eq!(decided("", "é".as_bytes()), valid);
        let fallback = Some(IssueCode::CharsetFallback);
        let expected = ("windows-1252", CharsetSource::Fallback, fallback);
        assert_eq!(decided("", b"\xE9"), expected);
    }

    #[test]
    fn bytes_that_contradict_the_code_are_reported() {
        let mismatch = Some(IssueCode::CharsetMismatch);
        let ascii = decided("ASCII", "é".as_bytes());
        assert_eq!(ascii, ("UTF-8", CharsetSource::Valid, mismatch));
        let latin = decided("ASCII", b"\xE9");
        assert_eq!(latin, ("windows-1252", CharsetSource::Fallback, mismatch));
        let utf8 = decided("UNICODE UTF-8", b"\xE9");
        assert_eq!(utf8, ("UTF-8", CharsetSource::Declared, mismatch));
        let doubtful = decided("8859/1", "é".as_bytes());
        let expected = Some(IssueCode::CharsetDoubtful);
        assert_eq!(
            doubtful,
            ("windows-1252", CharsetSource::Declared, expected)
        );
        assert_eq!(decided("8859/1", b"\xE9").2, None);
        let unknown = decided("KLINGON", b"x");
        let expected = Some(IssueCode::CharsetUnknown);
        assert_eq!(unknown, ("UTF-8", CharsetSource::Valid, expected));
    }

    #[test]
    fn a_set_that_controls_switch_to_counts_in_any_repetition() {
        for code in [
            "~ISO IR87",
            "ASCII~ISO IR87",
            "ISO IR14~ISO IR87",
            "ISO IR87",
        ] {
            assert_eq!(decided(code, b"x").0, "ISO-2022-JP", "{code}");
        }
        assert_eq!(decided("8859/2~8859/5", b"x").0, "ISO-8859-2");
    }

    #[test]
    fn characters_that_a_set_does_not_have_are_refused() {
        let charset = Charset {
            encoding: WINDOWS_1252,
            source: CharsetSource::Declared,
        };
        assert_eq!(charset.encode("é").unwrap().as_ref(), b"\xE9");
        assert_eq!(charset.encode("語"), None);
    }
}
