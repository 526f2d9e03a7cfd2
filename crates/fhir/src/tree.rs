//! A FHIR JSON document as an arena: no lifetimes, one buffer for all text, reused from message to message.
//!
//! The mapping engine builds it, the validator reads it, and it is written once. Adding a node allocates nothing of its
//! own; [`Tree::clear`] keeps the memory. What a rule added can be taken back with [`Tree::mark`] and [`Tree::truncate`].
//!
//! A [`NodeId`] belongs to the tree that gave it and ends with `clear` or with the `truncate` that drops it. Asking a
//! tree about a node it does not have is harmless: it looks like an empty `null`.

mod fragment;
mod number;
mod read;
pub(crate) mod write;

use crate::names::{self, LocalNames, NameId, Names};

pub use fragment::Fragment;
pub use number::is_json_number;
pub(crate) use read::shown;
pub use read::{Limits, ReadError, ReadProblem, read, read_into};
pub use write::WriteOptions;

/// A node of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// Its place in the arena: less than [`Tree::node_count`], and more than that of any node added before it.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a child goes in its object: its name, and its place among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The JSON property name.
    pub name: NameId,
    /// Children are kept sorted by this; equal ones stay in the order they were added. R4's element order is in
    /// the definitions; `resourceType` is 0.
    pub order: u16,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON object; its children have names.
    Object,
    /// A JSON array; its children keep the order they were added in.
    Array,
    /// A string, see [`Tree::text`].
    String,
    /// A number, digit for digit as it was given, see [`Tree::text`].
    Number,
    /// A boolean.
    Boolean(bool),
    /// A reference to resource number `n` of the Bundle being built. Written as `{"reference": "..."}` under any name
    /// but `reference`, and as the bare string under that, so that a display or an identifier can stand beside it.
    Reference(u32),
    /// The address of resource number `n`, as a text: what a reference to it says, in an element of type uri or url.
    Address(u32),
    /// A `null`: a hole in an array of primitives (<https://hl7.org/fhir/R4/json.html#primitive>), never written elsewhere.
    Null,
}

/// A moment in the building of a tree, see [`Tree::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    nodes: u32,
    text: u32,
}

/// The arena. See the module.
pub struct Tree {
    nodes: Vec<Node>,
    text: String,
    /// Text of older nodes was set behind a mark up to here, so it must survive a truncate.
    pinned: u32,
    overflowed: bool,
    grafts: fragment::Grafts,
    known: &'static Names,
    local: LocalNames,
}

/// What `second` of a reference is when only the address is written.
const ADDRESS: u32 = 1;

/// No link. An arena never gets that long: its nodes would fill 100 GB.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Reference,
    Null,
}

#[derive(Clone, Copy)]
struct Node {
    key: Key,
    tag: Tag,
    /// Which graft it came with, from 1; 0 for none.
    graft: u16,
    /// Containers: first child. Strings and numbers: start in the text. Booleans and references: the value.
    first: u32,
    /// Containers: last child. Strings and numbers: length of the text. References: [`ADDRESS`] or [`NONE`].
    second: u32,
    next: u32,
    origin: u32,
}

/// Key of detached roots and of array members.
const NO_KEY: Key = Key {
    name: NameId::RESOURCE_TYPE,
    order: 0,
};

impl Tree {
    /// An empty tree.
    pub fn new() -> Tree {
        Tree {
            nodes: Vec::new(),
            text: String::new(),
            pinned: 0,
            overflowed: false,
            grafts: fragment::Grafts::default(),
            known: names::known(),
            local: LocalNames::default(),
        }
    }

    /// Forgets every node and name of its own, and keeps the memory.
    pub fn clear(&mut self) {
        self.nodes.clear();
        self.text.clear();
        self.pinned = 0;
        self.overflowed = false;
        self.grafts.clear();
        self.local.clear();
    }

