//! What the helpers of the templates do, as functions of texts.

use std::borrow::Cow;

use fhir::primitive::Primitive;
use fhir::tree::is_json_number;
use handlebars::Handlebars;

use super::moment::{Moment, convert};
use super::slot::decimal;
pub(crate) use super::span::read as step;

/// Comparator and number of `<5`, `>= 40`, `3.5`; the number has the digits of the text.
pub(crate) fn quantity(text: &str) -> Option<(&'static str, Cow<'_, str>)> {
    if is_json_number(text) {
        return Some(("", Cow::Borrowed(text)));
    }
    let text = text.trim();
    let (comparator, rest) = if let Some(rest) = text
        .strip_prefix("<=")
        .or_else(|| text.strip_prefix("=<"))
        .or_else(|| text.strip_prefix('≤'))
    {
        ("<=", rest)
    } else if let Some(rest) = text
        .strip_prefix(">=")
        .or_else(|| text.strip_prefix("=>"))
        .or_else(|| text.strip_prefix('≥'))
    {
        (">=", rest)
    } else if let Some(rest) = text.strip_prefix('<') {
        ("<", rest)
    } else if let Some(rest) = text.strip_prefix('>') {
        (">", rest)
    } else {
        ("", text.strip_prefix('=').unwrap_or(text))
    };
    let rest = rest.trim();
    let starts = rest.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    let number = match with_decimal_point(rest) {
        Some(pointed) => Cow::Owned(decimal(&pointed).into_owned()),
        None => decimal(rest),
    };
    (starts && rest.bytes().any(|b| b.is_ascii_digit()) && is_json_number(&number))
        .then_some((comparator, number))
}

/// A number with a decimal comma, with a point: `1,5`. What may as well be thousands (`1,500`) is no such number.
fn with_decimal_point(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once(',')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = whole.trim_start_matches(['+', '-']);
    let decimal = fraction.len() != 3 || unsigned.bytes().all(|b| b == b'0');
    (digits(unsigned) && digits(fraction) && decimal).then(|| format!("{whole}.{fraction}"))
}

/// Whether the text is a ratio of two numbers, as titres are: `1:40`, `<1:8`.
pub(crate) fn is_ratio(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(numerator, denominator)| {
            quantity(numerator).is_some() && plain_number(denominator).is_some()
        })
}

/// A reference range without the sex it is for: `M: 13-17`, `female 12-15`.
fn for_anybody(text: &str) -> &str {
    let word = text.split([':', ' ']).next().unwrap_or_default();
    let sexed = ["m", "f", "male", "female"]
        .iter()
        .any(|sex| word.eq_ignore_ascii_case(sex));
    let rest = text.get(word.len()..).unwrap_or_default();
    if sexed {
        rest.trim_start_matches([':', ' '])
    } else {
        text
    }
}

/// Low and high of a reference range: `3.5-5.1`, `3.5 - 5.1`, `<200`, `>=40`, `0.5 to 1.5`, `M: 13-17`.
pub(crate) fn range(text: &str) -> (Option<Cow<'_, str>>, Option<Cow<'_, str>>) {
    let text = for_anybody(text.trim());
    if let Some((comparator, number)) = quantity(text) {
        let number = Some(number);
        return match comparator {
            "<" | "<=" => (None, number),
            ">" | ">=" => (number, None),
            _ => (None, None),
        };
    }
    let split = |at: usize, width: usize| {
        let (low, high) = (text.get(..at)?, text.get(at + width..)?);
        Some((Some(plain_number(low)?), Some(plain_number(high)?)))
    };
    // The first `-` after a digit divides; a minus sign in front of the low end does not.
    let dash = text.char_indices().skip(1).find(|(at, c)| {
        matches!(c, '-' | '–')
            && text
                .get(..*at)
                .is_some_and(|low| low.trim_end().ends_with(|c: char| c.is_ascii_digit()))
    });
    dash.and_then(|(at, c)| split(at, c.len_utf8()))
        .or_else(|| text.find(" to ").and_then(|at| split(at, 4)))
        .unwrap_or((None, None))
}

/// The number of a text without a comparator.
fn plain_number(text: &str) -> Option<Cow<'_, str>> {
    quantity(text)
        .filter(|(comparator, _)| comparator.is_empty())
        .map(|(_, number)| number)
}

/// Whether the text is an OID that somebody can have been given: four arcs or more, or three below 2.999, the arc for examples. Above that
/// are only the standards' bodies and whole countries; `1.2.3` is a number of a local list.
pub(crate) fn is_oid(text: &str) -> bool {
    if !matches!(text.as_bytes(), [b'0'..=b'2', b'.', ..]) {
        return false;
    }
    let mut parts = text.split('.');
    let arc = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'))
    };
    matches!(parts.next(), Some("0" | "1" | "2"))
        && text.bytes().filter(|b| *b == b'.').count()
            >= if text.starts_with("2.999.") { 2 } else { 3 }
        && parts.all(arc)
}

/// Whether the text is an absolute address.
pub(crate) fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    !rest.is_empty()
        && scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && !text.contains(char::is_whitespace)
        && (rest.starts_with("//") || matches!(scheme, "urn" | "mailto" | "tel"))
}

/// The part of a URN made of a local name: what a URN can't hold is percent-encoded.
pub(crate) fn urn_part(out: &mut String, text: &str) {
    for byte in text.trim().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(
                    char::from_digit(u32::from(nibble), 16)
                        .unwrap_or('0')
                        .to_ascii_uppercase(),
                );
            }
        }
    }
}

pub(crate) fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// `substring PATH start length`, counted in characters from 1.
pub(crate) fn substring(text: &str, start: &str, length: Option<&str>) -> String {
    let start = start.parse::<usize>().unwrap_or(1).saturating_sub(1);
    let length = length
        .and_then(|length| length.parse().ok())
        .unwrap_or(usize::MAX);
    text.chars().skip(start).take(length).collect()
}

