//! Code tables as CSV: a row per target, a header row that names the columns, and lines of `# key: value` above it.
//!
//! Quoting is RFC 4180's: a cell with the delimiter, a quote or a line break stands in double quotes, a quote in it is doubled.
//! The delimiter is a comma, a semicolon or a tab, whichever the header row has.

use std::collections::HashMap;

use super::{CodeGroup, CodeTable};
use crate::diagnostic::{Code, Diagnostic, closest};
use crate::yaml::{Node, Span, Value};

/// The columns: of the sender's side `source`, `code` and `name`, the others of the target.
pub(super) const COLUMNS: &[&str] = &[
    "source",
    "code",
    "name",
    "target",
    "display",
    "system",
    "equivalence",
    "comment",
];
/// Keys of a table that may stand above the header row.
const KEYS: &[&str] = &[
    "table",
    "about",
    "source",
    "target",
    "default",
    "same",
    "else",
    "miss",
    "translate",
    "guide",
    "deviates",
    "extends",
];
/// Most rows of one table.
const MAX_ROWS: usize = 1_000_000;

/// Reads a table as the document that the same table in YAML would be.
pub(crate) fn read(file: u16, text: &str) -> Result<Node, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        file,
        rest: text,
        line: 1,
        column: 1,
        delimiter: ',',
        problems: Vec::new(),
    };
    let mut table = Table {
        keys: reader.keys(),
        groups: Vec::new(),
        index: HashMap::new(),
    };
    let columns = reader.header();
    if reader.problems.is_empty() {
        reader.rows(&columns, &mut table);
    }
    if reader.problems.is_empty() {
        Ok(table.document(file))
    } else {
        Err(reader.problems)
    }
}

/// A cell with its place.
struct Cell {
    span: Span,
    text: String,
    quoted: bool,
}

struct Reader<'t> {
    file: u16,
    rest: &'t str,
    line: u32,
    column: u32,
    delimiter: char,
    problems: Vec<Diagnostic>,
}

/// What has been read: keys above the header, and the codes by coding system.
struct Table {
    keys: Vec<(Node, Node)>,
    groups: Vec<(String, Vec<(Node, Node)>)>,
    index: HashMap<(String, String), (usize, usize)>,
}

