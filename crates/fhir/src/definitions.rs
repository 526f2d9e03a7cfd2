//! What R4 says about every resource and data type: elements in order, cardinality, types, reference targets, value sets.
//!
//! The facts come from the official definitions through `scripts/fhir-definitions.py`, and travel as a deflated pack that
//! is decoded at first use (a few milliseconds). Choice elements (`value[x]`, <https://hl7.org/fhir/R4/formats.html#choice>)
//! appear once for each JSON name they have: `valueQuantity`, `valueString`, and so on, all of one [`Element::base`].

mod pack;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::names::{NameId, Names};
use crate::primitive::Primitive;

/// The R4 definitions (4.0.1), decoded at first use.
pub fn r4() -> &'static Definitions {
    static R4: OnceLock<Definitions> = OnceLock::new();
    // The tests hold the committed pack against its counts; an unreadable one would know no types at all.
    R4.get_or_init(|| pack::decode(include_bytes!("../data/r4.pack")).unwrap_or_default())
}

/// A type: a resource, a data type, a primitive or a backbone element (`Patient.contact`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u16);

impl TypeId {
    /// No type's number.
    pub(crate) const NONE: TypeId = TypeId(u16::MAX);

    /// Position among [`Definitions::types`].
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Sorts of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// `string`, `dateTime`: a JSON string, number or boolean.
    Primitive,
    /// `HumanName`: an object.
    Complex,
    /// `Patient.contact`: an object defined inside another type.
    Backbone,
    /// `Patient`: an object with a `resourceType`.
    Resource,
}

/// An element of a type, under one of its JSON names.
#[derive(Clone, Debug)]
pub struct Element {
    /// The JSON name: `status`, `valueQuantity`.
    pub name: NameId,
    /// The name in the definitions without `[x]`: `status`, `value`.
    pub base: &'static str,
    /// Place among the elements of the type, from 1; all names of a choice share it. `resourceType` has 0.
    pub order: u16,
    /// At least so many; for a choice, of all its names together.
    pub min: u32,
    /// At most so many; `None` is any number, which makes it a JSON array. For a choice always 1.
    pub max: Option<u32>,
    /// The type: one, since a choice has an element for each.
    pub types: &'static [TypeRef],
    /// Whether it is one name of a choice, of which only one may be there.
    pub choice: bool,
    /// The value set its codes come from, if R4 requires or advises one (extensible).
    pub binding: Option<Binding>,
    /// It can change the meaning of what holds it (<https://hl7.org/fhir/R4/conformance-rules.html#isModifier>).
    pub modifier: bool,
    /// It belongs to the summary view (<https://hl7.org/fhir/R4/search.html#summary>).
    pub summary: bool,
    /// A `Quantity` that must have no comparator (<https://hl7.org/fhir/R4/datatypes.html#SimpleQuantity>).
    pub simple_quantity: bool,
}

/// The type of an element, and what it may refer to.
#[derive(Clone, Copy, Debug)]
pub struct TypeRef {
    /// The type.
    pub type_: TypeId,
    /// For a `Reference` or `canonical`: the resource types it may point to; empty is any.
    pub targets: &'static [TypeId],
}

/// How firmly an element is bound to its value set (<https://hl7.org/fhir/R4/terminologies.html#strength>). Weaker
/// bindings say nothing that can be checked, so they are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// Codes outside it are wrong.
    Required,
    /// Codes outside it are for what it has no code for.
    Extensible,
}

/// A value set that an element takes its codes from.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Required or extensible.
    pub strength: Strength,
    /// See [`Definitions::value_set`].
    pub value_set: ValueSetId,
}

/// The number of a value set in [`Definitions::value_set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueSetId(u16);

/// The codes an element may have.
#[derive(Debug)]
pub struct ValueSet {
    /// Its canonical address, without version.
    pub url: &'static str,
    /// Whether the codes below are all there are. The others (media types, UCUM) cannot be listed, and list nothing.
    pub closed: bool,
    systems: Vec<SystemCodes>,
}

#[derive(Debug)]
struct SystemCodes {
    system: &'static str,
    /// Sorted by their bytes.
    codes: Vec<&'static str>,
}

struct Type {
    name: &'static str,
    kind: TypeKind,
    is_abstract: bool,
    primitive: Option<Primitive>,
    elements: Vec<Element>,
}

/// All types and value sets; see [`r4`].
#[derive(Default)]
pub struct Definitions {
    pub(crate) names: Names,
    types: Vec<Type>,
    by_name: HashMap<&'static str, TypeId>,
    value_sets: Vec<ValueSet>,
}

