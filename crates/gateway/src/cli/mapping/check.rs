//! `fhirway mapping check`: every mistake of a package in one run.

use std::path::PathBuf;

use clap::ValueEnum;
use mapping::{Layer, Package, Severity};
use serde_json::json;

use super::super::{Failure, Outcome, Verdict, chain, output};
use crate::packages;

/// Check every path on both sides, HL7 v2 and FHIR, and report all mistakes at once.
///
/// `fhirway explain CODE` prints what a code means, with a wrong and a right example.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping check                      the shipped package
  fhirway mapping check mappings             a folder
  fhirway mapping check mappings site        a base folder and an overlay
  fhirway mapping check --format json site | jq '.diagnostics[].message'
  fhirway mapping check --format sarif mappings > check.sarif   for GitHub code scanning and others

Exit code: 0 when there are no errors (with --strict: no warnings either), 1 when there are, 2 for wrong usage.")]
pub(crate) struct Args {
    /// Folders in layers: the base first, overlays after it [default: the shipped package]
    folders: Vec<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// Warnings fail the check as errors do
    #[arg(long)]
    strict: bool,
}

/// How to print findings.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    /// For people, each with the line it stands in
    #[default]
    Text,
    /// One JSON document
    Json,
    /// SARIF 2.1.0, for code hosts and editors
    Sarif,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let layers = layers(&args.folders)?;
    let (package, diagnostics) = Package::compile(&layers);
    let count = |severity| {
        let of = |found: &&mapping::Diagnostic| found.severity == severity;
        diagnostics.iter().filter(of).count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match args.format {
        Form::Json => output::print_json(&json!({
            "errors": errors,
            "warnings": warnings,
            "hash": package.as_ref().map(Package::hash),
            "diagnostics": diagnostics,
        }))?,
        Form::Sarif => {
            let here = std::env::current_dir().unwrap_or_default();
            let (version, here) = (env!("CARGO_PKG_VERSION"), here.to_string_lossy());
            output::print_json(&mapping::sarif(&layers, &diagnostics, version, &here))?;
        }
        Form::Text => {
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
            if let Some(found) = diagnostics.first() {
                text.push_str(&format!(
                    "fhirway explain {} says more about such a finding\n",
                    found.code.as_str()
                ));
            }
            output::print(&text)?;
        }
    }
    Ok(if errors == 0 && (warnings == 0 || !args.strict) {
        Verdict::Good
    } else {
        Verdict::Bad
    })
}

/// The folders as layers, or the shipped package.
fn layers(folders: &[PathBuf]) -> Result<Vec<Layer>, Failure> {
    if folders.is_empty() {
        return Ok(vec![packages::shipped()]);
    }
    let layers = folders.iter().map(|path| packages::folder(path));
    layers
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::Usage(chain(&error)))
}
