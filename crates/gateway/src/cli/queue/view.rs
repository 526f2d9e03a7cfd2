//! Answers of the queue as a person reads them.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use super::Command;
use crate::cli::output;

/// The answer to a command as text.
pub(super) fn text(command: &Command, answer: &Value) -> String {
    match command {
        Command::Status { .. } => status(answer),
        Command::List { .. } | Command::DeadLetters { .. } => list(answer),
        Command::Show { .. } => show(answer),
        Command::Replay { dry_run, .. } => replayed(answer, *dry_run),
        Command::Check { .. } => checked(answer),
        Command::Audit { .. } => audit(answer),
        _ => plain(answer),
    }
}

const COUNTS: [&str; 9] = [
    "accepted",
    "queued",
    "waiting",
    "leased",
    "retrying",
    "parked",
    "delivered",
    "dead",
    "filtered",
];

fn status(answer: &Value) -> String {
    let mut heading = vec!["destination".to_owned()];
    heading.extend(COUNTS.map(str::to_owned));
    heading.push("oldest".to_owned());
    let mut rows = vec![heading];
    let row = |name: &str, at: &Value| {
        let mut row = vec![name.to_owned()];
        row.extend(COUNTS.map(|key| cell(at, key)));
        row.push(
            at.get("oldest_age_ms")
                .and_then(Value::as_u64)
                .map(age)
                .unwrap_or_default(),
        );
        row
    };
    for (name, at) in answer
        .get("destinations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        rows.push(row(name, at));
    }
    rows.push(row("total", answer.get("total").unwrap_or(&Value::Null)));
    let mut text = output::table(&rows);
    for (name, at) in answer
        .get("destinations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if let Some(reason) = at.get("paused").and_then(Value::as_str) {
            let _ = writeln!(text, "{name} is paused: {reason}");
        }
    }
    for hold in answer
        .get("holds")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let _ = writeln!(text, "hold {}", held(hold));
    }
    if answer.get("stopped") == Some(&Value::Bool(true)) {
        text.push_str(
            "the queue has stopped after a storage failure: check the disk, then restart\n",
        );
    }
    match answer.get("mismatch").and_then(Value::as_u64) {
        Some(0) | None => text.push_str("the sums are right\n"),
        Some(by) => {
            let _ = writeln!(
                text,
                "THE SUMS ARE WRONG by {by}: run `fhirway queue check`"
            );
        }
    }
    text
}

fn list(answer: &Value) -> String {
    let mut rows = vec![
        [
            "record",
            "received",
            "destination",
            "state",
            "attempts",
            "type",
            "reason",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for line in answer.as_array().into_iter().flatten() {
        let received = line
            .get("received_at_ms")
            .and_then(Value::as_i64)
            .map(clock)
            .unwrap_or_default();
        let kind = line
            .get("attributes")
            .map(|attributes| cell(attributes, "message_type"))
            .unwrap_or_default();
        rows.push(vec![
            cell(line, "record"),
            received,
            cell(line, "destination"),
            cell(line, "state"),
            cell(line, "attempts"),
            kind,
            cell(line, "reason"),
        ]);
    }
    if rows.len() == 1 {
        "nothing matches\n".to_owned()
    } else {
        output::table(&rows)
    }
}

fn show(answer: &Value) -> String {
    let mut text = String::new();
    for (key, value) in answer.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("payload" | "deliveries", _) | (_, Value::Null) => {}
            ("received_at_ms" | "stored_at_ms", value) => {
                let name = key.trim_end_matches("_ms");
                let _ = writeln!(
                    text,
                    "{name:<16} {}",
                    value.as_i64().map(clock).unwrap_or_default()
                );
            }
            (_, Value::Object(map)) => {
                for (name, value) in map {
                    let _ = writeln!(text, "{name:<16} {}", bare(value));
                }
            }
            _ => {
                let _ = writeln!(text, "{key:<16} {}", bare(value));
            }
        }
    }
    for delivery in answer
        .get("deliveries")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let _ = write!(
            text,
            "\n{}: {}, {} attempts",
            cell(delivery, "destination"),
            cell(delivery, "state"),
            cell(delivery, "attempts")
        );
        for key in ["reason", "detail"] {
            let value = cell(delivery, key);
            if !value.is_empty() {
                let _ = write!(text, "\n  {key}: {}", value.replace('\n', "\n          "));
            }
        }
        text.push('\n');
    }
    if let Some(payload) = answer.get("payload").and_then(Value::as_str) {
        let _ = writeln!(
            text,
            "\n{}",
            payload.replace("\r\n", "\n").replace('\r', "\n").trim_end()
        );
    }
    text
}

