//! Which resource it is: ids made from what identifies it, so that the next message meets the same one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use fhir::tree::{Key, NodeId};
use hl7v2::Node;
use sha1::{Digest, Sha1};
use uuid::Uuid;

use super::access::Here;
use super::{Run, Spread};
use crate::plan::{Access, BoundId, Canonical, Identity, Part};

/// Namespace of all ids. It stands for version 1 of how keys are turned into ids: changing either makes every
/// resource a new one.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0d_5b1e_2c5a_5d0b_9a53_1f4e_8c27_a901);

/// Ends a part of a key; no text of a message has it.
const END: char = '\u{1f}';

/// What a key comes to.
pub(crate) struct Identified {
    pub uuid: Uuid,
    /// Identifier for a conditional write, when the key is one identifier.
    pub condition: Option<(Cow<'static, str>, String)>,
}

impl<'r> Run<'r> {
    /// The id of a resource; without a key, or when no field of it has a value, it is identified by the message and
    /// its place in it.
    pub(crate) fn identify(
        &mut self,
        type_name: &str,
        key: Option<&'r Identity>,
        here: &Here<'r>,
    ) -> Identified {
        let mut text = std::mem::take(&mut self.state.key);
        let found = self.identify_by(&mut text, type_name, key, here);
        self.state.key = text;
        found
    }

    fn identify_by(
        &mut self,
        text: &mut String,
        type_name: &str,
        key: Option<&'r Identity>,
        here: &Here<'r>,
    ) -> Identified {
        if let Some(found) = key.and_then(|key| self.by_key(text, type_name, key, here)) {
            return found;
        }
        self.state.anonymous += 1;
        text.clear();
        text.push_str(type_name);
        text.push(END);
        self.message_identity(text);
        super::text::append(text, format_args!("{}{END}", self.state.anonymous));
        Identified {
            uuid: id_of(text),
            condition: None,
        }
    }

    /// Lets other segments find the resource by this key. The first of several that are called the same is meant.
    ///
    /// Few messages ask for anything by its name, so names are made when one is asked for. One that depends on how far the
    /// message is read is made at once.
    pub(crate) fn name_resource(
        &mut self,
        name: BoundId,
        key: &'r Identity,
        resource: u32,
        here: &Here<'r>,
    ) {
        self.unnamed.push((name, key, resource, *here));
        let is_steady = |part: &Part| {
            matches!(
                part,
                Part::Value(_) | Part::Sender | Part::Text(_) | Part::Template(_)
            )
        };
        if !key.parts.iter().all(is_steady) {
            self.make_names();
        }
    }

    fn make_names(&mut self) {
        for (name, key, resource, here) in std::mem::take(&mut self.unnamed) {
            if let Some(uuid) = self.name_of(key, &here) {
                self.state.called.entry((name, uuid)).or_insert(resource);
            }
        }
    }

    /// The resource of that name that is called so; one that was called earlier in the message.
    pub(crate) fn called(
        &mut self,
        name: BoundId,
        key: &'r Identity,
        here: &Here<'r>,
    ) -> Option<u32> {
        self.make_names();
        if self.state.called.is_empty() {
            return None;
        }
        let uuid = self.name_of(key, here)?;
        self.state.called.get(&(name, uuid)).copied()
    }

    fn name_of(&mut self, key: &'r Identity, here: &Here<'r>) -> Option<Uuid> {
        let mut text = std::mem::take(&mut self.state.key);
        let found = self.by_key(&mut text, "called", key, here);
        self.state.key = text;
        found.map(|found| found.uuid)
    }

    /// What a reference by key was read from has been used.
    pub(crate) fn take_key(&mut self, key: &'r Identity, here: &Here<'r>) {
        for part in &key.parts {
            if let Part::Value(choices) = part {
                let valued = choices
                    .iter()
                    .filter_map(|(access, _)| self.node(*access, here))
                    .find(Node::is_valued);
                if let Some(node) = valued {
                    self.take(node.leaves());
                }
            }
        }
    }

