//! `fhirway explain`: a page for each code that the product prints.

use std::io::{self, IsTerminal};

use serde_json::json;

use super::{Failure, Format, Outcome, Verdict, output};
use crate::pages::{self, Page};

/// Say what a code means, with an example and what to do; without a code, list them.
///
/// There is a page about everything that has a code: mistakes in mapping files, what a message's report says, issues of the
/// parser and of the validation, acknowledgements, faults of MLLP connections, reasons of dead letters and retries, failures of
/// the queue, and problems of the configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway explain                            all codes, by what prints them
  fhirway explain M010                       a code of `fhirway mapping check`
  fhirway explain bad-value                  a code of the report of `fhirway convert --report`
  fhirway explain permanent                  the reason of a dead letter
  fhirway explain mllp/empty                 where two groups have a code of that name
  fhirway explain --format json | jq -r '.[].code'

Exit code: 0, or 2 when there is no such code.")]
pub(crate) struct Args {
    /// The code, such as M010, bad-value or permanent; with its group in front where that matters
    code: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let Some(wanted) = &args.code else {
        list(args.format)?;
        return Ok(Verdict::Good);
    };
    let found = pages::find(wanted);
    let Some(first) = found.first() else {
        return Err(Failure::Usage(unknown(wanted)));
    };
    match args.format {
        Format::Json => {
            let page = |page: &Page| {
                let mut json = summary(page);
                if let Some(object) = json.as_object_mut() {
                    object.insert("text".to_owned(), json!(page.text));
                }
                json
            };
            match found.as_slice() {
                [_] => output::print_json(&page(first))?,
                several => output::print_json(&several.iter().map(page).collect())?,
            }
        }
        Format::Text => {
            let mut text = String::new();
            for page in &found {
                if found.len() > 1 {
                    let group = pages::groups().into_iter().find(|g| g.name == page.group);
                    let title = group.map_or(page.group, |group| group.title);
                    text.push_str(&format!("({title})\n"));
                }
                text.push_str(&shown(page.text));
                text.push('\n');
            }
            output::print(text.trim_end_matches('\n'))?;
            output::print("\n")?;
        }
    }
    Ok(Verdict::Good)
}

fn summary(page: &Page) -> serde_json::Value {
    json!({ "code": page.code, "title": page.title(), "group": page.group })
}

fn list(format: Format) -> Result<(), Failure> {
    let pages = pages::all();
    if format == Format::Json {
        return output::print_json(&pages.iter().map(summary).collect());
    }
    let mut text = String::new();
    for group in pages::groups() {
        text.push_str(&format!("{} ({})\n", group.title, group.name));
        for page in pages.iter().filter(|page| page.group == group.name) {
            text.push_str(&format!("  {:<22} {}\n", page.code, page.title()));
        }
        text.push('\n');
    }
    text.push_str("fhirway explain CODE prints the page of one.\n");
    output::print(&text)
}

fn unknown(wanted: &str) -> String {
    let help = match pages::near(wanted).as_slice() {
        [] => "`fhirway explain` lists them all".to_owned(),
        near => format!("did you mean `{}`?", near.join("`, `")),
    };
    format!("there is no code `{wanted}`; {help}")
}

/// Markdown as it is for files and pipes; on a terminal with weight instead of marks.
fn shown(page: &str) -> String {
    if !io::stdout().is_terminal()
        || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
    {
        return page.to_owned();
    }
    let mut out = String::new();
    let mut block = false;
    for line in page.lines() {
        if line.starts_with("```") {
            block = !block;
            continue;
        }
        let styled = match line.split([' ', ',']).next() {
            _ if block => format!("    \x1b[36m{line}\x1b[0m"),
            Some("#") => format!("\x1b[1m{}\x1b[0m", line.trim_start_matches("# ")),
            Some("Wrong") => format!("\x1b[31m{line}\x1b[0m"),
            Some("Right") => format!("\x1b[32m{line}\x1b[0m"),
            _ => line.to_owned(),
        };
        out.push_str(&styled);
        out.push('\n');
    }
    out
}
