//! The same resource met twice in a message: what the second adds is added, the first wins.

use fhir::NameId;
use fhir::tree::{Key, Kind, Mark, NodeId, Tree};

/// Adds what `from` has and `to` has not; both are objects.
pub(crate) fn merge(tree: &mut Tree, to: NodeId, from: NodeId) {
    let children: Vec<(NameId, NodeId)> = tree.children(from).collect();
    for (name, child) in children {
        let key = tree.key(child);
        match (tree.get(to, name), tree.kind(child)) {
            (None, _) if other_choice(tree, to, key) => {}
            (None, _) => copy(tree, to, key, child),
            (Some(there), Kind::Array) => {
                let members: Vec<NodeId> = tree.children(child).map(|(_, member)| member).collect();
                for member in members {
                    let known = tree
                        .children(there)
                        .any(|(_, other)| tree.equal(other, member));
                    if !known {
                        copy(tree, there, key, member);
                    }
                }
            }
            (Some(there), Kind::Object) => merge(tree, there, child),
            _ => {}
        }
    }
}

/// Whether another variant of the same choice is there: only choices share an order.
fn other_choice(tree: &Tree, parent: NodeId, key: Key) -> bool {
    key.order != 0
        && tree.children(parent).any(|(name, child)| {
            tree.key(child).order == key.order && name.element() != key.name.element()
        })
}

fn copy(tree: &mut Tree, parent: NodeId, key: Key, node: NodeId) {
    let in_array = tree.kind(parent) == Kind::Array;
    let origin = tree.origin(node);
    let made = match (tree.kind(node), in_array) {
        (Kind::Object, true) => Some(tree.push_object(parent)),
        (Kind::Object, false) => Some(tree.add_object(parent, key)),
        (Kind::Array, true) => Some(tree.push_array(parent)),
        (Kind::Array, false) => Some(tree.add_array(parent, key)),
        (Kind::String, _) => {
            let text = tree.text(node).to_owned();
            Some(if in_array {
                tree.push_string(parent, &text)
            } else {
                tree.add_string(parent, key, &text)
            })
        }
        (Kind::Number, _) => {
            let digits = tree.text(node).to_owned();
            if in_array {
                tree.push_number(parent, &digits)
            } else {
                tree.add_number(parent, key, &digits)
            }
        }
        (Kind::Boolean(value), true) => Some(tree.push_boolean(parent, value)),
        (Kind::Boolean(value), false) => Some(tree.add_boolean(parent, key, value)),
        (Kind::Reference(resource), true) => Some(tree.push_reference(parent, resource)),
        (Kind::Reference(resource), false) => Some(tree.add_reference(parent, key, resource)),
        (Kind::Address(resource), true) => Some(tree.push_address(parent, resource)),
        (Kind::Address(resource), false) => Some(tree.add_address(parent, key, resource)),
        (Kind::Null, _) => None,
    };
    let Some(made) = made else { return };
    tree.set_origin(made, origin);
    let children: Vec<NodeId> = tree.children(node).map(|(_, child)| child).collect();
    for child in children {
        let key = tree.key(child);
        copy(tree, made, key, child);
    }
}

/// Longer lists are left as they are: comparing all with all would take a message of thousands of repetitions seconds,
/// and a second equal identifier says nothing wrong.
const LONGEST_COMPARED: usize = 200;

/// Takes out members that were added since and say the same as an earlier one; the older ones are distinct already.
pub(crate) fn distinct(tree: &mut Tree, list: NodeId, since: Mark) {
    let count = tree.children(list).take(LONGEST_COMPARED + 1).count();
    if !(2..=LONGEST_COMPARED).contains(&count) {
        return;
    }
    let mut turn = tree
        .children(list)
        .find(|(_, member)| tree.is_added(*member, since));
    while let Some((_, member)) = turn {
        let earlier = |(_, other): &(NameId, NodeId)| *other != member;
        turn = tree.children(list).skip_while(earlier).nth(1);
        let mut before = tree.children(list).take_while(earlier);
        if before.any(|(_, other)| tree.equal(other, member)) {
            tree.remove(list, member);
        }
    }
}
