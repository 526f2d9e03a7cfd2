//! How requests to a destination are written: what the server is asked for, in which form, in how many parts.

use serde::Serialize;

use super::{section::Section, show::as_option_bytes};

/// How requests are written.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Writing {
    /// What the server is asked to answer with.
    pub prefer: Prefer,
    /// How FHIR is written.
    pub format: Format,
    /// Whether request bodies are compressed.
    pub compression: Compression,
    /// When a Bundle is cut into parts.
    pub split: Split,
    /// Whether an update names the version that it replaces.
    pub versions: Versions,
    /// What happens to a message about a resource that was deleted at the server.
    pub gone: Gone,
    /// What an older message may do to what a newer one has delivered.
    pub stale: Stale,
}

/// What the server is asked to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// Statuses only.
    Minimal,
    /// What is stored.
    Representation,
    /// Hints and warnings.
    OperationOutcome,
    /// It is not asked.
    Unset,
}

/// How FHIR is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `application/fhir+json`.
    Json,
    /// `application/fhir+xml`.
    Xml,
}

/// How request bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
}

/// When a Bundle is cut into parts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Split {
    /// Entries of a part at most; `None` is any number.
    pub max_entries: Option<usize>,
    /// Bytes of a part at most; `None` is any number.
    #[serde(serialize_with = "as_option_bytes")]
    pub max_bytes: Option<u64>,
}

/// Whether an update names the version that it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Versions {
    /// The last one wins.
    Ignore,
    /// It is read before, and sent as If-Match.
    IfMatch,
}

/// What happens to a message about a resource that was deleted at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gone {
    /// It is a dead letter.
    DeadLetter,
    /// The resource is made anew, where an identifier says which one it is.
    Recreate,
}

/// What an older message may do to what a newer one has delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stale {
    /// Nothing: what is newer stays, what is not there yet is made.
    KeepNewer,
    /// The last one that arrives wins.
    Overwrite,
}

/// Reads the keys of a destination.
pub(super) fn read(section: &Section<'_>) -> Writing {
    let split = section.section_or_empty("split");
    let writing = Writing {
        prefer: section
            .choice(
                "prefer",
                &[
                    ("minimal", Prefer::Minimal),
                    ("representation", Prefer::Representation),
                    ("operationoutcome", Prefer::OperationOutcome),
                    ("unset", Prefer::Unset),
                ],
            )
            .unwrap_or(Prefer::Minimal),
        format: section
            .choice("format", &[("json", Format::Json), ("xml", Format::Xml)])
            .unwrap_or(Format::Json),
        compression: section
            .choice(
                "compression",
                &[("none", Compression::None), ("gzip", Compression::Gzip)],
            )
            .unwrap_or(Compression::None),
        split: Split {
            max_entries: split.number_or_off("max_entries", 1).unwrap_or(None),
            max_bytes: split.bytes_or_off("max_bytes").unwrap_or(None),
        },
        versions: section
            .choice(
                "versions",
                &[
                    ("ignore", Versions::Ignore),
                    ("if_match", Versions::IfMatch),
                ],
            )
            .unwrap_or(Versions::Ignore),
        gone: section
            .choice(
                "gone",
                &[
                    ("dead_letter", Gone::DeadLetter),
                    ("recreate", Gone::Recreate),
                ],
            )
            .unwrap_or(Gone::DeadLetter),
        stale: section
            .choice(
                "stale",
                &[
                    ("keep_newer", Stale::KeepNewer),
                    ("overwrite", Stale::Overwrite),
                ],
            )
            .unwrap_or(Stale::KeepNewer),
    };
    split.finish();
    writing
}
