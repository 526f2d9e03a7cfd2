//! Code tables: what each code becomes, by the coding system it is of.

use std::collections::HashMap;

use super::Compiler;
use super::layers::Documents;
use super::rows::RowsOf;
use crate::diagnostic::Code;
use crate::plan::{Miss, Table, Target};
use crate::tables::{EQUIVALENCES, V2_TABLES, is_no_target, v2_name};
use crate::vocabulary;
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
        self.table_sources();
        self.table_rests(documents);
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
        self.code_group(&mut table, node);
        for (key, value) in pairs {
            match key.text().unwrap_or_default() {
                "table" => {
                    if value.text() != Some(name) {
                        self.error(
                            Code::Layout,
                            value.span,
                            format!("this file holds the table `{name}`"),
                            format!("write `table: {name}`, or rename the file"),
                        );
                    }
                }
                "rows" => self.rows(value, &RowsOf::Table, documents),
                "groups" => {
                    for member in value.members() {
                        let mut group = Table {
                            name: name.to_owned(),
                            ..Table::default()
                        };
                        self.code_group(&mut group, member);
                        self.code_group_keys(member);
                        table.more.push(group);
                    }
                }
                "miss" => {
                    if let Some(miss) = self.miss(value) {
                        table.miss = miss;
                    }
                }
                "translate" => {
                    let text = self.text_of(value, "a ConceptMap").unwrap_or_default();
                    let (is_url, text) = (text.contains(':'), text.to_owned());
                    if is_url || text == crate::translate::ANY {
                        table.translate = Some(text);
                    } else {
                        self.error(
                            Code::Shape,
                            value.span,
                            format!("`{text}` is no canonical URL of a ConceptMap"),
                            "write its URL, or `any` for the one that the terminology server has",
                        );
                    }
                }
                // The codes are read already; the table that is asked for the rest is put in when all are read.
                other => self.known_key(key, other, &vocabulary::TABLE),
            }
        }
        table
    }

    fn code_group_keys(&mut self, node: &Node) {
        let Some(pairs) = node.pairs() else {
            self.error(
                Code::Shape,
                node.span,
                format!("a group of codes is a map of keys, not {}", node.kind()),
                vocabulary::GROUP.help(""),
            );
            return;
        };
        for (key, _) in pairs {
            self.known_key(key, key.text().unwrap_or_default(), &vocabulary::GROUP);
        }
    }

    /// Source, target and codes, of a table or of one group in it.
    fn code_group(&mut self, table: &mut Table, node: &Node) {
        // First what the codes refer to.
        if let Some(target) = node.get("target") {
            table.target = self
                .text_of(target, "`target`")
                .unwrap_or_default()
                .to_owned();
        }
        for (key, value) in node.pairs().unwrap_or_default() {
            match key.text().unwrap_or_default() {
                "source" => {
                    table.source = value
                        .members()
                        .iter()
                        .filter_map(Node::text)
                        .map(str::to_owned)
                        .collect();
                }
                "codes" => self.codes(table, value),
                "same" => self.same(table, value),
                "default" => table.default = self.table_target(table, value),
                _ => {}
            }
        }
        if table.same_rest
            && table.default.is_some()
            && let Some(default) = node.get("default")
        {
            self.warn(
                Code::Unreachable,
                default.span,
                "the default never has a turn: `same: all` takes every code that is not listed",
                "keep one of them",
            );
        }
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
        table.codes.reserve(pairs.len());
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

    /// `same: { R: Recurring patient }`, or `same: all`.
    fn same(&mut self, table: &mut Table, value: &Node) {
        if value.text() == Some("all") {
            table.same_rest = true;
            return;
        }
        let Some(pairs) = value.pairs() else {
            self.error(
                Code::Shape,
                value.span,
                format!("`same` is a map of codes, not {}", value.kind()),
                "write `same: { R: Recurring patient }`, or `same: all` for every code that is not listed",
            );
            return;
        };
        for (code, display) in pairs {
            let Some(code) = code.text() else { continue };
            let display = display
                .text()
                .filter(|text| !text.is_empty() && *text != "~")
                .map(str::to_owned);
            let target = Target {
                code: code.to_owned(),
                display,
                system: table.target.clone(),
            };
            if table.codes.insert(code.to_owned(), vec![target]).is_some() {
                self.error(
                    Code::Unreachable,
                    value.span,
                    format!("the code `{code}` stands twice"),
                    "keep it in `codes:` or in `same:`",
                );
            }
        }
    }

    /// A target; nothing for `~`, and for one that only says that there is none.
    fn table_target(&mut self, table: &Table, node: &Node) -> Option<Target> {
        let mut target = Target {
            system: table.target.clone(),
            ..Target::default()
        };
        match &node.value {
            _ if node.is_null() && node.text() != Some("") => return None,
            Value::Scalar { text, .. } => target.code.clone_from(text),
            Value::Map(pairs) => {
                for (key, value) in pairs {
                    let text = self.text_of(value, "this")?.to_owned();
                    match key.text().unwrap_or_default() {
                        "code" => target.code = text,
                        "display" => target.display = Some(text),
                        "system" => target.system = text,
                        "equivalence" if EQUIVALENCES.contains(&text.as_str()) => {}
                        "equivalence" => self.error(
                            Code::UnknownKey,
                            value.span,
                            format!("`{text}` is no equivalence"),
                            format!("FHIR has {}", EQUIVALENCES.join(", ")),
                        ),
                        other => self.known_key(key, other, &vocabulary::TARGET),
                    }
                }
                if is_no_target(node) {
                    return None;
                }
            }
            Value::List(_) => {
                self.error(
                    Code::Shape,
                    node.span,
                    "lists can't be nested here",
                    "write one list of targets",
                );
                return None;
            }
        }
        if target.code.is_empty() {
            self.error(
                Code::Shape,
                node.span,
                "a target needs a code",
                "write `{ code: female, display: Female }`, or `~` for a code that has no target",
            );
            return None;
        }
        Some(target)
    }

    // === what tables say of each other ===

    /// A source may be named as senders name it (`LN`) or by its URI: each stands for the other.
    fn table_sources(&mut self) {
        let systems = self
            .table_ids
            .get("CodingSystem")
            .and_then(|id| self.plan.tables.get(*id));
        let mut uris: HashMap<String, String> = HashMap::new();
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        for (name, targets) in systems.iter().flat_map(|table| &table.codes) {
            if let Some(target) = targets.first() {
                uris.insert(name.clone(), target.code.clone());
                names
                    .entry(target.code.clone())
                    .or_default()
                    .push(name.clone());
            }
        }
        for table in &mut self.plan.tables {
            for group in std::iter::once(&mut table.source)
                .chain(table.more.iter_mut().map(|group| &mut group.source))
            {
                let mut more: Vec<String> = Vec::new();
                for source in group.iter() {
                    let uri = uris.get(source).unwrap_or(source);
                    more.push(uri.clone());
                    more.extend(names.get(uri).into_iter().flatten().cloned());
                    more.extend(v2_name(source).filter(|_| source.starts_with(V2_TABLES)));
                }
                more.sort_unstable();
                more.dedup();
                more.retain(|name| !group.contains(name));
                group.extend(more);
            }
        }
    }

    /// `else: NAME` asks another table for the codes that this one does not list.
    fn table_rests(&mut self, documents: &Documents) {
        let mut rests = HashMap::new();
        for (name, node) in &documents.tables {
            let Some(other) = node.get("else") else {
                continue;
            };
            let Some(text) = self
                .text_of(other, "the name of a table")
                .map(str::to_owned)
            else {
                continue;
            };
            if let (Some(id), Some(other_id)) = (
                self.table_ids.get(name).copied(),
                self.table_id(&text, other.span),
            ) {
                rests.insert(id, (other_id, other.span));
            }
        }
        let mut all: Vec<(usize, Vec<Table>)> = Vec::new();
        for (id, (first, span)) in &rests {
            let (mut seen, mut next, mut more) = (vec![*id], Some(*first), Vec::new());
            while let Some(other) = next {
                if seen.contains(&other) {
                    let name = self
                        .plan
                        .tables
                        .get(other)
                        .map_or("", |table| &table.name)
                        .to_owned();
                    self.error(
                        Code::Circle,
                        *span,
                        format!("`else: {name}` leads back to this table"),
                        "break the circle: a table can't be asked for what it does not list itself",
                    );
                    break;
                }
                seen.push(other);
                more.extend(
                    self.plan
                        .tables
                        .get(other)
                        .into_iter()
                        .flat_map(Table::groups)
                        .map(Table::alone),
                );
                next = rests.get(&other).map(|(id, _)| *id);
            }
            all.push((*id, more));
        }
        for (id, more) in all {
            if let Some(table) = self.plan.tables.get_mut(id) {
                table.more.extend(more);
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
