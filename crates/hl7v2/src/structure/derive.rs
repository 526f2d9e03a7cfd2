//! Which structure a message has: MSH-9.3, or what MSH-9.1 and MSH-9.2 mean.

use std::borrow::Cow;

use crate::definitions::{for_version, structure_of_code, structure_of_event};
use crate::header::Header;
use crate::issue::{Issue, IssueCode};
use crate::message::Message;
use crate::version::Version;

/// The structure of a message: MSH-9.3 when it names one that fits MSH-9.1, else
/// derived from the message code and the event (table 0354).
///
/// Also for old or careless senders: `ORU` alone is `ORU_R01`, `ADT^A04^ADT_A04`
/// is `ADT_A01`, `ORU_R01` in MSH-9.1 and lower case are understood. For what
/// the standard does not have, the text of MSH-9.3, or code and event joined.
/// `None` when MSH-9 is empty.
#[must_use]
pub fn structure_id(header: &Header<'_>) -> Option<Cow<'static, str>> {
    let [code, event, structure] =
        [header.code(), header.event(), header.structure()].map(|text| tidy(&text));
    derive(&code, &event, &structure)
}

/// The same for a whole message: EVN-1 stands in for a missing event, and what
/// was guessed becomes an issue.
pub(super) fn structure_of(message: &Message<'_>, issues: &mut Vec<Issue>) -> Cow<'static, str> {
    let header = message.header();
    let [code, mut event, structure] =
        [header.code(), header.event(), header.structure()].map(|text| tidy(&text));
    if event.is_empty() && structure.is_empty() && !code.contains('_') {
        let evn = message.segments().find(|segment| segment.name() == "EVN");
        event = evn
            .map(|evn| tidy(&evn.field(1).text()))
            .unwrap_or_default();
    }
    let id = derive(&code, &event, &structure).unwrap_or_default();
    let field = header.segment().field(9);
    let mut note = |code| {
        issues.push(Issue {
            code,
            place: Some(field.place()),
            offset: field.offset(),
        })
    };
    if !is_known(&id) {
        note(IssueCode::StructureUnknown);
    } else if id != structure {
        note(IssueCode::StructureDerived);
    }
    id
}

fn derive(code: &str, event: &str, structure: &str) -> Option<Cow<'static, str>> {
    // `ORU_R01` in the place of the code
    let (code, event) = match code.split_once('_') {
        Some((code, joined)) if event.is_empty() => (code, joined),
        Some((code, _)) => (code, event),
        None => (code, event),
    };
    if let Some(id) =
        known(structure).filter(|id| code.is_empty() || id.split('_').next() == Some(code))
    {
        return Some(Cow::Borrowed(id));
    }
    let by_event = structure_of_event(code, event).or_else(|| {
        // 9.3 names an event of its own, as 2.2 did: `ADT_A04`
        let (code_there, event_there) = structure.split_once('_')?;
        (code.is_empty() || code_there == code)
            .then(|| structure_of_event(code_there, event_there))
            .flatten()
    });
    if let Some(id) = by_event.or_else(|| known(structure)) {
        return Some(Cow::Borrowed(id));
    }
    if let Some(id) = structure_of_code(code).filter(|_| event.is_empty() || code == "ACK") {
        return Some(Cow::Borrowed(id));
    }
    match (code, event, structure) {
        ("", "", "") => None,
        (_, _, structure) if !structure.is_empty() => Some(Cow::Owned(structure.to_owned())),
        (code, "", _) => Some(Cow::Owned(code.to_owned())),
        (code, event, _) => Some(Cow::Owned(format!("{code}_{event}"))),
    }
}

fn known(id: &str) -> Option<&'static str> {
    for_version(Version::NEWEST)
        .structure(id)
        .map(|structure| structure.id())
}

fn is_known(id: &str) -> bool {
    known(id).is_some()
}

