//! Conditions outside of maps: on a whole message, for routes, and on the Bundle that was made of one, for destinations.
//!
//! The notations are the ones that authors of maps know already: the conditions of `when:`, and the expressions of
//! assertion files.

use std::borrow::Cow;
use std::fmt;

use fhir::tree::{Limits, read};
use hl7v2::{Message, Node, Path};

use crate::diagnostic::Code;
use crate::engine::has_form;
use crate::plan::{Comparison, Condition};
use crate::syntax::{SyntaxError, condition};
use crate::testing;

/// A condition on a message: `MSH-9.1 in (ORU, ADT) and PV1-2 valued`.
///
/// The notation is that of `when:` in mapping files. A path without an occurrence means the first segment of that name;
/// `OBX(2)-5` is the second. What needs a map (`policy`, `bound`, `CX.4`) is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct MessagePredicate(Condition<Path>);

/// A condition on a Bundle: `Observation.exists(status = 'final') and not Patient.deceased.exists()`.
///
/// The notation is that of assertion files, a small part of FHIRPath. Every name is checked against R4.
#[derive(Clone, Debug, PartialEq)]
pub struct BundlePredicate(testing::Condition);

/// Why a condition cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at column {column}: {message}{}", Advice(.help))]
pub struct PredicateError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

/// The advice behind a message, in brackets.
struct Advice<'h>(&'h Option<String>);

/// Paths are places of the message, whatever it is.
struct Places;

// === impl MessagePredicate ===

impl MessagePredicate {
    /// Reads a condition; the whole text must be one.
    ///
    /// # Errors
    /// [`PredicateError`] says what is wrong and where.
    pub fn compile(text: &str) -> Result<Self, PredicateError> {
        condition::parse(text, &mut Places)
            .map(Self)
            .map_err(|error| PredicateError::new(text, error))
    }

    /// Whether a message satisfies it.
    #[must_use]
    pub fn matches(&self, message: &Message<'_>) -> bool {
        holds(&self.0, message)
    }
}

// === impl BundlePredicate ===

impl BundlePredicate {
    /// Reads a condition; the whole text must be one.
    ///
    /// # Errors
    /// [`PredicateError`] says what is wrong and where.
    pub fn compile(text: &str) -> Result<Self, PredicateError> {
        testing::Condition::on_bundle(text)
            .map(Self)
            .map_err(|error| PredicateError::new(text, error))
    }

    /// Whether a Bundle, as JSON, satisfies it; what is no JSON does not.
    #[must_use]
    pub fn matches(&self, bundle: &[u8]) -> bool {
        read(bundle, &Limits::default()).is_ok_and(|(tree, bundle)| {
            let document = testing::Document {
                tree: &tree,
                bundle,
            };
            document.satisfies(&self.0)
        })
    }
}

// === impl PredicateError ===

impl PredicateError {
    fn new(text: &str, error: SyntaxError) -> Self {
        let before = text.get(..error.at).unwrap_or(text);
        Self {
            column: before.chars().count() + 1,
            message: error.message,
            help: error.help,
        }
    }
}

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

// === impl Places ===

impl condition::Resolver<Path> for Places {
    fn path(&mut self, text: &str, at: usize) -> Result<Path, SyntaxError> {
        let error = |message: String| {
            SyntaxError::new(Code::BadPath, at, message)
                .help("a path is MSH-9.1, PID-3(2).4, or OBX(2)-5 for the second OBX")
        };
        let path: Path = match text.parse() {
            Ok(path) if !text.contains(|c: char| c.is_ascii_lowercase()) => path,
            _ => return Err(error(format!("`{text}` is not a path"))),
        };
        match path.field {
            Some(_) => Ok(path),
            None => Err(error(format!("`{text}` names no field"))),
        }
    }

    fn policy(
        &mut self,
        _: &str,
        _: Option<&str>,
        at: usize,
    ) -> Result<Condition<Path>, SyntaxError> {
        Err(only_in_maps("policy", at))
    }

    fn bound(&mut self, _: &str, at: usize) -> Result<Condition<Path>, SyntaxError> {
        Err(only_in_maps("bound", at))
    }
}

fn only_in_maps(word: &str, at: usize) -> SyntaxError {
    SyntaxError::new(
        Code::BadCondition,
        at,
        format!("`{word}` has a meaning in maps alone"),
    )
    .help("a condition on a message asks for its fields")
}

fn holds(condition: &Condition<Path>, message: &Message<'_>) -> bool {
    let text = |path: &Path| text(message, path);
    match condition {
        Condition::All(parts) => parts.iter().all(|part| holds(part, message)),
        Condition::Any(parts) => parts.iter().any(|part| holds(part, message)),
        Condition::Not(inner) => !holds(inner, message),
        Condition::Valued(path) => message.get(path).is_some_and(|node| node.is_valued()),
        Condition::Null(path) => message.get(path).is_some_and(|node| node.is_null()),
        Condition::Equals(path, value) => text(path) == value.as_str(),
        Condition::In(path, values) => {
            let text = text(path);
            values.iter().any(|value| value.as_str() == text)
        }
        Condition::Count(path, comparison, number) => {
            let count = message
                .get(path)
                .map_or(0, |node| node.repetitions().filter(Node::is_valued).count());
            match comparison {
                Comparison::Equal => count == *number,
                Comparison::NotEqual => count != *number,
                Comparison::Less => count < *number,
                Comparison::LessOrEqual => count <= *number,
                Comparison::Greater => count > *number,
                Comparison::GreaterOrEqual => count >= *number,
            }
        }
        Condition::Is(path, form) => has_form(&text(path), *form),
        Condition::StartsWith(path, start) => text(path).starts_with(start.as_str()),
        Condition::Contains(path, part) => text(path).contains(part.as_str()),
        Condition::Same(left, right) => {
            let whole = |path| message.get(path).map(|node| node.whole_text());
            whole(left).unwrap_or_default().trim() == whole(right).unwrap_or_default().trim()
        }
        // The resolver refuses them, or only a plan is lowered to them.
        Condition::Policy(..)
        | Condition::Bound(_)
        | Condition::OneOf(_)
        | Condition::Switch(_) => false,
    }
}

