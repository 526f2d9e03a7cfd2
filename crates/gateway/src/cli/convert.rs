//! `fhirway convert`: messages in, Bundles out, as fast as the machine allows and in the order of the input.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
    sync::Arc,
};

use clap::ValueEnum;
use fhir::{bundle::BundleOptions, outcome};
use hl7v2::ParseOptions;
use mapping::Context;

use super::{
    Failure, Outcome, Verdict, files,
    options::{BundleForm, ContextOptions, PackageOptions},
    output,
    pipeline::{self, Job},
    watch,
};
use crate::{
    config::{self, route::Validation},
    convert::{ConvertFailure, Converted, Engine, Settings, is_error},
    events::Events,
    metrics::Metrics,
    terminology::{Asked, Terminology},
};

mod report;
mod summary;

/// Convert HL7 v2 messages to FHIR Bundles.
///
/// Inputs are files, folders (every *.hl7 file below, in sorted path order) or - for standard input. A file
/// may hold many messages: one after another, in FHS/BHS batches, or in MLLP frames.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway convert message.hl7                          one message, a Bundle to read
  fhirway convert --ndjson feed/ > bundles.ndjson      a folder, one line per message, in order
  cat batch.hl7 | fhirway convert --ndjson -           standard input
  fhirway convert --ndjson feed/ -o out.ndjson --report report.ndjson
  fhirway convert --package mappings --package site message.hl7
  fhirway convert --summary feed/                      what the maps leave over, by place
  fhirway convert --overlay site --terminology https://tx.example.org/r4 message.hl7
  fhirway convert --watch --package mappings message.hl7    again after each change, until Ctrl-C

A message that cannot be converted becomes an OperationOutcome in its place.
Exit code: 0, 1 when any message failed, 2 for wrong usage.")]
pub(crate) struct Args {
    /// Files, folders, or - for standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// One line per message, in input order
    #[arg(long)]
    ndjson: bool,
    /// Write here instead of to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write one JSON line per message: issues, unmapped content, timings
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Instead of the Bundles print what is unmapped, ignored and wrong in all messages together [--summary alone: text]
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text"
    )]
    summary: Option<summary::Form>,
    #[command(flatten)]
    package: PackageOptions,
    #[command(flatten)]
    context: ContextOptions,
    #[command(flatten)]
    form: BundleForm,
    /// What to do about a Bundle that breaks the FHIR specification
    #[arg(long, value_enum, default_value_t)]
    validate: Check,
    /// FHIR server that is asked ($translate) for codes that tables with `translate:` do not list
    #[arg(long, value_name = "URL")]
    terminology: Option<String>,
    /// Convert again whenever a message or a map changes
    #[arg(long)]
    watch: bool,
    /// Threads [default: one per core]
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Check {
    /// Not checked
    Off,
    /// Told in the report
    #[default]
    Warn,
    /// The message fails
    Enforce,
}

/// Endings of messages and maps.
const WATCHED: &[&str] = &["hl7", "yaml", "yml", "csv"];

pub(crate) fn run(args: &Args) -> Outcome {
    if !args.watch {
        return once(args);
    }
    if args.inputs.iter().any(|input| input.as_os_str() == "-") {
        let why = "--watch needs files or folders: standard input cannot be read again";
        return Err(Failure::Usage(why.to_owned()));
    }
    let paths = args
        .inputs
        .iter()
        .chain(args.package.folders())
        .cloned()
        .collect();
    watch::repeat(paths, WATCHED, || once(args))
}

fn once(args: &Args) -> Outcome {
    let inputs = files::inputs(&args.inputs)?;
    let job = Converter::new(args)?;
    let output = args.output.as_ref().filter(|path| path.as_os_str() != "-");
    let mut summary = args.summary.map(|_| summary::Summary::default());
    // A summary stands in the place of the Bundles, unless they have a file of their own.
    let mut out = match (output, &summary) {
        (None, Some(_)) => None,
        (output, _) => Some(open(output)?),
    };
    let mut report = args.report.as_ref().map(create).transpose()?;
    let to_file = output.is_some() || !io::stdout().is_terminal();
    let bar = output::progress(Some(inputs.len() as u64), "files", to_file);

    let mut failed = 0u64;
    let mut total = 0u64;
    let jobs = args
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    pipeline::run(
        &inputs,
        jobs,
        |job_of_message| job.one(&job_of_message),
        |done| {
            total += 1;
            failed += u64::from(done.failed);
            bar.set_position(done.input as u64);
            if let Some(out) = &mut out {
                out.write_all(&done.line)
                    .map_err(|error| output::closed_or(&error))?;
            }
            if let (Some(summary), Some(part)) = (&mut summary, done.part) {
                summary.add(part);
            }
            match &mut report {
                Some(report) => report
                    .write_all(&done.report)
                    .map_err(|error| output::closed_or(&error)),
                None => Ok(()),
            }
        },
    )?;
    bar.finish_and_clear();
    if let Some(mut out) = out {
        out.flush().map_err(|error| output::closed_or(&error))?;
    }
    if let Some(mut report) = report {
        report.flush().map_err(|error| output::closed_or(&error))?;
    }
    if let Some(trouble) = job
        .terminology
        .as_ref()
        .and_then(|asking| asking.server.trouble())
    {
        output::error_text(&format!("warning: {trouble}\n"));
    }
    if total == 0 {
        return Err(Failure::Usage(
            "there is no *.hl7 file in what was named".to_owned(),
        ));
    }
    if let (Some(summary), Some(form)) = (&summary, args.summary) {
        summary.print(form)?;
    }
    if failed > 0 {
        output::error_text(&format!(
            "{failed} of {total} messages could not be converted\n"
        ));
        return Ok(Verdict::Bad);
    }
    Ok(Verdict::Good)
}

