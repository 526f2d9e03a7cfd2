//! Invariants that only ask which elements are there, as a table; and what else is looked up once for each type.

use std::sync::OnceLock;

use super::structure::{Present, bit};
use super::{Validator, bundle_rules, invariants};
use crate::definitions::{Definitions, TypeId};
use crate::names::NameId;
use crate::outcome::IssueType;
use crate::tree::NodeId;

/// What a rule asks of the elements of an object, which are named without `[x]`.
enum Ask {
    /// At least one of them.
    Any(&'static [&'static str]),
    /// Not both.
    NotBoth(&'static str, &'static str),
    /// If the first, then also the second.
    Needs(&'static str, &'static str),
}

use Ask::{Any, Needs, NotBoth};

/// Type, key of the invariant, and what it asks. The keys are those of the definitions
/// (<https://hl7.org/fhir/R4/conformance-rules.html#constraints>).
const TABLE: &[(&str, &str, Ask)] = &[
    ("Age", "qty-3", Needs("code", "system")),
    ("Age", "age-1", Needs("value", "code")),
    ("Appointment", "app-2", Needs("start", "end")),
    ("Appointment", "app-2", Needs("end", "start")),
    ("Appointment.participant", "app-1", Any(&["type", "actor"])),
    ("Attachment", "att-1", Needs("data", "contentType")),
    (
        "Bundle.entry",
        "bdl-5",
        Any(&["resource", "request", "response"]),
    ),
    ("CarePlan.activity", "cpl-3", NotBoth("detail", "reference")),
    (
        "Composition.section",
        "cmp-1",
        Any(&["text", "entry", "section"]),
    ),
    (
        "Composition.section",
        "cmp-2",
        NotBoth("emptyReason", "entry"),
    ),
    ("Condition.evidence", "con-2", Any(&["code", "detail"])),
    ("Condition.stage", "con-1", Any(&["summary", "assessment"])),
    ("Consent", "ppc-1", Any(&["policy", "policyRule"])),
    ("ContactPoint", "cpt-2", Needs("value", "system")),
    ("Count", "cnt-3", Needs("value", "code")),
    ("Count", "qty-3", Needs("code", "system")),
    (
        "DataRequirement.codeFilter",
        "drq-1",
        Any(&["path", "searchParam"]),
    ),
    (
        "DataRequirement.codeFilter",
        "drq-1",
        NotBoth("path", "searchParam"),
    ),
    (
        "DataRequirement.dateFilter",
        "drq-2",
        Any(&["path", "searchParam"]),
    ),
    (
        "DataRequirement.dateFilter",
        "drq-2",
        NotBoth("path", "searchParam"),
    ),
    ("Distance", "dis-1", Needs("value", "code")),
    ("Distance", "qty-3", Needs("code", "system")),
    ("Duration", "drt-1", Needs("code", "value")),
    ("Duration", "qty-3", Needs("code", "system")),
    ("Expression", "exp-1", Any(&["expression", "reference"])),
    ("Extension", "ext-1", Any(&["extension", "value"])),
    ("Extension", "ext-1", NotBoth("extension", "value")),
    ("FamilyMemberHistory", "fhs-1", NotBoth("age", "born")),
    ("FamilyMemberHistory", "fhs-2", Needs("estimatedAge", "age")),
    (
        "Immunization.education",
        "imm-1",
        Any(&["documentType", "reference"]),
    ),
    (
        "ImmunizationRecommendation.recommendation",
        "imr-1",
        Any(&["vaccineCode", "targetDisease"]),
    ),
    ("List", "lst-1", NotBoth("emptyReason", "entry")),
    (
        "MedicationAdministration.dosage",
        "mad-1",
        Any(&["dose", "rate"]),
    ),
    ("Observation", "obs-6", NotBoth("dataAbsentReason", "value")),
    (
        "Observation.referenceRange",
        "obs-3",
        Any(&["low", "high", "text"]),
    ),
    ("Organization", "org-1", Any(&["identifier", "name"])),
    (
        "Patient.contact",
        "pat-1",
        Any(&["name", "telecom", "address", "organization"]),
    ),
    ("Quantity", "qty-3", Needs("code", "system")),
    ("Ratio", "rat-1", Needs("numerator", "denominator")),
    ("Ratio", "rat-1", Needs("denominator", "numerator")),
    ("Ratio", "rat-1", Any(&["numerator", "extension"])),
    ("ServiceRequest", "prr-1", Needs("orderDetail", "code")),
    ("Timing.repeat", "tim-1", Needs("duration", "durationUnit")),
    ("Timing.repeat", "tim-2", Needs("period", "periodUnit")),
    ("Timing.repeat", "tim-6", Needs("periodMax", "period")),
    ("Timing.repeat", "tim-7", Needs("durationMax", "duration")),
    ("Timing.repeat", "tim-8", Needs("countMax", "count")),
    ("Timing.repeat", "tim-9", Needs("offset", "when")),
    ("Timing.repeat", "tim-10", NotBoth("timeOfDay", "when")),
];

