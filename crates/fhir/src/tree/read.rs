//! Reading JSON into a tree: strictly RFC 8259, within limits, with nothing converted.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::{Key, NodeId, Tree, is_json_number};
use crate::names::NameId;

/// What a document may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of JSON.
    pub bytes: usize,
    /// Objects and arrays inside one another; never more than 200, whatever is asked.
    pub depth: usize,
    /// Objects, arrays and values together.
    pub nodes: usize,
}

impl Default for Limits {
    /// 64 MiB, 100 deep, four million nodes.
    fn default() -> Limits {
        Limits {
            bytes: 64 << 20,
            depth: 100,
            nodes: 4_000_000,
        }
    }
}

/// Reading, validating and writing are recursive, so this much stack must always be there.
const DEPTH_MAX: usize = 200;

/// Why a document could not be read, and where. Holds nothing of its values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}, element {path}")]
pub struct ReadError {
    /// What is wrong.
    pub problem: ReadProblem,
    /// The element, as `entry[0].resource.name`; empty at the top. A name that no element could have is `?`.
    pub path: String,
    /// Bytes before the place.
    pub offset: usize,
}

/// What can be wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadProblem {
    /// More bytes than the limit.
    #[error("document too large")]
    TooLarge,
    /// Deeper than the limit.
    #[error("elements nested too deep")]
    TooDeep,
    /// More nodes than the limit.
    #[error("too many elements")]
    TooMany,
    /// Not UTF-8.
    #[error("not utf-8")]
    Encoding,
    /// Not JSON: something else was expected here, or the end came too soon.
    #[error("not json")]
    Syntax,
    /// A string with a raw control character, an unknown escape or half a surrogate pair.
    #[error("not a json string")]
    BadString,
    /// Not a number by the JSON grammar.
    #[error("not a json number")]
    BadNumber,
    /// The same name twice in an object.
    #[error("property given twice")]
    Duplicate,
    /// The document is not an object.
    #[error("not a json object")]
    NotAnObject,
    /// Something after the document's end.
    #[error("text after the document")]
    Trailing,
}

/// Reads a document, which must be one JSON object, into a tree of its own. Children keep the document's order; numbers
/// keep their digits; `null` and empty values are kept for the validator to find.
pub fn read(json: &[u8], limits: &Limits) -> Result<(Tree, NodeId), ReadError> {
    let mut tree = Tree::new();
    let root = read_into(&mut tree, json, limits)?;
    Ok((tree, root))
}

/// As [`read`], added to a tree as a detached root. After an error the tree is as it was.
pub fn read_into(tree: &mut Tree, json: &[u8], limits: &Limits) -> Result<NodeId, ReadError> {
    let at = |problem, offset| ReadError {
        problem,
        path: String::new(),
        offset,
    };
    if json.len() > limits.bytes {
        return Err(at(ReadProblem::TooLarge, limits.bytes));
    }
    let text = std::str::from_utf8(json)
        .map_err(|error| at(ReadProblem::Encoding, error.valid_up_to()))?;
    let mark = tree.mark();
    let depth = limits.depth.min(DEPTH_MAX);
    let nodes = tree.node_count().saturating_add(limits.nodes);
    let mut reader = Reader {
        tree,
        text,
        at: 0,
        path: Vec::new(),
        scratch: String::new(),
        depth,
        nodes,
    };
    match reader.document() {
        Ok(root) if !reader.tree.overflowed() => Ok(root),
        result => {
            let problem = result.err().unwrap_or(ReadProblem::TooLarge);
            let error = ReadError {
                problem,
                path: reader.path_text(),
                offset: reader.at,
            };
            // Everything added hangs on a root of its own.
            tree.truncate(super::NodeId(super::NONE), mark);
            Err(error)
        }
    }
}

enum Step {
    Name(NameId),
    Index(usize),
}

struct Reader<'a> {
    tree: &'a mut Tree,
    text: &'a str,
    at: usize,
    path: Vec<Step>,
    scratch: String,
    depth: usize,
    nodes: usize,
}

type Read<T> = Result<T, ReadProblem>;

/// Up to here a new name is compared with all before it; then a set takes over.
const SMALL_OBJECT: usize = 32;

