//! The small languages inside the YAML: paths, conditions, templates. Text in, plan parts out; no file, no FHIR.

pub(crate) mod condition;
pub(crate) mod path;
pub(crate) mod template;

/// Why a text can't be read: what is wrong, where in the text (in bytes), and the likely fix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SyntaxError {
    pub at: usize,
    /// The word it is about, where that is known and its place is not.
    pub word: Option<String>,
    pub message: String,
    pub help: Option<String>,
    pub code: crate::diagnostic::Code,
}

impl SyntaxError {
    pub fn new(
        code: crate::diagnostic::Code,
        at: usize,
        message: impl Into<String>,
    ) -> SyntaxError {
        SyntaxError {
            at,
            word: None,
            message: message.into(),
            help: None,
            code,
        }
    }

    /// Says which word it is about, unless that is known already.
    pub fn about(mut self, word: &str) -> SyntaxError {
        self.word.get_or_insert_with(|| word.to_owned());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> SyntaxError {
        self.help = Some(help.into());
        self
    }
}
