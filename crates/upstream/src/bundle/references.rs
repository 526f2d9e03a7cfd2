//! References in the text of a resource. What is sent has no white space between its tokens, so `"reference":"` is a
//! member's name and the start of its text wherever it stands: inside a string its quotes would have backslashes.

use std::borrow::Cow;
use std::ops::Range;

const MEMBER: &str = r#""reference":""#;

/// Where each reference's text stands, and the text.
pub(crate) fn all(json: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    json.match_indices(MEMBER).filter_map(|(at, _)| {
        let start = at + MEMBER.len();
        let rest = json.get(start..)?;
        let end = start + rest.find('"')?;
        Some((start..end, json.get(start..end)?))
    })
}

/// The text with the references that `by` has another text for. Such a text must need no escape.
pub(crate) fn replace<'a, 'n>(json: &'a str, by: impl Fn(&str) -> Option<&'n str>) -> Cow<'a, str> {
    let mut out = String::new();
    let mut copied = 0;
    for (place, reference) in all(json) {
        if let Some(other) = by(reference) {
            out.push_str(json.get(copied..place.start).unwrap_or_default());
            out.push_str(other);
            copied = place.end;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(json.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// The text with references to these places left out: the element stays, and says only the type of what it refers to.
/// For one half of a circle, until the other half has its id.
pub(crate) fn logical<'a, 'n>(
    json: &'a str,
    type_of: impl Fn(&str) -> Option<&'n str>,
) -> Cow<'a, str> {
    let found: Vec<(String, &str)> = all(json)
        .filter_map(|(_, reference)| Some((reference.to_owned(), type_of(reference)?)))
        .collect();
    if found.is_empty() {
        return Cow::Borrowed(json);
    }
    let mut text = json.to_owned();
    for (reference, type_name) in found {
        let member = format!("{MEMBER}{reference}\"");
        text = text
            .replace(
                &format!("{{{member}}}"),
                &format!(r#"{{"type":"{type_name}"}}"#),
            )
            .replace(&format!("{member},"), "")
            .replace(&format!(",{member}"), "");
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"a":{"reference":"urn:uuid:1"},"b":[{"reference":"Patient/2","display":"x"}],"c":"\"reference\":\"urn:uuid:1\""}"#;

    #[test]
    fn only_references_are_found() {
        let found: Vec<&str> = all(JSON).map(|(_, text)| text).collect();
        assert_eq!(found, ["urn:uuid:1", "Patient/2"]);
    }

    #[test]
    fn only_references_are_replaced() {
        let by = |text: &str| (text == "urn:uuid:1").then_some("Patient/77");
        assert_eq!(
            replace(JSON, by),
            r#"{"a":{"reference":"Patient/77"},"b":[{"reference":"Patient/2","display":"x"}],"c":"\"reference\":\"urn:uuid:1\""}"#
        );
        assert!(matches!(replace(JSON, |_| None), Cow::Borrowed(JSON)));
    }

    #[test]
    fn a_reference_can_wait() {
        let type_of = |text: &str| match text {
            "urn:uuid:1" => Some("Group"),
            "Patient/2" => Some("Patient"),
            _ => None,
        };
        assert_eq!(
            logical(JSON, type_of),
            r#"{"a":{"type":"Group"},"b":[{"display":"x"}],"c":"\"reference\":\"urn:uuid:1\""}"#
        );
    }
}
