//! Parts of documents that are the same each time: made once, and put into a tree in one piece.

use super::{Key, NO_KEY, NONE, Node, NodeId, Tag, Tree, WriteOptions, index, is_container};

/// A copy of a node with all below it, see [`Tree::fragment`] and [`Tree::graft`]. All its names are R4's, so that it fits
/// any tree.
#[derive(Clone)]
pub struct Fragment {
    /// The root first. Links, and places in the text, are counted from the start of the fragment.
    nodes: Vec<Node>,
    text: String,
    /// What is written for it, without white space. Empty when it is not always the same, or no more than a text.
    json: Vec<u8>,
}

/// What was put into a tree in one piece is written in one piece, unless it was changed since.
#[derive(Default)]
pub(super) struct Grafts {
    all: Vec<Graft>,
    json: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Graft {
    root: u32,
    /// Where its JSON starts, and its length; 0 when it was changed.
    start: usize,
    length: usize,
}

impl Tree {
    /// A copy of the node and all below it with their origins; `None` when the tree does not have it, or a name in it is
    /// not one of R4's.
    pub fn fragment(&self, node: NodeId) -> Option<Fragment> {
        let mut fragment = Fragment {
            nodes: Vec::new(),
            text: String::new(),
            json: Vec::new(),
        };
        self.copy_into(&mut fragment, node)?;
        let is_reference = |node: &Node| node.tag == Tag::Reference;
        if is_container(self.node(node)?.tag) && !fragment.nodes.iter().any(is_reference) {
            self.write(node, &mut fragment.json, &WriteOptions::default());
        }
        Some(fragment)
    }

    /// Puts the fragment under a name of an object, in its place among the others.
    pub fn graft(&mut self, parent: NodeId, key: Key, fragment: &Fragment) -> NodeId {
        let root = NodeId(index(self.nodes.len()));
        let (text, _) = self.store(&fragment.text);
        let graft = self.grafts.add(root.0, &fragment.json);
        let shifted = |node: &Node| node.shifted(root.0, text, graft);
        let shifted = fragment.nodes.iter().map(shifted);
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

    /// The JSON of a node that was put into the tree in one piece and is as it was.
    #[inline]
    pub(super) fn grafted_json(&self, node: &Node) -> Option<&[u8]> {
        let graft = self.grafts.get(node.graft)?;
        let root = self.node(NodeId(graft.root))?;
        let json = self.grafts.json.get(graft.start..)?.get(..graft.length)?;
        (std::ptr::eq(root, node) && !json.is_empty()).then_some(json)
    }

    fn copy_into(&self, fragment: &mut Fragment, id: NodeId) -> Option<u32> {
        let node = self.node(id)?;
        self.known.text(node.key.name)?;
        let mut copy = Node {
            next: NONE,
            graft: 0,
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

impl Grafts {
    pub fn clear(&mut self) {
        self.all.clear();
        self.json.clear();
    }

    /// The number of a new graft; 0 when there is nothing to write in one piece, or there are too many.
    fn add(&mut self, root: u32, json: &[u8]) -> u16 {
        if json.is_empty() {
            return 0;
        }
        let number = u16::try_from(self.all.len() + 1).unwrap_or(0);
        if number > 0 {
            self.all.push(Graft {
                root,
                start: self.json.len(),
                length: json.len(),
            });
            self.json.extend_from_slice(json);
        }
        number
    }

    #[inline]
    fn get(&self, number: u16) -> Option<&Graft> {
        self.all.get(usize::from(number).checked_sub(1)?)
    }

    /// Something in the graft is not as it was.
    #[inline]
    pub fn change(&mut self, number: u16) {
        if let Some(before) = usize::from(number).checked_sub(1)
            && let Some(graft) = self.all.get_mut(before)
        {
            graft.length = 0;
        }
    }
}

impl Node {
    /// The same node in a tree where the fragment's nodes and text start there.
    #[inline]
    fn shifted(&self, nodes: u32, text: u32, graft: u16) -> Node {
        // Without branches: this is done for most nodes of a Bundle.
        let link = |to: u32| to.wrapping_add(if to == NONE { 0 } else { nodes });
        let container = is_container(self.tag);
        let text = match self.tag {
            Tag::String | Tag::Number => text,
            _ => 0,
        };
        let (first, second) = match container {
            true => (link(self.first), link(self.second)),
            false => (self.first.wrapping_add(text), self.second),
        };
        Node {
            first,
            second,
            next: link(self.next),
            graft,
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
    }

    #[test]
    fn a_graft_that_was_changed_is_written_anew() {
        let mut tree = Tree::new();
        let (coding, code) = (key(&mut tree, "coding", 3), key(&mut tree, "code", 5));
        let concept = tree.object();
        let list = tree.add_array(concept, coding);
        let member = tree.push_object(list);
        tree.add_string(member, code, "a\"b");
        let fragment = tree.fragment(concept).unwrap();
        let written = |tree: &Tree, node| {
            let mut out = Vec::new();
            tree.write(node, &mut out, &WriteOptions::default());
            String::from_utf8(out).unwrap()
        };
        let member_of = |tree: &Tree, graft| {
            let list = tree.get(graft, coding.name).unwrap();
            (list, tree.children(list).next().unwrap().1)
        };
        let put = |tree: &mut Tree| {
            let all = tree.array();
            (all, tree.push_graft(all, &fragment))
        };
        let plain = r#"{"coding":[{"code":"a\"b"}]}"#;
        // As it was, and a part of it alone.
        let (all, graft) = put(&mut tree);
        assert_eq!(written(&tree, all), format!("[{plain}]"));
        let (_, member) = member_of(&tree, graft);
        assert_eq!(written(&tree, member), r#"{"code":"a\"b"}"#);
        // With an element more, a text changed, an element less.
        let system = key(&mut tree, "system", 1);
        tree.add_string(member, system, "x");
        let more = r#"[{"coding":[{"system":"x","code":"a\"b"}]}]"#;
        assert_eq!(written(&tree, all), more);
        let (all, graft) = put(&mut tree);
        let (_, member) = member_of(&tree, graft);
        let text = tree.get(member, code.name).unwrap();
        tree.set_text(text, "c");
        assert_eq!(written(&tree, all), r#"[{"coding":[{"code":"c"}]}]"#);
        let (all, graft) = put(&mut tree);
        let (list, member) = member_of(&tree, graft);
        tree.remove(list, member);
        assert_eq!(written(&tree, all), "");
        let (all, graft) = put(&mut tree);
        let mark = tree.mark();
        let (_, member) = member_of(&tree, graft);
        tree.add_string(member, system, "x");
        tree.truncate(all, mark);
        assert_eq!(written(&tree, all), format!("[{plain}]"));
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