    fn by_key(
        &mut self,
        text: &mut String,
        type_name: &str,
        key: &'r Identity,
        here: &Here<'r>,
    ) -> Option<Identified> {
        text.clear();
        text.push_str(type_name);
        text.push(END);
        let start = text.len();
        let mut valued = false;
        let mut repeat = false;
        let mut condition = None;
        for part in &key.parts {
            match part {
                Part::Value(choices) => {
                    let found = choices.iter().find_map(|(access, canonical)| {
                        let number = self.canonical(*access, *canonical, here, text)?;
                        let is_identifier = matches!(canonical, Canonical::Cx | Canonical::Ei);
                        Some(is_identifier.then_some(number))
                    });
                    valued |= found.is_some();
                    if let (Some(Some(number)), 1) = (found, key.parts.len()) {
                        let system = text.get(start..number.saturating_sub(1));
                        condition = system.zip(text.get(number..)).map(owned);
                    }
                }
                Part::Bound(names) => {
                    if let Some(made) = names
                        .iter()
                        .find_map(|name| self.bound(*name))
                        .and_then(|resource| self.state.made.get(resource as usize))
                    {
                        let mut buffer = Uuid::encode_buffer();
                        text.push_str(made.uuid.simple().encode_lower(&mut buffer));
                    }
                }
                Part::Sender => text.push_str(&self.state.sender),
                Part::Message => {
                    self.message_identity(text);
                    valued = true;
                }
                Part::Repeat => repeat = true,
                Part::Text(part) => text.push_str(part),
                Part::Template(template) => {
                    let mut made = String::new();
                    if let Some(rendered) = self.render(template, here, &mut made) {
                        text.push_str(rendered.text.as_deref().unwrap_or(&made));
                        valued = true;
                    }
                }
            }
            text.push(END);
        }
        if !valued {
            return None;
        }
        let mut uuid = id_of(text);
        if repeat {
            let count = self.state.repeats.entry(uuid).or_insert(0);
            *count += 1;
            if *count > 1 {
                let count = *count;
                super::text::append(text, format_args!("{count}{END}"));
                uuid = id_of(text);
            }
        }
        Some(Identified { uuid, condition })
    }

    fn message_identity(&self, text: &mut String) {
        let header = self.message.header();
        for node in [header.sending_application(), header.sending_facility()] {
            text.push_str(&node.child(1).text());
            text.push(END);
        }
        text.push_str(&header.control_id());
        text.push(END);
    }

    /// Appends what identifies a value, and says where in the text its number starts, if that is how it is identified;
    /// `None` when it has no identity.
    fn canonical(
        &mut self,
        access: Access,
        canonical: Canonical,
        here: &Here<'r>,
        text: &mut String,
    ) -> Option<usize> {
        let mut node = self.node(access, here).filter(|node| node.is_valued())?;
        // A list may start with an empty repetition.
        let numbered = !matches!(
            canonical,
            Canonical::Whole | Canonical::Code | Canonical::Hd
        );
        if numbered && access.repetition == 0 && access.component == 0 {
            node = node.repetitions().find(Node::is_valued).unwrap_or(node);
        }
        match canonical {
            Canonical::Cx => {
                self.numbered(node.child(1), |run| run.authority_of(node.child(4)), text)
            }
            Canonical::Ei => self.numbered(
                node.child(1),
                |run| {
                    run.authority(
                        Some(node.child(2)),
                        Some(node.child(3)),
                        Some(node.child(4)),
                    )
                },
                text,
            ),
            Canonical::Xcn => {
                if node.child(1).is_valued() {
                    return self.numbered(
                        node.child(1),
                        |run| run.authority_of(node.child(9)),
                        text,
                    );
                }
                let names = [2, 3, 4, 5].map(|number| node.child(number));
                self.by_name(&names, text)
            }
            Canonical::Xon => {
                for number in [10, 3] {
                    if node.child(number).is_valued() {
                        return self.numbered(
                            node.child(number),
                            |run| run.authority_of(node.child(6)),
                            text,
                        );
                    }
                }
                self.by_name(&[node.child(1)], text)
            }
            Canonical::Code => {
                let (code, display) = (node.child(1), node.child(2));
                if code.is_valued() {
                    text.push_str(&self.peek(code));
                    text.push('|');
                    let system = self.peek(node.child(3));
                    if !system.is_empty() {
                        text.push_str(&self.system(system));
                    }
                    return Some(0);
                }
                let display = if display.is_valued() {
                    display
                } else {
                    node.child(9)
                };
                self.by_name(&[display], text)
            }
            Canonical::Hd => {
                let system = self.authority_of(node);
                text.push_str(&system);
                Some(0)
            }
            Canonical::Whole => {
                text.push_str(node.whole_text().trim());
                Some(0)
            }
        }
    }

