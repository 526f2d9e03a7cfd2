//! Misses as they are pasted into tables.

use std::fmt::Write as _;

use super::{Entry, MissList};

/// Codes of one table and one coding system, the most frequent first.
struct Group<'l> {
    table: &'l str,
    system: Option<&'l str>,
    codes: Vec<Code<'l>>,
}

/// One code, with all places and senders added up.
struct Code<'l> {
    code: Option<&'l str>,
    count: u64,
    fields: Vec<&'l str>,
    senders: Vec<&'l str>,
}

impl MissList {
    /// Overlay files for tables, one document each: who pastes them adds the targets.
    pub fn yaml(&self) -> String {
        let mut out = String::new();
        let groups = self.groups();
        for table in groups.chunk_by(|one, next| one.table == next.table) {
            if !out.is_empty() {
                out.push_str("---\n");
            }
            let name = table.first().map_or("", |group| group.table);
            let _ = writeln!(
                out,
                "# tables/{name}.yaml of an overlay: add a target to each code, or ~ where there is none"
            );
            out.push_str("extends: below\n");
            let any = table
                .iter()
                .flat_map(|group| &group.codes)
                .any(|code| code.code.is_some());
            out.push_str(if any { "codes:\n" } else { "codes: {}\n" });
            let mut written = Vec::new();
            for group in table {
                group.yaml(&mut written, &mut out);
            }
        }
        if self.more > 0 {
            let _ = writeln!(out, "# and {} misses of further kinds", self.more);
        }
        out
    }

    /// A row per table, system, code, field and sender.
    pub fn csv(&self) -> String {
        let mut out = String::from("table,source,code,target,field,sender,count\n");
        for Entry { missed, count } in &self.misses {
            let text = |text: &Option<String>| cell(text.as_deref().unwrap_or_default());
            let _ = writeln!(
                out,
                "{},{},{},,{},{},{}",
                cell(&missed.table),
                text(&missed.system),
                text(&missed.code),
                cell(&missed.field),
                cell(&missed.sender),
                count.count
            );
        }
        out
    }

    fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        // Sorted by table, then system, then code.
        for Entry { missed, count } in &self.misses {
            let (table, system) = (missed.table.as_str(), missed.system.as_deref());
            if groups
                .last()
                .is_none_or(|last| (last.table, last.system) != (table, system))
            {
                groups.push(Group {
                    table,
                    system,
                    codes: Vec::new(),
                });
            }
            let Some(group) = groups.last_mut() else {
                continue;
            };
            let code = missed.code.as_deref();
            if group.codes.last().is_none_or(|last| last.code != code) {
                group.codes.push(Code {
                    code,
                    count: 0,
                    fields: Vec::new(),
                    senders: Vec::new(),
                });
            }
            if let Some(last) = group.codes.last_mut() {
                last.count += count.count;
                add(&mut last.fields, &missed.field);
                add(&mut last.senders, &missed.sender);
            }
        }
        for group in &mut groups {
            group
                .codes
                .sort_by_key(|code| (code.code.is_none(), std::cmp::Reverse(code.count)));
        }
        groups
    }
}

impl<'l> Group<'l> {
    /// The codes as keys; one that stands above already, of another coding system, as a remark.
    fn yaml(&self, written: &mut Vec<&'l str>, out: &mut String) {
        if let Some(system) = self.system {
            let _ = writeln!(
                out,
                "  # coding system {system}; if the table does not have it: `add: {{ source: {system} }}`"
            );
        }
        let widths = self
            .codes
            .iter()
            .filter_map(|code| Some(key(code.code?).len()));
        let width = widths.max().unwrap_or(0);
        for code in &self.codes {
            let Some(text) = code.code else {
                let _ = writeln!(
                    out,
                    "  # {}: texts that do not look like a code",
                    code.told()
                );
                continue;
            };
            let key = key(text);
            let blank = " ".repeat(width.saturating_sub(key.len()));
            let mark = if written.contains(&text) { "# " } else { "" };
            let _ = writeln!(out, "  {mark}{key}: \"\"{blank}   # {}", code.told());
            written.push(text);
        }
    }
}

impl Code<'_> {
    fn told(&self) -> String {
        let mut senders: Vec<&str> = self
            .senders
            .iter()
            .copied()
            .filter(|name| !name.is_empty())
            .collect();
        let more = senders.len().saturating_sub(5);
        senders.truncate(5);
        let mut told = format!("{} x in {}", self.count, self.fields.join(", "));
        if !senders.is_empty() {
            let _ = write!(told, ", from {}", senders.join(", "));
        }
        if more > 0 {
            let _ = write!(told, " and {more} more");
        }
        told.replace(['\n', '\r'], " ")
    }
}

fn add<'l>(list: &mut Vec<&'l str>, text: &'l str) {
    if !list.contains(&text) {
        list.push(text);
    }
}

/// A code as a YAML key: plain where it can be.
fn key(code: &str) -> String {
    let plain = code
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && code.starts_with(|c: char| c.is_ascii_alphanumeric());
    if plain {
        code.to_owned()
    } else {
        format!("\"{}\"", code.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

fn cell(text: &str) -> String {
    if text.contains([',', '"', ';', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
