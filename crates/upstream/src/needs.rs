//! What delivery needs of a server, held against what the server says it offers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::capability::{Capability, ResourceCapability};
use crate::config::Format;

/// Everything that the deliveries to one server need of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The kind of Bundle; `None` when each resource is a request of its own.
    pub bundle: Option<crate::Kind>,
    /// The format of requests and answers.
    pub format: Format,
    /// Whether updates name the version that they replace.
    pub versions: bool,
    /// What is done to each resource type, and for whom.
    pub types: BTreeMap<String, TypeNeeds>,
}

/// What is done to one resource type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeNeeds {
    /// The interactions.
    pub interactions: BTreeSet<Interaction>,
    /// Who needs them, in the caller's words.
    pub by: BTreeSet<String>,
}

/// An interaction with one resource type (FHIR R4 http.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interaction {
    /// `POST Type`.
    Create,
    /// `PUT Type/id` of a resource that is there.
    Update,
    /// `POST Type` with `If-None-Exist`.
    ConditionalCreate,
    /// `PUT Type?…`.
    ConditionalUpdate,
    /// `PUT Type/id` of a resource that is not there yet.
    UpdateCreate,
    /// `GET Type?…`.
    Search,
}

/// One row of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `server`, or a resource type.
    pub of: String,
    /// What is needed, in FHIR's words.
    pub needed: String,
    /// Who needs it.
    pub needed_by: Vec<String>,
    /// What the server says of it.
    pub offered: String,
    /// Whether the one covers the other.
    pub verdict: Verdict,
}

/// Whether a server offers what is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It says so.
    Ok,
    /// It says nothing of the kind.
    Missing,
}

// === impl Needs ===

impl Needs {
    /// Adds what `by` does to a resource type.
    pub fn add(&mut self, type_name: &str, interaction: Interaction, by: &str) {
        let needs = self.types.entry(type_name.to_owned()).or_default();
        needs.interactions.insert(interaction);
        if !needs.by.contains(by) {
            needs.by.insert(by.to_owned());
        }
    }

    /// Compares with what a server offers: the server itself first, then the types by name.
    pub fn compare(&self, offered: &Capability) -> Vec<Finding> {
        let mut findings = vec![
            server(
                "FHIR 4.0",
                match offered.fhir_version.as_str() {
                    "" => "not told".to_owned(),
                    version => version.to_owned(),
                },
                offered.is_r4(),
            ),
            server(
                self.format.media_type(),
                offered.formats.join(", "),
                offered.takes(self.format),
            ),
        ];
        if let Some(kind) = self.bundle {
            let (needed, is_offered) = match kind {
                crate::Kind::Batch => ("batch", offered.batch),
                _ => ("transaction", offered.transaction),
            };
            findings.push(server(needed, bundles(offered), is_offered));
        }
        for (type_name, needs) in &self.types {
            findings.push(self.of_type(type_name, needs, offered.resource(type_name)));
        }
        findings
    }

    fn of_type(
        &self,
        type_name: &str,
        needs: &TypeNeeds,
        offered: Option<&ResourceCapability>,
    ) -> Finding {
        let words = |list: Vec<&str>| match list.as_slice() {
            [] => "nothing".to_owned(),
            list => list.join(", "),
        };
        let needed: Vec<&str> = needs.interactions.iter().map(|one| one.as_str()).collect();
        let is_offered = |one: Interaction| offered.is_some_and(|offered| one.is_offered(offered));
        let covered = needs.interactions.iter().all(|one| is_offered(*one));
        let has: Vec<&str> = Interaction::ALL
            .into_iter()
            .filter(|one| is_offered(*one))
            .map(Interaction::as_str)
            .collect();
        // Such a server refuses an update that does not say which version it replaces.
        let insists = !self.versions
            && offered.is_some_and(|offered| offered.insists_on_versions)
            && needs.interactions.iter().any(|one| one.replaces());
        let mut needed = words(needed);
        let mut told = match offered {
            Some(_) => words(has),
            None => "not told".to_owned(),
        };
        if insists {
            needed.push_str(", without If-Match");
            told.push_str("; updates only with If-Match");
        }
        Finding {
            of: type_name.to_owned(),
            needed,
            needed_by: needs.by.iter().cloned().collect(),
            offered: told,
            verdict: Verdict::of(covered && !insists),
        }
    }
}

