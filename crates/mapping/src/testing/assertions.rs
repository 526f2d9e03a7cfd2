//! Assertion files: `NAME.assert.yaml` beside `NAME.hl7`.
//!
//! A key that starts with a resource type or `Bundle` is an [`Expression`], its value what must be there; keys in lower
//! case are about the report and the circumstances.

use std::sync::Arc;

use fhir::tree::{NodeId, Tree};

use super::expression::{Expression, Types};
use super::select::{Document, Item};
use super::settings::TestSettings;
use crate::diagnostic::{Code, Diagnostic, closest};
use crate::report::Report;
use crate::yaml::{self, Node, Span, Value};

/// What a message must become, read from an assertion file.
#[derive(Clone, Debug, Default)]
pub struct Assertions {
    settings: TestSettings,
    elements: Vec<Assertion>,
    unmapped: Option<Listed>,
    issues: Option<Listed>,
    code_misses: Option<Listed>,
    deleted: Option<Listed>,
    message_map: Option<(Place, String)>,
    outcome: Option<(Place, Outcome)>,
    error: Option<(Place, String)>,
}

/// What became of the message of a test.
#[derive(Clone, Copy)]
pub enum Subject<'s> {
    /// A Bundle.
    Converted {
        /// The Bundle as it is written, read into a tree.
        tree: &'s Tree,
        /// Its root.
        bundle: NodeId,
        /// What the mapping has to tell.
        report: &'s Report,
        /// What the parser has to tell.
        parse_issues: &'s [hl7v2::Issue],
        /// Whether a table says that a person should look first.
        parked: bool,
    },
    /// Nothing, for this reason.
    Failed(&'s str),
}

/// Something that is not as it must be. May hold what the test's message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The assertion's file and line; empty where nobody wrote one.
    pub rule: String,
    /// What was looked at: the expression, `unmapped`, and so on.
    pub what: String,
    /// What must be there.
    pub expected: String,
    /// What is there.
    pub got: String,
}

/// File and line.
type Place = (Arc<str>, u32);
/// A list that must be met whole, in any order.
type Listed = (Place, Vec<String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Deliver,
    Park,
    Fail,
}

#[derive(Clone, Debug)]
struct Assertion {
    place: Place,
    text: String,
    expression: Expression,
    expected: Expected,
}

#[derive(Clone, Debug, PartialEq)]
enum Expected {
    Text(String),
    Absent,
    Present,
    List(Vec<Expected>),
    Keys(Vec<(String, Expression, Expected)>),
}

const KEYS: [&str; 9] = [
    "about",
    "context",
    "unmapped",
    "issues",
    "code-misses",
    "deleted",
    "message-map",
    "outcome",
    "error",
];