fn tidy(text: &str) -> String {
    text.trim().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_derived() {
        for (code, event, structure, expected) in [
            ("ORU", "R01", "ORU_R01", "ORU_R01"),
            ("ORU", "R01", "", "ORU_R01"),
            ("ORU", "", "", "ORU_R01"),
            ("ORM", "", "", "ORM_O01"),
            ("ORU_R01", "", "", "ORU_R01"),
            ("ADT", "A04", "", "ADT_A01"),
            ("ADT", "A04", "ADT_A04", "ADT_A01"),
            ("ADT", "A08", "ADT_A08", "ADT_A01"),
            ("ADT", "A28", "ADT_A28", "ADT_A05"),
            ("ADT", "A40", "ADT_A40", "ADT_A39"),
            ("ADT", "A31", "ADT_A05", "ADT_A05"),
            ("ADT", "A11", "ADT_A11", "ADT_A11"),
            ("ADT", "", "ADT_A08", "ADT_A01"),
            ("ADT", "A03", "2.3", "ADT_A03"),
            ("ADT", "", "", "ADT_A01"),
            // the structure of another message code cannot be meant
            ("ORU", "R01", "ADT_A01", "ORU_R01"),
            ("VXU", "V04", "", "VXU_V04"),
            ("MDM", "T02", "MDM_T02", "MDM_T02"),
            ("RDE", "O01", "", "RDE_O11"),
            ("RDE", "O25", "", "RDE_O11"),
            ("ORU", "W01", "", "ORU_R01"),
            ("ORU", "W01", "ORU_W01", "ORU_R01"),
            ("ORU", "R31", "", "ORU_R30"),
            ("ADT", "A34", "", "ADT_A30"),
            ("ADT", "A40", "", "ADT_A39"),
            ("ADT", "A44", "", "ADT_A43"),
            ("ADT", "A53", "", "ADT_A52"),
            ("DFT", "", "", "DFT_P03"),
            ("RRE", "O26", "", "RRE_O12"),
            ("REF", "I14", "", "REF_I12"),
            ("ACK", "A01", "", "ACK"),
            ("ACK", "R01", "ACK", "ACK"),
            ("ADT", "Z47", "", "ADT_Z47"),
            ("ZPM", "Z01", "ZPM_Z01", "ZPM_Z01"),
            ("ZPM", "", "", "ZPM"),
        ] {
            let id = derive(code, event, structure);
            assert_eq!(id.as_deref(), Some(expected), "{code}^{event}^{structure}");
        }
        assert_eq!(derive("", "", ""), None);
    }

    #[test]
    fn the_header_is_read_leniently() {
        for (field, expected) in [
            ("oru^r01", "ORU_R01"),
            (" ADT ^A08", "ADT_A01"),
            ("ORM", "ORM_O01"),
            ("VXU^V04^", "VXU_V04"),
        ] {
            let text = format!("MSH|^~\\&|A|B|C|D|20260102||{field}|1|P|2.3\r");
            let (message, _) = crate::parse(text.as_bytes()).unwrap();
            assert_eq!(
                structure_id(&message.header()).as_deref(),
                Some(expected),
                "{field}"
            );
        }
        let (message, _) = crate::parse(b"MSH|^~\\&|A|B|C|D|20260102|||1|P|2.3\r").unwrap();
        assert_eq!(structure_id(&message.header()), None);
    }

    #[test]
    fn an_old_message_names_its_event_in_evn() {
        let text = "MSH|^~\\&|A|B|C|D|20260102||ADT|1|P|2.1\rEVN|A03|20260102\rPID|||1\r";
        let (message, _) = crate::parse(text.as_bytes()).unwrap();
        let mut issues = Vec::new();
        assert_eq!(structure_of(&message, &mut issues), "ADT_A03");
        assert_eq!(
            issues.iter().map(|issue| issue.code).collect::<Vec<_>>(),
            [IssueCode::StructureDerived]
        );
    }
}
