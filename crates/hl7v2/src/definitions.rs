//! What the standard defines, by version: segments and their fields, data types
//! and their components, message structures, and which event means which.
//!
//! The facts are embedded compressed (under 100 kB) and unpacked on first use;
//! after that every lookup is a binary search in static memory. Version 2.9 is
//! cumulative: it also knows what newer versions dropped, so that one map can
//! be checked against it whatever the age of the messages it will meet. A
//! withdrawn field keeps the type and name it last had, and says so.
//!
//! `scripts/hl7v2-definitions.py` makes the data and names its sources.
//!
//! ```
//! use hl7v2::{Version, definitions};
//!
//! let newest = definitions::for_version(Version::NEWEST);
//! let field = newest.segment("PID").and_then(|pid| pid.field(3)).unwrap();
//! assert_eq!((field.name, field.data_type), ("Patient Identifier List", "CX"));
//! let authority = newest.data_type("CX").and_then(|cx| cx.component(4)).unwrap();
//! assert_eq!((authority.name, authority.data_type), ("Assigning Authority", "HD"));
//! ```

use std::fmt;

use crate::version::Version;

mod data;
mod structures;

pub use structures::{StructureDefinition, StructureItem};

/// The definitions of one version. One static value each, see [`for_version`].
pub struct Definitions {
    version: Version,
    segments: Vec<SegmentDefinition>,
    data_types: Vec<DataTypeDefinition>,
    structures: Vec<StructureDefinition>,
}

/// A segment and its fields (chapters 2 to 17 of the standard).
#[derive(Clone, Debug)]
pub struct SegmentDefinition {
    /// Three characters, `PID`.
    pub name: &'static str,
    /// `Patient Identification`; empty for a few that no source names.
    pub title: &'static str,
    /// In order of their numbers; a number may be missing in an old version.
    pub fields: Vec<FieldDefinition>,
}

/// A field of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDefinition {
    /// Counted from 1.
    pub number: u16,
    /// In Title Case, `Patient Identifier List`.
    pub name: &'static str,
    /// `CX`; `varies` where another field decides (OBX-5). Versions 2.2 to 2.4
    /// have composites of one field only, named `CM_...`.
    pub data_type: &'static str,
    /// 1 when the standard requires the field, else 0.
    pub min: u32,
    /// The largest number of repetitions; `None` when there is no limit.
    pub max: Option<u32>,
    /// The largest length in characters, where the standard of that version gives one.
    pub length: Option<u32>,
    /// Number of the HL7 table of its values, four digits as in `0001`.
    pub table: Option<&'static str>,
    /// The field is withdrawn in this version; type and name are the last it had.
    pub withdrawn: bool,
}

/// A data type with components (chapter 2A).
#[derive(Clone, Debug)]
pub struct DataTypeDefinition {
    /// `CX`
    pub name: &'static str,
    /// `Extended Composite ID with Check Digit`; may be empty.
    pub title: &'static str,
    /// In order of their numbers.
    pub components: Vec<ComponentDefinition>,
}

/// A component of a data type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComponentDefinition {
    /// Counted from 1.
    pub number: u16,
    /// In Title Case, `Assigning Authority`.
    pub name: &'static str,
    /// `HD`
    pub data_type: &'static str,
    /// Number of the HL7 table of its values, four digits.
    pub table: Option<&'static str>,
    /// The component is withdrawn in this version; type and name are the last it had.
    pub withdrawn: bool,
}

/// The definitions of a version, made on first use.
#[must_use]
pub fn for_version(version: Version) -> &'static Definitions {
    data::for_version(version)
}

/// The structure that a message code and an event mean in the newest version
/// (table 0354, and what older versions wrote): `("ADT", "A08")` is `ADT_A01`.
/// `None` when the event is not known for that code.
#[must_use]
pub fn structure_of_event(code: &str, event: &str) -> Option<&'static str> {
    data::structure_of_event(code, event)
}

/// The structure to assume for a message code when its event is missing or not
/// known: `ADT_A01` for `ADT`. `None` for a code that no version has.
#[must_use]
pub fn structure_of_code(code: &str) -> Option<&'static str> {
    data::structure_of_event(code, "-")
}

// === impl Definitions ===

