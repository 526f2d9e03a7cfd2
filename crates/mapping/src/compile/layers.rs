//! The files of a package and of the overlays on top of it, read and merged by their place in the layout.

use std::collections::BTreeMap;

use super::Compiler;
use crate::diagnostic::Code;
use crate::package::Layer;
use crate::yaml::{self, Node, Span, Value};

/// All files, numbered; later layers stand behind earlier ones.
pub(crate) struct Files {
    files: Vec<(String, String, String)>,
}

impl Files {
    pub fn new(layers: &[Layer]) -> Files {
        let mut files = Vec::new();
        for layer in layers {
            let mut sources: Vec<_> = layer.files.iter().collect();
            sources.sort_by(|a, b| a.path.cmp(&b.path));
            for source in sources {
                let shown = if layer.name.is_empty() {
                    source.path.clone()
                } else {
                    format!("{}/{}", layer.name, source.path)
                };
                files.push((source.path.clone(), shown, source.text.clone()));
            }
        }
        Files { files }
    }

    /// The file as a person knows it: with the layer's name in front.
    pub fn path(&self, file: u16) -> &str {
        self.files
            .get(usize::from(file))
            .map_or("", |(_, shown, _)| shown)
    }

    pub fn paths(&self) -> Vec<String> {
        self.files
            .iter()
            .map(|(_, shown, _)| shown.clone())
            .collect()
    }

    pub fn contents(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, _, text)| (path.as_str(), text.as_str()))
    }
}

/// The merged document of each place in the layout: `segments/PID/Patient` and so on, and all package.yaml files.
pub(crate) struct Documents {
    pub maps: BTreeMap<String, (Kind, Node)>,
    pub tables: BTreeMap<String, Node>,
    pub messages: BTreeMap<String, Node>,
    /// Runs of message-map lines, by name.
    pub parts: BTreeMap<String, Node>,
    pub packages: Vec<Node>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Kind {
    Segment,
    DataType,
}

/// Most files of one package.
const MAX_FILES: usize = 10_000;
/// Largest file, in bytes.
const MAX_FILE: usize = 4 << 20;

impl Compiler {
    pub(super) fn read(&mut self, files: &Files) -> Documents {
        let mut documents = Documents {
            maps: BTreeMap::new(),
            tables: BTreeMap::new(),
            messages: BTreeMap::new(),
            parts: BTreeMap::new(),
            packages: Vec::new(),
        };
        let start = |file: u16| Span {
            file,
            line: 1,
            column: 1,
            length: 1,
        };
        if files.files.is_empty() {
            self.error(Code::Layout, start(0), "the package has no mapping files", "a package is a folder with package.yaml, messages/, segments/, datatypes/ and tables/");
        }
        if files.files.len() > MAX_FILES {
            self.error(
                Code::Layout,
                start(0),
                "the package has too many files",
                "at most 10,000 are read: is this the right folder?",
            );
            return documents;
        }
        for (number, (path, _, text)) in (0u16..).zip(&files.files) {
            let Some(stem) = path.strip_suffix(".yaml") else {
                continue;
            };
            if stem.starts_with("tests/") || stem.starts_with("examples/") {
                continue;
            }
            if text.len() > MAX_FILE {
                self.error(
                    Code::Layout,
                    start(number),
                    "the file is larger than 4 MiB",
                    "split the table, or keep only the codes that occur",
                );
                continue;
            }
            let node = match yaml::parse(number, text) {
                Ok(node) => node,
                Err(problem) => {
                    self.diagnostics.push(problem);
                    continue;
                }
            };
            let parts: Vec<&str> = stem.split('/').collect();
            match parts.as_slice() {
                ["package"] => documents.packages.push(node),
                ["messages", "parts", name] => self.place(&mut documents.parts, name, node),
                ["messages", name] => self.place(&mut documents.messages, name, node),
                ["tables", rest @ ..] if !rest.is_empty() => self.place(&mut documents.tables, &rest.join("/"), node),
                [folder @ ("segments" | "datatypes"), source, map] => {
                    let kind = if *folder == "segments" { Kind::Segment } else { Kind::DataType };
                    let name = format!("{source}/{map}");
                    let merged = match documents.maps.remove(&name) {
                        Some((_, base)) => self.merge(base, node),
                        None => node,
                    };
                    documents.maps.insert(name, (kind, merged));
                }
                _ => self.error(
                    Code::Layout,
                    start(number),
                    "this file is not where a package has files",
                    "put it under messages/NAME.yaml, messages/parts/NAME.yaml, segments/SEG/Map.yaml, datatypes/TYPE/Map.yaml or tables/Name.yaml",
                ),
            }
        }
        documents
    }

    fn place(&mut self, into: &mut BTreeMap<String, Node>, name: &str, node: Node) {
        let merged = match into.remove(name) {
            Some(base) => self.merge(base, node),
            None => node,
        };
        into.insert(name.to_owned(), merged);
    }

    /// An overlay's file replaces the one below it, unless it says `extends: below`: then its keys replace or add
    /// single rules, and `remove:` takes rules away.
    fn merge(&mut self, base: Node, over: Node) -> Node {
        if over.get("extends").and_then(Node::text) != Some("below") {
            return over;
        }
        let (Value::Map(mut pairs), Value::Map(new)) = (base.value, over.value) else {
            self.error(
                Code::Shape,
                over.span,
                "an overlay file is a map of keys",
                "write `extends: below` and the elements to change",
            );
            return Node {
                span: over.span,
                value: Value::Map(Vec::new()),
            };
        };
        for (key, value) in new {
            match key.text().unwrap_or_default() {
                "extends" => {}
                "remove" => {
                    for name in value.members() {
                        let before = pairs.len();
                        pairs.retain(|(k, _)| k.text() != name.text());
                        if pairs.len() == before {
                            self.error(
                                Code::UnknownKey,
                                name.span,
                                "there is no such rule to remove",
                                "name a key of the file below",
                            );
                        }
                    }
                }
                "codes" | "same" | "rows" => match pairs
                    .iter_mut()
                    .find(|(k, _)| k.text() == key.text())
                {
                    Some((
                        _,
                        Node {
                            value: Value::Map(codes),
                            ..
                        },
                    )) => {
                        if let Value::Map(more) = value.value {
                            codes.retain(|(k, _)| !more.iter().any(|(m, _)| m.text() == k.text()));
                            codes.extend(more);
                        }
                    }
                    _ => pairs.push((key, value)),
                },
                name => {
                    pairs.retain(|(k, _)| k.text() != Some(name));
                    pairs.push((key, value));
                }
            }
        }
        Node {
            span: over.span,
            value: Value::Map(pairs),
        }
    }
}
