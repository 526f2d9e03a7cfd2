//! What the files of a package say of the guide: `guide:`, `rows:` and `deviates:`. Only coverage asks.

use std::collections::HashMap;

use crate::plan::OriginId;

/// The notes of all files.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// By [`crate::plan::MapId`].
    pub maps: Vec<FileNotes>,
    /// By [`crate::plan::TableId`].
    pub tables: Vec<FileNotes>,
    /// By structure.
    pub messages: HashMap<String, FileNotes>,
    /// `deviates:` beside a rule.
    pub deviations: HashMap<OriginId, String>,
}

/// The notes of one file.
#[derive(Debug, Default, Clone)]
pub(crate) struct FileNotes {
    /// Its name, such as `PID/Patient`.
    pub name: String,
    /// Maps of the guide that it serves, such as `PID[Patient]`.
    pub guide: Vec<String>,
    pub rows: Vec<RowNote>,
    /// Where the file starts.
    pub origin: OriginId,
}

/// One line of `rows:`.
#[derive(Debug, Clone)]
pub(crate) struct RowNote {
    /// The guide's map, where a file serves several.
    pub map: Option<String>,
    /// A field, a component, a code, or groups and segment.
    pub source: String,
    pub target: Option<String>,
    pub says: Says,
    pub origin: OriginId,
}

/// What became of a row.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// `as ELEMENT`, `as ELEMENT = "constant"`: done there, since the guide's element is wrong.
    As(String, Option<String>),
    /// `by MAP`: done in that map, or by the engine.
    By(String),
    /// `policy NAME`.
    Policy(String),
    /// The reason why not.
    Deviates(String),
}
