//! Bundles to send: entries with addresses and requests, references resolved, in a fixed order.
//!
//! The two ways to name resources ([`Ids`]) come from what the server can do. *Conditional* works on any server with
//! conditional create and update (<https://hl7.org/fhir/R4/http.html#trules>): a resource has a `urn:uuid` inside the
//! Bundle, and its identifier decides which one it is on the server. *Client* needs a server that lets the client choose
//! ids (`updateCreate`), and makes every write the same however often it is sent.

mod condition;
mod order;

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};

use uuid::Uuid;

use crate::names::NameId;
use crate::tree::write::{ResourceId, line, resource, string};
use crate::tree::{NodeId, Tree, WriteOptions};

/// One resource of a Bundle. Its number, which [`crate::tree::Kind::Reference`] uses, is its place among the entries.
#[derive(Clone, Debug)]
pub struct Entry<'t> {
    /// The resource in the tree, an object with a `resourceType`.
    pub resource: NodeId,
    /// The same type: `Patient`.
    pub type_name: &'t str,
    /// Its name inside the Bundle, or its id on the server. Made from its identity, so that it is the same each time.
    pub uuid: Uuid,
    /// What to do when the server has it already.
    pub write: Write,
    /// System and value of the identifier that says which resource it is. A resource without one is written by its uuid as
    /// id, in a [`Ids::Conditional`] Bundle too: what can't be found again by an identifier (MessageHeader, Provenance)
    /// would otherwise be made anew each time the Bundle is sent.
    pub condition: Option<(&'t str, &'t str)>,
}

/// What to do with a resource that the server may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Make it, or replace what is there.
    Update,
    /// Make it only if there is none; what is there stays.
    Create,
    /// It is there, and stays as it is: not sent at all, while others may refer to it.
    Leave,
}

/// How resources are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ids {
    /// By identifier: `PUT Patient?identifier=system|value`, or `POST` with `ifNoneExist`; references are `urn:uuid`.
    #[default]
    Conditional,
    /// By id: `PUT Patient/uuid`, for [`Write::Create`] with `ifNoneMatch: *`; references are `Patient/uuid`.
    Client,
}

/// What the Bundle is (<https://hl7.org/fhir/R4/valueset-bundle-type.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BundleKind {
    /// All or nothing.
    #[default]
    Transaction,
    /// Each entry on its own. No entry may need another by its place in the Bundle, so entries are put in the order of
    /// their dependencies, and a conditional reference names its target by identifier.
    Batch,
    /// A set of resources without requests.
    Collection,
}

/// How to write a Bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct BundleOptions<'a> {
    /// What it is.
    pub kind: BundleKind,
    /// How its resources are named.
    pub ids: Ids,
    /// Indented for people.
    pub pretty: bool,
    /// The server's base address, for the `fullUrl` of client ids (`{base}/Patient/uuid`). Without it they are `urn:uuid`.
    pub base_url: Option<&'a str>,
}

/// Why there is no Bundle. Entries are numbered from 0; nothing of their content is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Two entries have the same uuid, or the same type and condition: a server must refuse such a Bundle, or one of
    /// them is silently lost.
    #[error("entries {first} and {second} are the same resource")]
    SameIdentity {
        /// The earlier entry.
        first: usize,
        /// The later entry.
        second: usize,
    },
    /// A reference to an entry that there is not.
    #[error("entry {entry} refers to a resource that is not in the bundle")]
    UnknownReference {
        /// The entry with the reference.
        entry: usize,
    },
    /// No `resourceType`, or another than the entry says.
    #[error("entry {entry} is not a resource of the type it is said to be")]
    NotAResource {
        /// The entry.
        entry: usize,
    },
    /// The tree overflowed ([`Tree::overflowed`]).
    #[error("the resources are larger than a tree can hold")]
    TooLarge,
}

