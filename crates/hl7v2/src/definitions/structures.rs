//! Message structures: which segments in which order and which groups.
//!
//! Written as `MSH SFT* PATIENT?(PID PD1?)`: a name alone stands once, `?` at
//! most once, `+` at least once, `*` any number of times; parentheses hold what
//! is in a group. `***` stands for any segment. The alternatives of a choice
//! are written one after the other, each optional.

use std::collections::VecDeque;
use std::fmt;

/// One message structure. Its items are in an arena, children side by side.
#[derive(Clone)]
pub struct StructureDefinition {
    id: &'static str,
    nodes: Vec<Node>,
}

/// A segment or a group at its place in a structure.
#[derive(Clone, Copy)]
pub struct StructureItem<'s> {
    structure: &'s StructureDefinition,
    index: usize,
}

#[derive(Clone, Copy)]
struct Node {
    name: &'static str,
    required: bool,
    repeats: bool,
    parent: u16,
    first_child: u16,
    children: u16,
    group: bool,
}

// === impl StructureDefinition ===

impl StructureDefinition {
    /// Reads the items of a structure. Never fails: what is not closed is closed at the end.
    pub(crate) fn new(id: &'static str, text: &'static str) -> Self {
        let root = Node {
            name: id,
            required: true,
            repeats: false,
            parent: 0,
            first_child: 0,
            children: 0,
            group: true,
        };
        let mut nodes = vec![root];
        // one group after the other, outermost first, so that children lie side by side
        let mut waiting = VecDeque::from([(0, text)]);
        while let Some((parent, text)) = waiting.pop_front() {
            let first = nodes.len();
            for (word, inner) in items(text) {
                let name = word.trim_end_matches(['?', '*', '+']);
                let (name, marks) = match word.strip_prefix("***") {
                    Some(marks) => ("***", marks),
                    None => (name, word.get(name.len()..).unwrap_or_default()),
                };
                if let Some(inner) = inner {
                    waiting.push_back((nodes.len(), inner));
                }
                nodes.push(Node {
                    name,
                    required: !marks.contains(['?', '*']),
                    repeats: marks.contains(['*', '+']),
                    parent: narrow(parent),
                    first_child: 0,
                    children: 0,
                    group: inner.is_some(),
                });
            }
            let children = narrow(nodes.len() - first);
            if let Some(node) = nodes.get_mut(parent) {
                node.first_child = narrow(first);
                node.children = children;
            }
        }
        Self { id, nodes }
    }

    /// `ORU_R01`
    #[must_use]
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// The message itself: a group with the name of the structure.
    #[must_use]
    pub fn root(&self) -> StructureItem<'_> {
        StructureItem {
            structure: self,
            index: 0,
        }
    }

    /// How many segments and groups it has, the root included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never true: there is always the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All items, groups before what is in them; the root first.
    pub fn items(&self) -> impl ExactSizeIterator<Item = StructureItem<'_>> {
        (0..self.nodes.len()).map(|index| StructureItem {
            structure: self,
            index,
        })
    }

    /// The item at a path of names below the root, `PATIENT_RESULT.PATIENT.PID`.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<StructureItem<'_>> {
        path.split('.')
            .try_fold(self.root(), |group, name| group.child(name))
    }
}

impl fmt::Debug for StructureDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "StructureDefinition({}, {} items)",
            self.id,
            self.nodes.len()
        )
    }
}

// === impl StructureItem ===

impl<'s> StructureItem<'s> {
    /// Name of the segment or group; `***` where any segment may stand.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.node().map_or("", |node| node.name)
    }

    /// Whether it is a group; else it is a segment.
    #[must_use]
    pub fn is_group(&self) -> bool {
        self.node().is_some_and(|node| node.group)
    }

    /// Whether the group around it must have one.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.node().is_some_and(|node| node.required)
    }

    /// Whether there may be several in a row.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.node().is_some_and(|node| node.repeats)
    }

    /// The group around it; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<StructureItem<'s>> {
        let node = self.node()?;
        (self.index > 0).then_some(StructureItem {
            structure: self.structure,
            index: node.parent.into(),
        })
    }

    /// What is in the group, in order; nothing for a segment.
    pub fn children(&self) -> impl ExactSizeIterator<Item = StructureItem<'s>> + use<'s> {
        let structure = self.structure;
        let (first, count) = self.node().map_or((0, 0), |node| {
            (usize::from(node.first_child), usize::from(node.children))
        });
        (first..first + count).map(move |index| StructureItem { structure, index })
    }

    /// The first item of that name directly in the group.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<StructureItem<'s>> {
        self.children().find(|child| child.name() == name)
    }

    /// Position in [`StructureDefinition::items`].
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    fn node(&self) -> Option<&'s Node> {
        self.structure.nodes.get(self.index)
    }
}

