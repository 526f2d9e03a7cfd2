//! Paths as they are written: `PID-5.1`, `PID-3(2).4.2`, `CX.4.1`, `CX`.

use super::SyntaxError;
use crate::diagnostic::Code;

/// A path as written. Numbers start at 1; 0 stands for "not said".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathText {
    /// The segment (`PID-5`) or the data type (`CX.4`).
    pub name: String,
    /// Whether `name` is a segment, since a `-` follows it.
    pub segment: bool,
    pub field: u16,
    pub repetition: u16,
    pub component: u16,
    pub subcomponent: u16,
}

impl PathText {
    /// What stands behind the name of a data type: `.4.1`.
    pub fn tail(&self) -> String {
        [self.component, self.subcomponent]
            .into_iter()
            .filter(|part| *part > 0)
            .map(|part| format!(".{part}"))
            .collect()
    }
}

/// Whether a word looks like a path at all, so that a plain word in a condition is a literal.
pub(crate) fn looks_like_path(word: &str) -> bool {
    let name: String = word
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let rest = word.get(name.len()..).unwrap_or_default();
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        && match rest.chars().next() {
            Some('-') => name.len() == 3,
            Some('.') => (2..=3).contains(&name.len()),
            _ => false,
        }
}

/// Reads a path; the whole text must be one.
pub(crate) fn parse(text: &str) -> Result<PathText, SyntaxError> {
    let wrong = |at: usize, message: &str| {
        Err(SyntaxError::new(Code::BadPath, at, format!("`{text}` is not a path: {message}"))
            .help("a path is `PID-5.1`, `PID-3(2).4.2`, or `CX.4.1` for a component of the value being mapped"))
    };
    let name: String = text
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    if name.is_empty()
        || !name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    {
        return wrong(0, "it must start with a segment or data type in capitals");
    }
    let mut at = name.len();
    let mut path = PathText {
        segment: false,
        field: 0,
        repetition: 0,
        component: 0,
        subcomponent: 0,
        name,
    };
    let take_number = |at: &mut usize| -> u16 {
        let digits: String = text
            .get(*at..)
            .unwrap_or_default()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        *at += digits.len();
        digits.parse().unwrap_or(0)
    };
    if text.get(at..).is_some_and(|rest| rest.starts_with('-')) {
        at += 1;
        path.segment = true;
        if path.name.len() != 3 {
            return wrong(0, "a segment has three characters");
        }
        path.field = take_number(&mut at);
        if path.field == 0 {
            return wrong(at, "a field number from 1 follows the `-`");
        }
        if text.get(at..).is_some_and(|rest| rest.starts_with('(')) {
            at += 1;
            path.repetition = take_number(&mut at);
            if path.repetition == 0 || !text.get(at..).is_some_and(|rest| rest.starts_with(')')) {
                return wrong(at, "a repetition is a number from 1 in brackets");
            }
            at += 1;
        }
    }
    for part in 0..2 {
        if !text.get(at..).is_some_and(|rest| rest.starts_with('.')) {
            break;
        }
        at += 1;
        let number = take_number(&mut at);
        if number == 0 {
            return wrong(at, "a component number from 1 follows the `.`");
        }
        if part == 0 {
            path.component = number;
        } else {
            path.subcomponent = number;
        }
    }
    if at != text.len() {
        return wrong(at, "something follows that can't be read");
    }
    if !path.segment
        && path.name.len() == 3
        && path.component == 0
        && hl7v2_segment_only(&path.name)
    {
        return wrong(at, "a segment needs a field, such as `-1`");
    }
    Ok(path)
}

/// Segment names that are no data types, so that `PID` alone is recognised as a slip.
fn hl7v2_segment_only(name: &str) -> bool {
    matches!(
        name,
        "MSH"
            | "PID"
            | "PV1"
            | "PV2"
            | "OBR"
            | "OBX"
            | "ORC"
            | "NTE"
            | "SPM"
            | "EVN"
            | "PD1"
            | "NK1"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let path = parse("PID-3(2).4.2").unwrap();
        assert_eq!(
            (
                path.name.as_str(),
                path.segment,
                path.field,
                path.repetition,
                path.component,
                path.subcomponent
            ),
            ("PID", true, 3, 2, 4, 2)
        );
        let path = parse("CX.4").unwrap();
        assert_eq!((path.segment, path.component), (false, 4));
        assert!(!parse("XCN").unwrap().segment);
    }

    #[test]
    fn says_what_is_wrong() {
        for text in [
            "",
            "pid-3",
            "PID-",
            "PID-0",
            "PID-3(",
            "PID-3(0)",
            "PID-3.0",
            "PID-3.1.2.3",
            "PID-3 ",
            "PI-3",
            "PID",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_code_is_not_taken_for_a_path() {
        assert!(looks_like_path("OBX-2") && looks_like_path("CX.4") && looks_like_path("ZPD-1.2"));
        assert!(!looks_like_path("NM") && !looks_like_path("http://x") && !looks_like_path("A01"));
    }
}
