//! What JSON calls a number.

/// Whether the text is a number by RFC 8259, section 6: `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`.
///
/// ```
/// use fhir::tree::is_json_number;
/// assert!(is_json_number("1.50") && is_json_number("-0") && is_json_number("6.02e23"));
/// assert!(!is_json_number("<5") && !is_json_number("007") && !is_json_number(".5") && !is_json_number("+1"));
/// ```
pub fn is_json_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let bytes = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let (whole, rest) = digits(bytes);
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with(b"0")) {
        return false;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(rest) => match digits(rest) {
            ([], _) => return false,
            (_, rest) => rest,
        },
        None => rest,
    };
    let Some(rest) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) else {
        return rest.is_empty();
    };
    let rest = rest
        .strip_prefix(b"+")
        .or_else(|| rest.strip_prefix(b"-"))
        .unwrap_or(rest);
    let (exponent, rest) = digits(rest);
    !exponent.is_empty() && rest.is_empty()
}

fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(bytes.len());
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

#[cfg(test)]
mod tests {
    use super::is_json_number;

    #[test]
    fn agrees_with_serde_json() {
        for text in [
            "0",
            "-0",
            "1",
            "10",
            "1.50",
            "-1.0",
            "1e5",
            "1E+5",
            "1.2e-3",
            "0.000",
            "12345678901234567890.123456789",
        ] {
            assert!(is_json_number(text), "{text}");
            assert!(serde_json::from_str::<f64>(text).is_ok(), "{text}");
        }
        for text in [
            "", "-", "+1", "01", "-01", "1.", ".5", "1.e5", "1e", "1e+", "0x1", "1 ", " 1", "1,5",
            "NaN", "1.2.3", "<5", "--1",
        ] {
            assert!(!is_json_number(text), "{text}");
            if text.trim() == text {
                assert!(serde_json::from_str::<f64>(text).is_err(), "{text}");
            }
        }
    }
}