    /// Who gave a number, and behind a bar the number itself; where that starts.
    fn numbered(
        &mut self,
        number: Node<'r>,
        authority: impl FnOnce(&mut Self) -> Cow<'r, str>,
        text: &mut String,
    ) -> Option<usize> {
        let value = self.peek(number);
        if value.is_empty() {
            return None;
        }
        text.push_str(&authority(self));
        text.push('|');
        let start = text.len();
        text.push_str(&value);
        Some(start)
    }

    /// Names are only unique for a sender.
    fn by_name(&mut self, names: &[Node<'r>], text: &mut String) -> Option<usize> {
        if !names.iter().any(Node::is_valued) {
            return None;
        }
        text.push_str(&self.state.sender);
        for name in names {
            text.push('|');
            text.push_str(&self.peek(*name).to_lowercase());
        }
        Some(0)
    }

    /// Makes sure that the resource has the identifier its conditional write asks for; a type that can't have one is
    /// written by id.
    pub(crate) fn ensure_identifier(&mut self, resource: u32) {
        let Some(made) = self.state.made.get_mut(resource as usize) else {
            return;
        };
        let Some(keys) = identifier_keys(made.type_name) else {
            made.condition = None;
            return;
        };
        let (root, uuid) = (made.node, made.uuid);
        let (system, value) = made.condition.take().unwrap_or_else(|| {
            let mut buffer = Uuid::encode_buffer();
            let urn = uuid.urn().encode_lower(&mut buffer).to_owned();
            (Cow::Borrowed("urn:ietf:rfc:3986"), urn)
        });
        let list = match self.state.tree.get(root, keys.identifier.name) {
            Some(list) => list,
            None => self.state.tree.add_array(root, keys.identifier),
        };
        if !self.has_identifier(list, &system, &value, &keys) {
            let tree = &mut self.state.tree;
            let identifier = tree.push_object(list);
            tree.add_string(identifier, keys.system, &system);
            tree.add_string(identifier, keys.value, &value);
        }
        if let Some(made) = self.state.made.get_mut(resource as usize) {
            made.condition = Some((system, value));
        }
    }

    fn has_identifier(
        &self,
        list: NodeId,
        system: &str,
        value: &str,
        keys: &IdentifierKeys,
    ) -> bool {
        let tree = &self.state.tree;
        let text = |parent: NodeId, key: Key| {
            tree.get(parent, key.name)
                .map_or("", |node| tree.text(node))
        };
        tree.children(list).any(|(_, identifier)| {
            text(identifier, keys.value) == value && text(identifier, keys.system) == system
        })
    }
}

/// A name-based UUID (version 5), as `Uuid::new_v5` makes it: a message needs dozens of them, so they are hashed with the
/// processor's own instructions where it has them.
fn id_of(text: &str) -> Uuid {
    let hash = Sha1::new()
        .chain_update(NAMESPACE.as_bytes())
        .chain_update(text.as_bytes())
        .finalize();
    let first = hash.first_chunk().copied().unwrap_or_default();
    uuid::Builder::from_sha1_bytes(first).into_uuid()
}

fn owned((system, value): (&str, &str)) -> (Cow<'static, str>, String) {
    (Cow::Owned(system.to_owned()), value.to_owned())
}

/// Where a resource has its identifiers.
#[derive(Clone, Copy)]
struct IdentifierKeys {
    identifier: Key,
    system: Key,
    value: Key,
}

/// `None` for a type that has no list of identifiers.
fn identifier_keys(type_name: &'static str) -> Option<IdentifierKeys> {
    static KEYS: OnceLock<HashMap<&'static str, IdentifierKeys, Spread>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let r4 = fhir::definitions::r4();
        let key = |type_id, name: &str| {
            let element = r4.element(type_id, name)?;
            let key = Key {
                name: element.name,
                order: element.order,
            };
            Some((key, element.is_array()))
        };
        let identifier = r4.type_("Identifier");
        let part = |name: &str| identifier.and_then(|id| key(id, name)).map(|(key, _)| key);
        let of = |type_id| {
            let (identifier, _) = key(type_id, "identifier").filter(|(_, array)| *array)?;
            let keys = IdentifierKeys {
                identifier,
                system: part("system")?,
                value: part("value")?,
            };
            Some((r4.type_name(type_id), keys))
        };
        r4.types().filter_map(of).collect()
    });
    keys.get(type_name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_5() {
        for text in ["", "Patient", &"long ".repeat(40)] {
            assert_eq!(id_of(text), Uuid::new_v5(&NAMESPACE, text.as_bytes()));
        }
    }
}