impl Assertions {
    /// Reads a file; `name` is what it is called in findings.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(name: &str, text: &str) -> Result<Assertions, Vec<Diagnostic>> {
        let mut reader = Reader {
            file: Arc::from(name),
            found: Vec::new(),
        };
        let mut assertions = Assertions::default();
        match yaml::parse(0, text) {
            Ok(node) => assertions.fill(&node, &mut reader),
            Err(problem) => reader.found.push(problem),
        }
        if reader.found.is_empty() {
            return Ok(assertions);
        }
        for finding in &mut reader.found {
            name.clone_into(&mut finding.file);
        }
        Err(reader.found)
    }

    /// These assertions, and those of `base` that they do not replace; `base` holds for all tests of a folder.
    #[must_use]
    pub fn over(mut self, base: &Assertions) -> Assertions {
        self.settings = self.settings.over(&base.settings);
        let own: Vec<String> = self.elements.iter().map(|one| one.text.clone()).collect();
        let more = base.elements.iter().filter(|one| !own.contains(&one.text));
        self.elements.splice(0..0, more.cloned());
        self.unmapped = self.unmapped.or_else(|| base.unmapped.clone());
        self.issues = self.issues.or_else(|| base.issues.clone());
        self.code_misses = self.code_misses.or_else(|| base.code_misses.clone());
        self.deleted = self.deleted.or_else(|| base.deleted.clone());
        self.message_map = self.message_map.or_else(|| base.message_map.clone());
        self.outcome = self.outcome.or_else(|| base.outcome.clone());
        self.error = self.error.or_else(|| base.error.clone());
        self
    }

    /// What the test assumes about route and destination.
    pub fn settings(&self) -> &TestSettings {
        &self.settings
    }

    /// Whether the message must not become a Bundle.
    pub fn must_fail(&self) -> bool {
        let outcome = self.outcome.as_ref().map(|(_, outcome)| *outcome);
        outcome == Some(Outcome::Fail) || self.error.is_some()
    }

    /// All that is not as it must be.
    pub fn check(&self, subject: &Subject<'_>) -> Vec<Mismatch> {
        let mut wrong = Vec::new();
        self.check_outcome(subject, &mut wrong);
        let Subject::Converted {
            tree,
            bundle,
            report,
            parse_issues,
            ..
        } = *subject
        else {
            return wrong;
        };
        let document = Document { tree, bundle };
        for one in &self.elements {
            let items = document.select(&one.expression, None);
            let mut notes = Vec::new();
            compare(document, &one.text, &items, &one.expected, &mut notes);
            let place = shown(&one.place);
            wrong.extend(notes.into_iter().map(|(what, expected, got)| Mismatch {
                rule: place.clone(),
                what,
                expected,
                got,
            }));
        }
        let list = |listed: &Option<Listed>, what: &str, got: Vec<String>| {
            let (place, expected) = listed.as_ref()?;
            let (mut one, mut other) = (expected.clone(), got.clone());
            one.sort_unstable();
            other.sort_unstable();
            (one != other).then(|| Mismatch {
                rule: shown(place),
                what: what.to_owned(),
                expected: in_brackets(expected),
                got: in_brackets(&got),
            })
        };
        let places = |places: &[hl7v2::Place]| places.iter().map(ToString::to_string).collect();
        let misses = report.code_misses.iter();
        let misses = misses.map(|miss| format!("{} {}", miss.table, miss.place));
        let map = self.message_map.as_ref();
        let map = map.filter(|(_, name)| *name != report.message_map);
        wrong.extend(map.map(|(place, name)| Mismatch {
            rule: shown(place),
            what: "message-map".to_owned(),
            expected: name.clone(),
            got: report.message_map.clone(),
        }));
        wrong.extend(list(&self.unmapped, "unmapped", places(&report.unmapped)));
        wrong.extend(list(&self.deleted, "deleted", places(&report.deleted)));
        wrong.extend(list(&self.code_misses, "code-misses", misses.collect()));
        wrong.extend(list(
            &self.issues,
            "issues",
            all_issues(report, parse_issues),
        ));
        wrong
    }

    fn check_outcome(&self, subject: &Subject<'_>, wrong: &mut Vec<Mismatch>) {
        let expected = match (&self.outcome, &self.error) {
            (Some((_, outcome)), _) => *outcome,
            (None, Some(_)) => Outcome::Fail,
            (None, None) => Outcome::Deliver,
        };
        let place = self.outcome.as_ref().map(|(place, _)| place);
        let place = place.or(self.error.as_ref().map(|(place, _)| place));
        let (got, why) = match subject {
            Subject::Converted { parked: false, .. } => (Outcome::Deliver, ""),
            Subject::Converted { parked: true, .. } => (Outcome::Park, ""),
            Subject::Failed(why) => (Outcome::Fail, *why),
        };
        if expected != got {
            wrong.push(Mismatch {
                rule: place.map(shown).unwrap_or_default(),
                what: "outcome".to_owned(),
                expected: expected.name().to_owned(),
                got: match why {
                    "" => got.name().to_owned(),
                    why => format!("{}: {why}", got.name()),
                },
            });
        } else if let Some((place, text)) = &self.error
            && !why.contains(text.as_str())
        {
            wrong.push(Mismatch {
                rule: shown(place),
                what: "error".to_owned(),
                expected: text.clone(),
                got: why.to_owned(),
            });
        }
    }

    fn fill(&mut self, node: &Node, reader: &mut Reader) {
        for (key, value) in reader.pairs(node) {
            let name = key.text().unwrap_or_default();
            let place = (Arc::clone(&reader.file), key.span.line);
            match name {
                "about" => {}
                "context" => self.settings = TestSettings::read(value, reader),
                "unmapped" => self.unmapped = Some((place, reader.texts(value))),
                "issues" => self.issues = Some((place, reader.texts(value))),
                "code-misses" => self.code_misses = Some((place, reader.texts(value))),
                "deleted" => self.deleted = Some((place, reader.texts(value))),
                "message-map" => self.message_map = reader.text(value).map(|name| (place, name)),
                "error" => self.error = reader.text(value).map(|text| (place, text)),
                "outcome" => {
                    let outcomes = [Outcome::Deliver, Outcome::Park, Outcome::Fail];
                    let outcomes = outcomes.map(|outcome| (outcome.name(), outcome));
                    self.outcome = reader.one_of(value, &outcomes).map(|one| (place, one));
                }
                name if name.starts_with(|first: char| first.is_ascii_uppercase()) => {
                    match Expression::typed(name) {
                        Ok((expression, types)) => self.elements.push(Assertion {
                            place,
                            text: name.to_owned(),
                            expression,
                            expected: reader.expected(value, &types),
                        }),
                        Err(error) => reader.syntax(key, error),
                    }
                }
                _ => reader.unknown(key, &KEYS),
            }
        }
    }
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Outcome::Deliver => "deliver",
            Outcome::Park => "park",
            Outcome::Fail => "fail",
        }
    }
}

