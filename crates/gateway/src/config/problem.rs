//! What is wrong with a configuration, where, and what to do about it.

use std::fmt::Write as _;

use serde::Serialize;

use super::source::Origin;

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but somebody should know.
    Warning,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// What sort of mistake it is; `fhirway explain CODE` has a page about each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $variant,)* }
        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The code, such as `config-unknown-key`.
            pub fn as_str(self) -> &'static str {
                match self { $(Kind::$variant => $code,)* }
            }
        }
    };
}

kinds! {
    /// The file is no YAML, or uses what a configuration may not.
    Yaml = "config-yaml",
    /// A key that does not exist.
    UnknownKey = "config-unknown-key",
    /// A key that must be there.
    Missing = "config-missing",
    /// A list where a value belongs, and the like.
    Shape = "config-shape",
    /// A value that can't be used.
    Value = "config-value",
    /// None of the words that a key takes.
    Choice = "config-choice",
    /// The name of something that is not there.
    Reference = "config-reference",
    /// A condition that can't be read.
    Condition = "config-condition",
    /// Keys that exclude or need each other.
    Conflict = "config-conflict",
    /// A secret that can't be read.
    Secret = "config-secret",
    /// Something that is open to more people than it should be.
    Exposed = "config-exposed",
    /// An override in the environment that fits nothing.
    Override = "config-override",
    /// Something to know.
    Advice = "config-advice",
}

/// One finding about a configuration.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Where it stands.
    pub origin: Origin,
    /// How bad it is.
    pub severity: Severity,
    /// What sort it is.
    pub kind: Kind,
    /// What is wrong; lowercase, no full stop, never the text of a secret.
    pub message: String,
    /// The likely fix.
    pub help: Option<String>,
}

impl Problem {
    /// Something that stops the configuration from being used.
    pub fn error(origin: Origin, message: String) -> Self {
        Self {
            origin,
            severity: Severity::Error,
            kind: Kind::Value,
            message,
            help: None,
        }
    }

    /// Something to know that stops nothing.
    pub fn warning(origin: Origin, message: String) -> Self {
        Self {
            origin,
            severity: Severity::Warning,
            kind: Kind::Advice,
            message,
            help: None,
        }
    }

    /// The same, of another sort.
    #[must_use]
    pub fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `FILE:LINE:COLUMN` or the name of the environment variable.
    pub fn place(&self, file: &str) -> String {
        match &self.origin {
            Origin::File { line, column } => format!("{file}:{line}:{column}"),
            Origin::Environment(name) => format!("${name}"),
        }
    }
}

/// Prints problems as a compiler would: the place, the line itself, and the fix.
pub fn render(problems: &[Problem], file: &str, text: &str) -> String {
    let mut out = String::new();
    for problem in problems {
        let word = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let code = problem.kind.as_str();
        let _ = writeln!(
            out,
            "{}: {word}[{code}]: {}",
            problem.place(file),
            problem.message
        );
        if let Origin::File { line, column } = problem.origin
            && let Some(source) = text.lines().nth(line.saturating_sub(1))
            && !hides(source)
        {
            let _ = writeln!(out, "  {line:>4} | {source}");
            let _ = writeln!(out, "       | {}^", " ".repeat(column.saturating_sub(1)));
        }
        if let Some(help) = &problem.help {
            let _ = writeln!(out, "       = help: {help}");
        }
    }
    out
}

/// A line that may hold a secret in plain text is never repeated on a terminal or in a log.
fn hides(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    [
        "password",
        "secret",
        "bearer",
        "token",
        "amqp://",
        "amqps://",
        "authorization",
    ]
    .iter()
    .any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_shown_with_a_caret_but_not_when_it_may_hold_a_secret() {
        let text = "a: 1\n  password: hunter2\n";
        let at = |line, column| Origin::File { line, column };
        let shown = render(
            &[
                Problem::error(at(1, 4), "wrong".into()).with_help("write b"),
                Problem::error(at(2, 3), "also wrong".into()),
            ],
            "f.yaml",
            text,
        );
        assert!(shown.contains(
            "f.yaml:1:4: error[config-value]: wrong\n     1 | a: 1\n       |    ^\n       = help: write b"
        ));
        assert!(shown.contains("f.yaml:2:3: error[config-value]: also wrong"));
        assert!(!shown.contains("hunter2"));
    }
}
