//! YAML with positions: every scalar stays the text that was written (`0123` stays `0123`), every node knows where it stands.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as YamlSpan};

use crate::diagnostic::{Code, Diagnostic, Part};

/// Where something stands in a package: file number, line and column (both from 1), and how many characters it spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub file: u16,
    pub line: u32,
    pub column: u32,
    pub length: u32,
}

/// A YAML node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// The text; `quoted` tells `"5"` from `5`.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// Deeper nesting than this is refused.
const MAX_DEPTH: usize = 64;
/// More nodes in one file than this are refused.
const MAX_NODES: usize = 200_000;

impl Node {
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    pub fn pairs(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            Value::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.pairs()?
            .iter()
            .find(|(k, _)| k.text() == Some(key))
            .map(|(_, value)| value)
    }

    /// The members of a list; a lone node counts as a list of itself.
    pub fn members(&self) -> &[Node] {
        match &self.value {
            Value::List(nodes) => nodes,
            _ => std::slice::from_ref(self),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false } if text.is_empty() || text == "~" || text == "null")
    }

    /// What the node is, in the words of a diagnostic.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map of keys",
        }
    }
}

/// Reads one file. A file that is not YAML, or that has duplicate keys, anchors or several documents, is one diagnostic.
pub(crate) fn parse(file: u16, text: &str) -> Result<Node, Diagnostic> {
    let mut reader = Reader {
        file,
        parser: Parser::new_from_str(text),
        nodes: 0,
        depth: 0,
    };
    let result = reader.document();
    result.map_err(|problem| *problem)
}

struct Reader<'t> {
    file: u16,
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    nodes: usize,
    depth: usize,
}

type Problem = Box<Diagnostic>;

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Node, Problem> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                Event::StreamEnd | Event::DocumentEnd => {
                    return Err(self.problem(
                        span,
                        "the file is empty",
                        "a mapping file starts with a line such as `segment: PID`",
                    ));
                }
                event => {
                    let node = self.node(event, span)?;
                    return self.end(node);
                }
            }
        }
    }

    fn end(&mut self, node: Node) -> Result<Node, Problem> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(node),
                Event::DocumentEnd | Event::Nothing => {}
                _ => {
                    return Err(self.problem(
                        span,
                        "a second document starts here",
                        "a mapping file holds one document: remove the `---`",
                    ));
                }
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: YamlSpan) -> Result<Node, Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES || self.depth > MAX_DEPTH {
            return Err(self.problem(
                span,
                "the file is too large or nested too deeply",
                "split it: at most 200,000 values and 64 levels are read",
            ));
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                self.refuse_anchor(anchor, span)?;
                Ok(Node {
                    span: self.span(span),
                    value: Value::Scalar {
                        text: text.into_owned(),
                        quoted: style != ScalarStyle::Plain,
                    },
                })
            }
            Event::SequenceStart(anchor, _) => {
                self.refuse_anchor(anchor, span)?;
                self.depth += 1;
                let mut nodes = Vec::new();
                loop {
                    let (event, at) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    nodes.push(self.node(event, at)?);
                }
                self.depth -= 1;
                Ok(Node {
                    span: self.span(span),
                    value: Value::List(nodes),
                })
            }
            Event::MappingStart(anchor, _) => {
                self.refuse_anchor(anchor, span)?;
                self.depth += 1;
                let mut pairs: Vec<(Node, Node)> = Vec::new();
                let mut seen = HashSet::new();
                loop {
                    let (event, at) = self.next()?;
                    if matches!(event, Event::MappingEnd) {
                        break;
                    }
                    let key = self.node(event, at)?;
                    let Some(name) = key.text() else {
                        return Err(self.problem(
                            at,
                            "a key must be a text",
                            "write `name: value`; quote a text that starts with `{` or `[`",
                        ));
                    };
                    if !seen.insert(name.to_owned()) {
                        let message = format!("`{name}` stands twice in this map");
                        return Err(self.problem(
                            at,
                            &message,
                            "keep one of them; an element with several rules takes a list",
                        ));
                    }
                    let (event, at) = self.next()?;
                    let value = self.node(event, at)?;
                    pairs.push((key, value));
                }
                self.depth -= 1;
                Ok(Node {
                    span: self.span(span),
                    value: Value::Map(pairs),
                })
            }
            Event::Alias(_) => Err(self.problem(
                span,
                "an alias (`*name`) can't be used here",
                "write the rule out, or put it into a map of its own and use that",
            )),
            _ => Err(self.problem(
                span,
                "something is missing here",
                "write a value behind the colon",
            )),
        }
    }

    fn refuse_anchor(&self, anchor: usize, span: YamlSpan) -> Result<(), Problem> {
        if anchor == 0 {
            return Ok(());
        }
        Err(self.problem(
            span,
            "an anchor (`&name`) can't be used here",
            "put what is shared into a map of its own and use that",
        ))
    }

    fn next(&mut self) -> Result<(Event<'t>, YamlSpan), Problem> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let marker = *error.marker();
                let span = Span {
                    file: self.file,
                    line: number(marker.line()),
                    column: number(marker.col()).saturating_add(1),
                    length: 1,
                };
                Err(Box::new(
                    Diagnostic::error(Code::Yaml, span, format!("this is not YAML: {}", error.info()))
                        .help("check the indentation, and quote a text that has `: `, `{{`, `#` or starts with `*`, `&`, `!`, `%`, `@`"),
                ))
            }
            None => Err(Box::new(Diagnostic::error(
                Code::Yaml,
                Span {
                    file: self.file,
                    line: 1,
                    column: 1,
                    length: 1,
                },
                "the file ends too early",
            ))),
        }
    }

    fn problem(&self, span: YamlSpan, message: &str, help: &str) -> Problem {
        Box::new(Diagnostic::error(Code::Yaml, self.span(span), message).help(help))
    }

    fn span(&self, span: YamlSpan) -> Span {
        let length = if span.start.line() == span.end.line() {
            span.end.col().saturating_sub(span.start.col()).max(1)
        } else {
            1
        };
        Span {
            file: self.file,
            line: number(span.start.line()),
            column: number(span.start.col()).saturating_add(1),
            length: number(length),
        }
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Where a part of a scalar's text stands in the file: what is written has quotes, escapes and line breaks besides.
pub(crate) fn within(source: &str, scalar: Span, part: &Part) -> Span {
    let start = crate::diagnostic::offset(source, scalar.line, scalar.column);
    let mut rest = Written {
        text: source.get(start..).unwrap_or_default(),
        line: scalar.line,
        column: scalar.column,
        quote: None,
    };
    rest.enter();
    for c in part.before.chars() {
        rest.pass(c);
    }
    if !part.at_end {
        rest.blanks();
    }
    Span {
        line: rest.line,
        column: rest.column,
        length: part.length.max(1),
        ..scalar
    }
}

/// The source from a scalar on, and how it is quoted.
struct Written<'t> {
    text: &'t str,
    line: u32,
    column: u32,
    quote: Option<char>,
}