impl Definitions {
    /// The version that these are the definitions of.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The segment of that name.
    #[must_use]
    pub fn segment(&self, name: &str) -> Option<&SegmentDefinition> {
        let at = self
            .segments
            .binary_search_by(|segment| segment.name.cmp(name));
        self.segments.get(at.ok()?)
    }

    /// All segments in alphabetical order.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &SegmentDefinition> {
        self.segments.iter()
    }

    /// The names of all segments, to suggest one.
    pub fn segment_names(&self) -> impl ExactSizeIterator<Item = &'static str> {
        self.segments.iter().map(|segment| segment.name)
    }

    /// The data type of that name, when it has components. A primitive type
    /// (`ST`, `DTM`) has none and is not listed.
    #[must_use]
    pub fn data_type(&self, name: &str) -> Option<&DataTypeDefinition> {
        let at = self
            .data_types
            .binary_search_by(|data_type| data_type.name.cmp(name));
        self.data_types.get(at.ok()?)
    }

    /// All data types with components, in alphabetical order.
    pub fn data_types(&self) -> impl ExactSizeIterator<Item = &DataTypeDefinition> {
        self.data_types.iter()
    }

    /// The names of all data types with components, to suggest one.
    pub fn data_type_names(&self) -> impl ExactSizeIterator<Item = &'static str> {
        self.data_types.iter().map(|data_type| data_type.name)
    }

    /// The message structure of that id, `ORU_R01`. In 2.9 its groups have the
    /// names of the v2-to-FHIR guide; older versions have their own.
    #[must_use]
    pub fn structure(&self, id: &str) -> Option<&StructureDefinition> {
        let at = self
            .structures
            .binary_search_by(|structure| structure.id().cmp(id));
        self.structures.get(at.ok()?)
    }

    /// All message structures in alphabetical order of their ids.
    pub fn structures(&self) -> impl ExactSizeIterator<Item = &StructureDefinition> {
        self.structures.iter()
    }

    /// The ids of all message structures, to suggest one.
    pub fn structure_names(&self) -> impl ExactSizeIterator<Item = &'static str> {
        self.structures.iter().map(StructureDefinition::id)
    }
}

impl fmt::Debug for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definitions")
            .field("version", &self.version)
            .field("segments", &self.segments.len())
            .field("data_types", &self.data_types.len())
            .field("structures", &self.structures.len())
            .finish()
    }
}

// === impl SegmentDefinition ===

impl SegmentDefinition {
    /// The field of that number, counted from 1.
    #[must_use]
    pub fn field(&self, number: u16) -> Option<&FieldDefinition> {
        let at = self
            .fields
            .binary_search_by_key(&number, |field| field.number);
        self.fields.get(at.ok()?)
    }
}

// === impl DataTypeDefinition ===

