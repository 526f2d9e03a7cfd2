//! A Bundle that is to be sent, entry by entry: what each one asks for and which others it refers to. Resources stay the
//! bytes that they are; only references, and what the entry asks for, are ever written anew.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

mod components;
mod references;

pub(crate) use components::components;
pub(crate) use references::{logical, replace};

/// A Bundle, read as far as sending it in parts needs.
#[derive(Deserialize)]
pub(crate) struct Bundle<'a> {
    #[serde(borrow, default)]
    pub(crate) entry: Vec<Entry<'a>>,
}

/// One entry.
#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry<'a> {
    #[serde(borrow, default)]
    pub(crate) full_url: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) resource: Resource<'a>,
    #[serde(borrow)]
    pub(crate) request: Asked<'a>,
}

/// The resource of an entry as JSON text.
#[derive(Clone)]
pub(crate) struct Resource<'a>(pub(crate) Cow<'a, str>);

/// What an entry asks for (Bundle.entry.request).
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked<'a> {
    #[serde(borrow)]
    pub(crate) method: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) url: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) if_none_exist: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) if_none_match: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) if_match: Option<Cow<'a, str>>,
}

// === impl Bundle ===

impl<'a> Bundle<'a> {
    /// Reads a Bundle of which every entry has a resource and a request: anything else is sent as it is, or not at all.
    pub(crate) fn read(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// For each entry the others that it refers to.
    pub(crate) fn links(&self) -> Vec<Vec<usize>> {
        let mut places: HashMap<Cow<'_, str>, usize> = HashMap::new();
        for (place, entry) in self.entry.iter().enumerate() {
            for name in entry.names() {
                places.entry(name).or_insert(place);
            }
        }
        self.entry
            .iter()
            .enumerate()
            .map(|(place, entry)| {
                let mut targets: Vec<usize> = references::all(&entry.resource.0)
                    .filter_map(|(_, reference)| places.get(reference).copied())
                    .filter(|target| *target != place)
                    .collect();
                targets.sort_unstable();
                targets.dedup();
                targets
            })
            .collect()
    }
}

// === impl Entry ===

impl Entry<'_> {
    /// What others call it in a reference: its full URL, its id, its condition.
    fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let asked = &self.request;
        let full_url = (!self.full_url.is_empty()).then_some(Cow::Borrowed(&*self.full_url));
        let by_url = (asked.url.contains('/') || asked.url.contains('?'))
            .then_some(Cow::Borrowed(&*asked.url));
        let by_condition = asked
            .if_none_exist
            .as_deref()
            .map(|condition| Cow::Owned(format!("{}?{condition}", asked.type_name())));
        [full_url, by_url, by_condition].into_iter().flatten()
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        // Names and quotes of the entry itself.
        const FRAME: usize = 120;
        let asked = &self.request;
        FRAME
            + self.full_url.len()
            + self.resource.0.len()
            + asked.url.len()
            + asked.if_none_exist.as_deref().map_or(0, str::len)
    }

    /// Appends it as JSON.
    pub(crate) fn write(&self, out: &mut String) {
        out.push('{');
        if !self.full_url.is_empty() {
            out.push_str("\"fullUrl\":");
            string(&self.full_url, out);
            out.push(',');
        }
        out.push_str("\"resource\":");
        out.push_str(&self.resource.0);
        out.push_str(",\"request\":{\"method\":");
        string(&self.request.method, out);
        out.push_str(",\"url\":");
        string(&self.request.url, out);
        for (name, value) in [
            ("ifNoneMatch", &self.request.if_none_match),
            ("ifMatch", &self.request.if_match),
            ("ifNoneExist", &self.request.if_none_exist),
        ] {
            if let Some(value) = value {
                out.push_str(",\"");
                out.push_str(name);
                out.push_str("\":");
                string(value, out);
            }
        }
        out.push_str("}}");
    }
}

/// A Bundle of these entries.
pub(crate) fn write<'a>(kind: &str, entries: impl IntoIterator<Item = &'a Entry<'a>>) -> String {
    let mut out = format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":["#);
    for (place, entry) in entries.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        entry.write(&mut out);
    }
    out.push_str("]}");
    out
}