pub(crate) fn moment(
    primitive: Primitive,
    text: &str,
    zone: Option<&jiff::tz::TimeZone>,
) -> Option<String> {
    match convert(primitive, text, zone) {
        Moment::Value(value) | Moment::CutToDate(value) => Some(value),
        Moment::NoValue | Moment::Bad => None,
    }
}

/// One unit struct a helper, named apart from the functions here.
mod registered {
    use fhir::primitive::Primitive;
    use handlebars::handlebars_helper;

    use super::{digits, moment, quantity};

    handlebars_helper!(Upper: |text: String| text.to_uppercase());
    handlebars_helper!(Lower: |text: String| text.to_lowercase());
    handlebars_helper!(Trim: |text: String| text.trim().to_owned());
    handlebars_helper!(OnlyDigits: |text: String| digits(&text));
    handlebars_helper!(Number: |text: String| quantity(&text).map(|(_, number)| number.into_owned()).unwrap_or_default());
    handlebars_helper!(Comparator: |text: String| quantity(&text).map(|(comparator, _)| comparator.to_owned()).unwrap_or_default());
    handlebars_helper!(Date: |text: String| moment(Primitive::Date, &text, None).unwrap_or_default());
    handlebars_helper!(Valued: |text: String| !text.is_empty());
}

/// The names of the helpers that [`register`] adds.
pub(crate) const REGISTERED: &[&str] = &[
    "upper",
    "lower",
    "trim",
    "digits",
    "number",
    "comparator",
    "date",
    "valued",
];

/// The helpers for what stays a Handlebars template.
pub(crate) fn register(registry: &mut Handlebars<'static>) {
    registry.register_helper("upper", Box::new(registered::Upper));
    registry.register_helper("lower", Box::new(registered::Lower));
    registry.register_helper("trim", Box::new(registered::Trim));
    registry.register_helper("digits", Box::new(registered::OnlyDigits));
    registry.register_helper("number", Box::new(registered::Number));
    registry.register_helper("comparator", Box::new(registered::Comparator));
    registry.register_helper("date", Box::new(registered::Date));
    registry.register_helper("valued", Box::new(registered::Valued));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_a_comparator_and_keep_digits() {
        for (text, comparator, number) in [
            ("<5", "<", "5"),
            (">= 40.0", ">=", "40.0"),
            ("3.50", "", "3.50"),
            ("=7", "", "7"),
            ("≤1", "<=", "1"),
        ] {
            assert_eq!(
                quantity(text),
                Some((comparator, Cow::Borrowed(number))),
                "{text}"
            );
        }
        for text in ["", "positive", "<", "1-2", "5 mg", "1,500"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    #[test]
    fn ranges() {
        let both = |low: &'static str, high: &'static str| (Some(low.into()), Some(high.into()));
        assert_eq!(range("3.5-5.1"), both("3.5", "5.1"));
        assert_eq!(range(" 3.5 - 5.10 "), both("3.5", "5.10"));
        assert_eq!(range("-2-3"), both("-2", "3"));
        assert_eq!(range("-3--1"), both("-3", "-1"));
        assert_eq!(range("0.5 to 1.5"), both("0.5", "1.5"));
        assert_eq!(range("<200"), (None, Some("200".into())));
        assert_eq!(range(">=40"), (Some("40".into()), None));
        assert_eq!(range("3,5-5,1"), both("3.5", "5.1"));
        assert_eq!(range("M: 13-17"), both("13", "17"));
        assert_eq!(range("female 12.0 - 15.5"), both("12.0", "15.5"));
        assert_eq!(range("F:<5"), (None, Some("5".into())));
        for text in [
            "negative",
            "7",
            "",
            "1-2-3",
            "a-b",
            "M: 13-17, F: 12-15",
            "M",
            "mild 1-2",
        ] {
            assert_eq!(range(text), (None, None), "{text}");
        }
    }

    #[test]
    fn decimal_commas_and_ratios() {
        let number =
            |text| quantity(text).map(|(comparator, number)| format!("{comparator}{number}"));
        for (text, value) in [
            ("1,5", "1.5"),
            ("<0,05", "<0.05"),
            ("0,125", "0.125"),
            ("-2,75", "-2.75"),
            ("12,3456", "12.3456"),
        ] {
            assert_eq!(number(text).as_deref(), Some(value), "{text}");
        }
        for text in [
            "1,500", "12,345", "1,2,3", "1,", ",5", "1,5a", "+++", "1:40", "3-5",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
        for (text, ratio) in [
            ("1:40", true),
            ("<1:8", true),
            ("1 : 1280", true),
            ("1:", false),
            ("1:<8", false),
            ("1:2:3", false),
            ("1/40", false),
        ] {
            assert_eq!(is_ratio(text), ratio, "{text}");
        }
    }

    #[test]
    fn oids_and_uris() {
        assert!(
            is_oid("2.16.840.1.113883.4.1")
                && !is_oid("2")
                && !is_oid("2..1")
                && !is_oid("3.1")
                && !is_oid("1.02.3.4")
                && !is_oid("1.23")
                && !is_oid("1.2.3")
                && is_oid("1.2.276.0")
                && is_oid("2.999.1")
        );
        assert!(
            is_uri("http://x.org/a")
                && is_uri("urn:oid:1.2")
                && !is_uri("L")
                && !is_uri("a b:c")
                && !is_uri("99:LAB")
        );
        let mut out = String::new();
        urn_part(&mut out, "ST. ELSE/1:ß");
        assert_eq!(out, "ST.%20ELSE%2F1%3A%C3%9F");
    }
}