fn replayed(answer: &Value, dry_run: bool) -> String {
    let mut text = format!(
        "{} {}, {} still on the way\n",
        cell(answer, "matched"),
        if dry_run {
            "would be delivered again"
        } else {
            "are delivered again"
        },
        cell(answer, "open")
    );
    if let Some(next) = answer.get("next").and_then(Value::as_i64) {
        let _ = writeln!(text, "there may be more: go on with --after {next}");
    }
    text
}

/// `3: destination fhir, 1 key: smoke test first`.
fn held(hold: &Value) -> String {
    let mut about = Vec::new();
    for (key, name) in [
        ("destination", "destination"),
        ("listener", "listener"),
        ("message_type", "type"),
    ] {
        let value = cell(hold, key);
        if !value.is_empty() {
            about.push(format!("{name} {value}"));
        }
    }
    match hold.get("keys").and_then(Value::as_u64) {
        Some(0) | None => {}
        Some(1) => about.push("1 ordering key".to_owned()),
        Some(keys) => about.push(format!("{keys} ordering keys")),
    }
    format!(
        "{}: {}: {}",
        cell(hold, "id"),
        about.join(", "),
        cell(hold, "reason")
    )
}

fn checked(answer: &Value) -> String {
    let mut text = format!(
        "{} records and {} deliveries counted\n",
        cell(answer, "records"),
        cell(answer, "deliveries")
    );
    let list = |key: &str| {
        answer
            .get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    for fault in list("faults") {
        let _ = writeln!(text, "wrong: {}", bare(&fault));
    }
    let _ = writeln!(text, "corrupt: {}", cell(answer, "corrupt"));
    let quarantined = list("quarantined");
    if !quarantined.is_empty() {
        let numbers: Vec<String> = quarantined.iter().map(bare).collect();
        let _ = writeln!(
            text,
            "quarantined (dead letters with the reason corrupt, kept for whoever can mend them): {}",
            numbers.join(", ")
        );
    }
    if list("faults").is_empty() {
        text.push_str("nothing is wrong\n");
    } else {
        text.push_str(
            "damaged records become dead letters when their turn comes, the others go on; a backup has them whole\n",
        );
    }
    text
}

fn audit(answer: &Value) -> String {
    let mut rows = vec![
        ["number", "when", "who", "action", "what"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for entry in answer.as_array().into_iter().flatten() {
        let at = entry.get("at_ms").and_then(Value::as_i64);
        rows.push(vec![
            cell(entry, "id"),
            at.map(clock).unwrap_or_default(),
            cell(entry, "who"),
            cell(entry, "action"),
            cell(entry, "detail"),
        ]);
    }
    output::table(&rows)
}

/// What became of a corrected message.
pub(super) fn edited(answer: &Value) -> String {
    format!(
        "record {} is on its way in place of record {}\n",
        cell(answer, "record"),
        cell(answer, "edited")
    )
}

/// `key: value` for small answers.
fn plain(answer: &Value) -> String {
    let mut text = String::new();
    for (key, value) in answer.as_object().into_iter().flatten() {
        let _ = writeln!(text, "{key}: {}", bare(value));
    }
    text
}

fn cell(value: &Value, key: &str) -> String {
    value.get(key).map(bare).unwrap_or_default()
}

fn bare(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Date and time in UTC.
fn clock(millis: i64) -> String {
    let moment = Timestamp::from_millisecond(millis).unwrap_or_default();
    moment
        .to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%SZ")
        .to_string()
}

/// `3m 20s`, the two largest units.
fn age(millis: u64) -> String {
    let seconds = millis / 1000;
    let parts = [
        (seconds / 86400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> = parts
        .iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if shown.is_empty() {
        "0s".to_owned()
    } else {
        shown.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        assert_eq!(age(200_000), "3m 20s");
        assert_eq!(age(90_061_000), "1d 1h");
        assert_eq!(age(5), "0s");
    }
}
