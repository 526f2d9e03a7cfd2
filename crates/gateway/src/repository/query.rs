//! Search parameters and conditions: `_id`, `identifier`, `patient`, `subject`, and how much to return.
//!
//! A parameter that is not known is refused, in a search and all the more in a condition: to leave it out would match
//! what was not meant (<https://hl7.org/fhir/R4/search.html#errors>).

use percent_encoding::percent_decode_str;

use super::fault::Fault;

/// A parsed query.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// All must hold.
    pub(super) conditions: Vec<Condition>,
    /// `_count`.
    pub(super) count: Option<u64>,
    /// Where the page starts: this repository's own parameter, in paging links only.
    pub(super) offset: u64,
    /// `_summary=count`.
    pub(super) only_count: bool,
}

/// One parameter; one of its values must match.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Id(Vec<String>),
    Identifier(Vec<Token>),
    Reference {
        name: &'static str,
        /// `Patient/1`.
        targets: Vec<String>,
    },
}

/// `system|value`; an absent part matches anything, an empty system matches none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) system: Option<String>,
    pub(super) value: Option<String>,
}

const PAGE: u64 = 50;
const LARGEST_PAGE: u64 = 1000;

// === impl Query ===

impl Query {
    /// Parses a query string, percent-encoded, with or without the question mark.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let mut query = Self::default();
        for pair in text
            .trim_start_matches('?')
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.parameter(&decode(name)?, &decode(value)?)?;
        }
        Ok(query)
    }

    /// Parses a condition: it must name at least one thing, and nothing but conditions.
    pub(super) fn condition(text: &str) -> Result<Self, Fault> {
        let query = Self::parse(text)?;
        let only_conditions = Self {
            conditions: Vec::new(),
            ..Self::default()
        };
        if query.conditions.is_empty() {
            return Err(Fault::Invalid(
                "condition without a search parameter".into(),
            ));
        }
        if (query.count, query.offset, query.only_count)
            != (
                only_conditions.count,
                only_conditions.offset,
                only_conditions.only_count,
            )
        {
            return Err(Fault::Invalid(
                "condition with a parameter for results".into(),
            ));
        }
        Ok(query)
    }

    /// Results per page.
    pub(super) fn page(&self) -> u64 {
        self.count.unwrap_or(PAGE).min(LARGEST_PAGE)
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let number = || -> Result<u64, Fault> {
            value
                .parse()
                .map_err(|_| Fault::Invalid(format!("{name} is not a number")))
        };
        match name {
            // How to write, not what to find; JSON is all there is, and totals are always given.
            "_format" | "_pretty" | "_total" => {}
            "_count" => self.count = Some(number()?),
            "_offset" => self.offset = number()?,
            "_summary" => match value {
                "count" => self.only_count = true,
                "false" => {}
                _ => return Err(Fault::NotSupported("_summary other than count".into())),
            },
            "_id" => self.push(Condition::Id(
                values(value).into_iter().map(unescape).collect(),
            ))?,
            "identifier" => {
                let tokens = values(value).into_iter().map(Token::parse).collect();
                self.push(Condition::Identifier(tokens))?;
            }
            "patient" | "patient:Patient" | "subject:Patient" => {
                let name = if name.starts_with('p') {
                    "patient"
                } else {
                    "subject"
                };
                let targets = values(value)
                    .into_iter()
                    .map(|value| target(value, Some("Patient")));
                self.push(Condition::Reference {
                    name,
                    targets: targets.collect::<Result<_, _>>()?,
                })?;
            }
            "subject" => {
                let targets = values(value).into_iter().map(|value| target(value, None));
                self.push(Condition::Reference {
                    name: "subject",
                    targets: targets.collect::<Result<_, _>>()?,
                })?;
            }
            _ => {
                return Err(Fault::NotSupported(
                    "a search parameter of the request".into(),
                ));
            }
        }
        Ok(())
    }

    fn push(&mut self, condition: Condition) -> Result<(), Fault> {
        // An empty value would match nothing or everything; neither is meant.
        let empty = match &condition {
            Condition::Id(ids) => ids.iter().any(String::is_empty),
            Condition::Identifier(tokens) => tokens.iter().any(|token| {
                token.value.is_none() && token.system.as_deref().is_none_or(str::is_empty)
            }),
            Condition::Reference { .. } => false,
        };
        if empty {
            return Err(Fault::Invalid(
                "search parameter with an empty value".into(),
            ));
        }
        self.conditions.push(condition);
        Ok(())
    }
}

