//! What the standard calls a part of a message.

use hl7v2::definitions::{Definitions, for_version};
use hl7v2::{Place, Segment, Version};

/// The title of a segment; empty for one that the standard does not know.
pub(super) fn segment(version: Version, name: &str) -> &'static str {
    let title = |definitions: &Definitions| definitions.segment(name).map(|found| found.title);
    title(for_version(version))
        .or_else(|| title(for_version(Version::NEWEST)))
        .unwrap_or_default()
}

/// The names of field, component and subcomponent, as far as the place goes.
pub(super) fn field(version: Version, segment: Segment<'_>, place: &Place) -> String {
    let of = |version| of_version(for_version(version), segment, place);
    of(version)
        .or_else(|| of(Version::NEWEST))
        .unwrap_or_default()
}

fn of_version(definitions: &Definitions, segment: Segment<'_>, place: &Place) -> Option<String> {
    let number = |number: Option<u32>| number.and_then(|number| u16::try_from(number).ok());
    let field = definitions
        .segment(segment.name())?
        .field(number(place.field)?)?;
    let mut names = vec![field.name];
    let varies = segment.field(2).text();
    let mut data_type = match field.data_type {
        "varies" => varies.trim(),
        other => other,
    };
    for part in [number(place.component), number(place.subcomponent)] {
        let component = part.and_then(|part| definitions.data_type(data_type)?.component(part));
        let Some(component) = component else { break };
        names.push(component.name);
        data_type = component.data_type;
    }
    Some(names.join(" / "))
}
