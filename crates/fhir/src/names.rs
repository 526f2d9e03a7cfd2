//! Element names as small numbers, so that a tree stores and compares no text for them.
//!
//! Every JSON property name of R4 has one number for the life of the process, the same in every tree; a plan compiled
//! once can therefore keep [`NameId`]s. Names that R4 does not know are numbered by the tree that met them.
//! The sibling that carries `id` and extensions of a primitive (`_birthDate`, <https://hl7.org/fhir/R4/json.html#primitive>)
//! is the number of its element with one bit added.

use std::collections::HashMap;

/// The number of an element name. See [`NameId::of`] for the R4 names and [`crate::tree::Tree::name`] for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(u32);

/// Names that this crate itself writes or looks for; they head the table made by `scripts/fhir-definitions.py`.
macro_rules! fixed_names {
    ($($constant:ident = $number:literal $text:literal),* $(,)?) => {
        impl NameId {
            $(#[doc = concat!("`", $text, "`")] pub const $constant: NameId = NameId($number);)*
        }
        #[cfg(test)]
        const FIXED: &[(NameId, &str)] = &[$((NameId::$constant, $text)),*];
    };
}

fixed_names! {
    RESOURCE_TYPE = 0 "resourceType",
    REFERENCE = 1 "reference",
    ID = 2 "id",
    TYPE = 3 "type",
    ENTRY = 4 "entry",
    RESOURCE = 5 "resource",
    FULL_URL = 6 "fullUrl",
    REQUEST = 7 "request",
    METHOD = 8 "method",
    URL = 9 "url",
    IF_NONE_EXIST = 10 "ifNoneExist",
    IF_NONE_MATCH = 11 "ifNoneMatch",
}

/// Set in the number of `_name`.
const SIBLING: u32 = 1 << 31;

impl NameId {
    /// The number of an R4 element name (`birthDate`, `valueQuantity`, `_birthDate`); `None` for any other text.
    pub fn of(name: &str) -> Option<NameId> {
        known().find(name)
    }

    /// The number of the primitive's sibling: `birthDate` to `_birthDate`.
    pub fn sibling(self) -> NameId {
        NameId(self.0 | SIBLING)
    }

    /// The element a sibling belongs to: `_birthDate` to `birthDate`; any other name is itself.
    pub fn element(self) -> NameId {
        NameId(self.0 & !SIBLING)
    }

    /// Whether this is a `_name`.
    pub fn is_sibling(self) -> bool {
        self.0 & SIBLING != 0
    }

    /// Position in the table of R4 names followed by those local to a tree.
    pub(crate) fn index(self) -> usize {
        (self.0 & !SIBLING) as usize
    }
}

/// The table of all R4 names.
pub(crate) fn known() -> &'static Names {
    &crate::definitions::r4().names
}

/// `,"name":"` and padding, its length in the last byte; 0 if it is too long.
pub(crate) type ShortKey = [u8; 32];

/// Names ready to be written as JSON keys, and a hash table to find them by text.
#[derive(Default)]
pub(crate) struct Names {
    /// `,"birthDate":","_birthDate":"` after one another: the text and both keys are slices of it, and a string member is
    /// written up to its value in one piece.
    keys: String,
    /// Where each name's entry starts; one more than there are names.
    starts: Vec<u32>,
    /// The key of a plain name once more, in one size that is copied faster than any: see [`Names::short_key`].
    short: Vec<ShortKey>,
    /// Open addressing over a power of two; 0 is empty, else number + 1.
    slots: Vec<u32>,
}

