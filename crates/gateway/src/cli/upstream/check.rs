//! `fhirway upstream check`: what the routes need, beside what the servers offer.

use std::{sync::Arc, time::Duration};

use clap::Args as ClapArgs;
use serde_json::json;
use upstream::{Finding, Verdict as Found};

use super::super::{ConfigArg, Failure, Outcome, Verdict, chain, load_config, output, runtime};
use crate::{
    config::Destination,
    deliver::{capability, stack_config},
    packages::Packages,
};

/// Longest wait for an answer: somebody sits in front of it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Compare what the routes need with what the FHIR servers say they offer (`/metadata`).
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fhirway upstream check                     all destinations
  fhirway upstream check warehouse           one
  fhirway upstream check --json | jq '.[].findings[] | select(.verdict == \"missing\")'

Which resource types, and in which way, follows from the mapping packages of the routes: every map that some message
could reach counts. The running gateway asks the same at its start and every 12 hours (`capability` of a destination).
Exit code: 0, 1 when something is missing or a server does not answer, 2 for wrong usage.")]
pub(crate) struct Args {
    /// Destination [default: all]
    destination: Option<String>,
    /// One JSON document, for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

/// What came out for one destination.
struct Checked {
    destination: String,
    software: Option<String>,
    result: Result<Vec<Finding>, String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config(&args.config)?;
    let destinations = super::chosen(&config, args.destination.as_deref())?;
    let packages = Packages::load(&config).map_err(|error| Failure::run(&error))?;
    let runtime = runtime()?;
    let mut all = Vec::new();
    for destination in destinations {
        let needs = capability::needs(&config, &packages, destination);
        all.push(runtime.block_on(check(destination, &needs))?);
    }
    let good = all.iter().all(Checked::is_good);
    if args.json {
        let documents = all.iter().map(Checked::json).collect();
        output::print_json(&serde_json::Value::Array(documents))?;
    } else {
        for (place, checked) in all.iter().enumerate() {
            if place > 0 {
                output::print("\n")?;
            }
            output::print(&checked.text(output::colourful()))?;
        }
    }
    Ok(if good { Verdict::Good } else { Verdict::Bad })
}

async fn check(destination: &Destination, needs: &upstream::Needs) -> Result<Checked, Failure> {
    let mut config = stack_config(destination, None).map_err(|error| Failure::run(&error))?;
    if config.base_url.is_empty() {
        // The embedded repository: its statement is known, nothing is asked.
        config.base_url = "http://localhost".to_owned();
    }
    config.deadline = config.deadline.min(PATIENCE);
    let stack = upstream::stack(&config, Arc::new(())).map_err(|error| {
        Failure::Run(format!(
            "destination `{}` cannot be used: {}",
            destination.name,
            chain(&error)
        ))
    })?;
    let offered = capability::offered(destination, &stack).await;
    Ok(Checked {
        destination: destination.name.clone(),
        software: offered
            .as_ref()
            .ok()
            .and_then(|offered| offered.software.clone()),
        result: offered
            .map(|offered| needs.compare(&offered))
            .map_err(|error| chain(&error)),
    })
}

// === impl Checked ===

impl Checked {
    fn is_good(&self) -> bool {
        self.result
            .as_ref()
            .is_ok_and(|findings| findings.iter().all(|one| one.verdict == Found::Ok))
    }

    fn json(&self) -> serde_json::Value {
        match &self.result {
            Ok(findings) => json!({
                "destination": self.destination,
                "software": self.software,
                "sufficient": self.is_good(),
                "findings": findings,
            }),
            Err(why) => json!({
                "destination": self.destination,
                "sufficient": false,
                "error": why,
            }),
        }
    }

    fn text(&self, colours: bool) -> String {
        let paint = |code: &str, text: &str| match colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        };
        let software = match &self.software {
            Some(software) => format!(" ({})", shown(software)),
            None => String::new(),
        };
        let head = format!("{}{software}\n", self.destination);
        let findings = match &self.result {
            Ok(findings) => findings,
            Err(why) => {
                return format!(
                    "{head}{}: /metadata cannot be read: {why}\n",
                    paint("1;31", "no answer")
                );
            }
        };
        let heading = ["OF", "NEEDED", "BY", "OFFERED", "VERDICT"].map(str::to_owned);
        let mut rows = vec![heading.to_vec()];
        rows.extend(findings.iter().map(|one| {
            vec![
                one.of.clone(),
                one.needed.clone(),
                one.needed_by.join(", "),
                shown(&one.offered),
                one.verdict.as_str().to_owned(),
            ]
        }));
        let table = output::table(&rows);
        let mut out = head;
        // The verdict is the last column, so colours do not move anything.
        for (line, row) in table.lines().zip(&rows) {
            let verdict = row.last().map_or("", String::as_str);
            let painted = match verdict {
                "missing" => line
                    .strip_suffix(verdict)
                    .map(|start| start.to_owned() + &paint("1;31", verdict)),
                "ok" => line
                    .strip_suffix(verdict)
                    .map(|start| start.to_owned() + &paint("32", verdict)),
                _ => None,
            };
            out.push_str("  ");
            out.push_str(painted.as_deref().unwrap_or(line));
            out.push('\n');
        }
        let missing = findings
            .iter()
            .filter(|one| one.verdict == Found::Missing)
            .count();
        out.push_str(&match missing {
            0 => format!("{}\n", paint("32", "everything that is needed is offered")),
            count => format!(
                "{} of {} needs are not covered. A server that can do more than it says is fine; \
                 `ids`, `bundle` and `format` of the destination decide what is needed\n",
                paint("1;31", &count.to_string()),
                findings.len()
            ),
        });
        out
    }
}

/// What a server says of itself goes to a terminal: no control characters, and not more than a line holds.
fn shown(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(120)
        .collect()
}
