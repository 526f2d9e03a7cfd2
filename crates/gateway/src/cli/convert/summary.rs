//! `convert --summary`: what many reports say together, by place and message map. Counts and places, nothing of the content.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use clap::ValueEnum;
use mapping::Report;
use serde_json::{Value, json};

use super::super::{Failure, output};
use crate::convert::{ConvertFailure, Converted};

/// How to print the summary.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum Form {
    /// For people, the largest groups
    #[default]
    Text,
    /// Tables for a page, the largest groups
    Markdown,
    /// One JSON document with all groups
    Json,
}

/// Groups that a person is shown of each kind.
const SHOWN: usize = 40;

/// What one message adds.
#[derive(Debug, Default)]
pub(super) struct Part {
    converted: bool,
    message_map: String,
    fallback: bool,
    unmapped: Vec<String>,
    ignored: Vec<(String, u64)>,
    issues: Vec<(String, u64)>,
    misses: Vec<(String, u64)>,
}

/// How often something was, and where.
#[derive(Debug, Default)]
struct Group {
    messages: u64,
    times: u64,
    maps: BTreeSet<String>,
}

/// What all messages say together.
#[derive(Debug, Default)]
pub(super) struct Summary {
    messages: u64,
    failed: u64,
    by_any: u64,
    with_unmapped: u64,
    unmapped: BTreeMap<String, Group>,
    ignored: BTreeMap<String, Group>,
    issues: BTreeMap<String, Group>,
    misses: BTreeMap<String, Group>,
}

// === impl Part ===

impl Part {
    pub(super) fn of(result: &Result<Converted, ConvertFailure>) -> Part {
        match result {
            Ok(converted) => Part::of_report(&converted.report),
            Err(_) => Part::default(),
        }
    }

    fn of_report(report: &Report) -> Part {
        let one = |text: String| (text, 1);
        Part {
            converted: true,
            message_map: report.message_map.clone(),
            fallback: report.fallback,
            unmapped: report
                .unmapped
                .iter()
                .map(|place| without_occurrences(&place.to_string()))
                .collect(),
            ignored: report
                .ignored
                .iter()
                .map(|ignored| (ignored.why.to_string(), u64::from(ignored.count)))
                .collect(),
            issues: report
                .issues
                .iter()
                .map(|issue| {
                    let place = issue.place.as_ref().map(ToString::to_string);
                    let place = without_occurrences(&place.unwrap_or_default());
                    one(format!("{} {place}", issue.code).trim_end().to_owned())
                })
                .collect(),
            misses: report
                .code_misses
                .iter()
                .map(|miss| {
                    let place = without_occurrences(&miss.place.to_string());
                    one(format!("{} {place}", miss.table))
                })
                .collect(),
        }
    }
}

/// `OBX-5.2` of `OBX(3)-5(2).2`.
fn without_occurrences(place: &str) -> String {
    let mut inside = false;
    place
        .chars()
        .filter(|character| {
            inside |= *character == '(';
            let kept = !inside;
            inside &= *character != ')';
            kept
        })
        .collect()
}

// === impl Summary ===

impl Summary {
    pub(super) fn add(&mut self, part: Part) {
        self.messages += 1;
        if !part.converted {
            self.failed += 1;
            return;
        }
        self.by_any += u64::from(part.fallback);
        self.with_unmapped += u64::from(!part.unmapped.is_empty());
        let unmapped = part.unmapped.into_iter().map(|place| (place, 1));
        count(&mut self.unmapped, unmapped, &part.message_map);
        count(&mut self.ignored, part.ignored, &part.message_map);
        count(&mut self.issues, part.issues, &part.message_map);
        count(&mut self.misses, part.misses, &part.message_map);
    }

    /// Writes it to standard output.
    ///
    /// # Errors
    /// As [`output::print`].
    pub(super) fn print(&self, form: Form) -> Result<(), Failure> {
        match form {
            Form::Text => output::print(&self.text()),
            Form::Markdown => output::print(&self.markdown()),
            Form::Json => output::print_json(&self.json()),
        }
    }

    fn kinds(&self) -> [(&'static str, &'static str, &BTreeMap<String, Group>); 4] {
        [
            ("unmapped", "Unmapped, by place", &self.unmapped),
            (
                "ignored",
                "Left out on purpose, by reason or field",
                &self.ignored,
            ),
            ("issues", "Issues, by code and place", &self.issues),
            (
                "code_misses",
                "Codes that a table does not list, by table and place",
                &self.misses,
            ),
        ]
    }

    fn head(&self) -> String {
        format!(
            "{} messages; {} could not be converted, {} went by any.yaml, {} have something unmapped ({} places)",
            self.messages,
            self.failed,
            self.by_any,
            self.with_unmapped,
            times(&self.unmapped),
        )
    }

