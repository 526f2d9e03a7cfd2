//! Which resource types a package can make, and how it says which resource each one is: what a server must be able to do.

use std::collections::{BTreeSet, HashSet};

use fhir::bundle::Write;

use crate::package::Package;
use crate::plan::{Body, Canonical, Field, Identity, Makes, MapId, Part, Plan, Rule, WriteMode};

/// One way in which a package writes resources of a type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Makeable {
    /// `Patient`.
    pub type_name: &'static str,
    /// Whether what is there is replaced.
    pub replaces: bool,
    /// Whether an identifier of the message can say which resource it is. Otherwise it is written by an id.
    pub by_identifier: bool,
}

impl Package {
    /// Everything that messages can become with this package, each way once. Conditions are not looked at: a map that
    /// some message could reach counts.
    pub fn makeable(&self) -> BTreeSet<Makeable> {
        let mut search = Search {
            plan: &self.plan,
            seen: HashSet::new(),
            found: BTreeSet::new(),
        };
        for message in self.plan.messages.values() {
            for entry in &message.entries {
                search.map(entry.map, entry.write, entry.key.as_ref());
                for set in &entry.set {
                    search.fields(&set.fields);
                }
            }
        }
        search.found
    }
}

struct Search<'a> {
    plan: &'a Plan,
    seen: HashSet<MapId>,
    found: BTreeSet<Makeable>,
}

impl<'a> Search<'a> {
    fn map(&mut self, id: MapId, write: Option<WriteMode>, key: Option<&Identity>) {
        let Some(map) = self.plan.maps.get(id) else {
            return;
        };
        if let Makes::Resource(type_name) = map.makes {
            self.note(
                type_name,
                write.unwrap_or(map.write),
                key.or(map.key.as_ref()),
            );
        }
        if self.seen.insert(id) {
            self.fields(&map.fields);
            self.rules(&map.result);
        }
    }

    fn fields(&mut self, fields: &'a [Field]) {
        for field in fields {
            self.rules(&field.rules);
        }
    }

    fn rules(&mut self, rules: &'a [Rule]) {
        for rule in rules {
            self.body(&rule.body);
            self.fields(&rule.set);
        }
    }

    fn body(&mut self, body: &'a Body) {
        match body {
            Body::Map(map) | Body::Table(_, _, Some(map)) => self.map(*map, None, None),
            Body::Object(fields) => self.fields(fields),
            Body::Fixed(fixed) => self.body(&fixed.otherwise),
            Body::Make(make) => {
                self.note(make.type_name, make.write, make.key.as_ref());
                self.fields(&make.fields);
            }
            _ => {}
        }
    }

    fn note(&mut self, type_name: &'static str, write: WriteMode, key: Option<&Identity>) {
        self.found.insert(Makeable {
            type_name,
            replaces: write.to_fhir() == Write::Update,
            by_identifier: key.is_some_and(is_identifier),
        });
    }
}

/// Whether a key is one identifier: what a conditional write can ask for.
fn is_identifier(key: &Identity) -> bool {
    match key.parts.as_slice() {
        [Part::Value(choices)] => choices
            .iter()
            .any(|(_, canonical)| matches!(canonical, Canonical::Cx | Canonical::Ei)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::package::{Layer, Package, SourceFile};

    #[test]
    fn every_way_once() {
        let file = |path: &str, text: &str| SourceFile {
            path: path.into(),
            text: text.into(),
        };
        let layer = Layer {
            name: String::new(),
            files: vec![
                file(
                    "messages/ADT_A01.yaml",
                    "message: ADT_A01\nevents: [A01]\nmap:\n  - PID: PID/Patient as patient\n  - PV1: PV1/Encounter\n",
                ),
                file(
                    "segments/PID/Patient.yaml",
                    "segment: PID\nmakes: Patient\nkey: PID-3\nbirthDate: \"{{PID-7}}\"\n\
                     managingOrganization: { make: Organization, key: PD1-3, name: \"{{PD1-3.1}}\" }\n",
                ),
                file(
                    "segments/PV1/Encounter.yaml",
                    "segment: PV1\nmakes: Encounter\nkey: [ patient, PV1-19 ]\nsubject: { ref: patient }\n",
                ),
                file(
                    "segments/OBX/Observation.yaml",
                    "segment: OBX\nmakes: Observation\nstatus: final\n",
                ),
            ],
        };
        let (package, findings) = Package::compile(&[layer]);
        let package = package.unwrap_or_else(|| panic!("{findings:?}"));
        let made: Vec<_> = package
            .makeable()
            .into_iter()
            .map(|one| (one.type_name, one.replaces, one.by_identifier))
            .collect();
        // No message map asks for an Observation.
        assert_eq!(
            made,
            [
                ("Encounter", true, false),
                ("Organization", false, false),
                ("Patient", true, true),
            ]
        );
    }
}