impl Expected {
    fn shown(&self) -> String {
        match self {
            Expected::Text(text) => text.clone(),
            Expected::Absent => "absent".to_owned(),
            Expected::Present => "present".to_owned(),
            Expected::List(members) => {
                let members: Vec<String> = members.iter().map(Expected::shown).collect();
                in_brackets(&members)
            }
            Expected::Keys(keys) => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|(name, _, expected)| format!("{name}: {}", expected.shown()))
                    .collect();
                format!("{{ {} }}", keys.join(", "))
            }
        }
    }
}

fn shown((file, line): &Place) -> String {
    format!("{file}:{line}")
}

fn in_brackets(texts: &[String]) -> String {
    format!("[{}]", texts.join(", "))
}

fn all_issues(report: &Report, parse_issues: &[hl7v2::Issue]) -> Vec<String> {
    let told = |code: &str, place: Option<hl7v2::Place>| match place {
        Some(place) => format!("{code} {place}"),
        None => code.to_owned(),
    };
    let parsed = parse_issues.iter();
    let parsed = parsed.map(|issue| told(issue.code.as_str(), issue.place));
    let mapped = report.issues.iter();
    let mapped = mapped.map(|issue| told(&issue.code.to_string(), issue.place));
    parsed.chain(mapped).collect()
}

/// What, expected, got.
type Note = (String, String, String);

fn compare(
    document: Document<'_>,
    what: &str,
    items: &[Item],
    expected: &Expected,
    notes: &mut Vec<Note>,
) {
    let all = || match items {
        [] => "absent".to_owned(),
        [one] => document.shown(*one),
        many => {
            let texts: Vec<String> = many.iter().map(|item| document.shown(*item)).collect();
            in_brackets(&texts)
        }
    };
    let mut note = || notes.push((what.to_owned(), expected.shown(), all()));
    match (expected, items) {
        (Expected::Absent, []) | (Expected::Present, [_, ..]) => {}
        (Expected::Text(text), [one]) if document.text(*one).as_deref() == Some(text) => {}
        (Expected::List(members), items) if members.len() == items.len() => {
            for (place, (member, item)) in members.iter().zip(items).enumerate() {
                compare(
                    document,
                    &format!("{what}[{place}]"),
                    &[*item],
                    member,
                    notes,
                );
            }
        }
        (Expected::Keys(keys), [one]) => {
            for (name, expression, expected) in keys {
                let found = document.select(expression, Some(*one));
                compare(document, &format!("{what}.{name}"), &found, expected, notes);
            }
        }
        _ => note(),
    }
}

