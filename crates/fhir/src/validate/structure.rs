//! The walk: each element of each object against its definition.

use super::{Step, Validator};
use crate::definitions::{Binding, Element, Strength, TypeId, TypeKind, TypeRef, ValueSet};
use crate::names::NameId;
use crate::outcome::IssueType;
use crate::primitive::{self, JsonForm, Primitive, PrimitiveError};
use crate::tree::{Kind, NodeId};

/// Which elements an object has: a bit for each [`Element::order`], which the definitions keep below 128.
pub(super) type Present = u128;

/// The bit of an element.
pub(super) fn bit(order: u16) -> Present {
    1 << order.min(127)
}

impl<'a> Validator<'a> {
    /// A resource that stands by itself: at the top, or in a Bundle or Parameters. Its type becomes a step of the path
    /// only at the top.
    pub(super) fn resource(&mut self, node: NodeId) {
        let Some(type_id) = self.resource_type(node) else {
            return;
        };
        let top = self.path.is_empty();
        if top {
            self.path
                .push(Step::Name(self.definitions.type_name(type_id)));
        }
        let outer = self.container.replace((node, type_id));
        self.object(node, type_id);
        self.contained(node);
        self.container = outer;
        if top {
            self.path.pop();
        }
    }

    fn resource_type(&mut self, node: NodeId) -> Option<TypeId> {
        let type_name = self.child_text(node, NameId::RESOURCE_TYPE);
        let found = self
            .definitions
            .resource(type_name)
            .filter(|_| self.is_object(node));
        if found.is_none() {
            self.error(
                IssueType::Structure,
                "not an object with the name of a resource as its resourceType",
            );
        }
        found
    }

    /// An object of a type.
    pub(super) fn object(&mut self, node: NodeId, type_id: TypeId) {
        let elements = self.definitions.elements(type_id);
        let is_resource = self.definitions.kind(type_id) == TypeKind::Resource;
        let (mut values, mut siblings) = (0, 0);
        let (mut cursor, mut empty) = (0, true);
        for (name, child) in self.tree.children(node) {
            if self.full() {
                return;
            }
            if (is_resource && name == NameId::RESOURCE_TYPE) || self.skipped(child) {
                continue;
            }
            empty = false;
            let Some((at, element)) = find(elements, name.element(), cursor) else {
                let shown = crate::tree::shown(self.tree.name_text(name)).to_owned();
                self.error_at(&shown, IssueType::Structure, "no such element");
                continue;
            };
            cursor = at;
            let seen = if name.is_sibling() {
                &mut siblings
            } else {
                &mut values
            };
            let again = *seen & bit(element.order) != 0;
            *seen |= bit(element.order);
            self.path.push(Step::Element(element));
            if again {
                let message = if element.choice {
                    "more than one type of value"
                } else {
                    "element given twice"
                };
                self.error(IssueType::Structure, message);
            } else if name.is_sibling() {
                self.sibling(child, element);
            } else {
                self.element(node, child, element);
            }
            self.path.pop();
        }
        if empty && !is_resource && !self.built {
            self.error(IssueType::Invalid, "empty object");
        }
        self.required(elements, type_id, values | siblings);
        self.rules(node, type_id, values | siblings);
    }

    fn required(&mut self, elements: &'a [Element], type_id: TypeId, present: Present) {
        let mut missing = self.rules.required(type_id) & !present;
        while missing != 0 {
            let order = missing.trailing_zeros();
            missing &= missing - 1;
            if let Some(element) = elements
                .iter()
                .find(|element| u32::from(element.order) == order)
            {
                self.error_at(
                    element.base,
                    IssueType::Required,
                    "required element is missing",
                );
            }
        }
    }

    fn element(&mut self, parent: NodeId, node: NodeId, element: &'a Element) {
        let Some(type_ref) = element.type_() else {
            return;
        };
        let kind = self.tree.kind(node);
        if !element.is_array() {
            match kind {
                Kind::Array => self.error(IssueType::Structure, "an array where one value belongs"),
                _ => self.value(node, element, type_ref),
            }
            return;
        }
        if kind != Kind::Array {
            self.error(IssueType::Structure, "one value where an array belongs");
            return;
        }
        let is_primitive = self.definitions.primitive(type_ref.type_).is_some();
        let (mut count, mut values) = (0, 0);
        for member in self.written(node) {
            if !is_primitive || self.tree.kind(member) != Kind::Null {
                self.path.push(Step::Index(count));
                self.value(member, element, type_ref);
                self.path.pop();
                values += 1;
            }
            count += 1;
        }
        if values == 0 {
            self.error(IssueType::Invalid, "empty array");
        } else if values < count {
            self.holes(parent, node, element);
        }
        let max = element.max.unwrap_or(u32::MAX) as usize;
        if count > max || (count > 0 && count < element.min as usize) {
            self.error(IssueType::Structure, "too many or too few values");
        }
    }

    /// A `null` in an array of primitives stands for an element that has only extensions, in the same place of `_name`.
    fn holes(&mut self, parent: NodeId, node: NodeId, element: &'a Element) {
        let sibling = self.tree.get(parent, element.name.sibling());
        let mut others = sibling
            .into_iter()
            .flat_map(|sibling| self.written(sibling));
        let is_null = |node: NodeId| self.tree.kind(node) == Kind::Null;
        let unfilled = self
            .written(node)
            .any(|member| others.next().is_none_or(is_null) && is_null(member));
        drop(others);
        if unfilled {
            self.error(IssueType::Invalid, "a null without extensions in its place");
        }
    }

