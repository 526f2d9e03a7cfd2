//! The delimiters of one message: MSH-1 and MSH-2 (HL7 v2 chapter 2.5.4).
//!
//! Nothing in this crate assumes `|^~\&`: a message says itself how it is divided.

use crate::error::ParseError;

/// The bytes that divide one message, as its MSH-1 and MSH-2 declare them.
///
/// MSH-2 may be shorter than four characters; a delimiter that it does not
/// name does not exist in the message, so it is `None` and never splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delimiters {
    /// Between fields (MSH-1), `|` nearly always.
    pub field: u8,
    /// Between components, `^` by custom.
    pub component: u8,
    /// Between repetitions of a field, `~` by custom.
    pub repetition: Option<u8>,
    /// Around escape sequences, `\` by custom.
    pub escape: Option<u8>,
    /// Between subcomponents, `&` by custom.
    pub subcomponent: Option<u8>,
    /// Marks truncated values since version 2.7, `#` by custom. It never splits.
    pub truncation: Option<u8>,
}

impl Delimiters {
    /// The recommended set `|^~\&`, for messages that are made from nothing.
    pub const STANDARD: Self = Self {
        field: b'|',
        component: b'^',
        repetition: Some(b'~'),
        escape: Some(b'\\'),
        subcomponent: Some(b'&'),
        truncation: None,
    };

    /// Reads the delimiters of a header segment (`MSH`, `BHS` or `FHS`) that
    /// starts at the first byte of `header`.
    ///
    /// # Errors
    /// [`ParseError::UnusableFieldDelimiter`] or
    /// [`ParseError::UnusableEncodingCharacters`] when the bytes cannot divide
    /// anything: missing, a letter or digit, a control byte, not ASCII, or one
    /// byte used twice.
    pub fn read(header: &[u8]) -> Result<Self, ParseError> {
        let field = *header
            .get(3)
            .filter(|byte| usable(**byte))
            .ok_or(ParseError::UnusableFieldDelimiter)?;
        let encoding = encoding_characters(header, field);
        let undoubled: [u8; 4];
        let characters = match encoding {
            // A header that went through a programming language's string literal.
            [component, repetition, escape, again, subcomponent] if escape == again => {
                undoubled = [*component, *repetition, *escape, *subcomponent];
                undoubled.as_slice()
            }
            _ => encoding.get(..encoding.len().min(5)).unwrap_or_default(),
        };
        let Some(&component) = characters.first() else {
            return Err(ParseError::UnusableEncodingCharacters);
        };
        let mut seen = characters.iter().enumerate();
        let sound = seen.all(|(at, byte)| {
            usable(*byte) && *byte != field && !characters.iter().take(at).any(|b| b == byte)
        });
        if !sound {
            return Err(ParseError::UnusableEncodingCharacters);
        }
        Ok(Self {
            field,
            component,
            repetition: characters.get(1).copied(),
            escape: characters.get(2).copied(),
            subcomponent: characters.get(3).copied(),
            truncation: characters.get(4).copied(),
        })
    }

    /// The bytes of MSH-2, in their order, without MSH-1.
    pub fn encoding_characters(&self) -> impl Iterator<Item = u8> + '_ {
        let rest = [
            self.repetition,
            self.escape,
            self.subcomponent,
            self.truncation,
        ];
        std::iter::once(self.component).chain(rest.into_iter().map_while(|byte| byte))
    }
}

/// MSH-2 as it stands in a header segment whose field delimiter is `field`.
///
/// It ends at the next field delimiter or at the end of the segment; a space
/// at the end of a cut-off header is not a delimiter.
pub(crate) fn encoding_characters(header: &[u8], field: u8) -> &[u8] {
    let after = header.get(4..).unwrap_or_default();
    let end = after
        .iter()
        .position(|byte| *byte == field || *byte == b'\r' || *byte == b'\n')
        .unwrap_or(after.len());
    after.get(..end).unwrap_or_default().trim_ascii_end()
}

fn usable(byte: u8) -> bool {
    byte.is_ascii_graphic() && !byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_delimiters_are_taken_from_the_header() {
        let delimiters = Delimiters::read(b"MSH$%*@!$LAB").unwrap();
        assert_eq!(delimiters.field, b'$');
        assert_eq!(delimiters.component, b'%');
        assert_eq!(delimiters.repetition, Some(b'*'));
        assert_eq!(delimiters.escape, Some(b'@'));
        assert_eq!(delimiters.subcomponent, Some(b'!'));
        assert_eq!(delimiters.truncation, None);
    }

    #[test]
    fn truncation_character_of_2_7_is_the_fifth() {
        let delimiters = Delimiters::read(b"MSH|^~\\&#|LAB").unwrap();
        assert_eq!(delimiters.truncation, Some(b'#'));
        let bytes: Vec<u8> = delimiters.encoding_characters().collect();
        assert_eq!(bytes, b"^~\\&#");
    }

    #[test]
    fn short_encoding_characters_leave_the_rest_undefined() {
        let delimiters = Delimiters::read(b"MSH|^~|LAB").unwrap();
        assert_eq!(delimiters.repetition, Some(b'~'));
        assert_eq!(delimiters.escape, None);
        assert_eq!(delimiters.subcomponent, None);
    }

    #[test]
    fn a_doubled_escape_character_counts_once() {
        let delimiters = Delimiters::read(b"MSH|^~\\\\&|LAB").unwrap();
        assert_eq!(delimiters, Delimiters::STANDARD);
    }

    #[test]
    fn unusable_delimiters_are_refused() {
        let field: [&[u8]; 5] = [b"MSH", b"MSHA^~\\&", b"MSH ^~", b"MSH\r", b"MSH\xA6^~"];
        for header in field {
            let error = Delimiters::read(header).unwrap_err();
            assert_eq!(error, ParseError::UnusableFieldDelimiter);
        }
        let encoding: [&[u8]; 5] = [
            b"MSH|",
            b"MSH||A",
            b"MSH|^^\\&|",
            b"MSH|^~A&|",
            b"MSH|\xC2\xA6|",
        ];
        for header in encoding {
            let error = Delimiters::read(header).unwrap_err();
            assert_eq!(error, ParseError::UnusableEncodingCharacters);
        }
    }
}