/// Reads nodes and collects what is wrong with them.
pub(super) struct Reader {
    file: Arc<str>,
    found: Vec<Diagnostic>,
}

impl Reader {
    pub(super) fn wrong(
        &mut self,
        node: &Node,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let finding = Diagnostic::error(Code::BadAssertion, node.span, message);
        self.found.push(finding.help(help));
    }

    /// The keys of a map; none, and a finding, for anything else.
    pub(super) fn pairs<'n>(&mut self, node: &'n Node) -> &'n [(Node, Node)] {
        if node.pairs().is_none() && !node.is_null() {
            self.wrong(
                node,
                format!("this is {}, and not a map of keys", node.kind()),
                "write `key: value` lines",
            );
        }
        node.pairs().unwrap_or_default()
    }

    pub(super) fn text(&mut self, node: &Node) -> Option<String> {
        if node.text().is_none() {
            self.wrong(
                node,
                format!("this is {}, and not a text", node.kind()),
                "write one value",
            );
        }
        node.text().map(str::to_owned)
    }

    fn texts(&mut self, node: &Node) -> Vec<String> {
        if node.is_null() {
            return Vec::new();
        }
        let members = node.members().iter();
        members.filter_map(|member| self.text(member)).collect()
    }

    pub(super) fn one_of<T: Copy>(&mut self, node: &Node, known: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        let found = known.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            self.wrong(
                node,
                format!("`{text}` can't stand here"),
                format!("write {}", names.join(", ")),
            );
        }
        found.map(|(_, value)| *value)
    }

    pub(super) fn unknown(&mut self, key: &Node, known: &[&str]) {
        let name = key.text().unwrap_or_default();
        let help = match closest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "there are {}, and paths such as Patient.birthDate",
                known.join(", ")
            ),
        };
        let finding = Diagnostic::error(
            Code::UnknownKey,
            key.span,
            format!("an assertion file has no key `{name}`"),
        );
        self.found.push(finding.help(help));
    }

    /// A mistake inside an expression that is a key.
    fn syntax(&mut self, key: &Node, error: crate::syntax::SyntaxError) {
        let (text, quoted) = match &key.value {
            Value::Scalar { text, quoted } => (text.as_str(), *quoted),
            _ => ("", false),
        };
        let before = text.get(..error.at).unwrap_or(text).chars().count() + usize::from(quoted);
        let before = u32::try_from(before).unwrap_or_default();
        let span = Span {
            column: key.span.column + before,
            length: 1,
            ..key.span
        };
        let finding = Diagnostic::error(error.code, span, error.message);
        self.found.push(match error.help {
            Some(help) => finding.help(help),
            None => finding,
        });
    }

    fn expected(&mut self, node: &Node, types: &Types) -> Expected {
        match &node.value {
            Value::Scalar { text, quoted } => match (text.as_str(), quoted) {
                ("absent", false) => Expected::Absent,
                ("present", false) => Expected::Present,
                ("", false) => {
                    self.wrong(
                        node,
                        "what must be there is missing",
                        "write the value, `absent` or `present`",
                    );
                    Expected::Absent
                }
                (text, _) => Expected::Text(text.to_owned()),
            },
            Value::List(members) => Expected::List(
                members
                    .iter()
                    .map(|member| self.expected(member, types))
                    .collect(),
            ),
            Value::Map(pairs) => {
                let mut keys = Vec::new();
                for (key, value) in pairs {
                    let name = key.text().unwrap_or_default();
                    match Expression::relative(name, types) {
                        Ok((expression, types)) => {
                            let expected = self.expected(value, &types);
                            keys.push((name.to_owned(), expression, expected));
                        }
                        Err(error) => self.syntax(key, error),
                    }
                }
                Expected::Keys(keys)
            }
        }
    }
}
