//! The small languages inside the YAML: paths, conditions, templates. Text in, plan parts out; no file, no FHIR.

pub(crate) mod condition;
pub(crate) mod path;
pub(crate) mod template;

/// Why a text can't be read: what is wrong, where in the text (in bytes), and the likely fix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SyntaxError {
    pub at: usize,
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
            message: message.into(),
            help: None,
            code,
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> SyntaxError {
        self.help = Some(help.into());
        self
    }
}