impl Reader<'_> {
    fn span(&self, length: usize) -> Span {
        Span {
            file: self.file,
            line: self.line,
            column: self.column,
            length: u32::try_from(length.max(1)).unwrap_or(1),
        }
    }

    fn problem(&mut self, code: Code, span: Span, message: impl Into<String>, help: &str) {
        // One mistake often makes all later rows wrong.
        if self.problems.len() < 100 {
            self.problems
                .push(Diagnostic::error(code, span, message).help(help));
        }
    }

    /// Lines of `# key: value`; other lines with `#` are remarks.
    fn keys(&mut self) -> Vec<(Node, Node)> {
        let mut keys = Vec::new();
        loop {
            let line = self.rest.lines().next().unwrap_or_default();
            let trimmed = line.trim();
            if self.rest.is_empty() || !(trimmed.is_empty() || trimmed.starts_with('#')) {
                return keys;
            }
            if let Some((key, value)) = trimmed.trim_start_matches('#').split_once(':') {
                let (key, value) = (key.trim(), value.trim());
                if KEYS.contains(&key) {
                    let node =
                        |text: &str, reader: &Reader<'_>| plain(text, reader.span(line.len()));
                    let value = if key == "source" && value.contains(',') {
                        let members = value
                            .split(',')
                            .map(|name| node(name.trim(), self))
                            .collect();
                        Node {
                            span: self.span(line.len()),
                            value: Value::List(members),
                        }
                    } else {
                        node(value, self)
                    };
                    keys.push((node(key, self), value));
                } else if let Some(near) =
                    closest(key, KEYS.iter().copied()).filter(|_| !key.contains(' '))
                {
                    let span = self.span(line.chars().count());
                    let help = format!(
                        "did you mean `{near}`? A remark has no colon behind its first word"
                    );
                    self.problem(
                        Code::UnknownKey,
                        span,
                        format!("a code table has no key `{key}`"),
                        &help,
                    );
                }
            }
            self.rest = self.rest.get(line.len()..).unwrap_or_default();
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
        self.rest = rest.strip_prefix('\n').unwrap_or(rest);
        self.line += 1;
        self.column = 1;
    }

    /// What each column holds.
    fn header(&mut self) -> Vec<usize> {
        let line = self.rest.lines().next().unwrap_or_default();
        self.delimiter = ['\t', ';', ',']
            .into_iter()
            .max_by_key(|delimiter| line.matches(*delimiter).count())
            .unwrap_or(',');
        let mut columns = Vec::new();
        for cell in self.row() {
            let name = cell.text.trim();
            match COLUMNS.iter().position(|known| *known == name) {
                Some(column) if columns.contains(&column) => {
                    self.problem(
                        Code::UnknownKey,
                        cell.span,
                        format!("the column `{name}` stands twice"),
                        "keep one of them",
                    );
                }
                Some(column) => columns.push(column),
                None => {
                    let near = closest(name, COLUMNS.iter().copied());
                    let help = near.map_or_else(
                        || format!("the columns are {}", COLUMNS.join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.problem(
                        Code::UnknownKey,
                        cell.span,
                        format!("a code table has no column `{name}`"),
                        &help,
                    );
                    columns.push(usize::MAX);
                }
            }
        }
        let code = COLUMNS.iter().position(|name| *name == "code").unwrap_or(0);
        if self.problems.is_empty() && !columns.contains(&code) {
            let span = Span {
                line: self.line.saturating_sub(1).max(1),
                ..self.span(1)
            };
            self.problem(
                Code::Shape,
                span,
                "the header row has no column `code`",
                "name the columns in the first row, such as `code,target,display`",
            );
        }
        columns
    }

    fn rows(&mut self, columns: &[usize], table: &mut Table) {
        let mut rows = 0;
        while !self.rest.is_empty() {
            let start = self.span(1);
            let row = self.row();
            let blank = row
                .iter()
                .all(|cell| cell.text.trim().is_empty() && !cell.quoted);
            if blank {
                continue;
            }
            rows += 1;
            if rows > MAX_ROWS {
                self.problem(
                    Code::Layout,
                    start,
                    "the table has too many rows",
                    "at most 1,000,000 are read: keep only the codes that occur",
                );
                return;
            }
            if row.len() != columns.len() {
                let message = format!(
                    "this row has {} cells, the header has {}",
                    row.len(),
                    columns.len()
                );
                let help = format!(
                    "part the cells with `{}`, and quote a cell that has one in it",
                    self.delimiter
                );
                self.problem(Code::Shape, start, message, &help);
                continue;
            }
            if let Err((span, message, help)) = table.row(row, columns) {
                self.problem(Code::Shape, span, message, help);
            }
        }
    }

    /// The cells up to the end of the row.
    fn row(&mut self) -> Vec<Cell> {
        let mut cells = Vec::new();
        loop {
            cells.push(self.cell());
            if let Some(rest) = self.rest.strip_prefix(self.delimiter) {
                self.rest = rest;
                self.column += 1;
            } else {
                self.end_line();
                return cells;
            }
        }
    }

    fn cell(&mut self) -> Cell {
        let mut span = self.span(1);
        if let Some(inside) = self.rest.strip_prefix('"') {
            return self.quoted(inside, span);
        }
        let end = self
            .rest
            .find([self.delimiter, '\n', '\r'])
            .unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        let length = u32::try_from(text.chars().count()).unwrap_or(1);
        span.length = length.max(1);
        self.rest = rest;
        self.column += length;
        Cell {
            span,
            text: text.trim().to_owned(),
            quoted: false,
        }
    }

    fn quoted(&mut self, inside: &str, span: Span) -> Cell {
        let mut text = String::new();
        let mut rest = inside;
        self.column += 1;
        loop {
            let Some((before, after)) = rest.split_once('"') else {
                self.problem(
                    Code::Shape,
                    span,
                    "the quote is not closed",
                    "a quote inside a quoted cell is written twice",
                );
                self.rest = "";
                break;
            };
            self.moved(before);
            text.push_str(before);
            self.column += 1;
            if let Some(more) = after.strip_prefix('"') {
                text.push('"');
                self.column += 1;
                rest = more;
                continue;
            }
            // The reader's own text, so that it lives as long.
            self.rest = self
                .rest
                .get(self.rest.len() - after.len()..)
                .unwrap_or_default();
            if !after.is_empty() && !after.starts_with([self.delimiter, '\n', '\r']) {
                let here = self.span(1);
                self.problem(
                    Code::Shape,
                    here,
                    "something stands behind the quoted cell",
                    "a quote inside a quoted cell is written twice",
                );
                let end = after.find(['\n', '\r']).unwrap_or(after.len());
                self.rest = self.rest.get(end..).unwrap_or_default();
            }
            break;
        }
        let length = u32::try_from(text.chars().count() + 2).unwrap_or(1);
        Cell {
            span: Span { length, ..span },
            text,
            quoted: true,
        }
    }

    fn moved(&mut self, text: &str) {
        match text.rsplit_once('\n') {
            Some((lines, last)) => {
                self.line += 1 + u32::try_from(lines.matches('\n').count()).unwrap_or(0);
                self.column = 1 + u32::try_from(last.chars().count()).unwrap_or(0);
            }
            None => self.column += u32::try_from(text.chars().count()).unwrap_or(0),
        }
    }
}

fn plain(text: &str, span: Span) -> Node {
    Node {
        span,
        value: Value::Scalar {
            text: text.to_owned(),
            quoted: false,
        },
    }
}

fn quoted(text: String, span: Span) -> Node {
    Node {
        span,
        value: Value::Scalar { text, quoted: true },
    }
}

impl Table {
    /// A row: a code, and one target of it.
    fn row(
        &mut self,
        row: Vec<Cell>,
        columns: &[usize],
    ) -> Result<(), (Span, String, &'static str)> {
        let start = row.first().map(|cell| cell.span).unwrap_or_default();
        let mut cells: [Option<Cell>; 8] = Default::default();
        for (cell, column) in row.into_iter().zip(columns) {
            if let Some(place) = cells.get_mut(*column).filter(|_| !cell.text.is_empty()) {
                *place = Some(cell);
            }
        }
        let [
            source,
            code,
            name,
            target,
            display,
            system,
            equivalence,
            comment,
        ] = cells;
        let source = source.map(|cell| cell.text).unwrap_or_default();
        let Some(code) = code else {
            return Err((
                start,
                "the row has no code".to_owned(),
                "write the sender's code into the column `code`",
            ));
        };
        let simple = display.is_none()
            && system.is_none()
            && equivalence.is_none()
            && name.is_none()
            && comment.is_none();
        let value = match target {
            Some(target) if simple => quoted(target.text, target.span),
            // Listed, and without a target.
            None if simple => plain("~", code.span),
            target => {
                let mut pairs = Vec::new();
                let none = target.is_none() && equivalence.is_none();
                for (key, cell) in [
                    ("code", target),
                    ("display", display),
                    ("system", system),
                    ("equivalence", equivalence),
                    ("name", name),
                    ("comment", comment),
                ] {
                    if let Some(cell) = cell {
                        pairs.push((plain(key, cell.span), quoted(cell.text, cell.span)));
                    }
                }
                if none {
                    pairs.push((
                        plain("equivalence", code.span),
                        plain("unmatched", code.span),
                    ));
                }
                Node {
                    span: code.span,
                    value: Value::Map(pairs),
                }
            }
        };
        self.add(source, code, value)
    }

    fn add(
        &mut self,
        source: String,
        code: Cell,
        value: Node,
    ) -> Result<(), (Span, String, &'static str)> {
        let place = (source.clone(), code.text.clone());
        if let Some((group, entry)) = self.index.get(&place) {
            let known = self
                .groups
                .get_mut(*group)
                .and_then(|(_, codes)| codes.get_mut(*entry));
            let Some((_, known)) = known else {
                return Ok(());
            };
            if known
                .members()
                .iter()
                .any(|other| crate::show::same_texts(other, &value))
            {
                let message = format!("the code `{}` stands twice with this target", code.text);
                return Err((
                    code.span,
                    message,
                    "remove the row; a second target of a code is a row with another `target`",
                ));
            }
            let members = known.members().iter().cloned().chain([value]).collect();
            known.value = Value::List(members);
            return Ok(());
        }
        let group = match self.groups.iter().position(|(known, _)| *known == source) {
            Some(group) => group,
            None => {
                self.groups.push((source, Vec::new()));
                self.groups.len() - 1
            }
        };
        if let Some((_, codes)) = self.groups.get_mut(group) {
            self.index.insert(place, (group, codes.len()));
            codes.push((quoted(code.text, code.span), value));
        }
        Ok(())
    }

    /// The table as if it had been written in YAML: rows without a source are the table's own group.
    fn document(mut self, file: u16) -> Node {
        let top = Span {
            file,
            line: 1,
            column: 1,
            length: 1,
        };
        let codes = |pairs: Vec<(Node, Node)>| {
            let span = pairs.first().map_or(top, |(key, _)| key.span);
            (
                plain("codes", span),
                Node {
                    span,
                    value: Value::Map(pairs),
                },
            )
        };
        let target = self
            .keys
            .iter()
            .find(|(key, _)| key.text() == Some("target"))
            .cloned();
        let mut groups = Vec::new();
        for (source, pairs) in self.groups {
            if source.is_empty() {
                self.keys.push(codes(pairs));
                continue;
            }
            let (key, map) = codes(pairs);
            let mut group = vec![(plain("source", map.span), quoted(source, map.span))];
            group.extend(target.clone());
            let span = map.span;
            group.push((key, map));
            groups.push(Node {
                span,
                value: Value::Map(group),
            });
        }
        if !groups.is_empty() {
            let span = groups.first().map_or(top, |group| group.span);
            self.keys.push((
                plain("groups", span),
                Node {
                    span,
                    value: Value::List(groups),
                },
            ));
        }
        Node {
            span: top,
            value: Value::Map(self.keys),
        }
    }
}

// === writing ===

impl CodeTable {
    /// The table as CSV, with its keys above the header row. Columns that are empty in all rows are left out.
    pub fn to_csv(&self) -> String {
        let mut out = String::new();
        let mut key = |name: &str, value: &str| {
            if !value.is_empty() {
                out.push_str(&format!("# {name}: {value}\n"));
            }
        };
        key("table", &self.name);
        key("about", self.about.as_deref().unwrap_or_default());
        let first = self.groups.first();
        let alone = self.groups.len() == 1;
        if let Some(group) = first.filter(|_| alone) {
            key("source", &group.source.join(", "));
        }
        key("target", first.map_or("", |group| &group.target));
        if let Some(group) = first {
            key("same", if group.same_rest { "all" } else { "" });
            key(
                "default",
                group.default.as_ref().map_or("", |target| &target.code),
            );
        }
        key("else", self.rest.as_deref().unwrap_or_default());
        key("miss", self.miss.as_deref().unwrap_or_default());
        let main = first.map_or("", |group| group.target.as_str());
        let rows: Vec<[String; 8]> = self
            .groups
            .iter()
            .flat_map(|group| rows(group, main, alone))
            .collect();
        let used: Vec<usize> = (0..COLUMNS.len())
            .filter(|column| {
                let name = COLUMNS.get(*column).copied().unwrap_or_default();
                matches!(name, "code" | "target")
                    || rows
                        .iter()
                        .any(|row| row.get(*column).is_some_and(|cell| !cell.is_empty()))
            })
            .collect();
        let mut line = |cells: Vec<&str>| {
            let cells: Vec<String> = cells.into_iter().map(cell).collect();
            out.push_str(&cells.join(","));
            out.push('\n');
        };
        line(
            used.iter()
                .filter_map(|column| COLUMNS.get(*column).copied())
                .collect(),
        );
        for row in &rows {
            line(
                used.iter()
                    .filter_map(|column| row.get(*column).map(String::as_str))
                    .collect(),
            );
        }
        out
    }
}

fn rows(group: &CodeGroup, main: &str, alone: bool) -> Vec<[String; 8]> {
    let mut rows = Vec::new();
    let sources: Vec<&str> = match group.source.as_slice() {
        _ if alone => vec![""],
        [] => vec![""],
        sources => sources.iter().map(String::as_str).collect(),
    };
    for source in sources {
        for entry in &group.codes {
            let name = entry.name.clone().unwrap_or_default();
            let start = |rest: [String; 5]| {
                let [target, display, system, equivalence, comment] = rest;
                [
                    source.to_owned(),
                    entry.code.clone(),
                    name.clone(),
                    target,
                    display,
                    system,
                    equivalence,
                    comment,
                ]
            };
            if entry.targets.is_empty() {
                rows.push(start(Default::default()));
            }
            for target in &entry.targets {
                let other =
                    (group.target != main && !target.code.is_empty()).then(|| group.target.clone());
                rows.push(start([
                    target.code.clone(),
                    target.display.clone().unwrap_or_default(),
                    target.system.clone().or(other).unwrap_or_default(),
                    target.equivalence.clone().unwrap_or_default(),
                    target.comment.clone().unwrap_or_default(),
                ]));
            }
        }
    }
    rows
}

/// A cell, in quotes if it needs them.
pub(super) fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r', ';', '\t']) || text.trim() != text {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
