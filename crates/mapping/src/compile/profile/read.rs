//! A StructureDefinition, as far as rules can be held against it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Profiles;
use crate::compile::layers::MAX_FILE;
use crate::compile::{Compiler, Files};
use crate::diagnostic::Code;
use crate::yaml::Span;

/// A profile of a resource or data type, or an extension.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Its canonical url, without version.
    pub url: String,
    /// What it is about, such as `Patient` or `Extension`.
    pub type_name: String,
    /// The url of what it constrains further.
    pub base: String,
    /// Where an extension may stand; none where that can't be told.
    pub contexts: Vec<String>,
    /// By path, without the type: `name.family`, `value[x]`.
    pub constraints: BTreeMap<String, Constraint>,
    /// Extensions that must be there: path of what holds them, and url.
    pub required_extensions: Vec<(String, String)>,
    /// Kinds of values that are told apart by a fixed value inside of them.
    pub slices: Vec<Slice>,
    file: u16,
}

/// What a profile says of one element, of all its slices.
#[derive(Debug, Default)]
pub(crate) struct Constraint {
    pub min: u64,
    /// Any number when there is none.
    pub max: Option<u64>,
    /// The types a value may have; empty when nothing is said.
    pub types: Vec<String>,
    /// The `fixed[x]` or `pattern[x]`.
    pub value: Option<Value>,
    /// The value set that its codes must be of.
    pub required: Option<String>,
}

/// A slice whose values can be told by what they hold.
#[derive(Debug)]
pub(crate) struct Slice {
    /// The path of the element that is sliced.
    pub path: String,
    /// Its name, such as `ssn`.
    pub name: String,
    pub min: u64,
    /// What each of its values holds, as a part of that value.
    pub wanted: Value,
    /// Whether there are no values but those of slices.
    pub closed: bool,
}

/// A slice while the elements of a profile are read.
#[derive(Default)]
struct Open {
    min: u64,
    own: Option<Value>,
    inside: BTreeMap<String, Value>,
}

/// Slicings and slices while the elements are read, by path, and by path and name.
#[derive(Default)]
struct Slicing {
    discriminators: BTreeMap<String, (Vec<(String, String)>, bool)>,
    open: BTreeMap<(String, String), Open>,
}

impl Slicing {
    fn take(&mut self, type_name: &str, element: &Value) {
        let text = |key: &str| element[key].as_str().unwrap_or_default();
        let inner = |text: &str| {
            text.strip_prefix(type_name)
                .and_then(|rest| rest.strip_prefix('.'))
                .map(str::to_owned)
        };
        let (Some(path), Some(id)) = (inner(text("path")), inner(text("id"))) else {
            return;
        };
        if !id.contains(':') {
            let slicing = element.get("slicing");
            let discriminators = slicing.and_then(|slicing| slicing.get("discriminator"));
            if let Some(all) = discriminators.and_then(Value::as_array) {
                let pair = |one: &Value| {
                    Some((
                        one.get("type")?.as_str()?.to_owned(),
                        one.get("path")?.as_str()?.to_owned(),
                    ))
                };
                let rules = slicing.and_then(|slicing| slicing.get("rules"));
                let closed = rules.and_then(Value::as_str) == Some("closed");
                let pairs = all.iter().filter_map(pair).collect();
                self.discriminators.insert(path, (pairs, closed));
            }
            return;
        }
        // A slice inside of a slice is a matter of its own.
        let Some((before, after)) = id.split_once(':').filter(|(_, after)| !after.contains(':'))
        else {
            return;
        };
        let (name, rest) = after.split_once('.').unwrap_or((after, ""));
        let slice = self
            .open
            .entry((before.to_owned(), name.to_owned()))
            .or_default();
        let value = fixed(element).cloned();
        if rest.is_empty() {
            slice.min = element["min"].as_u64().unwrap_or(0);
            slice.own = value;
        } else if let Some(value) = value {
            slice.inside.insert(rest.to_owned(), value);
        }
    }

