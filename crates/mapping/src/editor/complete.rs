//! What may stand at a cursor.

use fhir::definitions::{Strength, TypeId, TypeKind, r4};
use hl7v2::Version;
use hl7v2::definitions::{StructureItem, for_version};

use super::cursor::{Cursor, Level};
use super::describe::{self, element_line, field_line};
use super::index::Index;
use super::{Completions, Item, ItemKind};
use crate::compile::v2;
use crate::vocabulary::{self, Takes, Vocabulary};

/// More items than this help nobody.
const MOST: usize = 400;

pub(super) fn completions(index: &Index<'_>, cursor: &Cursor<'_>) -> Completions {
    let mut out = Out { items: Vec::new() };
    let quoted = cursor.typed.trim_start().starts_with(['"', '\'']);
    if inside_braces(&cursor.typed) {
        template(index, cursor, &mut out);
    } else if cursor.in_key && !quoted {
        keys(index, cursor, &mut out);
    } else {
        values(index, cursor, &mut out);
    }
    out.items.truncate(MOST);
    Completions {
        items: out.items,
        replaces: u32::try_from(cursor.word().chars().count()).unwrap_or(0),
    }
}

struct Out {
    items: Vec<Item>,
}

impl Out {
    fn add(
        &mut self,
        label: impl Into<String>,
        kind: ItemKind,
        detail: impl Into<String>,
        about: impl Into<String>,
    ) {
        let label = label.into();
        let known = |item: &Item| item.label == label && item.kind == kind;
        if !self.items.iter().any(known) {
            self.items.push(Item {
                label,
                kind,
                detail: detail.into(),
                about: about.into(),
            });
        }
    }

    fn words(&mut self, vocabulary: &Vocabulary) {
        for key in vocabulary.keys {
            self.add(key.name, ItemKind::Keyword, vocabulary.owner, key.about);
        }
    }
}

fn inside_braces(typed: &str) -> bool {
    let open = typed.rfind("{{");
    open.is_some_and(|open| typed.rfind("}}").is_none_or(|close| close < open))
}

// === keys ===

fn keys(index: &Index<'_>, cursor: &Cursor<'_>, out: &mut Out) {
    let top = cursor.levels.len() == 1;
    match cursor.folder() {
        "package.yaml" if top => out.words(&vocabulary::PACKAGE),
        "package.yaml" => out.words(&vocabulary::POLICY),
        "tables" if top => out.words(&vocabulary::TABLE),
        "tables" => match cursor.keys().last() {
            Some("groups") => out.words(&vocabulary::GROUP),
            Some("codes" | "same") | None => {}
            _ => out.words(&vocabulary::TARGET),
        },
        "messages" => message_keys(index, cursor, out),
        "segments" | "datatypes" => {
            if top {
                out.words(header_words(cursor));
            }
            // `ignore:` and `key:` take lists of paths, whose lines look like keys until they are done.
            let around = cursor.levels.iter().rev().nth(1);
            let word = around.and_then(|level| level.key.as_deref());
            let found = word.and_then(|word| {
                vocabulary::RULE
                    .find(word)
                    .or_else(|| header_words(cursor).find(word))
            });
            match found {
                Some(key) if key.takes != Takes::Elements => {
                    value_of(index, cursor, key.takes, out);
                }
                _ => elements(index, cursor, out),
            }
        }
        _ => {}
    }
}