impl fmt::Debug for StructureItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StructureItem({})", self.name())
    }
}

/// Cuts `PID PD1? VISIT?(PV1 PV2?)` into words, each with what is in its parentheses.
fn items(text: &'static str) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let end = rest.find([' ', '(']).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end)?;
        if word.is_empty() {
            return None;
        }
        if !after.starts_with('(') {
            rest = after;
            return Some((word, None));
        }
        let mut depth = 0_usize;
        let close = after.bytes().position(|byte| {
            depth = depth + usize::from(byte == b'(') - usize::from(byte == b')');
            depth == 0
        });
        let close = close.unwrap_or(after.len());
        rest = after.get(close + 1..).unwrap_or_default();
        Some((word, after.get(1..close)))
    })
}

fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::for_version;
    use crate::version::Version;

    #[test]
    fn groups_nest() {
        let structure = StructureDefinition::new("X", "MSH SFT* A?(PID B+(OBX NTE*) ***) DSC?");
        let names: Vec<_> = structure
            .root()
            .children()
            .map(|item| item.name())
            .collect();
        assert_eq!(names, ["MSH", "SFT", "A", "DSC"]);
        let a = structure.find("A").unwrap();
        assert!(a.is_group() && !a.is_required() && !a.repeats());
        let b = structure.find("A.B").unwrap();
        assert!(b.is_group() && b.is_required() && b.repeats());
        assert_eq!(b.parent().unwrap().name(), "A");
        let notes = structure.find("A.B.NTE").unwrap();
        assert!(!notes.is_group() && !notes.is_required() && notes.repeats());
        assert_eq!(notes.children().len(), 0);
        assert_eq!(a.children().last().unwrap().name(), "***");
        assert!(structure.find("A.OBX").is_none());
        assert_eq!(structure.len(), 10);
    }

    #[test]
    fn results_have_the_names_of_the_guide() {
        let newest = for_version(Version::NEWEST).structure("ORU_R01").unwrap();
        for path in [
            "PATIENT_RESULT.PATIENT.PID",
            "PATIENT_RESULT.PATIENT.VISIT.PV1",
            "PATIENT_RESULT.PATIENT.PATIENT_OBSERVATION.OBX",
            "PATIENT_RESULT.ORDER_OBSERVATION.COMMON_ORDER.ORC",
            "PATIENT_RESULT.ORDER_OBSERVATION.OBR",
            "PATIENT_RESULT.ORDER_OBSERVATION.TIMING_QTY.TQ1",
            "PATIENT_RESULT.ORDER_OBSERVATION.OBSERVATION.NTE",
            "PATIENT_RESULT.ORDER_OBSERVATION.SPECIMEN.SPECIMEN_OBSERVATION.OBX",
        ] {
            assert!(newest.find(path).is_some(), "{path}");
        }
        // 2.3 called it otherwise
        let old = for_version(Version::V2_3).structure("ORU_R01").unwrap();
        assert!(old.find("RESPONSE.ORDER_OBSERVATION.ORC").is_some());
    }

    #[test]
    fn structures_have_the_groups_that_maps_name() {
        let newest = for_version(Version::NEWEST);
        for (ids, paths) in [
            (
                "ADT_A01 ADT_A05",
                "NEXT_OF_KIN.NK1 OBSERVATION.OBX PROCEDURE.PR1 INSURANCE.IN3 INSURANCE.AUTHORIZATION.AUT INSURANCE.REFERRAL.RF1",
            ),
            (
                "ADT_A03",
                "NEXT_OF_KIN.NK1 OBSERVATION.OBX PROCEDURE.PR1 INSURANCE.IN1",
            ),
            (
                "ADT_A06",
                "MRG NEXT_OF_KIN.NK1 OBSERVATION.OBX PROCEDURE.PR1 INSURANCE.IN1",
            ),
            ("ADT_A02 ADT_A09 ADT_A11 ADT_A17", "PID PV1 OBSERVATION.OBX"),
            ("ADT_A39 ADT_A43", "PATIENT.PID PATIENT.MRG"),
            (
                "MDM_T02",
                "COMMON_ORDER.ORC COMMON_ORDER.TIMING.TQ1 COMMON_ORDER.OBR TXA OBSERVATION.OBX OBSERVATION.NTE",
            ),
            (
                "OML_O21",
                "PATIENT.PATIENT_VISIT.PV1 PATIENT.INSURANCE.IN1 ORDER.TIMING.TQ1 ORDER.OBSERVATION_REQUEST.OBSERVATION.OBX \
                 ORDER.OBSERVATION_REQUEST.SPECIMEN.CONTAINER.CONTAINER_OBSERVATION.OBX \
                 ORDER.OBSERVATION_REQUEST.PRIOR_RESULT.ORDER_PRIOR.OBSERVATION_PRIOR.OBX",
            ),
            ("ADT_A24 ADT_A37", "PID PD1 PV1"),
            ("ADT_A45", "MERGE_INFO.MRG MERGE_INFO.PV1"),
            (
                "ADT_A60",
                "VISIT.PV1 ADVERSE_REACTION_GROUP.IAM ADVERSE_REACTION_GROUP.IAR",
            ),
            (
                "OUL_R22",
                "SPECIMEN.SPM SPECIMEN.CONTAINER.SAC SPECIMEN.ORDER.OBR SPECIMEN.ORDER.RESULT.OBX",
            ),
            ("OUL_R23", "SPECIMEN.CONTAINER.ORDER.RESULT.NTE"),
            ("OUL_R24", "ORDER.SPECIMEN.SPM ORDER.RESULT.OBX"),
            (
                "OMG_O19",
                "PATIENT.PATIENT_VISIT.PV1 ORDER.OBSERVATION.OBX ORDER.SPECIMEN.SPM",
            ),
            ("OMP_O09", "ORDER.RXO ORDER.COMPONENT.RXC ORDER.TIMING.TQ1"),
            (
                "RDE_O11",
                "ORDER.ORDER_DETAIL.RXO ORDER.RXE ORDER.RXR ORDER.TIMING_ENCODED.TQ1",
            ),
            ("RDS_O13", "ORDER.ENCODING.RXE ORDER.RXD ORDER.RXR"),
            (
                "RAS_O17",
                "ORDER.ADMINISTRATION.RXA ORDER.ADMINISTRATION.RXR",
            ),
            ("RGV_O15", "ORDER.GIVE.RXG ORDER.GIVE.TIMING_GIVE.TQ1"),
            (
                "RRE_O12",
                "RESPONSE.PATIENT.PID RESPONSE.ORDER.ENCODING.RXE",
            ),
            ("ORR_O02", "RESPONSE.PATIENT.PID RESPONSE.ORDER.ORC"),
            (
                "DFT_P03",
                "PV1 FINANCIAL.FT1 FINANCIAL.FINANCIAL_PROCEDURE.PR1 INSURANCE.IN2",
            ),
            ("BAR_P01", "VISIT.PV1 VISIT.GT1 VISIT.INSURANCE.IN3"),
            (
                "PPR_PC1",
                "PROBLEM.PRB PROBLEM.GOAL.GOL PROBLEM.PATHWAY.PTH PROBLEM.GOAL.GOAL_OBSERVATION.OBX",
            ),
            (
                "REF_I12 RRI_I12",
                "RF1 PROVIDER_CONTACT.PRD PROVIDER_CONTACT.CTD PATIENT_VISIT.PV1",
            ),
            ("MFN_M02", "MF_STAFF.STF MF_STAFF.PRA"),
            ("MFN_M05", "MF_LOCATION.LOC MF_LOCATION.MF_LOC_DEPT.LDP"),
            (
                "ORM_O01",
                "PATIENT.VISIT.PV1 PATIENT.INSURANCE.IN1 ORDER.ORC ORDER.ORDER_DETAIL.OBR ORDER.ORDER_DETAIL.RXO \
                 ORDER.ORDER_DETAIL.OBSERVATION.OBX",
            ),
            (
                "SIU_S12",
                "PATIENT.PID RESOURCES.SERVICE.AIS RESOURCES.GENERAL_RESOURCE.AIG RESOURCES.LOCATION_RESOURCE.AIL \
                 RESOURCES.PERSONNEL_RESOURCE.AIP",
            ),
            (
                "VXU_V04",
                "PATIENT_VISIT.PV1 INSURANCE.IN1 PERSON_OBSERVATION.OBX ORDER.TIMING.TQ1 ORDER.RXA ORDER.OBSERVATION.NTE",
            ),
        ] {
            for (id, path) in ids
                .split(' ')
                .flat_map(|id| paths.split_whitespace().map(move |path| (id, path)))
            {
                assert!(
                    newest.structure(id).unwrap().find(path).is_some(),
                    "{id}.{path}"
                );
            }
        }
    }

    #[test]
    fn every_structure_starts_with_the_header() {
        for version in Version::ALL {
            for structure in for_version(version).structures() {
                assert_eq!(
                    structure.root().children().next().unwrap().name(),
                    "MSH",
                    "{structure:?} {version:?}"
                );
                for item in structure.items() {
                    assert!(
                        !item.is_group() || item.children().len() > 0,
                        "{item:?} of {structure:?}"
                    );
                    assert!(
                        item.is_group() || item.name().len() == 3,
                        "{item:?} of {structure:?}"
                    );
                }
            }
        }
    }
}