    /// The members of an array that are there when it is written; a `null` is.
    fn written(&self, array: NodeId) -> impl Iterator<Item = NodeId> + use<'a> {
        let (tree, built) = (self.tree, self.built);
        let members = tree.children(array).map(|(_, member)| member);
        members.filter(move |member| {
            !built || tree.kind(*member) == Kind::Null || !tree.is_empty(*member)
        })
    }

    /// `_name`: the id and extensions of a primitive.
    fn sibling(&mut self, node: NodeId, element: &'a Element) {
        let is_primitive = element
            .type_()
            .is_some_and(|found| self.definitions.primitive(found.type_).is_some());
        match self.tree.kind(node) {
            _ if !is_primitive => self.error(
                IssueType::Structure,
                "only a primitive has an element with an underscore",
            ),
            Kind::Object if !element.is_array() => self.object(node, self.rules.element),
            Kind::Array if element.is_array() => {
                for (index, (_, member)) in self.tree.children(node).enumerate() {
                    self.path.push(Step::Index(index));
                    match self.tree.kind(member) {
                        Kind::Null => {}
                        Kind::Object => self.object(member, self.rules.element),
                        _ => self.error(IssueType::Structure, "not an object"),
                    }
                    self.path.pop();
                }
            }
            _ => self.error(
                IssueType::Structure,
                "not an object, or not an array of them as the element is",
            ),
        }
    }

    fn value(&mut self, node: NodeId, element: &'a Element, type_ref: TypeRef) {
        if let Some(primitive) = self.definitions.primitive(type_ref.type_) {
            self.primitive(node, element, primitive);
            return;
        }
        if self.definitions.kind(type_ref.type_) == TypeKind::Resource {
            if element.base != "contained" {
                self.resource(node);
            } else if let Some(type_id) = self.resource_type(node) {
                // References in it still go to what contains it.
                self.object(node, type_id);
            }
            return;
        }
        match self.tree.kind(node) {
            Kind::Object => {
                self.object(node, type_ref.type_);
                if type_ref.type_ == self.rules.reference {
                    self.reference(node, type_ref.targets);
                }
                if element.simple_quantity
                    && self.child(node, self.rules.names.comparator).is_some()
                {
                    self.error(
                        IssueType::Invariant,
                        "sqty-1: a quantity without comparator belongs here",
                    );
                }
                if let Some(set) = self.required_set(element.binding) {
                    self.bound_object(node, type_ref.type_, set);
                }
            }
            Kind::Reference(target) if type_ref.type_ == self.rules.reference => {
                self.reference_to_entry(target, type_ref.targets);
            }
            _ => self.error(IssueType::Structure, "not an object"),
        }
    }

    fn primitive(&mut self, node: NodeId, element: &Element, primitive: Primitive) {
        let kind = self.tree.kind(node);
        let right_form = match primitive.json_form() {
            JsonForm::String => kind == Kind::String,
            JsonForm::Number => kind == Kind::Number,
            JsonForm::Boolean => matches!(kind, Kind::Boolean(_)),
        };
        // The `reference` of a Reference that is built is resolved when it is written.
        let built_reference =
            matches!(kind, Kind::Reference(_)) && element.name == NameId::REFERENCE;
        // So is an address, which only what may hold one has.
        if let (Kind::Address(target), Primitive::Uri | Primitive::Url) = (kind, primitive) {
            self.reference_to_entry(target, &[]);
            return;
        }
        if !right_form && !built_reference {
            let message = match primitive.json_form() {
                JsonForm::String => "not a JSON string",
                JsonForm::Number => "not a JSON number",
                JsonForm::Boolean => "not a JSON boolean",
            };
            self.error(IssueType::Structure, message);
            return;
        }
        if matches!(kind, Kind::Boolean(_)) || built_reference {
            return;
        }
        let text = self.tree.text(node);
        if let Err(error) = primitive::check(primitive, text) {
            let code = match error {
                PrimitiveError::Empty => IssueType::Invalid,
                PrimitiveError::TooLong => IssueType::TooLong,
                _ => IssueType::Value,
            };
            let message = format!(
                "not valid as {} ({}): {error}",
                primitive.name(),
                primitive.form()
            );
            self.error(code, message);
        } else if let Some(set) = self.required_set(element.binding)
            && !set.has_code(text)
        {
            self.not_in(set);
        }
    }

    /// The value set, if it is required and can be listed.
    fn required_set(&self, binding: Option<Binding>) -> Option<&'a ValueSet> {
        let binding = binding.filter(|binding| binding.strength == Strength::Required)?;
        self.definitions
            .value_set(binding.value_set)
            .filter(|set| set.closed)
    }

    fn bound_object(&mut self, node: NodeId, type_id: TypeId, set: &ValueSet) {
        let names = &self.rules.names;
        let within = |coding| {
            set.has(
                self.child_text(coding, names.system),
                self.child_text(coding, names.code),
            )
        };
        let bound = if type_id == self.rules.coding {
            within(node)
        } else if type_id == self.rules.codeable_concept {
            self.members(node, names.coding).any(within)
        } else {
            true
        };
        if !bound {
            self.not_in(set);
        }
    }

    fn not_in(&mut self, set: &ValueSet) {
        self.error(
            IssueType::CodeInvalid,
            format!("no code of the required value set {}", set.url),
        );
    }
}

/// The element of a name. Children mostly come in the order of the definitions, so the search starts where the last ended.
fn find(elements: &[Element], name: NameId, from: usize) -> Option<(usize, &Element)> {
    let (before, after) = elements.split_at_checked(from)?;
    let found = |(_, element): &(usize, &Element)| element.name == name;
    let later = after
        .iter()
        .enumerate()
        .map(|(at, element)| (at + from, element))
        .find(found);
    later.or_else(|| before.iter().enumerate().find(found))
}