    fn text(&self) -> String {
        let mut out = self.head() + "\n";
        for (_, title, groups) in self.kinds() {
            if groups.is_empty() {
                continue;
            }
            let _ = writeln!(
                out,
                "\n{title}: {} groups\n messages    times",
                groups.len()
            );
            let sorted = sorted(groups);
            for (name, group) in sorted.iter().take(SHOWN) {
                let maps = maps(group);
                let _ = writeln!(
                    out,
                    "{:9} {:8}  {name}  ({maps})",
                    group.messages, group.times
                );
            }
            if let Some(more) = sorted.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                let _ = writeln!(out, "  and {more} more; --summary=json has all");
            }
        }
        out
    }

    fn markdown(&self) -> String {
        let mut out = self.head() + ".\n";
        for (_, title, groups) in self.kinds() {
            if groups.is_empty() {
                continue;
            }
            let _ = writeln!(
                out,
                "\n**{title}** ({} groups)\n\n| what | messages | times | in |\n|---|---:|---:|---|",
                groups.len()
            );
            for (name, group) in sorted(groups).iter().take(SHOWN) {
                let (messages, times) = (group.messages, group.times);
                let _ = writeln!(out, "| {name} | {messages} | {times} | {} |", maps(group));
            }
        }
        out
    }

    fn json(&self) -> Value {
        let mut document = json!({
            "messages": self.messages,
            "failed": self.failed,
            "by_any": self.by_any,
            "with_unmapped": self.with_unmapped,
        });
        if let Value::Object(members) = &mut document {
            for (key, _, groups) in self.kinds() {
                let list = sorted(groups).into_iter().map(|(name, group)| {
                    json!({ "what": name, "messages": group.messages, "times": group.times, "message_maps": group.maps })
                });
                members.insert(key.to_owned(), list.collect());
            }
        }
        document
    }
}

fn count(
    groups: &mut BTreeMap<String, Group>,
    found: impl IntoIterator<Item = (String, u64)>,
    message_map: &str,
) {
    let mut of_message: BTreeMap<String, u64> = BTreeMap::new();
    for (name, times) in found {
        *of_message.entry(name).or_default() += times;
    }
    for (name, times) in of_message {
        let group = groups.entry(name).or_default();
        group.messages += 1;
        group.times += times;
        if !group.maps.contains(message_map) {
            group.maps.insert(message_map.to_owned());
        }
    }
}

fn times(groups: &BTreeMap<String, Group>) -> u64 {
    groups.values().map(|group| group.times).sum()
}

/// The largest first.
fn sorted(groups: &BTreeMap<String, Group>) -> Vec<(&String, &Group)> {
    let mut list: Vec<_> = groups.iter().collect();
    list.sort_by_key(|(_, group)| std::cmp::Reverse((group.messages, group.times)));
    list
}

/// Message maps it was in, the first few.
fn maps(group: &Group) -> String {
    let mut names: Vec<&str> = group.maps.iter().take(6).map(String::as_str).collect();
    if group.maps.len() > names.len() {
        names.push("...");
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lose_their_occurrences() {
        for (place, expected) in [
            ("OBX(3)-5(2).2", "OBX-5.2"),
            ("PID-5", "PID-5"),
            ("ZXX(12)", "ZXX"),
        ] {
            assert_eq!(without_occurrences(place), expected);
        }
    }

    #[test]
    fn groups_count_messages_and_times() {
        let part = |map: &str, unmapped: &[&str]| Part {
            converted: true,
            message_map: map.to_owned(),
            unmapped: unmapped.iter().map(|place| (*place).to_owned()).collect(),
            ..Part::default()
        };
        let mut summary = Summary::default();
        summary.add(part("ORU_R01", &["OBX-9", "OBX-9", "PV1-39"]));
        summary.add(part("ADT_A01", &["PV1-39"]));
        summary.add(part("ADT_A01", &[]));
        summary.add(Part::default());
        let json = summary.json();
        assert_eq!(
            (&json["messages"], &json["failed"], &json["with_unmapped"]),
            (&json!(4), &json!(1), &json!(2))
        );
        assert_eq!(
            json["unmapped"],
            json!([
                { "what": "PV1-39", "messages": 2, "times": 2, "message_maps": ["ADT_A01", "ORU_R01"] },
                { "what": "OBX-9", "messages": 1, "times": 2, "message_maps": ["ORU_R01"] },
            ])
        );
        assert!(
            summary
                .text()
                .contains("2 have something unmapped (4 places)")
        );
        assert!(
            summary
                .markdown()
                .contains("| PV1-39 | 2 | 2 | ADT_A01, ORU_R01 |")
        );
    }
}
