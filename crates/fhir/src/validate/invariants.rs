//! Invariants that look at values, by the types they belong to. Each function is called with an object of its type.

use std::cmp::Ordering;

use super::Validator;
use crate::names::NameId;
use crate::outcome::IssueType::Invariant;
use crate::outcome::Severity;
use crate::primitive;
use crate::tree::{Kind, NodeId, Tree};

/// obs-7: a component with the code of the Observation itself has its value, so there is no other.
pub(super) fn observation(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    let tree = validator.tree;
    let has_value = tree
        .children(node)
        .any(|(name, child)| is_choice(tree, name, "value") && !validator.skipped(child));
    let Some(code) = tree.get(node, names.code).filter(|_| has_value) else {
        return;
    };
    let repeated = validator.members(node, names.component).any(|component| {
        let codings = tree
            .get(component, names.code)
            .into_iter()
            .flat_map(|code| validator.members(code, names.coding));
        let same = |a| {
            validator
                .members(code, names.coding)
                .any(|b| equal(tree, a, b))
        };
        codings.into_iter().any(same)
    });
    if repeated {
        validator.error(
            Invariant,
            "obs-7: the value is given, and a component has the same code",
        );
    }
}

const ALLERGY_VERIFICATION: &str =
    "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification";

/// ait-1, ait-2: a clinical status, unless it was entered in error.
pub(super) fn allergy_intolerance(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    let status = validator.child(node, names.clinical_status).is_some();
    let in_error = validator.is_coded(
        node,
        names.verification_status,
        ALLERGY_VERIFICATION,
        &["entered-in-error"],
    );
    if !in_error && !status {
        validator.error(
            Invariant,
            "ait-1: needs clinicalStatus unless entered in error",
        );
    }
    if in_error && status {
        validator.error(Invariant, "ait-2: no clinicalStatus if entered in error");
    }
}

const CONDITION_VERIFICATION: &str = "http://terminology.hl7.org/CodeSystem/condition-ver-status";
const CONDITION_CLINICAL: &str = "http://terminology.hl7.org/CodeSystem/condition-clinical";
const CONDITION_CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/condition-category";

/// con-3 to con-5: how clinical status, verification and abatement go together.
pub(super) fn condition(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    let tree = validator.tree;
    let status = validator.child(node, names.clinical_status).is_some();
    let in_error = validator.is_coded(
        node,
        names.verification_status,
        CONDITION_VERIFICATION,
        &["entered-in-error"],
    );
    let over = validator.is_coded(
        node,
        names.clinical_status,
        CONDITION_CLINICAL,
        &["resolved", "remission", "inactive"],
    );
    let abated = tree
        .children(node)
        .any(|(name, child)| is_choice(tree, name, "abatement") && !validator.skipped(child));
    let problem = validator
        .members(node, names.category)
        .any(|category| validator.has_coding(category, CONDITION_CATEGORY, &["problem-list-item"]));
    if problem && !status && !in_error {
        let message =
            "con-3: a problem list item should have clinicalStatus unless entered in error";
        validator.issue(Severity::Warning, Invariant, None, message.into());
    }
    if abated && !over {
        validator.error(
            Invariant,
            "con-4: what has abated has clinicalStatus inactive, resolved or remission",
        );
    }
    if in_error && status {
        validator.error(Invariant, "con-5: no clinicalStatus if entered in error");
    }
}

