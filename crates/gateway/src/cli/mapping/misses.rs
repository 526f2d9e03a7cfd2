//! `fhirway mapping misses`: which codes of senders no table lists.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use clap::ValueEnum;
use fhir::bundle::BundleOptions;
use hl7v2::ParseOptions;
use mapping::Context;
use serde_json::json;

use super::super::{
    ConfigArg, Failure, Outcome, Verdict, chain, files, options::layers, output, runtime,
};
use crate::{
    config::route::Validation,
    control,
    convert::{ConvertFailure, Engine, Settings},
    misses::{self, MissList, Misses},
    packages, receive,
};

/// Codes that no table lists: which, how often, and from whom, ready to paste into a table.
///
/// Without INPUT it is what the running gateway has counted since it was cleared last; a gateway that does not run left
/// its counts in the data folder, a minute old at most. With files or folders it is what these messages would miss.
/// Only texts that look like a code are told: at most 40 printable characters without blanks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping misses                              what the running gateway has met
  fhirway mapping misses --format csv > misses.csv    to fill the column `target` in a spreadsheet
  fhirway mapping misses feed/ --overlay site         what a folder of messages would miss
  fhirway mapping misses --clear                      start counting anew, after the tables were filled

Exit code: 0, 1 when a message cannot be converted or the counts cannot be had, 2 for wrong usage.")]
pub(crate) struct Args {
    /// Files, folders, or - for standard input, instead of the counts of the gateway
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Mapping folder for INPUT; the first is the base, further ones are overlays [default: the shipped package]
    #[arg(long, value_name = "FOLDER", requires = "inputs")]
    package: Vec<PathBuf>,
    /// Overlay on top of the packages; may be given several times
    #[arg(long, value_name = "FOLDER", requires = "inputs")]
    overlay: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
    /// Data folder of the gateway [default: data_dir of the configuration]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Start counting anew in the running gateway
    #[arg(long, conflicts_with = "inputs")]
    clear: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Form,
}

/// How to print misses.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    /// Tables of an overlay, to be filled
    #[default]
    Yaml,
    /// A row per table, code, field and sender
    Csv,
    /// One JSON document
    Json,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (list, verdict) = if args.inputs.is_empty() {
        (of_gateway(args)?, Verdict::Good)
    } else {
        of_messages(args)?
    };
    match args.format {
        Form::Json => output::print_json(&json!(list))?,
        Form::Csv => output::print(&list.csv())?,
        Form::Yaml if list.misses.is_empty() => output::print("# no code was missed\n")?,
        Form::Yaml => output::print(&list.yaml())?,
    }
    Ok(verdict)
}

/// Asks the running gateway, or reads what the last one left.
fn of_gateway(args: &Args) -> Result<MissList, Failure> {
    let data = match &args.data {
        Some(data) => data.clone(),
        None => crate::config::data_folder(args.config.config.as_deref())
            .map_err(|error| Failure::Usage(format!("cannot read the configuration: {error}")))?,
    };
    let command = control::Command::Misses { clear: args.clear };
    let asked = runtime()?.block_on(control::ask(&control::socket_path(&data), &command));
    match asked {
        Err(control::ControlError::Unreachable(..)) => left(&data, args.clear),
        Err(error) => Err(Failure::run(&error)),
        Ok(answer) => serde_json::from_value(answer).map_err(|error| Failure::run(&error)),
    }
}

fn left(data: &Path, clear: bool) -> Result<MissList, Failure> {
    let path = misses::path(data);
    let list = misses::load(&path).map_err(|error| {
        Failure::Run(format!(
            "no gateway runs on {}, and none left its counts there ({error}); name a folder of messages instead",
            data.display()
        ))
    })?;
    if clear {
        std::fs::remove_file(&path)
            .map_err(|error| Failure::Run(format!("cannot remove {}: {error}", path.display())))?;
    }
    Ok(list)
}

/// Converts all messages, for what their tables miss.
fn of_messages(args: &Args) -> Result<(MissList, Verdict), Failure> {
    let inputs = files::inputs(&args.inputs)?;
    if inputs.is_empty() {
        let why = "there is no *.hl7 file in what was named";
        return Err(Failure::Usage(why.to_owned()));
    }
    let layers = layers(&args.package, &args.overlay)?;
    let (package, _) = packages::compile(&layers).map_err(|error| Failure::Usage(chain(&error)))?;
    let (engine, misses) = (Engine::new(package), Misses::new());
    let bar = output::progress(Some(inputs.len() as u64), "files", true);
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(input) = inputs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match input.read() {
                        Ok(bytes) => {
                            for range in files::messages(&bytes) {
                                let bytes = bytes.get(range).unwrap_or_default();
                                if !count(&engine, bytes, &misses) {
                                    failed.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                        }
                        Err(error) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            output::complain(&format!("cannot read {}: {error}", input.name()));
                        }
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let failed = failed.into_inner();
    if failed > 0 {
        output::complain(&format!("{failed} messages could not be converted"));
        return Ok((misses.list(), Verdict::Bad));
    }
    Ok((misses.list(), Verdict::Good))
}

/// Counts one message; `false` when it cannot be converted. One that a table refuses has been counted.
fn count(engine: &Engine, bytes: &[u8], misses: &Misses) -> bool {
    let settings = Settings {
        parse: &ParseOptions::default(),
        context: &Context::default(),
        bundle: BundleOptions::default(),
        validation: Validation::Off,
        decide: None,
    };
    let converted = engine.convert(bytes, &settings);
    let missed = match &converted {
        Ok(converted) => &converted.report.code_misses,
        Err(ConvertFailure::CodeMiss { misses, .. }) => misses,
        Err(_) => return false,
    };
    if !missed.is_empty()
        && let Ok((message, _)) = hl7v2::parse(bytes)
    {
        misses.count(&receive::sender(&message.header(), None), missed);
    }
    true
}
