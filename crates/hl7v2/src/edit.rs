//! Changing a message and writing it back, byte for byte the same elsewhere.
//!
//! ```
//! let (message, _) = hl7v2::parse(b"MSH|^~\\&|LAB\rPID|1||4711\r").unwrap();
//! let mut edit = hl7v2::edit::Edit::new(&message);
//! edit.set(&"PID-5.2".parse().unwrap(), "Q&A").unwrap();
//! assert_eq!(edit.to_bytes(), b"MSH|^~\\&|LAB\rPID|1||4711||^Q\\T\\A\r");
//! ```

use std::collections::BTreeMap;

use crate::charset::MultiByte;
use crate::escape::{self, Inexpressible};
use crate::message::Message;
use crate::path::Path;
use crate::segment::Segment;

/// Changes to one message. The message itself stays as it is.
pub struct Edit<'m> {
    message: &'m Message<'m>,
    /// The fields of every segment that was touched, by its position.
    touched: BTreeMap<usize, Vec<Vec<u8>>>,
}

/// Why a change was refused; nothing was changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The message has no such segment.
    #[error("no such segment")]
    NoSegment,
    /// The path names a segment and no field.
    #[error("the path names no field")]
    NoField,
    /// MSH-1 and MSH-2 say how everything else is written, so they cannot change.
    #[error("delimiters cannot be changed")]
    Delimiters,
    /// The path needs a delimiter that MSH-2 does not declare.
    #[error("the message has no delimiter for this level")]
    NoDelimiter,
    /// The text needs escaping, and MSH-2 declares no escape character.
    #[error("the message has no escape character")]
    NoEscape,
    /// A character that the message's character set does not have.
    #[error("character not in the character set of the message")]
    NotInCharset,
}

// === impl Edit ===

impl<'m> Edit<'m> {
    /// Starts without changes.
    #[must_use]
    pub fn new(message: &'m Message<'m>) -> Self {
        Self {
            message,
            touched: BTreeMap::new(),
        }
    }

    /// Sets the node at `path` to a text, escaped and in the character set of
    /// the message. What is missing before it is filled up with delimiters.
    ///
    /// A path without a repetition, component or subcomponent replaces the
    /// whole field, repetition or component.
    ///
    /// # Errors
    /// [`EditError`]; the edit is as before then.
    pub fn set(&mut self, path: &Path, text: &str) -> Result<(), EditError> {
        let mut raw = Vec::with_capacity(text.len());
        let delimiters = self.message.delimiters();
        let charset = self.message.charset();
        escape::encode(text, &delimiters, charset, &mut raw).map_err(|error| match error {
            Inexpressible::Character => EditError::NotInCharset,
            Inexpressible::Delimiter => EditError::NoEscape,
        })?;
        self.set_raw(path, raw)
    }

    /// The same with bytes that are already escaped, encoded and delimited,
    /// for instance `""` or a whole field of another message with the same delimiters.
    ///
    /// # Errors
    /// [`EditError`]; the edit is as before then.
    pub fn set_raw(&mut self, path: &Path, raw: Vec<u8>) -> Result<(), EditError> {
        let field = usize::from(path.field.ok_or(EditError::NoField)?);
        let occurrence = path.occurrence.unwrap_or(1);
        let index = &self.message.index;
        let position = index
            .segments
            .iter()
            .position(|span| span.name == path.segment && span.occurrence == occurrence)
            .ok_or(EditError::NoSegment)?;
        let segment = Segment::new(self.message, position);
        if segment.is_header() && field <= 2 {
            return Err(EditError::Delimiters);
        }
        let levels = self.levels(path)?;
        let fields = self
            .touched
            .entry(position)
            .or_insert_with(|| segment.fields().map(|field| field.raw().to_vec()).collect());
        let multi_byte = self.message.charset().multi_byte();
        change(fields, field, |part| {
            replaced(part, &levels, multi_byte, raw)
        });
        Ok(())
    }

    /// The message with all changes. Bytes of segments that were not touched,
    /// line ends, blanks and framing stand as they came.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = self.message.bytes();
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let mut done = 0;
        for (position, fields) in &self.touched {
            let segment = Segment::new(self.message, *position);
            let start = segment.offset();
            out.extend_from_slice(bytes.get(done..start).unwrap_or_default());
            done = start + segment.raw().len();
            out.extend_from_slice(segment.name().as_bytes());
            // The first field of a header is the delimiter before the second.
            for field in fields.iter().skip(usize::from(segment.is_header())) {
                out.push(self.message.delimiters().field);
                out.extend_from_slice(field);
            }
        }
        out.extend_from_slice(bytes.get(done..).unwrap_or_default());
        out
    }

    /// The delimiters and numbers to descend by inside the field.
    fn levels(&self, path: &Path) -> Result<Vec<(u8, usize)>, EditError> {
        let delimiters = self.message.delimiters();
        // Without a repetition a component is one of the first repetition.
        let repetition = path.repetition.or(path.component.map(|_| 1));
        let all = [
            (delimiters.repetition, repetition),
            (Some(delimiters.component), path.component),
            (delimiters.subcomponent, path.subcomponent),
        ];
        let named = all.into_iter().filter_map(|(delimiter, number)| {
            let number = usize::from(number?);
            match delimiter {
                Some(delimiter) => Some(Ok((delimiter, number))),
                // The first of what cannot be divided is the whole.
                None if number == 1 => None,
                None => Some(Err(EditError::NoDelimiter)),
            }
        });
        named.collect()
    }
}

impl std::fmt::Debug for Edit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edit")
            .field("message", self.message)
            .field("touched", &self.touched.len())
            .finish()
    }
}

/// `bytes` with the part that `levels` lead to replaced by `raw`.
fn replaced(bytes: &[u8], levels: &[(u8, usize)], multi_byte: MultiByte, raw: Vec<u8>) -> Vec<u8> {
    let Some(((delimiter, number), deeper)) = levels.split_first() else {
        return raw;
    };
    let mut parts = divided(bytes, *delimiter, multi_byte);
    change(&mut parts, *number, |part| {
        replaced(part, deeper, multi_byte, raw)
    });
    parts.join(delimiter)
}

/// Splits at every delimiter that is no part of a two-byte character.
fn divided(bytes: &[u8], delimiter: u8, multi_byte: MultiByte) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut start = 0;
    while let Some(at) = escape::find(bytes, start, delimiter, multi_byte) {
        parts.push(bytes.get(start..at).unwrap_or_default().to_vec());
        start = at + 1;
    }
    parts.push(bytes.get(start..).unwrap_or_default().to_vec());
    parts
}

/// Replaces part `number` (from 1), which is made if need be.
fn change(parts: &mut Vec<Vec<u8>>, number: usize, with: impl FnOnce(&[u8]) -> Vec<u8>) {
    let position = number.saturating_sub(1);
    if parts.len() <= position {
        parts.resize_with(position + 1, Vec::new);
    }
    if let Some(part) = parts.get_mut(position) {
        *part = with(part);
    }
}
