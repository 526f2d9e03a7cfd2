//! Writing a tree as JSON, in one pass: an element is written at once and taken back if it turns out empty.

use super::{Children, Node, NodeId, Tag, Tree};
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

impl Writer<'_> {
    fn value<const PRETTY: bool>(
        &self,
        node: &Node,
        name: NameId,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Wrote {
        match node.tag {
            Tag::String => {
                if node.second == 0 {
                    return Wrote::Nothing;
                }
                string(self.tree.node_text(node), out);
                Wrote::Value
            }
            Tag::Object => self.object::<PRETTY>(node, level, out),
            Tag::Array => self.array::<PRETTY>(node, name, level, out),
            Tag::Number => {
                out.extend_from_slice(self.tree.node_text(node).as_bytes());
                Wrote::Value
            }
            Tag::Boolean => {
                out.extend_from_slice(if node.first == 0 { b"false" } else { b"true" });
                Wrote::Value
            }
            Tag::Reference => self.reference::<PRETTY>(node, name, level, out),
            Tag::Null => Wrote::Null,
        }
    }

    fn object<const PRETTY: bool>(&self, node: &Node, level: usize, out: &mut Vec<u8>) -> Wrote {
        let start = out.len();
        out.push(b'{');
        let mut any = false;
        for (name, child) in (Children {
            tree: self.tree,
            next: node.first,
        }) {
            any |= self.member::<PRETTY>(name, child, any, level, out);
        }
        if !any {
            out.truncate(start);
            return Wrote::Nothing;
        }
        line::<PRETTY>(level, out);
        out.push(b'}');
        Wrote::Value
    }

    fn resource<const PRETTY: bool>(
        &self,
        node: NodeId,
        id: ResourceId<'_>,
        level: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        out.push(b'{');
        let mut any = false;
        for (name, child) in self.tree.children(node) {
            if name == NameId::ID {
                continue;
            }
            let wrote = self.member::<PRETTY>(name, child, any, level, out);
            if !any && (!wrote || name != NameId::RESOURCE_TYPE) {
                break;
            }
            if let (false, ResourceId::Set(id)) = (any, id) {
                out.push(b',');
                line::<PRETTY>(level + 1, out);
                self.key(NameId::ID, out);
                if PRETTY {
                    out.push(b' ');
                }
                string(id, out);
            }
            any = true;
        }
        if !any {
            out.truncate(start);
            return false;
        }
        line::<PRETTY>(level, out);
        out.push(b'}');
        true
    }

    /// One member of an object at `level`, behind a comma if there is one before it.
    #[inline]
    fn member<const PRETTY: bool>(
        &self,
        name: NameId,
        child: NodeId,
        any: bool,
        level: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(child) = self.tree.node(child) else {
            return false;
        };
        let before = out.len();
        if any {
            out.push(b',');
        }
        line::<PRETTY>(level + 1, out);
        self.key(name, out);
        if PRETTY {
            out.push(b' ');
        }
        let wrote = self.value::<PRETTY>(child, name, level + 1, out) == Wrote::Value;
        if !wrote {
            out.truncate(before);
        }
        wrote
    }

    fn array<const PRETTY: bool>(
        &self,
        node: &Node,
        name: NameId,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Wrote {
        let start = out.len();
        out.push(b'[');
        let (mut any, mut value) = (false, false);
        for (_, child) in (Children {
            tree: self.tree,
            next: node.first,
        }) {
            let Some(child) = self.tree.node(child) else {
                break;
            };
            let before = out.len();
            if any {
                out.push(b',');
            }
            line::<PRETTY>(level + 1, out);
            match self.value::<PRETTY>(child, name, level + 1, out) {
                Wrote::Nothing => out.truncate(before),
                Wrote::Null => {
                    out.extend_from_slice(b"null");
                    any = true;
                }
                Wrote::Value => (any, value) = (true, true),
            }
        }
        if !value {
            out.truncate(start);
            return Wrote::Nothing;
        }
        line::<PRETTY>(level, out);
        out.push(b']');
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
        let bare = name == NameId::REFERENCE;
        if !bare {
            out.push(b'{');
            line::<PRETTY>(level + 1, out);
            out.extend_from_slice(if PRETTY {
                b"\"reference\": "
            } else {
                b"\"reference\":"
            });
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
            line::<PRETTY>(level, out);
            out.push(b'}');
        }
        Wrote::Value
    }

    #[inline]
    fn key(&self, name: NameId, out: &mut Vec<u8>) {
        if let Some(key) = self.tree.known.key(name) {
            out.push(b'"');
            out.extend_from_slice(key);
        } else {
            string(self.tree.local.text(name).unwrap_or_default(), out);
            out.push(b':');
        }
    }
}

#[inline]
pub(crate) fn line<const PRETTY: bool>(level: usize, out: &mut Vec<u8>) {
    if PRETTY {
        out.push(b'\n');
        out.resize(out.len() + 2 * level, b' ');
    }
}

/// A JSON string, quotes included. Most text has nothing to escape, and is copied after one look.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_special(rest) {
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else {
            break;
        };
        escape(*byte, out);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[inline]
pub(crate) fn first_special(bytes: &[u8]) -> Option<usize> {
    // Eight at a time: the loop below would look at each byte of an attachment of megabytes.
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        if chunk
            .iter()
            .fold(false, |any, byte| any | is_special(*byte))
        {
            break;
        }
        at += 8;
    }
    bytes
        .get(at..)?
        .iter()
        .position(|byte| is_special(*byte))
        .map(|found| at + found)
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
