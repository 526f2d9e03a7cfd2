//! Reading the pack; `scripts/fhir-definitions.py` describes its lines.

use std::collections::HashMap;
use std::str::Lines;

use super::{
    Binding, Definitions, Element, Strength, SystemCodes, Type, TypeId, TypeKind, TypeRef,
    ValueSet, ValueSetId,
};
use crate::names::Names;
use crate::primitive::Primitive;

/// Ten times today's size.
const UNPACKED_MAX: usize = 4 << 20;

/// Decodes a pack. `None` if it is not one.
pub(super) fn decode(packed: &[u8]) -> Option<Definitions> {
    let text = miniz_oxide::inflate::decompress_to_vec_with_limit(packed, UNPACKED_MAX).ok()?;
    // Decoded once and kept for the life of the process: names, codes and addresses are slices of it.
    let text: &'static str = String::from_utf8(text).ok()?.leak();
    let mut lines = text.lines();
    if lines.next()? != "fhirway-definitions 1 4.0.1" {
        return None;
    }
    let count = counted(&mut lines, "names ")?;
    let names = Names::new(lines.by_ref().take(count));
    let count = counted(&mut lines, "systems ")?;
    let systems: Vec<_> = lines.by_ref().take(count).collect();
    let count = counted(&mut lines, "valuesets ")?;
    let (value_sets, line) = value_sets(&mut lines, &systems)?;
    if value_sets.len() != count {
        return None;
    }
    let count = line.strip_prefix("types ")?.parse().ok()?;
    let mut types: Vec<_> = lines
        .by_ref()
        .take(count)
        .map(type_line)
        .collect::<Option<_>>()?;
    let by_name = by_name(&types)?;
    elements(&mut lines, &mut types, &by_name, &names)?;
    Some(Definitions {
        names,
        types,
        by_name,
        value_sets,
    })
}

fn counted(lines: &mut Lines<'static>, heading: &str) -> Option<usize> {
    lines.next()?.strip_prefix(heading)?.parse().ok()
}

/// The value sets, and the line that ended them.
fn value_sets(
    lines: &mut Lines<'static>,
    systems: &[&'static str],
) -> Option<(Vec<ValueSet>, &'static str)> {
    let mut sets: Vec<ValueSet> = Vec::new();
    loop {
        let line = lines.next()?;
        match line.split_once(' ')? {
            ("v", rest) => {
                let (closed, url) = rest.split_once(' ')?;
                sets.push(ValueSet {
                    url,
                    closed: closed == "1",
                    systems: Vec::new(),
                });
            }
            ("s", number) => {
                let system = systems.get(number.parse::<usize>().ok()?)?;
                sets.last_mut()?.systems.push(SystemCodes {
                    system,
                    codes: Vec::new(),
                });
            }
            ("c", code) => sets.last_mut()?.systems.last_mut()?.codes.push(code),
            _ => return Some((sets, line)),
        }
    }
}

fn type_line(line: &'static str) -> Option<Type> {
    let (letter, name) = line.split_once(' ')?;
    let kind = match letter.to_ascii_lowercase().as_str() {
        "p" => TypeKind::Primitive,
        "c" => TypeKind::Complex,
        "b" => TypeKind::Backbone,
        "r" => TypeKind::Resource,
        _ => return None,
    };
    let is_abstract = letter.starts_with(|letter: char| letter.is_ascii_uppercase());
    let primitive = if kind == TypeKind::Primitive {
        Some(Primitive::from_name(name)?)
    } else {
        None
    };
    Some(Type {
        name,
        kind,
        is_abstract,
        primitive,
        elements: Vec::new(),
    })
}

fn by_name(types: &[Type]) -> Option<HashMap<&'static str, TypeId>> {
    types
        .iter()
        .enumerate()
        .map(|(number, found)| Some((found.name, TypeId(u16::try_from(number).ok()?))))
        .collect()
}

fn elements(
    lines: &mut Lines<'static>,
    types: &mut [Type],
    by_name: &HashMap<&'static str, TypeId>,
    names: &Names,
) -> Option<()> {
    let mut owner = None;
    let mut order = 0;
    for line in lines {
        if let Some(name) = line.strip_prefix("elements ") {
            owner = Some(by_name.get(name)?);
            order = 0;
            continue;
        }
        order += 1;
        let elements = &mut types.get_mut(usize::from(owner?.0))?.elements;
        element_line(line, order, by_name, names, elements)?;
    }
    Some(())
}

/// One line is one element, or all the names of a choice.
fn element_line(
    line: &'static str,
    order: u16,
    by_name: &HashMap<&'static str, TypeId>,
    names: &Names,
    elements: &mut Vec<Element>,
) -> Option<()> {
    let mut fields = line.split(' ');
    let mut field = || fields.next();
    let (name, min, max, flags, types, binding) =
        (field()?, field()?, field()?, field()?, field()?, field()?);
    let (base, choice) = name
        .strip_suffix("[x]")
        .map_or((name, false), |base| (base, true));
    let element = Element {
        name: names.find(base).or_else(|| names.find("id"))?,
        base,
        order,
        min: min.parse().ok()?,
        max: if max == "*" {
            None
        } else {
            Some(max.parse().ok()?)
        },
        types: &[],
        choice,
        binding: binding_field(binding)?,
        modifier: flags.contains('m'),
        summary: flags.contains('s'),
        simple_quantity: flags.contains('q'),
    };
    let types: &'static [TypeRef] = type_refs(types, by_name)?.leak();
    if !choice {
        elements.push(Element { types, ..element });
        return Some(());
    }
    let mut json_name = String::new();
    for (type_name, one) in type_names(line).zip(types.chunks(1)) {
        json_name.clear();
        json_name.push_str(base);
        json_name.extend(
            type_name
                .chars()
                .take(1)
                .map(|first| first.to_ascii_uppercase()),
        );
        json_name.push_str(type_name.get(1..)?);
        elements.push(Element {
            name: names.find(&json_name)?,
            types: one,
            ..element.clone()
        });
    }
    Some(())
}

/// The names in the TYPES field of a line, without targets.
fn type_names(line: &'static str) -> impl Iterator<Item = &'static str> {
    let types = line.split(' ').nth(4).unwrap_or_default();
    types
        .split('|')
        .map(|one| one.split('(').next().unwrap_or_default())
}

fn type_refs(types: &'static str, by_name: &HashMap<&'static str, TypeId>) -> Option<Vec<TypeRef>> {
    let one = |text: &'static str| {
        let (name, targets) = text
            .strip_suffix(')')
            .and_then(|text| text.split_once('('))
            .unwrap_or((text, ""));
        let targets: Option<Vec<_>> = targets
            .split(',')
            .filter(|target| !target.is_empty())
            .map(|target| by_name.get(target).copied())
            .collect();
        Some(TypeRef {
            type_: *by_name.get(name)?,
            targets: targets?.leak(),
        })
    };
    types.split('|').map(one).collect()
}

fn binding_field(text: &str) -> Option<Option<Binding>> {
    let strength = match text.get(..1)? {
        "r" => Strength::Required,
        "e" => Strength::Extensible,
        _ => return Some(None),
    };
    let value_set = ValueSetId(text.get(1..)?.parse().ok()?);
    Some(Some(Binding {
        strength,
        value_set,
    }))
}
