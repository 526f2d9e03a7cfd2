//! `fhirway mapping`: tools for who writes mapping files.

mod coverage;

use std::path::PathBuf;

use clap::Subcommand;
use mapping::{Package, Severity};
use serde_json::json;

use super::{Failure, Format, Outcome, Verdict, output};
use crate::packages;

mod show;
mod test;

/// Tools for mapping files.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  fhirway mapping check                      the shipped package
  fhirway mapping check mappings site        a base folder and an overlay
  fhirway mapping coverage --missing         rows of the guide that no map does
  fhirway mapping show PID/Patient --overlay site   the merged map, and where each line comes from
  fhirway mapping test mappings              the tests of a package")]
pub(crate) enum Command {
    /// Check every path on both sides, HL7 v2 and FHIR, and report all mistakes at once.
    #[command(after_help = "\
Examples:
  fhirway mapping check                      the shipped package
  fhirway mapping check mappings             a folder
  fhirway mapping check mappings site        a base folder and an overlay
  fhirway mapping check --format json site | jq '.diagnostics[].message'

Exit code: 0 when there are no errors, 1 when there are, 2 for wrong usage.")]
    Check {
        /// Folders in layers: the base first, overlays after it [default: the shipped package]
        folders: Vec<PathBuf>,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    Coverage(coverage::Args),
    Show(show::Args),
    Test(test::Args),
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Check { folders, format } => check(folders, *format),
        Command::Coverage(args) => coverage::run(args),
        Command::Show(args) => show::run(args),
        Command::Test(args) => test::run(args),
    }
}

fn check(folders: &[PathBuf], format: Format) -> Outcome {
    let layers = if folders.is_empty() {
        vec![packages::shipped()]
    } else {
        folders
            .iter()
            .map(|path| packages::folder(path))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::Usage(super::chain(&error)))?
    };
    let (package, diagnostics) = Package::compile(&layers);
    let count = |severity| {
        diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match format {
        Format::Json => output::print_json(&json!({
            "errors": errors,
            "warnings": warnings,
            "hash": package.as_ref().map(Package::hash),
            "diagnostics": diagnostics.iter().map(|diagnostic| json!({
                "code": diagnostic.code.as_str(),
                "severity": if diagnostic.severity == Severity::Error { "error" } else { "warning" },
                "file": diagnostic.file,
                "line": diagnostic.line(),
                "column": diagnostic.column(),
                "message": diagnostic.message,
                "help": diagnostic.help,
            })).collect::<Vec<_>>(),
        }))?,
        Format::Text => {
            output::error_text(&packages::render(&layers, &diagnostics, output::lively()));
            let files: usize = layers.iter().map(|layer| layer.files.len()).sum();
            let mut text = format!("{files} files, {errors} errors, {warnings} warnings\n");
            if let Some(package) = &package {
                let (maps, tables, messages) = package.counts();
                text.push_str(&format!(
                    "{messages} message maps, {maps} maps, {tables} code tables, hash {}\n",
                    package.hash()
                ));
            }
            output::print(&text)?;
        }
    }
    Ok(if errors == 0 {
        Verdict::Good
    } else {
        Verdict::Bad
    })
}
