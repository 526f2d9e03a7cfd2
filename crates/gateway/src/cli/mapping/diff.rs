//! `fhirway mapping diff`: what another package makes of the same messages.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use clap::ValueEnum;
use hl7v2::ParseOptions;
use mapping::{
    Context, Converter, Package,
    diff::{DiffBuilder, DiffOptions, MessageDiff, Outline, compare, markdown, text},
};
use serde_json::json;

use super::super::{
    Failure, Outcome, Verdict, files,
    options::{self, ContextOptions},
    output,
    pipeline::{self, Job},
};
use crate::packages;

/// Name of the package inside the program.
const SHIPPED: &str = "shipped";

/// Show what a new version of a package changes in the output for a folder of messages, grouped by rule.
///
/// OLD and NEW are packages: a folder, `shipped` for the one inside the program, or layers joined by +, the base
/// first: shipped+site. A rule that only moved to another line is no difference. Values of elements may be
/// patient data, and are shown only with --show-values.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping diff shipped mappings feed/               a changed copy of the shipped package
  fhirway mapping diff shipped shipped+site feed/           what an overlay does
  fhirway mapping diff shipped+site shipped+site-new feed/  what a new version of the overlay changes
  fhirway mapping diff --show-values --examples 10 old new message.hl7
  fhirway mapping diff --format markdown old new feed/ > review.md

Exit code: 0 when nothing changes, 1 when something does, 2 for wrong usage.")]
pub(crate) struct Args {
    /// The package that is in use
    #[arg(value_name = "OLD")]
    old: String,
    /// The package to compare with
    #[arg(value_name = "NEW")]
    new: String,
    /// Files, folders, or - for standard input
    #[arg(required = true, value_name = "MESSAGES")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    context: ContextOptions,
    /// Show what stands in the elements: this may be patient data
    #[arg(long)]
    show_values: bool,
    /// How many messages to name for each difference
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// Threads [default: one per core]
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
}

/// How to print differences.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// For a review
    Markdown,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let inputs = files::inputs(&args.inputs)?;
    let (old, new) = (Side::new(&args.old)?, Side::new(&args.new)?);
    let context = args.context.context(&[&old.package, &new.package])?;
    let sides = Sides {
        old,
        new,
        context,
        parse: ParseOptions::default(),
    };
    let bar = output::progress(Some(inputs.len() as u64), "files", true);
    let mut builder = DiffBuilder::new(args.examples, args.show_values);
    let jobs = args
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    pipeline::run(
        &inputs,
        jobs,
        |job| (job.input, sides.compare(&job), name(&job)),
        |(input, diff, name)| {
            bar.set_position(input as u64);
            builder.add(&name, diff);
            Ok(())
        },
    )?;
    bar.finish_and_clear();
    let report = builder.finish();
    if report.messages == 0 {
        let why = "there is no *.hl7 file in what was named";
        return Err(Failure::Usage(why.to_owned()));
    }
    match args.format {
        Form::Text => {
            let colour = io::stdout().is_terminal() && output::colours();
            output::print(&text(&report, &DiffOptions { colour }))?;
        }
        Form::Json => output::print_json(&json!(report))?,
        Form::Markdown => output::print(&markdown(&report))?,
    }
    Ok(if report.is_empty() {
        Verdict::Good
    } else {
        Verdict::Bad
    })
}

/// What a message is called in examples.
fn name(job: &Job) -> String {
    if job.message == 1 {
        job.name.to_string()
    } else {
        format!("{}#{}", job.name, job.message)
    }
}

/// Two packages at work.
struct Sides {
    old: Side,
    new: Side,
    context: Context,
    parse: ParseOptions,
}

/// A package, and its converters that have nothing to do.
struct Side {
    package: Arc<Package>,
    pool: Mutex<Vec<Converter>>,
}

impl Sides {
    fn compare(&self, job: &Job) -> MessageDiff {
        let of = |side: &Side| match &job.content {
            Ok((bytes, range)) => side.outline(bytes.get(range.clone()).unwrap_or_default(), self),
            Err(why) => Err(why.clone()),
        };
        compare(&of(&self.old), &of(&self.new))
    }
}

impl Side {
    fn new(spec: &str) -> Result<Self, Failure> {
        // A folder may have a plus sign in its name.
        let parts: Vec<&str> = if PathBuf::from(spec).is_dir() {
            vec![spec]
        } else {
            spec.split('+').collect()
        };
        let layer = |part: &&str| match *part {
            SHIPPED => Ok(packages::shipped()),
            folder => packages::folder(folder.as_ref())
                .map_err(|error| Failure::Usage(super::super::chain(&error))),
        };
        let layers = parts.iter().map(layer).collect::<Result<Vec<_>, _>>()?;
        Ok(Side {
            package: options::compile(&layers)?,
            pool: Mutex::default(),
        })
    }

    fn outline(&self, bytes: &[u8], sides: &Sides) -> Result<Outline, String> {
        let (message, _) = hl7v2::parse_with(bytes, &sides.parse, hl7v2::Index::default())
            .map_err(|error| format!("not a message: {error}"))?;
        let pool = || self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let mut converter = pool().pop().unwrap_or_else(|| self.package.converter());
        let outline = converter
            .convert(&message, &sides.context)
            .map(|conversion| Outline::of(&conversion, &self.package))
            .map_err(|error| error.to_string());
        pool().push(converter);
        outline
    }
}