    /// The number of a name. The R4 names have theirs for ever ([`NameId::of`]); others are numbered by this tree until
    /// it is cleared.
    pub fn name(&mut self, name: &str) -> NameId {
        match self.known.find(name) {
            Some(id) => id,
            None => self.local.intern(name),
        }
    }

    /// The text of a name; empty if it is of another tree.
    pub fn name_text(&self, name: NameId) -> &str {
        self.known
            .text(name)
            .or_else(|| self.local.text(name))
            .unwrap_or_default()
    }

    /// A detached object, the root of a resource.
    pub fn object(&mut self) -> NodeId {
        self.push_node(Tag::Object, NO_KEY, NONE, NONE)
    }

    /// A detached array.
    pub fn array(&mut self) -> NodeId {
        self.push_node(Tag::Array, NO_KEY, NONE, NONE)
    }

    /// Adds an object to an object.
    pub fn add_object(&mut self, parent: NodeId, key: Key) -> NodeId {
        self.add(parent, Tag::Object, key, NONE, NONE)
    }

    /// Adds an array to an object.
    pub fn add_array(&mut self, parent: NodeId, key: Key) -> NodeId {
        self.add(parent, Tag::Array, key, NONE, NONE)
    }

    /// Adds a string to an object. An empty one is kept, and never written.
    pub fn add_string(&mut self, parent: NodeId, key: Key, text: &str) -> NodeId {
        let (start, length) = self.store(text);
        self.add(parent, Tag::String, key, start, length)
    }

    /// Adds a number to an object, keeping its digits (`1.50`); `None`, and nothing added, when it is not a JSON number
    /// (RFC 8259, section 6): no leading zeros or plus sign, digits on both sides of the point.
    pub fn add_number(&mut self, parent: NodeId, key: Key, digits: &str) -> Option<NodeId> {
        if !is_json_number(digits) {
            return None;
        }
        let (start, length) = self.store(digits);
        Some(self.add(parent, Tag::Number, key, start, length))
    }

    /// Adds a boolean to an object.
    pub fn add_boolean(&mut self, parent: NodeId, key: Key, value: bool) -> NodeId {
        self.add(parent, Tag::Boolean, key, u32::from(value), NONE)
    }

    /// Adds a reference to resource number `resource` of the Bundle, see [`Kind::Reference`].
    pub fn add_reference(&mut self, parent: NodeId, key: Key, resource: u32) -> NodeId {
        self.add(parent, Tag::Reference, key, resource, NONE)
    }

    /// Adds the address of resource number `resource`, see [`Kind::Address`].
    pub fn add_address(&mut self, parent: NodeId, key: Key, resource: u32) -> NodeId {
        self.add(parent, Tag::Reference, key, resource, ADDRESS)
    }

    /// Adds a `null` to an object; only a reader has a use for it, since it is never written.
    pub fn add_null(&mut self, parent: NodeId, key: Key) -> NodeId {
        self.add(parent, Tag::Null, key, NONE, NONE)
    }

    /// Appends an object to an array.
    pub fn push_object(&mut self, parent: NodeId) -> NodeId {
        self.add_object(parent, NO_KEY)
    }

    /// Appends an array to an array. FHIR has none, a reader may meet one.
    pub fn push_array(&mut self, parent: NodeId) -> NodeId {
        self.add_array(parent, NO_KEY)
    }

    /// Appends a string to an array.
    pub fn push_string(&mut self, parent: NodeId, text: &str) -> NodeId {
        self.add_string(parent, NO_KEY, text)
    }

    /// Appends a number to an array, as [`Tree::add_number`].
    pub fn push_number(&mut self, parent: NodeId, digits: &str) -> Option<NodeId> {
        self.add_number(parent, NO_KEY, digits)
    }

    /// Appends a boolean to an array.
    pub fn push_boolean(&mut self, parent: NodeId, value: bool) -> NodeId {
        self.add_boolean(parent, NO_KEY, value)
    }

    /// Appends a reference to an array, as [`Tree::add_reference`].
    pub fn push_reference(&mut self, parent: NodeId, resource: u32) -> NodeId {
        self.add_reference(parent, NO_KEY, resource)
    }