impl DataTypeDefinition {
    /// The component of that number, counted from 1.
    #[must_use]
    pub fn component(&self, number: u16) -> Option<&ComponentDefinition> {
        let at = self
            .components
            .binary_search_by_key(&number, |component| component.number);
        self.components.get(at.ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(version: Version, segment: &str, number: u16) -> FieldDefinition {
        *for_version(version)
            .segment(segment)
            .unwrap()
            .field(number)
            .unwrap()
    }

    #[test]
    fn every_version_is_there() {
        for version in Version::ALL {
            let definitions = for_version(version);
            assert_eq!(definitions.version(), version);
            assert!(definitions.segments().len() > 30, "{definitions:?}");
            assert!(definitions.structures().len() > 30, "{definitions:?}");
            for name in ["MSH", "PID", "OBR", "OBX", "ORC", "PV1"] {
                assert!(definitions.segment(name).is_some(), "{name} in {version:?}");
            }
            assert!(
                definitions.structure("ACK").is_some()
                    && definitions.structure("ADT_A01").is_some()
            );
        }
    }

    #[test]
    fn the_newest_version_has_all_that_older_ones_have() {
        let newest = for_version(Version::NEWEST);
        for version in Version::ALL {
            for segment in for_version(version).segments() {
                let there = newest.segment(segment.name).unwrap();
                for field in &segment.fields {
                    assert!(
                        there.field(field.number).is_some(),
                        "{}-{}",
                        segment.name,
                        field.number
                    );
                }
            }
        }
    }

    #[test]
    fn a_field_changes_with_its_version() {
        assert_eq!(
            field(Version::V2_3, "PID", 3).name,
            "Patient ID Internal ID"
        );
        let list = field(Version::V2_5_1, "PID", 3);
        assert_eq!(
            list,
            FieldDefinition {
                number: 3,
                name: "Patient Identifier List",
                data_type: "CX",
                min: 1,
                max: None,
                length: Some(250),
                table: None,
                withdrawn: false,
            }
        );
        assert_eq!(field(Version::V2_5_1, "PID", 8).data_type, "IS");
        assert_eq!(field(Version::V2_9, "PID", 8).data_type, "CWE");
        assert_eq!(field(Version::V2_9, "PID", 8).table, Some("0001"));
        assert_eq!(field(Version::V2_5_1, "PID", 7).name, "Date/Time of Birth");
        assert_eq!(
            field(Version::V2_3_1, "PID", 6).name,
            "Mother's Maiden Name"
        );
    }

    #[test]
    fn a_withdrawn_field_keeps_its_last_type() {
        let alternate = field(Version::V2_8, "PID", 4);
        assert!(alternate.withdrawn);
        assert_eq!(
            (alternate.data_type, alternate.name),
            ("CX", "Alternate Patient ID - PID")
        );
        let security_number = field(Version::V2_9, "PID", 19);
        assert!(security_number.withdrawn);
        assert_eq!(security_number.data_type, "ST");
        // PID-28 is not even listed in 2.8.2
        assert!(
            for_version(Version::V2_8_2)
                .segment("PID")
                .unwrap()
                .field(28)
                .is_none()
        );
        assert_eq!(field(Version::V2_9, "PID", 28).name, "Nationality");
    }

    #[test]
    fn components_have_types() {
        let cx = for_version(Version::V2_5).data_type("CX").unwrap();
        assert_eq!(cx.component(4).unwrap().data_type, "HD");
        assert_eq!(cx.component(4).unwrap().name, "Assigning Authority");
        assert_eq!(cx.component(5).unwrap().table, Some("0203"));
        assert!(cx.component(11).is_none());
        assert!(
            for_version(Version::V2_9)
                .data_type("CX")
                .unwrap()
                .component(12)
                .is_some()
        );
        assert!(for_version(Version::V2_9).data_type("ST").is_none());
    }

    #[test]
    fn names_are_sorted_and_readable() {
        let newest = for_version(Version::NEWEST);
        for names in [
            newest.segment_names().collect::<Vec<_>>(),
            newest.data_type_names().collect(),
            newest.structure_names().collect(),
        ] {
            assert!(names.is_sorted() && names.len() > 50);
        }
        for segment in newest.segments() {
            assert_eq!(segment.name.len(), 3);
            for field in &segment.fields {
                assert!(
                    !field.name.is_empty() && !field.name.contains('_'),
                    "{}-{}",
                    segment.name,
                    field.number
                );
                assert!(
                    field.max.is_none_or(|max| max >= field.min.max(1)),
                    "{}-{}",
                    segment.name,
                    field.number
                );
            }
        }
    }

    #[test]
    fn events_mean_structures() {
        for (code, event, structure) in [
            ("ADT", "A01", "ADT_A01"),
            ("ADT", "A04", "ADT_A01"),
            ("ADT", "A08", "ADT_A01"),
            ("ADT", "A13", "ADT_A01"),
            ("ADT", "A03", "ADT_A03"),
            ("ADT", "A14", "ADT_A05"),
            ("ADT", "A28", "ADT_A05"),
            ("ADT", "A31", "ADT_A05"),
            ("ADT", "A40", "ADT_A39"),
            ("ADT", "A11", "ADT_A09"),
            ("SIU", "S15", "SIU_S12"),
            ("MDM", "T10", "MDM_T02"),
            ("RDE", "O01", "RDE_O11"),
            ("ORU", "R01", "ORU_R01"),
        ] {
            assert_eq!(
                structure_of_event(code, event),
                Some(structure),
                "{code} {event}"
            );
        }
        assert_eq!(structure_of_event("ADT", "Z99"), None);
        assert_eq!(structure_of_code("ADT"), Some("ADT_A01"));
        assert_eq!(structure_of_code("MDM"), Some("MDM_T02"));
        assert_eq!(structure_of_code("ZZZ"), None);
    }
}