/// An invariant that looks at values.
pub(super) type Special = fn(&mut Validator<'_>, NodeId);

const SPECIAL: &[(&str, Special)] = &[
    ("AllergyIntolerance", invariants::allergy_intolerance),
    ("Appointment", invariants::appointment),
    ("Bundle", bundle_rules::bundle),
    ("Condition", invariants::condition),
    ("List", invariants::list),
    ("MedicationDispense", invariants::medication_dispense),
    ("Observation", invariants::observation),
    ("Organization", invariants::organization),
    ("Parameters.parameter", invariants::parameter),
    ("Period", invariants::period),
    ("Range", invariants::range),
    ("Task", invariants::task),
    ("Timing.repeat", invariants::timing),
];

macro_rules! names {
    ($($field:ident $text:literal),* $(,)?) => {
        /// Names that the invariants look for.
        pub(super) struct Names { $(pub(super) $field: NameId),* }

        /// The tests hold that R4 has each of them.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($text),*];

        impl Names {
            fn new() -> Names {
                Names { $($field: NameId::of($text).unwrap_or(NameId::RESOURCE_TYPE)),* }
            }
        }
    };
}

names! {
    address "address", authored_on "authoredOn", cancelation_reason "cancelationReason",
    category "category", clinical_status "clinicalStatus", code "code", coding "coding", comparator "comparator",
    component "component", contained "contained", date "date", deleted "deleted", duration "duration", end "end",
    high "high", identifier "identifier", last_modified "lastModified", last_updated "lastUpdated", low "low",
    meta "meta", mode "mode", offset "offset", part "part", period "period", response "response", search "search",
    security "security", start "start", status "status", system "system", telecom "telecom", timestamp "timestamp",
    total "total", unit "unit", r#use "use", value "value", verification_status "verificationStatus",
    version_id "versionId", when "when", when_handed_over "whenHandedOver", when_prepared "whenPrepared",
}

struct Rule {
    key: &'static str,
    ask: &'static Ask,
    first: Present,
    second: Present,
}

#[derive(Default)]
struct TypeRules {
    required: Present,
    rules: Vec<Rule>,
    special: Option<Special>,
}

/// Everything that is looked up once.
pub(super) struct Rules {
    types: Vec<TypeRules>,
    pub(super) names: Names,
    pub(super) reference: TypeId,
    pub(super) coding: TypeId,
    pub(super) codeable_concept: TypeId,
    /// What the `_name` of a primitive is.
    pub(super) element: TypeId,
}

/// The rules for R4, the only definitions there are.
pub(super) fn of(definitions: &Definitions) -> &'static Rules {
    static RULES: OnceLock<Rules> = OnceLock::new();
    RULES.get_or_init(|| Rules::new(definitions))
}

impl Rules {
    fn new(definitions: &Definitions) -> Rules {
        let types = definitions
            .types()
            .map(|id| TypeRules::new(definitions, id))
            .collect();
        // The tests hold that all of these are there.
        let id = |name| definitions.type_(name).unwrap_or(TypeId::NONE);
        Rules {
            types,
            names: Names::new(),
            reference: id("Reference"),
            coding: id("Coding"),
            codeable_concept: id("CodeableConcept"),
            element: id("Element"),
        }
    }

    fn of(&self, id: TypeId) -> Option<&TypeRules> {
        self.types.get(id.index())
    }

    /// The elements an object of the type must have.
    pub(super) fn required(&self, id: TypeId) -> Present {
        self.of(id).map_or(0, |rules| rules.required)
    }
}