fn server(needed: &str, offered: String, is_offered: bool) -> Finding {
    Finding {
        of: "server".to_owned(),
        needed: needed.to_owned(),
        needed_by: Vec::new(),
        offered: if offered.is_empty() {
            "not told".to_owned()
        } else {
            offered
        },
        verdict: Verdict::of(is_offered),
    }
}

fn bundles(offered: &Capability) -> String {
    let kinds = [
        (offered.transaction, "transaction"),
        (offered.batch, "batch"),
    ];
    let told: Vec<&str> = kinds
        .into_iter()
        .filter_map(|(is_offered, kind)| is_offered.then_some(kind))
        .collect();
    told.join(", ")
}

// === impl Interaction ===

impl Interaction {
    const ALL: [Self; 6] = [
        Self::Create,
        Self::Update,
        Self::ConditionalCreate,
        Self::ConditionalUpdate,
        Self::UpdateCreate,
        Self::Search,
    ];

    /// Its name in a CapabilityStatement.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::ConditionalCreate => "conditionalCreate",
            Self::ConditionalUpdate => "conditionalUpdate",
            Self::UpdateCreate => "updateCreate",
            Self::Search => "search-type",
        }
    }

    fn is_offered(self, by: &ResourceCapability) -> bool {
        let told = |code: &str| by.interactions.iter().any(|one| one == code);
        match self {
            Self::Create | Self::Update | Self::Search => told(self.as_str()),
            Self::ConditionalCreate => by.conditional_create,
            Self::ConditionalUpdate => by.conditional_update,
            Self::UpdateCreate => by.update_create,
        }
    }

    fn replaces(self) -> bool {
        matches!(
            self,
            Self::Update | Self::ConditionalUpdate | Self::UpdateCreate
        )
    }
}

// === impl Verdict ===

impl Verdict {
    fn of(is_offered: bool) -> Self {
        if is_offered { Self::Ok } else { Self::Missing }
    }

    /// The word for a table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> Needs {
        let mut needs = Needs {
            bundle: Some(crate::Kind::Transaction),
            ..Needs::default()
        };
        needs.add("Patient", Interaction::ConditionalUpdate, "ward");
        needs.add("Patient", Interaction::ConditionalCreate, "lab");
        needs.add("Observation", Interaction::UpdateCreate, "lab");
        needs
    }

    fn server() -> Capability {
        Capability::read(
            br#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","format":["json","xml"],
            "rest":[{"mode":"server","interaction":[{"code":"transaction"}],"resource":[
              {"type":"Patient","conditionalUpdate":true,"conditionalCreate":true,"interaction":[{"code":"read"}]},
              {"type":"Observation","versioning":"versioned-update","updateCreate":true,"interaction":[{"code":"update"}]}]}]}"#,
        )
        .unwrap()
    }

    fn rows(needs: &Needs, offered: &Capability) -> Vec<String> {
        needs
            .compare(offered)
            .into_iter()
            .map(|row| {
                format!(
                    "{}: {} ({}) | {} | {}",
                    row.of,
                    row.needed,
                    row.needed_by.join("+"),
                    row.offered,
                    row.verdict.as_str()
                )
            })
            .collect()
    }

    #[test]
    fn each_need_has_a_row() {
        let needs = Needs {
            versions: true,
            ..needs()
        };
        assert_eq!(
            rows(&needs, &server()),
            [
                "server: FHIR 4.0 () | 4.0.1 | ok",
                "server: application/fhir+json () | json, xml | ok",
                "server: transaction () | transaction | ok",
                "Observation: updateCreate (lab) | update, updateCreate | ok",
                "Patient: conditionalCreate, conditionalUpdate (lab+ward) | conditionalCreate, conditionalUpdate | ok",
            ]
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut wanting = needs();
        wanting.bundle = Some(crate::Kind::Batch);
        wanting.add("Binary", Interaction::UpdateCreate, "lab");
        let offered = Capability {
            fhir_version: "5.0.0".into(),
            ..server()
        };
        let missing: Vec<String> = rows(&wanting, &offered)
            .into_iter()
            .filter(|row| row.ends_with("missing"))
            .collect();
        assert_eq!(
            missing,
            [
                "server: FHIR 4.0 () | 5.0.0 | missing",
                "server: batch () | transaction | missing",
                "Binary: updateCreate (lab) | not told | missing",
                "Observation: updateCreate, without If-Match (lab) | update, updateCreate; updates only with If-Match | missing",
            ]
        );
    }
}