/// As a map reads it: the first leaf without the blanks around it, nothing for `""`.
fn text<'m>(message: &'m Message<'_>, path: &Path) -> Cow<'m, str> {
    match message.get(path).filter(Node::is_valued) {
        Some(node) => match node.text() {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        },
        None => Cow::Borrowed(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"MSH|^~\\&|LAB ONE|NORTH|||20260101||ORU^R01^ORU_R01|1|P|2.5.1\r\
        PID|1||A1^^^X~A2^^^Y||Doe^Jo|||\"\"\rOBX|1|NM|a||5\rOBX|2|ST|b||x~y\r";

    fn message_has(text: &str) -> bool {
        let (message, _) = hl7v2::parse(MESSAGE).unwrap();
        MessagePredicate::compile(text).unwrap().matches(&message)
    }

    #[test]
    fn conditions_on_a_message() {
        for text in [
            "MSH-9.1 = ORU",
            "MSH-9.1 in (ADT, ORU) and MSH-11.1 = P",
            "MSH-3 = \"LAB ONE\"",
            "MSH-9.1 = ADT or MSH-4 starts with NO",
            "PID-2 not valued",
            "PID-8 is null and PID-8 not valued",
            "count(PID-3) = 2 and count(PID-3) > 1",
            "PID-3(2).4 = Y",
            "(PID-3(2).4 = Y)",
            "OBX(2)-2 = ST",
            "(OBX(2)-5(2) = y) and count(OBX(2)-5)=2",
            "not (MSH-9.1 = ADT or MSH-9.1 = SIU)",
            "MSH-9.1 != ADT",
            "PID-5 contains o",
            "PV1-2 not valued",
            "OBX-5 is number and OBX(2)-5 is not number",
            "MSH-3 same as MSH-3 and MSH-3 not same as MSH-4",
        ] {
            assert!(message_has(text), "{text}");
        }
        for text in [
            "MSH-9.1 = ADT",
            "MSH-9.1 = ORU and PV1-2 valued",
            "PID-8 valued",
            "count(PID-3) < 2",
            "PV1-2 != I and PV1-2 valued",
        ] {
            assert!(!message_has(text), "{text}");
        }
    }

    #[test]
    fn conditions_on_a_bundle() {
        const BUNDLE: &[u8] = br#"{"resourceType":"Bundle","type":"transaction","entry":[
            {"resource":{"resourceType":"Patient","gender":"female"}},
            {"resource":{"resourceType":"Observation","status":"final","valueQuantity":{"value":7.5}}},
            {"resource":{"resourceType":"Observation","status":"amended"}}]}"#;
        let has = |text: &str| BundlePredicate::compile(text).unwrap().matches(BUNDLE);
        for text in [
            "Observation.exists(status = 'final')",
            "Observation.status = 'amended' and Patient.gender = 'female'",
            "Observation.value.where(value > 7).exists()",
            "not Encounter.exists()",
            "Encounter.exists() or (Patient.exists() and not Patient.deceased.exists())",
            "Bundle.entry.resource.ofType(Patient).gender = 'female'",
            "Observation.count() = 2",
        ] {
            assert!(has(text), "{text}");
        }
        for text in [
            "Encounter",
            "Patient.gender = 'male'",
            "Observation.count() > 2",
        ] {
            assert!(!has(text), "{text}");
        }
        assert!(
            !BundlePredicate::compile("Patient")
                .unwrap()
                .matches(b"no json")
        );
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, place) in [
            ("MSH-9.1", "column 8"),
            ("MSH-9.1 in ORU", "column 12"),
            ("MSH-9.1 = ORU MSH-11 = P", "column 15"),
            ("msh-9 = ORU", "column 1"),
            ("MSH-9 == ORU", "column 8"),
            ("MSH-9 = \"ORU", "column 9"),
            ("count(PID-3) = two", "column 16"),
            ("PID valued", "column 1: `PID` names no field"),
            (
                "MSH-9 = X and policy ssn",
                "`policy` has a meaning in maps alone",
            ),
        ] {
            let why = MessagePredicate::compile(text).unwrap_err().to_string();
            assert!(why.contains(place), "{text}: {why}");
        }
        assert!(MessagePredicate::compile(&"(".repeat(99)).is_err());
        for (text, place) in [
            (
                "Pateint.exists()",
                "column 1: R4 has no resource type `Pateint` (did you mean `Patient`?)",
            ),
            ("Patient.exists() and status = 'x'", "column 22"),
            ("Patient.exists(gendr = 'x')", "column 16"),
            ("Patient.exists(", "column 16"),
        ] {
            let why = BundlePredicate::compile(text).unwrap_err().to_string();
            assert!(why.contains(place), "{text}: {why}");
        }
    }
}
