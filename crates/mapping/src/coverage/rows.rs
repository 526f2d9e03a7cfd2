//! Rows of segment and datatype maps: which rule reads the source and writes the element.

use super::facts::{Fact, Place};
use super::guide::{GuideMap, GuideRow, same_name};
use super::target::{self, Target, Urls, same_url, type_of};
use super::{MapCoverage, Outcome, RowCoverage, Work, noted, said};
use crate::notes::Says;
use crate::plan::OriginId;

/// What is looked for.
struct Wanted<'w> {
    row: &'w GuideRow,
    place: Option<Place>,
    target: &'w Target,
    literal: &'w str,
    /// Whether the guide's datatype map and code table must be used, too.
    strict: bool,
}

impl Work<'_> {
    pub(super) fn rows(&self, map: &GuideMap) -> MapCoverage {
        let serving = self.serving(map.name);
        let facts: Vec<&Fact> = serving
            .iter()
            .filter_map(|id| self.facts.get(*id))
            .flatten()
            .collect();
        let urls = Urls::of(map);
        let notes: Vec<_> = serving
            .iter()
            .filter_map(|id| self.plan.notes.maps.get(*id))
            .collect();
        let covered = |row: &GuideRow| {
            let note = noted(notes.iter().flat_map(|file| &file.rows), map, row);
            let target = target::target(row, type_of(map.name), &urls);
            let found = || self.found(row, target.as_ref(), &facts);
            match note {
                Some(noted) if noted.exact => self.by_note(
                    map,
                    row,
                    target.as_ref(),
                    &noted.note.says,
                    noted.note.origin,
                    &facts,
                ),
                Some(noted) => found().unwrap_or_else(|| {
                    self.by_note(
                        map,
                        row,
                        target.as_ref(),
                        &noted.note.says,
                        noted.note.origin,
                        &facts,
                    )
                }),
                None => found()
                    .or_else(|| self.beside(row, &facts))
                    .unwrap_or_else(|| {
                        let why = (target.is_none()).then(|| "R4 has no such element".to_owned());
                        self.covered(row, Outcome::Missing { why }, None)
                    }),
            }
        };
        let rows = map.rows.iter().map(|row| {
            let mut covered = covered(row);
            if let Outcome::Implemented | Outcome::Corrected { .. } = covered.outcome {
                covered.unasked = unasked(row, &facts);
            }
            covered
        });
        MapCoverage {
            kind: map.kind,
            map: map.name,
            rows: rows.collect(),
            files: notes.iter().map(|file| file.name.clone()).collect(),
        }
    }

    /// What the rules show.
    fn found(
        &self,
        row: &GuideRow,
        target: Option<&Target>,
        facts: &[&Fact],
    ) -> Option<RowCoverage> {
        let wanted = Wanted {
            row,
            place: place(row),
            target: target?,
            literal: if row.map.is_empty() { row.literal } else { "" },
            strict: true,
        };
        let fact = self.proof(&wanted, facts)?;
        Some(self.covered(
            row,
            self.outcome(fact, Outcome::Implemented),
            Some(fact.origin),
        ))
    }

    /// A policy that is off by default makes all the difference.
    fn outcome(&self, fact: &Fact, on: Outcome) -> Outcome {
        fact.off.map_or(on, |policy| Outcome::Policy {
            policy: self.policy_name(policy),
        })
    }

    /// `deviates:` beside the rule that reads the source.
    fn beside(&self, row: &GuideRow, facts: &[&Fact]) -> Option<RowCoverage> {
        let place = place(row)?;
        let reads = |fact: &&&Fact| fact.reads.iter().any(|read| read.takes(place));
        let (fact, reason) = facts.iter().filter(reads).find_map(|fact| {
            let reason = self.plan.notes.deviations.get(&fact.origin)?;
            Some((fact, reason.clone()))
        })?;
        Some(self.covered(row, Outcome::Deviates { reason }, Some(fact.origin)))
    }

    /// What `rows:` says, as far as it can be found.
    fn by_note(
        &self,
        map: &GuideMap,
        row: &GuideRow,
        target: Option<&Target>,
        says: &Says,
        origin: OriginId,
        facts: &[&Fact],
    ) -> RowCoverage {
        if let Some(outcome) = said(says) {
            return self.covered(row, outcome, Some(origin));
        }
        let missing =
            |why: String| self.covered(row, Outcome::Missing { why: Some(why) }, Some(origin));
        match says {
            Says::As(element, constant) => {
                let Some(found) = target::written(element, type_of(map.name)) else {
                    return missing(format!("R4 has no element {element}"));
                };
                // Where an extension became an element, its URL is gone with it.
                let ends = |text: &str| {
                    let text = text.trim_end_matches(')');
                    text == "url" || text.ends_with(".url") || text.ends_with(".uri")
                };
                let gone = ends(row.target) && !ends(element);
                let wanted = Wanted {
                    row,
                    place: place(row),
                    target: &found,
                    literal: constant
                        .as_deref()
                        .unwrap_or(if gone { "" } else { row.literal }),
                    strict: false,
                };
                match self.proof(&wanted, facts) {
                    Some(fact) => {
                        let element = element.clone();
                        let outcome = self.outcome(fact, Outcome::Corrected { element });
                        self.covered(row, outcome, Some(fact.origin))
                    }
                    None => missing(format!("no rule writes {element} from {}", row.source)),
                }
            }
            Says::By(name) => {
                let Some(id) = self.map_id(name) else {
                    // A table or a message map: no place to look at.
                    return self.covered(row, Outcome::Claimed { by: name.clone() }, Some(origin));
                };
                let facts: Vec<&Fact> = self.facts.get(id).into_iter().flatten().collect();
                if let Some(found) = self.found(row, target, &facts) {
                    return found;
                }
                let place = place(row);
                let looks = |fact: &&&Fact| {
                    place.is_none_or(|place| {
                        let mut reads = fact.reads.iter().chain(&fact.around);
                        reads.any(|read| read.takes(place))
                    })
                };
                match facts.iter().find(looks) {
                    Some(fact) => {
                        let outcome = self.outcome(fact, Outcome::Claimed { by: name.clone() });
                        self.covered(row, outcome, Some(fact.origin))
                    }
                    None => missing(format!("{name} does not read {}", row.source)),
                }
            }
            Says::Policy(_) | Says::Deviates(_) => missing(String::new()),
        }
    }

    /// The fact that proves it: one that is not switched off, if there is one.
    fn proof<'f>(&self, wanted: &Wanted<'_>, facts: &[&'f Fact]) -> Option<&'f Fact> {
        let proves = |fact: &&&Fact| {
            if wanted.literal.is_empty() {
                self.writes(wanted, fact)
            } else {
                self.constant(wanted, fact)
            }
        };
        let found: Vec<&'f Fact> = facts.iter().filter(proves).copied().collect();
        let fact = found
            .iter()
            .find(|fact| fact.off.is_none())
            .or(found.first())
            .copied()?;
        if !wanted.literal.is_empty() || !wanted.strict {
            return Some(fact);
        }
        (self.through(wanted, &found, facts) && self.translated(wanted, &found)).then_some(fact)
    }

    fn writes(&self, wanted: &Wanted<'_>, fact: &Fact) -> bool {
        let there = if wanted.target.primitive && !wanted.target.steps.is_empty() {
            wanted.target.is(&fact.path)
        } else {
            wanted.target.holds(&fact.path)
        };
        // A row that only refers, without a map that says how the resource is made.
        let refers = fact.bound.is_some()
            || (wanted.row.map.is_empty()
                && wanted
                    .target
                    .steps
                    .last()
                    .is_some_and(|step| step.starts_with('(')));
        there
            && match wanted.place {
                Some(place) => {
                    let around = fact.around.iter().filter(|_| refers);
                    let mut reads = fact.reads.iter().chain(around);
                    reads.any(|read| read.takes(place))
                }
                None => !fact.reads.is_empty() || fact.bound.is_some(),
            }
    }

    /// A constant, there because of the row's source; or a code of a table that translates the source.
    fn constant(&self, wanted: &Wanted<'_>, fact: &Fact) -> bool {
        if !wanted.target.is(&fact.path) {
            return false;
        }
        let literal = same_url(wanted.literal);
        let same = |text: &String| same_url(text) == literal;
        if fact.constants.iter().any(same) {
            return wanted
                .place
                .is_none_or(|place| fact.around.iter().any(|read| read.takes(place)));
        }
        let reads = wanted
            .place
            .is_some_and(|place| fact.reads.iter().any(|read| read.takes(place)));
        reads
            && fact.tables.iter().any(|id| {
                let table = self.plan.tables.get(*id);
                table.is_some_and(|table| {
                    let targets = table.codes.values().flatten().chain(&table.default);
                    targets.into_iter().any(|target| {
                        target.code == wanted.literal || same_url(&target.system) == literal
                    })
                })
            })
    }

    /// A composite goes through the guide's datatype map, or its parts do what the rows of that map say.
    fn through(&self, wanted: &Wanted<'_>, found: &[&Fact], facts: &[&Fact]) -> bool {
        if wanted.row.map.is_empty() || (wanted.target.primitive && !wanted.target.steps.is_empty())
        {
            return true;
        }
        let name = same_name(wanted.row.map);
        let serves = |fact: &&Fact| {
            let used = fact.maps.iter().filter_map(|id| self.map_guides.get(*id));
            used.into_iter().any(|guides| guides.contains(&name))
                || (fact.coded && matches!(type_of(wanted.row.map), "CodeableConcept" | "Coding"))
        };
        found.iter().any(serves) || self.inline(wanted, facts)
    }

    fn inline(&self, wanted: &Wanted<'_>, facts: &[&Fact]) -> bool {
        let Some(map) = self.guide.map(wanted.row.map) else {
            return false;
        };
        let urls = Urls::of(map);
        let mut rows = map
            .rows
            .iter()
            .filter(|row| row.literal.is_empty())
            .peekable();
        rows.peek().is_some()
            && rows.all(|row| {
                let Some(inner) = target::target(row, type_of(map.name), &urls) else {
                    return false;
                };
                let mut steps = wanted.target.steps.clone();
                steps.extend(inner.steps);
                let whole = Target {
                    steps,
                    primitive: inner.primitive,
                    boolean: inner.boolean,
                };
                let part = place(row).zip(wanted.place).map(|(part, field)| {
                    let [number, component, _] = field.parts;
                    let [_, first, second] = part.parts;
                    Place {
                        segment: field.segment,
                        parts: if component == 0 {
                            [number, first, second]
                        } else {
                            [number, component, first]
                        },
                    }
                });
                let inner = Wanted {
                    row,
                    place: part.or(wanted.place),
                    target: &whole,
                    literal: "",
                    strict: false,
                };
                facts.iter().any(|fact| self.writes(&inner, fact))
            })
    }

    /// Where the guide names a code table that has codes, that table translates.
    fn translated(&self, wanted: &Wanted<'_>, found: &[&Fact]) -> bool {
        let named = self.guide.map(wanted.row.table);
        if wanted.row.table.is_empty() || named.is_none_or(|table| table.rows.is_empty()) {
            return true;
        }
        if wanted.target.boolean && same_name(wanted.row.table) == "yesnoindicator" {
            return true;
        }
        let name = same_name(wanted.row.table);
        let serves = |id: &usize| {
            let guides = self.table_guides.get(*id);
            guides.is_some_and(|guides| guides.contains(&name))
        };
        found.iter().any(|fact| fact.tables.iter().any(serves))
    }
}

/// Where the row reads; `None` when it always applies.
/// The places that the row's condition names, and that no rule that reads its source looks at.
fn unasked(row: &GuideRow, facts: &[&Fact]) -> Vec<&'static str> {
    let source = place(row);
    let about: Vec<&&Fact> = facts
        .iter()
        .filter(|fact| {
            source.is_none_or(|source| {
                let mut reads = fact.reads.iter().chain(&fact.around);
                reads.any(|read| read.takes(source))
            })
        })
        .collect();
    let asked = |place: Place| {
        about.iter().any(|fact| {
            let mut reads = fact.reads.iter().chain(&fact.around);
            reads.any(|read| read.takes(place))
        })
    };
    row.asks
        .split(',')
        .filter(|text| Place::parse(text).is_some_and(|place| !asked(place)))
        .collect()
}

fn place(row: &GuideRow) -> Option<Place> {
    Place::parse(row.source).filter(|place| place.parts != [0; 3])
}