    fn done(self) -> Vec<Slice> {
        let Slicing {
            discriminators,
            open,
        } = self;
        let slices = open.into_iter().filter_map(|((path, name), open)| {
            let (pairs, closed) = discriminators.get(&path)?;
            let mut wanted = Value::Object(serde_json::Map::new());
            for (kind, inside) in pairs {
                if !matches!(kind.as_str(), "value" | "pattern") {
                    return None;
                }
                let steps: Vec<&str> = inside.split('.').collect();
                let own = |own: &Value| match inside.as_str() {
                    "$this" => Some(own.clone()),
                    _ => {
                        let found = steps.iter().try_fold(own, |at, step| at.get(step))?;
                        Some(nested(&steps, found.clone()))
                    }
                };
                let given = open
                    .inside
                    .get(inside)
                    .map(|value| nested(&steps, value.clone()));
                merge(
                    &mut wanted,
                    given.or_else(|| open.own.as_ref().and_then(own))?,
                );
            }
            Some(Slice {
                path,
                name,
                min: open.min,
                wanted,
                closed: *closed,
            })
        });
        slices.collect()
    }
}

/// `{ coding: { code: VALUE } }`.
fn nested(steps: &[&str], value: Value) -> Value {
    steps.iter().rev().fold(value, |inner, step| {
        let mut outer = serde_json::Map::new();
        outer.insert((*step).to_owned(), inner);
        Value::Object(outer)
    })
}

