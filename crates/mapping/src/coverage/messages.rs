//! Rows of message maps: which line applies the guide's segment map where the guide does, and whether its references are made.

use std::collections::HashMap;

use super::facts::{Fact, of_fields, switched_off};
use super::guide::{GuideMap, GuideRow, same_name};
use super::{MapCoverage, Outcome, RowCoverage, Work, noted, said};
use crate::notes::{FileNotes, Says};
use crate::plan::{Bind, BoundId, Entry, Group, LinkSource, Makes, MessageMap};
use fhir::definitions::r4;

/// A reference or constant that a message map makes: of which type, at which elements, to what.
struct Relation {
    from: &'static str,
    path: Vec<String>,
    to: To,
}

#[derive(PartialEq)]
enum To {
    Resource(String),
    /// `each *`
    Everything,
    Constant(String),
}

/// Where a row stands: groups, and the segment before it where the guide says which it follows.
struct Spot<'r> {
    groups: Vec<&'r str>,
    segment: &'r str,
    after: Option<&'r str>,
}

impl Work<'_> {
    pub(super) fn message(&self, map: &GuideMap) -> MapCoverage {
        let name = same_name(map.name);
        let serving: Vec<(&MessageMap, &FileNotes)> = self
            .plan
            .notes
            .messages
            .iter()
            .filter(|(structure, notes)| {
                same_name(structure) == name
                    || notes.guide.iter().any(|guide| same_name(guide) == name)
            })
            .filter_map(|(structure, notes)| Some((self.plan.messages.get(structure)?, notes)))
            .collect();
        let made: Vec<_> = serving
            .iter()
            .map(|(message, _)| (places(message), self.relations(message)))
            .collect();
        let rows = map.rows.iter().map(|row| {
            let spot = spot(row.source);
            let shown = GuideRow {
                source: inside(row.source),
                ..*row
            };
            let note = noted(
                serving.iter().flat_map(|(_, notes)| &notes.rows),
                map,
                &shown,
            );
            let found =
                || {
                    let mut found = serving.iter().zip(&made).filter_map(
                        |((message, _), (places, relations))| {
                            self.line(row, &spot, message, places, relations)
                        },
                    );
                    found.next()
                };
            match note {
                Some(noted) if noted.exact || said(&noted.note.says).is_some() => {
                    let outcome = said(&noted.note.says)
                        .unwrap_or_else(|| self.claimed(&noted.note.says, &serving));
                    self.covered(row, outcome, Some(noted.note.origin))
                }
                Some(noted) => found().unwrap_or_else(|| {
                    self.covered(
                        row,
                        self.claimed(&noted.note.says, &serving),
                        Some(noted.note.origin),
                    )
                }),
                None => found().unwrap_or_else(|| {
                    let why = match self.serving(row.map).is_empty() {
                        true => format!("no file serves {}", row.map),
                        false => "no line of the message map does it".to_owned(),
                    };
                    self.covered(row, Outcome::Missing { why: Some(why) }, None)
                }),
            }
        });
        MapCoverage {
            kind: map.kind,
            map: map.name,
            rows: rows.collect(),
            files: serving
                .iter()
                .map(|(_, notes)| notes.name.clone())
                .collect(),
        }
    }

    fn claimed(&self, says: &Says, serving: &[(&MessageMap, &FileNotes)]) -> Outcome {
        let Says::By(by) = says else {
            return Outcome::Missing { why: None };
        };
        let id = self.map_id(by);
        let mut entries = serving.iter().flat_map(|(message, _)| &message.entries);
        if id.is_some_and(|id| entries.any(|entry| entry.map == id))
            || self.plan.messages.contains_key(by)
        {
            return Outcome::Claimed { by: by.clone() };
        }
        Outcome::Missing {
            why: Some(format!("the message map does not use {by}")),
        }
    }

    /// The line of the message map that does what the row says.
    fn line(
        &self,
        row: &GuideRow,
        spot: &Spot<'_>,
        message: &MessageMap,
        places: &[Vec<&str>],
        relations: &[Relation],
    ) -> Option<RowCoverage> {
        let segment_map = same_name(row.map);
        let fits = |(entry, groups): &(&Entry, &Vec<&str>)| {
            let segment = entry.segment == spot.segment.as_bytes();
            let after = match (spot.after, entry.after) {
                (Some(wanted), Some(after)) => wanted.as_bytes() == after,
                _ => true,
            };
            let serves = self
                .map_guides
                .get(entry.map)
                .is_some_and(|guides| guides.contains(&segment_map));
            segment && after && serves && (**groups == spot.groups || message.flat)
        };
        let found: Vec<&Entry> = message
            .entries
            .iter()
            .zip(places)
            .filter(fits)
            .map(|(entry, _)| entry)
            .collect();
        let off = |entry: &Entry| {
            let own = entry.when.as_ref();
            let map = self
                .plan
                .maps
                .get(entry.map)
                .and_then(|map| map.when.as_ref());
            own.into_iter()
                .chain(map)
                .find_map(|condition| switched_off(self.plan, condition))
        };
        let entry = found
            .iter()
            .find(|entry| off(entry).is_none())
            .or(found.first())?;
        let unmade: Vec<&str> = row
            .references
            .split(';')
            .filter(|clause| !clause.is_empty() && !made(clause, relations))
            .collect();
        let outcome = if !unmade.is_empty() {
            Outcome::Missing {
                why: Some(format!("not referred: {}", unmade.join(", "))),
            }
        } else {
            off(entry).map_or(Outcome::Implemented, |policy| Outcome::Policy {
                policy: self.policy_name(policy),
            })
        };
        Some(self.covered(row, outcome, Some(entry.origin)))
    }

    /// All references that a message map makes, in its lines, its segment maps and its links.
    fn relations(&self, message: &MessageMap) -> Vec<Relation> {
        let mut types: HashMap<BoundId, &'static str> = HashMap::new();
        let made = |entry: &Entry| match self.plan.maps.get(entry.map).map(|map| &map.makes) {
            Some(Makes::Resource(type_name)) => Some(*type_name),
            _ => None,
        };
        for entry in &message.entries {
            if let (Bind::As(id), Some(type_name)) = (entry.bind, made(entry)) {
                types.insert(id, type_name);
            }
        }
        let mut relations = Vec::new();
        for entry in &message.entries {
            let Some(own) = made(entry) else { continue };
            for fact in self.facts.get(entry.map).into_iter().flatten() {
                relate(own, fact, &types, &mut relations);
            }
            for set in &entry.set {
                let from = set.target.map_or(Some(own), |id| types.get(&id).copied());
                let Some(from) = from else { continue };
                for fact in of_fields(self.plan, &set.fields) {
                    relate(from, &fact, &types, &mut relations);
                }
            }
        }
        for link in &message.links {
            let Some(from) = types.get(&link.target) else {
                continue;
            };
            for source in &link.sources {
                let to = match source {
                    LinkSource::First(id) | LinkSource::Each(id) => {
                        let Some(to) = types.get(id) else { continue };
                        To::Resource((*to).to_owned())
                    }
                    LinkSource::Everything => To::Everything,
                };
                let name = |key: &fhir::tree::Key| r4().name_text(key.name).to_owned();
                relations.push(Relation {
                    from,
                    path: link.path.iter().map(name).collect(),
                    to,
                });
            }
        }
        relations
    }
}

