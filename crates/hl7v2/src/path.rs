//! Paths to values: `PID-5.1`, `PID-3(2).4.2`, `OBX(3)-5`.
//!
//! All numbers count from 1, as in the standard's own text.

use std::fmt;
use std::str::FromStr;

/// What to look for in a message, from a segment down to a subcomponent.
///
/// A level that is not given is the first one: without an occurrence the first
/// segment of that name, without a repetition the first repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// Name of the segment, three ASCII letters or digits.
    pub segment: [u8; 3],
    /// Which of the segments of that name, 1 for the first.
    pub occurrence: Option<u32>,
    /// Field number, 1 for the first; `None` means the whole segment.
    pub field: Option<u16>,
    /// Repetition of the field.
    pub repetition: Option<u16>,
    /// Component of the repetition.
    pub component: Option<u16>,
    /// Subcomponent of the component.
    pub subcomponent: Option<u16>,
}

/// A path that does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected} expected at column {column}")]
pub struct PathError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What could stand there.
    pub expected: &'static str,
}

impl Path {
    /// The path to one field, `Path::field(b"PID", 5)`.
    #[must_use]
    pub const fn field(segment: &[u8; 3], field: u16) -> Self {
        Self {
            segment: *segment,
            occurrence: None,
            field: Some(field),
            repetition: None,
            component: None,
            subcomponent: None,
        }
    }

    /// Name of the segment as text.
    #[must_use]
    pub fn segment_name(&self) -> &str {
        std::str::from_utf8(&self.segment).unwrap_or("???")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.segment_name())?;
        if let Some(occurrence) = self.occurrence.filter(|number| *number > 1) {
            write!(f, "({occurrence})")?;
        }
        let Some(field) = self.field else {
            return Ok(());
        };
        write!(f, "-{field}")?;
        if let Some(repetition) = self.repetition.filter(|number| *number > 1) {
            write!(f, "({repetition})")?;
        }
        if let Some(component) = self.component {
            write!(f, ".{component}")?;
            if let Some(subcomponent) = self.subcomponent {
                write!(f, ".{subcomponent}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let mut reader = Reader { text, at: 0 };
        let segment = reader.segment()?;
        let mut path = Self {
            segment,
            occurrence: reader.in_parentheses()?,
            field: None,
            repetition: None,
            component: None,
            subcomponent: None,
        };
        if reader.accept(b'-') {
            path.field = Some(reader.number()?);
            path.repetition = reader.in_parentheses()?;
            if reader.accept(b'.') {
                path.component = Some(reader.number()?);
            }
            if path.component.is_some() && reader.accept(b'.') {
                path.subcomponent = Some(reader.number()?);
            }
        }
        let expected = match path {
            Self { field: None, .. } => "'-' or the end",
            Self {
                subcomponent: None, ..
            } => "'.' or the end",
            _ => "the end",
        };
        if reader.peek().is_some() {
            return Err(reader.error(expected));
        }
        Ok(path)
    }
}

// === impl Reader ===

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn error(&self, expected: &'static str) -> PathError {
        // All that was read so far is ASCII, so bytes are characters.
        PathError {
            column: self.at + 1,
            expected,
        }
    }

    fn segment(&mut self) -> Result<[u8; 3], PathError> {
        let mut name = [0; 3];
        for slot in &mut name {
            *slot = self
                .peek()
                .filter(u8::is_ascii_alphanumeric)
                .ok_or_else(|| self.error("a segment name of three letters or digits"))?;
            self.at += 1;
        }
        Ok(name)
    }

    fn in_parentheses<N: FromStr>(&mut self) -> Result<Option<N>, PathError> {
        if !self.accept(b'(') {
            return Ok(None);
        }
        let number = self.number()?;
        if !self.accept(b')') {
            return Err(self.error("')'"));
        }
        Ok(Some(number))
    }

    fn number<N: FromStr>(&mut self) -> Result<N, PathError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = rest.get(..digits).unwrap_or_default();
        if digits.is_empty() || digits.starts_with('0') {
            return Err(self.error("a number from 1"));
        }
        let number = digits.parse().map_err(|_| self.error("a smaller number"))?;
        self.at += digits.len();
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_they_were_read() {
        for text in [
            "PID",
            "PID-5",
            "PID-5.1",
            "PID-3(2).4.2",
            "OBX(3)-5",
            "ZL1(12)-40(7).65535.1",
        ] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
        let first = "OBX(1)-5(1).1".parse::<Path>().unwrap();
        assert_eq!(first.to_string(), "OBX-5.1");
    }

    #[test]
    fn errors_name_the_column_and_what_was_expected() {
        for (text, column) in [
            ("", 1),
            ("PI", 3),
            ("P\u{e9}D-1", 2),
            ("PID5", 4),
            ("PID-", 5),
            ("PID-0", 5),
            ("PID-5.", 7),
            ("PID-5(2", 8),
            ("PID-5.1.2.3", 10),
            ("PID-99999", 5),
            ("PID(0)-1", 5),
            ("PID-5 ", 6),
        ] {
            let error = text.parse::<Path>().unwrap_err();
            assert_eq!(error.column, column, "{text}");
        }
        let error = "PID-".parse::<Path>().unwrap_err();
        assert_eq!(error.to_string(), "a number from 1 expected at column 5");
    }
}
