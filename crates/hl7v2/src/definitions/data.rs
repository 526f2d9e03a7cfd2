//! The embedded data: how it is written, and how it is read.
//!
//! `data/definitions.z` is a zlib stream of lines. A mask is a hexadecimal
//! number with one bit per version, the lowest bit for the first one of `V`.
//! ```text
//! V 2.1 2.2 ... 2.9
//! T CX Extended Composite ID with Check Digit      a data type
//!  3ffc 4 HD - Assigning Authority                 mask, component, type, table, name
//! S PID Patient Identification                     a segment
//!  2010 3 CX 1 * 250 - Patient Identifier List     mask, field, type, min, max, length, table, name
//! M ORU_R01                                        a message structure
//!  2000 MSH SFT* PATIENT_RESULT+(PATIENT?(PID))    mask, items (`structures.rs`)
//! E ADT A08 ADT_A01                                code, event (`-`: any other), structure
//! ```
//! `!` before a type marks what is withdrawn; `-` stands for nothing.

use std::sync::OnceLock;

use super::{
    ComponentDefinition, DataTypeDefinition, Definitions, FieldDefinition, SegmentDefinition,
    StructureDefinition,
};
use crate::version::Version;

/// Compressed by `scripts/hl7v2-definitions.py`.
static PACKED: &[u8] = include_bytes!("../../data/definitions.z");

/// The largest size that the data may unpack to; ten times what it is today.
const MAX_UNPACKED: usize = 6 << 20;

/// All lines, cut up but not yet sorted out by version.
#[derive(Default)]
struct Data {
    data_types: Vec<Block>,
    segments: Vec<Block>,
    structures: Vec<Block>,
    events: Vec<(&'static str, &'static str, &'static str)>,
}

/// A heading line and the indented lines below it.
struct Block {
    name: &'static str,
    title: &'static str,
    rows: Vec<(u16, &'static str)>,
}

/// The definitions of a version, made on first use.
pub(super) fn for_version(version: Version) -> &'static Definitions {
    static MADE: [OnceLock<Definitions>; Version::ALL.len()] =
        [const { OnceLock::new() }; Version::ALL.len()];
    static NONE: OnceLock<Definitions> = OnceLock::new();
    let at = Version::ALL
        .iter()
        .position(|known| *known == version)
        .unwrap_or(0);
    MADE.get(at)
        .unwrap_or(&NONE)
        .get_or_init(|| make(version, 1 << at))
}

/// The structure of a message code and event; `-` stands for any other event.
pub(super) fn structure_of_event(code: &str, event: &str) -> Option<&'static str> {
    let events = &data().events;
    let at = events.binary_search_by(|(c, e, _)| (*c, *e).cmp(&(code, event)));
    events.get(at.ok()?).map(|(_, _, structure)| *structure)
}

fn make(version: Version, bit: u16) -> Definitions {
    let data = data();
    Definitions {
        version,
        segments: data
            .segments
            .iter()
            .filter_map(|block| segment(block, bit))
            .collect(),
        data_types: data
            .data_types
            .iter()
            .filter_map(|block| data_type(block, bit))
            .collect(),
        structures: data
            .structures
            .iter()
            .filter_map(|block| {
                Some(StructureDefinition::new(
                    block.name,
                    block.rows_of(bit).next()?,
                ))
            })
            .collect(),
    }
}

fn segment(block: &Block, bit: u16) -> Option<SegmentDefinition> {
    let fields: Vec<_> = block.rows_of(bit).filter_map(field).collect();
    (!fields.is_empty()).then_some(SegmentDefinition {
        name: block.name,
        title: block.title,
        fields,
    })
}

fn field(row: &'static str) -> Option<FieldDefinition> {
    let mut cells = row.splitn(7, ' ');
    let number = cells.next()?.parse().ok()?;
    let (data_type, withdrawn) = written_type(cells.next()?);
    Some(FieldDefinition {
        number,
        data_type,
        withdrawn,
        min: cells.next()?.parse().ok()?,
        max: cells.next()?.parse().ok(),
        length: cells.next()?.parse().ok(),
        table: something(cells.next()?),
        name: cells.next()?,
    })
}

fn data_type(block: &Block, bit: u16) -> Option<DataTypeDefinition> {
    let components: Vec<_> = block.rows_of(bit).filter_map(component).collect();
    (!components.is_empty()).then_some(DataTypeDefinition {
        name: block.name,
        title: block.title,
        components,
    })
}