impl Definitions {
    /// A type by name: `Patient`, `HumanName`, `dateTime`, `Patient.contact`.
    pub fn type_(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// A resource type that can have instances: `Patient`, and not `HumanName` or `DomainResource`.
    pub fn resource(&self, name: &str) -> Option<TypeId> {
        let id = self.type_(name)?;
        let found = self.get(id)?;
        (found.kind == TypeKind::Resource && !found.is_abstract).then_some(id)
    }

    /// All types, in the order of the pack.
    pub fn types(&self) -> impl Iterator<Item = TypeId> {
        (0..self.types.len()).filter_map(|number| u16::try_from(number).ok().map(TypeId))
    }

    /// The name of a type.
    pub fn type_name(&self, id: TypeId) -> &'static str {
        self.get(id).map_or("", |found| found.name)
    }

    /// What sort of type it is.
    pub fn kind(&self, id: TypeId) -> TypeKind {
        self.get(id).map_or(TypeKind::Complex, |found| found.kind)
    }

    /// Whether it only exists to be specialised: `Resource`, `DomainResource`, `Element`, `BackboneElement`.
    pub fn is_abstract(&self, id: TypeId) -> bool {
        self.get(id).is_some_and(|found| found.is_abstract)
    }

    /// Which primitive it is, if any.
    pub fn primitive(&self, id: TypeId) -> Option<Primitive> {
        self.get(id)?.primitive
    }

    /// The elements of a type in order, inherited ones included; none for a primitive.
    pub fn elements(&self, id: TypeId) -> &[Element] {
        self.get(id).map_or(&[], |found| &found.elements)
    }

    /// The element of that JSON name: `status`, `valueQuantity` (and neither `value` nor `_status`). A backbone
    /// element's children are those of its own type, `types[0].type_`.
    pub fn element(&self, id: TypeId, name: &str) -> Option<&Element> {
        self.element_by_id(id, self.names.find(name)?)
    }

    /// As [`Definitions::element`], by number.
    pub fn element_by_id(&self, id: TypeId, name: NameId) -> Option<&Element> {
        self.elements(id)
            .iter()
            .find(|element| element.name == name)
    }

    /// The elements that a choice stands for: `value` gives `valueQuantity`, `valueString` and so on. Empty when there is
    /// no such choice.
    pub fn choices(&self, id: TypeId, base: &str) -> &[Element] {
        let elements = self.elements(id);
        let of_base = |element: &Element| element.choice && element.base == base;
        let first = elements.iter().position(of_base).unwrap_or(elements.len());
        let rest = elements.get(first..).unwrap_or_default();
        let count = rest.iter().take_while(|element| of_base(element)).count();
        rest.get(..count).unwrap_or_default()
    }

    /// The JSON name of an element.
    pub fn name_text(&self, name: NameId) -> &str {
        self.names.text(name).unwrap_or_default()
    }

    /// Every element name of R4: to suggest one for a name that is not there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter()
    }

    /// A value set by the number a binding gives.
    pub fn value_set(&self, id: ValueSetId) -> Option<&ValueSet> {
        self.value_sets.get(usize::from(id.0))
    }

    /// A value set by its canonical address; only those that some element has a required or extensible binding to.
    pub fn value_set_by_url(&self, url: &str) -> Option<&ValueSet> {
        self.value_sets.iter().find(|set| set.url == url)
    }

    fn get(&self, id: TypeId) -> Option<&Type> {
        self.types.get(usize::from(id.0))
    }
}

impl std::fmt::Debug for Definitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definitions")
            .field("types", &self.types.len())
            .finish_non_exhaustive()
    }
}

impl Element {
    /// The type, which every element of a sound pack has.
    pub fn type_(&self) -> Option<TypeRef> {
        self.types.first().copied()
    }

    /// The JSON name as text.
    pub fn text(&self) -> &'static str {
        r4().names.text(self.name).unwrap_or_default()
    }

    /// Whether its JSON value is an array.
    pub fn is_array(&self) -> bool {
        self.max != Some(1)
    }
}

impl ValueSet {
    /// Whether it has the code, in whatever system: for an element of type `code`.
    pub fn has_code(&self, code: &str) -> bool {
        self.systems.iter().any(|system| system.has(code))
    }

    /// Whether it has the code of that system.
    pub fn has(&self, system: &str, code: &str) -> bool {
        self.systems
            .iter()
            .any(|codes| codes.system == system && codes.has(code))
    }

    /// All its codes, as (system, code).
    pub fn codes(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.systems
            .iter()
            .flat_map(|system| system.codes.iter().map(|code| (system.system, *code)))
    }

    /// The system of a code that only one of its systems has: to complete a bare code.
    pub fn system_of(&self, code: &str) -> Option<&'static str> {
        let mut having = self.systems.iter().filter(|system| system.has(code));
        let system = having.next()?.system;
        having.next().is_none().then_some(system)
    }
}

impl SystemCodes {
    fn has(&self, code: &str) -> bool {
        self.codes.binary_search(&code).is_ok()
    }
}

#[cfg(test)]
mod tests;
