//! `fhirway mapping explain`: what became of every part of a message, and where every element comes from.

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use hl7v2::ParseOptions;
use mapping::explain::{Direction, Explanation, TextOptions, page, text};
use serde_json::json;

use super::super::{
    Failure, Outcome, Verdict, chain,
    files::{self, Input},
    options::{BundleForm, ContextOptions, PackageOptions},
    output,
};

/// Explain what became of every field of a message, and which field and rule made each element.
///
/// Of a field that became nothing it says why: no rule, a condition that does not hold, a code that a table
/// misses, a bad value, a policy. What is printed holds the message's content: patient data.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping explain message.hl7                     the message, and what each field became
  fhirway mapping explain --by element message.hl7        the Bundle, and where each element comes from
  fhirway mapping explain --dropped message.hl7           only what became nothing, and why
  fhirway mapping explain message.hl7 --html message.html a page to look at both, and to send to a colleague
  fhirway mapping explain --overlay site --policy ssn=off --message 3 feed.hl7
  fhirway mapping explain --format json - < message.hl7 | jq '.fields[] | select(.fate == \"dropped\") | .place'

Exit code: 0, 1 when the message cannot be converted, 2 for wrong usage.")]
pub(crate) struct Args {
    /// The message: a file, or - for standard input
    #[arg(value_name = "MESSAGE")]
    input: PathBuf,
    /// Which message of a file with several, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    message: u32,
    #[command(flatten)]
    package: PackageOptions,
    #[command(flatten)]
    context: ContextOptions,
    #[command(flatten)]
    form: BundleForm,
    /// Which way round, as text
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// As text: only fields that became nothing
    #[arg(long, conflicts_with = "by")]
    dropped: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// Write the page of `--format html` to a file, and print nothing
    #[arg(long, value_name = "FILE", conflicts_with = "format")]
    html: Option<PathBuf>,
}

/// Which way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    /// Each field, and what it became
    #[default]
    Field,
    /// Each element, and where it comes from
    Element,
}

/// How to print an explanation.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// One page for a browser that needs nothing else
    Html,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let package = args.package.compile()?;
    let context = args.context.context(&[&package])?;
    let (bytes, title) = read(&args.input, args.message)?;
    let cannot = |why: String| Failure::Run(format!("{title} cannot be explained: {why}"));
    let options = ParseOptions::default();
    let (message, _) = hl7v2::parse_with(&bytes, &options, hl7v2::Index::default())
        .map_err(|error| cannot(format!("not a message: {error}")))?;
    let mut converter = package.converter();
    let explanation = converter
        .explain(&message, &context, &args.form.options(false))
        .map_err(|error| cannot(chain(&error)))?;
    if let Some(file) = &args.html {
        return write(file, &page(&explanation, &title));
    }
    match args.format {
        Form::Text => output::print(&as_text(args, &explanation))?,
        Form::Json => output::print_json(&json!(explanation))?,
        Form::Html => output::print(&page(&explanation, &title))?,
    }
    Ok(Verdict::Good)
}

/// The bytes of the message that is meant, and what to call it.
fn read(path: &Path, number: u32) -> Result<(Vec<u8>, String), Failure> {
    if path.is_dir() {
        return Err(Failure::Usage(format!(
            "{} is a folder: name one file of it",
            path.display()
        )));
    }
    let found = files::inputs(&[path.to_owned()])?;
    let input = found.first().unwrap_or(&Input::Standard);
    let bytes = input
        .read()
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", input.name())))?;
    let messages = files::messages(&bytes);
    let range = usize::try_from(number)
        .ok()
        .and_then(|number| messages.get(number.checked_sub(1)?))
        .ok_or_else(|| {
            let count = messages.len();
            Failure::Usage(format!(
                "{} has {count} messages; there is no --message {number}",
                input.name()
            ))
        })?;
    let mut title = match input {
        Input::Standard => "standard input".to_owned(),
        Input::File(path) => path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    if messages.len() > 1 {
        title.push_str(&format!(", message {number} of {}", messages.len()));
    }
    let message = bytes.get(range.clone()).unwrap_or_default().to_vec();
    Ok((message, title))
}

fn as_text(args: &Args, explanation: &Explanation) -> String {
    let terminal = io::stdout().is_terminal();
    text(
        explanation,
        &TextOptions {
            direction: match args.by {
                By::Field => Direction::Fields,
                By::Element => Direction::Elements,
            },
            only_dropped: args.dropped,
            colour: terminal && output::colours(),
            width: output::width().unwrap_or(100),
        },
    )
}

fn write(file: &Path, page: &str) -> Outcome {
    if file.as_os_str() == "-" {
        output::print(page)?;
        return Ok(Verdict::Good);
    }
    fs::write(file, page)
        .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", file.display())))?;
    output::error_text(&format!(
        "wrote {}; it holds the message's content\n",
        file.display()
    ));
    Ok(Verdict::Good)
}
