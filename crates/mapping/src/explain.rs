//! What became of every field of a message, and where every element of its Bundle comes from.
//!
//! ```
//! # let layer = mapping::Layer { name: String::new(), files: vec![
//! #   ("package.yaml", "package: tests\nversion: \"1\"\n"),
//! #   ("messages/ADT_A01.yaml", "message: ADT_A01\nmap:\n  - PID: PID/Patient as patient\n"),
//! #   ("segments/PID/Patient.yaml", "segment: PID\nmakes: Patient\nkey: PID-3\nbirthDate: \"{{PID-7}}\"\n"),
//! # ].into_iter().map(|(path, text)| mapping::SourceFile { path: path.into(), text: text.into() }).collect() };
//! # let (package, found) = mapping::Package::compile(&[layer]);
//! # let package = std::sync::Arc::new(package.unwrap_or_else(|| panic!("{found:?}")));
//! let text = "MSH|^~\\&|A|B|||20260101||ADT^A01^ADT_A01|1|P|2.5\rPID|||7||Vale||19800101|F\r";
//! let (message, _) = hl7v2::parse(text.as_bytes())?;
//! let mut converter = package.converter();
//! let explanation = converter.explain(&message, &Default::default(), &Default::default())?;
//! let birth = explanation.elements.iter().find(|element| element.path == "Patient.birthDate").unwrap();
//! assert_eq!(explanation.fields[birth.fields[0]].place, "PID-7");
//! assert_eq!(explanation.rules[birth.rules[0]], "segments/PID/Patient.yaml:4");
//! let name = explanation.fields.iter().find(|field| field.place == "PID-5").unwrap();
//! assert_eq!(name.fate, mapping::explain::Fate::Dropped);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It holds the message's content: whoever prints it prints patient data.

mod build;
mod fate;
mod names;
mod page;
mod sources;
mod text;

pub use page::page;
pub use text::{Direction, TextOptions, text};

use fhir::bundle::BundleOptions;
use hl7v2::Message;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::context::Context;
use crate::engine::{ConvertError, Converter};
use crate::report::Report;

/// The version of the document that [`Explanation`] serialises to. Additions do not change it.
pub const VERSION: u32 = 1;

/// What one message became, both ways round. Lists refer to each other by position.
#[derive(Serialize)]
pub struct Explanation {
    /// [`VERSION`].
    pub explain: u32,
    /// The message's structure, such as `ORU_R01`.
    pub structure: String,
    /// The message map that was used.
    pub message_map: String,
    /// Whether no message map names the structure, so that `any` was used.
    pub fallback: bool,
    /// Whether a table holds the message for a person (`miss: park`).
    pub park: bool,
    /// How much became what.
    pub counts: Counts,
    /// All rules that are mentioned, as `file:line`.
    pub rules: Vec<String>,
    /// The segments in the order of the message.
    pub segments: Vec<ExplainedSegment>,
    /// The populated parts of the message, each a field, a component or a subcomponent that has no parts itself.
    pub fields: Vec<ExplainedField>,
    /// The resources in the order of the Bundle.
    pub resources: Vec<ExplainedResource>,
    /// Every text, number and boolean of the Bundle, in its order.
    pub elements: Vec<ExplainedElement>,
    /// The report of the conversion.
    pub report: Report,
    /// The Bundle, as `convert` writes it.
    pub bundle: Box<RawValue>,
}

/// How many fields had which fate, and how many elements are of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Populated fields.
    pub fields: usize,
    /// Fields that became elements.
    pub mapped: usize,
    /// Fields that only say which resource it is, or decided about a rule.
    pub used: usize,
    /// Fields that a map leaves out on purpose, and the delimiters of MSH-1 and MSH-2.
    pub ignored: usize,
    /// Values that the sender asks to delete.
    pub deleted: usize,
    /// Fields that became nothing.
    pub dropped: usize,
    /// Resources of the Bundle.
    pub resources: usize,
    /// Elements of the Bundle that come from fields.
    pub from_fields: usize,
    /// Elements that are constants of a rule.
    pub constants: usize,
    /// Elements that say which resource is meant: references, ids, requests.
    pub generated: usize,
}

/// A segment of the message.
#[derive(Debug, Serialize)]
pub struct ExplainedSegment {
    /// Such as `OBX(3)`.
    pub place: String,
    /// The standard's name of it; empty for one it does not know.
    pub name: &'static str,
    /// The groups it stands in, outer first, such as `PATIENT_RESULT.ORDER_OBSERVATION(2)`; empty outside of all.
    pub group: String,
    /// The segment as it stands: delimiters as texts, and between them numbers of [`Explanation::fields`].
    pub pieces: Vec<Piece>,
    /// The lines of the message map that took it, and what became of that.
    pub lines: Vec<Reason>,
}

