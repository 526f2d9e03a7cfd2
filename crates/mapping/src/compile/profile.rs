//! What loaded profiles ask of the resources that claim them, and loaded extensions of the rules that write them.

mod claims;
mod extensions;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use fhir::definitions::{Element, TypeId};

use super::Compiler;
use super::constant::literal;
use crate::diagnostic::Code;
use crate::plan::{Body, Field, Makes, Map, OriginId, Rule, Select};
use crate::yaml::Span;

pub(super) use read::{Constraint, Profile};

/// Loaded profiles and extensions, by their url.
pub(crate) type Profiles = BTreeMap<String, Profile>;

/// The fields of one object, by the list they stand in.
pub(super) type Fields<'p> = Vec<&'p Field>;

/// An object that rules write, and the part of a profile that is about it.
#[derive(Clone, Copy)]
struct Place<'p> {
    profile: &'p Profile,
    type_id: TypeId,
    /// The path in the profile, without its type; empty at its root.
    path: &'p str,
    /// Where the rules are applied, if they stand in a map that others use, too.
    at: Option<Span>,
    /// The profile is claimed only under a condition.
    sometimes: bool,
}

impl Compiler {
    /// Checks all maps and message maps against the loaded profiles.
    pub(super) fn profiles(&mut self, profiles: &Profiles) {
        if profiles.is_empty() {
            return;
        }
        // The rules are read while findings are written.
        let maps = std::mem::take(&mut self.plan.maps);
        let messages = std::mem::take(&mut self.plan.messages);
        self.extensions(profiles, &maps, &messages);
        self.claims(profiles, &maps, &messages);
        self.plan.maps = maps;
        self.plan.messages = messages;
    }

    /// Where a rule stands.
    fn span_of(&self, origin: OriginId) -> Span {
        let found = self.plan.origins.get(origin as usize);
        found.map_or_else(Span::default, |origin| Span {
            file: origin.file,
            line: origin.line,
            column: origin.column,
            length: origin.length,
        })
    }

    /// The rules of one object against a part of a profile.
    fn conform(&mut self, place: Place<'_>, fields: &[&Field], maps: &[Map]) {
        for field in fields {
            let name = self.r4.name_text(field.key.name);
            if name.starts_with('_') {
                continue;
            }
            let Some(element) = self.r4.element(place.type_id, name) else {
                continue;
            };
            for path in paths(place.path, element) {
                self.sliced(place, &path, field);
                if let Some(constraint) = place.profile.constraints.get(&path) {
                    self.constrained(place, constraint, &path, element, field);
                }
                if !place.profile.has_below(&path) {
                    continue;
                }
                let Some(type_ref) = element.type_() else {
                    continue;
                };
                for rule in &field.rules {
                    let Some((inner, shared)) = object(rule, maps) else {
                        continue;
                    };
                    let at = shared.then(|| self.span_of(rule.origin));
                    let below = Place {
                        type_id: type_ref.type_,
                        path: &path,
                        at: place.at.or(at),
                        sometimes: place.sometimes && rule.when.is_none(),
                        ..place
                    };
                    self.conform(below, &inner, maps);
                    let span = place.at.unwrap_or_else(|| self.span_of(rule.origin));
                    self.missing_in(below, &inner, &BTreeSet::new(), span, "");
                }
            }
        }
    }

