//! `fhirway explain`: a page for each code that a check or a report prints.

use std::io::{self, IsTerminal};

use mapping::{Code, ReportCode};
use serde_json::json;

use super::{Failure, Format, Outcome, Verdict, output};

/// Say what a code of a check or a report means, with a wrong and a right example; without a code, list them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway explain                            all codes
  fhirway explain M010                       a code of `fhirway mapping check`
  fhirway explain bad-value                  a code of the report of `fhirway convert --report`
  fhirway explain --format json | jq -r '.[].code'

Exit code: 0, or 2 when there is no such code.")]
pub(crate) struct Args {
    /// The code, such as M010 or bad-value
    code: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A code and its page.
struct Page {
    code: &'static str,
    about: &'static str,
    text: &'static str,
}

/// All pages, by what prints their codes.
fn pages() -> Vec<Page> {
    let check = Code::ALL.iter().map(|code| Page {
        code: code.as_str(),
        about: "fhirway mapping check",
        text: code.page(),
    });
    let report = ReportCode::ALL.iter().map(|code| Page {
        code: code.as_str(),
        about: "the report of a message",
        text: code.page(),
    });
    check.chain(report).collect()
}

impl Page {
    /// The heading without its mark and code.
    fn title(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.split_once(": ").map_or(first, |(_, title)| title)
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let pages = pages();
    let Some(wanted) = &args.code else {
        list(&pages, args.format)?;
        return Ok(Verdict::Good);
    };
    let Some(page) = pages
        .iter()
        .find(|page| page.code.eq_ignore_ascii_case(wanted))
    else {
        return Err(Failure::Usage(unknown(wanted, &pages)));
    };
    match args.format {
        Format::Json => output::print_json(&json!({
            "code": page.code,
            "title": page.title(),
            "from": page.about,
            "text": page.text,
        }))?,
        Format::Text => output::print(&shown(page.text))?,
    }
    Ok(Verdict::Good)
}

fn list(pages: &[Page], format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        let all = pages
            .iter()
            .map(|page| json!({ "code": page.code, "title": page.title(), "from": page.about }));
        return output::print_json(&all.collect());
    }
    let mut text = String::new();
    for (number, page) in pages.iter().enumerate() {
        let before = number.checked_sub(1).and_then(|number| pages.get(number));
        if before.is_none_or(|before| before.about != page.about) {
            let line = if number == 0 { "" } else { "\n" };
            text.push_str(&format!("{line}Codes of {}\n", page.about));
        }
        text.push_str(&format!("  {:<18} {}\n", page.code, page.title()));
    }
    text.push_str("\nfhirway explain CODE prints the page of one.\n");
    output::print(&text)
}

fn unknown(wanted: &str, pages: &[Page]) -> String {
    let near = pages
        .iter()
        .map(|page| {
            let wanted = wanted.to_ascii_lowercase();
            let distance = strsim::damerau_levenshtein(&wanted, &page.code.to_ascii_lowercase());
            (distance, page.code)
        })
        .min()
        .filter(|(distance, _)| *distance <= 2);
    let help = match near {
        Some((_, code)) => format!("did you mean `{code}`?"),
        None => "`fhirway explain` lists them all".to_owned(),
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