/// Appends the Bundle to `out`. The same entries and options give the same bytes. On an error `out` is as it was.
pub fn write(
    tree: &Tree,
    entries: &[Entry<'_>],
    options: &BundleOptions<'_>,
    out: &mut Vec<u8>,
) -> Result<(), BundleError> {
    if tree.overflowed() {
        return Err(BundleError::TooLarge);
    }
    for (number, entry) in entries.iter().enumerate() {
        if !is_resource(tree, entry) {
            return Err(BundleError::NotAResource { entry: number });
        }
    }
    no_identity_twice(entries)?;
    let start = out.len();
    let references = References::new(entries, options);
    let writer = Writer {
        tree,
        entries,
        options,
        references,
    };
    let written = if options.pretty {
        writer.bundle::<true>(out)
    } else {
        writer.bundle::<false>(out)
    };
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// The numbers of the entries in the order in which [`write()`] puts them into the Bundle.
pub fn entry_order(tree: &Tree, entries: &[Entry<'_>], kind: BundleKind) -> Vec<usize> {
    match kind {
        BundleKind::Batch => order::by_dependency(tree, entries),
        BundleKind::Transaction | BundleKind::Collection => (0..entries.len()).collect(),
    }
}

fn is_resource(tree: &Tree, entry: &Entry<'_>) -> bool {
    let of_type =
        |(name, node)| name == NameId::RESOURCE_TYPE && tree.text(node) == entry.type_name;
    !entry.type_name.is_empty()
        && entry
            .type_name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric())
        && tree.children(entry.resource).next().is_some_and(of_type)
}

/// <https://hl7.org/fhir/R4/http.html#trules>: one identity only once.
fn no_identity_twice(entries: &[Entry<'_>]) -> Result<(), BundleError> {
    let uuids = entries.iter().map(|entry| entry.uuid.as_u128());
    all_differ(uuids.zip(0..).collect(), |_, _| true)?;
    let identity = |number: usize| {
        let entry = entries.get(number)?;
        Some((entry.type_name, entry.condition?))
    };
    let hashed = (0..entries.len()).filter_map(|number| {
        let mut hasher = DefaultHasher::new();
        identity(number)?.hash(&mut hasher);
        Some((hasher.finish(), number))
    });
    all_differ(hashed.collect(), |one, other| {
        identity(one) == identity(other)
    })
}

/// Whether no two entries are the `same`, who then have the same number before them. Numbers are sorted, so that a Bundle
/// of thousands stays cheap.
fn all_differ<N: Ord>(
    mut numbered: Vec<(N, usize)>,
    same: impl Fn(usize, usize) -> bool,
) -> Result<(), BundleError> {
    numbered.sort_unstable();
    for equal in numbered.chunk_by(|(one, _), (other, _)| one == other) {
        for (before, (_, second)) in equal.iter().enumerate() {
            let mut earlier = equal.iter().take(before).map(|(_, first)| *first);
            if let Some(first) = earlier.find(|first| same(*first, *second)) {
                return Err(BundleError::SameIdentity {
                    first,
                    second: *second,
                });
            }
        }
    }
    Ok(())
}

struct Writer<'a> {
    tree: &'a Tree,
    entries: &'a [Entry<'a>],
    options: &'a BundleOptions<'a>,
    references: References,
}

/// What a reference to each entry says, made once: most are referred to many times.
#[derive(Default)]
struct References {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl References {
    fn new(entries: &[Entry<'_>], options: &BundleOptions<'_>) -> References {
        let mut references = References {
            text: Vec::with_capacity(48 * entries.len()),
            ends: vec![0],
        };
        for entry in entries {
            reference(entry, options, &mut references.text);
            references.ends.push(references.text.len());
        }
        references
    }

    fn get(&self, number: usize) -> Option<&[u8]> {
        self.text
            .get(*self.ends.get(number)?..*self.ends.get(number + 1)?)
    }
}

impl Writer<'_> {
    fn bundle<const PRETTY: bool>(&self, out: &mut Vec<u8>) -> Result<(), BundleError> {
        let kind = match self.options.kind {
            BundleKind::Transaction => "transaction",
            BundleKind::Batch => "batch",
            BundleKind::Collection => "collection",
        };
        out.push(b'{');
        member::<PRETTY>(1, true, b",\"resourceType\":", out);
        string("Bundle", out);
        member::<PRETTY>(1, false, b",\"type\":", out);
        string(kind, out);
        if self.entries.iter().any(|entry| entry.write != Write::Leave) {
            member::<PRETTY>(1, false, b",\"entry\":", out);
            self.all_entries::<PRETTY>(out)?;
        }
        line::<PRETTY>(0, out);
        out.push(b'}');
        Ok(())
    }

    fn all_entries<const PRETTY: bool>(&self, out: &mut Vec<u8>) -> Result<(), BundleError> {
        out.push(b'[');
        let mut first = true;
        for number in entry_order(self.tree, self.entries, self.options.kind) {
            let Some(entry) = self.entries.get(number) else {
                continue;
            };
            if entry.write == Write::Leave {
                continue;
            }
            if !std::mem::replace(&mut first, false) {
                out.push(b',');
            }
            line::<PRETTY>(2, out);
            self.entry::<PRETTY>(number, entry, out)?;
        }
        line::<PRETTY>(1, out);
        out.push(b']');
        Ok(())
    }

    fn entry<const PRETTY: bool>(
        &self,
        number: usize,
        entry: &Entry<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), BundleError> {
        out.push(b'{');
        member::<PRETTY>(3, true, b",\"fullUrl\":", out);
        self.full_url(number, entry, out);
        member::<PRETTY>(3, false, b",\"resource\":", out);
        let unknown = Cell::new(false);
        let references = |target: u32, out: &mut Vec<u8>| match self.references.get(target as usize)
        {
            Some(text) => out.extend_from_slice(text),
            None => unknown.set(true),
        };
        let options = WriteOptions {
            pretty: PRETTY,
            references: &references,
        };
        let mut buffer = Uuid::encode_buffer();
        let by_id = match self.options.ids {
            Ids::Client => true,
            Ids::Conditional => {
                entry.condition.is_none() && self.options.kind != BundleKind::Collection
            }
        };
        let id = if by_id {
            ResourceId::Set(entry.uuid.hyphenated().encode_lower(&mut buffer))
        } else {
            ResourceId::Drop
        };
        if !resource(self.tree, entry.resource, id, 3, out, &options) {
            return Err(BundleError::NotAResource { entry: number });
        }
        if unknown.get() {
            return Err(BundleError::UnknownReference { entry: number });
        }
        if self.options.kind != BundleKind::Collection {
            member::<PRETTY>(3, false, b",\"request\":", out);
            self.request::<PRETTY>(entry, out);
        }
        line::<PRETTY>(2, out);
        out.push(b'}');
        Ok(())
    }

    fn request<const PRETTY: bool>(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        let condition = entry.condition;
        let method = match (self.options.ids, entry.write, condition) {
            (Ids::Conditional, Write::Create, Some(_)) => "POST",
            _ => "PUT",
        };
        out.push(b'{');
        member::<PRETTY>(4, true, b",\"method\":", out);
        string(method, out);
        member::<PRETTY>(4, false, b",\"url\":", out);
        out.push(b'"');
        out.extend_from_slice(entry.type_name.as_bytes());
        match (self.options.ids, entry.write, condition) {
            (Ids::Client, write, _) => {
                out.push(b'/');
                uuid(entry, out);
                out.push(b'"');
                if write == Write::Create {
                    member::<PRETTY>(4, false, b",\"ifNoneMatch\":", out);
                    string("*", out);
                }
            }
            (Ids::Conditional, Write::Update, Some((system, value))) => {
                out.push(b'?');
                condition::query(system, value, out);
                out.push(b'"');
            }
            (Ids::Conditional, Write::Create, Some((system, value))) => {
                out.push(b'"');
                member::<PRETTY>(4, false, b",\"ifNoneExist\":", out);
                out.push(b'"');
                condition::query(system, value, out);
                out.push(b'"');
            }
            (Ids::Conditional, write, None) => {
                out.push(b'/');
                uuid(entry, out);
                out.push(b'"');
                if write == Write::Create {
                    member::<PRETTY>(4, false, b",\"ifNoneMatch\":", out);
                    string("*", out);
                }
            }
            // Never sent.
            (Ids::Conditional, Write::Leave, Some(_)) => out.push(b'"'),
        }
        line::<PRETTY>(3, out);
        out.push(b'}');
    }

    fn full_url(&self, number: usize, entry: &Entry<'_>, out: &mut Vec<u8>) {
        match (self.options.ids, self.options.base_url) {
            // In a transaction others refer to it by that.
            (Ids::Conditional, _) if self.options.kind != BundleKind::Batch => {
                out.push(b'"');
                out.extend_from_slice(self.references.get(number).unwrap_or_default());
                out.push(b'"');
                return;
            }
            (Ids::Client, Some(base)) => {
                string(base.trim_end_matches('/'), out);
                out.pop();
                out.push(b'/');
                out.extend_from_slice(entry.type_name.as_bytes());
                out.push(b'/');
            }
            _ => out.extend_from_slice(b"\"urn:uuid:"),
        }
        uuid(entry, out);
        out.push(b'"');
    }
}

/// What a reference to the entry says.
fn reference(target: &Entry<'_>, options: &BundleOptions<'_>, out: &mut Vec<u8>) {
    let is_sent = target.write != Write::Leave;
    match (options.ids, options.kind, target.condition) {
        (Ids::Conditional, BundleKind::Transaction, None) if !is_sent => {
            out.extend_from_slice(target.type_name.as_bytes());
            out.push(b'/');
            uuid(target, out);
        }
        (Ids::Client, ..) | (_, BundleKind::Batch, None) => {
            out.extend_from_slice(target.type_name.as_bytes());
            out.push(b'/');
            uuid(target, out);
        }
        (Ids::Conditional, kind, Some((system, value)))
            if kind == BundleKind::Batch || !is_sent =>
        {
            out.extend_from_slice(target.type_name.as_bytes());
            out.push(b'?');
            condition::query(system, value, out);
        }
        (Ids::Conditional, ..) => {
            out.extend_from_slice(b"urn:uuid:");
            uuid(target, out);
        }
    }
}

fn uuid(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let mut buffer = Uuid::encode_buffer();
    out.extend_from_slice(entry.uuid.hyphenated().encode_lower(&mut buffer).as_bytes());
}

/// `piece` is a name between its comma and its colon.
fn member<const PRETTY: bool>(level: usize, first: bool, piece: &[u8], out: &mut Vec<u8>) {
    let [comma, name @ ..] = piece else { return };
    if !PRETTY && !first {
        out.extend_from_slice(piece);
        return;
    }
    if !first {
        out.push(*comma);
    }
    line::<PRETTY>(level, out);
    out.extend_from_slice(name);
    if PRETTY {
        out.push(b' ');
    }
}

#[cfg(test)]
mod tests;
