//! What must stay in order: the ordering keys of a message.

use std::collections::BTreeSet;

use hl7v2::{Header, Message, Node, Segment};

use crate::config::route::Ordering;

/// The keys of a message, each once. A merge has two or more: it waits for, and holds up, both patients.
pub(super) fn ordering_keys(
    message: &Message<'_>,
    ordering: Ordering,
    listener: &str,
    sender: &str,
) -> Vec<String> {
    match ordering {
        Ordering::None => Vec::new(),
        Ordering::Listener => vec![format!("listener|{listener}")],
        Ordering::Patient => {
            let mut keys = patients(message, sender);
            if keys.is_empty() {
                // Master files and the like: no patient, but in order all the same.
                keys.push(format!("listener|{listener}"));
            }
            keys
        }
    }
}

/// The keys of the patients that a message is about, each once.
pub(super) fn patients(message: &Message<'_>, sender: &str) -> Vec<String> {
    let mut keys = BTreeSet::new();
    for segment in message.segments() {
        let id = match segment.name() {
            "PID" => patient(segment),
            "MRG" => segment.field(1),
            _ => continue,
        };
        keys.extend(key(id, sender));
    }
    keys.into_iter().collect()
}

/// The sender of a message: what makes identifiers unique that are only locally so. MSH-4, else MSH-3.
pub(crate) fn sender(header: &Header<'_>, configured: Option<&str>) -> String {
    if let Some(sender) = configured {
        return sender.to_owned();
    }
    let facility = header.sending_facility();
    let node = if facility.is_valued() {
        facility
    } else {
        header.sending_application()
    };
    node.text().into_owned()
}

/// PID-3, else PID-2 (the identifier of versions before 2.3), else PID-18 (account).
fn patient(pid: Segment<'_>) -> Node<'_> {
    [3, 2, 18]
        .map(|number| pid.field(number))
        .into_iter()
        .find(|field| field.is_valued())
        .unwrap_or(pid.field(3))
}

/// Key of the first repetition: number and assigning authority; without an authority, number and sender.
/// The listener is no part of it: one patient's feeds meet at one FHIR resource. Of the authority its name
/// counts (HD.1, else HD.2): senders write the OID beside it on some days and not on others.
fn key(id: Node<'_>, sender: &str) -> Option<String> {
    let number = id.child(1).text();
    if number.trim().is_empty() || id.child(1).is_null() {
        return None;
    }
    let authority = [1, 2]
        .map(|part| id.child(4).child(part))
        .into_iter()
        .find(Node::is_valued);
    Some(match authority {
        Some(authority) => format!("patient|{}|{}", authority.text(), number.trim()),
        None => format!("patient@{sender}|{}", number.trim()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(segments: &str, ordering: Ordering) -> Vec<String> {
        let text = format!("MSH|^~\\&|LAB|NORTH|||20260101||ADT^A01|1|P|2.5\r{segments}");
        let (message, _) = hl7v2::parse(text.as_bytes()).unwrap();
        let sender = sender(&message.header(), None);
        ordering_keys(&message, ordering, "lab", &sender)
    }

    #[test]
    fn the_authority_counts_and_without_one_the_sender() {
        assert_eq!(
            keys("PID|1||77^^^HOSP&2.999&ISO^MR~88\r", Ordering::Patient),
            ["patient|HOSP|77"]
        );
        assert_eq!(
            keys("PID|1||77^^^&2.999&ISO^MR\r", Ordering::Patient),
            ["patient|2.999|77"]
        );
        assert_eq!(keys("PID|1||77\r", Ordering::Patient), ["patient@NORTH|77"]);
        assert_eq!(keys("PID|1|66\r", Ordering::Patient), ["patient@NORTH|66"]);
    }

    #[test]
    fn a_merge_has_the_keys_of_both_patients() {
        let found = keys("PID|1||77^^^HOSP\rMRG|99^^^HOSP\r", Ordering::Patient);
        assert_eq!(found, ["patient|HOSP|77", "patient|HOSP|99"]);
    }

    #[test]
    fn messages_without_a_patient_and_other_orderings() {
        assert_eq!(keys("MFI|1\r", Ordering::Patient), ["listener|lab"]);
        assert_eq!(keys("PID|1||\"\"\r", Ordering::Patient), ["listener|lab"]);
        assert_eq!(keys("PID|1||77\r", Ordering::Listener), ["listener|lab"]);
        assert!(keys("PID|1||77\r", Ordering::None).is_empty());
    }
}
