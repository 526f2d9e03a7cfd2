//! What stands at a cursor, in Markdown.

use fhir::definitions::{Element, Strength, TypeId, r4};
use hl7v2::Version;
use hl7v2::definitions::{FieldDefinition, for_version};

use super::complete::type_at;
use super::cursor::Cursor;
use super::index::Index;
use crate::compile::v2;
use crate::syntax::path;
use crate::vocabulary;

/// The page of a word, by what it can be where it stands.
pub(super) fn describe(index: &Index<'_>, cursor: &Cursor<'_>, word: &str) -> Option<String> {
    if let Some(text) = path(word) {
        return Some(text);
    }
    if cursor.in_key {
        return key(index, cursor, word);
    }
    let helper = vocabulary::HELPERS.iter().find(|(name, ..)| *name == word);
    if let Some((_, usage, about)) = helper.filter(|_| cursor.typed.contains("{{")) {
        return Some(format!("**{usage}**\n\n{about}"));
    }
    name(index, word)
}

fn key(index: &Index<'_>, cursor: &Cursor<'_>, word: &str) -> Option<String> {
    let r4 = r4();
    let top = cursor.levels.len() == 1;
    let keywords = match cursor.folder() {
        "segments" if top => vocabulary::SEGMENT,
        "datatypes" if top => vocabulary::DATATYPE,
        "segments" | "datatypes" => vocabulary::RULE,
        "tables" if top => vocabulary::TABLE,
        "tables" => vocabulary::TARGET,
        "package.yaml" if top => vocabulary::PACKAGE,
        "package.yaml" => vocabulary::POLICY,
        _ if !top => vocabulary::LINE,
        _ if cursor.path.starts_with("messages/parts/") => vocabulary::PART,
        _ => vocabulary::MESSAGE,
    };
    let found = keywords
        .find(word)
        .filter(|key| key.name != vocabulary::RESULT || is_primitive(cursor.header("makes")));
    if let Some(key) = found {
        let owner = keywords.owner;
        return Some(format!(
            "**{}** (key of {owner})\n\n{}",
            key.name, key.about
        ));
    }
    let bare = word.trim_start_matches(['.', '_']);
    if let Some(type_id) = type_at(index, cursor)
        && let Some(found) = r4.element(type_id, bare)
    {
        return Some(element(type_id, found));
    }
    segment(word).or_else(|| name(index, word))
}

fn is_primitive(type_name: &str) -> bool {
    let r4 = r4();
    let type_id = r4.type_(type_name);
    type_id.is_some_and(|id| r4.primitive(id).is_some())
}

/// A name of the package, a FHIR type or a v2 segment or data type.
fn name(index: &Index<'_>, word: &str) -> Option<String> {
    if let Some(makes) = index.maps.get(word) {
        let what = word.split('/').next().unwrap_or_default();
        let of = segment(what)
            .or_else(|| data_type(what))
            .unwrap_or_default();
        return Some(format!("**{word}** makes {makes}\n\n{of}"));
    }
    if let Some(about) = index.tables.get(word) {
        return Some(format!("**{word}** (code table)\n\n{about}"));
    }
    if let Some(policy) = index.policies.get(word) {
        let (values, default) = (policy.values.join(", "), &policy.default);
        let about = &policy.about;
        return Some(format!(
            "**{word}** (policy): {values}; default {default}\n\n{about}"
        ));
    }
    if let Some(map) = index.bound.get(word) {
        let makes = index.makes(map);
        return Some(format!("**{word}** is the {makes} that `{map}` makes"));
    }
    if let Some(about) = index.parts.get(word) {
        return Some(format!("**{word}** (part of message maps)\n\n{about}"));
    }
    let fixed = vocabulary::WRITES.iter().chain(vocabulary::MISSES);
    if let Some((name, about)) = fixed.into_iter().find(|(name, _)| *name == word) {
        return Some(format!("**{name}**: {about}"));
    }
    let r4 = r4();
    if let Some(type_id) = r4.type_(word) {
        let elements = r4.elements(type_id).iter().map(Element::text);
        let elements: Vec<&str> = elements.take(60).collect();
        return Some(format!("**{word}** (FHIR R4)\n\n{}", elements.join(", ")));
    }
    segment(word).or_else(|| data_type(word))
}

// === FHIR ===

/// `date [0..1]`
pub(super) fn element_line(element: &Element) -> String {
    let r4 = r4();
    let type_name = element
        .type_()
        .map_or("", |found| r4.type_name(found.type_));
    let most = element.max.map_or("*".to_owned(), |max| max.to_string());
    format!("{type_name} [{}..{most}]", element.min)
}

