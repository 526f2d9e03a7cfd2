//! Extensions whose definition is loaded: where they stand, and what they hold.

use std::collections::{BTreeSet, HashMap};

use fhir::definitions::TypeId;

use super::{Place, Profile, Profiles, constant};
use crate::compile::Compiler;
use crate::diagnostic::Code;
use crate::plan::{Body, Field, Makes, Map, MessageMap, Rule};

/// What an extension stands in.
#[derive(Clone, Copy)]
struct Holder<'p> {
    type_id: TypeId,
    /// Its path from the resource, such as `Patient.name`.
    path: &'p str,
    /// The path is that from the resource; not known of the maps of data types.
    whole: bool,
}

impl Compiler {
    /// All rules of all maps, and what message maps set.
    pub(super) fn extensions(
        &mut self,
        profiles: &Profiles,
        maps: &[Map],
        messages: &HashMap<String, MessageMap>,
    ) {
        if !profiles.values().any(|one| one.type_name == "Extension") {
            return;
        }
        for (number, map) in maps.iter().enumerate() {
            let type_name = self.maps.get(number).map_or("", |header| header.type_name);
            if let Some(type_id) = self.r4.type_(type_name) {
                let holder = Holder {
                    type_id,
                    path: type_name,
                    whole: matches!(map.makes, Makes::Resource(_)),
                };
                self.extensions_in(profiles, maps, holder, &map.fields);
            }
        }
        for message in messages.values() {
            for entry in &message.entries {
                let own = entry.set.iter().filter(|set| set.target.is_none());
                let type_name = self.maps.get(entry.map).map_or("", |map| map.type_name);
                let Some(type_id) = self.r4.type_(type_name) else {
                    continue;
                };
                let holder = Holder {
                    type_id,
                    path: type_name,
                    whole: true,
                };
                for set in own {
                    self.extensions_in(profiles, maps, holder, &set.fields);
                }
            }
        }
    }

    fn extensions_in(
        &mut self,
        profiles: &Profiles,
        maps: &[Map],
        holder: Holder<'_>,
        fields: &[Field],
    ) {
        for field in fields {
            let name = self.r4.name_text(field.key.name);
            let plain = name.trim_start_matches('_');
            let Some(type_ref) = self
                .r4
                .element(holder.type_id, plain)
                .and_then(|element| element.type_())
            else {
                continue;
            };
            let path = format!("{}.{plain}", holder.path);
            for rule in &field.rules {
                if matches!(plain, "extension" | "modifierExtension") {
                    self.extension(profiles, maps, holder, rule);
                }
                let inner = match &rule.body {
                    Body::Object(inner) => inner.as_slice(),
                    Body::Make(make) => {
                        if let Some(type_id) = self.r4.type_(make.type_name) {
                            let holder = Holder {
                                type_id,
                                path: make.type_name,
                                whole: true,
                            };
                            self.extensions_in(profiles, maps, holder, &make.fields);
                        }
                        &[]
                    }
                    _ => &[],
                };
                let below = Holder {
                    type_id: type_ref.type_,
                    path: &path,
                    whole: holder.whole,
                };
                self.extensions_in(profiles, maps, below, inner);
                self.extensions_in(profiles, maps, below, &rule.set);
            }
        }
    }

    /// One rule that writes an extension.
    fn extension(&mut self, profiles: &Profiles, maps: &[Map], holder: Holder<'_>, rule: &Rule) {
        let Body::Object(fields) = &rule.body else {
            return;
        };
        let mut urls = fields
            .iter()
            .filter(|field| self.r4.name_text(field.key.name) == "url")
            .flat_map(|field| &field.rules)
            .filter_map(constant);
        let (Some(url), Some(type_id)) = (urls.next(), self.r4.type_("Extension")) else {
            return;
        };
        let Some(profile) = profiles
            .get(&url)
            .filter(|profile| profile.type_name == "Extension")
        else {
            return;
        };
        let span = self.span_of(rule.origin);
        if !self.allowed(profile, holder) {
            self.warn(
                Code::ExtensionContext,
                span,
                format!("the extension {url} does not belong in {}", holder.path),
                format!("it belongs in {}", profile.contexts.join(", ")),
            );
        }
        let place = Place {
            profile,
            type_id,
            path: "",
            at: None,
            sometimes: false,
        };
        let all: Vec<&Field> = fields.iter().chain(&rule.set).collect();
        self.conform(place, &all, maps);
        self.missing_in(place, &all, &BTreeSet::new(), span, "");
    }

    fn allowed(&self, extension: &Profile, holder: Holder<'_>) -> bool {
        let type_name = self.r4.type_name(holder.type_id);
        let resource = holder.whole && !holder.path.contains('.');
        extension.contexts.is_empty()
            || extension.contexts.iter().any(|context| {
                let root = context.split('.').next().unwrap_or_default();
                let abstract_resource = matches!(context.as_str(), "Resource" | "DomainResource");
                context == "Element"
                    || context == type_name
                    || context == holder.path
                    || (abstract_resource && resource)
                    // A part of what the map makes may be anywhere.
                    || (!holder.whole && context.contains('.'))
                    // A choice is written with its type in one place and without in the other.
                    || context.contains("[x]")
                    // A type that R4 does not have says nothing here.
                    || (self.r4.type_(root).is_none() && !abstract_resource)
            })
    }
}