    /// One element against what a profile says of it.
    fn constrained(
        &mut self,
        place: Place<'_>,
        constraint: &Constraint,
        path: &str,
        element: &Element,
        field: &Field,
    ) {
        let url = &place.profile.url;
        // Rule and profile may hold under conditions that exclude each other.
        let unsure = |rule: &&Rule| place.sometimes && rule.when.is_some();
        let rules = || field.rules.iter().filter(|rule| !unsure(rule));
        let Some(first) = rules().next() else {
            return;
        };
        let here = |compiler: &Compiler, rule: &Rule| {
            place.at.unwrap_or_else(|| compiler.span_of(rule.origin))
        };
        let name = element.text();
        if constraint.max == Some(0) {
            let span = here(self, first);
            self.warn(
                Code::ProfileCardinality,
                span,
                format!("this gives `{path}`, which {url} forbids"),
                "remove the rule, or do not claim the profile",
            );
            return;
        }
        if element.choice
            && !constraint.types.is_empty()
            && let Some(given) = element.type_().map(|found| self.r4.type_name(found.type_))
            && !constraint.types.iter().any(|allowed| allowed == given)
        {
            let span = here(self, first);
            self.warn(
                Code::ProfileType,
                span,
                format!("this gives `{name}`, and {url} does not allow {given} for `{path}`"),
                format!("it allows {}", constraint.types.join(", ")),
            );
            return;
        }
        if element.is_array() && constraint.max == Some(1) {
            let several = rules()
                .find(|rule| many(rule))
                .or_else(|| rules().filter(|rule| rule.when.is_none()).nth(1));
            if let Some(rule) = several {
                let span = here(self, rule);
                self.warn(
                    Code::ProfileCardinality,
                    span,
                    format!("this may give several `{path}`, and {url} allows one"),
                    "take one repetition with `from: FIELD(1)`, or give all rules but one a `when:`",
                );
            }
        }
        if let Some(url) = &constraint.required {
            for rule in field.rules.iter().filter(|rule| !unsure(rule)) {
                if let Some(codes) = self.outside(url, rule) {
                    let span = here(self, rule);
                    self.warn(
                        Code::ProfileValue,
                        span,
                        format!("this gives {codes} for `{path}`, which the value set {url} does not have"),
                        format!("{} requires a code of it", place.profile.url),
                    );
                }
            }
        }
        let Some(value) = &constraint.value else {
            return;
        };
        for rule in field.rules.iter().filter(|rule| !unsure(rule)) {
            if contradicts(value, rule, self) {
                let span = here(self, rule);
                self.warn(
                    Code::ProfileValue,
                    span,
                    format!("this constant is not what {url} fixes for `{path}`"),
                    format!("the profile says {}", shown(value)),
                );
            }
        }
    }

    /// The codes of a rule that a value set does not have; none where either is not known.
    fn outside(&self, url: &str, rule: &Rule) -> Option<String> {
        let set = self.r4.value_set_by_url(url).filter(|set| set.closed)?;
        let mut wrong: Vec<String> = match &rule.body {
            Body::Table(table, ..) => {
                let table = self.plan.tables.get(*table)?;
                let groups = table.groups();
                groups
                    .flat_map(|group| group.codes.values().flatten().chain(&group.default))
                    .map(|target| target.code.clone())
                    .collect()
            }
            _ => constant(rule).into_iter().collect(),
        };
        wrong.retain(|code| !set.has_code(code));
        wrong.sort_unstable();
        wrong.dedup();
        (!wrong.is_empty()).then(|| format!("`{}`", wrong.join("`, `")))
    }

    /// The rules of an element against the slices that a profile makes of its values.
    fn sliced(&mut self, place: Place<'_>, path: &str, field: &Field) {
        let slices: Vec<_> = place
            .profile
            .slices
            .iter()
            .filter(|slice| slice.path == path)
            .collect();
        let rules: Vec<&Rule> = field
            .rules
            .iter()
            .filter(|rule| !(place.sometimes && rule.when.is_some()))
            .collect();
        let Some(first) = rules.first() else { return };
        for slice in &slices {
            let none = rules
                .iter()
                .all(|rule| contradicts(&slice.wanted, rule, self));
            if slice.min > 0 && none {
                let span = place.at.unwrap_or_else(|| self.span_of(first.origin));
                self.warn(
                    Code::ProfileMissing,
                    span,
                    format!(
                        "no rule gives the slice `{}` of `{path}`, which {} requires",
                        slice.name, place.profile.url
                    ),
                    format!("add one that holds {}", shown(&slice.wanted)),
                );
            }
        }
        if !slices.iter().any(|slice| slice.closed) {
            return;
        }
        for rule in rules {
            if slices
                .iter()
                .all(|slice| contradicts(&slice.wanted, rule, self))
            {
                let span = place.at.unwrap_or_else(|| self.span_of(rule.origin));
                let names: Vec<&str> = slices.iter().map(|slice| slice.name.as_str()).collect();
                self.warn(
                    Code::ProfileCardinality,
                    span,
                    format!(
                        "this gives a `{path}` that is none of the slices which {} allows",
                        place.profile.url
                    ),
                    format!("its slices are {}", names.join(", ")),
                );
            }
        }
    }

