//! What the layers of a package say together: one merged file, each line with the place it comes from.

mod yaml;

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value as Json;

use crate::compile::{Documents, Files, merge};
use crate::diagnostic::{Diagnostic, closest};
use crate::package::Layer;
use crate::yaml::{Node, Value};

pub(crate) use self::yaml::{is_plain, quote};

/// Lines longer than this do not move the column of the origins.
const WIDTH: usize = 100;

/// A file of a package as all its layers make it.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Its place in the layout, such as `segments/PID/Patient`.
    pub place: String,
    /// Its lines; together they are YAML that a package may hold.
    pub lines: Vec<ShownLine>,
    /// The same as data; every scalar is a text.
    pub document: Json,
}

/// One line, and where it comes from.
#[derive(Clone, Debug, Serialize)]
pub struct ShownLine {
    /// The line without its origin.
    pub text: String,
    /// The file it was written in, named as in diagnostics.
    pub file: String,
    /// The line there, from 1.
    pub line: u32,
    /// The layer that file belongs to.
    pub layer: String,
}

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShowError {
    /// No layer has a file of that name.
    #[error("there is no map, table or message map `{name}`{}", .near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        near: Option<String>,
    },
    /// Several kinds of files have that name.
    #[error("`{name}` is the name of several files: say {}", .places.join(" or "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Their places.
        places: Vec<String>,
    },
}

/// The merged file of that name: `PID/Patient`, `ORU_R01`, `AdministrativeSex`, or its place such as
/// `tables/AdministrativeSex`. The findings are those of reading and merging, of all files.
///
/// # Errors
/// [`ShowError`]; what is wrong in the files stands in the findings.
pub fn show(layers: &[Layer], name: &str) -> (Result<Shown, ShowError>, Vec<Diagnostic>) {
    let files = Files::new(layers);
    let (documents, diagnostics) = merge(&files);
    let found = find(&documents, name).map(|(place, node)| shown(&files, place, node));
    (found, diagnostics)
}

fn shown(files: &Files, place: String, node: &Node) -> Shown {
    let line = |(text, span): (String, crate::yaml::Span)| ShownLine {
        text,
        file: files.path(span.file).to_owned(),
        line: span.line,
        layer: files.layer(span.file).to_owned(),
    };
    Shown {
        place,
        lines: yaml::lines(node).into_iter().map(line).collect(),
        document: json(node),
    }
}

fn places(documents: &Documents) -> Vec<(String, &Node)> {
    let mut places = Vec::new();
    for (name, (kind, node)) in &documents.maps {
        places.push((format!("{}/{name}", kind.folder()), node));
    }
    places.extend(
        documents
            .tables
            .iter()
            .map(|(name, node)| (format!("tables/{name}"), node)),
    );
    places.extend(
        documents
            .messages
            .iter()
            .map(|(name, node)| (format!("messages/{name}"), node)),
    );
    places.extend(
        documents
            .parts
            .iter()
            .map(|(name, node)| (format!("messages/parts/{name}"), node)),
    );
    places
}

fn find<'d>(documents: &'d Documents, name: &str) -> Result<(String, &'d Node), ShowError> {
    let wanted = name.strip_suffix(".yaml").unwrap_or(name);
    let all = places(documents);
    let short = |place: &str| {
        place
            .split_once('/')
            .map_or("", |(_, name)| name)
            .to_owned()
    };
    let mut found: Vec<_> = all
        .iter()
        .filter(|(place, _)| place == wanted || short(place) == wanted)
        .collect();
    match (found.len(), found.pop()) {
        (1, Some((place, node))) => Ok((place.clone(), node)),
        (0, _) => {
            let names: Vec<String> = all.iter().map(|(place, _)| short(place)).collect();
            Err(ShowError::Unknown {
                name: name.to_owned(),
                near: closest(wanted, names.iter().map(String::as_str)).map(str::to_owned),
            })
        }
        _ => Err(ShowError::Ambiguous {
            name: name.to_owned(),
            places: all
                .iter()
                .map(|(place, _)| place.clone())
                .filter(|place| place == wanted || short(place) == wanted)
                .collect(),
        }),
    }
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Scalar { text, .. } => Json::String(text.clone()),
        Value::List(members) => Json::Array(members.iter().map(json).collect()),
        Value::Map(pairs) => Json::Object(
            pairs
                .iter()
                .map(|(key, value)| (key.text().unwrap_or_default().to_owned(), json(value)))
                .collect(),
        ),
    }
}

/// Whether two nodes say the same, wherever they stand.
pub(crate) fn same_texts(one: &Node, other: &Node) -> bool {
    json(one) == json(other)
}

// === impl Shown ===

impl Shown {
    /// The lines as YAML, each with its origin behind it as a comment in one column.
    pub fn yaml(&self) -> String {
        let long = |line: &ShownLine| line.text.chars().count();
        let column = self
            .lines
            .iter()
            .map(long)
            .filter(|width| *width <= WIDTH)
            .max()
            .unwrap_or(0);
        let mut out = String::new();
        for line in &self.lines {
            let blank = column.saturating_sub(long(line)) + 2;
            let _ = writeln!(
                out,
                "{}{}# {}:{}",
                line.text,
                " ".repeat(blank),
                line.file,
                line.line
            );
        }
        out
    }
}
