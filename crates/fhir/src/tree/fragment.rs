//! Parts of documents that are the same each time: made once, and put into a tree in one piece.

use super::{Key, NO_KEY, NONE, Node, NodeId, Tag, Tree, index, is_container};

/// A copy of a node with all below it, see [`Tree::fragment`] and [`Tree::graft`]. All its names are R4's, so that it fits
/// any tree.
#[derive(Clone)]
pub struct Fragment {
    /// The root first. Links, and places in the text, are counted from the start of the fragment.
    nodes: Vec<Node>,
    text: String,
}

impl Tree {
    /// A copy of the node and all below it with their origins; `None` when the tree does not have it, or a name in it is
    /// not one of R4's.
    pub fn fragment(&self, node: NodeId) -> Option<Fragment> {
        let mut fragment = Fragment {
            nodes: Vec::new(),
            text: String::new(),
        };
        self.copy_into(&mut fragment, node)?;
        Some(fragment)
    }

    /// Puts the fragment under a name of an object, in its place among the others.
    pub fn graft(&mut self, parent: NodeId, key: Key, fragment: &Fragment) -> NodeId {
        let root = NodeId(index(self.nodes.len()));
        let (text, _) = self.store(&fragment.text);
        let shifted = fragment.nodes.iter().map(|node| node.shifted(root.0, text));
        self.nodes.extend(shifted);
        if let Some(node) = self.node_mut(root) {
            node.key = key;
        }
        self.link(parent, root, key);
        root
    }

    /// Appends the fragment to an array.
    pub fn push_graft(&mut self, parent: NodeId, fragment: &Fragment) -> NodeId {
        self.graft(parent, NO_KEY, fragment)
    }

    fn copy_into(&self, fragment: &mut Fragment, id: NodeId) -> Option<u32> {
        let node = self.node(id)?;
        self.known.text(node.key.name)?;
        let mut copy = Node {
            next: NONE,
            ..*node
        };
        if matches!(copy.tag, Tag::String | Tag::Number) {
            copy.first = index(fragment.text.len());
            fragment.text.push_str(self.node_text(node));
        } else if is_container(copy.tag) {
            (copy.first, copy.second) = (NONE, NONE);
        }
        let place = index(fragment.nodes.len());
        fragment.nodes.push(copy);
        let (mut first, mut last) = (NONE, NONE);
        for (_, child) in self.children(id) {
            let child = self.copy_into(fragment, child)?;
            match fragment.nodes.get_mut(last as usize) {
                Some(before) => before.next = child,
                None => first = child,
            }
            last = child;
        }
        if let Some(copy) = fragment.nodes.get_mut(place as usize)
            && is_container(copy.tag)
        {
            (copy.first, copy.second) = (first, last);
        }
        Some(place)
    }
}

impl Node {
    /// The same node in a tree where the fragment's nodes and text start there.
    #[inline]
    fn shifted(&self, nodes: u32, text: u32) -> Node {
        let link = |to: u32| {
            if to == NONE {
                NONE
            } else {
                to.wrapping_add(nodes)
            }
        };
        let (first, second) = match self.tag {
            Tag::Object | Tag::Array => (link(self.first), link(self.second)),
            Tag::String | Tag::Number => (self.first.wrapping_add(text), self.second),
            Tag::Boolean | Tag::Reference | Tag::Null => (self.first, self.second),
        };
        Node {
            first,
            second,
            next: link(self.next),
            ..*self
        }
    }
}

/// Structure only, as of a tree.
impl std::fmt::Debug for Fragment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fragment")
            .field("nodes", &self.nodes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::WriteOptions;

    fn key(tree: &mut Tree, name: &str, order: u16) -> Key {
        Key {
            name: tree.name(name),
            order,
        }
    }

    #[test]
    fn a_graft_is_what_was_copied_in_its_place() {
        let mut tree = Tree::new();
        let [type_, coding, system, code, text] = [
            ("type", 5),
            ("coding", 3),
            ("system", 3),
            ("code", 5),
            ("text", 4),
        ]
        .map(|(name, order)| key(&mut tree, name, order));
        let root = tree.object();
        let concept = tree.add_object(root, type_);
        let list = tree.add_array(concept, coding);
        let member = tree.push_object(list);
        tree.add_string(member, code, "ss");
        tree.add_string(member, system, "http://x");
        tree.set_origin(member, 7);
        tree.add_boolean(concept, text, true);
        let fragment = tree.fragment(concept).unwrap();
        tree.clear();
        let root = tree.object();
        let late = key(&mut tree, "value", 9);
        tree.add_string(root, late, "last");
        let graft = tree.graft(root, type_, &fragment);
        let list = tree.add_array(
            root,
            Key {
                order: 10,
                ..coding
            },
        );
        tree.push_graft(list, &fragment);
        let mut out = Vec::new();
        assert!(tree.write(root, &mut out, &WriteOptions::default()));
        let concept = r#"{"coding":[{"system":"http://x","code":"ss"}],"text":true}"#;
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(r#"{{"type":{concept},"value":"last","coding":[{concept}]}}"#)
        );
        let coding = tree.get(graft, coding.name).unwrap();
        let (_, member) = tree.children(coding).next().unwrap();
        assert_eq!(tree.origin(member), 7);
        // What is added to a graft later goes behind what it had.
        tree.add_string(member, key(&mut Tree::new(), "display", 6), "x");
        assert_eq!(tree.children(member).count(), 3);
    }

    #[test]
    fn names_of_its_own_make_no_fragment() {
        let mut tree = Tree::new();
        let own = key(&mut tree, "noSuchName", 1);
        let root = tree.object();
        let there = tree.add_object(root, own);
        tree.add_string(there, own, "x");
        assert!(tree.fragment(root).is_none());
        assert!(tree.fragment(NodeId(99)).is_none());
    }
}
