//! Coverage for people: as text and as Markdown.

use std::fmt::Write as _;

use super::{Coverage, CoverageCounts, GuideKind, MapCoverage, Outcome, RowCoverage};

const KINDS: [(Option<GuideKind>, &str); 5] = [
    (Some(GuideKind::Message), "message maps"),
    (Some(GuideKind::Segment), "segment maps"),
    (Some(GuideKind::DataType), "datatype maps"),
    (Some(GuideKind::Code), "code tables"),
    (None, "all"),
];

impl Coverage {
    /// The figures by kind, as a Markdown table.
    pub fn summary(&self) -> String {
        let mut out = String::new();
        let _ = write!(
            out,
            "| kind | maps | {MARKDOWN_HEAD}|---|---:|{MARKDOWN_LINE}"
        );
        for (kind, name) in KINDS {
            let maps = self
                .maps
                .iter()
                .filter(|map| kind.is_none_or(|kind| kind == map.kind));
            let _ = writeln!(
                out,
                "| {name} | {} | {} |",
                maps.count(),
                cells(&self.counts(kind))
            );
        }
        out
    }

    /// The figures by kind, then map by map.
    pub fn markdown(&self) -> String {
        let mut out = self.summary();
        let _ = write!(
            out,
            "\n| map | served by | {MARKDOWN_HEAD}|---|---|{MARKDOWN_LINE}"
        );
        for map in &self.maps {
            let files: Vec<String> = map.files.iter().map(|file| format!("`{file}`")).collect();
            let _ = writeln!(
                out,
                "| `{}` | {} | {} |",
                map.map,
                files.join(", "),
                cells(&map.counts())
            );
        }
        out
    }

    /// The same as columns of text.
    pub fn text(&self) -> String {
        let mut out = format!("{:<44}{HEAD}\n", "");
        for (kind, name) in KINDS {
            let _ = writeln!(out, "{name:<44}{}", columns(&self.counts(kind)));
        }
        for (kind, name) in KINDS.iter().filter(|(kind, _)| kind.is_some()) {
            let _ = writeln!(out, "\n{name}");
            for map in self.maps.iter().filter(|map| Some(map.kind) == *kind) {
                let _ = writeln!(out, "  {:<42}{}", map.map, columns(&map.counts()));
            }
        }
        out
    }

    /// The rows that nothing does, map by map.
    pub fn missing(&self) -> String {
        let mut out = String::new();
        for map in &self.maps {
            let rows = map
                .rows
                .iter()
                .filter(|row| matches!(row.outcome, Outcome::Missing { .. }));
            let mut rows = rows.peekable();
            if rows.peek().is_some() {
                let _ = writeln!(out, "{} ({})", map.map, files(map));
                rows.for_each(|row| out.push_str(&line(row)));
            }
        }
        out
    }
}

impl Coverage {
    /// The rows whose condition asks about places that the rules do not ask about, map by map; empty when there is none.
    pub fn conditions(&self) -> String {
        let mut out = String::new();
        for map in &self.maps {
            let mut rows = map
                .rows
                .iter()
                .filter(|row| !row.unasked.is_empty())
                .peekable();
            if rows.peek().is_some() {
                let _ = writeln!(out, "{} ({})", map.map, files(map));
                for row in rows {
                    let line = line(row);
                    let asks = row.unasked.join(", ");
                    let _ = writeln!(out, "{}  · the guide asks {asks}", line.trim_end());
                }
            }
        }
        out
    }
}

impl MapCoverage {
    /// Row by row, with the rule.
    pub fn text(&self) -> String {
        let mut out = format!("{} ({})\n", self.map, files(self));
        self.rows.iter().for_each(|row| out.push_str(&line(row)));
        let counts = self.counts();
        let _ = writeln!(out, "{HEAD}\n{}", columns(&counts));
        out
    }
}

const MARKDOWN_HEAD: &str = "rows | implemented | corrected | claimed | policy | deviates | missing | accounted for | in substance |\n";
const MARKDOWN_LINE: &str = "---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
const HEAD: &str =
    " rows implemented corrected claimed policy deviates missing accounted substance";

fn files(map: &MapCoverage) -> String {
    if map.files.is_empty() {
        "no file".to_owned()
    } else {
        map.files.join(", ")
    }
}

fn columns(counts: &CoverageCounts) -> String {
    format!(
        "{:>5}{:>12}{:>10}{:>8}{:>7}{:>9}{:>8}{:>10}{:>10}",
        counts.rows,
        counts.implemented,
        counts.corrected,
        counts.claimed,
        counts.policy,
        counts.deviates,
        counts.missing,
        percent(counts.accounted(), counts.rows),
        percent(counts.in_substance(), counts.rows),
    )
}

fn cells(counts: &CoverageCounts) -> String {
    [
        counts.rows.to_string(),
        counts.implemented.to_string(),
        counts.corrected.to_string(),
        counts.claimed.to_string(),
        counts.policy.to_string(),
        counts.deviates.to_string(),
        counts.missing.to_string(),
        percent(counts.accounted(), counts.rows),
        percent(counts.in_substance(), counts.rows),
    ]
    .join(" | ")
}

/// Rounded down, so that 100 % is all.
fn percent(part: usize, whole: usize) -> String {
    let tenths = (part * 1000).checked_div(whole).unwrap_or(1000);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn line(row: &RowCoverage) -> String {
    let (word, more) = match &row.outcome {
        Outcome::Implemented => ("implemented", String::new()),
        Outcome::Corrected { element } => ("corrected", format!("as {element}")),
        Outcome::Claimed { by } => ("claimed", format!("by {by}")),
        Outcome::Policy { policy } => ("policy", policy.clone()),
        Outcome::Deviates { reason } => ("deviates", reason.clone()),
        Outcome::Missing { why } => ("missing", why.clone().unwrap_or_default()),
    };
    let rule = row.rule.as_deref().unwrap_or_default();
    let mut line = format!(
        "  {:>4} {:<12} {} -> {}",
        row.ordinal, word, row.source, row.target
    );
    for part in [more.as_str(), rule] {
        if !part.is_empty() {
            line.push_str("  · ");
            line.push_str(part);
        }
    }
    line.push('\n');
    line
}
