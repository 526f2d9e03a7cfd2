//! Which profiles the resources of a package claim, and what these ask of all rules that make the resource together.

use std::collections::{BTreeSet, HashMap};

use super::read::unversioned;
use super::{Place, Profiles, constant};
use crate::compile::Compiler;
use crate::diagnostic::{Code, closest};
use crate::plan::{Bind, Body, BoundId, Entry, Field, Link, Makes, Map, MessageMap, OriginId};

/// A url in `meta.profile`.
struct Claim {
    url: String,
    origin: OriginId,
    /// Only under a condition.
    sometimes: bool,
}

/// A resource and all that writes it.
struct Made<'p> {
    type_name: &'static str,
    fields: Vec<&'p Field>,
    /// Elements that `link:` fills.
    linked: BTreeSet<u16>,
    whose: String,
}

impl Compiler {
    /// Every resource of every message map, and those that maps of data types make.
    pub(super) fn claims(
        &mut self,
        profiles: &Profiles,
        maps: &[Map],
        messages: &HashMap<String, MessageMap>,
    ) {
        let mut names: Vec<&String> = messages.keys().collect();
        names.sort();
        for message in names.into_iter().filter_map(|name| messages.get(name)) {
            self.claims_of_message(profiles, maps, message);
        }
        for (number, map) in maps.iter().enumerate() {
            let header = self.maps.get(number);
            if let (Makes::Resource(type_name), Some(_)) = (
                &map.makes,
                header.and_then(|header| header.data_type.as_ref()),
            ) {
                let made = Made {
                    type_name,
                    fields: map.fields.iter().collect(),
                    linked: BTreeSet::new(),
                    whose: String::new(),
                };
                self.claims_of(profiles, maps, &made);
            }
            self.claims_inside(profiles, maps, &map.fields);
        }
        for entry in messages.values().flat_map(|message| &message.entries) {
            for set in &entry.set {
                self.claims_inside(profiles, maps, &set.fields);
            }
        }
    }

    /// Resources that single rules make: `make:`, and what `set:` adds to one that a map makes.
    fn claims_inside(&mut self, profiles: &Profiles, maps: &[Map], fields: &[Field]) {
        let claim = |compiler: &mut Self, type_name, fields: Vec<&Field>| {
            let made = Made {
                type_name,
                fields,
                linked: BTreeSet::new(),
                whose: String::new(),
            };
            compiler.claims_of(profiles, maps, &made);
        };
        for rule in fields.iter().flat_map(|field| &field.rules) {
            match &rule.body {
                Body::Make(make) => {
                    claim(self, make.type_name, make.fields.iter().collect());
                    self.claims_inside(profiles, maps, &make.fields);
                }
                Body::Object(inner) => self.claims_inside(profiles, maps, inner),
                Body::Map(map) if !rule.set.is_empty() => {
                    let map = maps.get(*map);
                    if let Some((Makes::Resource(type_name), map)) =
                        map.map(|map| (&map.makes, map))
                    {
                        let all = map.fields.iter().chain(&rule.set);
                        claim(self, type_name, all.collect());
                    }
                }
                _ => {}
            }
            self.claims_inside(profiles, maps, &rule.set);
        }
    }

    /// A resource is made by all lines that share its name.
    fn claims_of_message(&mut self, profiles: &Profiles, maps: &[Map], message: &MessageMap) {
        let mut seen: BTreeSet<BoundId> = BTreeSet::new();
        for entry in &message.entries {
            let name = match entry.bind {
                Bind::As(name) if seen.insert(name) => Some(name),
                Bind::Nothing => None,
                _ => continue,
            };
            let Some(Makes::Resource(type_name)) = maps.get(entry.map).map(|map| &map.makes) else {
                continue;
            };
            let same = |other: &&Entry| {
                std::ptr::eq(*other, entry)
                    || name.is_some_and(|name| {
                        other.bind == Bind::As(name) || other.bind == Bind::Into(name)
                    })
            };
            let mut fields: Vec<&Field> = Vec::new();
            for other in message.entries.iter().filter(same) {
                fields.extend(maps.get(other.map).into_iter().flat_map(|map| &map.fields));
                let own = other.set.iter().filter(|set| set.target.is_none());
                fields.extend(own.flat_map(|set| &set.fields));
            }
            let sets = message.entries.iter().flat_map(|entry| &entry.set);
            let foreign = sets.filter(|set| name.is_some() && set.target == name);
            fields.extend(foreign.flat_map(|set| &set.fields));
            let first = |link: &Link| link.path.first().map(|key| key.order);
            let links = message.links.iter();
            let made = Made {
                type_name,
                fields,
                linked: links
                    .filter(|link| Some(link.target) == name)
                    .filter_map(first)
                    .collect(),
                whose: format!(" (message map {} has none)", message.name),
            };
            self.claims_of(profiles, maps, &made);
        }
    }

    fn claims_of(&mut self, profiles: &Profiles, maps: &[Map], made: &Made<'_>) {
        let Some(type_id) = self.r4.type_(made.type_name) else {
            return;
        };
        for claim in self.claimed(&made.fields) {
            let span = self.span_of(claim.origin);
            let mut url = claim.url.as_str();
            if !profiles.contains_key(url) {
                self.unknown_profile(url, profiles, claim.origin);
                continue;
            }
            // The profile, and what it is built on as far as that is here.
            let mut told = BTreeSet::new();
            while let Some(profile) = profiles.get(url).filter(|_| told.insert(url.to_owned())) {
                if profile.type_name != made.type_name {
                    self.warn(
                        Code::ProfileType,
                        span,
                        format!(
                            "{url} is a profile of {}, not of {}",
                            profile.type_name, made.type_name
                        ),
                        "claim a profile of the resource that the map makes",
                    );
                    break;
                }
                let place = Place {
                    profile,
                    type_id,
                    path: "",
                    at: None,
                    sometimes: claim.sometimes,
                };
                self.conform(place, &made.fields, maps);
                self.missing_in(place, &made.fields, &made.linked, span, &made.whose);
                url = profile.base.as_str();
            }
        }
    }

    /// The constant urls in `meta.profile`.
    fn claimed(&self, fields: &[&Field]) -> Vec<Claim> {
        let mut claims: Vec<Claim> = Vec::new();
        let named = |field: &Field, name: &str| self.r4.name_text(field.key.name) == name;
        let metas = fields.iter().filter(|field| named(field, "meta"));
        for meta in metas.flat_map(|field| &field.rules) {
            let Body::Object(inner) = &meta.body else {
                continue;
            };
            let profiles = inner.iter().filter(|field| named(field, "profile"));
            for rule in profiles.flat_map(|field| &field.rules) {
                if let Some(url) = constant(rule) {
                    claims.push(Claim {
                        url: unversioned(&url).to_owned(),
                        origin: rule.origin,
                        sometimes: meta.when.is_some() || rule.when.is_some(),
                    });
                }
            }
        }
        claims
    }

    /// A profile that is not here is told of only where others of its guide are.
    fn unknown_profile(&mut self, url: &str, profiles: &Profiles, origin: OriginId) {
        let guide = |url: &str| url.rsplit_once('/').map(|(guide, _)| guide.to_owned());
        let of_guide = || {
            let same = profiles.keys().filter(|other| guide(other) == guide(url));
            same.map(String::as_str)
        };
        if of_guide().next().is_none() {
            return;
        }
        let help = match closest(url, of_guide()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "put its StructureDefinition under profiles/".to_owned(),
        };
        let span = self.span_of(origin);
        self.warn(
            Code::UnknownProfile,
            span,
            format!("the package has no profile `{url}`"),
            help,
        );
    }
}
