//! `fhirway config`: look at a configuration without starting anything.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{ConfigArg, Failure, Format, Outcome, Verdict, output};
use crate::config::{self, Severity};

/// Check and show the configuration.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  fhirway config check fhirway.yaml
  fhirway config default > fhirway.yaml")]
pub(crate) enum Command {
    /// Report all mistakes at once, and print what is in force with secrets masked.
    #[command(after_help = "\
Examples:
  fhirway config check                       the embedded default, with the environment's overrides
  fhirway config check /etc/fhirway.yaml
  fhirway config check --format json /etc/fhirway.yaml | jq .problems

`fhirway explain CODE` says what the code of a problem means.
Exit code: 0 when it can be used, 1 when it has errors, 2 when it cannot be read.")]
    Check {
        /// Configuration file [default: $FHIRWAY_CONFIG, else the embedded default]
        file: Option<PathBuf>,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Print the problems only
        #[arg(long, short)]
        quiet: bool,
    },
    /// Print the embedded default file, in which every key is documented.
    #[command(after_help = "Example:\n  fhirway config default > fhirway.yaml")]
    Default,
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Check {
            file,
            format,
            quiet,
        } => check(file.clone(), *format, *quiet),
        Command::Default => {
            output::print(config::EMBEDDED)?;
            Ok(Verdict::Good)
        }
    }
}

fn check(file: Option<PathBuf>, format: Format, quiet: bool) -> Outcome {
    let file = file.or_else(|| std::env::var_os("FHIRWAY_CONFIG").map(PathBuf::from));
    let loaded = config::load(file.as_deref()).map_err(|error| {
        Failure::Usage(format!(
            "cannot read {}: {error}",
            file.unwrap_or_default().display()
        ))
    })?;
    let verdict = if loaded.config.is_some() {
        Verdict::Good
    } else {
        Verdict::Bad
    };
    match format {
        Format::Json => output::print_json(&json!({
            "file": loaded.file,
            "usable": loaded.config.is_some(),
            "problems": loaded.problems.iter().map(|problem| json!({
                "severity": problem.severity,
                "code": problem.kind.as_str(),
                "place": problem.place(&loaded.file),
                "message": problem.message,
                "help": problem.help,
            })).collect::<Vec<_>>(),
            "config": loaded.config.filter(|_| !quiet),
        }))?,
        Format::Text => {
            let count = |severity| {
                loaded
                    .problems
                    .iter()
                    .filter(|problem| problem.severity == severity)
                    .count()
            };
            output::error_text(&loaded.render());
            output::error_text(&format!(
                "{}: {} errors, {} warnings\n",
                loaded.file,
                count(Severity::Error),
                count(Severity::Warning)
            ));
            if let Some(config) = loaded.config
                && !quiet
            {
                output::print(&config.show())?;
            }
        }
    }
    Ok(verdict)
}

/// So that `--config` reads alike everywhere.
impl From<Option<PathBuf>> for ConfigArg {
    fn from(config: Option<PathBuf>) -> Self {
        Self { config }
    }
}
