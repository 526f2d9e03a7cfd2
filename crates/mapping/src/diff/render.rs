//! Differences for people: on a terminal, and in a page that a review is held over.

use super::{
    Change, DiffReport, Example, FieldDiff, PathDiff, ResourceChange, ResourceDiff, RuleDiff,
};

/// How to print differences.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiffOptions {
    /// With the colours of a terminal.
    pub colour: bool,
}

/// For a terminal.
pub fn text(report: &DiffReport, options: &DiffOptions) -> String {
    let mut out = String::new();
    let bold = |text: &str| paint(options, "1", text);
    if report.is_empty() {
        return format!("{}: no differences\n", messages(report.messages));
    }
    out.push_str(&bold(&format!(
        "{} of {} differ\n",
        report.changed,
        messages(report.messages)
    )));
    if !report.resources.is_empty() {
        out.push_str(&bold("\nResources\n"));
    }
    for one in &report.resources {
        let (colour, words) = resource_words(one.change);
        let line = format!("{words} {}", one.what);
        out.push_str(&format!(
            "  {}  {}\n",
            paint(options, colour, &line),
            counted(one.messages, one.count)
        ));
        examples(&mut out, one.examples.iter().map(String::as_str));
    }
    for rule in &report.rules {
        out.push('\n');
        out.push_str(&bold(&rule_title(rule)));
        out.push('\n');
        for element in &rule.elements {
            let (colour, sign) = change_sign(element.change);
            let line = format!("{sign} {}", element.path);
            out.push_str(&format!(
                "  {}  {}\n",
                paint(options, colour, &line),
                counted(element.messages, element.count)
            ));
            let lines: Vec<String> = element.examples.iter().map(example_line).collect();
            examples(&mut out, lines.iter().map(String::as_str));
        }
    }
    let fields = [
        (
            "Fields that are no longer mapped",
            "31",
            &report.newly_unmapped,
        ),
        ("Fields that are mapped now", "32", &report.newly_mapped),
    ];
    for (title, colour, fields) in fields {
        if !fields.is_empty() {
            out.push_str(&bold(&format!("\n{title}\n")));
        }
        for field in fields {
            out.push_str(&format!(
                "  {}  {}\n",
                paint(options, colour, &field.field),
                messages(field.messages)
            ));
            examples(&mut out, field.examples.iter().map(String::as_str));
        }
    }
    out.push_str("\n+ appears  - vanishes  ~ changes\n");
    out
}

/// For a review: GitHub's kind of Markdown.
pub fn markdown(report: &DiffReport) -> String {
    let mut out = String::from("# What the new package changes\n\n");
    if report.is_empty() {
        out.push_str(&format!("Nothing, in {}.\n", messages(report.messages)));
        return out;
    }
    out.push_str(&format!(
        "{} of {} differ.\n",
        report.changed,
        messages(report.messages)
    ));
    if !report.resources.is_empty() {
        out.push_str("\n## Resources\n\n| What | Which | Messages | Times | For example |\n|---|---|--:|--:|---|\n");
    }
    for ResourceDiff {
        change,
        what,
        messages,
        count,
        examples,
    } in &report.resources
    {
        let (_, words) = resource_words(*change);
        let examples = codes(examples.iter().map(String::as_str));
        let what = cell(what);
        out.push_str(&format!(
            "| {words} | {what} | {messages} | {count} | {examples} |\n"
        ));
    }
    for rule in &report.rules {
        out.push_str(&format!(
            "\n## {}\n\n| Element | | Messages | Times | For example |\n|---|---|--:|--:|---|\n",
            cell(&rule_title(rule))
        ));
        for PathDiff {
            path,
            change,
            messages,
            count,
            examples,
        } in &rule.elements
        {
            let word = match change {
                Change::Appears => "appears",
                Change::Vanishes => "vanishes",
                Change::Changes => "changes",
            };
            let lines: Vec<String> = examples.iter().map(example_line).collect();
            let examples = codes(lines.iter().map(String::as_str));
            out.push_str(&format!(
                "| `{path}` | {word} | {messages} | {count} | {examples} |\n"
            ));
        }
    }
    let fields = [
        ("No longer mapped", &report.newly_unmapped),
        ("Mapped now", &report.newly_mapped),
    ];
    for (title, fields) in fields {
        if !fields.is_empty() {
            out.push_str(&format!(
                "\n## {title}\n\n| Field | Messages | For example |\n|---|--:|---|\n"
            ));
        }
        for FieldDiff {
            field,
            messages,
            examples,
        } in fields
        {
            let examples = codes(examples.iter().map(String::as_str));
            out.push_str(&format!("| {field} | {messages} | {examples} |\n"));
        }
    }
    out
}

fn paint(options: &DiffOptions, colour: &str, text: &str) -> String {
    if options.colour {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn examples<'e>(out: &mut String, lines: impl Iterator<Item = &'e str>) {
    for line in lines {
        out.push_str("      ");
        out.push_str(line);
        out.push('\n');
    }
}

fn example_line(example: &Example) -> String {
    let start = format!("{} {}", example.message, example.place);
    let shown = |value: &str| format!("{value:?}");
    match (&example.old, &example.new) {
        (None, None) => start,
        (Some(old), None) => format!("{start} {}", shown(old)),
        (None, Some(new)) => format!("{start} {}", shown(new)),
        (Some(old), Some(new)) => format!("{start} {} -> {}", shown(old), shown(new)),
    }
}

fn rule_title(rule: &RuleDiff) -> String {
    match (&rule.old, &rule.new) {
        (Some(old), Some(new)) if old == new => new.clone(),
        (Some(old), Some(new)) => format!("{old} -> {new}"),
        (Some(old), None) => format!("{old} (old)"),
        (None, Some(new)) => format!("{new} (new)"),
        (None, None) => "Made of what identifies a resource".to_owned(),
    }
}

fn change_sign(change: Change) -> (&'static str, &'static str) {
    match change {
        Change::Appears => ("32", "+"),
        Change::Vanishes => ("31", "-"),
        Change::Changes => ("33", "~"),
    }
}

fn resource_words(change: ResourceChange) -> (&'static str, &'static str) {
    match change {
        ResourceChange::Appears => ("32", "appears:"),
        ResourceChange::Vanishes => ("31", "vanishes:"),
        ResourceChange::Identity => ("31", "has another id:"),
        ResourceChange::Write => ("33", "is written otherwise:"),
        ResourceChange::Condition => ("31", "is found by another identifier:"),
        ResourceChange::Fails => ("31", "message fails:"),
        ResourceChange::Converts => ("32", "message converts, no longer:"),
    }
}

fn messages(count: usize) -> String {
    match count {
        1 => "1 message".to_owned(),
        many => format!("{many} messages"),
    }
}

fn counted(of: usize, count: usize) -> String {
    match count == of {
        true => messages(of),
        false => format!("{}, {count} times", messages(of)),
    }
}

/// A cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Texts as code, in one cell.
fn codes<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let code = |text: &str| {
        let ticks = "`".repeat(longest_ticks(text) + 1);
        let pad = if ticks.len() > 1 { " " } else { "" };
        format!("{ticks}{pad}{}{pad}{ticks}", cell(text))
    };
    texts.map(code).collect::<Vec<_>>().join("<br>")
}

fn longest_ticks(text: &str) -> usize {
    let runs = text.split(|c| c != '`').map(str::len);
    runs.max().unwrap_or(0)
}
