//! Writing to the terminal: colours only there, and a closed pipe is an end, not a panic.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Failure;

/// Whether standard error may have colours and moving bars.
pub(crate) fn lively() -> bool {
    io::stderr().is_terminal() && colours()
}

/// Whether standard output may have colours.
pub(crate) fn colourful() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether the environment wants colours; whether there is a terminal is another question.
pub(crate) fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How many columns standard output has, when it is a terminal.
pub(crate) fn width() -> Option<usize> {
    let (columns, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(columns.0))
}

/// Clears the screen, where there is one.
///
/// # Errors
/// As [`print`].
pub(crate) fn clear() -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        // The screen, what has scrolled off it, and the cursor to its corner.
        return print("\x1b[2J\x1b[3J\x1b[H");
    }
    Ok(())
}

/// Writes text to standard output.
///
/// # Errors
/// [`Failure::OutputClosed`] when nobody reads it any more.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| closed_or(&error))
}

/// Writes JSON to standard output, for people when it is a terminal.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    print(&(text.map_err(|error| Failure::run(&error))? + "\n"))
}

/// What a write error to an output means.
pub(crate) fn closed_or(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::OutputClosed
    } else {
        Failure::Run(format!("cannot write the output: {error}"))
    }
}

/// `error: ...` on standard error.
pub(crate) fn complain(why: &str) {
    let (on, off) = if lively() {
        ("\x1b[1;31m", "\x1b[0m")
    } else {
        ("", "")
    };
    error_text(&format!("{on}error{off}: {why}\n"));
}

/// Text on standard error, as it is; a closed one is not our problem.
pub(crate) fn error_text(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A progress bar on standard error: visible on a terminal (and when `wanted`), silent elsewhere.
pub(crate) fn progress(length: Option<u64>, unit: &str, wanted: bool) -> ProgressBar {
    let target = if wanted && io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(length, target);
    let template = match length {
        Some(_) => {
            format!("{{wide_bar}} {{human_pos}}/{{human_len}} {unit}  {{per_sec}}  {{eta}} left")
        }
        None => format!("{{spinner}} {{human_pos}} {unit}  {{per_sec}}  {{elapsed}}"),
    };
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// A line on standard error that is written over and over; silent where that is no terminal.
pub(crate) fn counter() -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Columns with the widest cell deciding; the first row is the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width.saturating_sub(cell.chars().count()) + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
