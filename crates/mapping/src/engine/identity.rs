//! Which resource it is: ids made from what identifies it, so that the next message meets the same one.

use std::collections::HashMap;
use std::sync::OnceLock;

use fhir::tree::{Key, NodeId};
use hl7v2::Node;
use uuid::Uuid;

use super::Run;
use super::access::Here;
use crate::plan::{Access, Canonical, Identity, Part};

/// Namespace of all ids. It stands for version 1 of how keys are turned into ids: changing either makes every
/// resource a new one.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0d_5b1e_2c5a_5d0b_9a53_1f4e_8c27_a901);

/// Ends a part of a key; no text of a message has it.
const END: char = '\u{1f}';

/// What a key comes to.
pub(crate) struct Identified {
    pub uuid: Uuid,
    /// Identifier for a conditional write, when the key is one identifier.
    pub condition: Option<(String, String)>,
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
        if let Some(found) = key.and_then(|key| self.by_key(type_name, key, here)) {
            return found;
        }
        self.state.anonymous += 1;
        let mut text = format!("{type_name}{END}");
        self.message_identity(&mut text);
        super::text::append(&mut text, format_args!("{}{END}", self.state.anonymous));
        Identified {
            uuid: Uuid::new_v5(&NAMESPACE, text.as_bytes()),
            condition: None,
        }
    }

    fn by_key(
        &mut self,
        type_name: &str,
        key: &'r Identity,
        here: &Here<'r>,
    ) -> Option<Identified> {
        let mut text = String::with_capacity(96);
        text.push_str(type_name);
        text.push(END);
        let mut valued = false;
        let mut repeat = false;
        for part in &key.parts {
            match part {
                Part::Value(choices) => {
                    valued |= choices.iter().any(|(access, canonical)| {
                        self.canonical(*access, *canonical, here, &mut text)
                    });
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
                    self.message_identity(&mut text);
                    valued = true;
                }
                Part::Repeat => repeat = true,
                Part::Text(part) => text.push_str(part),
            }
            text.push(END);
        }
        if !valued {
            return None;
        }
        let mut uuid = Uuid::new_v5(&NAMESPACE, text.as_bytes());
        if repeat {
            let count = self.state.repeats.entry(uuid).or_insert(0);
            *count += 1;
            if *count > 1 {
                let count = *count;
                super::text::append(&mut text, format_args!("{count}{END}"));
                uuid = Uuid::new_v5(&NAMESPACE, text.as_bytes());
            }
        }
        Some(Identified {
            uuid,
            condition: self.condition(key, here),
        })
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

    /// Appends what identifies a value; `false` when it has none.
    fn canonical(
        &mut self,
        access: Access,
        canonical: Canonical,
        here: &Here<'r>,
        text: &mut String,
    ) -> bool {
        let Some(node) = self.node(access, here).filter(|node| node.is_valued()) else {
            return false;
        };
        match canonical {
            Canonical::Cx => self.numbered(
                node.child(1),
                |run| run.authority_of(node.child(4)).into_owned(),
                text,
            ),
            Canonical::Ei => self.numbered(
                node.child(1),
                |run| {
                    run.authority(
                        Some(node.child(2)),
                        Some(node.child(3)),
                        Some(node.child(4)),
                    )
                    .into_owned()
                },
                text,
            ),
            Canonical::Xcn => {
                if node.child(1).is_valued() {
                    return self.numbered(
                        node.child(1),
                        |run| run.authority_of(node.child(9)).into_owned(),
                        text,
                    );
                }
                let names: Vec<Node<'r>> = (2..=5).map(|number| node.child(number)).collect();
                self.by_name(&names, text)
            }
            Canonical::Xon => {
                for number in [10, 3] {
                    if node.child(number).is_valued() {
                        return self.numbered(
                            node.child(number),
                            |run| run.authority_of(node.child(6)).into_owned(),
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
                    return true;
                }
                let display = if display.is_valued() {
                    display
                } else {
                    node.child(9)
                };
                self.by_name(&[display], text)
            }
            Canonical::Hd => {
                let system = self.authority_of(node).into_owned();
                text.push_str(&system);
                true
            }
            Canonical::Whole => {
                text.push_str(node.whole_text().trim());
                true
            }
        }
    }

    /// A number and who gave it.
    fn numbered(
        &mut self,
        number: Node<'r>,
        authority: impl FnOnce(&mut Self) -> String,
        text: &mut String,
    ) -> bool {
        let value = self.peek(number);
        if value.is_empty() {
            return false;
        }
        text.push_str(&authority(self));
        text.push('|');
        text.push_str(&value);
        true
    }

    /// Names are only unique for a sender.
    fn by_name(&mut self, names: &[Node<'r>], text: &mut String) -> bool {
        if !names.iter().any(Node::is_valued) {
            return false;
        }
        text.push_str(&self.state.sender);
        for name in names {
            text.push('|');
            text.push_str(&self.peek(*name).to_lowercase());
        }
        true
    }

    /// System and value of a key that is one identifier.
    fn condition(&mut self, key: &Identity, here: &Here<'r>) -> Option<(String, String)> {
        let [Part::Value(choices)] = key.parts.as_slice() else {
            return None;
        };
        for (access, canonical) in choices {
            let Some(node) = self
                .node(*access, here)
                .filter(|node| node.child(1).is_valued())
            else {
                continue;
            };
            let value = self.peek(node.child(1)).into_owned();
            let system = match canonical {
                Canonical::Cx => self.authority_of(node.child(4)),
                Canonical::Ei => self.authority(
                    Some(node.child(2)),
                    Some(node.child(3)),
                    Some(node.child(4)),
                ),
                _ => return None,
            };
            return Some((system.into_owned(), value));
        }
        None
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
            ("urn:ietf:rfc:3986".to_owned(), urn)
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

/// Where a resource has its identifiers.
#[derive(Clone, Copy)]
struct IdentifierKeys {
    identifier: Key,
    system: Key,
    value: Key,
}

/// `None` for a type that has no list of identifiers.
fn identifier_keys(type_name: &'static str) -> Option<IdentifierKeys> {
    static KEYS: OnceLock<HashMap<&'static str, IdentifierKeys>> = OnceLock::new();
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
