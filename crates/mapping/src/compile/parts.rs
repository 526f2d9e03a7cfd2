//! Parts: runs of message-map lines that several message maps share. `use: NAME` is replaced by the part's lines before anything
//! else is read, so that every line keeps its own place in its own file.

use std::collections::BTreeMap;

use super::Compiler;
use super::layers::Documents;
use crate::diagnostic::{Code, closest};
use crate::vocabulary;
use crate::yaml::{Node, Value};

/// Most lines of one message map with its parts; parts that use parts could grow without bound.
const MAX_LINES: usize = 10_000;

impl Compiler {
    /// Checks the headers of all parts, and puts their lines where message maps use them.
    pub(super) fn parts(&mut self, documents: &mut Documents) {
        let parts = std::mem::take(&mut documents.parts);
        for (name, node) in &parts {
            self.part_header(name, node);
            let pairs = node.pairs().unwrap_or_default();
            self.part_files
                .extend(pairs.iter().map(|(key, _)| key.span.file));
        }
        for node in documents.messages.values_mut() {
            let mut splice = Splice {
                parts: &parts,
                compiler: self,
                within: Vec::new(),
                lines: 0,
                links: Vec::new(),
            };
            let Value::Map(pairs) = &mut node.value else {
                continue;
            };
            let span = pairs.first().map(|(key, _)| key.span).unwrap_or_default();
            if let Some((_, map)) = pairs.iter_mut().find(|(key, _)| key.text() == Some("map")) {
                splice.lines(map);
            }
            let links = splice.links;
            if links.is_empty() {
                continue;
            }
            match pairs.iter_mut().find(|(key, _)| key.text() == Some("link")) {
                Some((_, own)) => {
                    if let Value::Map(own) = &mut own.value {
                        add_links(own, links);
                    }
                }
                None => {
                    let mut own = Vec::new();
                    add_links(&mut own, links);
                    let key = Node {
                        span,
                        value: Value::Scalar {
                            text: "link".to_owned(),
                            quoted: false,
                        },
                    };
                    let value = Node {
                        span,
                        value: Value::Map(own),
                    };
                    pairs.push((key, value));
                }
            }
        }
        documents.parts = parts;
    }

    fn part_header(&mut self, name: &str, node: &Node) {
        let Some(pairs) = node.pairs() else {
            self.error(
                Code::Shape,
                node.span,
                "a part is a map of keys",
                format!("start with `part: {name}` and `map:`"),
            );
            return;
        };
        if node.get("part").is_none() {
            self.error(
                Code::Layout,
                node.span,
                "the file does not say which part it is",
                format!("start with `part: {name}`"),
            );
        }
        if node.get("map").is_none() && node.get("link").is_none() {
            self.error(
                Code::Shape,
                node.span,
                "the part has no lines",
                "write them under `map:`, as in a message map",
            );
        }
        for (key, value) in pairs {
            match key.text().unwrap_or_default() {
                "part" if value.text() != Some(name) => self.error(
                    Code::Layout,
                    value.span,
                    format!("this file is the part {name}"),
                    format!("write `part: {name}`, or rename the file"),
                ),
                other => self.known_key(key, other, &vocabulary::PART),
            }
        }
    }
}

/// The message's own key wins over a part's, an earlier part's over a later one's.
fn add_links(own: &mut Vec<(Node, Node)>, links: Vec<(Node, Node)>) {
    for (key, value) in links {
        if !own.iter().any(|(known, _)| known.text() == key.text()) {
            own.push((key, value));
        }
    }
}

/// One message map, while its parts are put in.
struct Splice<'p, 'c> {
    parts: &'p BTreeMap<String, Node>,
    compiler: &'c mut Compiler,
    /// The parts around the current line.
    within: Vec<String>,
    lines: usize,
    links: Vec<(Node, Node)>,
}

impl Splice<'_, '_> {
    /// Puts the parts into a list of lines, and into the groups in it.
    fn lines(&mut self, node: &mut Node) {
        if node.get("use").is_some() {
            // `map: { use: NAME }`: a lone line counts as a list of itself.
            node.value = Value::List(vec![node.clone()]);
        }
        let Value::List(members) = &mut node.value else {
            return;
        };
        for mut member in std::mem::take(members) {
            self.lines += 1;
            if let Some(name) = member.get("use").cloned() {
                members.extend(self.part(&member, &name));
                continue;
            }
            if let Value::Map(pairs) = &mut member.value {
                for (_, value) in pairs.iter_mut().filter(|(key, value)| {
                    let group = |text: &str| text.starts_with(|c: char| c.is_ascii_uppercase());
                    key.text().is_some_and(group) && matches!(value.value, Value::List(_))
                }) {
                    self.lines(value);
                }
            }
            members.push(member);
        }
    }

    /// The lines of the part that a `use:` names.
    fn part(&mut self, line: &Node, name: &Node) -> Vec<Node> {
        if let Some((key, _)) = line
            .pairs()
            .and_then(|pairs| pairs.iter().find(|(key, _)| key.text() != Some("use")))
        {
            self.compiler.error(
                Code::UnknownKey,
                key.span,
                format!("`use:` stands alone; it takes no `{}`", key.text().unwrap_or_default()),
                "write the condition or the `set` at the lines of the part, or do not use the part here",
            );
        }
        let Some(text) = self.compiler.text_of(name, "the name of a part") else {
            return Vec::new();
        };
        let text = text.to_owned();
        let Some(part) = self.parts.get(&text) else {
            let help = closest(&text, self.parts.keys().map(String::as_str)).map_or_else(
                || format!("make the file messages/parts/{text}.yaml"),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("there is no part `{text}`");
            self.compiler
                .error(Code::UnknownPart, name.span, message, help);
            return Vec::new();
        };
        if self.within.contains(&text) {
            let way = self.within.join("` uses `");
            self.compiler.error(
                Code::Circle,
                name.span,
                format!("the part `{way}` uses `{text}` again"),
                "break the circle: a part can't use itself, nor a part that uses it",
            );
            return Vec::new();
        }
        if self.lines > MAX_LINES {
            self.compiler.error(
                Code::Shape,
                name.span,
                "the message map has too many lines with its parts",
                "at most 10,000 are read: does a part use others that use others many times over?",
            );
            return Vec::new();
        }
        if let Some(links) = part.get("link").and_then(Node::pairs) {
            add_links(&mut self.links, links.to_vec());
        }
        let Some(mut map) = part.get("map").cloned() else {
            return Vec::new();
        };
        self.within.push(text);
        self.lines(&mut map);
        self.within.pop();
        match map.value {
            Value::List(lines) => lines,
            _ => vec![map],
        }
    }
}