/// Name, type, cardinality, what it may refer to and where its codes come from.
pub(super) fn element(owner: TypeId, element: &Element) -> String {
    let r4 = r4();
    let (owner, name) = (r4.type_name(owner), element.text());
    let mut text = format!("**{owner}.{name}**: {}", element_line(element));
    if element.choice {
        let base = element.base;
        text.push_str(&format!(
            "\n\nOne type of `{base}[x]`; only one of them may be there."
        ));
    }
    let targets = element.type_().map_or(&[][..], |found| found.targets);
    if !targets.is_empty() {
        let names: Vec<&str> = targets.iter().map(|id| r4.type_name(*id)).collect();
        text.push_str(&format!("\n\nRefers to {}.", names.join(", ")));
    }
    if let Some(binding) = element.binding
        && let Some(set) = r4.value_set(binding.value_set)
    {
        let from = match binding.strength {
            Strength::Required => "Codes only from",
            Strength::Extensible => "Codes, where it has one, from",
        };
        text.push_str(&format!("\n\n{from} <{}>", set.url));
        let codes: Vec<&str> = set.codes().map(|(_, code)| code).take(21).collect();
        if let Some(shown) = codes
            .get(..codes.len().min(20))
            .filter(|shown| !shown.is_empty())
        {
            let more = if codes.len() > 20 { ", ..." } else { "" };
            text.push_str(&format!(": {}{more}", shown.join(", ")));
        }
    }
    if element.modifier {
        text.push_str("\n\nIt can change the meaning of the rest.");
    }
    text
}

// === HL7 v2 ===

/// `Patient Name (XPN), repeats`
pub(super) fn field_line(field: &FieldDefinition) -> String {
    let repeats = if field.max == Some(1) {
        ""
    } else {
        ", repeats"
    };
    let withdrawn = if field.withdrawn { ", withdrawn" } else { "" };
    format!("{} ({}){repeats}{withdrawn}", field.name, field.data_type)
}

/// What a path names: the field and the part of it.
pub(super) fn path(word: &str) -> Option<String> {
    let parsed = path::parse(word).ok()?;
    let (name, number) = (parsed.name.as_str(), parsed.field);
    let mut text = String::new();
    let mut types: Vec<&'static str> = if parsed.segment {
        let field = v2::field_definition(name, number)?;
        let segment = for_version(Version::NEWEST).segment(name);
        let title = segment.map_or("", |found| found.title);
        text.push_str(&format!(
            "**{name}-{number}** {}\n\n{title}",
            field_line(field)
        ));
        if field.min > 0 {
            text.push_str("; the standard requires it");
        }
        if let Some(table) = v2::table(name, number, 0) {
            text.push_str(&format!("; HL7 table {table}"));
        }
        v2::types(name, number, 0, 0)
    } else {
        text.push_str(&data_type(name)?);
        v2::known_type(name).into_iter().collect()
    };
    if parsed.segment && parsed.component == 0 && types.len() > 1 {
        let older: Vec<&str> = types.iter().skip(1).copied().collect();
        text.push_str(&format!("\n\nIn older versions: {}", older.join(", ")));
    }
    for number in [parsed.component, parsed.subcomponent] {
        let Some(owner) = types.first().copied().filter(|_| number > 0) else {
            break;
        };
        let parts = v2::component_definitions(owner);
        let Some(part) = parts.into_iter().find(|part| part.number == number) else {
            break;
        };
        let (name, data_type) = (part.name, part.data_type);
        text.push_str(&format!("\n\n**{owner}.{number}** {name} ({data_type})"));
        if let Some(table) = part.table {
            text.push_str(&format!("; HL7 table {table}"));
        }
        types = vec![data_type];
    }
    Some(text)
}

/// The segment and how many fields it has.
pub(super) fn segment(name: &str) -> Option<String> {
    let found = for_version(Version::NEWEST).segment(name)?;
    let count = found.fields.len();
    Some(format!("**{name}** {} ({count} fields)", found.title))
}

/// The data type and its components.
pub(super) fn data_type(name: &str) -> Option<String> {
    if !v2::is_data_type(name) {
        return None;
    }
    let found = for_version(Version::NEWEST).data_type(name);
    let title = found.map_or("", |found| found.title);
    let parts: Vec<String> = v2::component_definitions(name)
        .iter()
        .map(|part| format!("{name}.{} {}", part.number, part.name))
        .collect();
    Some(format!("**{name}** {title}\n\n{}", parts.join("  \n")))
}

/// The data types of what a path names, newest first.
pub(super) fn types_of(text: &str) -> Vec<&'static str> {
    let Ok(found) = path::parse(text) else {
        return Vec::new();
    };
    let (component, subcomponent) = (found.component, found.subcomponent);
    if found.segment {
        v2::types(&found.name, found.field, component, subcomponent)
    } else {
        let whole = v2::known_type(&found.name).into_iter().collect();
        v2::parts(whole, component, subcomponent)
    }
}

/// The data type of the value being mapped: that of the nearest `each:` or `from:`, else of the datatype map.
pub(super) fn current_type(cursor: &Cursor<'_>) -> Option<String> {
    let nearest = cursor.levels.iter().rev().find_map(|level| {
        let value = level.value("each").or_else(|| level.value("from"));
        value.filter(|value| !value.is_empty())
    });
    match nearest {
        Some(path) => types_of(path).first().map(|name| (*name).to_owned()),
        None => Some(cursor.header("datatype").to_owned()).filter(|name| !name.is_empty()),
    }
}
