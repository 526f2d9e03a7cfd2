//! Writes a document as YAML in the style of the mapping files: what stood on one line stays on one line.

use crate::yaml::{Node, Span, Value};

/// What is longer is written in block style.
const WIDTH: usize = 120;

/// The lines of a document, each with the place of its first word.
pub(super) fn lines(node: &Node) -> Vec<(String, Span)> {
    let mut out = Vec::new();
    match &node.value {
        Value::Scalar { .. } => out.push((scalar(node, false), node.span)),
        _ => block(node, 0, String::new(), &mut out),
    }
    out
}

/// A list or a map in block style; `start` is what already stands on the first line.
fn block(node: &Node, indent: usize, start: String, out: &mut Vec<(String, Span)>) {
    let mut start = Some(start).filter(|start| !start.is_empty());
    let mut before = || start.take().unwrap_or_else(|| " ".repeat(indent));
    match &node.value {
        Value::Map(pairs) => {
            for (key, value) in pairs {
                let head = format!("{}{}:", before(), scalar(key, false));
                entry(head, value, key.span, indent, out);
            }
        }
        Value::List(members) => {
            for member in members {
                let dash = format!("{}-", before());
                match flat(member).filter(|text| fits(text, indent)) {
                    Some(text) if !is_small(member) => {
                        out.push((format!("{dash} {text}"), member.span))
                    }
                    _ => block(member, indent + 2, format!("{dash} "), out),
                }
            }
        }
        Value::Scalar { .. } => {
            out.push((format!("{}{}", before(), scalar(node, false)), node.span))
        }
    }
}

/// A key with its value, on one line if it stood on one.
fn entry(head: String, value: &Node, span: Span, indent: usize, out: &mut Vec<(String, Span)>) {
    match &value.value {
        Value::Scalar { .. } => out.push((format!("{head} {}", scalar(value, false)), span)),
        Value::List(members) if members.is_empty() => out.push((format!("{head} []"), span)),
        Value::Map(pairs) if pairs.is_empty() => out.push((format!("{head} {{}}"), span)),
        _ => match flat(value).filter(|text| same_line(span, value.span) && fits(text, head.len()))
        {
            Some(text) => out.push((format!("{head} {text}"), span)),
            None => {
                out.push((head, span));
                block(value, indent + 2, String::new(), out);
            }
        },
    }
}

fn fits(text: &str, before: usize) -> bool {
    text.chars().count() + before <= WIDTH
}

fn same_line(one: Span, other: Span) -> bool {
    (one.file, one.line) == (other.file, other.line)
}

/// `- PID: PID/Patient` needs no braces.
fn is_small(node: &Node) -> bool {
    node.pairs().is_some_and(|pairs| pairs.len() == 1)
        && node
            .pairs()
            .iter()
            .flat_map(|pairs| pairs.iter())
            .all(|(_, value)| value.text().is_some())
}

/// The node in flow style, if all of it stood on one line.
fn flat(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar { .. } => Some(scalar(node, true)),
        Value::List(members) => {
            let members = members
                .iter()
                .map(|member| flat(member).filter(|_| same_line(member.span, node.span)));
            let members = members.collect::<Option<Vec<_>>>()?;
            Some(match members.as_slice() {
                [] => "[]".to_owned(),
                members if members.iter().any(|member| member.starts_with('{')) => {
                    format!("[ {} ]", members.join(", "))
                }
                members => format!("[{}]", members.join(", ")),
            })
        }
        Value::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| {
                let here = same_line(key.span, node.span) && same_line(value.span, node.span);
                let value = flat(value).filter(|_| here)?;
                Some(format!("{}: {value}", scalar(key, true)))
            });
            let pairs = pairs.collect::<Option<Vec<_>>>()?;
            Some(if pairs.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", pairs.join(", "))
            })
        }
    }
}

/// A text, in quotes if it stood in quotes or would be something else without.
fn scalar(node: &Node, flow: bool) -> String {
    let Value::Scalar { text, quoted } = &node.value else {
        return String::new();
    };
    if !quoted && (is_plain(text, flow) || text.is_empty()) {
        return if text.is_empty() {
            "~".to_owned()
        } else {
            text.clone()
        };
    }
    quote(text)
}

/// Text in double quotes, on one line.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether YAML reads the text as itself without quotes.
pub(crate) fn is_plain(text: &str, flow: bool) -> bool {
    let starts = text.starts_with(|c: char| c.is_alphanumeric() || "_./(<+^$".contains(c))
        || text.starts_with("urn:")
        || text == "~";
    starts
        && text.trim() == text
        && !text.ends_with(':')
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.chars().any(char::is_control)
        && !(flow && text.contains([',', '[', ']', '{', '}']))
        && !(flow && text.contains(':') && text.contains('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    /// The texts of a document, without places.
    fn texts(node: &Node) -> String {
        match &node.value {
            Value::Scalar { text, quoted } => format!("{text:?}{quoted}"),
            Value::List(members) => format!("{:?}", members.iter().map(texts).collect::<Vec<_>>()),
            Value::Map(pairs) => {
                let pairs = pairs
                    .iter()
                    .map(|(key, value)| format!("{}={}", texts(key), texts(value)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in [
            "a: 1\nb: [ x, { c: d, e: \"f, g\" } ]\n",
            "map:\n  - PID: PID/Patient as patient\n    write: create\n  - G:\n      - NTE after PID: NTE/Patient into patient\n",
            "a: \"{{PID-5}}\"\nb: { is: \"x\\ny\\\\ \\\"\", when: 'PID-5 = \"a b\"' }\n",
            "long: >-\n  one two\n  three\nnull: ~\nc: [ \"on\", off, 'it''s' ]\n",
            "codes:\n  \"A: b\": x\n  \"#\": y\n  \"- z\": { code: \"*\", system: \"urn:x:y\" }\n",
            "list:\n  - - a\n    - b\n",
            "url: http://x.example/a#b\nt: a#b\n",
        ] {
            let one = parse(0, text).unwrap();
            let written: Vec<String> = lines(&one).into_iter().map(|(line, _)| line).collect();
            let again = parse(0, &written.join("\n"))
                .unwrap_or_else(|problem| panic!("{}\n{}", problem.message, written.join("\n")));
            assert_eq!(texts(&one), texts(&again), "{}", written.join("\n"));
        }
    }
}