/// A part of a segment's text.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Piece {
    /// The segment's name, delimiters.
    Text(String),
    /// A populated field, by its number.
    Field(usize),
}

/// A populated part of the message.
#[derive(Serialize)]
pub struct ExplainedField {
    /// Such as `PID-3(2).4.1`.
    pub place: String,
    /// The standard's names, outer first: `Patient Identifier List / Assigning Authority / Namespace ID`.
    pub name: String,
    /// Its text, unescaped.
    pub value: String,
    /// Its text as it stands in the message, when that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// What became of it.
    pub fate: Fate,
    /// The elements it became, by number.
    pub elements: Vec<usize>,
    /// The elements that are there or what they are because of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decides: Vec<usize>,
    /// The resources it identifies, by number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identifies: Vec<usize>,
    /// Why it became nothing; beside what it became, what there is to say about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// What became of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is in the Bundle.
    Mapped,
    /// It says which resource it is, or decided about a rule.
    Used,
    /// It is left out on purpose.
    Ignored,
    /// The sender asks to delete the value (`""`), which is never written.
    Deleted,
    /// Nothing.
    Dropped,
}

/// Why something is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What kind of reason.
    pub code: ReasonCode,
    /// In words.
    pub text: String,
    /// The rule it is about, by number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
}

/// The kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonCode {
    /// No rule of the maps that took the segment reads it.
    NoRule,
    /// No line of the message map takes the segment where it stands.
    NoLine,
    /// A condition does not hold.
    ConditionFalse,
    /// A policy is set otherwise.
    PolicyOff,
    /// A table does not list the code.
    TableMiss,
    /// It is no value of the element's type.
    BadValue,
    /// A time without a zone was cut to its date.
    CutToDate,
    /// Another variant of the choice was there first.
    SecondChoice,
    /// The element had a value before, or the same stands there already.
    AlreadyGiven,
    /// It adds to a resource that the message does not have.
    NoTarget,
    /// A rule read it, and made nothing of it: another part that belongs to it is missing.
    NoResult,
    /// A map ignores it on purpose.
    Ignored,
    /// It asks to delete.
    Deleted,
    /// It is a delimiter.
    Delimiters,
    /// Its segment stands where its structure has no place.
    Misplaced,
    /// An escape sequence or byte that can't be read is kept as it stands.
    OddText,
    /// The line took the segment.
    Applied,
}

/// A resource of the Bundle.
#[derive(Debug, Serialize)]
pub struct ExplainedResource {
    /// Such as `Patient`.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// The same, numbered where the Bundle has several: `Observation(3)`.
    pub label: String,
    /// Its id, made of its key.
    pub id: String,
    /// `update` or `create`, see `write:` in the language's reference.
    pub write: &'static str,
    /// The rule that made it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// The fields of its key; none for a resource that belongs to its message.
    pub key: Vec<usize>,
}

/// A text, number or boolean of the Bundle.
#[derive(Serialize)]
pub struct ExplainedElement {
    /// Where it is in [`Explanation::bundle`] (RFC 6901).
    pub pointer: String,
    /// The same for people: `Patient.name[0].family`; outside of the resources as in `Bundle.entry[0].request.url`.
    pub path: String,
    /// Its text; of a number the digits as they stand in the Bundle, which a reader of JSON may change.
    pub value: String,
    /// Its resource, by number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<usize>,
    /// Where it comes from.
    pub kind: ElementKind,
    /// The rule that made it, and around it those that used that rule; the last is a line of the message map.
    pub rules: Vec<usize>,
    /// The fields it was made of.
    pub fields: Vec<usize>,
    /// The fields that decided about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<usize>,
}

/// Where an element comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ElementKind {
    /// Of fields of the message.
    Field,
    /// A constant of a rule.
    Constant,
    /// A reference to another resource of the Bundle.
    Reference,
    /// Made of the resource's key: ids, and what asks for them.
    Generated,
    /// The Bundle's own.
    Bundle,
}

impl Converter {
    /// Converts a message, and tells what became of every part of it. Slower than [`Converter::convert`] by far.
    ///
    /// # Errors
    /// As [`Converter::convert`] and [`Conversion::write_bundle`](crate::Conversion::write_bundle).
    pub fn explain(
        &mut self,
        message: &Message<'_>,
        context: &Context,
        options: &BundleOptions<'_>,
    ) -> Result<Explanation, ConvertError> {
        let package = std::sync::Arc::clone(self.package());
        let (conversion, groups, trace) = self.convert_traced(message, context)?;
        let mut bundle = Vec::new();
        conversion.write_bundle(options, &mut bundle)?;
        Ok(build::build(&build::Input {
            package: &package,
            message,
            conversion: &conversion,
            groups: &groups,
            trace: &trace,
            kind: options.kind,
            bundle: &bundle,
        }))
    }
}
