//! What FHIR requires of a type and no rule gives.

use std::collections::BTreeSet;

use fhir::definitions::TypeId;

use super::Compiler;
use crate::diagnostic::Code;
use crate::plan::{Bind, BoundId, Entry, Field, Link, Makes};
use crate::yaml::Span;

impl Compiler {
    /// A resource of a message map is made by all lines that share its name: together they must give what is required.
    pub(super) fn required_of_message(
        &mut self,
        entries: &[Entry],
        spans: &[Span],
        links: &[Link],
    ) {
        let mut seen: BTreeSet<BoundId> = BTreeSet::new();
        for (entry, span) in entries.iter().zip(spans) {
            let name = match entry.bind {
                Bind::As(name) if seen.insert(name) => Some(name),
                Bind::Nothing => None,
                _ => continue,
            };
            let mut given = BTreeSet::new();
            let same = |other: &&Entry| {
                std::ptr::eq(*other, entry)
                    || name.is_some_and(|name| {
                        other.bind == Bind::As(name) || other.bind == Bind::Into(name)
                    })
            };
            for other in entries.iter().filter(same) {
                if let Some(map) = self.plan.maps.get(other.map) {
                    given.extend(orders(&map.fields));
                }
                let own = other.set.iter().filter(|set| set.target.is_none());
                given.extend(own.flat_map(|set| orders(&set.fields)));
            }
            let sets = entries.iter().flat_map(|entry| &entry.set);
            let foreign = sets.filter(|set| name.is_some() && set.target == name);
            given.extend(foreign.flat_map(|set| orders(&set.fields)));
            let linked = links.iter().filter(|link| Some(link.target) == name);
            given.extend(
                linked
                    .filter_map(|link| link.path.first())
                    .map(|key| key.order),
            );
            let type_name = self
                .maps
                .get(entry.map)
                .map_or("", |header| header.type_name);
            self.missing(type_name, &given, *span);
        }
    }

    /// A datatype map stands alone.
    pub(super) fn required_of_datatypes(&mut self) {
        let alone: Vec<(&'static str, BTreeSet<u16>, Span)> = self
            .maps
            .iter()
            .zip(&self.plan.maps)
            .filter(|(header, map)| header.data_type.is_some() && map.makes != Makes::Primitive)
            .map(|(header, map)| (header.type_name, orders(&map.fields).collect(), header.span))
            .collect();
        for (type_name, given, span) in alone {
            self.missing(type_name, &given, span);
        }
    }

    /// An object that is written out in a rule stands alone too.
    pub(super) fn required_of_object(&mut self, type_id: TypeId, fields: &[Field], span: Span) {
        let given = orders(fields).collect();
        self.missing(self.r4.type_name(type_id), &given, span);
    }

    fn missing(&mut self, type_name: &'static str, given: &BTreeSet<u16>, span: Span) {
        let Some(type_id) = self.r4.type_(type_name) else {
            return;
        };
        let mut missing: Vec<&str> = self
            .r4
            .elements(type_id)
            .iter()
            .filter(|element| element.min > 0 && !given.contains(&element.order))
            .map(|element| element.base)
            .collect();
        missing.dedup();
        if missing.is_empty() {
            return;
        }
        let names = missing.join(", ");
        self.warn(
            Code::MissingElement,
            span,
            format!("no rule gives {names}, which {} {type_name} must have", article(type_name)),
            "add a rule; where the message has no value, end its list with a constant or a data-absent-reason",
        );
    }
}

/// `a` or `an`.
pub(super) fn article(word: &str) -> &'static str {
    if word.starts_with(['A', 'E', 'I', 'O', 'a', 'e', 'i', 'o']) {
        "an"
    } else {
        "a"
    }
}

/// The places of the elements that rules fill; the variants of a choice share theirs.
fn orders(fields: &[Field]) -> impl Iterator<Item = u16> {
    fields.iter().map(|field| field.key.order)
}
