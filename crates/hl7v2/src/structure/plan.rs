//! A structure prepared for matching: small numbers for segment names, and for
//! every group the sets of segments that can start it or stand in it.

use std::sync::OnceLock;

use crate::definitions::{StructureDefinition, for_version};
use crate::version::Version;

/// The structure by which a message without any known one is grouped.
const GENERIC: &str = "MSH ARV* SFT* UAC? NTE* MSA? ERR* QAK? QPD? QRD? QRF? EVN? SCH? TQ1* \
    PATIENT_RESULT*(PATIENT?(PID PD1? ARV* ROL* PRT* NTE* MRG? NK1* PATIENT_OBSERVATION*(OBX PRT*) VISIT?(PV1 PV2? ROL* PRT*) \
    DB1* AL1* IAM* DG1* DRG? PROCEDURE*(PR1 ROL* PRT*) GT1* INSURANCE*(IN1 IN2? IN3*) ACC?) TXA? \
    ORDER_OBSERVATION*(COMMON_ORDER?(ORC PRT*) OBR NTE* ROL* PRT* TIMING_QTY*(TQ1 TQ2*) CTD? \
    OBSERVATION*(OBX PRT* NTE*) FT1* CTI* SPECIMEN*(SPM SPECIMEN_OBSERVATION*(OBX PRT*)))) DSC?";

/// A set of segments of one structure, one bit each.
pub(super) type Set = u128;

/// A structure prepared for matching.
pub(super) struct Plan {
    id: &'static str,
    /// Names of the segments as [`key`]s, sorted; the position is the number.
    names: Vec<u32>,
    nodes: Vec<PlanNode>,
    /// The group that takes segments the structure does not name, where there is one.
    pub(super) wildcard: Option<u16>,
}

/// A segment or group at its place.
pub(super) struct PlanNode {
    pub(super) name: &'static str,
    pub(super) group: bool,
    pub(super) required: bool,
    pub(super) repeats: bool,
    pub(super) first_child: u16,
    pub(super) children: u16,
    /// The segments that can come first in it, nothing required left out.
    pub(super) starts: Set,
    /// The segments that it has a place for, at any depth, guarded groups left out.
    pub(super) holds: Set,
    /// Which of its children it can't be without, one bit each in order.
    pub(super) needed: Set,
    /// The group opens only before a TXA, so that results are not taken for a document.
    pub(super) needs_document: bool,
    /// It opens only with one of `starts`, never with something required left out.
    pub(super) strict: bool,
    /// See [`super::GroupTree::follows`].
    pub(super) follows: &'static str,
}

/// The plan of a structure, and whether the standard has that structure. For one
/// that it has not: the default of its message code, or else the generic one.
pub(super) fn for_structure(id: &str) -> (&'static Plan, bool) {
    static GENERIC_PLAN: OnceLock<Plan> = OnceLock::new();
    if let Some(plan) = known(id) {
        return (plan, true);
    }
    let code = id.split('_').next().unwrap_or(id);
    let default = crate::definitions::structure_of_code(code).and_then(known);
    (
        default.unwrap_or_else(|| {
            GENERIC_PLAN.get_or_init(|| Plan::new(&StructureDefinition::new("", GENERIC)))
        }),
        false,
    )
}

fn known(id: &str) -> Option<&'static Plan> {
    static PLANS: OnceLock<Vec<(&'static StructureDefinition, OnceLock<Plan>)>> = OnceLock::new();
    let plans = PLANS.get_or_init(|| {
        for_version(Version::NEWEST)
            .structures()
            .map(|s| (s, OnceLock::new()))
            .collect()
    });
    let at = plans
        .binary_search_by(|(structure, _)| structure.id().cmp(id))
        .ok()?;
    let (structure, plan) = plans.get(at)?;
    Some(plan.get_or_init(|| Plan::new(structure)))
}

// === impl Plan ===

impl Plan {
    fn new(structure: &StructureDefinition) -> Self {
        let mut names: Vec<u32> = structure
            .items()
            .filter(|item| !item.is_group() && item.name() != "***")
            .filter_map(|item| item.name().as_bytes().try_into().ok())
            .map(key)
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut plan = Self {
            id: structure.id(),
            names,
            nodes: Vec::new(),
            wildcard: None,
        };
        for item in structure.items() {
            let bit = plan.number(item.name()).map_or(0, |number| 1 << number);
            if item.name() == "***" && plan.wildcard.is_none() {
                plan.wildcard = item.parent().map(|parent| narrow(parent.index()));
            }
            plan.nodes.push(PlanNode {
                name: item.name(),
                group: item.is_group(),
                required: item.is_required(),
                repeats: item.repeats(),
                first_child: item
                    .children()
                    .next()
                    .map_or(0, |child| narrow(child.index())),
                children: narrow(item.children().len()),
                starts: bit,
                holds: bit,
                needed: 0,
                needs_document: item.name() == "ORDER_DOCUMENT",
                strict: false,
                follows: follows(item),
            });
        }
        plan.fill_sets();
        plan
    }