impl TypeRules {
    fn new(definitions: &Definitions, id: TypeId) -> TypeRules {
        let (name, elements) = (definitions.type_name(id), definitions.elements(id));
        let mask = |base: &str| {
            elements
                .iter()
                .filter(|e| e.base == base)
                .fold(0, |mask, e| mask | bit(e.order))
        };
        let required = elements
            .iter()
            .filter(|e| e.min > 0)
            .fold(0, |mask, e| mask | bit(e.order));
        let rule = |(_, key, ask): &'static (&str, &'static str, Ask)| {
            let (first, second) = match ask {
                Any(bases) => (bases.iter().fold(0, |any, base| any | mask(base)), 0),
                NotBoth(first, second) | Needs(first, second) => (mask(first), mask(second)),
            };
            Rule {
                key,
                ask,
                first,
                second,
            }
        };
        let rules = TABLE
            .iter()
            .filter(|(of, _, _)| *of == name)
            .map(rule)
            .collect();
        let special = SPECIAL
            .iter()
            .find(|(of, _)| *of == name)
            .map(|(_, special)| *special);
        TypeRules {
            required,
            rules,
            special,
        }
    }
}

impl Validator<'_> {
    /// The invariants of an object's type, and those of any resource.
    pub(super) fn rules(&mut self, node: NodeId, type_id: TypeId, present: Present) {
        if let Some(rules) = self.rules.of(type_id) {
            self.rules_of(rules, node, present);
        }
    }

    fn rules_of(&mut self, of_type: &TypeRules, node: NodeId, present: Present) {
        for rule in &of_type.rules {
            let has = |mask: Present| present & mask != 0;
            let message = match rule.ask {
                Any(bases) if !has(rule.first) => {
                    format!("{}: needs one of {}", rule.key, bases.join(", "))
                }
                NotBoth(a, b) if has(rule.first) && has(rule.second) => {
                    format!("{}: not both {a} and {b}", rule.key)
                }
                Needs(a, b) if has(rule.first) && !has(rule.second) => {
                    format!("{}: {a} needs {b}", rule.key)
                }
                _ => continue,
            };
            self.error(IssueType::Invariant, message);
        }
        if let Some(special) = of_type.special {
            special(self, node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::r4;
    use crate::tree::Tree;

    #[test]
    fn the_tables_name_what_there_is() {
        for (type_name, _) in SPECIAL {
            assert!(r4().type_(type_name).is_some(), "{type_name}");
        }
        for name in NAMES {
            assert!(NameId::of(name).is_some(), "{name}");
        }
        for name in ["Reference", "Coding", "CodeableConcept", "Element"] {
            assert!(r4().type_(name).is_some());
        }
    }

    #[test]
    fn every_order_has_a_bit() {
        assert!(
            r4().types()
                .all(|id| r4().elements(id).iter().all(|element| element.order < 128))
        );
    }

    /// The messages for an object of a type that has exactly these elements.
    fn messages(type_name: &str, bases: &[&str]) -> Vec<String> {
        let id = r4().type_(type_name).unwrap();
        let mut present = 0;
        for base in bases {
            let element = r4()
                .elements(id)
                .iter()
                .find(|element| element.base == *base);
            present |= bit(element
                .unwrap_or_else(|| panic!("{type_name}.{base}"))
                .order);
        }
        let mut tree = Tree::new();
        let node = tree.object();
        let mut validator = Validator::new(&tree, r4(), None, &[], false);
        // Rules that look at values are not meant here.
        let rules = TypeRules {
            special: None,
            ..TypeRules::new(r4(), id)
        };
        validator.rules_of(&rules, node, present);
        validator
            .finish()
            .into_iter()
            .map(|issue| issue.message.into_owned())
            .collect()
    }

    #[test]
    fn each_rule_accepts_and_refuses() {
        for (type_name, key, ask) in TABLE {
            let broken = |bases: &[&str]| {
                messages(type_name, bases)
                    .iter()
                    .any(|m| m.starts_with(&format!("{key}: ")))
            };
            match ask {
                Any(bases) => {
                    let any = |bases: &[&str]| {
                        messages(type_name, bases)
                            .iter()
                            .any(|m| m.contains("needs one of"))
                    };
                    assert!(any(&[]), "{key}");
                    bases
                        .iter()
                        .for_each(|base| assert!(!any(&[base]), "{key} {base}"));
                }
                NotBoth(a, b) => {
                    assert!(broken(&[a, b]), "{key}");
                    assert!(!broken(&[a]) && !broken(&[b]), "{key}");
                }
                Needs(a, b) => {
                    let needs = |bases: &[&str]| {
                        messages(type_name, bases).contains(&format!("{key}: {a} needs {b}"))
                    };
                    assert!(needs(&[a]), "{key}");
                    assert!(!needs(&[a, b]) && !needs(&[b]) && !needs(&[]), "{key}");
                }
            }
        }
    }
}
