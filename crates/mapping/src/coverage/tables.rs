//! Rows of code tables: whether a table gives the guide's code for the source code.

use super::guide::GuideMap;
use super::target::same_url;
use super::{MapCoverage, Outcome, Work, noted, said};
use crate::notes::Says;

impl Work<'_> {
    pub(super) fn codes(&self, map: &GuideMap) -> MapCoverage {
        let tables = self.serving_tables(map.name);
        let notes: Vec<_> = tables
            .iter()
            .filter_map(|id| self.plan.notes.tables.get(*id))
            .collect();
        let rows = map.rows.iter().map(|row| {
            let same = |system: &str| {
                row.target_system.is_empty() || same_url(system) == same_url(row.target_system)
            };
            for (id, file) in tables.iter().zip(&notes) {
                let Some(table) = self.plan.tables.get(*id) else {
                    continue;
                };
                let read = table.source.is_empty()
                    || row.system.is_empty()
                    || table.source.iter().any(|system| system == row.system);
                let targets = table.codes.get(row.source).into_iter().flatten();
                if read
                    && targets
                        .into_iter()
                        .any(|target| target.code == row.target && same(&target.system))
                {
                    return self.covered(row, Outcome::Implemented, Some(file.origin));
                }
            }
            let note = noted(notes.iter().flat_map(|file| &file.rows), map, row);
            match note {
                Some(noted) => {
                    let outcome =
                        said(&noted.note.says).unwrap_or_else(|| match &noted.note.says {
                            Says::By(by) => Outcome::Claimed { by: by.clone() },
                            Says::As(code, _) => self.other_code(&tables, row.source, code),
                            Says::Policy(_) | Says::Deviates(_) => Outcome::Missing { why: None },
                        });
                    self.covered(row, outcome, Some(noted.note.origin))
                }
                None => self.covered(row, Outcome::Missing { why: None }, None),
            }
        });
        MapCoverage {
            kind: map.kind,
            map: map.name,
            rows: rows.collect(),
            files: notes.iter().map(|file| file.name.clone()).collect(),
        }
    }

    /// `as CODE`: the table gives that one.
    fn other_code(&self, tables: &[usize], source: &str, code: &str) -> Outcome {
        let gives = tables
            .iter()
            .filter_map(|id| self.plan.tables.get(*id))
            .any(|table| {
                let targets = table.codes.get(source).into_iter().flatten();
                targets.into_iter().any(|target| target.code == code)
            });
        if gives {
            Outcome::Corrected {
                element: code.to_owned(),
            }
        } else {
            Outcome::Missing {
                why: Some(format!("the table does not give {code}")),
            }
        }
    }
}
