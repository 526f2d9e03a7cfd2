//! The FHIR side of a rule: which element it fills, and what that element takes.

use fhir::definitions::{Element, TypeId};
use fhir::tree::Key;

use super::Compiler;
use super::scope::Scope;
use crate::diagnostic::{Code, closest};
use crate::plan::{Field, Needs, Rule, Shape};
use crate::yaml::{Node, Value};

/// What a rule may make.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub shape: Shape,
    pub type_id: TypeId,
    pub array: bool,
    pub element: Option<&'static Element>,
    pub replace: bool,
}

impl Compiler {
    /// The rules of the elements of one object, in the order of the FHIR definitions.
    pub(crate) fn fields(
        &mut self,
        type_id: TypeId,
        pairs: &[(&Node, &Node)],
        scope: &Scope,
        replace: bool,
    ) -> Vec<Field> {
        let mut fields: Vec<Field> = pairs
            .iter()
            .filter_map(|(key, value)| self.field(type_id, key, value, scope, replace))
            .collect();
        fields.sort_by_key(|field| field.key.order);
        fields
    }

    fn field(
        &mut self,
        type_id: TypeId,
        key: &Node,
        value: &Node,
        scope: &Scope,
        replace: bool,
    ) -> Option<Field> {
        let written = self.text_of(key, "the name of an element")?;
        let name = written.trim_start_matches('.').to_owned();
        let target = self.target(type_id, &name, key, replace)?;
        let rules = match &value.value {
            Value::List(members) => {
                if members.is_empty() {
                    self.error(
                        Code::Shape,
                        value.span,
                        "the list is empty",
                        "give it rules, or leave the element out",
                    );
                }
                let rules: Vec<Rule> = members
                    .iter()
                    .filter_map(|member| self.rule(member, &target, scope))
                    .collect();
                self.duplicates(members, "this rule");
                if !target.array {
                    self.unreachable(&name, members, &rules, scope);
                }
                rules
            }
            _ => self.rule(value, &target, scope).into_iter().collect(),
        };
        let r4 = self.r4;
        let element = target.element?;
        let sibling = name.starts_with('_');
        let id = if sibling {
            element.name.sibling()
        } else {
            element.name
        };
        Some(Field {
            key: Key {
                name: id,
                order: element.order,
            },
            array: target.array,
            shape: target.shape,
            choice: element.choice && !sibling,
            rules,
            replace,
            distinct: distinct(r4.type_name(target.type_id)),
            needs: Needs::default(),
            place: None,
        })
    }

    /// The element of that name, or a finding that says which one was probably meant.
    pub(crate) fn target(
        &mut self,
        type_id: TypeId,
        name: &str,
        key: &Node,
        replace: bool,
    ) -> Option<Target> {
        let r4 = self.r4;
        let sibling = name.strip_prefix('_');
        let Some(element) = r4.element(type_id, sibling.unwrap_or(name)) else {
            self.unknown_element(type_id, name, key);
            return None;
        };
        if sibling.is_some() {
            let type_id = r4.type_("Element")?;
            return Some(Target {
                shape: Shape::Complex,
                type_id,
                array: element.is_array(),
                element: Some(element),
                replace,
            });
        }
        let type_ref = element.type_()?;
        Some(Target {
            shape: shape(r4, type_ref.type_),
            type_id: type_ref.type_,
            array: element.is_array(),
            element: Some(element),
            replace,
        })
    }

    fn unknown_element(&mut self, type_id: TypeId, name: &str, key: &Node) {
        let r4 = self.r4;
        let owner = r4.type_name(type_id);
        let choices = r4.choices(type_id, name.trim_end_matches("[x]"));
        let help = if choices.is_empty() {
            let names = r4.elements(type_id).iter().map(Element::text);
            match closest(name, names.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "its elements are {}",
                    names.take(40).collect::<Vec<_>>().join(", ")
                ),
            }
        } else {
            format!(
                "write the type with it: {}",
                choices
                    .iter()
                    .take(12)
                    .map(Element::text)
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        };
        self.error(
            Code::UnknownElement,
            key.span,
            format!("{owner} has no element `{name}`"),
            help,
        );
    }
}

/// What an element of a type takes.
pub(crate) fn shape(r4: &fhir::definitions::Definitions, type_id: TypeId) -> Shape {
    if let Some(primitive) = r4.primitive(type_id) {
        return Shape::Primitive(primitive);
    }
    match r4.type_name(type_id) {
        "Coding" => Shape::Coding,
        "CodeableConcept" => Shape::CodeableConcept,
        "Reference" => Shape::Reference,
        "Period" => Shape::Period,
        _ => Shape::Complex,
    }
}

/// Types of which a second equal one in a list says nothing more.
pub(super) fn distinct(type_name: &str) -> bool {
    matches!(
        type_name,
        "Identifier"
            | "HumanName"
            | "Address"
            | "ContactPoint"
            | "CodeableConcept"
            | "Coding"
            | "Reference"
            | "Extension"
    )
}
