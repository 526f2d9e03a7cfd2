//! Cuts a batch Bundle down to some of its entries without touching a byte of them.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow, default)]
    entry: Vec<&'a RawValue>,
}

/// The number of entries.
pub(crate) fn count(bundle: &[u8]) -> Result<usize, serde_json::Error> {
    Ok(serde_json::from_slice::<Bundle<'_>>(bundle)?.entry.len())
}

/// A batch of the entries at these places (0-based; others are left out), and how many they are.
pub(crate) fn select(bundle: &[u8], places: &[usize]) -> Result<(Bytes, usize), serde_json::Error> {
    let bundle: Bundle<'_> = serde_json::from_slice(bundle)?;
    let chosen: Vec<&str> = places
        .iter()
        .filter_map(|place| bundle.entry.get(*place))
        .map(|entry| entry.get())
        .collect();
    let text = format!(
        r#"{{"resourceType":"Bundle","type":"batch","entry":[{}]}}"#,
        chosen.join(",")
    );
    Ok((text.into(), chosen.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_kept_byte_for_byte() {
        let bundle = br#"{"resourceType":"Bundle","type":"batch","entry":[ {"a":1.50}, {"b" : "]}"},{"c":2}]}"#;
        assert_eq!(count(bundle).unwrap(), 3);
        let (body, sent) = select(bundle, &[0, 1, 9]).unwrap();
        assert_eq!(sent, 2);
        assert_eq!(
            body,
            r#"{"resourceType":"Bundle","type":"batch","entry":[{"a":1.50},{"b" : "]}"}]}"#
        );
    }
}
