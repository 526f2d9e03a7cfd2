//! Code tables as data: read from a package, written as YAML or CSV, exchanged as FHIR ConceptMaps.
//!
//! This is the form for people and for exchange. What the engine looks codes up in is compiled from the same files.

mod concept_map;
mod csv;
mod text;

use std::collections::BTreeMap;

use crate::compile::{Documents, Files, merge};
use crate::diagnostic::{Diagnostic, closest};
use crate::package::Layer;
use crate::show::ShowError;
use crate::yaml::{Node, Value};

pub use concept_map::ConceptMapError;
pub(crate) use csv::read as read_csv;

/// The equivalences of a FHIR R4 ConceptMap.
pub(crate) const EQUIVALENCES: &[&str] = &[
    "relatedto",
    "equivalent",
    "equal",
    "wider",
    "subsumes",
    "narrower",
    "specializes",
    "inexact",
    "unmatched",
    "disjoint",
];

/// Where HL7 keeps its v2 tables as FHIR code systems.
pub(crate) const V2_TABLES: &str = "http://terminology.hl7.org/CodeSystem/v2-";

/// A code table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodeTable {
    /// Its name in the package, such as `PatientClass/EncounterClass`.
    pub name: String,
    /// What it is about, in a line.
    pub about: Option<String>,
    /// The groups; one is enough unless coding systems use the same codes for different things.
    pub groups: Vec<CodeGroup>,
    /// What happens to a code that is not listed: `keep`, `drop`, `park` or `fail`. `None` is `keep`.
    pub miss: Option<String>,
    /// The table that is asked for codes that are not listed.
    pub rest: Option<String>,
}

/// Codes of the same coding systems.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodeGroup {
    /// The coding systems as messages name them, such as `HL70002`, or by URI. Empty: any.
    pub source: Vec<String>,
    /// URI of the system of most targets.
    pub target: String,
    /// The codes, in the order of the file.
    pub codes: Vec<CodeEntry>,
    /// Whether codes that are not listed stay what they are.
    pub same_rest: bool,
    /// What stands for codes that are not listed.
    pub default: Option<CodeTarget>,
}

/// One code of a sender.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodeEntry {
    /// The code.
    pub code: String,
    /// What it is called, for people.
    pub name: Option<String>,
    /// What it becomes; empty for a code that is known to have no target.
    pub targets: Vec<CodeTarget>,
}

/// One target of a code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodeTarget {
    /// The code; empty where `equivalence` says that there is none.
    pub code: String,
    /// Its display.
    pub display: Option<String>,
    /// URI of its system when it is not the group's.
    pub system: Option<String>,
    /// How it relates to the source code, in the words of a ConceptMap.
    pub equivalence: Option<String>,
    /// A remark.
    pub comment: Option<String>,
}

/// URIs of coding systems by the names that messages give them: the package's table `CodingSystem`.
#[derive(Clone, Debug, Default)]
pub struct CodingSystems {
    uris: BTreeMap<String, String>,
}

/// The table of that name as all layers make it, and the package's names of coding systems. The findings are those of
/// reading and merging, of all files.
///
/// # Errors
/// [`ShowError`] when no layer has such a table.
pub fn table(
    layers: &[Layer],
    name: &str,
) -> (
    Result<(CodeTable, CodingSystems), ShowError>,
    Vec<Diagnostic>,
) {
    let (documents, diagnostics) = merge(&Files::new(layers));
    let name = name.strip_prefix("tables/").unwrap_or(name);
    let found = documents.tables.get(name).map(|node| {
        (
            CodeTable::of_node(name, node),
            CodingSystems::of_documents(&documents),
        )
    });
    let found = found.ok_or_else(|| ShowError::Unknown {
        name: name.to_owned(),
        near: closest(name, documents.tables.keys().map(String::as_str)).map(str::to_owned),
    });
    (found, diagnostics)
}

impl CodingSystems {
    /// The names of coding systems in a package.
    pub fn of(layers: &[Layer]) -> CodingSystems {
        CodingSystems::of_documents(&merge(&Files::new(layers)).0)
    }

    fn of_documents(documents: &Documents) -> CodingSystems {
        let table = documents
            .tables
            .get("CodingSystem")
            .map(|node| CodeTable::of_node("CodingSystem", node));
        let entries = table
            .into_iter()
            .flat_map(|table| table.groups)
            .flat_map(|group| group.codes);
        let uris = entries
            .filter_map(|entry| Some((entry.code, entry.targets.into_iter().next()?.code)))
            .collect();
        CodingSystems { uris }
    }

