//! `fhirway mapping show`: what the layers of a package say together.

use clap::ValueEnum;
use mapping::Severity;
use serde_json::json;

use super::super::{Failure, Outcome, Verdict, options::PackageOptions, output};
use crate::packages;

/// Show a map, a code table or a message map as all layers make it, with the origin of each line.
///
/// The output is YAML that a package may hold. NAME is PID/Patient, CX/Identifier, ORU_R01, AdministrativeSex,
/// or a place such as tables/AdministrativeSex where several files have the name.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping show PID/Patient                                 as it is shipped
  fhirway mapping show PID/Patient --overlay site                  with an overlay on top
  fhirway mapping show ORU_R01 --package mappings --overlay site   a base folder and an overlay
  fhirway mapping show PID/Patient --overlay site --format json | jq '.lines[] | select(.layer == \"site\")'

Exit code: 0, 1 when the layers cannot be merged, 2 for wrong usage.")]
pub(crate) struct Args {
    /// The map, table or message map
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    package: PackageOptions,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Form,
}

/// How to print a file of a package.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    /// YAML, the origins as comments
    #[default]
    Yaml,
    /// One JSON document: lines with their origins, and the content as data
    Json,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let layers = args.package.layers()?;
    let (shown, diagnostics) = mapping::show(&layers, &args.name);
    output::error_text(&packages::render(&layers, &diagnostics, output::lively()));
    let errors = diagnostics
        .iter()
        .any(|found| found.severity == Severity::Error);
    let shown = shown.map_err(|error| Failure::Usage(error.to_string()))?;
    match args.format {
        Form::Yaml => output::print(&shown.yaml())?,
        Form::Json => output::print_json(&json!(shown))?,
    }
    Ok(if errors { Verdict::Bad } else { Verdict::Good })
}
