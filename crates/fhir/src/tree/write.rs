//! Writing a tree as JSON, in one pass: an element is written at once and taken back if it turns out empty.

use super::{ADDRESS, Node, NodeId, Tag, Tree};
use crate::names::NameId;

/// How to write.
#[derive(Clone, Copy)]
pub struct WriteOptions<'a> {
    /// Two spaces and new lines, for people; otherwise no white space at all.
    pub pretty: bool,
    /// Appends what a reference to resource number `n` says (`urn:uuid:...` or `Patient/...`); nothing if there is no
    /// such resource, and then the reference is left out. What it appends must need no JSON escape.
    pub references: &'a dyn Fn(u32, &mut Vec<u8>),
}

impl Default for WriteOptions<'_> {
    /// Compact, and references to the Bundle's resources are left out.
    fn default() -> Self {
        WriteOptions {
            pretty: false,
            references: &|_, _| {},
        }
    }
}

pub(super) fn write(
    tree: &Tree,
    node: NodeId,
    out: &mut Vec<u8>,
    options: &WriteOptions<'_>,
) -> bool {
    let Some(node) = tree.node(node) else {
        return false;
    };
    let writer = Writer {
        tree,
        references: options.references,
    };
    let wrote = match options.pretty {
        true => writer.value::<true>(node, node.key.name, 0, out),
        false => writer.value::<false>(node, node.key.name, 0, out),
    };
    wrote == Wrote::Value
}

/// What becomes of a resource's own `id` when it is written.
#[derive(Clone, Copy)]
pub(crate) enum ResourceId<'a> {
    /// Left out: the server gives one.
    Drop,
    /// Written after `resourceType`, in place of any other. Must need no escape.
    Set(&'a str),
}

/// Writes a resource inside another document, `level` deep; false, and nothing written, if it is not an object with a
/// `resourceType`.
pub(crate) fn resource(
    tree: &Tree,
    node: NodeId,
    id: ResourceId<'_>,
    level: usize,
    out: &mut Vec<u8>,
    options: &WriteOptions<'_>,
) -> bool {
    let writer = Writer {
        tree,
        references: options.references,
    };
    match options.pretty {
        true => writer.resource::<true>(node, id, level, out),
        false => writer.resource::<false>(node, id, level, out),
    }
}

struct Writer<'a> {
    tree: &'a Tree,
    references: &'a dyn Fn(u32, &mut Vec<u8>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrote {
    Nothing,
    /// Written if in an array; it counts only beside something else.
    Null,
    Value,
}