    /// Appends the address of a resource to an array, as [`Tree::add_address`].
    pub fn push_address(&mut self, parent: NodeId, resource: u32) -> NodeId {
        self.add_address(parent, NO_KEY, resource)
    }

    /// Appends a `null` to an array: it holds a place beside the same place of `_name`.
    pub fn push_null(&mut self, parent: NodeId) -> NodeId {
        self.add_null(parent, NO_KEY)
    }

    /// The first child of that name.
    pub fn get(&self, parent: NodeId, name: NameId) -> Option<NodeId> {
        self.children(parent)
            .find_map(|(key, child)| (key == name).then_some(child))
    }

    /// The child of that name, and whether there is another one in the same place (another type of the same choice).
    /// Children being sorted, the answer for a key behind all of them needs no search.
    pub fn find(&self, parent: NodeId, key: Key) -> (Option<NodeId>, bool) {
        let last = self
            .node(parent)
            .and_then(|parent| self.node(NodeId(parent.second)));
        if last.is_none_or(|last| last.key.order < key.order) {
            return (None, false);
        }
        let (mut same, mut other) = (None, false);
        for (name, child) in self.children(parent) {
            if name == key.name {
                same = same.or(Some(child));
            } else if self.key(child).order == key.order {
                other |= name.element() != key.name.element();
            }
        }
        (same, other)
    }

    /// What the node is.
    pub fn kind(&self, node: NodeId) -> Kind {
        let Some(node) = self.node(node) else {
            return Kind::Null;
        };
        match node.tag {
            Tag::Object => Kind::Object,
            Tag::Array => Kind::Array,
            Tag::String => Kind::String,
            Tag::Number => Kind::Number,
            Tag::Boolean => Kind::Boolean(node.first != 0),
            Tag::Reference if node.second == ADDRESS => Kind::Address(node.first),
            Tag::Reference => Kind::Reference(node.first),
            Tag::Null => Kind::Null,
        }
    }

    /// The text of a string or the digits of a number; empty for anything else.
    pub fn text(&self, node: NodeId) -> &str {
        self.node(node).map_or("", |node| self.node_text(node))
    }

    /// Name and order of a child in its object.
    pub fn key(&self, node: NodeId) -> Key {
        self.node(node).map_or(NO_KEY, |node| node.key)
    }

