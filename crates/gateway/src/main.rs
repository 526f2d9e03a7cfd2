//! The `fhirway` binary.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    gateway::cli::Cli::parse().run()
}
