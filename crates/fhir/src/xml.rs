//! FHIR as XML (<https://hl7.org/fhir/R4/xml.html>): a tree written in the order of the definitions, and a document read back.
//!
//! The two are each other's reverse for every resource that the definitions know: numbers keep their digits, a primitive's
//! `_name` becomes its attribute `id` and its children, narrative stays the XHTML that it is. What the definitions do not
//! know has no place in a document whose order they give, so it is an error and not left out.

mod document;
mod read;
mod write;

pub use read::read;
pub use write::write;

/// The namespace of FHIR.
const FHIR: &str = "http://hl7.org/fhir";
/// The namespace of narrative.
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// Elements inside one another at most; writing and reading are recursive.
const DEPTH_MAX: usize = 200;

/// Why there is no XML, or no tree. Names elements, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at {path}")]
pub struct XmlError {
    /// What is wrong.
    pub problem: XmlProblem,
    /// The element, as `Bundle.entry.resource`; `?` for a name that no element could have.
    pub path: String,
}

/// What can be wrong with a tree to be written, or a document to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlProblem {
    /// No resource of R4.
    #[error("not a resource of r4")]
    NotAResource,
    /// An element that R4 does not have there.
    #[error("unknown element")]
    UnknownElement,
    /// An object where a value belongs, several where one belongs, or the other way round.
    #[error("element of the wrong form")]
    WrongForm,
    /// Narrative that is not one well-formed `div`.
    #[error("narrative is not one well-formed div")]
    Narrative,
    /// A character that XML cannot hold.
    #[error("character that xml cannot hold")]
    Character,
    /// Not well-formed XML.
    #[error("not well-formed xml")]
    Syntax,
    /// A document type or an entity of its own: never read.
    #[error("document type or entity")]
    Entity,
    /// Deeper than 200 elements.
    #[error("elements nested too deep")]
    TooDeep,
    /// More elements or bytes than the limits.
    #[error("document too large")]
    TooLarge,
}

/// The names from the resource down to where the work is.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn fail<T>(&self, problem: XmlProblem) -> Result<T, XmlError> {
        let path = match self.0.as_slice() {
            [] => "the document".to_owned(),
            names => names.join("."),
        };
        Err(XmlError { problem, path })
    }

    fn enter(&mut self, name: &str) -> Result<(), XmlError> {
        self.0.push(crate::tree::shown(name).to_owned());
        if self.0.len() > DEPTH_MAX {
            return self.fail(XmlProblem::TooDeep);
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.0.pop();
    }
}

#[cfg(test)]
mod tests;