fn header_words(cursor: &Cursor<'_>) -> &'static Vocabulary {
    if cursor.folder() == "segments" {
        &vocabulary::SEGMENT
    } else {
        &vocabulary::DATATYPE
    }
}

fn elements(index: &Index<'_>, cursor: &Cursor<'_>, out: &mut Out) {
    let top = cursor.levels.len() == 1;
    if let Some(type_id) = type_at(index, cursor) {
        for element in r4().elements(type_id) {
            let name = element.text();
            let keyword = vocabulary::RULE.has(name) || top && header_words(cursor).has(name);
            let dot = if keyword { "." } else { "" };
            let about = describe::element(type_id, element);
            out.add(
                format!("{dot}{name}"),
                ItemKind::Element,
                element_line(element),
                about,
            );
        }
    }
    if !top {
        out.words(&vocabulary::RULE);
    }
}

fn message_keys(index: &Index<'_>, cursor: &Cursor<'_>, out: &mut Out) {
    let part = cursor.path.starts_with("messages/parts/");
    if cursor.levels.len() == 1 {
        out.words(if part {
            &vocabulary::PART
        } else {
            &vocabulary::MESSAGE
        });
        return;
    }
    if cursor.keys().any(|key| key == "set") {
        elements(index, cursor, out);
        return names(index, out);
    }
    if cursor.keys().next() == Some("link") {
        return names(index, out);
    }
    out.words(&vocabulary::LINE);
    let name = cursor.path.trim_start_matches("messages/");
    let structure = name.trim_end_matches(".yaml");
    let root = Version::ALL
        .into_iter()
        .rev()
        .find_map(|version| for_version(version).structure(structure))
        .map(|found| found.root());
    let group = root.and_then(|root| {
        let mut groups = cursor
            .keys()
            .filter(|key| key.starts_with(|c: char| c.is_ascii_uppercase()));
        groups.try_fold(root, |at, key| at.child(key))
    });
    for child in group.iter().flat_map(StructureItem::children) {
        let what = if child.is_group() { "group" } else { "segment" };
        let about = describe::segment(child.name()).unwrap_or_default();
        out.add(child.name(), ItemKind::Field, what, about);
    }
}

/// The type whose elements can be keys where the cursor is.
pub(super) fn type_at(index: &Index<'_>, cursor: &Cursor<'_>) -> Option<TypeId> {
    let r4 = r4();
    let mut levels = cursor.levels.as_slice();
    let mut type_id = if cursor.folder() == "messages" {
        // `set:` of a line is about what its map makes.
        let mut all = levels.iter();
        let at = all.position(|level| level.key.as_deref() == Some("set"))?;
        let (_, line) = levels.get(at)?.pairs.first()?;
        levels = levels.get(at + 1..)?;
        r4.type_(index.makes(line.split_whitespace().next()?))?
    } else {
        // An overlay that changes single rules leaves the type to the file below it.
        let own = cursor.header("makes");
        let name = cursor.path.split_once('/').map_or("", |(_, name)| name);
        let below = index.makes(name.trim_end_matches(".yaml"));
        r4.type_(if own.is_empty() { below } else { own })?
    };
    let (last, outer) = levels.split_last()?;
    for level in outer {
        let Some(key) = level.key.as_deref() else {
            continue;
        };
        type_id = beside(index, level).unwrap_or(type_id);
        let result = key == vocabulary::RESULT && r4.element(type_id, key).is_none();
        if key == "set" || result {
            continue;
        }
        if vocabulary::RULE.has(key) {
            return None;
        }
        let name = key.trim_start_matches('.');
        type_id = if name.starts_with('_') {
            r4.type_("Element")?
        } else {
            r4.element(type_id, name)?.type_()?.type_
        };
    }
    Some(beside(index, last).unwrap_or(type_id))
}

/// The resource that a level builds by `make:`, or changes behind a `map:` that makes one.
fn beside(index: &Index<'_>, level: &Level) -> Option<TypeId> {
    let made = level
        .value("make")
        .or_else(|| level.value("map").map(|map| index.makes(map)));
    made.and_then(|name| r4().resource(name))
}

// === values ===

fn values(index: &Index<'_>, cursor: &Cursor<'_>, out: &mut Out) {
    let list = cursor.levels.last().is_some_and(Level::is_list);
    let depth = cursor.levels.len() - usize::from(list);
    let Some(owner) = depth.checked_sub(1).and_then(|at| cursor.levels.get(at)) else {
        return;
    };
    let Some(key) = owner.key.as_deref() else {
        return;
    };
    if cursor.folder() == "messages" {
        return message_values(index, cursor, key, out);
    }
    let top = depth == 1;
    let vocabulary = match cursor.folder() {
        "tables" if top => Some(&vocabulary::TABLE),
        "segments" | "datatypes" if top && header_words(cursor).has(key) => {
            Some(header_words(cursor))
        }
        "segments" | "datatypes" => Some(&vocabulary::RULE),
        _ => None,
    };
    if let Some(found) = vocabulary.and_then(|vocabulary| vocabulary.find(key)) {
        return value_of(index, cursor, found.takes, out);
    }
    // A constant: the codes of its value set, or what the primitive takes.
    let without = Cursor {
        levels: cursor.levels.iter().take(depth).cloned().collect(),
        ..cursor.clone()
    };
    let r4 = r4();
    let element = type_at(index, &without)
        .and_then(|type_id| r4.element(type_id, key.trim_start_matches('.')));
    let Some(element) = element else { return };
    if let Some(binding) = element.binding
        && let Some(set) = r4.value_set(binding.value_set).filter(|set| set.closed)
    {
        let strength = match binding.strength {
            Strength::Required => "required",
            Strength::Extensible => "extensible",
        };
        for (system, code) in set.codes().take(MOST) {
            out.add(code, ItemKind::Value, strength, system);
        }
    }
    if element
        .type_()
        .is_some_and(|found| r4.type_name(found.type_) == "boolean")
    {
        fixed(&[("true", ""), ("false", "")], out);
    }
}

fn value_of(index: &Index<'_>, cursor: &Cursor<'_>, takes: Takes, out: &mut Out) {
    match takes {
        Takes::Path | Takes::Identity | Takes::Identities | Takes::Fields => paths(cursor, out),
        Takes::Condition => condition(index, cursor, out),
        Takes::MapName => maps(index, |_| true, out),
        Takes::TableName => {
            for (name, about) in &index.tables {
                out.add(name, ItemKind::File, "code table", about);
            }
        }
        Takes::PartName => {
            for (name, about) in &index.parts {
                out.add(name, ItemKind::File, "part", about);
            }
        }
        Takes::ResourceName => names(index, out),
        Takes::TypeName => types(
            &[TypeKind::Resource, TypeKind::Complex, TypeKind::Primitive],
            out,
        ),
        Takes::ResourceType => types(&[TypeKind::Resource], out),
        Takes::Write => fixed(vocabulary::WRITES, out),
        Takes::Miss => fixed(vocabulary::MISSES, out),
        _ => {}
    }
}

fn message_values(index: &Index<'_>, cursor: &Cursor<'_>, key: &str, out: &mut Out) {
    let before = cursor.before();
    let inside = cursor.levels.iter().rev().skip(1);
    let mut inside = inside.filter_map(|level| level.key.as_deref());
    match key {
        "when" => condition(index, cursor, out),
        "use" => value_of(index, cursor, Takes::PartName, out),
        "write" => fixed(vocabulary::WRITES, out),
        "key" => paths(cursor, out),
        _ if before.trim_end().ends_with(" into")
            || inside.any(|key| matches!(key, "set" | "link")) =>
        {
            names(index, out);
        }
        _ => {
            let segment = key.split_whitespace().next().unwrap_or_default();
            if before.trim().is_empty() {
                maps(index, |name| name.split('/').next() == Some(segment), out);
            } else {
                let words = [
                    ("as", "gives what is made a name"),
                    ("into", "adds to the resource of that name"),
                ];
                fixed(&words, out);
            }
        }
    }
}

fn maps(index: &Index<'_>, fits: impl Fn(&str) -> bool, out: &mut Out) {
    for (name, makes) in index.maps.iter().filter(|(name, _)| fits(name)) {
        out.add(name, ItemKind::File, format!("makes {makes}"), "");
    }
}

fn names(index: &Index<'_>, out: &mut Out) {
    for (name, map) in &index.bound {
        let about = format!("made by `{map}`");
        out.add(name, ItemKind::Name, index.makes(map), about);
    }
}

fn types(kinds: &[TypeKind], out: &mut Out) {
    let r4 = r4();
    let wanted = |id: &TypeId| kinds.contains(&r4.kind(*id)) && !r4.is_abstract(*id);
    for type_id in r4.types().filter(wanted) {
        out.add(r4.type_name(type_id), ItemKind::Value, "FHIR R4", "");
    }
}

fn fixed(words: &[(&str, &str)], out: &mut Out) {
    for (word, about) in words {
        out.add(*word, ItemKind::Value, "", *about);
    }
}

// === inside of texts ===

fn template(index: &Index<'_>, cursor: &Cursor<'_>, out: &mut Out) {
    let open = cursor.typed.rfind("{{").unwrap_or(0);
    let inner = cursor.typed.get(open + 2..).unwrap_or_default();
    if inner.contains("lookup") && inner.matches('"').count() % 2 == 1 {
        return value_of(index, cursor, Takes::TableName, out);
    }
    paths(cursor, out);
    if inner.trim_start_matches(['#', ' ']) == cursor.word() || inner.contains('(') {
        for (name, usage, about) in vocabulary::HELPERS {
            out.add(*name, ItemKind::Helper, *usage, *about);
        }
    }
}

fn condition(index: &Index<'_>, cursor: &Cursor<'_>, out: &mut Out) {
    let before = cursor.before().trim_end();
    let last = before.rsplit([' ', '"', '\'', '(']).next();
    let last = last.unwrap_or_default();
    if last == "policy" {
        for (name, policy) in &index.policies {
            let values = policy.values.join(", ");
            out.add(name, ItemKind::Name, values, policy.about.as_str());
        }
        return;
    }
    if last == "bound" {
        return names(index, out);
    }
    let words: Vec<&str> = before.split_whitespace().collect();
    if let [.., "policy", name, "=" | "!="] = words.as_slice() {
        for value in index
            .policies
            .get(*name)
            .iter()
            .flat_map(|found| &found.values)
        {
            out.add(value, ItemKind::Value, "", "");
        }
        return;
    }
    if crate::syntax::path::looks_like_path(last) {
        return fixed(vocabulary::TESTS, out);
    }
    paths(cursor, out);
    for (word, about) in [
        ("policy", "a policy of the package has a value"),
        ("bound", "a resource of that name exists"),
        ("count", "how many repetitions: `count(PID-11) = 1`"),
        ("not", "the opposite"),
        ("and", "both hold"),
        ("or", "one of them holds"),
    ] {
        out.add(word, ItemKind::Keyword, "condition", about);
    }
}

/// Segments, fields and components, as far as the path is typed.
fn paths(cursor: &Cursor<'_>, out: &mut Out) {
    let word = cursor.word();
    let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
    if let Some(segment) = stem.strip_suffix('-') {
        for number in 1..=v2::field_count(segment) {
            if let Some(field) = v2::field_definition(segment, number) {
                let path = format!("{segment}-{number}");
                let about = describe::path(&path).unwrap_or_default();
                out.add(path, ItemKind::Field, field_line(field), about);
            }
        }
    } else if let Some(whole) = stem.strip_suffix('.') {
        if let Some(data_type) = describe::types_of(whole).first() {
            components(whole, data_type, out);
        }
    } else {
        if let Some(current) = describe::current_type(cursor) {
            let about = describe::data_type(&current).unwrap_or_default();
            let detail = "the value being mapped";
            out.add(current.as_str(), ItemKind::Field, detail, about);
            components(&current, &current, out);
        }
        let newest = for_version(Version::NEWEST);
        let own = cursor.path.split('/').nth(1).unwrap_or_default();
        let mut names: Vec<&str> = newest.segment_names().collect();
        names.sort_by_key(|name| (*name != own, *name));
        for name in names {
            let title = newest.segment(name).map_or("", |found| found.title);
            out.add(format!("{name}-"), ItemKind::Field, title, "");
        }
    }
}

fn components(whole: &str, data_type: &str, out: &mut Out) {
    for component in v2::component_definitions(data_type) {
        let path = format!("{whole}.{}", component.number);
        let detail = format!("{} ({})", component.name, component.data_type);
        let about = describe::path(&path).unwrap_or_default();
        out.add(path, ItemKind::Field, detail, about);
    }
}
