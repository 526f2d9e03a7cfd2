//! References: what they point to, inside the resource, inside the Bundle, or by their address.

use std::collections::{HashMap, HashSet};

use super::Validator;
use crate::definitions::{Definitions, TypeId};
use crate::names::NameId;
use crate::outcome::IssueType;
use crate::primitive::{self, Primitive};
use crate::tree::{Kind, NodeId, Tree};

/// The entries of a Bundle by `fullUrl`, each with its type unless it has no resource.
pub(super) struct Index<'a> {
    by_url: HashMap<&'a str, Option<TypeId>>,
}

impl<'a> Index<'a> {
    /// `None` when the node is not a Bundle.
    pub(super) fn of_bundle(
        tree: &'a Tree,
        node: NodeId,
        definitions: &Definitions,
    ) -> Option<Index<'a>> {
        let text = |node, name| tree.get(node, name).map_or("", |child| tree.text(child));
        if text(node, NameId::RESOURCE_TYPE) != "Bundle" {
            return None;
        }
        let entries = tree
            .get(node, NameId::ENTRY)
            .into_iter()
            .flat_map(|array| tree.children(array));
        let by_url = entries.map(|(_, entry)| {
            let resource = tree.get(entry, NameId::RESOURCE);
            let type_id =
                resource.and_then(|node| definitions.resource(text(node, NameId::RESOURCE_TYPE)));
            (text(entry, NameId::FULL_URL), type_id)
        });
        Some(Index {
            by_url: by_url.filter(|(url, _)| !url.is_empty()).collect(),
        })
    }
}

/// What an address says of its target.
enum Target {
    Type(TypeId),
    /// Nothing.
    Unknown,
    /// It cannot be an address of anything.
    Malformed,
}

