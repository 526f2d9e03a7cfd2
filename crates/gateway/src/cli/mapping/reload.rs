//! `fhirway mapping reload`: new maps for the running gateway.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    cli::{ConfigArg, Failure, Format, Outcome, Verdict, output, runtime},
    control::{self, Command, ControlError},
};

/// Let the running gateway read its mapping packages again.
///
/// They are checked first and put in force all together, or not at all: with a mistake the gateway goes on with
/// the maps it has. Messages that are being mapped finish with the maps they began with. SIGHUP does the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping reload                     the gateway of the embedded configuration
  fhirway mapping reload --config /etc/fhirway.yaml
  fhirway mapping reload --data /var/lib/fhirway --format json

Exit code: 0 when the packages are in force, 1 when they have a mistake or no gateway runs, 2 for wrong usage.")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Data folder of the gateway, instead of a configuration
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let data = match &args.data {
        Some(data) => data.clone(),
        None => crate::config::data_folder(args.config.config.as_deref())
            .map_err(|error| Failure::Usage(format!("cannot read the configuration: {error}")))?,
    };
    let asked = runtime()?.block_on(control::ask(&control::socket_path(&data), &Command::Reload));
    let answer = match asked {
        Ok(answer) => answer,
        Err(ControlError::Unreachable(..)) => {
            return Err(Failure::Run(format!(
                "no gateway runs with its data in {}: the packages are read when it starts",
                data.display()
            )));
        }
        Err(error) => return Err(Failure::run(&error)),
    };
    match args.format {
        Format::Json => output::print_json(&answer)?,
        Format::Text => output::print(&text(&answer))?,
    }
    Ok(Verdict::Good)
}

fn text(answer: &Value) -> String {
    let mut out = String::new();
    for package in answer.as_array().into_iter().flatten() {
        let names = package.get("packages").and_then(Value::as_array);
        let names: Vec<&str> = names
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let hash = package
            .get("hash")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let changed = package.get("changed").and_then(Value::as_bool) == Some(true);
        let what = if changed { "in force" } else { "unchanged" };
        out.push_str(&format!("{}: {what}, hash {hash}\n", names.join("+")));
    }
    out
}
