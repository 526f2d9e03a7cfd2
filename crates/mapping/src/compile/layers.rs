//! The files of a package and of the overlays on top of it, read and merged by their place in the layout.

use std::collections::BTreeMap;

use super::Compiler;
use super::overlay::{FileKind, extends};
use super::profile::Profiles;
use crate::diagnostic::{Code, closest};
use crate::package::Layer;
use crate::yaml::{self, Node, Span};

/// All files, numbered; later layers stand behind earlier ones.
pub(crate) struct Files {
    files: Vec<(String, String, String)>,
    /// The layer of each file.
    layers: Vec<String>,
}

impl Files {
    pub fn new(layers: &[Layer]) -> Files {
        let (mut files, mut names) = (Vec::new(), Vec::new());
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
                names.push(layer.name.clone());
            }
        }
        Files {
            files,
            layers: names,
        }
    }

    /// Whether the layer of a file also has a file at that path.
    fn has(&self, file: u16, path: &str) -> bool {
        let layer = self.layer(file);
        self.files
            .iter()
            .zip(&self.layers)
            .any(|((other, ..), name)| other == path && name == layer)
    }

    /// The name of the layer that a file belongs to.
    pub fn layer(&self, file: u16) -> &str {
        self.layers
            .get(usize::from(file))
            .map_or("", String::as_str)
    }

    /// The file as a person knows it: with the layer's name in front.
    pub fn path(&self, file: u16) -> &str {
        self.files
            .get(usize::from(file))
            .map_or("", |(_, shown, _)| shown)
    }

    /// The text of a file.
    pub fn text(&self, file: u16) -> &str {
        self.files
            .get(usize::from(file))
            .map_or("", |(_, _, text)| text)
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
    /// What overlays change in message maps: it can name lines of the parts these use.
    pub message_changes: Vec<(String, Node)>,
    /// StructureDefinitions, by their url.
    pub profiles: Profiles,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Kind {
    Segment,
    DataType,
}

impl Kind {
    /// The folder of such maps.
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Segment => "segments",
            Kind::DataType => "datatypes",
        }
    }
}

/// Most files of one package.
const MAX_FILES: usize = 10_000;
/// Largest file, in bytes.
pub(super) const MAX_FILE: usize = 4 << 20;
/// Largest code table in CSV, in bytes.
const MAX_CSV: usize = 32 << 20;

impl Compiler {
    pub(super) fn read(&mut self, files: &Files) -> Documents {
        let mut documents = Documents {
            maps: BTreeMap::new(),
            tables: BTreeMap::new(),
            messages: BTreeMap::new(),
            parts: BTreeMap::new(),
            packages: Vec::new(),
            message_changes: Vec::new(),
            profiles: Profiles::new(),
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
            if path.starts_with("profiles/") && path.ends_with(".json") {
                self.profile_file(number, files, &mut documents.profiles);
                continue;
            }
            let csv = path
                .strip_suffix(".csv")
                .filter(|stem| stem.starts_with("tables/"));
            let Some(stem) = csv.or_else(|| path.strip_suffix(".yaml")) else {
                continue;
            };
            if stem.starts_with("tests/") || stem.starts_with("examples/") {
                continue;
            }
            let (limit, shown) = if csv.is_some() {
                (MAX_CSV, 32)
            } else {
                (MAX_FILE, 4)
            };
            if text.len() > limit {
                self.error(
                    Code::Layout,
                    start(number),
                    format!("the file is larger than {shown} MiB"),
                    match csv {
                        Some(_) => "keep only the codes that occur, or split the table and join it with `else:`",
                        None => "keep only the codes that occur, or write the table as CSV, which may have 32 MiB",
                    },
                );
                continue;
            }
            let read = match csv {
                Some(_) => crate::tables::read_csv(number, text),
                None => yaml::parse(number, text).map_err(|problem| vec![problem]),
            };
            let node = match read {
                Ok(node) => node,
                Err(problems) => {
                    self.diagnostics.extend(problems);
                    continue;
                }
            };
            if let Some(other) = csv.filter(|_| files.has(number, &format!("{stem}.yaml"))) {
                self.error(
                    Code::Layout,
                    start(number),
                    format!("there is {other}.yaml too"),
                    "keep one of them: a table is one file",
                );
            }
            let parts: Vec<&str> = stem.split('/').collect();
            match parts.as_slice() {
                ["package"] => documents.packages.push(node),
                ["messages", "parts", name] => self.place(FileKind::Message, &mut documents.parts, name, node),
                ["messages", name] if extends(&node) && documents.messages.contains_key(*name) => {
                    documents.message_changes.push(((*name).to_owned(), node));
                }
                ["messages", name] => {
                    documents.message_changes.retain(|(changed, _)| changed != name);
                    self.place(FileKind::Message, &mut documents.messages, name, node);
                }
                ["tables", rest @ ..] if !rest.is_empty() => {
                    self.place(FileKind::Table, &mut documents.tables, &rest.join("/"), node)
                }
                [folder @ ("segments" | "datatypes"), source, map] => {
                    let kind = if *folder == "segments" { Kind::Segment } else { Kind::DataType };
                    let name = format!("{source}/{map}");
                    let mut maps = BTreeMap::new();
                    if let Some((_, base)) = documents.maps.remove(&name) {
                        maps.insert(name.clone(), base);
                    }
                    self.place(FileKind::Map, &mut maps, &name, node);
                    documents.maps.extend(maps.into_iter().map(|(name, node)| (name, (kind, node))));
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

    /// An overlay's file replaces the one below it, unless it says `extends: below`.
    fn place(&mut self, kind: FileKind, into: &mut BTreeMap<String, Node>, name: &str, node: Node) {
        let placed = match into.remove(name) {
            Some(base) if extends(&node) => self.overlay(kind, base, &node),
            None if extends(&node) => {
                let near = closest(name, into.keys().map(String::as_str));
                let help = match near {
                    Some(near) => {
                        format!("did you mean `{near}`? A file of its own leaves `extends:` out")
                    }
                    None => {
                        "name the folder that it changes before this one, or leave `extends:` out"
                            .to_owned()
                    }
                };
                let message = format!("there is no `{name}` below that could be extended");
                self.error(Code::Layout, node.span, message, help);
                return;
            }
            _ => node,
        };
        into.insert(name.to_owned(), placed);
    }

    /// What overlays change in message maps, once the lines of their parts stand in them.
    pub(super) fn message_changes(&mut self, documents: &mut Documents) {
        for (name, over) in std::mem::take(&mut documents.message_changes) {
            if let Some(base) = documents.messages.remove(&name) {
                let changed = self.overlay(FileKind::Message, base, &over);
                documents.messages.insert(name, changed);
            }
        }
    }
}
