//! The guide's mapped rows as data; `scripts/guide-rows.py` makes the file and describes it.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::GuideKind;

/// Ten times today's size.
const UNPACKED_MAX: usize = 4 << 20;

static PACK: &[u8] = include_bytes!("../../data/guide.z");

/// All maps of the guide.
#[derive(Default)]
pub(super) struct Guide {
    pub maps: Vec<GuideMap>,
    by_name: HashMap<String, usize>,
}

/// One map: its mapped rows.
pub(super) struct GuideMap {
    pub kind: GuideKind,
    pub name: &'static str,
    pub rows: Vec<GuideRow>,
}

/// One mapped row. What an empty field means depends on the kind.
#[derive(Clone, Copy, Default)]
pub(super) struct GuideRow {
    pub ordinal: u32,
    /// A field, component, group path with segment, or code.
    pub source: &'static str,
    /// For a code: its table, such as `HL70001`.
    pub system: &'static str,
    /// An element path, a resource, or a code.
    pub target: &'static str,
    /// For a code: the target's system.
    pub target_system: &'static str,
    /// The data type map, or the segment map of a message row.
    pub map: &'static str,
    /// The code table.
    pub table: &'static str,
    /// A constant that the row assigns.
    pub literal: &'static str,
    /// The other places that the row's condition names, joined by commas.
    pub asks: &'static str,
    /// `Res.element=Res` clauses of a message row.
    pub references: &'static str,
}

/// The guide, read once.
pub(super) fn guide() -> &'static Guide {
    static GUIDE: LazyLock<Guide> = LazyLock::new(|| Guide::read().unwrap_or_default());
    &GUIDE
}

/// How names of maps are compared: the guide writes `CWE[Code]` and `Yes/NoIndicator`, we write `CWE/code`.
pub(super) fn same_name(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

impl Guide {
    fn read() -> Option<Guide> {
        let text = miniz_oxide::inflate::decompress_to_vec_with_limit(PACK, UNPACKED_MAX).ok()?;
        // Decoded once and kept for the life of the process.
        let text: &'static str = String::from_utf8(text).ok()?.leak();
        let mut lines = text.lines();
        let mut guide = Guide::default();
        if lines.next()? != "fhirway-guide 1 1.0.0" {
            return None;
        }
        for line in lines {
            if let Some((kind, name)) = line.split_once(' ').filter(|(kind, _)| kind.len() == 1) {
                let kind = match kind {
                    "m" => GuideKind::Message,
                    "s" => GuideKind::Segment,
                    "d" => GuideKind::DataType,
                    _ => GuideKind::Code,
                };
                guide.by_name.insert(same_name(name), guide.maps.len());
                guide.maps.push(GuideMap {
                    kind,
                    name,
                    rows: Vec::new(),
                });
                continue;
            }
            let map = guide.maps.last_mut()?;
            map.rows.push(row(map.kind, line)?);
        }
        Some(guide)
    }

    pub fn map(&self, name: &str) -> Option<&GuideMap> {
        self.maps.get(*self.by_name.get(&same_name(name))?)
    }
}

fn row(kind: GuideKind, line: &'static str) -> Option<GuideRow> {
    let mut fields = line.split('\t');
    let ordinal = fields.next()?.parse().ok()?;
    let mut next = || fields.next().unwrap_or_default();
    let mut row = GuideRow {
        ordinal,
        source: next(),
        ..GuideRow::default()
    };
    match kind {
        GuideKind::Code => {
            (row.system, row.target, row.target_system) = (next(), next(), next());
        }
        GuideKind::Message => (row.target, row.map, row.references) = (next(), next(), next()),
        GuideKind::Segment | GuideKind::DataType => {
            (row.target, row.map, row.table, row.literal) = (next(), next(), next(), next());
            row.asks = next();
        }
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_is_all_there() {
        let count = |kind| {
            let maps = guide().maps.iter().filter(|map| map.kind == kind);
            maps.map(|map| map.rows.len()).sum::<usize>()
        };
        assert_eq!(count(GuideKind::Message), 402);
        assert_eq!(count(GuideKind::Segment), 1055);
        assert_eq!(count(GuideKind::DataType), 617);
        assert_eq!(count(GuideKind::Code), 2324);
        let sex = guide().map("PID[Patient]").unwrap();
        let row = sex.rows.iter().find(|row| row.source == "PID-8").unwrap();
        assert_eq!((row.target, row.table), ("gender", "AdministrativeSex"));
        assert!(guide().map("CWE[Code]").is_some() && guide().map("YesNoIndicator").is_some());
    }
}
