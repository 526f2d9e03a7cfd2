//! Writes the segments of an acknowledgement, in the delimiters and the
//! character set of the message that it answers.

use super::{AckCode, AckError};
use crate::charset::{Charset, CharsetSource};
use crate::delimiters::Delimiters;
use crate::escape;
use crate::header::Header;
use crate::version::Version;

/// What is written without a message to go by.
pub(super) const UTF_8: Charset = Charset {
    encoding: encoding_rs::UTF_8,
    source: CharsetSource::Valid,
};

/// Appends segments in the way of one message.
pub(super) struct Writer {
    pub(super) out: Vec<u8>,
    pub(super) delimiters: Delimiters,
    pub(super) charset: Charset,
}

// === impl Writer ===

impl Writer {
    pub(super) fn start(&mut self, segment: &str) {
        self.out.extend_from_slice(segment.as_bytes());
    }

    /// Ends the segment; empty fields at its end are left out.
    pub(super) fn end(&mut self) {
        while self.out.last() == Some(&self.delimiters.field) {
            self.out.pop();
        }
        self.out.push(b'\r');
    }

    /// A field as it is to be written.
    pub(super) fn raw_field(&mut self, bytes: &[u8]) {
        self.out.push(self.delimiters.field);
        self.out.extend_from_slice(bytes);
    }

    /// A field of one value.
    pub(super) fn field(&mut self, text: &str) {
        self.raw_field(b"");
        self.text(text);
    }

    fn text(&mut self, text: &str) {
        let before = self.out.len();
        if escape::encode(text, &self.delimiters, self.charset, &mut self.out).is_err() {
            // without an escape character, or outside the character set: what can be said in plain ASCII
            self.out.truncate(before);
            let delimiters = self.delimiters;
            let special = |byte: u8| {
                byte == delimiters.field
                    || byte == delimiters.component
                    || [
                        delimiters.repetition,
                        delimiters.escape,
                        delimiters.subcomponent,
                    ]
                    .contains(&Some(byte))
            };
            let plain = text.chars().map(|c| match u8::try_from(c) {
                Ok(byte) if byte.is_ascii_graphic() && !special(byte) => byte,
                Ok(byte) if byte.is_ascii() => b' ',
                _ => b'?',
            });
            self.out.extend(plain);
        }
    }

    /// Components; those that are empty at the end are left out.
    fn components(&mut self, texts: &[&str]) {
        let delimiter = self.delimiters.component;
        self.joined(texts, delimiter);
    }

    fn joined(&mut self, texts: &[&str], delimiter: u8) {
        let end = texts
            .iter()
            .rposition(|text| !text.is_empty())
            .map_or(0, |last| last + 1);
        for (position, text) in texts.iter().take(end).enumerate() {
            if position > 0 {
                self.out.push(delimiter);
            }
            self.text(text);
        }
    }

    /// MSH-9: `ACK` up to 2.3, `ACK^A01` in 2.3.1, `ACK^A01^ACK` from 2.4 on.
    pub(super) fn message_type(&mut self, header: &Header<'_>, version: Version) {
        let event = header.segment().field(9).child(2).raw();
        self.raw_field(b"ACK");
        if event.is_empty() || version < Version::V2_3_1 {
            return;
        }
        self.out.push(self.delimiters.component);
        self.out.extend_from_slice(event);
        if version >= Version::V2_4 {
            self.out.push(self.delimiters.component);
            self.out.extend_from_slice(b"ACK");
        }
    }

    pub(super) fn acknowledgement(
        &mut self,
        code: AckCode,
        control_id: &[u8],
        version: Version,
        error: Option<&AckError<'_>>,
    ) {
        self.start("MSA");
        self.raw_field(code.as_str().as_bytes());
        self.raw_field(control_id);
        let error = error.filter(|_| !code.is_positive());
        if let Some(error) = error.filter(|_| version < Version::V2_7) {
            // MSA-3 is withdrawn in 2.7; before, it is what many senders show
            self.field(error.text);
            if version >= Version::V2_3 && version < Version::V2_5 {
                let code = error.code.in_version(version);
                self.raw_field(b"");
                self.raw_field(b"");
                self.raw_field(b"");
                self.components(&[code.as_str(), code.text(), "HL70357"]);
            }
        }
        self.end();
    }

    pub(super) fn errors(&mut self, errors: &[AckError<'_>], version: Version) {
        if errors.is_empty() {
            return;
        }
        if version >= Version::V2_5 {
            for error in errors {
                self.error(error, version);
            }
            return;
        }
        self.start("ERR");
        self.raw_field(b"");
        for (position, error) in errors.iter().enumerate() {
            if position > 0 {
                let Some(repetition) = self.delimiters.repetition else {
                    break;
                };
                self.out.push(repetition);
            }
            self.old_error(error, version);
        }
        self.end();
    }

    /// ERR from 2.5 on: location (ERL), code (CWE), severity, text for the user.
    fn error(&mut self, error: &AckError<'_>, version: Version) {
        let code = error.code.in_version(version);
        self.start("ERR");
        self.raw_field(b"");
        self.raw_field(b"");
        if let Some(place) = &error.place {
            let number =
                |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
            let numbers = [
                Some(place.occurrence),
                place.field,
                place.repetition,
                place.component,
                place.subcomponent,
            ]
            .map(number);
            let mut texts = vec![place.segment_name()];
            texts.extend(numbers.iter().map(String::as_str));
            self.components(&texts);
        }
        self.raw_field(b"");
        self.components(&[code.as_str(), code.text(), "HL70357"]);
        self.field(error.severity.as_str());
        self.raw_field(b"");
        self.raw_field(b"");
        self.raw_field(b"");
        self.field(error.text);
        self.end();
    }

    /// ERR-1 up to 2.4 (ELD): segment, its number, field, and the code with its parts as subcomponents.
    fn old_error(&mut self, error: &AckError<'_>, version: Version) {
        let code = error.code.in_version(version);
        let component = self.delimiters.component;
        if let Some(place) = &error.place {
            let field = place
                .field
                .map(|field| field.to_string())
                .unwrap_or_default();
            self.joined(
                &[place.segment_name(), &place.occurrence.to_string()],
                component,
            );
            self.out.push(component);
            self.text(&field);
            self.out.push(component);
        } else {
            self.out.extend([component; 3]);
        }
        match self.delimiters.subcomponent {
            Some(delimiter) => self.joined(&[code.as_str(), code.text(), "HL70357"], delimiter),
            None => self.text(code.as_str()),
        }
    }
}