fn component(row: &'static str) -> Option<ComponentDefinition> {
    let mut cells = row.splitn(4, ' ');
    let number = cells.next()?.parse().ok()?;
    let (data_type, withdrawn) = written_type(cells.next()?);
    Some(ComponentDefinition {
        number,
        data_type,
        withdrawn,
        table: something(cells.next()?),
        name: cells.next()?,
    })
}

fn written_type(cell: &'static str) -> (&'static str, bool) {
    match cell.strip_prefix('!') {
        Some(data_type) => (data_type, true),
        None => (cell, false),
    }
}

fn something(cell: &'static str) -> Option<&'static str> {
    (cell != "-").then_some(cell)
}

fn data() -> &'static Data {
    static DATA: OnceLock<Data> = OnceLock::new();
    static TEXT: OnceLock<String> = OnceLock::new();
    DATA.get_or_init(|| read(TEXT.get_or_init(unpack)))
}

/// Cannot fail for data that a build was tested with: a broken file gives no
/// definitions at all, which the first test of this crate sees.
fn unpack() -> String {
    let bytes = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(PACKED, MAX_UNPACKED)
        .unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn read(text: &'static str) -> Data {
    let mut data = Data::default();
    let mut open = &mut Vec::new();
    for line in text.lines() {
        if let Some(row) = line.strip_prefix(' ') {
            let (mask, row) = row.split_once(' ').unwrap_or_default();
            if let (Ok(mask), Some(block)) = (u16::from_str_radix(mask, 16), open.last_mut()) {
                let block: &mut Block = block;
                block.rows.push((mask, row));
            }
            continue;
        }
        let (kind, rest) = line.split_once(' ').unwrap_or_default();
        let (name, title) = rest.split_once(' ').unwrap_or((rest, ""));
        open = match kind {
            "T" => &mut data.data_types,
            "S" => &mut data.segments,
            "M" => &mut data.structures,
            "E" => {
                let (event, structure) = title.split_once(' ').unwrap_or_default();
                data.events.push((name, event, structure));
                continue;
            }
            _ => continue,
        };
        open.push(Block {
            name,
            title,
            rows: Vec::new(),
        });
    }
    data
}

// === impl Block ===

impl Block {
    fn rows_of(&self, bit: u16) -> impl Iterator<Item = &'static str> {
        self.rows
            .iter()
            .filter(move |(mask, _)| mask & bit != 0)
            .map(|(_, row)| *row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_unpacks_and_every_line_is_read() {
        let text = unpack();
        assert!(text.starts_with("V 2.1 2.2 2.3 "), "{} bytes", text.len());
        let versions: Vec<_> = text.lines().next().unwrap().split(' ').skip(1).collect();
        assert_eq!(versions, Version::ALL.map(Version::as_str));

        let data = data();
        let rows = |blocks: &[Block]| {
            blocks
                .iter()
                .map(|block| block.rows.len() + 1)
                .sum::<usize>()
        };
        let read = rows(&data.segments)
            + rows(&data.data_types)
            + rows(&data.structures)
            + data.events.len()
            + 1;
        assert_eq!(read, text.lines().count());
        for block in &data.segments {
            assert!(
                block.rows.iter().all(|(_, row)| field(row).is_some()),
                "{}",
                block.name
            );
        }
        for block in &data.data_types {
            assert!(
                block.rows.iter().all(|(_, row)| component(row).is_some()),
                "{}",
                block.name
            );
        }
    }

    #[test]
    fn no_version_has_two_rows_of_one_number() {
        let data = data();
        for (block, at) in data
            .segments
            .iter()
            .chain(&data.data_types)
            .flat_map(|b| (0..14).map(move |at| (b, at)))
        {
            let numbers: Vec<u16> = block
                .rows_of(1 << at)
                .map(|row| row.split(' ').next().unwrap().parse().unwrap())
                .collect();
            assert!(
                numbers.windows(2).all(|pair| pair[0] < pair[1]),
                "{} in {:?}",
                block.name,
                Version::ALL[at]
            );
        }
    }

    #[test]
    fn events_lead_to_structures_that_exist() {
        assert!(data().events.is_sorted());
        for (code, event, structure) in &data().events {
            assert!(
                for_version(Version::NEWEST).structure(structure).is_some(),
                "{code} {event}"
            );
        }
    }
}
