//! `key:` — what makes a resource the same one in the next message.

use super::Compiler;
use super::scope::{Scope, resolve};
use crate::diagnostic::Code;
use crate::plan::{Canonical, Identity, Part, WriteMode};
use crate::syntax::path;
use crate::yaml::{Node, Value};

impl Compiler {
    pub(crate) fn identity(&mut self, node: &Node, scope: &Scope) -> Option<Identity> {
        let parts = node
            .members()
            .iter()
            .map(|member| self.part(member, scope))
            .collect::<Option<Vec<_>>>()?;
        if parts.is_empty() {
            self.error(
                Code::Shape,
                node.span,
                "`key` is empty",
                "name the fields that identify the resource, or leave `key` out",
            );
            return None;
        }
        Some(Identity { parts })
    }

    /// One key, or a list of keys.
    pub(crate) fn identities(&mut self, node: &Node, scope: &Scope) -> Vec<Identity> {
        let keys = node.members();
        if keys.iter().all(|key| matches!(key.value, Value::List(_))) {
            return keys
                .iter()
                .filter_map(|key| self.identity(key, scope))
                .collect();
        }
        self.identity(node, scope).into_iter().collect()
    }

    fn part(&mut self, node: &Node, scope: &Scope) -> Option<Part> {
        let text = self.text_of(node, "a part of a key")?;
        if text.contains("{{") {
            return Some(Part::Template(self.template(node, scope)?));
        }
        match (&node.value, text) {
            (_, "sender") => return Some(Part::Sender),
            (_, "message") => return Some(Part::Message),
            (_, "repeat") => return Some(Part::Repeat),
            (Value::Scalar { quoted: true, text }, _) if !path::looks_like_path(text) => {
                return Some(Part::Text(text.clone()));
            }
            _ => {}
        }
        let texts: Vec<String> = text
            .split(" else ")
            .map(|choice| choice.trim().to_owned())
            .collect();
        if texts
            .iter()
            .all(|text| text.starts_with(|c: char| c.is_ascii_lowercase()))
        {
            let names = texts
                .iter()
                .map(|name| self.known_bound(name, node.span))
                .collect::<Option<Vec<_>>>()?;
            return Some(Part::Bound(names));
        }
        let mut choices = Vec::new();
        for choice in texts {
            match path::parse(&choice).and_then(|parsed| resolve(scope, &parsed)) {
                Ok(resolved) => {
                    if let Ok(parsed) = path::parse(&choice) {
                        let at = text.find(&choice).unwrap_or(0);
                        self.note_path(&parsed, scope, node, at);
                    }
                    let canonical = canonical(resolved.data_type.as_deref());
                    choices.push((resolved.access, canonical));
                }
                Err(error) => {
                    self.syntax_error(node, error);
                    return None;
                }
            }
        }
        Some(Part::Value(choices))
    }

    pub(crate) fn write_mode(&mut self, node: &Node) -> Option<WriteMode> {
        match node.text() {
            Some("update") => Some(WriteMode::Update),
            Some("create") => Some(WriteMode::Create),
            _ => {
                self.error(Code::Shape, node.span, "`write` is `update` or `create`", "`update` makes or replaces the resource, `create` leaves one that exists alone");
                None
            }
        }
    }
}

fn canonical(data_type: Option<&str>) -> Canonical {
    match data_type {
        Some("CX" | "CK") => Canonical::Cx,
        Some("EI") => Canonical::Ei,
        Some("XCN" | "CN") => Canonical::Xcn,
        Some("XON") => Canonical::Xon,
        Some("CE" | "CWE" | "CNE" | "CF") => Canonical::Code,
        Some("HD") => Canonical::Hd,
        _ => Canonical::Whole,
    }
}
