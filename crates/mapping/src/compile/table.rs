//! Code tables.

use super::Compiler;
use super::layers::Documents;
use super::rows::RowsOf;
use crate::diagnostic::Code;
use crate::plan::{Miss, Table, Target};
use crate::yaml::{Node, Value};

impl Compiler {
    pub(super) fn table_headers(&mut self, documents: &Documents) {
        for (id, name) in documents.tables.keys().enumerate() {
            self.table_ids.insert(name.clone(), id);
        }
    }

    pub(super) fn tables(&mut self, documents: &Documents) {
        for (name, node) in &documents.tables {
            let table = self.table(name, node, documents);
            let origin = self.origin(node.span);
            let notes = self.file_notes(name, node, origin);
            self.plan.notes.tables.push(notes);
            self.plan.tables.push(table);
        }
    }

    fn table(&mut self, name: &str, node: &Node, documents: &Documents) -> Table {
        let mut table = Table {
            name: name.to_owned(),
            ..Table::default()
        };
        let Some(pairs) = node.pairs() else {
            self.error(
                Code::Shape,
                node.span,
                "a code table is a map of keys",
                "write `table:`, `source:`, `target:` and `codes:`",
            );
            return table;
        };
        // First what the codes refer to.
        if let Some(target) = node.get("target") {
            table.target = self
                .text_of(target, "`target`")
                .unwrap_or_default()
                .to_owned();
        }
        for (key, value) in pairs {
            match key.text().unwrap_or_default() {
                "table" => {
                    if value.text() != Some(name) {
                        self.error(Code::Layout, value.span, format!("this file holds the table `{name}`"), format!("write `table: {name}`, or rename the file"));
                    }
                }
                "source" => table.source = value.members().iter().filter_map(Node::text).map(str::to_owned).collect(),
                "target" | "about" | "guide" | "deviates" => {}
                "rows" => self.rows(value, &RowsOf::Table, documents),
                "codes" => self.codes(&mut table, value),
                "same" => {
                    for (code, display) in value.pairs().unwrap_or_default() {
                        let Some(code) = code.text() else { continue };
                        let display = display.text().filter(|text| !text.is_empty() && *text != "~").map(str::to_owned);
                        let target = Target { code: code.to_owned(), display, system: table.target.clone() };
                        if table.codes.insert(code.to_owned(), vec![target]).is_some() {
                            self.error(Code::Unreachable, value.span, format!("the code `{code}` stands twice"), "keep it in `codes:` or in `same:`");
                        }
                    }
                }
                "default" => table.default = self.table_target(&table, value),
                "miss" => {
                    if let Some(miss) = self.miss(value) {
                        table.miss = miss;
                    }
                }
                other => self.error(
                    Code::UnknownKey,
                    key.span,
                    format!("a code table has no key `{other}`"),
                    "its keys are table, source, target, codes, same, default, miss, about, guide, deviates and rows",
                ),
            }
        }
        table
    }

    fn codes(&mut self, table: &mut Table, node: &Node) {
        let Some(pairs) = node.pairs() else {
            self.error(
                Code::Shape,
                node.span,
                format!("`codes` is a map, not {}", node.kind()),
                "write `codes: { F: female }`",
            );
            return;
        };
        for (code, value) in pairs {
            let Some(code) = code.text() else { continue };
            let targets: Vec<Target> = value
                .members()
                .iter()
                .filter_map(|member| self.table_target(table, member))
                .collect();
            table.codes.insert(code.to_owned(), targets);
        }
    }

    fn table_target(&mut self, table: &Table, node: &Node) -> Option<Target> {
        match &node.value {
            Value::Scalar { text, .. } => Some(Target {
                code: text.clone(),
                display: None,
                system: table.target.clone(),
            }),
            Value::Map(pairs) => {
                let mut target = Target {
                    system: table.target.clone(),
                    ..Target::default()
                };
                for (key, value) in pairs {
                    let text = self.text_of(value, "this")?.to_owned();
                    match key.text().unwrap_or_default() {
                        "code" => target.code = text,
                        "display" => target.display = Some(text),
                        "system" => target.system = text,
                        other => self.error(
                            Code::UnknownKey,
                            key.span,
                            format!("a target code has no key `{other}`"),
                            "its keys are code, display and system",
                        ),
                    }
                }
                if target.code.is_empty() {
                    self.error(
                        Code::Shape,
                        node.span,
                        "a target needs a code",
                        "write `{ code: female, display: Female }`",
                    );
                    return None;
                }
                Some(target)
            }
            Value::List(_) => {
                self.error(
                    Code::Shape,
                    node.span,
                    "lists can't be nested here",
                    "write one list of targets",
                );
                None
            }
        }
    }

    pub(super) fn miss(&mut self, node: &Node) -> Option<Miss> {
        Some(match node.text().unwrap_or_default() {
            "keep" => Miss::Keep,
            "drop" => Miss::Drop,
            "park" => Miss::Park,
            "fail" => Miss::Fail,
            other => {
                self.error(
                    Code::UnknownKey,
                    node.span,
                    format!("`{other}` is no answer to a missing code"),
                    "use keep, drop, park or fail",
                );
                return None;
            }
        })
    }
}
