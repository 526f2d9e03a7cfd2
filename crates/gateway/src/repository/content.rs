//! A resource as text: read once, compacted, references rewritten on the way, what is searched for picked out.
//!
//! The text is never turned into values and back, so a decimal keeps its digits and a member its place.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fault::Fault;

/// What a resource says, without what the repository says about it.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) type_name: String,
    pub(super) id: Option<String>,
    /// The members of `meta` but `versionId` and `lastUpdated`: `"profile":["…"]`.
    pub(super) meta: String,
    /// The members but `resourceType`, `id` and `meta`: `"active":true,"name":[…]`.
    pub(super) body: String,
    /// System (empty when there is none) and value of each identifier.
    pub(super) identifiers: Vec<(String, String)>,
    /// Search parameter and target (`Patient/1`) of each reference that can be searched for.
    pub(super) references: Vec<(&'static str, String)>,
}

/// Turns the text of a link into what it is to be; `None` leaves it.
pub(super) type Resolve<'a> = dyn FnMut(&str) -> Result<Option<String>, Fault> + 'a;

/// Elements of type uri or url, beside Reference.reference, that may point into a Bundle
/// (<https://hl7.org/fhir/R4/http.html#trules>). Identifiers are not among them: a `urn:uuid` there is a name.
const LINKS: [&str; 6] = [
    "reference",
    "url",
    "valueUri",
    "valueUrl",
    "valueUuid",
    "valueOid",
];

/// References with their search parameters.
const SEARCHED: [(&str, &str); 5] = [
    ("subject", "subject"),
    ("patient", "patient"),
    ("beneficiary", "patient"),
    ("for", "patient"),
    ("target", "target"),
];

#[derive(Deserialize)]
struct Identifier<'a> {
    #[serde(borrow, default)]
    system: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow, default)]
    reference: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

/// Copies a JSON text that is known to be well formed, without white space.
struct Walk<'a, 'r> {
    text: &'a str,
    at: usize,
    out: String,
    resolve: &'a mut Resolve<'r>,
}

// === impl Content ===

impl Content {
    /// Reads a resource.
    pub(super) fn read(resource: &RawValue, resolve: &mut Resolve<'_>) -> Result<Self, Fault> {
        let text = resource.get();
        let mut walk = Walk {
            text,
            at: 0,
            out: String::with_capacity(text.len()),
            resolve,
        };
        if walk.peek() != Some(b'{') {
            return Err(Fault::Invalid("resource is not an object".into()));
        }
        let mut content = Self::default();
        walk.members(|walk, key| {
            let start = walk.out.len();
            match key {
                "resourceType" => content.type_name = walk.plain_string()?,
                "id" => content.id = Some(walk.plain_string()?),
                "meta" if walk.peek() != Some(b'{') => {
                    return Err(Fault::Invalid("meta is not an object".into()));
                }
                "meta" => {
                    let rest = std::mem::take(&mut walk.out);
                    walk.members(|walk, key| match key {
                        "versionId" | "lastUpdated" => {
                            let kept = walk.out.len();
                            walk.value(key)?;
                            walk.out.truncate(kept);
                            Ok(())
                        }
                        key => walk.member(key),
                    })?;
                    content.meta = std::mem::replace(&mut walk.out, rest);
                }
                key => {
                    walk.member(key)?;
                    let member = walk.out.get(start..).unwrap_or_default();
                    // `"key":value`, with a comma before it unless it is the first.
                    let value = member
                        .trim_start_matches(',')
                        .get(key.len() + 3..)
                        .unwrap_or_default();
                    content.pick(key, value);
                }
            }
            Ok(())
        })?;
        content.body = walk.out;
        if content.type_name.is_empty() {
            return Err(Fault::Invalid("resource without resourceType".into()));
        }
        Ok(content)
    }

    fn pick(&mut self, key: &str, value: &str) {
        if key == "identifier" {
            let found: Option<OneOrMany<Identifier<'_>>> = serde_json::from_str(value).ok();
            let found = found.map(OneOrMany::into_vec).unwrap_or_default();
            self.identifiers.extend(
                found
                    .into_iter()
                    .filter(|identifier| !identifier.value.is_empty())
                    .map(|identifier| {
                        (
                            identifier.system.into_owned(),
                            identifier.value.into_owned(),
                        )
                    }),
            );
        }
        let Some((_, name)) = SEARCHED.into_iter().find(|(element, _)| *element == key) else {
            return;
        };
        let found: Option<OneOrMany<Reference<'_>>> = serde_json::from_str(value).ok();
        for target in found.map(OneOrMany::into_vec).unwrap_or_default() {
            let Some(target) = target.reference else {
                continue;
            };
            // `patient` finds what is about a patient, by whatever element.
            if name != "patient" && target.starts_with("Patient/") {
                self.references
                    .push(("patient", target.clone().into_owned()));
            }
            self.references.push((name, target.into_owned()));
        }
    }
}

