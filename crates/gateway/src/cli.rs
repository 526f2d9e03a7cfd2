//! The `fhirway` command: one file per subcommand.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

mod bench;
mod config;
mod convert;
mod demo;
mod explain;
mod files;
mod mapping;
mod options;
mod output;
mod pipeline;
mod queue;
mod send;
mod serve;
mod upstream;
mod watch;

/// Carries HL7 v2 messages over to FHIR.
///
/// Messages come in by MLLP or from RabbitMQ, are stored before they are acknowledged, mapped by text files,
/// and delivered as FHIR R4 Bundles.
#[derive(Debug, Parser)]
#[command(
    name = "fhirway",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  fhirway demo                               everything embedded, with invented traffic
  fhirway serve --config fhirway.yaml        run the gateway
  fhirway send --to 127.0.0.1:2575 messages/ send a folder of messages
  fhirway convert message.hl7                see what a message becomes"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Convert(convert::Args),
    Send(send::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    #[command(subcommand)]
    Mapping(mapping::Command),
    #[command(subcommand)]
    Queue(queue::Command),
    #[command(subcommand)]
    Upstream(upstream::Command),
    #[command(subcommand)]
    Config(config::Command),
    Explain(explain::Args),
}

/// `--format`: for people or for machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// `--config`, shared by the commands that need a configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArg {
    /// Configuration file [default: the embedded config/fhirway.yaml]
    #[arg(long, short, value_name = "FILE", env = "FHIRWAY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// How a command ends: 0, 1 for "it ran and something is wrong", 2 for "it could not run".
pub(crate) type Outcome = Result<Verdict, Failure>;

/// The result of a command that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All well: exit code 0.
    Good,
    /// It ran, and something in its input is wrong: exit code 1.
    Bad,
}

/// Why a command could not run: exit code 2, except when it runs into a limit of its surroundings (1).
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments make no sense together, or a file they name cannot be used.
    #[error("{0}")]
    Usage(String),
    /// It started and could not go on.
    #[error("{0}")]
    Run(String),
    /// Standard output was closed: whoever read it has seen enough. Not an error.
    #[error("output closed")]
    OutputClosed,
}

impl Failure {
    /// A failure with its whole chain of causes.
    pub(crate) fn run(error: &dyn std::error::Error) -> Self {
        Self::Run(chain(error))
    }
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl Cli {
    /// Runs the command and says how the process ends.
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Serve(args) => serve::run(&args),
            Command::Convert(args) => convert::run(&args),
            Command::Send(args) => send::run(&args),
            Command::Demo(args) => demo::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Mapping(command) => mapping::run(&command),
            Command::Queue(command) => queue::run(&command),
            Command::Upstream(command) => upstream::run(&command),
            Command::Config(command) => config::run(&command),
            Command::Explain(args) => explain::run(&args),
        };
        match outcome {
            Ok(Verdict::Good) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
            Ok(Verdict::Bad) => ExitCode::from(1),
            Err(Failure::Run(why)) => {
                output::complain(&why);
                ExitCode::from(1)
            }
            Err(Failure::Usage(why)) => {
                output::complain(&why);
                ExitCode::from(2)
            }
        }
    }
}

/// A runtime for commands that talk to the network or the queue.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::run(&error))
}

/// Loads the configuration, or prints every mistake and fails.
pub(crate) fn load_config(arg: &ConfigArg) -> Result<crate::config::Config, Failure> {
    let loaded = crate::config::load(arg.config.as_deref()).map_err(|error| {
        let path = arg
            .config
            .as_deref()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        Failure::Usage(format!("cannot read the configuration {path}: {error}"))
    })?;
    let rendered = loaded.render();
    if !rendered.is_empty() {
        output::error_text(&rendered);
    }
    loaded.config.ok_or_else(|| {
        Failure::Usage("the configuration has errors; nothing was started".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_consistent_and_all_have_examples() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            if command.get_name() == "help" {
                continue;
            }
            assert!(
                command
                    .get_after_help()
                    .is_some_and(|help| help.to_string().starts_with("Example")),
                "`{}` has no examples",
                command.get_name()
            );
            open.extend(command.get_subcommands().cloned());
        }
    }
}