/// Every member and item is written behind a comma; the bracket then takes the place of the first.
impl Writer<'_> {
    fn value<const PRETTY: bool>(
        &self,
        node: &Node,
        name: NameId,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Wrote {
        match node.tag {
            Tag::String if node.second == 0 => return Wrote::Nothing,
            Tag::String => {
                out.push(b'"');
                self.content(node, out);
                out.push(b'"');
            }
            Tag::Object => {
                if !PRETTY && let Some(json) = self.tree.grafted_json(node) {
                    out.extend_from_slice(json);
                    return Wrote::Value;
                }
                return self.object::<PRETTY>(node, level, out);
            }
            Tag::Array => return self.array::<PRETTY>(node, name, level, out),
            Tag::Number => out.extend_from_slice(self.tree.node_text(node).as_bytes()),
            Tag::Boolean => out.extend_from_slice(if node.first == 0 { b"false" } else { b"true" }),
            Tag::Reference => return self.reference::<PRETTY>(node, name, level, out),
            Tag::Null => return Wrote::Null,
        }
        Wrote::Value
    }

    fn object<const PRETTY: bool>(&self, node: &Node, level: usize, out: &mut Vec<u8>) -> Wrote {
        let start = out.len();
        let mut next = node.first;
        while let Some(child) = self.tree.node(NodeId(next)) {
            self.member::<PRETTY>(child, level, out);
            next = child.next;
        }
        if out.len() == start {
            return Wrote::Nothing;
        }
        close::<PRETTY>(start, [b'{', b'}'], level, out);
        Wrote::Value
    }

    fn resource<const PRETTY: bool>(
        &self,
        node: NodeId,
        id: ResourceId<'_>,
        level: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(node) = self.tree.node(node).filter(|node| node.tag == Tag::Object) else {
            return false;
        };
        let Some(first) = self
            .tree
            .node(NodeId(node.first))
            .filter(|first| first.key.name == NameId::RESOURCE_TYPE)
        else {
            return false;
        };
        let start = out.len();
        self.member::<PRETTY>(first, level, out);
        if out.len() == start {
            return false;
        }
        if let ResourceId::Set(id) = id {
            self.key::<PRETTY>(NameId::ID, level, out);
            string(id, out);
        }
        let mut next = first.next;
        while let Some(child) = self.tree.node(NodeId(next)) {
            if child.key.name != NameId::ID {
                self.member::<PRETTY>(child, level, out);
            }
            next = child.next;
        }
        close::<PRETTY>(start, [b'{', b'}'], level, out);
        true
    }

    /// One member of an object at `level`.
    #[inline]
    fn member<const PRETTY: bool>(&self, child: &Node, level: usize, out: &mut Vec<u8>) {
        let before = out.len();
        // Most members are strings of known names: key and opening quote are one piece.
        if !PRETTY
            && child.tag == Tag::String
            && child.second != 0
            && let Some(key) = self.tree.known.short_key(child.key.name)
        {
            out.extend_from_slice(key);
            out.truncate(before + usize::from(key[31]));
            self.content(child, out);
            out.push(b'"');
            return;
        }
        self.key::<PRETTY>(child.key.name, level, out);
        if self.value::<PRETTY>(child, child.key.name, level + 1, out) != Wrote::Value {
            out.truncate(before);
        }
    }

    fn array<const PRETTY: bool>(
        &self,
        node: &Node,
        name: NameId,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Wrote {
        let start = out.len();
        let mut any = false;
        let mut next = node.first;
        while let Some(child) = self.tree.node(NodeId(next)) {
            next = child.next;
            let before = out.len();
            out.push(b',');
            line::<PRETTY>(level + 1, out);
            match self.value::<PRETTY>(child, name, level + 1, out) {
                Wrote::Nothing => out.truncate(before),
                Wrote::Null => out.extend_from_slice(b"null"),
                Wrote::Value => any = true,
            }
        }
        if !any {
            out.truncate(start);
            return Wrote::Nothing;
        }
        close::<PRETTY>(start, [b'[', b']'], level, out);
        Wrote::Value
    }

    fn reference<const PRETTY: bool>(
        &self,
        node: &Node,
        name: NameId,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Wrote {
        let start = out.len();
        let bare = name == NameId::REFERENCE || node.second == ADDRESS;
        if !bare {
            self.key::<PRETTY>(NameId::REFERENCE, level, out);
        }
        out.push(b'"');
        let text = out.len();
        (self.references)(node.first, out);
        if out.len() == text {
            out.truncate(start);
            return Wrote::Nothing;
        }
        out.push(b'"');
        if !bare {
            close::<PRETTY>(start, [b'{', b'}'], level, out);
        }
        Wrote::Value
    }

    /// Everything of a member before its value, the comma included.
    #[inline]
    fn key<const PRETTY: bool>(&self, name: NameId, level: usize, out: &mut Vec<u8>) {
        if !PRETTY && let Some(key) = self.tree.known.short_key(name) {
            let before = out.len();
            out.extend_from_slice(key);
            out.truncate(before + usize::from(key[31]) - 1);
            return;
        }
        out.push(b',');
        line::<PRETTY>(level + 1, out);
        match self.tree.known.key(name) {
            Some([_, key @ .., _]) => out.extend_from_slice(key),
            _ => {
                string(self.tree.local.text(name).unwrap_or_default(), out);
                out.push(b':');
            }
        }
        if PRETTY {
            out.push(b' ');
        }
    }

    /// The inside of a string. A short one without escapes is copied in one size together with what follows it in the
    /// buffer, which then is taken off again: that is twice as fast as copying any number of bytes.
    #[inline]
    fn content(&self, node: &Node, out: &mut Vec<u8>) {
        let (start, length) = (node.first as usize, node.second as usize);
        let chunk = self
            .tree
            .text
            .as_bytes()
            .get(start..)
            .and_then(<[u8]>::first_chunk::<SHORT>);
        if let Some(chunk) = chunk.filter(|chunk| length <= SHORT && !any_special(chunk)) {
            let before = out.len();
            out.extend_from_slice(chunk);
            out.truncate(before + length);
        } else {
            content(self.tree.node_text(node), out);
        }
    }
}

/// Most strings of a Bundle are no longer.
const SHORT: usize = 32;

#[inline]
fn any_special(chunk: &[u8; SHORT]) -> bool {
    let (words, _) = chunk.as_chunks::<8>();
    words
        .iter()
        .fold(0, |any, word| any | specials(u64::from_ne_bytes(*word)))
        != 0
}

/// Puts the opening bracket in place of the first comma, and the closing one at the end.
#[inline]
fn close<const PRETTY: bool>(
    start: usize,
    [open, close]: [u8; 2],
    level: usize,
    out: &mut Vec<u8>,
) {
    if let Some(comma) = out.get_mut(start) {
        *comma = open;
    }
    line::<PRETTY>(level, out);
    out.push(close);
}

#[inline]
pub(crate) fn line<const PRETTY: bool>(level: usize, out: &mut Vec<u8>) {
    if PRETTY {
        out.push(b'\n');
        out.resize(out.len() + 2 * level, b' ');
    }
}

/// A JSON string, quotes included.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    content(text, out);
    out.push(b'"');
}

/// The inside of a JSON string. Most text has nothing to escape, and is copied after one look.
#[inline]
fn content(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    if has_special(bytes) {
        escaped(bytes, first_special(bytes).unwrap_or(bytes.len()), out);
    } else {
        out.extend_from_slice(bytes);
    }
}

/// Whether a JSON string must escape any of the bytes: whole words, the last of which may overlap the one before.
#[inline]
fn has_special(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let last = match (rest, bytes.last_chunk::<8>()) {
        ([], _) => 0,
        (_, Some(last)) => specials(u64::from_ne_bytes(*last)),
        (rest, None) => u64::from(rest.iter().any(|byte| is_special(*byte))),
    };
    let any = |any, word: &[u8; 8]| any | specials(u64::from_ne_bytes(*word));
    words.iter().fold(last, any) != 0
}

#[cold]
fn escaped(bytes: &[u8], first: usize, out: &mut Vec<u8>) {
    let (mut rest, mut next) = (bytes, Some(first));
    while let Some(at) = next {
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else {
            break;
        };
        escape(*byte, out);
        (rest, next) = (after, first_special(after));
    }
    out.extend_from_slice(rest);
}

/// The first byte that a JSON string must escape.
#[inline]
pub(crate) fn first_special(bytes: &[u8]) -> Option<usize> {
    // Eight at a time as one word, and the rest one by one.
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        if specials(u64::from_ne_bytes(*word)) != 0
            && let Some(at) = word.iter().position(|byte| is_special(*byte))
        {
            return Some(number * 8 + at);
        }
    }
    rest.iter()
        .position(|byte| is_special(*byte))
        .map(|at| words.len() * 8 + at)
}

/// Not zero if some byte of the word is below 0x20, a quote or a backslash: taking a limit from a byte borrows from its top
/// bit exactly when the byte was below it.
#[inline]
fn specials(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & HIGH
}

#[inline]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let hex = |digit: u8| {
                if digit < 10 {
                    b'0' + digit
                } else {
                    b'a' + digit - 10
                }
            };
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[hex(byte >> 4), hex(byte & 0xf)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