/// The references along the path of one fact.
fn relate(
    from: &'static str,
    fact: &Fact,
    types: &HashMap<BoundId, &'static str>,
    relations: &mut Vec<Relation>,
) {
    let (mut from, mut path) = (from, Vec::new());
    for step in &fact.path {
        let inner = step
            .strip_prefix('(')
            .and_then(|step| step.strip_suffix(')'));
        match inner.and_then(|inner| r4().type_(inner)) {
            Some(type_id) => {
                let to = r4().type_name(type_id);
                relations.push(Relation {
                    from,
                    path: std::mem::take(&mut path),
                    to: To::Resource(to.to_owned()),
                });
                from = to;
            }
            None => path.push(step.clone()),
        }
    }
    let bound = fact.bound.and_then(|id| types.get(&id));
    let bound = bound.map(|to| To::Resource((*to).to_owned()));
    let constants = fact.constants.iter().cloned().map(To::Constant);
    for to in bound.into_iter().chain(constants) {
        relations.push(Relation {
            from,
            path: path.clone(),
            to,
        });
    }
}

/// Whether a clause such as `Observation.subject=Patient` is made. A Bundle is no resource that could be referred to: its
/// resources stand for it.
fn made(clause: &str, relations: &[Relation]) -> bool {
    let Some((left, right)) = clause.split_once('=') else {
        return true;
    };
    // `DiagnosticReport.specimen(Specimen.collection.collector)` is about the Specimen.
    let left = left
        .rsplit('(')
        .next()
        .unwrap_or(left)
        .trim_end_matches(')');
    let mut steps = left.split('.');
    let from = steps.next().unwrap_or_default();
    // `Basic.extension-EncounterHistory.subject`
    let wanted: Vec<&str> = steps.filter(|step| !step.contains('-')).collect();
    relations.iter().any(|relation| {
        let path = relation.path.len() >= wanted.len()
            && relation
                .path
                .iter()
                .zip(&wanted)
                .all(|(step, wanted)| step == wanted);
        let to = match &relation.to {
            To::Everything => !right.starts_with('"'),
            To::Resource(to) => to == right || right == "Bundle",
            To::Constant(text) => right.trim_matches('"') == text,
        };
        relation.from == from && path && to
    })
}

