//! Rows as they come from either database.

use super::Value;

/// One row of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

// === impl Row ===

impl Row {
    /// A number; 0 where there is none.
    pub(crate) fn integer(&self, column: usize) -> i64 {
        self.optional(column).unwrap_or(0)
    }

    /// A number, where there is one.
    pub(crate) fn optional(&self, column: usize) -> Option<i64> {
        match self.0.get(column) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// Text; "" where there is none.
    pub(crate) fn text(&self, column: usize) -> String {
        self.optional_text(column).unwrap_or_default()
    }

    /// Text, where there is some.
    pub(crate) fn optional_text(&self, column: usize) -> Option<String> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    /// Bytes, where there are some.
    pub(crate) fn blob(&self, column: usize) -> Option<&[u8]> {
        match self.0.get(column) {
            Some(Value::Blob(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// JSON text as what it stands for; nothing where it cannot be read, so that a list never fails because of
    /// one record.
    pub(crate) fn json<T: serde::de::DeserializeOwned + Default>(&self, column: usize) -> T {
        match self.0.get(column) {
            Some(Value::Text(text)) => serde_json::from_str(text).unwrap_or_default(),
            _ => T::default(),
        }
    }
}

// === impl Value ===

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(storable(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(storable(&text))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// PostgreSQL takes no NUL in a text; a control character of its own stands for it.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

/// Bytes as text for a JSON parameter.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

/// What [`hex`] made; nothing where it is damaged.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|pair| {
            let text = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(text, 16).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_comes_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }
}
