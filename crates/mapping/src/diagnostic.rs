//! What is wrong in a mapping package, as a compiler would say it: a code, the place, the line itself, the likely fix.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use crate::yaml::{Node, Span};

/// How bad it is. Only an error keeps a package from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The package can't be used.
    Error,
    /// The package works; something in it is probably not meant.
    Warning,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// What kind of mistake it is. The codes are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }
        impl Code {
            /// All codes, in order.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code as it is printed, such as `M001`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// Its page in Markdown: a title (`# M001: ...`), what it means, a wrong and a right example, how to mend it.
            pub fn page(self) -> &'static str {
                match self { $(Code::$variant => include_str!(concat!("../codes/", $text, ".md")),)* }
            }
        }
    };
}

codes! {
    /// The file is not YAML, or uses what mapping files may not (aliases, duplicate keys).
    Yaml = "M001",
    /// A file or folder is not where the package layout puts it, or its header does not fit its name.
    Layout = "M002",
    /// A key that no rule of this kind has.
    UnknownKey = "M003",
    /// A value of the wrong kind (a list where a text belongs).
    Shape = "M004",
    /// The FHIR element does not exist.
    UnknownElement = "M010",
    /// The FHIR resource or data type does not exist.
    UnknownType = "M011",
    /// The rule makes something else than the element takes.
    WrongType = "M012",
    /// Several results for an element that takes one.
    Cardinality = "M013",
    /// A required element has no rule.
    MissingElement = "M014",
    /// A constant that is not a code of the element's required value set, or not of its primitive type.
    BadConstant = "M015",
    /// The v2 segment, field or component does not exist.
    UnknownPath = "M020",
    /// The path can't be read.
    BadPath = "M021",
    /// The condition can't be read.
    BadCondition = "M022",
    /// The template can't be read, or calls a helper that is missing or takes other arguments.
    BadTemplate = "M023",
    /// A condition asks for a value that the v2 field never has.
    NoSuchValue = "M024",
    /// The v2 value is of another data type than what is done with it.
    WrongDataType = "M025",
    /// A segment or field that no message has which the rule is for.
    NoMessageHas = "M026",
    /// A map that is missing.
    UnknownMap = "M030",
    /// A code table that is missing.
    UnknownTable = "M031",
    /// A policy that package.yaml does not declare, or a value it does not list.
    UnknownPolicy = "M032",
    /// A resource name that the message map never binds.
    UnknownName = "M033",
    /// A group or segment that the message structure does not have.
    UnknownGroup = "M034",
    /// A part of message maps that is missing.
    UnknownPart = "M035",
    /// The address of a change in an overlay names no rule below it, or several.
    UnknownRule = "M036",
    /// Maps or parts that use each other in a circle.
    Circle = "M040",
    /// A rule that can never have an effect.
    Unreachable = "M041",
    /// A condition that never holds, or always does.
    Decided = "M042",
    /// The same rule twice.
    Duplicate = "M043",
    /// An assertion of a test that can't be read.
    BadAssertion = "M050",
    /// A file under profiles/ that is no StructureDefinition of FHIR R4.
    BadProfile = "M051",
    /// A profile requires an element, and no rule gives it.
    ProfileMissing = "M052",
    /// A rule writes what a profile forbids, or more values than it allows.
    ProfileCardinality = "M053",
    /// A constant is another than the one a profile fixes.
    ProfileValue = "M054",
    /// A choice element of a type that a profile does not allow.
    ProfileType = "M055",
    /// An extension in a place where its definition does not allow it.
    ExtensionContext = "M056",
    /// A profile that is not in the package, though others of the same guide are.
    UnknownProfile = "M057",
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// What kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The likely fix.
    pub help: Option<String>,
    pub(crate) span: Span,
    /// The part of a scalar at `span` that it is about; becomes the span when the package is done.
    pub(crate) part: Option<Box<Part>>,
    /// The file, as the package was given it; filled when the package is done.
    pub file: String,
}