    /// The children of an object, by key order, or of an array. For an array's children the name means nothing.
    pub fn children(&self, node: NodeId) -> Children<'_> {
        let next = self
            .node(node)
            .filter(|node| is_container(node.tag))
            .map_or(NONE, |node| node.first);
        Children { tree: self, next }
    }

    /// Whether nothing would be written for the node: an empty string, a `null`, a container of only such.
    pub fn is_empty(&self, node: NodeId) -> bool {
        let Some(node) = self.node(node) else {
            return true;
        };
        match node.tag {
            Tag::Object | Tag::Array => {
                let children = Children {
                    tree: self,
                    next: node.first,
                };
                children.into_iter().all(|(_, child)| self.is_empty(child))
            }
            Tag::String | Tag::Number => node.second == 0,
            Tag::Boolean | Tag::Reference => false,
            Tag::Null => true,
        }
    }

    /// Whether two nodes say the same: kinds, texts, and names and places of all that is in them. Origins do not count.
    pub fn equal(&self, a: NodeId, b: NodeId) -> bool {
        match (self.node(a), self.node(b)) {
            (Some(a), Some(b)) => self.same(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    fn same(&self, a: &Node, b: &Node) -> bool {
        if a.tag != b.tag {
            return false;
        }
        match a.tag {
            Tag::String | Tag::Number => {
                a.second == b.second && self.node_text(a) == self.node_text(b)
            }
            Tag::Boolean | Tag::Reference => a.first == b.first && a.second == b.second,
            Tag::Null => true,
            Tag::Object | Tag::Array => {
                let (mut one, mut other) = (a.first, b.first);
                loop {
                    match (self.node(NodeId(one)), self.node(NodeId(other))) {
                        (None, None) => return true,
                        (Some(a), Some(b)) if a.key.name == b.key.name && self.same(a, b) => {
                            (one, other) = (a.next, b.next);
                        }
                        _ => return false,
                    }
                }
            }
        }
    }

    /// Which mapping rule made the node; 0 if none said so.
    pub fn origin(&self, node: NodeId) -> u32 {
        self.node(node).map_or(0, |node| node.origin)
    }

    /// Notes which mapping rule made the node.
    pub fn set_origin(&mut self, node: NodeId, origin: u32) {
        if let Some(node) = self.node_mut(node) {
            node.origin = origin;
        }
    }

    /// Replaces the text of a string; any other kind of node becomes a string, and loses its children.
    pub fn set_text(&mut self, node: NodeId, text: &str) {
        let (start, length) = self.store(text);
        self.pinned = start.saturating_add(length);
        if let Some(node) = self.node_mut(node) {
            (node.tag, node.first, node.second) = (Tag::String, start, length);
            let graft = node.graft;
            self.grafts.change(graft);
        }
    }

    /// Takes a child out of its parent. Its memory returns with `clear`.
    pub fn remove(&mut self, parent: NodeId, child: NodeId) {
        self.unlink(parent, |id| id == child.0);
    }

    /// A moment to return to with [`Tree::truncate`].
    pub fn mark(&self) -> Mark {
        Mark {
            nodes: index(self.nodes.len()),
            text: index(self.text.len()),
        }
    }

    /// Whether the node was added since the mark.
    pub fn is_added(&self, node: NodeId, mark: Mark) -> bool {
        node.0 >= mark.nodes
    }

    /// Drops everything added since the mark: detached nodes, and whatever was added to `parent` or anywhere below it.
    /// All that was added to other nodes than those must have been dropped before. Text that was set on an older node
    /// stays, and what was removed stays removed.
    pub fn truncate(&mut self, parent: NodeId, mark: Mark) {
        if index(self.nodes.len()) <= mark.nodes {
            return;
        }
        self.unlink_after(parent, mark.nodes);
        self.nodes.truncate(mark.nodes as usize);
        self.text.truncate(mark.text.max(self.pinned) as usize);
    }

    /// How many nodes there are, removed ones included.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How many bytes all texts have together, those of removed nodes included.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Whether more text was added than a tree can hold (4 GiB): some of it is missing, so the tree must not be used.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Writes a node as JSON, and returns whether there was anything to write. Empty strings, arrays and objects never
    /// are; `null` only holds a place in an array that has something else.
    pub fn write(&self, node: NodeId, out: &mut Vec<u8>, options: &WriteOptions<'_>) -> bool {
        write::write(self, node, out, options)
    }

    fn unlink_after(&mut self, parent: NodeId, limit: u32) {
        if parent.0 >= limit {
            return;
        }
        self.unlink(parent, |id| id >= limit);
        let mut next = self.children(parent).next;
        while let Some(node) = self.node(NodeId(next)) {
            let (id, container) = (NodeId(next), is_container(node.tag));
            next = node.next;
            if container {
                self.unlink_after(id, limit);
            }
        }
    }

    fn unlink(&mut self, parent: NodeId, gone: impl Fn(u32) -> bool) {
        let mut next = self.children(parent).next;
        let (mut first, mut last) = (NONE, NONE);
        while let Some(node) = self.node(NodeId(next)) {
            let (id, after) = (next, node.next);
            if !gone(id) {
                if let Some(last) = self.node_mut(NodeId(last)) {
                    last.next = id;
                } else {
                    first = id;
                }
                last = id;
            }
            next = after;
        }
        if let Some(last) = self.node_mut(NodeId(last)) {
            last.next = NONE;
        }
        if let Some(parent) = self
            .node_mut(parent)
            .filter(|parent| is_container(parent.tag))
        {
            (parent.first, parent.second) = (first, last);
            let graft = parent.graft;
            self.grafts.change(graft);
        }
    }

    #[inline]
    fn store(&mut self, text: &str) -> (u32, u32) {
        let start = self.text.len();
        // The whole buffer must stay addressable by u32.
        if start.saturating_add(text.len()) >= NONE as usize {
            self.overflowed = true;
            return (0, 0);
        }
        self.text.push_str(text);
        (index(start), index(text.len()))
    }

    #[inline]
    fn push_node(&mut self, tag: Tag, key: Key, first: u32, second: u32) -> NodeId {
        let id = index(self.nodes.len());
        self.nodes.push(Node {
            key,
            tag,
            graft: 0,
            first,
            second,
            next: NONE,
            origin: 0,
        });
        NodeId(id)
    }

    #[inline]
    fn add(&mut self, parent: NodeId, tag: Tag, key: Key, first: u32, second: u32) -> NodeId {
        let id = self.push_node(tag, key, first, second);
        self.link(parent, id, key);
        id
    }

    /// Makes a new node the child of a container, in its place; of anything else it is none.
    #[inline]
    fn link(&mut self, parent: NodeId, id: NodeId, key: Key) {
        let Some(container) = self.node_mut(parent).filter(|node| is_container(node.tag)) else {
            return;
        };
        let (is_array, last) = (container.tag == Tag::Array, container.second);
        let graft = container.graft;
        if last == NONE {
            (container.first, container.second) = (id.0, id.0);
            self.grafts.change(graft);
            return;
        }
        container.second = id.0;
        self.grafts.change(graft);
        match self.node_mut(NodeId(last)) {
            Some(before) if is_array || before.key.order <= key.order => before.next = id.0,
            _ => self.insert_sorted(parent, last, id, key.order),
        }
    }

    /// The last child comes after the new one, so the walk ends before it.
    fn insert_sorted(&mut self, parent: NodeId, last: u32, id: NodeId, order: u16) {
        let first = self.node(parent).map_or(NONE, |parent| parent.first);
        let (mut before, mut at) = (NONE, first);
        while let Some(node) = self.node(NodeId(at)) {
            if node.key.order > order {
                break;
            }
            (before, at) = (at, node.next);
        }
        if let Some(new) = self.node_mut(id) {
            new.next = at;
        }
        let first = match self.node_mut(NodeId(before)) {
            Some(before) => {
                before.next = id.0;
                first
            }
            None => id.0,
        };
        if let Some(parent) = self.node_mut(parent) {
            (parent.first, parent.second) = (first, last);
        }
    }

    #[inline]
    fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(node.0 as usize)
    }

    #[inline]
    fn node_mut(&mut self, node: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(node.0 as usize)
    }

    #[inline]
    fn node_text(&self, node: &Node) -> &str {
        match node.tag {
            Tag::String | Tag::Number => {
                let start = node.first as usize;
                self.text
                    .get(start..start + node.second as usize)
                    .unwrap_or_default()
            }
            _ => "",
        }
    }
}

impl Default for Tree {
    fn default() -> Tree {
        Tree::new()
    }
}

/// Structure only: a tree holds what a message said.
impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree")
            .field("nodes", &self.nodes.len())
            .field("text_bytes", &self.text.len())
            .finish()
    }
}

/// The children of a node, see [`Tree::children`].
pub struct Children<'t> {
    tree: &'t Tree,
    next: u32,
}

impl Iterator for Children<'_> {
    type Item = (NameId, NodeId);

    #[inline]
    fn next(&mut self) -> Option<(NameId, NodeId)> {
        let id = NodeId(self.next);
        let node = self.tree.node(id)?;
        self.next = node.next;
        Some((node.key.name, id))
    }
}

#[inline]
fn is_container(tag: Tag) -> bool {
    matches!(tag, Tag::Object | Tag::Array)
}

/// Positions fit: nodes are bounded by memory (100 GB of them), text by `store`.
#[inline]
fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(NONE)
}

#[cfg(test)]
mod tests;