impl Reader<'_> {
    fn document(&mut self) -> Read<NodeId> {
        self.space();
        if self.peek() != Some(b'{') {
            return Err(if self.peek().is_none() {
                ReadProblem::Syntax
            } else {
                ReadProblem::NotAnObject
            });
        }
        let root = self.tree.object();
        self.object(root)?;
        self.space();
        if self.peek().is_some() {
            Err(ReadProblem::Trailing)
        } else {
            Ok(root)
        }
    }

    fn object(&mut self, object: NodeId) -> Read<()> {
        self.at += 1;
        self.space();
        if self.eat(b'}') {
            return Ok(());
        }
        let mut order = 0_u16;
        let mut many: Option<HashSet<NameId>> = None;
        loop {
            self.space();
            let name = self.name()?;
            self.path.push(Step::Name(name));
            if self.repeated(object, name, order, &mut many) {
                return Err(ReadProblem::Duplicate);
            }
            self.space();
            self.expect(b':')?;
            self.value(object, Key { name, order })?;
            self.path.pop();
            order = order.saturating_add(1);
            self.space();
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn repeated(
        &self,
        object: NodeId,
        name: NameId,
        count: u16,
        many: &mut Option<HashSet<NameId>>,
    ) -> bool {
        if usize::from(count) < SMALL_OBJECT {
            return self.tree.get(object, name).is_some();
        }
        let names =
            many.get_or_insert_with(|| self.tree.children(object).map(|(name, _)| name).collect());
        !names.insert(name)
    }

    fn array(&mut self, array: NodeId) -> Read<()> {
        self.at += 1;
        self.space();
        if self.eat(b']') {
            return Ok(());
        }
        let mut index = 0;
        loop {
            self.path.push(Step::Index(index));
            self.value(array, super::NO_KEY)?;
            self.path.pop();
            index += 1;
            self.space();
            if self.eat(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn value(&mut self, parent: NodeId, key: Key) -> Read<()> {
        if self.tree.node_count() >= self.nodes {
            return Err(ReadProblem::TooMany);
        }
        self.space();
        match self.peek() {
            Some(b'"') => match self.string()? {
                Some(plain) => _ = self.tree.add_string(parent, key, plain),
                None => _ = self.tree.add_string(parent, key, &self.scratch),
            },
            Some(open @ (b'{' | b'[')) => {
                // The document itself is one level.
                self.depth = self
                    .depth
                    .checked_sub(1)
                    .filter(|left| *left > 0)
                    .ok_or(ReadProblem::TooDeep)?;
                if open == b'{' {
                    let object = self.tree.add_object(parent, key);
                    self.object(object)?;
                } else {
                    let array = self.tree.add_array(parent, key);
                    self.array(array)?;
                }
                self.depth += 1;
            }
            Some(b'-' | b'0'..=b'9') => {
                let digits = self.number();
                self.tree
                    .add_number(parent, key, digits)
                    .ok_or(ReadProblem::BadNumber)?;
                self.at += digits.len();
            }
            Some(b't') => {
                self.literal("true")?;
                self.tree.add_boolean(parent, key, true);
            }
            Some(b'f') => {
                self.literal("false")?;
                self.tree.add_boolean(parent, key, false);
            }
            Some(b'n') => {
                self.literal("null")?;
                self.tree.add_null(parent, key);
            }
            _ => return Err(ReadProblem::Syntax),
        }
        Ok(())
    }

    fn name(&mut self) -> Read<NameId> {
        if self.peek() != Some(b'"') {
            return Err(ReadProblem::Syntax);
        }
        Ok(match self.string()? {
            Some(plain) => self.tree.name(plain),
            None => self.tree.name(&self.scratch),
        })
    }

    fn literal(&mut self, word: &str) -> Read<()> {
        if self.rest().starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(ReadProblem::Syntax)
        }
    }
}

impl<'a> Reader<'a> {
    /// Everything that could belong to a number; the grammar is checked when it is added.
    fn number(&self) -> &'a str {
        let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest().iter().take_while(|byte| part(byte)).count();
        let digits = self.text.get(self.at..self.at + length).unwrap_or_default();
        debug_assert!(length > 0 || !is_json_number(digits));
        digits
    }

    /// A string: a slice of the document if it has no escapes, else `None` and the text in `scratch`.
    fn string(&mut self) -> Read<Option<&'a str>> {
        self.at += 1;
        let start = self.at;
        self.skip_plain();
        if self.peek() == Some(b'"') {
            let plain = self.text.get(start..self.at);
            self.at += 1;
            return plain.map(Some).ok_or(ReadProblem::BadString);
        }
        self.scratch.clear();
        self.scratch
            .push_str(self.text.get(start..self.at).unwrap_or_default());
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(None);
                }
                Some(b'\\') => {
                    let character = self.escape()?;
                    self.scratch.push(character);
                }
                Some(_) => return Err(ReadProblem::BadString),
                None => return Err(ReadProblem::Syntax),
            }
            let start = self.at;
            self.skip_plain();
            self.scratch
                .push_str(self.text.get(start..self.at).unwrap_or_default());
        }
    }

    /// To the next quote, backslash or control character; all are ASCII, so this is a character boundary.
    fn skip_plain(&mut self) {
        let rest = self.rest();
        let plain = super::write::first_special(rest).unwrap_or(rest.len());
        self.at += plain;
    }

    fn escape(&mut self) -> Read<char> {
        let escaped = self.rest().get(1).copied().ok_or(ReadProblem::Syntax)?;
        let character = match escaped {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(ReadProblem::BadString),
        };
        self.at += 2;
        Ok(character)
    }

    /// `\u00e9`, or two of them for what lies beyond 16 bits.
    fn unicode(&mut self) -> Read<char> {
        let first = self.unit(0)?;
        let (code, length) = match first {
            0xd800..=0xdbff => match self.unit(6)? {
                second @ 0xdc00..=0xdfff => {
                    (0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
                }
                _ => return Err(ReadProblem::BadString),
            },
            _ => (first, 6),
        };
        let character = char::from_u32(code).ok_or(ReadProblem::BadString)?;
        self.at += length;
        Ok(character)
    }

    fn unit(&self, ahead: usize) -> Read<u32> {
        let Some([b'\\', b'u', digits @ ..]) = self.rest().get(ahead..ahead + 6) else {
            return Err(ReadProblem::BadString);
        };
        digits.iter().try_fold(0, |unit, digit| {
            let digit = char::from(*digit)
                .to_digit(16)
                .ok_or(ReadProblem::BadString)?;
            Ok(unit << 4 | digit)
        })
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(ReadProblem::Syntax)
        }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn path_text(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Index(index) => write!(path, "[{index}]"),
                Step::Name(name) => {
                    let dot = if path.is_empty() { "" } else { "." };
                    write!(path, "{dot}{}", shown(self.tree.name_text(*name)))
                }
            };
        }
        path
    }
}

/// A property name as it may be shown: one that could be an element's, since anything else might be a value gone astray.
pub(crate) fn shown(name: &str) -> &str {
    let fits = name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fits && !name.is_empty() { name } else { "?" }
}

#[cfg(test)]
mod tests;