/// The groups of each line.
fn places(message: &MessageMap) -> Vec<Vec<&str>> {
    fn walk<'m>(group: &'m Group, above: &[&'m str], places: &mut Vec<Vec<&'m str>>) {
        let mut here = above.to_vec();
        if !group.name.is_empty() {
            here.push(&group.name);
        }
        for number in group.entries.iter().flat_map(|(_, numbers)| numbers) {
            if let Some(place) = places.get_mut(*number) {
                place.clone_from(&here);
            }
        }
        for inner in &group.groups {
            walk(inner, &here, places);
        }
    }
    let mut places = vec![Vec::new(); message.entries.len()];
    walk(&message.root, &[], &mut places);
    places
}

/// The place of a row without its structure. The guide sometimes names that of another message.
fn inside(source: &'static str) -> &'static str {
    let named = |name: &str| name.len() == 7 && name.as_bytes().get(3) == Some(&b'_');
    let rest = source.get(..7).filter(|name| named(name));
    let rest = rest.and_then(|name| source.strip_prefix(name));
    rest.filter(|rest| rest.starts_with(['.', ':']))
        .unwrap_or(source)
        .trim_start_matches(['.', ':'])
}

/// `ORU_R01.PATIENT_RESULT.PATIENT.PID`, `ADT_A01:follow:PID.ROL`
fn spot(source: &'static str) -> Spot<'static> {
    let rest = inside(source);
    let followed = rest.strip_prefix("follow:");
    let (after, rest) = match followed.and_then(|rest| rest.split_once('.')) {
        Some((after, rest)) => (Some(after), rest),
        None => (None, rest),
    };
    let mut groups: Vec<&str> = rest.split('.').filter(|part| !part.is_empty()).collect();
    let segment = groups.pop().unwrap_or_default();
    Spot {
        groups,
        segment,
        after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_the_guide_names_a_place() {
        let place = |source| {
            let spot = spot(source);
            (spot.groups.join("."), spot.segment, spot.after)
        };
        let in_group = place("ORU_R01.PATIENT_RESULT.PATIENT.PID");
        assert_eq!(in_group, ("PATIENT_RESULT.PATIENT".to_owned(), "PID", None));
        let after = place("ADT_A01:follow:PID.ROL");
        assert_eq!(after, (String::new(), "ROL", Some("PID")));
        assert_eq!(place("ADT_A05.PD1").1, "PD1");
        assert_eq!(place("PROCEDURE.PR1").0, "PROCEDURE");
    }
}