    /// What the profile requires directly in an object and no rule gives.
    fn missing_in(
        &mut self,
        place: Place<'_>,
        fields: &[&Field],
        linked: &BTreeSet<u16>,
        span: Span,
        whose: &str,
    ) {
        let mut missing: Vec<&str> = Vec::new();
        for (path, constraint) in &place.profile.constraints {
            let Some(name) = below(path, place.path) else {
                continue;
            };
            if constraint.min == 0 {
                continue;
            }
            let base = name.trim_end_matches("[x]");
            let elements = self.r4.elements(place.type_id);
            let Some(element) = elements
                .iter()
                .find(|element| element.base == base || element.text() == base)
            else {
                continue;
            };
            // What FHIR itself requires is M014.
            let given = linked.contains(&element.order)
                || fields.iter().any(|field| field.key.order == element.order);
            if element.min == 0 && !given {
                missing.push(path);
            }
        }
        for (path, extension) in &place.profile.required_extensions {
            let extensions = fields
                .iter()
                .filter(|field| self.r4.name_text(field.key.name) == "extension");
            let mut given = extensions.flat_map(|field| &field.rules);
            if path == place.path && !given.any(|rule| self.may_be_extension(rule, extension)) {
                missing.push(extension);
            }
        }
        if missing.is_empty() {
            return;
        }
        self.warn(
            Code::ProfileMissing,
            span,
            format!(
                "no rule gives {}, which {} requires",
                missing.join(", "),
                place.profile.url
            ),
            format!("add a rule{whose}; where the message has no value, end its list with a constant or a data-absent-reason"),
        );
    }

    /// Whether a rule is, or may be, an extension with that url.
    fn may_be_extension(&self, rule: &Rule, url: &str) -> bool {
        match &rule.body {
            Body::Object(fields) => fields
                .iter()
                .filter(|field| self.r4.name_text(field.key.name) == "url")
                .flat_map(|field| &field.rules)
                .any(|rule| constant(rule).is_none_or(|given| given == url)),
            Body::Map(_) => true,
            _ => false,
        }
    }
}

/// The rules of what a rule makes, and whether they stand in a map; none where they are not known.
fn object<'p>(rule: &'p Rule, maps: &'p [Map]) -> Option<(Fields<'p>, bool)> {
    let (inner, shared) = match &rule.body {
        Body::Object(fields) => (fields, false),
        Body::Map(map) => {
            let map = maps.get(*map).filter(|map| map.makes == Makes::Complex)?;
            (&map.fields, true)
        }
        _ => return None,
    };
    Some((inner.iter().chain(&rule.set).collect(), shared))
}

/// Where an element stands in a profile: choices under their common name, or in the short form under their own.
fn paths(parent: &str, element: &Element) -> Vec<String> {
    let join = |name: &str| match parent {
        "" => name.to_owned(),
        parent => format!("{parent}.{name}"),
    };
    if element.choice {
        vec![join(&format!("{}[x]", element.base)), join(element.text())]
    } else {
        vec![join(element.text())]
    }
}

/// The name of a path directly below a parent.
fn below<'p>(path: &'p str, parent: &str) -> Option<&'p str> {
    let rest = match parent {
        "" => path,
        parent => path.strip_prefix(parent)?.strip_prefix('.')?,
    };
    (!rest.contains('.')).then_some(rest)
}

/// `each:` without a repetition of its own.
fn many(rule: &Rule) -> bool {
    matches!(rule.select, Select::Each(access) if access.repetition == 0)
}

/// The text of a rule that always gives the same.
fn constant(rule: &Rule) -> Option<String> {
    match &rule.body {
        Body::Text(template) => literal(template),
        _ => None,
    }
}

/// Whether what a rule makes can never be what the profile fixes. What depends on the message never contradicts.
fn contradicts(value: &serde_json::Value, rule: &Rule, compiler: &Compiler) -> bool {
    use serde_json::Value;
    match (value, &rule.body) {
        (Value::Object(wanted), Body::Object(fields)) => wanted.iter().any(|(key, wanted)| {
            let field = fields
                .iter()
                .find(|field| compiler.r4.name_text(field.key.name) == key);
            field.is_some_and(|field| match wanted {
                // Each that is wanted must be among those that are given.
                Value::Array(wanted) => wanted.iter().any(|wanted| {
                    field
                        .rules
                        .iter()
                        .all(|rule| contradicts(wanted, rule, compiler))
                }),
                wanted => field
                    .rules
                    .iter()
                    .all(|rule| contradicts(wanted, rule, compiler)),
            })
        }),
        (Value::Object(_) | Value::Array(_) | Value::Null, _) => false,
        (Value::String(wanted), _) => constant(rule).is_some_and(|given| given != *wanted),
        (wanted, _) => {
            let wanted = wanted.to_string();
            constant(rule).is_some_and(|given| given != wanted)
        }
    }
}

/// A fixed value in a finding, cut where it is long.
fn shown(value: &serde_json::Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