impl Written<'_> {
    /// Steps over the opening quote, or over the mark of a block and the rest of its line.
    fn enter(&mut self) {
        match self.text.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                self.quote = Some(quote);
                self.step();
            }
            Some('|' | '>') => while self.step().is_some_and(|c| c != '\n') {},
            _ => {}
        }
    }

    /// Steps over one character of the text, however it is written.
    fn pass(&mut self, c: char) {
        if c.is_whitespace() {
            self.blanks();
            return;
        }
        self.blanks();
        let escaped = match self.quote {
            Some('"') => self.text.starts_with('\\'),
            Some(_) => self.text.starts_with("''"),
            None => false,
        };
        if escaped {
            self.step();
        }
        self.step();
    }

    fn blanks(&mut self) {
        while self.text.starts_with(char::is_whitespace) {
            self.step();
        }
    }

    fn step(&mut self) -> Option<char> {
        let mut chars = self.text.chars();
        let c = chars.next()?;
        self.text = chars.as_str();
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_stay_as_written() {
        let node = parse(0, "a: 0123\nb: [1.10, yes, \"x\"]\n").unwrap();
        assert_eq!(node.get("a").and_then(Node::text), Some("0123"));
        let texts: Vec<_> = node
            .get("b")
            .unwrap()
            .members()
            .iter()
            .filter_map(Node::text)
            .collect();
        assert_eq!(texts, ["1.10", "yes", "x"]);
        assert_eq!(
            node.get("a").unwrap().span,
            Span {
                file: 0,
                line: 1,
                column: 4,
                length: 4
            }
        );
    }

    #[test]
    fn what_is_not_one_plain_document_is_refused_with_its_place() {
        for (text, line) in [
            ("a: 1\na: 2\n", 2),
            ("a: &x 1\n", 1),
            ("a: [1\nb: 2\n", 2),
            ("a: 1\n---\nb: 2\n", 2),
            ("", 1),
        ] {
            let problem = parse(3, text).unwrap_err();
            assert_eq!(problem.code, Code::Yaml, "{text:?}");
            assert!(problem.span.line >= line, "{text:?} {problem:?}");
        }
        let deep = format!("a: {}1{}", "[".repeat(100), "]".repeat(100));
        assert!(parse(0, &deep).is_err());
    }
}