    /// Children come after their group, so going backwards meets them first.
    fn fill_sets(&mut self) {
        for index in (0..self.nodes.len()).rev() {
            let (mut starts, mut holds, mut needed, mut open) = (0, 0, 0, true);
            let children = self
                .children(narrow(index))
                .filter_map(|child| self.nodes.get(usize::from(child)));
            for (offset, child) in (0_u32..).zip(children) {
                holds |= child.reached();
                if child.required {
                    needed |= 1_u128.checked_shl(offset).unwrap_or(0);
                }
                if open {
                    starts |= child.starts;
                    open = !child.required;
                }
            }
            // Without its patient a prior result cannot be told from the next order.
            let patient = self.number("PID").map_or(0, |number| 1 << number);
            if let Some(node) = self.nodes.get_mut(index).filter(|node| node.group) {
                node.strict = node.name == "PRIOR_RESULT" && holds & patient != 0;
                node.starts = if node.strict { patient } else { starts };
                node.holds = holds;
                node.needed = needed;
            }
        }
    }

    /// Id of the structure; empty for the generic one.
    pub(super) fn id(&self) -> &'static str {
        self.id
    }

    /// The number of a segment name, when the structure has it.
    pub(super) fn number(&self, name: &str) -> Option<u8> {
        self.number_of(name.as_bytes().try_into().ok()?)
    }

    /// As [`Plan::number`], for the name as bytes.
    pub(super) fn number_of(&self, name: [u8; 3]) -> Option<u8> {
        let number = self.names.binary_search(&key(name)).ok()?;
        // more names than bits: none today (checked by a test), the rest would be misplaced
        u8::try_from(number)
            .ok()
            .filter(|number| u32::from(*number) < Set::BITS)
    }

    /// How many segment names it has.
    pub(super) fn name_count(&self) -> usize {
        self.names.len()
    }

    /// How many segments and groups it has.
    pub(super) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The child of a group at an offset, counted from 0.
    pub(super) fn child(&self, node: u16, offset: u16) -> Option<&PlanNode> {
        self.nodes_in(node).get(usize::from(offset))
    }

    /// The children of a group.
    pub(super) fn nodes_in(&self, node: u16) -> &[PlanNode] {
        let children = self.children(node);
        self.nodes
            .get(usize::from(children.start)..usize::from(children.end))
            .unwrap_or_default()
    }

    pub(super) fn node(&self, node: u16) -> Option<&PlanNode> {
        self.nodes.get(usize::from(node))
    }

    /// The nodes directly in a group, in order.
    pub(super) fn children(&self, node: u16) -> std::ops::Range<u16> {
        self.node(node).map_or(0..0, |node| {
            node.first_child..node.first_child + node.children
        })
    }
}

/// A segment name as a number, which is quicker to compare.
fn key([first, second, third]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, first, second, third])
}

// === impl PlanNode ===

impl PlanNode {
    /// The segments that lead into it from outside: a guarded group opens for some only.
    fn reached(&self) -> Set {
        match (self.needs_document, self.strict) {
            (true, _) => 0,
            (_, true) => self.starts,
            _ => self.holds,
        }
    }
}

/// The nearest required segment before this place, when its group has several
/// places for the name.
fn follows(item: crate::definitions::StructureItem<'_>) -> &'static str {
    let Some(parent) = item.parent().filter(|_| !item.is_group()) else {
        return "";
    };
    if parent
        .children()
        .filter(|other| other.name() == item.name())
        .count()
        < 2
    {
        return "";
    }
    let before = parent
        .children()
        .take_while(|other| other.index() < item.index());
    before
        .filter(|other| !other.is_group() && other.is_required())
        .last()
        .map_or("", |other| other.name())
}

fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_structure_fits() {
        for structure in for_version(Version::NEWEST).structures() {
            let plan = Plan::new(structure);
            assert!(
                plan.name_count() <= 128,
                "{structure:?} has {} names",
                plan.name_count()
            );
            for index in 0..narrow(plan.nodes.len()) {
                assert!(plan.children(index).len() <= 128, "{structure:?}");
            }
        }
    }

    #[test]
    fn a_group_starts_with_what_stands_first_or_may() {
        let (plan, known) = for_structure("ORU_R01");
        assert!(known);
        let orders = plan
            .nodes
            .iter()
            .find(|node| node.name == "ORDER_OBSERVATION")
            .unwrap();
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|name| 1 << plan.number(name).unwrap())
                .sum::<Set>()
        };
        assert_eq!(orders.starts, set(&["ORC", "OBR"]));
        // not TXA: the group of a document opens only for its OBX, when a TXA follows
        assert_eq!(
            orders.holds & set(&["OBX", "SPM", "TXA", "PID"]),
            set(&["OBX", "SPM"])
        );
    }

    #[test]
    fn an_unknown_structure_has_a_plan_too() {
        let (plan, known) = for_structure("ADT_Z47");
        assert_eq!((plan.id(), known), ("ADT_A01", false));
        let (plan, known) = for_structure("ZPM_Z01");
        assert_eq!((plan.id(), known), ("", false));
        assert!(plan.number("OBX").is_some());
    }

    #[test]
    fn places_of_one_name_are_told_apart() {
        let (plan, _) = for_structure("ADT_A01");
        let roles: Vec<_> = plan
            .children(0)
            .filter_map(|at| plan.node(at))
            .filter(|node| node.name == "ROL")
            .map(|node| node.follows)
            .collect();
        assert_eq!(roles, ["PID", "PV1"]);
    }
}
