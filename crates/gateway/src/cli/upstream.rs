//! `fhirway upstream`: the FHIR servers and what they need to know of us.

use clap::Subcommand;

use super::{ConfigArg, Failure, Outcome, Verdict, load_config, output};
use crate::keys;

/// Look at destinations from the outside.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  fhirway upstream jwks --config fhirway.yaml > jwks.json")]
pub(crate) enum Command {
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
        Command::Jwks {
            destination,
            config,
        } => jwks(destination.as_deref(), config),
    }
}

fn jwks(name: Option<&str>, config: &ConfigArg) -> Outcome {
    let config = load_config(config)?;
    if let Some(name) = name
        && !config.destinations.iter().any(|one| one.name == name)
    {
        let names: Vec<_> = config.destinations.iter().map(|one| &*one.name).collect();
        return Err(Failure::Usage(format!(
            "there is no destination `{name}`; there are: {}",
            names.join(", ")
        )));
    }
    let chosen = config
        .destinations
        .iter()
        .filter(|one| name.is_none_or(|name| one.name == name));
    let keys = keys::public_keys(chosen).map_err(|error| Failure::run(&error))?;
    output::print_json(&keys)?;
    let none = keys.get("keys").and_then(serde_json::Value::as_array);
    if none.is_none_or(Vec::is_empty) {
        output::error_text("no destination has auth.oauth2.signing_keys\n");
        return Ok(Verdict::Bad);
    }
    Ok(Verdict::Good)
}
