//! A tree as XML.

use crate::definitions::{Definitions, Element, TypeId, TypeKind, r4};
use crate::names::NameId;
use crate::primitive::Primitive;
use crate::tree::{Kind, NodeId, Tree};

use super::{FHIR, Path, XmlError, XmlProblem, document};

/// Appends a resource, in the order of the definitions and without white space. On an error `out` is as it was.
///
/// References to resources that a Bundle being built has by number are not known here: write the Bundle as JSON and read
/// that.
///
/// # Errors
/// [`XmlError`]: what R4 does not know, or XML cannot hold.
pub fn write(tree: &Tree, resource: NodeId, out: &mut String) -> Result<(), XmlError> {
    let start = out.len();
    let mut writer = Writer {
        tree,
        definitions: r4(),
        path: Path::default(),
        out,
    };
    let written = writer.resource(resource, true);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

struct Writer<'a> {
    tree: &'a Tree,
    definitions: &'static Definitions,
    path: Path,
    out: &'a mut String,
}

impl Writer<'_> {
    fn resource(&mut self, node: NodeId, is_root: bool) -> Result<(), XmlError> {
        let name = self
            .tree
            .get(node, NameId::RESOURCE_TYPE)
            .map(|name| self.tree.text(name))
            .unwrap_or_default();
        let Some(type_id) = self.definitions.resource(name) else {
            return self.path.fail(XmlProblem::NotAResource);
        };
        self.path.enter(name)?;
        self.out.push('<');
        self.out.push_str(name);
        if is_root {
            self.out.push_str(" xmlns=\"");
            self.out.push_str(FHIR);
            self.out.push('"');
        }
        self.out.push('>');
        self.children(type_id, node)?;
        self.close(name);
        self.path.leave();
        Ok(())
    }

    /// The children of an object, in the order of its type; none may be left over.
    fn children(&mut self, type_id: TypeId, node: NodeId) -> Result<(), XmlError> {
        let is_resource = self.definitions.kind(type_id) == TypeKind::Resource;
        let mut left = 0_usize;
        for (name, _) in self.tree.children(node) {
            let is_known = self
                .definitions
                .element_by_id(type_id, name.element())
                .is_some()
                || (is_resource && name == NameId::RESOURCE_TYPE);
            if !is_known {
                self.path.enter(self.tree.name_text(name))?;
                return self.path.fail(XmlProblem::UnknownElement);
            }
            left += 1;
        }
        for element in self.definitions.elements(type_id) {
            if left == 0 {
                break;
            }
            let value = self.tree.get(node, element.name);
            let sibling = self.tree.get(node, element.name.sibling());
            left -= usize::from(value.is_some()) + usize::from(sibling.is_some());
            if (value.is_some() || sibling.is_some())
                && !is_attribute(self.definitions, type_id, element)
            {
                self.path.enter(element.text())?;
                self.element(element, value, sibling)?;
                self.path.leave();
            }
        }
        Ok(())
    }

    /// All that stands under one name.
    fn element(
        &mut self,
        element: &Element,
        value: Option<NodeId>,
        sibling: Option<NodeId>,
    ) -> Result<(), XmlError> {
        if !element.is_array() {
            return self.one(element, value, sibling);
        }
        let items = |node: Option<NodeId>| -> Option<Vec<NodeId>> {
            match node {
                None => Some(Vec::new()),
                Some(node) if self.tree.kind(node) == Kind::Array => {
                    Some(self.tree.children(node).map(|(_, item)| item).collect())
                }
                Some(_) => None,
            }
        };
        let (Some(values), Some(siblings)) = (items(value), items(sibling)) else {
            return self.path.fail(XmlProblem::WrongForm);
        };
        for place in 0..values.len().max(siblings.len()) {
            let at = |nodes: &[NodeId]| {
                let node = nodes.get(place).copied();
                node.filter(|node| self.tree.kind(*node) != Kind::Null)
            };
            self.one(element, at(&values), at(&siblings))?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        element: &Element,
        value: Option<NodeId>,
        sibling: Option<NodeId>,
    ) -> Result<(), XmlError> {
        let Some(type_id) = element.type_().map(|type_ref| type_ref.type_) else {
            return self.path.fail(XmlProblem::UnknownElement);
        };
        match (self.definitions.primitive(type_id), value) {
            (Some(Primitive::Xhtml), Some(value)) => self.narrative(value),
            (Some(_), value) => self.primitive(element, value, sibling),
            (None, Some(value)) if self.tree.kind(value) == Kind::Object => {
                if sibling.is_some() {
                    return self.path.fail(XmlProblem::WrongForm);
                }
                self.object(element, type_id, value)
            }
            _ => self.path.fail(XmlProblem::WrongForm),
        }
    }

    fn object(
        &mut self,
        element: &Element,
        type_id: TypeId,
        value: NodeId,
    ) -> Result<(), XmlError> {
        self.out.push('<');
        self.out.push_str(element.text());
        if self.definitions.kind(type_id) == TypeKind::Resource {
            // A resource inside of another has its own element there.
            self.out.push('>');
            self.resource(value, false)?;
        } else {
            self.attributes(type_id, value)?;
            self.out.push('>');
            self.children(type_id, value)?;
        }
        self.close(element.text());
        Ok(())
    }

    /// `id` of any element, and `url` of an extension.
    fn attributes(&mut self, type_id: TypeId, node: NodeId) -> Result<(), XmlError> {
        for element in self.definitions.elements(type_id) {
            if is_attribute(self.definitions, type_id, element)
                && let Some(value) = self.tree.get(node, element.name)
            {
                self.attribute(element.text(), value)?;
            }
        }
        Ok(())
    }

    fn primitive(
        &mut self,
        element: &Element,
        value: Option<NodeId>,
        sibling: Option<NodeId>,
    ) -> Result<(), XmlError> {
        let name = element.text();
        self.out.push('<');
        self.out.push_str(name);
        let base = self.definitions.type_("Element");
        let sibling = match (sibling, base) {
            (Some(sibling), Some(base)) if self.tree.kind(sibling) == Kind::Object => {
                self.attributes(base, sibling)?;
                Some((sibling, base))
            }
            (None, _) => None,
            _ => return self.path.fail(XmlProblem::WrongForm),
        };
        if let Some(value) = value {
            self.attribute("value", value)?;
        }
        let opened = self.out.len();
        self.out.push('>');
        if let Some((sibling, base)) = sibling {
            self.children(base, sibling)?;
        }
        if self.out.len() == opened + 1 {
            self.out.truncate(opened);
            self.out.push_str("/>");
        } else {
            self.close(name);
        }
        Ok(())
    }

    fn attribute(&mut self, name: &str, value: NodeId) -> Result<(), XmlError> {
        let text = match self.tree.kind(value) {
            Kind::String | Kind::Number => self.tree.text(value),
            Kind::Boolean(true) => "true",
            Kind::Boolean(false) => "false",
            _ => return self.path.fail(XmlProblem::WrongForm),
        };
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        if !escape(text, self.out) {
            return self.path.fail(XmlProblem::Character);
        }
        self.out.push('"');
        Ok(())
    }

    fn narrative(&mut self, value: NodeId) -> Result<(), XmlError> {
        let text = self.tree.text(value).trim();
        if !document::is_narrative(text) || !text.chars().all(is_allowed) {
            return self.path.fail(XmlProblem::Narrative);
        }
        self.out.push_str(text);
        Ok(())
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }
}

/// What stands in the start tag (<https://hl7.org/fhir/R4/xml.html>). The id of a resource is an element like others.
pub(super) fn is_attribute(definitions: &Definitions, type_id: TypeId, element: &Element) -> bool {
    let is_resource = definitions.kind(type_id) == TypeKind::Resource;
    (element.name == NameId::ID && !is_resource)
        || (element.name == NameId::URL && definitions.type_name(type_id) == "Extension")
}

/// Appends the text as an attribute's value; false if XML cannot hold it. White space other than blanks is written as a
/// character reference, or a reader would make blanks of it.
fn escape(text: &str, out: &mut String) -> bool {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            other if is_allowed(other) => out.push(other),
            _ => return false,
        }
    }
    true
}

/// XML 1.0, section 2.2.
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}