fn string(text: &str, out: &mut String) {
    // Serializing a string cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

// === impl Asked ===

impl Asked<'_> {
    /// The same with text of its own.
    pub(crate) fn into_owned(self) -> Asked<'static> {
        let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        Asked {
            method: Cow::Owned(self.method.into_owned()),
            url: Cow::Owned(self.url.into_owned()),
            if_none_exist: owned(self.if_none_exist),
            if_none_match: owned(self.if_none_match),
            if_match: owned(self.if_match),
        }
    }

    /// The resource type.
    pub(crate) fn type_name(&self) -> &str {
        self.url.split(['/', '?']).next().unwrap_or_default()
    }

    /// The id that the client chose.
    pub(crate) fn id(&self) -> Option<&str> {
        match (&*self.method, self.url.split_once('/')) {
            ("PUT", Some((_, id))) if !self.url.contains('?') => Some(id),
            _ => None,
        }
    }

    /// The condition of a conditional create or update.
    pub(crate) fn condition(&self) -> Option<&str> {
        match (&*self.method, &self.if_none_exist) {
            ("POST", Some(condition)) => Some(condition),
            ("PUT", _) => self.url.split_once('?').map(|(_, condition)| condition),
            _ => None,
        }
    }

    /// The system of the identifier in the condition: says which kind of number it is without saying the number.
    pub(crate) fn identifier_system(&self) -> Option<String> {
        let value = self
            .condition()?
            .split('&')
            .find_map(|pair| pair.strip_prefix("identifier="))?;
        let decoded = percent_encoding::percent_decode_str(value)
            .decode_utf8()
            .ok()?;
        let system = decoded.split('|').next()?;
        // A system is a URI (R4 datatypes.html#uri); anything else might be the number itself.
        let is_uri = decoded.contains('|') && system.contains(':') && !system.contains(' ');
        (is_uri && system.len() <= 200).then(|| system.to_owned())
    }
}

// === impl Resource ===

impl<'de: 'a, 'a> Deserialize<'de> for Resource<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'a RawValue>::deserialize(deserializer)?;
        Ok(Self(Cow::Borrowed(raw.get())))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report about a patient with two values, and a Provenance of all.
    pub(crate) const SAMPLE: &str = concat!(
        r#"{"resourceType":"Bundle","type":"transaction","entry":["#,
        r#"{"fullUrl":"urn:uuid:00000000-0000-0000-0000-000000000001","resource":{"resourceType":"DiagnosticReport","subject":{"reference":"urn:uuid:00000000-0000-0000-0000-000000000004"},"result":[{"reference":"urn:uuid:00000000-0000-0000-0000-000000000002"},{"reference":"urn:uuid:00000000-0000-0000-0000-000000000003"}]},"request":{"method":"PUT","url":"DiagnosticReport?identifier=urn:oid:2.999.3%7CR1"}},"#,
        r#"{"fullUrl":"urn:uuid:00000000-0000-0000-0000-000000000002","resource":{"resourceType":"Observation","id":"00000000-0000-0000-0000-000000000002","valueQuantity":{"value":1.50},"subject":{"reference":"urn:uuid:00000000-0000-0000-0000-000000000004"}},"request":{"method":"PUT","url":"Observation/00000000-0000-0000-0000-000000000002"}},"#,
        r#"{"fullUrl":"urn:uuid:00000000-0000-0000-0000-000000000003","resource":{"resourceType":"Observation","id":"00000000-0000-0000-0000-000000000003","subject":{"reference":"urn:uuid:00000000-0000-0000-0000-000000000004"}},"request":{"method":"PUT","url":"Observation/00000000-0000-0000-0000-000000000003"}},"#,
        r#"{"fullUrl":"urn:uuid:00000000-0000-0000-0000-000000000004","resource":{"resourceType":"Patient","name":[{"text":"Ida \"X\""}]},"request":{"method":"POST","url":"Patient","ifNoneExist":"identifier=urn:oid:2.999.1%7C77"}},"#,
        r#"{"fullUrl":"urn:uuid:00000000-0000-0000-0000-000000000005","resource":{"resourceType":"Provenance","id":"00000000-0000-0000-0000-000000000005","target":[{"reference":"urn:uuid:00000000-0000-0000-0000-000000000001"},{"reference":"urn:uuid:00000000-0000-0000-0000-000000000004"}]},"request":{"method":"PUT","url":"Provenance/00000000-0000-0000-0000-000000000005"}}"#,
        r#"]}"#
    );

    #[test]
    fn it_is_read_and_written_as_it_was() {
        let bundle = Bundle::read(SAMPLE.as_bytes()).unwrap();
        assert_eq!(write("transaction", &bundle.entry), SAMPLE);
        assert_eq!(
            bundle.links(),
            [vec![1, 2, 3], vec![3], vec![3], vec![], vec![0, 3]]
        );
    }

    #[test]
    fn what_an_entry_asks_for() {
        let bundle = Bundle::read(SAMPLE.as_bytes()).unwrap();
        let asked = |place: usize| &bundle.entry[place].request;
        assert_eq!(
            asked(0).condition(),
            Some("identifier=urn:oid:2.999.3%7CR1")
        );
        assert_eq!(
            asked(0).identifier_system().as_deref(),
            Some("urn:oid:2.999.3")
        );
        assert_eq!(
            asked(3).identifier_system().as_deref(),
            Some("urn:oid:2.999.1")
        );
        assert_eq!(asked(1).id(), Some("00000000-0000-0000-0000-000000000002"));
        assert_eq!((asked(0).id(), asked(1).condition()), (None, None));
        // A number without a system is never told.
        let bare = Asked {
            url: "Patient?identifier=4711".into(),
            ..asked(0).clone()
        };
        assert_eq!(bare.identifier_system(), None);
    }
}