type Sink = BufWriter<Box<dyn Write>>;

fn open(path: Option<&PathBuf>) -> Result<Sink, Failure> {
    match path {
        Some(path) => create(path),
        None => Ok(BufWriter::with_capacity(
            1 << 16,
            Box::new(io::stdout().lock()),
        )),
    }
}

fn create(path: &PathBuf) -> Result<Sink, Failure> {
    if path.as_os_str() == "-" {
        let message =
            "--report needs a file: standard output is for the bundles (/dev/stderr is a file too)";
        return Err(Failure::Usage(message.to_owned()));
    }
    let file = File::create(path)
        .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", path.display())))?;
    Ok(BufWriter::with_capacity(1 << 16, Box::new(file)))
}

/// What became of a message.
struct Done {
    /// The line (or document) to write.
    line: Vec<u8>,
    /// The line of the report; empty without one.
    report: Vec<u8>,
    /// What it adds to the summary; none without one.
    part: Option<summary::Part>,
    /// Whether it could not be converted.
    failed: bool,
    /// Number of its input, from 0.
    input: usize,
}

/// What every thread needs.
struct Converter {
    engine: Engine,
    parse: ParseOptions,
    context: Context,
    bundle: BundleOptions<'static>,
    validation: Validation,
    ndjson: bool,
    wants_report: bool,
    wants_summary: bool,
    terminology: Option<Asking>,
}

/// A terminology server, and what drives its connections.
struct Asking {
    runtime: tokio::runtime::Runtime,
    server: Terminology,
}

impl Converter {
    fn new(args: &Args) -> Result<Self, Failure> {
        let package = args.package.compile()?;
        Ok(Self {
            parse: ParseOptions::default(),
            context: args.context.context(&[&package])?,
            engine: Engine::new(package),
            bundle: args.form.options(!args.ndjson),
            validation: match args.validate {
                Check::Off => Validation::Off,
                Check::Warn => Validation::Warn,
                Check::Enforce => Validation::Enforce,
            },
            ndjson: args.ndjson,
            wants_report: args.report.is_some(),
            wants_summary: args.summary.is_some(),
            terminology: args.terminology.as_deref().map(Asking::new).transpose()?,
        })
    }

    /// One message: a Bundle, or an OperationOutcome in its place.
    fn one(&self, job: &Job) -> Done {
        let result = match &job.content {
            Ok((bytes, range)) => self.convert(bytes.get(range.clone()).unwrap_or_default()),
            Err(why) => Err(ConvertFailure::Parse(why.clone())),
        };
        let report = if self.wants_report {
            report::line(job, &result)
        } else {
            Vec::new()
        };
        let part = self.wants_summary.then(|| summary::Part::of(&result));
        let failed = result.is_err();
        let mut line = match result {
            Ok(converted) => converted.bundle,
            Err(failure) => self.outcome(&failure),
        };
        line.push(b'\n');
        Done {
            line,
            report,
            part,
            failed,
            input: job.input,
        }
    }

    fn convert(&self, bytes: &[u8]) -> Result<Converted, ConvertFailure> {
        let Some(asking) = &self.terminology else {
            return self.convert_in(bytes, &self.context);
        };
        let context = || Context {
            translations: asking.server.known(),
            ..self.context.clone()
        };
        let result = self.convert_in(bytes, &context());
        let misses = match &result {
            Ok(converted) => converted.report.code_misses.as_slice(),
            Err(ConvertFailure::CodeMiss { misses, .. }) => misses,
            Err(_) => &[],
        };
        let asked = asking.server.ask(self.engine.package(), misses);
        match asking.runtime.block_on(asked) {
            Asked::Again => self.convert_in(bytes, &context()),
            Asked::Nothing | Asked::Park(_) => result,
        }
    }

    fn convert_in(&self, bytes: &[u8], context: &Context) -> Result<Converted, ConvertFailure> {
        let settings = Settings {
            parse: &self.parse,
            context,
            bundle: self.bundle,
            validation: self.validation,
            decide: None,
        };
        self.engine.convert(bytes, &settings)
    }

    fn outcome(&self, failure: &ConvertFailure) -> Vec<u8> {
        let issues = failure.issues();
        // With `enforce`, what is wrong comes first.
        let (mut errors, others): (Vec<_>, Vec<_>) = issues.into_iter().partition(is_error);
        errors.extend(others);
        let mut out = Vec::new();
        outcome::write(&errors, !self.ndjson, &mut out);
        out
    }
}

impl Asking {
    fn new(url: &str) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::Usage(format!("--terminology {url}: {why}"));
        let metrics = Metrics::new(&[]).map_err(|error| Failure::run(&error))?;
        let events = Events::new(Arc::new(metrics)).terminology("convert");
        let runtime = super::runtime()?;
        let server = {
            let _inside = runtime.enter();
            Terminology::new(&config::terminology::Terminology::new(url), events)
                .map_err(|error| wrong(super::chain(&error)))?
        };
        Ok(Self { runtime, server })
    }
}
