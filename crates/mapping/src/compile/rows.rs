//! `rows:` — what became of rows of the guide that the rules of a file do not show by themselves.

use super::Compiler;
use super::layers::Documents;
use super::scope::{Scope, resolve};
use crate::diagnostic::{Code, closest};
use crate::notes::{FileNotes, RowNote, Says};
use crate::plan::OriginId;
use crate::syntax::path;
use crate::yaml::Node;

/// Whose rows they are, which says how a row is named.
pub(super) enum RowsOf<'s> {
    /// Fields of the segment, or components of the data type: `PID-10`, `CX.4`.
    Map(&'s Scope, &'s str),
    /// Codes.
    Table,
    /// Groups and segments: `PROCEDURE.ROL`.
    Message,
}

/// What runs in the engine and not in a file, for `by engine`.
const ENGINE: &str = "engine";

impl Compiler {
    /// What a file says of the guide, once its `rows:` are checked.
    pub(super) fn file_notes(&mut self, name: &str, node: &Node, origin: OriginId) -> FileNotes {
        let guide = node.get("guide").map(Node::members).unwrap_or_default();
        let pairs = node.get("rows").and_then(Node::pairs).unwrap_or_default();
        FileNotes {
            name: name.to_owned(),
            guide: guide
                .iter()
                .filter_map(Node::text)
                .map(str::to_owned)
                .collect(),
            rows: pairs
                .iter()
                .filter_map(|(key, value)| {
                    let (map, source, target) = row_name(key.text()?);
                    Some(RowNote {
                        map: map.map(str::to_owned),
                        source: source.to_owned(),
                        target: target.map(str::to_owned),
                        says: says(value.text()?),
                        origin: self.origin(key.span),
                    })
                })
                .collect(),
            origin,
        }
    }

    /// `rows: { PID-10: by PID/Observation-Race, "PID-23 -> birthPlace": the reason why not }`
    pub(super) fn rows(&mut self, node: &Node, of: &RowsOf<'_>, documents: &Documents) {
        let Some(pairs) = node.pairs() else {
            self.error(
                Code::Shape,
                node.span,
                format!("`rows` is a map, not {}", node.kind()),
                "write `rows: { PID-10: by PID/Observation-Race }`",
            );
            return;
        };
        for (key, value) in pairs {
            self.row_source(key, of);
            self.row_outcome(value, documents);
        }
    }

    fn row_source(&mut self, key: &Node, of: &RowsOf<'_>) {
        let text = key.text().unwrap_or_default();
        let (map, source, element) = row_name(text);
        let readable = match of {
            RowsOf::Table => !source.is_empty(),
            RowsOf::Message => {
                let word = |c: char| {
                    c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | '.')
                };
                source
                    .split(" after ")
                    .all(|part| !part.is_empty() && part.chars().all(word))
            }
            RowsOf::Map(scope, name) => {
                if source == *name {
                    true
                } else {
                    match path::parse(source).and_then(|parsed| resolve(scope, &parsed)) {
                        Ok(_) => true,
                        Err(error) => return self.syntax_error(key, error),
                    }
                }
            }
        };
        if !readable || element == Some("") || map.is_some_and(|map| !map.contains('[')) {
            self.error(
                Code::Shape,
                key.span,
                format!("`{text}` names no row of the guide"),
                match of {
                    RowsOf::Map(..) => "write the row's field, or `PID-23 -> birthPlace` where the field has several rows",
                    RowsOf::Table => "write the code of the row",
                    RowsOf::Message => "write the row's groups and segment: `PROCEDURE.ROL`, or `PROCEDURE.ROL -> ROL[CareTeam]`",
                },
            );
        }
    }

    /// `by MAP`, `policy NAME`, or the reason of a deviation.
    fn row_outcome(&mut self, value: &Node, documents: &Documents) {
        let Some(text) = self.text_of(value, "what became of a row") else {
            return;
        };
        if text.trim().is_empty() {
            self.error(
                Code::Shape,
                value.span,
                "the row has no reason",
                "write `by MAP`, `policy NAME`, or why it is done otherwise",
            );
        } else if let Some(rest) = text.strip_prefix("by ") {
            self.row_map(value, first_word(rest), documents);
        } else if let Some(rest) = text.strip_prefix("policy ") {
            self.row_policy(value, first_word(rest));
        }
    }

    fn row_map(&mut self, value: &Node, name: &str, documents: &Documents) {
        let known = || {
            let maps = documents.maps.keys().chain(documents.tables.keys());
            maps.chain(documents.messages.keys()).map(String::as_str)
        };
        if name == ENGINE || known().any(|known| known == name) {
            return;
        }
        let help = closest(name, known()).map_or_else(
            || "name a map as `PID/Patient`; a reason does not start with `by`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        self.error(
            Code::UnknownMap,
            value.span,
            format!("there is no map `{name}`"),
            help,
        );
    }

    fn row_policy(&mut self, value: &Node, name: &str) {
        let policies = &self.plan.policies;
        if policies.iter().any(|policy| policy.name == name) {
            return;
        }
        let near = closest(name, policies.iter().map(|policy| policy.name.as_str()));
        let help = near.map_or_else(
            || "declare it under `policies:` in package.yaml".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        self.error(
            Code::UnknownPolicy,
            value.span,
            format!("package.yaml declares no policy `{name}`"),
            help,
        );
    }
}

/// `MAP[X] SOURCE -> TARGET`: where a file serves several maps of the guide, the one that is meant may stand in front.
fn row_name(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let (source, target) = match text.split_once("->") {
        Some((source, target)) => (source.trim(), Some(target.trim())),
        None => (text.trim(), None),
    };
    match source.split_once(' ') {
        Some((map, source)) if map.ends_with(']') => (Some(map), source.trim(), target),
        _ => (None, source, target),
    }
}

fn says(text: &str) -> Says {
    if let Some(rest) = text.strip_prefix("by ") {
        Says::By(first_word(rest).to_owned())
    } else if let Some(rest) = text.strip_prefix("policy ") {
        Says::Policy(first_word(rest).to_owned())
    } else if let Some(rest) = text.strip_prefix("as ") {
        let element = rest.split_once(';').map_or(rest, |(element, _)| element);
        match element.split_once(" = ") {
            Some((element, constant)) => Says::As(
                element.trim().to_owned(),
                Some(constant.trim().trim_matches('"').to_owned()),
            ),
            None => Says::As(element.trim().to_owned(), None),
        }
    } else {
        Says::Deviates(text.trim().to_owned())
    }
}

/// The name in front, without the punctuation of what follows.
fn first_word(text: &str) -> &str {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.trim_end_matches([',', ';', ':', '.'])
}
