//! The primitive types (<https://hl7.org/fhir/R4/datatypes.html#primitive>): which they are, and whether a text is one.
//!
//! The checks accept what the published regular expressions accept, and refuse beyond them what cannot be meant:
//! 31 February, an integer that does not fit 32 bits, base64 with the padding in the middle.

use std::cmp::Ordering;

use crate::tree::is_json_number;

mod moment;

/// The primitive types of R4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the standard's own")]
pub enum Primitive {
    Base64Binary,
    Boolean,
    Canonical,
    Code,
    Date,
    DateTime,
    Decimal,
    Id,
    Instant,
    Integer,
    Markdown,
    Oid,
    PositiveInt,
    String,
    Time,
    UnsignedInt,
    Uri,
    Url,
    Uuid,
    Xhtml,
}

/// What JSON value a primitive is (<https://hl7.org/fhir/R4/json.html#primitive>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonForm {
    /// A JSON string.
    String,
    /// A JSON number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// Why a text is not a value of a primitive type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrimitiveError {
    /// No value is empty; an element without one is left out.
    #[error("empty value")]
    Empty,
    /// Longer than the type allows: 64 characters for an id, 1 MiB for a string.
    #[error("value longer than the type allows")]
    TooLong,
    /// A control character other than tab, line feed and carriage return.
    #[error("control character in the value")]
    ControlCharacter,
    /// Not in the form of the type; see [`Primitive::form`].
    #[error("not in the form of the type")]
    Form,
    /// In form, but no such day or hour, or a number out of the type's range.
    #[error("no such day, or a number out of range")]
    Range,
}

/// `string` has at most so many characters.
const STRING_MAX: usize = 1024 * 1024;

