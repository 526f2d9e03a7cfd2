//! How much of HL7's "Version 2 to FHIR" guide a package implements, row by row.
//!
//! A map of the guide is served by the files that name it in `guide:` (a code table also by its name, a message map by its
//! structure). A row is implemented when a rule of such a file reads the row's source and writes the row's element, found in the
//! compiled rules; where the guide's element is wrong, `rows:` says `as ELEMENT`, which must be found as well. What a person only
//! says (`by MAP`) is counted apart from what was found.

mod facts;
mod guide;
mod messages;
mod print;
mod rows;
mod tables;
mod target;

use serde::Serialize;

use crate::notes::{RowNote, Says};
use crate::package::Package;
use crate::plan::{MapId, OriginId, Plan, TableId};
use facts::Fact;
use guide::{Guide, GuideMap, GuideRow, guide, same_name};

/// What kind of map of the guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GuideKind {
    /// A message structure.
    Message,
    /// A segment.
    Segment,
    /// A data type.
    DataType,
    /// A code table.
    Code,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub enum Outcome {
    /// A rule reads the source and writes the element.
    Implemented,
    /// A rule reads the source and writes another element, since the guide's is wrong.
    Corrected {
        /// The element.
        element: String,
    },
    /// A person says that a map does it. The map reads the source, but what it writes can't be compared.
    Claimed {
        /// The map, or `engine`.
        by: String,
    },
    /// A policy decides, which is off by default.
    Policy {
        /// Its name.
        policy: String,
    },
    /// Done otherwise.
    Deviates {
        /// Why.
        reason: String,
    },
    /// Nothing does it.
    Missing {
        /// What was said and not found, or which part is missing.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
}

/// A row of the guide.
#[derive(Clone, Debug, Serialize)]
pub struct RowCoverage {
    /// Which data row of the guide's table, from 1.
    pub ordinal: u32,
    /// A field, a component, groups and segment, or a code.
    pub source: String,
    /// An element, a resource, or a code.
    pub target: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The rule, as `file:line`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Places that the guide's condition asks about, and none of the rules that read the source does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unasked: Vec<&'static str>,
}

/// A map of the guide.
#[derive(Clone, Debug, Serialize)]
pub struct MapCoverage {
    /// Its kind.
    pub kind: GuideKind,
    /// Its name, such as `PID[Patient]`.
    pub map: &'static str,
    /// The files of the package that serve it, such as `PID/Patient`.
    pub files: Vec<String>,
    /// Its mapped rows.
    pub rows: Vec<RowCoverage>,
}

/// Rows by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CoverageCounts {
    /// All mapped rows.
    pub rows: usize,
    /// See [`Outcome::Implemented`].
    pub implemented: usize,
    /// See [`Outcome::Corrected`].
    pub corrected: usize,
    /// See [`Outcome::Claimed`].
    pub claimed: usize,
    /// See [`Outcome::Policy`].
    pub policy: usize,
    /// See [`Outcome::Deviates`].
    pub deviates: usize,
    /// See [`Outcome::Missing`].
    pub missing: usize,
}

/// All of the guide's mapped rows.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// By kind, then by name.
    pub maps: Vec<MapCoverage>,
}

impl CoverageCounts {
    fn add(&mut self, outcome: &Outcome) {
        self.rows += 1;
        match outcome {
            Outcome::Implemented => self.implemented += 1,
            Outcome::Corrected { .. } => self.corrected += 1,
            Outcome::Claimed { .. } => self.claimed += 1,
            Outcome::Policy { .. } => self.policy += 1,
            Outcome::Deviates { .. } => self.deviates += 1,
            Outcome::Missing { .. } => self.missing += 1,
        }
    }

    /// All but the missing ones.
    pub fn accounted(&self) -> usize {
        self.rows - self.missing
    }

    /// Those that do what the guide means: neither missing nor done otherwise.
    pub fn in_substance(&self) -> usize {
        self.rows - self.missing - self.deviates
    }
}

impl MapCoverage {
    /// Its rows by outcome.
    pub fn counts(&self) -> CoverageCounts {
        let mut counts = CoverageCounts::default();
        self.rows.iter().for_each(|row| counts.add(&row.outcome));
        counts
    }
}

impl Coverage {
    /// The rows of all maps of a kind; of everything without one.
    pub fn counts(&self, kind: Option<GuideKind>) -> CoverageCounts {
        let mut counts = CoverageCounts::default();
        for map in &self.maps {
            if kind.is_none_or(|kind| kind == map.kind) {
                map.rows.iter().for_each(|row| counts.add(&row.outcome));
            }
        }
        counts
    }

    /// The map of that name; case, slashes and brackets do not matter.
    pub fn map(&self, name: &str) -> Option<&MapCoverage> {
        let name = same_name(name);
        self.maps.iter().find(|map| same_name(map.map) == name)
    }
}

impl Package {
    /// Compares the package with the guide, row by row.
    pub fn coverage(&self) -> Coverage {
        let work = Work::new(self);
        let mut maps: Vec<MapCoverage> = work.guide.maps.iter().map(|map| work.map(map)).collect();
        maps.retain(|map| !map.rows.is_empty());
        maps.sort_by(|a, b| (a.kind, a.map).cmp(&(b.kind, b.map)));
        Coverage { maps }
    }
}

