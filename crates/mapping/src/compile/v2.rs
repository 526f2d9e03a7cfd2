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

pub(crate) fn is_segment(name: &str) -> bool {
    name.starts_with('Z') || versions().any(|definitions| definitions.segment(name).is_some())
}

pub(crate) fn is_data_type(name: &str) -> bool {
    is_primitive(name) || versions().any(|definitions| definitions.data_type(name).is_some())
}

/// Types of one value, which the definitions list without components or not at all.
fn is_primitive(name: &str) -> bool {
    matches!(
        name,
        "ST" | "TX"
            | "FT"
            | "ID"
            | "IS"
            | "NM"
            | "SI"
            | "DT"
            | "TM"
            | "DTM"
            | "GTS"
            | "SNM"
            | "TN"
            | "NUL"
            | "TS"
    )
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