fn merge(into: &mut Value, other: Value) {
    match (into, other) {
        (Value::Object(into), Value::Object(other)) => {
            for (key, value) in other {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, other) => *into = other,
    }
}

/// The `fixed[x]` or `pattern[x]` of an element.
fn fixed(element: &Value) -> Option<&Value> {
    let found = element
        .as_object()?
        .iter()
        .find(|(key, _)| key.starts_with("fixed") || key.starts_with("pattern"));
    found.map(|(_, value)| value)
}

impl Profile {
    /// Whether something is said of what is inside of an element.
    pub fn has_below(&self, path: &str) -> bool {
        let inside = |other: &str| {
            other
                .strip_prefix(path)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        let extensions = self.required_extensions.iter();
        self.constraints.keys().any(|other| inside(other))
            || extensions.into_iter().any(|(holder, _)| holder == path)
    }
}

/// A mistake in a file: where, what, and what to do.
struct Mistake(u32, u32, String, &'static str);

impl Compiler {
    /// Reads a file under profiles/. The same url in a later layer replaces the one below it.
    pub(in crate::compile) fn profile_file(
        &mut self,
        file: u16,
        files: &Files,
        profiles: &mut Profiles,
    ) {
        let read = read(files.text(file), file).and_then(|profile| {
            if self.r4.type_(&profile.type_name).is_none() {
                let message = format!("FHIR R4 has no type `{}`", profile.type_name);
                return Err(at_start(message, "profiles are of resources, data types and extensions of R4; leave logical models out"));
            }
            let twice = profiles
                .get(&profile.url)
                .filter(|known| files.layer(known.file) == files.layer(file));
            match twice {
                Some(known) => Err(at_start(
                    format!(
                        "{} defines {} too",
                        files.path(known.file),
                        profile.url
                    ),
                    "keep one of the two files",
                )),
                None => Ok(profile),
            }
        });
        match read {
            Ok(profile) => {
                profiles.insert(profile.url.clone(), profile);
            }
            Err(Mistake(line, column, message, help)) => {
                let span = Span {
                    file,
                    line,
                    column,
                    length: 1,
                };
                self.error(Code::BadProfile, span, message, help);
            }
        }
    }
}

fn at_start(message: impl Into<String>, help: &'static str) -> Mistake {
    Mistake(1, 1, message.into(), help)
}

fn read(text: &str, file: u16) -> Result<Profile, Mistake> {
    if text.len() > MAX_FILE {
        return Err(at_start(
            "the profile is larger than 4 MiB",
            "profiles/ holds single StructureDefinitions; leave out `text` and either `snapshot` or `differential`",
        ));
    }
    let json: Value = serde_json::from_str(text).map_err(|error| {
        let position = |number: usize| u32::try_from(number.max(1)).unwrap_or(1);
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        Mistake(
            position(error.line()),
            position(error.column()),
            format!("this is not JSON: {reason}"),
            "profiles/ holds StructureDefinitions in JSON",
        )
    })?;
    let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("resourceType") != "StructureDefinition" {
        return Err(at_start(
            "this is no StructureDefinition",
            "profiles/ holds StructureDefinitions only; code tables are under tables/",
        ));
    }
    let version = text("fhirVersion");
    if !version.is_empty() && !version.starts_with("4.0") {
        return Err(at_start(
            format!("the profile is for FHIR {version}"),
            "the maps make FHIR R4: take the profile's edition for 4.0.1",
        ));
    }
    if text("url").is_empty() || text("type").is_empty() {
        return Err(at_start(
            "the profile has no `url` or no `type`",
            "a StructureDefinition has both",
        ));
    }
    // A snapshot says all; a differential only what it changes.
    let elements = ["snapshot", "differential"]
        .iter()
        .find_map(|key| json.get(key)?.get("element")?.as_array());
    let Some(elements) = elements else {
        return Err(at_start(
            "the profile has neither a snapshot nor a differential",
            "export it with one of them",
        ));
    };
    let mut profile = Profile {
        url: unversioned(text("url")).to_owned(),
        type_name: text("type").to_owned(),
        base: unversioned(text("baseDefinition")).to_owned(),
        contexts: contexts(&json),
        constraints: BTreeMap::new(),
        required_extensions: Vec::new(),
        slices: Vec::new(),
        file,
    };
    let mut slicing = Slicing::default();
    for element in elements {
        slicing.take(&profile.type_name, element);
        take(&mut profile, element);
    }
    profile.slices = slicing.done();
    Ok(profile)
}

/// The url of a canonical, without `|version`.
pub(super) fn unversioned(canonical: &str) -> &str {
    canonical.split('|').next().unwrap_or_default()
}

/// What one ElementDefinition says. What it says of a slice does not hold for the other values, so it is left out, but
/// for extensions, whose url tells them apart.
fn take(profile: &mut Profile, element: &Value) {
    let path = element["path"].as_str().unwrap_or_default();
    let Some(path) = path
        .strip_prefix(profile.type_name.as_str())
        .and_then(|rest| rest.strip_prefix('.'))
    else {
        return;
    };
    let id = element["id"].as_str().unwrap_or(path);
    let sliced = id.contains(':') || element["sliceName"].is_string();
    let types = element["type"].as_array().into_iter().flatten();
    let min = element["min"].as_u64().unwrap_or(0);
    if sliced {
        let holder = match path.rsplit_once('.') {
            Some((holder, "extension")) => Some(holder),
            None if path == "extension" => Some(""),
            _ => None,
        };
        let url = types
            .filter_map(|one| one["profile"].as_array()?.first()?.as_str())
            .next();
        if let (Some(holder), Some(url), true, 1) = (holder, url, min > 0, id.matches(':').count())
        {
            let required = (holder.to_owned(), unversioned(url).to_owned());
            profile.required_extensions.push(required);
        }
        return;
    }
    let binding = &element["binding"];
    let required = (binding["strength"] == "required").then(|| binding["valueSet"].as_str());
    let constraint = Constraint {
        min,
        max: element["max"].as_str().and_then(|max| max.parse().ok()),
        types: types
            .filter_map(|one| one["code"].as_str().map(str::to_owned))
            .collect(),
        value: fixed(element).cloned(),
        required: required.flatten().map(|url| unversioned(url).to_owned()),
    };
    profile.constraints.insert(path.to_owned(), constraint);
}

/// The elements an extension may stand in; empty when something else decides that.
fn contexts(json: &Value) -> Vec<String> {
    let all: Option<Vec<String>> = json["context"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|context| {
            let expression = context["expression"].as_str()?;
            let plain = context["type"] == "element" && !expression.contains([':', '#', '(']);
            plain.then(|| expression.to_owned())
        })
        .collect();
    all.unwrap_or_default()
}