/// The whole resource as JSON.
pub(super) fn render(
    type_name: &str,
    id: &str,
    version: i64,
    updated_ms: i64,
    meta: &str,
    body: &str,
) -> String {
    let comma = |text: &str| if text.is_empty() { "" } else { "," };
    format!(
        r#"{{"resourceType":"{type_name}","id":"{id}","meta":{{"versionId":"{version}","lastUpdated":"{}"{}{meta}}}{}{body}}}"#,
        instant(updated_ms),
        comma(meta),
        comma(body),
    )
}

/// Milliseconds since 1970 as a FHIR instant in UTC.
pub(super) fn instant(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}

// === impl OneOrMany ===

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::Many(many) => many,
            Self::One(one) => vec![one],
        }
    }
}

// === impl Walk ===

impl<'a> Walk<'a, '_> {
    /// The next byte that is not white space, not consumed.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Goes through an object; `each` must consume the value.
    fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, &str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let key = decoded(self.string());
                    if self.peek() == Some(b':') {
                        self.at += 1;
                    }
                    each(self, &key)?;
                }
                Some(b',') => self.at += 1,
                _ => {
                    self.at += 1;
                    return Ok(());
                }
            }
        }
    }

    /// Copies `"key":value`.
    fn member(&mut self, key: &str) -> Result<(), Fault> {
        self.comma();
        self.out.push_str(&quoted(key));
        self.out.push(':');
        self.value(key)
    }

    /// A comma, unless an object or array has just been opened or nothing is written yet.
    fn comma(&mut self) {
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(',');
        }
    }

    /// Copies one value. serde_json has read the text before and limits its depth, so recursion is bounded.
    fn value(&mut self, key: &str) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{') => {
                self.out.push('{');
                self.members(Self::member)?;
                self.out.push('}');
            }
            Some(b'[') => {
                self.at += 1;
                self.out.push('[');
                loop {
                    match self.peek() {
                        Some(b',') => self.at += 1,
                        Some(b']') | None => break,
                        Some(_) => {
                            self.comma();
                            self.value(key)?;
                        }
                    }
                }
                self.at += 1;
                self.out.push(']');
            }
            Some(b'"') => {
                let raw = self.string();
                match self.rewritten(key, raw)? {
                    Some(text) => self.out.push_str(&quoted(&text)),
                    None => self.out.push_str(raw),
                }
            }
            _ => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                let end = rest
                    .find(|next: char| {
                        matches!(next, ',' | ']' | '}') || next.is_ascii_whitespace()
                    })
                    .unwrap_or(rest.len());
                self.out.push_str(rest.get(..end).unwrap_or_default());
                self.at += end;
            }
        }
        Ok(())
    }

    /// The text that a string is to be, if it is a link that is rewritten.
    fn rewritten(&mut self, key: &str, raw: &str) -> Result<Option<String>, Fault> {
        if key == "div" && raw.contains("urn:uuid:") {
            return self.narrative(&decoded(raw));
        }
        if !LINKS.contains(&key) {
            return Ok(None);
        }
        let text = decoded(raw);
        let resolved = (self.resolve)(&text)?;
        if key == "reference"
            && resolved.is_none()
            && (text.starts_with("urn:uuid:") || text.starts_with("urn:oid:"))
        {
            return Err(Fault::Invalid(
                "reference to an entry that is not in the bundle".into(),
            ));
        }
        Ok(resolved)
    }

    /// Links inside the narrative, `<a href="urn:uuid:…">`.
    fn narrative(&mut self, text: &str) -> Result<Option<String>, Fault> {
        const LENGTH: usize = "urn:uuid:".len() + 36;
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("urn:uuid:") {
            let (before, link) = rest.split_at(start);
            out.push_str(before);
            let Some((link, after)) = link.split_at_checked(LENGTH) else {
                rest = link;
                break;
            };
            let resolved = (self.resolve)(link)?;
            out.push_str(resolved.as_deref().unwrap_or(link));
            rest = after;
        }
        out.push_str(rest);
        Ok(Some(out))
    }

    /// The string here, quotes included.
    fn string(&mut self) -> &'a str {
        let bytes = self.text.as_bytes();
        let start = self.at;
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            self.at += match byte {
                b'\\' => 2,
                _ => 1,
            };
            if *byte == b'"' {
                break;
            }
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Consumes a value that must be a string, without copying it.
    fn plain_string(&mut self) -> Result<String, Fault> {
        if self.peek() != Some(b'"') {
            return Err(Fault::Invalid("resourceType and id must be strings".into()));
        }
        Ok(decoded(self.string()).into_owned())
    }
}

