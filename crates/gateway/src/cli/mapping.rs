//! `fhirway mapping`: tools for who writes mapping files.

use clap::Subcommand;

use super::Outcome;

mod check;
mod coverage;
mod diff;
mod explain;
mod lsp;
mod misses;
mod reload;
mod schema;
mod show;
mod table;
mod test;

/// Tools for mapping files.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  fhirway mapping check                      the shipped package
  fhirway mapping check mappings site        a base folder and an overlay
  fhirway mapping coverage --missing         rows of the guide that no map does
  fhirway mapping diff shipped site feed/    what another package makes of the same messages
  fhirway mapping explain message.hl7        what became of every field of a message
  fhirway mapping show PID/Patient --overlay site   the merged map, and where each line comes from
  fhirway mapping test mappings              the tests of a package")]
pub(crate) enum Command {
    Check(check::Args),
    Coverage(coverage::Args),
    Diff(diff::Args),
    Explain(explain::Args),
    Misses(misses::Args),
    Lsp(lsp::Args),
    Reload(reload::Args),
    Schema(schema::Args),
    Show(show::Args),
    #[command(subcommand)]
    Table(table::Command),
    Test(test::Args),
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Check(args) => check::run(args),
        Command::Coverage(args) => coverage::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Misses(args) => misses::run(args),
        Command::Lsp(args) => lsp::run(args),
        Command::Reload(args) => reload::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Show(args) => show::run(args),
        Command::Table(command) => table::run(command),
        Command::Test(args) => test::run(args),
    }
}
