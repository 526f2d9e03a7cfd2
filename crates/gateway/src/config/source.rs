//! A YAML document as a small tree in which every key and value knows where it stands.
//!
//! Scalars keep their text (`0123` stays `0123`, `yes` stays `yes`): what a value means is decided by
//! the key that asks for it, never by the YAML resolver.

use saphyr::{MarkedYaml, ScalarStyle, YamlData, YamlLoader};
use saphyr_parser::Parser;

use super::problem::{Kind, Problem};

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A place in the configuration file; both numbers start at 1, columns count characters.
    File {
        /// Line in the file.
        line: usize,
        /// Column in the line.
        column: usize,
    },
    /// The environment variable of this name.
    Environment(String),
}

/// One value with its origin.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where the value stands.
    pub origin: Origin,
    /// The value itself.
    pub value: Value,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing was written, or `~`, or `null`.
    Null,
    /// Text as it was written, without quotes.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file; keys are unique.
    Map(Vec<Entry>),
}

/// One key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key as written.
    pub key: String,
    /// Where the key stands.
    pub origin: Origin,
    /// What it is set to.
    pub node: Node,
}

impl Node {
    /// What a value of this kind is called in a message to the user.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a section",
        }
    }
}

/// Reads one YAML document; an empty one is an empty section.
///
/// # Errors
/// One [`Problem`] with its place: a syntax error, a key that appears twice, more than one document,
/// or YAML that a configuration has no use for (tags, keys that are not text).
pub fn read(text: &str) -> Result<Node, Problem> {
    let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
    loader.early_parse(false);
    let loaded = Parser::new_from_str(text).load(&mut loader, true);
    if let Some(error) = loaded.as_ref().err().or_else(|| loader.error()) {
        return Err(Problem::error(
            at(error.marker()),
            format!("not valid YAML: {}", error.info()),
        )
        .of(Kind::Yaml));
    }
    let mut documents = loader.into_documents();
    if let Some(second) = documents.get(1) {
        return Err(Problem::error(
            at(&second.span.start),
            "a second YAML document; a configuration file has one".to_owned(),
        )
        .of(Kind::Yaml));
    }
    match documents.pop() {
        Some(document) => convert(document),
        None => Ok(Node {
            origin: Origin::File { line: 1, column: 1 },
            value: Value::Map(Vec::new()),
        }),
    }
}

fn at(marker: &saphyr::Marker) -> Origin {
    Origin::File {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

fn convert(yaml: MarkedYaml<'_>) -> Result<Node, Problem> {
    let origin = at(&yaml.span.start);
    let value = match yaml.data {
        YamlData::Representation(text, style, None) => {
            let plain = matches!(style, ScalarStyle::Plain);
            if plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL") {
                Value::Null
            } else {
                Value::Scalar(text.into_owned())
            }
        }
        YamlData::Sequence(items) => {
            Value::List(items.into_iter().map(convert).collect::<Result<_, _>>()?)
        }
        YamlData::Mapping(pairs) => {
            let mut entries = Vec::with_capacity(pairs.len());
            for (key, value) in pairs {
                let key_origin = at(&key.span.start);
                let YamlData::Representation(text, ..) = key.data else {
                    return Err(
                        Problem::error(key_origin, "a key must be plain text".to_owned())
                            .of(Kind::Yaml),
                    );
                };
                entries.push(Entry {
                    key: text.into_owned(),
                    origin: key_origin,
                    node: convert(value)?,
                });
            }
            Value::Map(entries)
        }
        YamlData::Representation(_, _, Some(_))
        | YamlData::Tagged(..)
        | YamlData::Value(_)
        | YamlData::Alias(_)
        | YamlData::BadValue => {
            return Err(
                Problem::error(origin, "YAML tags have no meaning here".to_owned()).of(Kind::Yaml),
            );
        }
    };
    Ok(Node { origin, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(node: &Node) -> &[Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            other => panic!("a section was expected: {other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_text_and_places() {
        let node = read("a: 0123\nb:\n  c: yes\n  d: '~'\n").unwrap();
        let top = entries(&node);
        assert!(matches!(&top[0].node.value, Value::Scalar(text) if text == "0123"));
        assert_eq!(top[1].origin, Origin::File { line: 2, column: 1 });
        let inner = entries(&top[1].node);
        assert_eq!(inner[0].node.origin, Origin::File { line: 3, column: 6 });
        assert!(matches!(&inner[1].node.value, Value::Scalar(text) if text == "~"));
    }

    #[test]
    fn a_key_written_twice_is_an_error_with_its_place() {
        let problem = read("a: 1\na: 2\n").unwrap_err();
        assert!(
            matches!(problem.origin, Origin::File { line: 2, .. }),
            "{problem:?}"
        );
    }

    #[test]
    fn an_empty_file_is_an_empty_section() {
        assert!(entries(&read("# nothing\n").unwrap()).is_empty());
    }

    #[test]
    fn tags_are_refused() {
        assert!(read("a: !secret x\n").is_err());
    }
}