/// What all comparisons need.
struct Work<'p> {
    package: &'p Package,
    plan: &'p Plan,
    guide: &'static Guide,
    /// By map.
    facts: Vec<Vec<Fact>>,
    /// Which maps of the guide a map serves, see [`same_name`].
    map_guides: Vec<Vec<String>>,
    table_guides: Vec<Vec<String>>,
}

/// A row of the guide with what a file says about it.
struct Noted<'n> {
    note: &'n RowNote,
    /// It names the target, not only the source.
    exact: bool,
}

impl<'p> Work<'p> {
    fn new(package: &'p Package) -> Work<'p> {
        let plan = &package.plan;
        let names = |guide: &[String]| guide.iter().map(|name| same_name(name)).collect::<Vec<_>>();
        Work {
            package,
            plan,
            guide: guide(),
            facts: (0..plan.maps.len())
                .map(|map| facts::of_map(plan, map))
                .collect(),
            map_guides: plan
                .notes
                .maps
                .iter()
                .map(|notes| names(&notes.guide))
                .collect(),
            table_guides: plan
                .notes
                .tables
                .iter()
                .map(|notes| {
                    let mut all = names(&notes.guide);
                    all.push(same_name(&notes.name));
                    all
                })
                .collect(),
        }
    }

    fn map(&self, map: &GuideMap) -> MapCoverage {
        match map.kind {
            GuideKind::Segment | GuideKind::DataType => self.rows(map),
            GuideKind::Code => self.codes(map),
            GuideKind::Message => self.message(map),
        }
    }

    /// The maps that serve a map of the guide.
    fn serving(&self, name: &str) -> Vec<MapId> {
        let name = same_name(name);
        let maps = self.map_guides.iter().enumerate();
        maps.filter(|(_, guides)| guides.contains(&name))
            .map(|(id, _)| id)
            .collect()
    }

    fn serving_tables(&self, name: &str) -> Vec<TableId> {
        let name = same_name(name);
        let tables = self.table_guides.iter().enumerate();
        tables
            .filter(|(_, guides)| guides.contains(&name))
            .map(|(id, _)| id)
            .collect()
    }

    /// The map of the package with that name.
    fn map_id(&self, name: &str) -> Option<MapId> {
        let maps = &self.plan.notes.maps;
        maps.iter().position(|notes| notes.name == name)
    }

    fn policy_name(&self, id: usize) -> String {
        let policy = self.plan.policies.get(id);
        policy.map(|policy| policy.name.clone()).unwrap_or_default()
    }

    fn place(&self, origin: OriginId) -> Option<String> {
        Some(self.package.rule(origin).to_string()).filter(|rule| !rule.is_empty())
    }

    fn covered(&self, row: &GuideRow, outcome: Outcome, origin: Option<OriginId>) -> RowCoverage {
        let literal = if row.literal.is_empty() {
            String::new()
        } else {
            format!(" = \"{}\"", row.literal)
        };
        RowCoverage {
            ordinal: row.ordinal,
            source: row.source.to_owned(),
            target: format!("{}{literal}", row.target),
            outcome,
            rule: origin.and_then(|origin| self.place(origin)),
            unasked: Vec::new(),
        }
    }
}

/// The line of `rows:` that speaks of a row; one that names its target goes before one that does not.
fn noted<'n>(
    notes: impl Iterator<Item = &'n RowNote>,
    map: &GuideMap,
    row: &GuideRow,
) -> Option<Noted<'n>> {
    let plain = |text: &str| -> String {
        let mut depth = 0;
        let outside = |c: &char| {
            match c {
                '[' => depth += 1,
                ']' => {
                    depth -= 1;
                    return false;
                }
                _ => {}
            }
            depth == 0 && !c.is_whitespace()
        };
        text.chars().filter(outside).collect()
    };
    let names = |target: &str| {
        let with_literal = format!("{} = {}", row.target, row.literal);
        let fits = |wanted: &str| {
            target == wanted || (!target.contains('[') && plain(target) == plain(wanted))
        };
        fits(row.target)
            || fits(&with_literal)
            || (!row.map.is_empty() && map.kind == GuideKind::Message && target == row.map)
    };
    let mut found: Option<Noted<'n>> = None;
    for note in notes {
        let same_map = note
            .map
            .as_ref()
            .is_none_or(|name| same_name(name) == same_name(map.name));
        if !same_map || note.source != row.source {
            continue;
        }
        match &note.target {
            Some(target) if names(target) => return Some(Noted { note, exact: true }),
            None => found = found.or(Some(Noted { note, exact: false })),
            _ => {}
        }
    }
    found
}

/// What a line of `rows:` says by itself, where nothing is to be found.
fn said(says: &Says) -> Option<Outcome> {
    match says {
        Says::Policy(policy) => Some(Outcome::Policy {
            policy: policy.clone(),
        }),
        Says::Deviates(reason) => Some(Outcome::Deviates {
            reason: reason.clone(),
        }),
        Says::By(by) if by == "engine" => Some(Outcome::Claimed { by: by.clone() }),
        Says::As(..) | Says::By(_) => None,
    }
}