// === impl Token ===

impl Token {
    fn parse(text: &str) -> Self {
        let some = |text: &str| Some(unescape(text)).filter(|text| !text.is_empty());
        match split(text, '|').as_slice() {
            [system, value, ..] => Self {
                system: Some(unescape(system)),
                value: some(value),
            },
            _ => Self {
                system: None,
                value: some(text),
            },
        }
    }
}

/// A reference value: `Patient/1`, or the id alone where the type is known.
fn target(value: &str, type_name: Option<&str>) -> Result<String, Fault> {
    let value = unescape(value);
    match (value.rsplit_once('/'), type_name) {
        (Some((head, id)), None) if !id.is_empty() => {
            let type_name = head.rsplit('/').next().unwrap_or(head);
            Ok(format!("{type_name}/{id}"))
        }
        (Some((head, id)), Some(type_name))
            if head.rsplit('/').next() == Some(type_name) && !id.is_empty() =>
        {
            Ok(format!("{type_name}/{id}"))
        }
        (None, Some(type_name)) if !value.is_empty() => Ok(format!("{type_name}/{value}")),
        // `subject=1` alone: patients are what is meant nearly always.
        (None, None) if !value.is_empty() => Ok(format!("Patient/{value}")),
        _ => Err(Fault::Invalid("reference is not Type/id".into())),
    }
}

/// The alternatives of a value, split at commas that are not escaped.
fn values(value: &str) -> Vec<&str> {
    split(value, ',')
}

/// Splits where `at` stands without a backslash before it (<https://hl7.org/fhir/R4/search.html#escaping>).
fn split(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (place, character) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == at {
            parts.push(text.get(start..place).unwrap_or_default());
            start = place + character.len_utf8();
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.extend(characters.next()),
            character => out.push(character),
        }
    }
    out
}

pub(super) fn decode(text: &str) -> Result<String, Fault> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| Fault::Invalid("query is not utf-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(system: Option<&str>, value: Option<&str>) -> Token {
        Token {
            system: system.map(str::to_owned),
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn tokens() {
        let parse = |text: &str| match Query::parse(text).unwrap().conditions.remove(0) {
            Condition::Identifier(tokens) => tokens,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            parse("identifier=urn:oid:1.2%7CA%20b"),
            [token(Some("urn:oid:1.2"), Some("A b"))]
        );
        assert_eq!(parse("?identifier=|7"), [token(Some(""), Some("7"))]);
        assert_eq!(parse("identifier=7"), [token(None, Some("7"))]);
        assert_eq!(parse("identifier=s|"), [token(Some("s"), None)]);
        assert_eq!(
            parse("identifier=s%7C1%5C%7C2%5C%2C3%5C%5C,t|4"),
            [
                token(Some("s"), Some("1|2,3\\")),
                token(Some("t"), Some("4"))
            ]
        );
    }

    #[test]
    fn references() {
        let parse = |text: &str| match Query::parse(text)
            .map(|mut query| query.conditions.remove(0))
        {
            Ok(Condition::Reference { name, targets }) => format!("{name} {}", targets.join(" ")),
            other => format!("{other:?}"),
        };
        assert_eq!(parse("patient=1,Patient/2"), "patient Patient/1 Patient/2");
        assert_eq!(parse("subject=Group/1"), "subject Group/1");
        assert_eq!(
            parse("subject:Patient=http://x/Patient/1"),
            "subject Patient/1"
        );
        assert!(parse("patient=Group/1").starts_with("Err"));
    }

    #[test]
    fn refused() {
        for text in [
            "name=x",
            "identifier:exact=x",
            "identifier=",
            "identifier=|",
            "_id=",
            "_count=many",
            "_summary=text",
            "identifier=%ff",
        ] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
        for text in ["", "_count=1", "identifier=x&_count=1"] {
            assert!(Query::condition(text).is_err(), "{text}");
        }
    }
}
