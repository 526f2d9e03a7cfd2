//! XML as a tree, as if the same resource had been read as JSON.

use crate::definitions::{Definitions, Element, TypeId, TypeKind, r4};
use crate::names::NameId;
use crate::primitive::{JsonForm, Primitive};
use crate::tree::{Key, Limits, NodeId, Tree};

use super::document::{self, Node};
use super::write::is_attribute;
use super::{Path, XmlError, XmlProblem};

/// Reads a resource of R4 into a tree of its own, its elements in the order of the definitions.
///
/// # Errors
/// [`XmlError`]: not well-formed, beyond the limits, or not as the definitions say. Document types and entities are never
/// read, so no document can make more of itself or ask for a file.
pub fn read(xml: &[u8], limits: &Limits) -> Result<(Tree, NodeId), XmlError> {
    let mut reader = Reader {
        tree: Tree::new(),
        definitions: r4(),
        path: Path::default(),
    };
    if xml.len() > limits.bytes {
        return reader.path.fail(XmlProblem::TooLarge);
    }
    let Ok(text) = std::str::from_utf8(xml) else {
        return reader.path.fail(XmlProblem::Syntax);
    };
    let text = text.trim_start_matches('\u{feff}');
    let document = match document::parse(text, limits.nodes) {
        Ok(document) => document,
        Err(problem) => return reader.path.fail(problem),
    };
    let root = reader.tree.object();
    reader.resource(&document, root)?;
    Ok((reader.tree, root))
}

struct Reader {
    tree: Tree,
    definitions: &'static Definitions,
    path: Path,
}

impl Reader {
    fn resource(&mut self, from: &Node<'_>, to: NodeId) -> Result<(), XmlError> {
        let Some(type_id) = self.definitions.resource(&from.name) else {
            return self.path.fail(XmlProblem::NotAResource);
        };
        self.path.enter(&from.name)?;
        let key = Key {
            name: NameId::RESOURCE_TYPE,
            order: 0,
        };
        self.tree.add_string(to, key, &from.name);
        self.children(&from.children, type_id, to)?;
        self.path.leave();
        Ok(())
    }

    /// The children of one element: those of one name stand together.
    fn children(&mut self, from: &[Node<'_>], type_id: TypeId, to: NodeId) -> Result<(), XmlError> {
        let mut rest = from;
        while let Some(first) = rest.first() {
            let count = rest
                .iter()
                .take_while(|node| node.name == first.name)
                .count();
            let (group, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = after;
            self.path.enter(&first.name)?;
            let element = self
                .definitions
                .element(type_id, &first.name)
                .filter(|element| !is_attribute(self.definitions, type_id, element));
            let Some(element) = element else {
                return self.path.fail(XmlProblem::UnknownElement);
            };
            let (before, _) = self.tree.find(to, key(element));
            if before.is_some() || (!element.is_array() && group.len() > 1) {
                return self.path.fail(XmlProblem::WrongForm);
            }
            self.element(element, group, to)?;
            self.path.leave();
        }
        Ok(())
    }

    fn element(
        &mut self,
        element: &Element,
        group: &[Node<'_>],
        to: NodeId,
    ) -> Result<(), XmlError> {
        let Some(type_id) = element.type_().map(|type_ref| type_ref.type_) else {
            return self.path.fail(XmlProblem::UnknownElement);
        };
        if let Some(primitive) = self.definitions.primitive(type_id) {
            return self.primitives(element, primitive, group, to);
        }
        let array = element
            .is_array()
            .then(|| self.tree.add_array(to, key(element)));
        for node in group {
            if node.value.is_some() {
                return self.path.fail(XmlProblem::WrongForm);
            }
            let object = match array {
                Some(array) => self.tree.push_object(array),
                None => self.tree.add_object(to, key(element)),
            };
            if self.definitions.kind(type_id) == TypeKind::Resource {
                let [inner] = node.children.as_slice() else {
                    return self.path.fail(XmlProblem::WrongForm);
                };
                self.resource(inner, object)?;
            } else {
                self.attributes(type_id, node, object);
                self.children(&node.children, type_id, object)?;
            }
        }
        Ok(())
    }

    fn attributes(&mut self, type_id: TypeId, from: &Node<'_>, to: NodeId) {
        for element in self.definitions.elements(type_id) {
            if !is_attribute(self.definitions, type_id, element) {
                continue;
            }
            let text = if element.name == NameId::ID {
                &from.id
            } else {
                &from.url
            };
            if let Some(text) = text {
                self.tree.add_string(to, key(element), text);
            }
        }
    }

    fn primitives(
        &mut self,
        element: &Element,
        primitive: Primitive,
        group: &[Node<'_>],
        to: NodeId,
    ) -> Result<(), XmlError> {
        let has_more = |node: &Node<'_>| node.id.is_some() || !node.children.is_empty();
        if !element.is_array() {
            for node in group {
                self.value(element, primitive, node, Some(to), key(element))?;
                if has_more(node) && primitive != Primitive::Xhtml {
                    let sibling = self.tree.add_object(to, sibling(element));
                    self.more(node, sibling)?;
                }
            }
            return Ok(());
        }
        if group.iter().any(|node| node.value.is_some()) {
            let array = self.tree.add_array(to, key(element));
            for node in group {
                self.value(element, primitive, node, Some(array), key(element))?;
            }
        }
        if group.iter().any(has_more) {
            let array = self.tree.add_array(to, sibling(element));
            for node in group {
                if has_more(node) {
                    let object = self.tree.push_object(array);
                    self.more(node, object)?;
                } else {
                    self.tree.push_null(array);
                }
            }
        }
        Ok(())
    }

    /// One value, into an object under its name or at the end of an array.
    fn value(
        &mut self,
        element: &Element,
        primitive: Primitive,
        node: &Node<'_>,
        to: Option<NodeId>,
        key: Key,
    ) -> Result<(), XmlError> {
        let Some(to) = to else {
            return Ok(());
        };
        let text = match (primitive, node.narrative, node.value.as_deref()) {
            (Primitive::Xhtml, Some(text), _) => text,
            (Primitive::Xhtml, None, _) => return self.path.fail(XmlProblem::Narrative),
            (_, _, Some(text)) => text,
            (_, _, None) => {
                if element.is_array() {
                    self.tree.push_null(to);
                }
                return Ok(());
            }
        };
        let is_written = match primitive.json_form() {
            JsonForm::String => {
                self.tree.add_string(to, key, text);
                true
            }
            JsonForm::Number => self.tree.add_number(to, key, text).is_some(),
            JsonForm::Boolean => {
                self.tree.add_boolean(to, key, text == "true");
                matches!(text, "true" | "false")
            }
        };
        if is_written {
            Ok(())
        } else {
            self.path.fail(XmlProblem::WrongForm)
        }
    }

    /// Id and extensions of a primitive.
    fn more(&mut self, node: &Node<'_>, to: NodeId) -> Result<(), XmlError> {
        let Some(base) = self.definitions.type_("Element") else {
            return self.path.fail(XmlProblem::UnknownElement);
        };
        self.attributes(base, node, to);
        self.children(&node.children, base, to)
    }
}

fn key(element: &Element) -> Key {
    Key {
        name: element.name,
        order: element.order,
    }
}

fn sibling(element: &Element) -> Key {
    Key {
        name: element.name.sibling(),
        order: element.order,
    }
}