/// The text of a JSON string with its quotes.
fn decoded(raw: &str) -> Cow<'_, str> {
    if raw.contains('\\') {
        return serde_json::from_str::<String>(raw)
            .unwrap_or_default()
            .into();
    }
    raw.trim_matches('"').into()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Content, Fault> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        Content::read(raw, &mut |text| {
            Ok((text == "urn:uuid:00000000-0000-0000-0000-000000000001")
                .then(|| "Patient/7".to_owned()))
        })
    }

    #[test]
    fn text_is_kept() {
        let content = read(
            r#" { "resourceType" : "Observation", "id":"x", "meta": {"versionId":"9", "profile": [ "p" ], "lastUpdated":"2020" ,"tag":[]},
              "valueQuantity": { "value" : 1.50 , "n": [ null, 1E3 , -0 ] }, "note":[{"text":"a \" b \\ , } é"}] , "a\u0062":true} "#,
        )
        .unwrap();
        assert_eq!(
            (content.type_name.as_str(), content.id.as_deref()),
            ("Observation", Some("x"))
        );
        assert_eq!(content.meta, r#""profile":["p"],"tag":[]"#);
        assert_eq!(
            content.body,
            r#""valueQuantity":{"value":1.50,"n":[null,1E3,-0]},"note":[{"text":"a \" b \\ , } é"}],"ab":true"#
        );
        let whole = render("Observation", "x", 2, 0, &content.meta, &content.body);
        assert!(whole.starts_with(
            r#"{"resourceType":"Observation","id":"x","meta":{"versionId":"2","lastUpdated":"1970-01-01T00:00:00.000Z","profile""#
        ));
        serde_json::from_str::<serde_json::Value>(&whole).unwrap();
    }

    #[test]
    fn an_empty_resource() {
        let content = read(r#"{"resourceType":"Patient","meta":{}}"#).unwrap();
        let whole = render("Patient", "1", 1, 0, &content.meta, &content.body);
        assert!(
            whole.ends_with(r#""lastUpdated":"1970-01-01T00:00:00.000Z"}}"#),
            "{whole}"
        );
    }

    #[test]
    fn links_are_rewritten_and_identifiers_are_not() {
        let one = "urn:uuid:00000000-0000-0000-0000-000000000001";
        let content = read(&format!(
            r#"{{"resourceType":"Observation","identifier":[{{"system":"urn:ietf:rfc:3986","value":"{one}"}}],"subject":{{"reference":"{one}"}},
              "text":{{"div":"<div><a href=\"{one}\">x</a>urn:uuid:</div>"}},"extension":[{{"url":"e","extension":[{{"url":"f","valueReference":{{"reference":"{one}"}}}}]}}]}}"#
        ))
        .unwrap();
        assert_eq!(
            content.identifiers,
            [("urn:ietf:rfc:3986".to_owned(), one.to_owned())]
        );
        assert_eq!(content.body.matches(one).count(), 1, "{}", content.body);
        assert_eq!(
            content.body.matches("Patient/7").count(),
            3,
            "{}",
            content.body
        );
        assert!(
            content
                .body
                .contains(r#"<a href=\"Patient/7\">x</a>urn:uuid:</div>"#)
        );
        assert_eq!(
            content.references,
            [
                ("patient", "Patient/7".to_owned()),
                ("subject", "Patient/7".to_owned())
            ]
        );
    }

    #[test]
    fn what_is_no_resource() {
        for json in [
            "[]",
            "1",
            "{}",
            r#"{"resourceType":1}"#,
            r#"{"resourceType":"Patient","id":7}"#,
            r#"{"resourceType":"Observation","subject":{"reference":"urn:uuid:00000000-0000-0000-0000-000000000002"}}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