impl Names {
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Names {
        let mut table = Names {
            keys: String::new(),
            starts: vec![0],
            ..Names::default()
        };
        let mut count = 0_usize;
        for name in names {
            for part in [",\"", name, "\":\",\"_", name, "\":\""] {
                table.keys.push_str(part);
            }
            table
                .starts
                .push(u32::try_from(table.keys.len()).unwrap_or(u32::MAX));
            table.short.push(short_key(name));
            count += 1;
        }
        let size = (count * 3).next_power_of_two();
        let mut slots = vec![0_u32; size];
        for number in 0..count {
            let mut at = hash(table.plain(number)) & (size - 1);
            while slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & (size - 1);
            }
            if let (Some(slot), Ok(number)) = (slots.get_mut(at), u32::try_from(number)) {
                *slot = number + 1;
            }
        }
        table.slots = slots;
        table
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|number| self.plain(number))
    }

    pub(crate) fn find(&self, name: &str) -> Option<NameId> {
        match name.strip_prefix('_') {
            Some(element) => self.find_plain(element).map(NameId::sibling),
            None => self.find_plain(name),
        }
    }

    fn find_plain(&self, name: &str) -> Option<NameId> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash(name) & mask;
        loop {
            let number = self.slots.get(at)?.checked_sub(1)?;
            if self.plain(number as usize) == name {
                return Some(NameId(number));
            }
            at = (at + 1) & mask;
        }
    }

    /// The name as text, `_` included for a sibling; `None` when the number is not of this table.
    pub(crate) fn text(&self, name: NameId) -> Option<&str> {
        let key = self.key(name)?;
        std::str::from_utf8(key.get(2..key.len() - 3)?).ok()
    }

    /// `,"name":"`, ready to be written before a string. Without the first byte where nothing stands before, and without
    /// the last before anything but a string.
    #[inline]
    pub(crate) fn key(&self, name: NameId) -> Option<&[u8]> {
        let entry = self.entry(name.index())?.as_bytes();
        let length = plain_length(entry.len());
        if name.is_sibling() {
            entry.get(5 + length..)
        } else {
            entry.get(..5 + length)
        }
    }

    /// The key of a name that is no sibling and at most 26 bytes long, as [`Names::key`] and padded; the last byte is its
    /// length.
    #[inline]
    pub(crate) fn short_key(&self, name: NameId) -> Option<&ShortKey> {
        self.short.get(name.0 as usize).filter(|key| key[31] != 0)
    }

    fn plain(&self, number: usize) -> &str {
        let entry = self.entry(number).unwrap_or_default();
        entry
            .get(2..2 + plain_length(entry.len()))
            .unwrap_or_default()
    }

    #[inline]
    fn entry(&self, number: usize) -> Option<&str> {
        let (start, end) = (*self.starts.get(number)?, *self.starts.get(number + 1)?);
        self.keys.get(start as usize..end as usize)
    }
}

fn short_key(name: &str) -> ShortKey {
    let mut key = [0; 32];
    let parts = [",\"", name, "\":\""].concat();
    if let (Some(start), true) = (key.get_mut(..parts.len()), parts.len() < 32) {
        start.copy_from_slice(parts.as_bytes());
        key[31] = u8::try_from(parts.len()).unwrap_or_default();
    }
    key
}

/// The length of a name by that of its entry, which holds it twice among eleven other bytes.
#[inline]
fn plain_length(entry: usize) -> usize {
    entry.saturating_sub(11) / 2
}

/// FNV-1a, a word at a time would not pay for names of ten letters. The table is fixed, so nobody can choose collisions.
fn hash(name: &str) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    for byte in name.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    (hash ^ (hash >> 15)) as usize
}

/// Names that R4 does not have, numbered after all that it has.
#[derive(Default)]
pub(crate) struct LocalNames {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl LocalNames {
    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.numbers.clear();
    }

    pub(crate) fn intern(&mut self, name: &str) -> NameId {
        if let Some(number) = self.numbers.get(name) {
            return NameId(*number);
        }
        let number = u32::try_from(known().len() + self.texts.len())
            .map_or(SIBLING - 1, |n| n.min(SIBLING - 1));
        self.texts.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        NameId(number)
    }

    pub(crate) fn text(&self, name: NameId) -> Option<&str> {
        self.texts
            .get(name.index().checked_sub(known().len())?)
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_agree_with_the_table() {
        for (constant, text) in FIXED {
            assert_eq!(NameId::of(text), Some(*constant), "{text}");
        }
    }

    #[test]
    fn every_name_finds_itself_and_its_sibling() {
        let names = known();
        assert!(names.len() > 1000);
        for (number, name) in names.iter().enumerate() {
            let id = names.find(name).unwrap();
            assert_eq!(id.index(), number);
            assert_eq!(names.text(id), Some(name));
            assert_eq!(names.text(id.sibling()).unwrap(), format!("_{name}"));
            assert_eq!(names.find(&format!("_{name}")), Some(id.sibling()));
            let key = names.key(id).unwrap();
            assert_eq!(key, format!(",\"{name}\":\"").as_bytes());
            let short = names.short_key(id);
            assert_eq!(short.is_some(), name.len() < 27, "{name}");
            assert!(short.is_none_or(|short| &short[..usize::from(short[31])] == key));
            assert_eq!(names.short_key(id.sibling()), None);
        }
        assert_eq!(names.find("colour"), None);
        assert_eq!(names.find(""), None);
    }

    #[test]
    fn local_names_follow_the_known() {
        let mut local = LocalNames::default();
        let first = local.intern("colour");
        let second = local.intern("_colour");
        assert_eq!(local.intern("colour"), first);
        assert_eq!(first.index(), known().len());
        assert_eq!(local.text(second), Some("_colour"));
        assert_eq!(known().text(first), None);
    }
}
