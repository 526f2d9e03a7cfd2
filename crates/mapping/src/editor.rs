//! What an editor asks about a place in a mapping file: what may stand there, what stands there, and where that is defined.
//!
//! Files are read line by line and not as YAML, since what is being typed seldom is: a cursor is found by indentation and brackets,
//! names of maps, tables and policies by the layout. Nothing here fails; what is not understood gets no answer.

mod complete;
mod cursor;
mod describe;
mod index;

use crate::package::Layer;
use cursor::Cursor;
use index::Index;

/// A place in a text: line and column from 0, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Line, from 0.
    pub line: u32,
    /// Column in characters, from 0.
    pub column: u32,
}

/// What a completion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A FHIR element.
    Element,
    /// A word of the language.
    Keyword,
    /// A segment, field or component of HL7 v2.
    Field,
    /// A helper of templates.
    Helper,
    /// A map or table.
    File,
    /// A name of the package: a policy, a resource of a message map, a part.
    Name,
    /// A code or another fixed value.
    Value,
}

/// One completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What is put in place of the word before the cursor.
    pub label: String,
    /// What it is.
    pub kind: ItemKind,
    /// A few words beside it.
    pub detail: String,
    /// More, as Markdown; may be empty.
    pub about: String,
}

/// Completions, and how many characters before the cursor they replace.
#[derive(Clone, Debug, Default)]
pub struct Completions {
    /// In the order of the standard or of the language.
    pub items: Vec<Item>,
    /// Length of the word that is being typed.
    pub replaces: u32,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hover {
    /// Markdown.
    pub text: String,
    /// Where the word starts.
    pub start: Spot,
    /// How many characters it has.
    pub length: u32,
}

/// Where something is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The file, named as in diagnostics: the layer's name and the path.
    pub file: String,
    /// The place in it.
    pub spot: Spot,
}

/// A file of a package under the eyes of an editor. The layers hold what is in its buffers, saved or not.
pub struct Editor<'l> {
    index: Index<'l>,
}

impl<'l> Editor<'l> {
    /// Looks through the layers; later ones are overlays on earlier ones.
    pub fn new(layers: &'l [Layer]) -> Editor<'l> {
        Editor {
            index: Index::new(layers),
        }
    }

    /// What may stand at a place of a file, which is named as in diagnostics.
    pub fn completions(&self, file: &str, spot: Spot) -> Completions {
        let Some((path, text)) = self.index.file(file) else {
            return Completions::default();
        };
        let cursor = Cursor::at(path, text, spot);
        complete::completions(&self.index, &cursor)
    }

    /// What stands at a place of a file.
    pub fn hover(&self, file: &str, spot: Spot) -> Option<Hover> {
        let (path, text) = self.index.file(file)?;
        let (start, word) = cursor::word_at(text, spot)?;
        let end = Spot {
            column: start.column + u32::try_from(word.chars().count()).ok()?,
            ..start
        };
        let cursor = Cursor::at(path, text, end);
        let text = describe::describe(&self.index, &cursor, word)?;
        Some(Hover {
            text,
            start,
            length: end.column - start.column,
        })
    }

    /// Where the map, table, part, policy or resource name at a place is defined; several where layers add to each other.
    pub fn definitions(&self, file: &str, spot: Spot) -> Vec<Definition> {
        let Some((_, text)) = self.index.file(file) else {
            return Vec::new();
        };
        match cursor::word_at(text, spot) {
            Some((_, word)) => self.index.definitions(word),
            None => Vec::new(),
        }
    }
}
