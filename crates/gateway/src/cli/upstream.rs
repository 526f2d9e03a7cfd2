//! `fhirway upstream`: the FHIR servers and what they need to know of us.

use clap::Subcommand;

use super::{ConfigArg, Failure, Outcome, Verdict, load_config, output};
use crate::{
    config::{Config, Destination},
    keys,
};

mod check;

/// Look at destinations from the outside.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  fhirway upstream check --config fhirway.yaml
  fhirway upstream jwks --config fhirway.yaml > jwks.json")]
pub(crate) enum Command {
    Check(check::Args),
    /// Print the public keys that sign for us, to be registered with an authorization server.
    #[command(after_help = "\
Examples:
  fhirway upstream jwks                      of all destinations with signing_keys
  fhirway upstream jwks warehouse            of one
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key.pem    a new key

The running gateway serves the same at /.well-known/jwks.json of its admin port.
Exit code: 0, 1 when there is no key, 2 for wrong usage.")]
    Jwks {
        /// Destination [default: all]
        destination: Option<String>,
        #[command(flatten)]
        config: ConfigArg,
    },
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Check(args) => check::run(args),
        Command::Jwks {
            destination,
            config,
        } => jwks(destination.as_deref(), config),
    }
}

/// The FHIR servers that a command is about.
fn chosen<'c>(config: &'c Config, name: Option<&str>) -> Result<Vec<&'c Destination>, Failure> {
    let all = || config.destinations.iter().filter(|one| one.is_server());
    let found: Vec<_> = all()
        .filter(|one| name.is_none_or(|name| one.name == name))
        .collect();
    match name {
        Some(name) if found.is_empty() => {
            let names: Vec<_> = all().map(|one| &*one.name).collect();
            Err(Failure::Usage(format!(
                "there is no destination `{name}`; there are: {}",
                names.join(", ")
            )))
        }
        _ => Ok(found),
    }
}

fn jwks(name: Option<&str>, config: &ConfigArg) -> Outcome {
    let config = load_config(config)?;
    let chosen = chosen(&config, name)?;
    let keys = keys::public_keys(chosen.iter().copied()).map_err(|error| Failure::run(&error))?;
    output::print_json(&keys)?;
    let none = keys.get("keys").and_then(serde_json::Value::as_array);
    if none.is_none_or(Vec::is_empty) {
        output::error_text("no destination has auth.oauth2.signing_keys\n");
        return Ok(Verdict::Bad);
    }
    Ok(Verdict::Good)
}