    /// The URI of a coding system that a message names so.
    fn uri(&self, name: &str) -> String {
        if let Some(uri) = self.uris.get(name) {
            return uri.clone();
        }
        match v2_number(name) {
            Some(number) => format!("{V2_TABLES}{number}"),
            None if name.contains(':') => name.to_owned(),
            None if is_oid(name) => format!("urn:oid:{name}"),
            None => format!("{LOCAL_SYSTEM}{name}"),
        }
    }

    /// The name of a coding system, if it has one that messages use.
    fn name(&self, uri: &str) -> String {
        v2_name(uri)
            .or_else(|| uri.strip_prefix(LOCAL_SYSTEM).map(str::to_owned))
            .or_else(|| {
                let named = self.uris.iter().find(|(_, known)| *known == uri);
                named.map(|(name, _)| name.clone())
            })
            .unwrap_or_else(|| uri.to_owned())
    }
}

/// Start of the URIs of coding systems that only have a name.
const LOCAL_SYSTEM: &str = "urn:fhirway:system:";

fn is_oid(text: &str) -> bool {
    text.contains('.') && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// `0002` of `HL70002`.
fn v2_number(name: &str) -> Option<&str> {
    name.strip_prefix("HL7")
        .filter(|number| number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// `HL70002` of the URI of a v2 table.
pub(crate) fn v2_name(uri: &str) -> Option<String> {
    let number = uri.strip_prefix(V2_TABLES)?;
    let fits = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| format!("HL7{number}"))
}

/// Whether a target only says that the code has none.
pub(crate) fn is_no_target(node: &Node) -> bool {
    matches!(
        node.get("equivalence").and_then(Node::text),
        Some("unmatched" | "disjoint")
    )
}

// === from a file ===

impl CodeTable {
    /// The table of a merged file. What the compiler refuses is passed over.
    fn of_node(name: &str, node: &Node) -> CodeTable {
        let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let mut groups = vec![CodeGroup::of_node(node)];
        if let Some(more) = node.get("groups") {
            groups.extend(more.members().iter().map(CodeGroup::of_node));
            let first = groups.first();
            if first.is_some_and(|group| {
                group.codes.is_empty() && group.default.is_none() && !group.same_rest
            }) {
                groups.remove(0);
            }
        }
        CodeTable {
            name: name.to_owned(),
            about: text("about"),
            groups,
            miss: text("miss"),
            rest: text("else"),
        }
    }
}

impl CodeGroup {
    fn of_node(node: &Node) -> CodeGroup {
        let mut group = CodeGroup {
            target: node
                .get("target")
                .and_then(Node::text)
                .unwrap_or_default()
                .to_owned(),
            source: node
                .get("source")
                .map(Node::members)
                .unwrap_or_default()
                .iter()
                .filter_map(Node::text)
                .map(str::to_owned)
                .collect(),
            default: node.get("default").and_then(CodeTarget::of_node),
            ..CodeGroup::default()
        };
        for (code, value) in pairs(node.get("codes")) {
            let name = value
                .members()
                .iter()
                .find_map(|member| member.get("name"))
                .and_then(Node::text);
            group.codes.push(CodeEntry {
                code: code.to_owned(),
                name: name.map(str::to_owned),
                targets: value
                    .members()
                    .iter()
                    .filter_map(CodeTarget::of_node)
                    .collect(),
            });
        }
        group.same_rest = node.get("same").and_then(Node::text) == Some("all");
        for (code, display) in pairs(node.get("same")) {
            let target = CodeTarget {
                code: code.to_owned(),
                display: display
                    .text()
                    .filter(|_| !display.is_null())
                    .map(str::to_owned),
                ..CodeTarget::default()
            };
            group.codes.push(CodeEntry {
                code: code.to_owned(),
                name: None,
                targets: vec![target],
            });
        }
        group
    }
}

fn pairs(node: Option<&Node>) -> impl Iterator<Item = (&str, &Node)> {
    node.and_then(Node::pairs)
        .unwrap_or_default()
        .iter()
        .filter_map(|(key, value)| Some((key.text()?, value)))
}

impl CodeTarget {
    /// Nothing for `~`; an entry without a code keeps its equivalence and comment.
    fn of_node(node: &Node) -> Option<CodeTarget> {
        if node.is_null() {
            return None;
        }
        let Value::Map(_) = &node.value else {
            return Some(CodeTarget {
                code: node.text()?.to_owned(),
                ..CodeTarget::default()
            });
        };
        let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let target = CodeTarget {
            code: text("code").unwrap_or_default(),
            display: text("display"),
            system: text("system"),
            equivalence: text("equivalence"),
            comment: text("comment"),
        };
        Some(target)
    }

    /// Whether there is such a target; else it says that there is none.
    fn is_target(&self) -> bool {
        !matches!(self.equivalence.as_deref(), Some("unmatched" | "disjoint"))
    }
}
