//! The v2 side of a rule: whether a field or component exists in any version of the standard, and of what type it is.

use hl7v2::Version;
use hl7v2::definitions::{Definitions, for_version};

use crate::diagnostic::closest;

/// What is known of a field.
pub(crate) enum Field {
    /// It exists; its data type where one is defined (not for Z-segments and fields whose type varies).
    Known(Option<String>),
    /// No version has the segment; one that was probably meant.
    Unknown(Option<String>),
    /// The segment has only so many fields.
    Beyond(u16),
}

/// The versions, newest first.
fn versions() -> impl Iterator<Item = &'static Definitions> {
    Version::ALL.into_iter().rev().map(for_version)
}

pub(crate) fn field(segment: &str, number: u16) -> Field {
    if segment.starts_with('Z') {
        return Field::Known(None);
    }
    let mut count = 0;
    for definitions in versions() {
        let Some(found) = definitions.segment(segment) else {
            continue;
        };
        count = count.max(
            found
                .fields
                .iter()
                .map(|field| field.number)
                .max()
                .unwrap_or(0),
        );
        if let Some(field) = found.field(number) {
            let varies = matches!(field.data_type, "varies" | "Varies" | "*" | "");
            return Field::Known((!varies).then(|| field.data_type.to_owned()));
        }
    }
    if count == 0 {
        let near = closest(segment, for_version(Version::NEWEST).segment_names());
        return Field::Unknown(near.map(|near| format!("did you mean `{near}`?")));
    }
    Field::Beyond(count)
}

/// Whether a version has the field, withdrawn or not.
pub(crate) fn has_field(version: Version, segment: &str, number: u16) -> bool {
    let segment = for_version(version).segment(segment);
    segment.is_some_and(|segment| segment.field(number).is_some())
}

pub(crate) fn is_segment(name: &str) -> bool {
    name.starts_with('Z') || versions().any(|definitions| definitions.segment(name).is_some())
}

pub(crate) fn is_data_type(name: &str) -> bool {
    is_primitive(name) || versions().any(|definitions| definitions.data_type(name).is_some())
}

/// Types of one value, which the definitions list without components or not at all.
const PRIMITIVES: &[&str] = &[
    "ST", "TX", "FT", "ID", "IS", "NM", "SI", "DT", "TM", "DTM", "GTS", "SNM", "TN", "NUL", "TS",
];

pub(crate) fn is_primitive(name: &str) -> bool {
    PRIMITIVES.contains(&name)
}

pub(crate) fn nearest_data_type(name: &str) -> Option<String> {
    closest(name, for_version(Version::NEWEST).data_type_names())
        .map(|near| format!("did you mean `{near}`?"))
}

/// The type of a component, or how many components the type has. The first component of a primitive is itself.
pub(crate) fn component(data_type: &str, number: u16) -> Result<Option<String>, u16> {
    let mut count = 0;
    let mut composite = false;
    for definitions in versions() {
        let Some(found) = definitions.data_type(data_type) else {
            continue;
        };
        composite |= !found.components.is_empty();
        count = count.max(
            found
                .components
                .iter()
                .map(|component| component.number)
                .max()
                .unwrap_or(0),
        );
        if let Some(component) = found.component(number) {
            return Ok((!component.data_type.is_empty()).then(|| component.data_type.to_owned()));
        }
    }
    match (composite, number) {
        (false, 1) => Ok(Some(data_type.to_owned())),
        // Composites of one field only (`CM_...`) and what no version defines.
        (false, _) if !is_primitive(data_type) => Ok(None),
        _ => Err(count.max(1)),
    }
}

// === data types over all versions: a field may be an ST in one and a CX in the next ===

/// The data types that a part of a segment has had; empty when one of them is not known.
pub(crate) fn types(
    segment: &str,
    field: u16,
    component: u16,
    subcomponent: u16,
) -> Vec<&'static str> {
    let mut found = Vec::new();
    for definitions in versions() {
        if let Some(field) = definitions
            .segment(segment)
            .and_then(|found| found.field(field))
        {
            found.push(field.data_type);
        }
    }
    parts(found, component, subcomponent)
}

