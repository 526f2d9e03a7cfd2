//! HL7 v2 messages to FHIR R4 Bundles, by mapping files.
//!
//! A [`Package`] is compiled from YAML files with Handlebars in the leaves, checked on both sides (v2 paths and FHIR
//! elements), and applied by a [`Converter`]. Pure: files come in as text, the clock and the network are not there.
//! The language is described in `mappings/README.md`.

mod compile;
mod context;
mod coverage;
mod diagnostic;
pub mod diff;
mod editor;
mod engine;
pub mod explain;
mod makes;
mod notes;
mod package;
mod plan;
mod predicate;
mod report;
mod sarif;
mod schema;
mod show;
mod syntax;
pub mod tables;
pub mod testing;
mod translate;
mod vocabulary;
mod yaml;

pub use context::{Context, Deadline, Limits};
pub use coverage::{Coverage, CoverageCounts, GuideKind, MapCoverage, Outcome, RowCoverage};
pub use diagnostic::{Code, Diagnostic, Severity};
pub use editor::{Completions, Definition, Editor, Hover, Item, ItemKind, Spot};
pub use engine::{Conversion, ConvertError, Converter, Disposition};
pub use makes::Makeable;
pub use package::{Layer, Package, SourceFile};
pub use predicate::{BundlePredicate, MessagePredicate, PredicateError};
pub use report::{CodeMiss, IgnoredCount, MissedCode, Report, ReportCode, ReportIssue};
pub use sarif::sarif;
pub use schema::{SchemaKind, schema};
pub use show::{ShowError, Shown, ShownLine, show};
pub use translate::{Question, Translation, Translations};
