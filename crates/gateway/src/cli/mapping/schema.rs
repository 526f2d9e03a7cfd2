//! `fhirway mapping schema`: what editors need to complete and check mapping files.

use clap::ValueEnum;
use mapping::SchemaKind;

use super::super::{Outcome, Verdict, output};

/// Print the JSON Schema of mapping files, for editors.
///
/// It knows the keys of the language, the elements of FHIR and the codes that FHIR requires. What stands inside of texts (paths,
/// conditions, templates) and in other files is for `fhirway mapping check` and `fhirway mapping lsp`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping schema > mappings/schema.json          for all files of a package
  fhirway mapping schema --kind table > table.schema.json

How an editor is told of it: mappings/EDITORS.md")]
pub(crate) struct Args {
    /// Of one kind of file only
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// segments/SEG/Map.yaml
    Segment,
    /// datatypes/TYPE/Map.yaml
    Datatype,
    /// tables/Name.yaml
    Table,
    /// messages/STRUCTURE.yaml
    Message,
    /// messages/parts/NAME.yaml
    Part,
    /// package.yaml
    Package,
    /// a file of an overlay with `extends: below`
    Overlay,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let kind = args.kind.map(|kind| match kind {
        Kind::Segment => SchemaKind::Segment,
        Kind::Datatype => SchemaKind::Datatype,
        Kind::Table => SchemaKind::Table,
        Kind::Message => SchemaKind::Message,
        Kind::Part => SchemaKind::Part,
        Kind::Package => SchemaKind::Package,
        Kind::Overlay => SchemaKind::Overlay,
    });
    output::print(&mapping::schema(kind))?;
    Ok(Verdict::Good)
}
