//! Codes that no table lists and that a terminology server may know. The engine asks nobody: it says which codes are missing,
//! and takes answers as a further layer under the tables.
//!
//! A table with `translate:` is asked so: convert, ask for [`Package::questions`], convert again with the answers in
//! [`Context::translations`](crate::Context::translations).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::package::Package;
use crate::plan::Target;
use crate::report::CodeMiss;

/// A code to be translated, as `ConceptMap/$translate` is asked (FHIR R4 conceptmap-operation-translate). It holds a code of
/// a message, so its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The table that does not list it.
    pub table: String,
    /// Canonical URL of the ConceptMap; `None` leaves the choice to the server.
    pub map: Option<String>,
    /// URI of the system of the targets; may be empty.
    pub target: String,
    /// The coding system as the message names it; may be empty.
    pub named: String,
    /// Its URI.
    pub system: String,
    /// The code.
    pub code: String,
}

/// What a code becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// URI of the target's system; may be empty.
    pub system: String,
    /// The target code.
    pub code: String,
    /// Its display.
    pub display: Option<String>,
}

/// Answers of a terminology server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Translations(Arc<HashMap<Key, Vec<Target>>>);

/// Table, coding system as the message names it, code.
type Key = (String, String, String);

impl Translations {
    /// Answers that have at least one target each.
    pub fn new(answers: impl IntoIterator<Item = (Question, Vec<Translation>)>) -> Translations {
        let answers = answers.into_iter().filter(|(_, found)| !found.is_empty());
        let known = answers.map(|(question, found)| {
            let targets = found.into_iter().map(|found| Target {
                code: found.code,
                display: found.display,
                system: found.system,
            });
            let key = (question.table, question.named, question.code);
            (key, targets.collect())
        });
        Translations(Arc::new(known.collect()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, table: &str, named: &str, code: &str) -> Option<&[Target]> {
        if self.0.is_empty() {
            return None;
        }
        let key = (
            table.to_owned(),
            named.trim().to_owned(),
            code.trim().to_owned(),
        );
        self.0.get(&key).map(Vec::as_slice)
    }
}

impl fmt::Debug for Translations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Translations").field(&self.0.len()).finish()
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl Package {
    /// Whether any of its tables asks for translations.
    pub fn asks(&self) -> bool {
        self.plan
            .tables
            .iter()
            .any(|table| table.translate.is_some())
    }

    /// What to ask about codes that tables with `translate:` do not list; each once. What does not look like a code, or has no
    /// coding system, is not asked.
    pub fn questions(&self, misses: &[CodeMiss]) -> Vec<Question> {
        let mut seen = HashSet::new();
        let mut questions = Vec::new();
        for miss in misses {
            let table = self
                .plan
                .tables
                .iter()
                .find(|table| table.name == miss.table);
            let (Some(table), Some(code), Some(uri)) = (table, miss.code.code(), miss.code.uri())
            else {
                continue;
            };
            let Some(map) = &table.translate else {
                continue;
            };
            let question = Question {
                table: table.name.clone(),
                map: (map != ANY).then(|| map.clone()),
                target: table.target.clone(),
                named: miss.code.system().unwrap_or_default().to_owned(),
                system: uri.to_owned(),
                code: code.to_owned(),
            };
            if seen.insert(question.clone()) {
                questions.push(question);
            }
        }
        questions
    }
}

/// `translate: any`: whichever ConceptMap the server has for the table's systems.
pub(crate) const ANY: &str = "any";