impl Primitive {
    /// The type of that name (`dateTime`).
    pub fn from_name(name: &str) -> Option<Primitive> {
        ALL.iter()
            .find(|(_, found, _)| *found == name)
            .map(|(primitive, _, _)| *primitive)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What a value must look like, for a message.
    pub fn form(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (Primitive, &'static str, &'static str) {
        ALL.iter()
            .copied()
            .find(|(primitive, _, _)| *primitive == self)
            .unwrap_or((self, "", ""))
    }

    /// What JSON value carries it.
    pub fn json_form(self) -> JsonForm {
        match self {
            Primitive::Boolean => JsonForm::Boolean,
            Primitive::Decimal
            | Primitive::Integer
            | Primitive::PositiveInt
            | Primitive::UnsignedInt => JsonForm::Number,
            _ => JsonForm::String,
        }
    }
}

const ALL: &[(Primitive, &str, &str)] = &[
    (Primitive::Base64Binary, "base64Binary", "base64"),
    (Primitive::Boolean, "boolean", "true or false"),
    (
        Primitive::Canonical,
        "canonical",
        "an address without white space",
    ),
    (
        Primitive::Code,
        "code",
        "a code without leading, trailing or double spaces",
    ),
    (Primitive::Date, "date", "YYYY, YYYY-MM or YYYY-MM-DD"),
    (
        Primitive::DateTime,
        "dateTime",
        "YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with a zone",
    ),
    (Primitive::Decimal, "decimal", "a decimal number"),
    (
        Primitive::Id,
        "id",
        "1 to 64 letters, digits, hyphens and full stops",
    ),
    (
        Primitive::Instant,
        "instant",
        "YYYY-MM-DDThh:mm:ss with a zone",
    ),
    (Primitive::Integer, "integer", "a whole number of 32 bits"),
    (Primitive::Markdown, "markdown", "text"),
    (Primitive::Oid, "oid", "urn:oid: and an OID"),
    (
        Primitive::PositiveInt,
        "positiveInt",
        "a whole number from 1 to 2147483647",
    ),
    (Primitive::String, "string", "text"),
    (Primitive::Time, "time", "hh:mm:ss"),
    (
        Primitive::UnsignedInt,
        "unsignedInt",
        "a whole number from 0 to 2147483647",
    ),
    (Primitive::Uri, "uri", "an address without white space"),
    (Primitive::Url, "url", "an address without white space"),
    (
        Primitive::Uuid,
        "uuid",
        "urn:uuid: and a UUID in lower case",
    ),
    (Primitive::Xhtml, "xhtml", "a div of XHTML"),
];

/// Checks a value as it stands in the JSON: the content of a string, the digits of a number, `true` or `false`.
pub fn check(primitive: Primitive, text: &str) -> Result<(), PrimitiveError> {
    if text.is_empty() {
        return Err(PrimitiveError::Empty);
    }
    match primitive {
        Primitive::String | Primitive::Markdown => plain_text(text),
        Primitive::Uri | Primitive::Url | Primitive::Canonical => form(!has_space(text)),
        Primitive::Code => form(is_code(text)),
        Primitive::Id => id(text),
        Primitive::Boolean => form(matches!(text, "true" | "false")),
        Primitive::Decimal => form(is_json_number(text)),
        Primitive::Integer => integer(text, i64::from(i32::MIN)),
        Primitive::UnsignedInt => integer(text, 0),
        Primitive::PositiveInt => integer(text, 1),
        Primitive::Date => moment::date(text),
        Primitive::DateTime => moment::date_time(text),
        Primitive::Instant => moment::instant(text),
        Primitive::Time => moment::time(text),
        Primitive::Oid => form(text.strip_prefix("urn:oid:").is_some_and(is_oid)),
        Primitive::Uuid => form(text.strip_prefix("urn:uuid:").is_some_and(is_uuid)),
        Primitive::Base64Binary => form(is_base64(text)),
        Primitive::Xhtml => form(is_div(text)),
    }
}

/// Which of two dates, dateTimes or instants is earlier. `None` when that is not sure (`2024` and `2024-02`, or a day and
/// a moment with a zone) or one of them is no date.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    moment::compare(a, b)
}

fn form(right: bool) -> Result<(), PrimitiveError> {
    if right {
        Ok(())
    } else {
        Err(PrimitiveError::Form)
    }
}

/// The regular expressions' `\s`.
fn is_space(byte: u8) -> bool {
    byte == b' ' || byte.wrapping_sub(b'\t') <= b'\r' - b'\t'
}

fn has_space(text: &str) -> bool {
    // No early end: this is a vector operation over the whole.
    text.bytes().fold(false, |any, byte| any | is_space(byte))
}

fn plain_text(text: &str) -> Result<(), PrimitiveError> {
    // A byte is at least as much as a character, so the count is rarely needed.
    if text.len() > STRING_MAX && text.chars().count() > STRING_MAX {
        return Err(PrimitiveError::TooLong);
    }
    // No early end: this is a vector operation over the whole.
    let control = text.bytes().fold(false, |any, byte| {
        any | (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r'))
    });
    if control {
        Err(PrimitiveError::ControlCharacter)
    } else {
        Ok(())
    }
}

fn is_code(text: &str) -> bool {
    if !has_space(text) {
        return !text.is_empty();
    }
    let mut before = true;
    for byte in text.bytes() {
        let space = is_space(byte);
        if space && before {
            return false;
        }
        before = space;
    }
    !before
}

fn id(text: &str) -> Result<(), PrimitiveError> {
    form(
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')),
    )?;
    if text.len() > 64 {
        Err(PrimitiveError::TooLong)
    } else {
        Ok(())
    }
}

fn integer(text: &str, least: i64) -> Result<(), PrimitiveError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    form(
        !digits.is_empty()
            && !leading_zero
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && text != "-0",
    )?;
    match text.parse::<i64>() {
        Ok(value) if (least..=i64::from(i32::MAX)).contains(&value) => Ok(()),
        _ => Err(PrimitiveError::Range),
    }
}

/// `[0-2](\.(0|[1-9][0-9]*))+`
fn is_oid(text: &str) -> bool {
    let mut arcs = text.split('.');
    let first = matches!(arcs.next(), Some("0" | "1" | "2"));
    let mut count = 0;
    let rest = arcs.all(|arc| {
        count += 1;
        arc == "0"
            || (!arc.is_empty()
                && !arc.starts_with('0')
                && arc.bytes().all(|byte| byte.is_ascii_digit()))
    });
    first && rest && count > 0
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// Groups of four with white space between or inside; `=` only at the end, at most two.
fn is_base64(text: &str) -> bool {
    let (mut digits, mut padding) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            b'=' => padding += 1,
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => return false,
        }
    }
    digits > 0 && padding <= 2 && (digits + padding) % 4 == 0
}

/// One `div` element; what may be inside is the business of who makes narratives.
fn is_div(text: &str) -> bool {
    let text = text.trim();
    let opened = text
        .strip_prefix("<div")
        .is_some_and(|rest| rest.starts_with(['>', ' ', '\t', '\n', '\r']));
    opened && text.ends_with("</div>")
}

#[cfg(test)]
mod tests;