impl Validator<'_> {
    /// A Reference object whose element may point to `targets` (any, if there are none).
    pub(super) fn reference(&mut self, node: NodeId, targets: &[TypeId]) {
        let Some(reference) = self.tree.get(node, NameId::REFERENCE) else {
            return;
        };
        if let Kind::Reference(target) = self.tree.kind(reference) {
            self.reference_to_entry(target, targets);
            return;
        }
        let text = self.tree.text(reference);
        let target = match text.strip_prefix('#') {
            Some(id) => self.contained_target(id),
            None => self.address_target(text),
        };
        match target {
            Target::Type(type_id) => self.target_type(type_id, targets),
            Target::Unknown => {}
            Target::Malformed => self.error_at(
                "reference",
                IssueType::Value,
                "not the address of a resource",
            ),
        }
    }

    /// A reference to a resource by its number, in what was built.
    pub(super) fn reference_to_entry(&mut self, target: u32, targets: &[TypeId]) {
        match self
            .entries
            .get(target as usize)
            .map(|entry| self.definitions.resource(entry.type_name))
        {
            Some(Some(type_id)) => self.target_type(type_id, targets),
            Some(None) => {}
            None => self.error(
                IssueType::NotFound,
                "reference to a resource that is not in the Bundle",
            ),
        }
    }

    fn target_type(&mut self, type_id: TypeId, targets: &[TypeId]) {
        if !targets.is_empty() && !targets.contains(&type_id) {
            let name = self.definitions.type_name(type_id);
            self.error(
                IssueType::Structure,
                format!("reference to a resource of type {name}, which may not be here"),
            );
        }
    }

    /// `#id`, or `#` for the container itself.
    fn contained_target(&mut self, id: &str) -> Target {
        let Some((container, container_type)) = self.container else {
            return Target::Unknown;
        };
        if id.is_empty() {
            return Target::Type(container_type);
        }
        let mut contained = self.members(container, self.rules.names.contained);
        let found = contained.find(|node| self.child_text(*node, NameId::ID) == id);
        drop(contained);
        let Some(found) = found else {
            self.error_at(
                "reference",
                IssueType::Invariant,
                "ref-1: no contained resource has this id",
            );
            return Target::Unknown;
        };
        let type_name = self.child_text(found, NameId::RESOURCE_TYPE);
        self.definitions
            .resource(type_name)
            .map_or(Target::Unknown, Target::Type)
    }

    fn address_target(&mut self, text: &str) -> Target {
        let in_bundle = self
            .index
            .as_ref()
            .map(|index| index.by_url.get(text).copied());
        match in_bundle {
            Some(Some(Some(type_id))) => Target::Type(type_id),
            Some(Some(None)) => Target::Unknown,
            Some(None) if text.starts_with("urn:uuid:") || text.starts_with("urn:oid:") => {
                self.error_at(
                    "reference",
                    IssueType::NotFound,
                    "no entry of the Bundle has this fullUrl",
                );
                Target::Unknown
            }
            _ => target_of_address(self.definitions, text),
        }
    }

    /// dom-2 to dom-5: what contained resources must not have, and that something refers to them.
    pub(super) fn contained(&mut self, node: NodeId) {
        let names = &self.rules.names;
        let Some(array) = self.child(node, names.contained) else {
            return;
        };
        let mut mentioned = HashSet::new();
        mentions(self.tree, node, &mut mentioned);
        for (index, (_, resource)) in self.tree.children(array).enumerate() {
            let place = format!("contained[{index}]");
            let meta = self.child(resource, names.meta);
            let in_meta = |name| meta.is_some_and(|meta| self.child(meta, name).is_some());
            let nested = self.child(resource, names.contained).is_some();
            let versioned = in_meta(names.version_id) || in_meta(names.last_updated);
            let secured = in_meta(names.security);
            let mut inside = HashSet::new();
            mentions(self.tree, resource, &mut inside);
            let used =
                mentioned.contains(self.child_text(resource, NameId::ID)) || inside.contains("");
            for (wrong, message) in [
                (nested, "dom-2: a contained resource contains another"),
                (!used, "dom-3: nothing refers to this contained resource"),
                (
                    versioned,
                    "dom-4: a contained resource has a version or a time of change",
                ),
                (secured, "dom-5: a contained resource has security labels"),
            ] {
                if wrong {
                    self.error_at(&place, IssueType::Invariant, message);
                }
            }
        }
    }
}

/// All `#id` anywhere below: in references, and in canonicals and other addresses.
fn mentions<'t>(tree: &'t Tree, node: NodeId, found: &mut HashSet<&'t str>) {
    for (_, child) in tree.children(node) {
        match tree.kind(child) {
            Kind::Object | Kind::Array => mentions(tree, child, found),
            Kind::String => found.extend(tree.text(child).strip_prefix('#')),
            _ => {}
        }
    }
}

/// `Patient/1`, `http://example.org/fhir/Patient/1/_history/2`, `Patient?identifier=x`
/// (<https://hl7.org/fhir/R4/references.html#literal>).
fn target_of_address(definitions: &Definitions, text: &str) -> Target {
    if text.starts_with("urn:") {
        return Target::Unknown;
    }
    let absolute = text.contains("://");
    let unclear = if absolute {
        Target::Unknown
    } else {
        Target::Malformed
    };
    let text = text.split('#').next().unwrap_or_default();
    if let Some((path, _)) = text.split_once('?') {
        let type_name = path.rsplit('/').next().unwrap_or_default();
        return definitions
            .resource(type_name)
            .map_or(unclear, Target::Type);
    }
    let path = text.split("/_history/").next().unwrap_or_default();
    let mut parts = path.rsplit('/');
    let (id, type_name) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    // `other/Patient/1` is not relative to a server's base.
    let right = primitive::check(Primitive::Id, id).is_ok() && (absolute || parts.next().is_none());
    match definitions.resource(type_name) {
        Some(type_id) if right => Target::Type(type_id),
        _ => unclear,
    }
}