/// The data types of a part of a value of one of these types; empty when one of them is not known.
pub(crate) fn parts(
    whole: Vec<&'static str>,
    component: u16,
    subcomponent: u16,
) -> Vec<&'static str> {
    let mut types = whole;
    for number in [component, subcomponent] {
        if number > 0 {
            types = types
                .iter()
                .flat_map(|name| components(name, number))
                .collect();
        }
    }
    // The newest first, since that is the one to speak of.
    let mut seen = std::collections::HashSet::new();
    types.retain(|name| seen.insert(*name));
    if types.iter().any(|name| !is_data_type(name)) {
        types.clear();
    }
    types
}

/// The types of one component in all versions; a primitive is its own first component.
fn components(data_type: &'static str, number: u16) -> Vec<&'static str> {
    if is_primitive(data_type) && data_type != "TS" {
        return if number == 1 {
            vec![data_type]
        } else {
            Vec::new()
        };
    }
    versions()
        .filter_map(|definitions| definitions.data_type(data_type)?.component(number))
        .map(|component| component.data_type)
        .collect()
}

/// The name of a data type as the definitions have it.
pub(crate) fn known_type(name: &str) -> Option<&'static str> {
    versions()
        .find_map(|definitions| definitions.data_type(name).map(|found| found.name))
        .or_else(|| PRIMITIVES.iter().copied().find(|known| *known == name))
}

/// The type that the text of a value is of: of a composite its first part that has no parts.
pub(crate) fn leaf(data_type: &'static str) -> &'static str {
    let mut name = data_type;
    // No type is nested deeper.
    for _ in 0..4 {
        let first = versions().find_map(|definitions| definitions.data_type(name)?.component(1));
        match first {
            Some(first) if first.data_type != name => name = first.data_type,
            _ => return name,
        }
    }
    name
}

/// Number of the HL7 table of a part of a segment, as the newest version that has one says.
pub(crate) fn table(segment: &str, field: u16, component: u16) -> Option<&'static str> {
    let field_of = |definitions: &'static Definitions| definitions.segment(segment)?.field(field);
    let newest = versions().find_map(field_of)?;
    if component <= 1 && newest.table.is_some() {
        return newest.table;
    }
    let of_field = || versions().find_map(|definitions| field_of(definitions)?.table);
    if component <= 1
        && let Some(table) = of_field()
    {
        return Some(table);
    }
    versions().find_map(|definitions| {
        definitions
            .data_type(newest.data_type)?
            .component(component)?
            .table
    })
}

/// Whether a map for one data type can read a value of another: they share the positions of their parts.
pub(crate) fn alike(one: &str, other: &str) -> bool {
    const FAMILIES: &[&[&str]] = &[
        &["CWE", "CNE", "CE", "CF", "CQ"],
        &["CX", "CK", "CM"],
        &["XCN", "CN", "CNN", "PPN", "NDL"],
        &["XPN", "PN", "PPN"],
        &["XAD", "AD", "SAD", "LA2"],
        &["XTN", "TN"],
        &["HD", "EI"],
        &["EI", "EIP"],
        &["DTM", "TS", "DT", "DR", "TM"],
        &["PL", "LA1", "LA2"],
        &["JCC", "CE"],
    ];
    one == other
        || is_primitive(one)
        || is_primitive(other)
        || one.starts_with("CM")
        || other.starts_with("CM")
        || FAMILIES
            .iter()
            .any(|family| family.contains(&one) && family.contains(&other))
}

// === for people ===

/// The field of the newest version that has it.
pub(crate) fn field_definition(
    segment: &str,
    number: u16,
) -> Option<&'static hl7v2::definitions::FieldDefinition> {
    versions().find_map(|definitions| definitions.segment(segment)?.field(number))
}

/// The largest field number of a segment in any version; 0 for an unknown one.
pub(crate) fn field_count(segment: &str) -> u16 {
    versions()
        .filter_map(|definitions| definitions.segment(segment)?.fields.last())
        .map(|field| field.number)
        .max()
        .unwrap_or(0)
}

/// The components of a data type in the newest version that has it.
pub(crate) fn component_definitions(
    data_type: &str,
) -> Vec<&'static hl7v2::definitions::ComponentDefinition> {
    versions()
        .find_map(|definitions| definitions.data_type(data_type))
        .map(|found| found.components.iter().collect())
        .unwrap_or_default()
}
