//! Where a result goes, and how texts become FHIR primitives.

use std::borrow::Cow;

use fhir::NameId;
use fhir::definitions::r4;
use fhir::primitive::{JsonForm, Primitive, check};
use fhir::tree::{Key, NodeId, Tree};
use hl7v2::Node;

use super::Run;
use super::access::Here;
use super::moment::Moment;
use crate::plan::{Access, Argument, OriginId, Shape};
use crate::report::{ReportCode, ReportIssue};

/// The place a rule's result is put.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    /// A named child of an object.
    Member(NodeId, Key),
    /// One more of an array.
    Element(NodeId),
    /// One more of the array of that name, which is made when there is something to put.
    Append(NodeId, Key),
    /// An object that is there already; only objects can be put into it.
    Into(NodeId),
}

/// What came out of a rule. The order matters: an object is as good as the best in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Emitted {
    Nothing,
    /// Something that does not depend on the message.
    Constant,
    /// A reference to a resource of the message map: it makes an object, but no resource.
    Linked,
    Data,
}

/// Where a text came from, for the report.
#[derive(Clone, Copy)]
pub(crate) enum Source<'h, 'r> {
    Nowhere,
    Node(Node<'r>),
    Path(Access, &'h Here<'r>),
    /// The first of a helper's arguments that is a place.
    Arguments(&'r [Argument], &'h Here<'r>),
}

impl<'r> Run<'r> {
    /// Opens an object in the slot.
    pub(crate) fn open(&mut self, slot: Slot, origin: OriginId) -> NodeId {
        let slot = self.settle(slot);
        let tree = &mut self.state.tree;
        let node = match slot {
            Slot::Member(parent, key) => tree.add_object(parent, key),
            Slot::Element(parent) => tree.push_object(parent),
            Slot::Into(node) | Slot::Append(node, _) => return node,
        };
        tree.set_origin(node, origin);
        node
    }

    /// Takes back an object that stayed empty.
    pub(crate) fn close_empty(&mut self, slot: Slot, node: NodeId) {
        match slot {
            Slot::Member(parent, _) | Slot::Element(parent) => self.state.tree.remove(parent, node),
            Slot::Append(parent, key) => {
                if let Some(list) = self.state.tree.get(parent, key.name) {
                    self.state.tree.remove(list, node);
                    if self.state.tree.children(list).next().is_none() {
                        self.state.tree.remove(parent, list);
                    }
                }
            }
            Slot::Into(_) => {}
        }
    }

    /// The array that an `Append` stands for.
    #[inline]
    pub(crate) fn settle(&mut self, slot: Slot) -> Slot {
        settled(&mut self.state.tree, slot)
    }

    /// A reference to a resource; in an element that takes a text its address.
    pub(crate) fn put_reference(
        &mut self,
        slot: Slot,
        shape: Shape,
        resource: u32,
        origin: OriginId,
    ) -> Emitted {
        let slot = self.settle(slot);
        let tree = &mut self.state.tree;
        let address = matches!(shape, Shape::Primitive(_));
        let node = match slot {
            Slot::Member(parent, key) if address => tree.add_address(parent, key, resource),
            Slot::Element(parent) if address => tree.push_address(parent, resource),
            Slot::Member(parent, key) => tree.add_reference(parent, key, resource),
            Slot::Element(parent) => tree.push_reference(parent, resource),
            Slot::Into(_) | Slot::Append(..) => return Emitted::Nothing,
        };
        tree.set_origin(node, origin);
        Emitted::Data
    }

    pub(crate) fn put_string(&mut self, slot: Slot, text: &str, origin: OriginId) {
        let slot = self.settle(slot);
        let tree = &mut self.state.tree;
        let node = match slot {
            Slot::Member(parent, key) => tree.add_string(parent, key, text),
            Slot::Element(parent) => tree.push_string(parent, text),
            Slot::Into(_) | Slot::Append(..) => return,
        };
        tree.set_origin(node, origin);
    }

    /// Adds a string under a name of an object.
    pub(crate) fn put_member(
        &mut self,
        parent: NodeId,
        name: NameId,
        order: u16,
        text: &str,
        origin: OriginId,
    ) {
        self.put_string(Slot::Member(parent, Key { name, order }), text, origin);
    }

    /// Turns a text into a primitive, or says in the report why not.
    pub(crate) fn put_primitive(
        &mut self,
        slot: Slot,
        primitive: Primitive,
        text: &str,
        source: Source<'_, 'r>,
        origin: OriginId,
    ) -> bool {
        let value: Cow<'_, str> = match primitive {
            Primitive::String | Primitive::Markdown if check(primitive, text).is_ok() => {
                return self.put_text(slot, text, origin);
            }
            Primitive::String | Primitive::Markdown => printable(text),
            Primitive::Date | Primitive::DateTime | Primitive::Instant | Primitive::Time => {
                return self.put_moment(slot, primitive, text, source, origin);
            }
            Primitive::Boolean => match text {
                "Y" | "y" | "1" | "T" | "true" | "Yes" | "YES" => Cow::Borrowed("true"),
                "N" | "n" | "0" | "F" | "false" | "No" | "NO" => Cow::Borrowed("false"),
                other => Cow::Borrowed(other),
            },
            Primitive::Decimal => decimal(text),
            Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt => integer(text),
            // A line break inside of a code is a blank for FHIR.
            Primitive::Code if text.contains(['\n', '\r', '\t']) => {
                Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            Primitive::Base64Binary if text.contains(char::is_whitespace) => {
                Cow::Owned(text.split_whitespace().collect())
            }
            _ => Cow::Borrowed(text),
        };
        if value.is_empty() {
            return false;
        }
        if check(primitive, &value).is_err() {
            self.note(ReportCode::BadValue, self.source(source), origin, slot);
            return false;
        }
        if primitive.json_form() == JsonForm::String {
            return self.put_text(slot, &value, origin);
        }
        let slot = self.settle(slot);
        let tree = &mut self.state.tree;
        let node = match (primitive.json_form(), slot) {
            (_, Slot::Into(_) | Slot::Append(..)) => return false,
            (JsonForm::Boolean, Slot::Member(parent, key)) => {
                Some(tree.add_boolean(parent, key, value == "true"))
            }
            (JsonForm::Boolean, Slot::Element(parent)) => {
                Some(tree.push_boolean(parent, value == "true"))
            }
            (_, Slot::Member(parent, key)) => tree.add_number(parent, key, &value),
            (_, Slot::Element(parent)) => tree.push_number(parent, &value),
        };
        match node {
            Some(node) => {
                tree.set_origin(node, origin);
                true
            }
            None => {
                self.note(ReportCode::BadValue, self.source(source), origin, slot);
                false
            }
        }
    }

    /// A text that is a value of the element.
    #[inline]
    fn put_text(&mut self, slot: Slot, text: &str, origin: OriginId) -> bool {
        let fits = !text.is_empty() && !matches!(slot, Slot::Into(_));
        if fits {
            self.put_string(slot, text, origin);
        }
        fits
    }

    fn put_moment(
        &mut self,
        slot: Slot,
        primitive: Primitive,
        text: &str,
        source: Source<'_, 'r>,
        origin: OriginId,
    ) -> bool {
        let mut known = std::mem::take(&mut self.state.moments);
        let made = known.convert(primitive, text, self.context.zone.as_ref());
        let put = match made {
            Moment::NoValue => false,
            Moment::Value(value) | Moment::CutToDate(value) => {
                if matches!(made, Moment::CutToDate(_)) {
                    self.note(ReportCode::CutToDate, self.source(source), origin, slot);
                }
                let fits = check(primitive, value).is_ok();
                if !fits {
                    self.note(ReportCode::BadValue, self.source(source), origin, slot);
                }
                fits && self.put_text(slot, value, origin)
            }
            Moment::Bad => {
                self.note(ReportCode::BadValue, self.source(source), origin, slot);
                false
            }
        };
        self.state.moments = known;
        put
    }

    fn source(&self, source: Source<'_, 'r>) -> Option<Node<'r>> {
        match source {
            Source::Nowhere => None,
            Source::Node(node) => Some(node),
            Source::Path(access, here) => self.node(access, here),
            Source::Arguments(arguments, here) => arguments.iter().find_map(|argument| {
                let Argument::Value(access) = argument else {
                    return None;
                };
                self.node(*access, here)
            }),
        }
    }

    /// One line of the report.
    #[cold]
    pub(crate) fn note(
        &mut self,
        code: ReportCode,
        place: Option<Node<'r>>,
        origin: OriginId,
        slot: Slot,
    ) {
        let element = match slot {
            Slot::Member(_, key) | Slot::Append(_, key) => r4().name_text(key.name),
            Slot::Element(_) | Slot::Into(_) => "",
        };
        let (rule, place) = (self.package.rule(origin), place.map(|node| node.place()));
        let issue = ReportIssue {
            code,
            place,
            rule,
            element,
        };
        self.state.report.issues.push(issue);
    }
}

/// The array that an `Append` stands for.
#[inline]
pub(crate) fn settled(tree: &mut Tree, slot: Slot) -> Slot {
    let Slot::Append(parent, key) = slot else {
        return slot;
    };
    let list = tree.get(parent, key.name);
    Slot::Element(list.unwrap_or_else(|| tree.add_array(parent, key)))
}

/// A JSON number with the digits of the text: `+5` is `5`, `.5` is `0.5`, `05.0` is `5.0`.
pub(crate) fn decimal(text: &str) -> Cow<'_, str> {
    if fhir::tree::is_json_number(text) {
        return Cow::Borrowed(text);
    }
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let plain = digits.trim_start_matches('0');
    let whole = match plain.as_bytes().first() {
        Some(byte) if byte.is_ascii_digit() => "",
        _ => "0",
    };
    let end = plain.strip_suffix('.').unwrap_or(plain);
    let unchanged = sign.len() + whole.len() + end.len() == text.len() && whole.is_empty();
    if unchanged {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{sign}{whole}{end}"))
    }
}

fn integer(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let value = decimal(text);
    // `3.0` is how some senders write a whole number.
    match value.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|b| b == b'0') => {
            Cow::Owned(whole.to_owned())
        }
        _ => value,
    }
}

/// The text without control characters, which no FHIR string may have.
fn printable(text: &str) -> Cow<'_, str> {
    let odd = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    let odd = |c: char| odd(c) && (c as u32) < 0x20;
    if text.chars().any(odd) {
        Cow::Owned(text.chars().filter(|c| !odd(*c)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_their_digits() {
        for (text, value) in [
            ("1.50", "1.50"),
            ("+5", "5"),
            (".5", "0.5"),
            ("05.0", "5.0"),
            ("-0.10", "-0.10"),
            ("5.", "5"),
            ("0", "0"),
            ("000", "0"),
            ("-.5", "-0.5"),
            ("1e3", "1e3"),
        ] {
            assert_eq!(decimal(text), value, "{text}");
        }
        assert!(matches!(decimal("1.50"), Cow::Borrowed(_)));
        assert_eq!(integer("3.0"), "3");
        assert_eq!(printable("a\u{7}b\nc"), "ab\nc");
    }
}