impl Diagnostic {
    pub(crate) fn error(code: Code, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            help: None,
            span,
            part: None,
            file: String::new(),
        }
    }

    pub(crate) fn warning(code: Code, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(code, span, message)
        }
    }

    /// Moves it to a part of the text of a scalar: where that starts (in bytes) and how many characters it has.
    pub(crate) fn part_of(mut self, node: &Node, at: usize, length: usize) -> Diagnostic {
        let text = node.text().unwrap_or_default();
        self.part = Some(Box::new(Part {
            before: text.get(..at).unwrap_or_default().to_owned(),
            at_end: at >= text.len(),
            length: u32::try_from(length).unwrap_or(1),
        }));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Line, from 1.
    pub fn line(&self) -> u32 {
        self.span.line
    }

    /// Column in characters, from 1.
    pub fn column(&self) -> u32 {
        self.span.column
    }

    /// How many characters it is about, at least 1.
    pub fn length(&self) -> u32 {
        self.span.length.max(1)
    }

    /// One line for machines and editors: `file:line:column: error[M010]: message`.
    pub fn one_line(&self) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Span { line, column, .. } = self.span;
        format!(
            "{}:{line}:{column}: {severity}[{}]: {}",
            self.file,
            self.code.as_str(),
            self.message
        )
    }

    /// The finding with the line it stands in; `source` is the text of its file.
    pub fn render(&self, source: &str, colour: bool) -> String {
        let start = offset(source, self.span.line, self.span.column);
        let end = source
            .get(start..)
            .and_then(|rest| rest.char_indices().nth(self.span.length as usize))
            .map_or(source.len(), |(n, _)| start + n)
            .max(start);
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level
            .primary_title(self.message.as_str())
            .id(self.code.as_str())
            .element(
                Snippet::source(source)
                    .path(self.file.as_str())
                    .annotation(AnnotationKind::Primary.span(start..end)),
            );
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.render(&[group])
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("Diagnostic", 8)?;
        object.serialize_field("code", &self.code)?;
        object.serialize_field("severity", &self.severity)?;
        object.serialize_field("file", &self.file)?;
        object.serialize_field("line", &self.span.line)?;
        object.serialize_field("column", &self.span.column)?;
        object.serialize_field("length", &self.span.length)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("help", &self.help)?;
        object.end()
    }
}

/// A part of the text of a scalar, in terms of the text and not of how it is written.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The text before it.
    pub before: String,
    /// Whether nothing stands behind that.
    pub at_end: bool,
    /// Its length in characters.
    pub length: u32,
}

/// Byte offset of a line and column; the end of the text when there is no such place.
pub(crate) fn offset(source: &str, line: u32, column: u32) -> usize {
    let mut start = 0;
    for (number, text) in (1..).zip(source.split_inclusive('\n')) {
        if number == line {
            let within = text
                .char_indices()
                .nth(column.saturating_sub(1) as usize)
                .map_or(text.len(), |(n, _)| n);
            return start + within;
        }
        start += text.len();
    }
    source.len()
}

/// The candidate that was probably meant.
pub(crate) fn closest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let limit = (word.len() / 3).max(1) + 1;
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(
                    &word.to_ascii_lowercase(),
                    &candidate.to_ascii_lowercase(),
                ),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_finding_shows_the_line_and_the_fix() {
        let mut finding = Diagnostic::error(
            Code::UnknownElement,
            Span {
                file: 0,
                line: 2,
                column: 1,
                length: 9,
            },
            "Patient has no element `birthdate`",
        )
        .help("did you mean `birthDate`?");
        finding.file = "segments/PID/Patient.yaml".into();
        let text = finding.render("segment: PID\nbirthdate: \"{{PID-7}}\"\n", false);
        assert!(
            text.contains("M010")
                && text.contains("birthdate: \"{{PID-7}}\"")
                && text.contains("Patient.yaml:2:1"),
            "{text}"
        );
        assert!(text.contains("did you mean `birthDate`?"), "{text}");
        assert_eq!(
            finding.one_line(),
            "segments/PID/Patient.yaml:2:1: error[M010]: Patient has no element `birthdate`"
        );
    }

    #[test]
    fn suggestions_are_near_or_none() {
        assert_eq!(
            closest("birthdate", ["birthDate", "gender"]),
            Some("birthDate")
        );
        assert_eq!(closest("zzz", ["birthDate", "gender"]), None);
    }
}
