//! The results of tests, for people and as JSON.

use std::{fmt::Write as _, time::Duration};

use mapping::testing::{DiffLine, Difference, Side};
use serde_json::{Value, json};

use super::{
    case::{Problem, Ran},
    shown,
};

/// Places of a Bundle that are shown; the rest is counted.
const MOST_PLACES: usize = 20;

/// How many of each.
pub(super) struct Summary {
    pub(super) tests: usize,
    pub(super) failed: usize,
    pub(super) updated: usize,
    pub(super) took: Duration,
}

impl Summary {
    pub(super) fn new(results: &[Ran], took: Duration) -> Self {
        Self {
            tests: results.len(),
            failed: results
                .iter()
                .filter(|ran| !ran.problems.is_empty())
                .count(),
            updated: results.iter().filter(|ran| ran.updated.is_some()).count(),
            took,
        }
    }
}

/// Escape codes, or nothing.
struct Paint {
    red: &'static str,
    green: &'static str,
    bold: &'static str,
    dim: &'static str,
    off: &'static str,
}

impl Paint {
    fn new(colour: bool) -> Self {
        let code = |code| if colour { code } else { "" };
        Self {
            red: code("\x1b[31m"),
            green: code("\x1b[32m"),
            bold: code("\x1b[1m"),
            dim: code("\x1b[2m"),
            off: code("\x1b[0m"),
        }
    }
}

/// Failures with what is wrong, what was written, and a last line that sums up.
pub(super) fn text(results: &[Ran], summary: &Summary, colour: bool) -> String {
    let paint = Paint::new(colour);
    let mut out = String::new();
    for ran in results {
        if let Some(path) = &ran.updated {
            let _ = writeln!(out, "{}wrote{} {}", paint.bold, paint.off, shown(path));
        }
    }
    for ran in results.iter().filter(|ran| !ran.problems.is_empty()) {
        let Paint { red, bold, off, .. } = paint;
        let _ = writeln!(out, "{bold}{red}FAIL{off}{bold} {}{off}", ran.name);
        for problem in &ran.problems {
            out.push_str(&described(problem, &paint));
        }
        out.push('\n');
    }
    let passed = summary.tests - summary.failed;
    let colour = if summary.failed == 0 {
        paint.green
    } else {
        paint.red
    };
    let _ = write!(
        out,
        "{}{colour}{} {}, {passed} passed, {} failed{}",
        paint.bold,
        summary.tests,
        if summary.tests == 1 { "test" } else { "tests" },
        summary.failed,
        paint.off
    );
    if summary.updated > 0 {
        let _ = write!(out, ", {} written anew", summary.updated);
    }
    let _ = writeln!(
        out,
        " {}({:.1} s){}",
        paint.dim,
        summary.took.as_secs_f64(),
        paint.off
    );
    out
}

/// What is wrong, without colours: for JUnit.
pub(super) fn plain(problem: &Problem) -> String {
    described(problem, &Paint::new(false))
}

/// The same in one line.
pub(super) fn title(problem: &Problem) -> String {
    match problem {
        Problem::Broken(why) => why.clone(),
        Problem::Unreadable(_) => "the assertion file has mistakes".to_owned(),
        Problem::Mismatch(wrong) => {
            format!(
                "{}: expected {}, got {}",
                wrong.what, wrong.expected, wrong.got
            )
        }
        Problem::Differs(path, places) => {
            format!("{} differs in {} places", shown(path), places.len())
        }
        Problem::Invalid(issues) => {
            format!(
                "the bundle breaks the FHIR specification in {} places",
                issues.len()
            )
        }
    }
}

fn described(problem: &Problem, paint: &Paint) -> String {
    let Paint {
        red,
        green,
        dim,
        off,
        ..
    } = *paint;
    let mut out = String::new();
    match problem {
        Problem::Broken(why) => {
            let _ = writeln!(out, "  {why}");
        }
        Problem::Unreadable(rendered) => {
            for line in rendered.lines() {
                let _ = writeln!(out, "  {line}");
            }
        }
        Problem::Mismatch(wrong) => {
            let _ = writeln!(out, "  {}  {dim}{}{off}", wrong.what, wrong.rule);
            let _ = writeln!(out, "    {red}- {}{off}", wrong.expected);
            let _ = writeln!(out, "    {green}+ {}{off}", wrong.got);
        }
        Problem::Differs(path, places) => {
            for place in places.iter().take(MOST_PLACES) {
                let _ = writeln!(out, "  {}  {dim}{}{off}", place.path, shown(path));
                for line in &place.lines {
                    let (colour, sign) = match line.side {
                        Side::Both => (dim, ' '),
                        Side::Expected => (red, '-'),
                        Side::Got => (green, '+'),
                    };
                    let _ = writeln!(out, "    {colour}{sign} {}{off}", line.text);
                }
            }
            if let Some(more) = places.len().checked_sub(MOST_PLACES + 1) {
                let _ = writeln!(out, "  ... and {} more places", more + 1);
            }
        }
        Problem::Invalid(issues) => {
            let _ = writeln!(out, "  the bundle breaks the FHIR specification:");
            for issue in issues.iter().take(MOST_PLACES) {
                let _ = writeln!(out, "    {}: {}", issue.expression, issue.message);
            }
            if let Some(more) = issues.len().checked_sub(MOST_PLACES + 1) {
                let _ = writeln!(out, "    ... and {} more", more + 1);
            }
        }
    }
    out
}

/// One document.
pub(super) fn json(results: &[Ran], summary: &Summary) -> Value {
    json!({
        "tests": summary.tests,
        "passed": summary.tests - summary.failed,
        "failed": summary.failed,
        "updated": results
            .iter()
            .filter_map(|ran| ran.updated.as_deref().map(shown))
            .collect::<Vec<_>>(),
        "results": results.iter().map(|ran| json!({
            "name": ran.name,
            "passed": ran.problems.is_empty(),
            "ms": ran.took.as_millis() as u64,
            "problems": ran.problems.iter().flat_map(problems).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn problems(problem: &Problem) -> Vec<Value> {
    let one = |kind: &str| json!({ "kind": kind, "message": title(problem) });
    match problem {
        Problem::Broken(_) => vec![one("broken")],
        Problem::Unreadable(rendered) => vec![json!({ "kind": "broken", "message": rendered })],
        Problem::Mismatch(wrong) => vec![json!({
            "kind": "assertion",
            "rule": wrong.rule,
            "what": wrong.what,
            "expected": wrong.expected,
            "got": wrong.got,
        })],
        Problem::Differs(path, places) => {
            let path = shown(path);
            places
                .iter()
                .map(|place| {
                    json!({
                        "kind": "bundle",
                        "file": path,
                        "what": place.path,
                        "expected": side(place, Side::Expected),
                        "got": side(place, Side::Got),
                    })
                })
                .collect()
        }
        Problem::Invalid(issues) => issues
            .iter()
            .map(|issue| {
                json!({
                    "kind": "invalid",
                    "what": issue.expression,
                    "message": issue.message,
                })
            })
            .collect(),
    }
}

fn side(place: &Difference, side: Side) -> String {
    let of_side = |line: &&DiffLine| line.side == side;
    let lines = place.lines.iter().filter(of_side);
    let lines: Vec<&str> = lines.map(|line| line.text.as_str()).collect();
    lines.join("\n")
}