/// org-2, org-3: an organization has no home.
pub(super) fn organization(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    for (name, message) in [
        (
            names.address,
            "org-2: an organization's address is never of use home",
        ),
        (
            names.telecom,
            "org-3: an organization's telecom is never of use home",
        ),
    ] {
        if validator
            .members(node, name)
            .any(|member| validator.child_text(member, names.r#use) == "home")
        {
            validator.error(Invariant, message);
        }
    }
}

/// per-1
pub(super) fn period(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    validator.in_order(
        node,
        names.start,
        names.end,
        "per-1: it starts after its end",
    );
}

/// inv-1 of Task
pub(super) fn task(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    validator.in_order(
        node,
        names.authored_on,
        names.last_modified,
        "inv-1: it was changed before it was written",
    );
}

/// mdd-1
pub(super) fn medication_dispense(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    let (prepared, handed_over) = (names.when_prepared, names.when_handed_over);
    validator.in_order(
        node,
        prepared,
        handed_over,
        "mdd-1: it was handed over before it was prepared",
    );
}

/// rng-2, where both have the same unit.
pub(super) fn range(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    let (Some(low), Some(high)) = (
        validator.child(node, names.low),
        validator.child(node, names.high),
    ) else {
        return;
    };
    let same = |name| validator.child_text(low, name) == validator.child_text(high, name);
    let number = |quantity| {
        validator
            .child_text(quantity, names.value)
            .parse::<f64>()
            .ok()
    };
    if let (true, Some(low), Some(high)) = (
        same(names.unit) && same(names.code) && same(names.system),
        number(low),
        number(high),
    ) && low > high
    {
        validator.error(Invariant, "rng-2: low is above high");
    }
}

/// tim-4, tim-5, tim-9
pub(super) fn timing(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    let negative = |name| {
        validator
            .child_text(node, name)
            .parse::<f64>()
            .is_ok_and(|number| number < 0.0)
    };
    let meal = |when| matches!(validator.tree.text(when), "C" | "CM" | "CD" | "CV");
    let offset = validator.child(node, names.offset).is_some();
    for (wrong, message) in [
        (negative(names.duration), "tim-4: duration is negative"),
        (negative(names.period), "tim-5: period is negative"),
        (
            offset && validator.members(node, names.when).any(meal),
            "tim-9: no offset from a meal as such",
        ),
    ] {
        if wrong {
            validator.error(Invariant, message);
        }
    }
}

/// app-3, app-4
pub(super) fn appointment(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    let has = |name| validator.child(node, name).is_some();
    let status = validator.child_text(node, names.status);
    // `exists()` holds for an element that has only an extension, such as why it is absent.
    let exists = |name: crate::NameId| has(name) || validator.child(node, name.sibling()).is_some();
    let timed = exists(names.start) && exists(names.end);
    for (wrong, message) in [
        (
            !timed && !matches!(status, "proposed" | "cancelled" | "waitlist"),
            "app-3: only one that is proposed, cancelled or waiting has no start and end",
        ),
        (
            has(names.cancelation_reason) && !matches!(status, "no-show" | "cancelled"),
            "app-4: only one that is cancelled or missed has a reason for it",
        ),
    ] {
        if wrong {
            validator.error(Invariant, message);
        }
    }
}

/// lst-2, lst-3
pub(super) fn list(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    let mode = validator.child_text(node, names.mode);
    let any = |name| {
        validator
            .members(node, NameId::ENTRY)
            .any(|entry| validator.child(entry, name).is_some())
    };
    for (wrong, message) in [
        (
            mode != "changes" && any(names.deleted),
            "lst-2: only a list of changes has deleted entries",
        ),
        (
            mode != "working" && any(names.date),
            "lst-3: only a working list has dates of entries",
        ),
    ] {
        if wrong {
            validator.error(Invariant, message);
        }
    }
}

/// inv-1 of Parameters
pub(super) fn parameter(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    let tree = validator.tree;
    let value = tree
        .children(node)
        .any(|(name, child)| is_choice(tree, name, "value") && !validator.skipped(child));
    let part = validator.child(node, names.part).is_some();
    let resource = validator.child(node, NameId::RESOURCE).is_some();
    if u8::from(value) + u8::from(part) + u8::from(resource) != 1 {
        validator.error(Invariant, "inv-1: one of value, resource and part");
    }
}

impl Validator<'_> {
    /// Whether the CodeableConcept in that child has one of the codes.
    fn is_coded(&self, node: NodeId, name: NameId, system: &str, codes: &[&str]) -> bool {
        self.tree
            .get(node, name)
            .is_some_and(|concept| self.has_coding(concept, system, codes))
    }

    fn has_coding(&self, concept: NodeId, system: &str, codes: &[&str]) -> bool {
        let names = &self.rules.names;
        self.members(concept, names.coding).any(|coding| {
            self.child_text(coding, names.system) == system
                && codes.contains(&self.child_text(coding, names.code))
        })
    }

    /// Two moments that can be compared, the first not after the second.
    fn in_order(&mut self, node: NodeId, first: NameId, second: NameId, message: &'static str) {
        let (first, second) = (self.child_text(node, first), self.child_text(node, second));
        if primitive::compare(first, second) == Some(Ordering::Greater) {
            self.error(Invariant, message);
        }
    }
}

/// Whether a name is one of a choice's: `valueQuantity` for `value`, and `_valueString`, and not `values`.
fn is_choice(tree: &Tree, name: NameId, base: &str) -> bool {
    let rest = tree.name_text(name.element()).strip_prefix(base);
    rest.is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_uppercase()))
}

/// The same content, whatever the order of members.
fn equal(tree: &Tree, a: NodeId, b: NodeId) -> bool {
    match (tree.kind(a), tree.kind(b)) {
        (Kind::Object, Kind::Object) => {
            tree.children(a).count() == tree.children(b).count()
                && tree
                    .children(a)
                    .all(|(name, a)| tree.get(b, name).is_some_and(|b| equal(tree, a, b)))
        }
        (Kind::Array, Kind::Array) => {
            tree.children(a).count() == tree.children(b).count()
                && tree
                    .children(a)
                    .zip(tree.children(b))
                    .all(|((_, a), (_, b))| equal(tree, a, b))
        }
        (a_kind, b_kind) => a_kind == b_kind && tree.text(a) == tree.text(b),
    }
}
