//! The names of a package, found by its layout and by the lines that make them.

use std::collections::BTreeMap;

use crate::package::{Layer, SourceFile};

use super::{Definition, Spot};

/// What is in the layers.
pub(super) struct Index<'l> {
    layers: &'l [Layer],
    /// `PID/Patient` and what it makes.
    pub maps: BTreeMap<String, String>,
    /// Code tables and their `about:`.
    pub tables: BTreeMap<String, String>,
    pub parts: BTreeMap<String, String>,
    pub policies: BTreeMap<String, Policy>,
    /// Names that message maps bind, and to the result of which map.
    pub bound: BTreeMap<String, String>,
    places: Vec<(String, Definition)>,
}

/// A policy as package.yaml declares it.
#[derive(Default)]
pub(super) struct Policy {
    pub default: String,
    pub values: Vec<String>,
    pub about: String,
}

impl<'l> Index<'l> {
    pub fn new(layers: &'l [Layer]) -> Index<'l> {
        let mut index = Index {
            layers,
            maps: BTreeMap::new(),
            tables: BTreeMap::new(),
            parts: BTreeMap::new(),
            policies: BTreeMap::new(),
            bound: BTreeMap::new(),
            places: Vec::new(),
        };
        for layer in layers {
            for file in &layer.files {
                index.read(&shown(layer, file), file);
            }
        }
        index
    }

    /// Path inside the package, and text.
    pub fn file(&self, name: &str) -> Option<(&'l str, &'l str)> {
        self.layers.iter().find_map(|layer| {
            let found = layer.files.iter().find(|file| shown(layer, file) == name)?;
            Some((found.path.as_str(), found.text.as_str()))
        })
    }

    /// Where a name is made.
    pub fn definitions(&self, name: &str) -> Vec<Definition> {
        let found = self.places.iter().filter(|(known, _)| known == name);
        found.map(|(_, place)| place.clone()).collect()
    }

    /// What a map makes; empty when that is not known.
    pub fn makes(&self, map: &str) -> &str {
        self.maps.get(map).map_or("", String::as_str)
    }

    fn read(&mut self, shown: &str, file: &SourceFile) {
        let Some(stem) = file
            .path
            .strip_suffix(".yaml")
            .or_else(|| file.path.strip_suffix(".csv"))
        else {
            return;
        };
        let start = || Definition {
            file: shown.to_owned(),
            spot: Spot { line: 0, column: 0 },
        };
        let about = || {
            top_value(&file.text, "about")
                .unwrap_or_default()
                .to_owned()
        };
        if stem == "package" {
            self.policies_of(shown, &file.text);
        } else if let Some(name) = stem.strip_prefix("tables/") {
            self.tables.insert(name.to_owned(), about());
            self.places.push((name.to_owned(), start()));
        } else if let Some(name) = stem.strip_prefix("messages/parts/") {
            self.parts.insert(name.to_owned(), about());
            self.places.push((name.to_owned(), start()));
            self.names_of(shown, &file.text);
        } else if stem.starts_with("messages/") {
            self.names_of(shown, &file.text);
        } else if let Some(name) = stem
            .strip_prefix("segments/")
            .or_else(|| stem.strip_prefix("datatypes/"))
        {
            // An overlay that changes single rules says nothing of the type.
            if let Some(makes) = top_value(&file.text, "makes") {
                self.maps.insert(name.to_owned(), makes.to_owned());
            } else {
                self.maps.entry(name.to_owned()).or_default();
            }
            self.places.push((name.to_owned(), start()));
        }
    }

    /// `PID: PID/Patient as patient`
    fn names_of(&mut self, shown: &str, text: &str) {
        for (number, line) in (0..).zip(text.lines()) {
            let code = line.split(" #").next().unwrap_or_default();
            let Some((before, after)) = code.split_once(" as ") else {
                continue;
            };
            let name = after.trim().trim_end_matches(['}', ']', ',']).trim();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if name.is_empty() || !name.chars().all(plain) {
                continue;
            }
            let map = before.split_whitespace().last().unwrap_or_default();
            self.bound.insert(name.to_owned(), map.to_owned());
            let spot = Spot {
                line: number,
                column: u32::try_from(before.chars().count() + 4).unwrap_or(0),
            };
            let file = shown.to_owned();
            self.places
                .push((name.to_owned(), Definition { file, spot }));
        }
    }

    fn policies_of(&mut self, shown: &str, text: &str) {
        let Ok(document) = crate::yaml::parse(0, text) else {
            return;
        };
        let policies = document.get("policies").and_then(|node| node.pairs());
        for (key, value) in policies.unwrap_or_default() {
            let name = key.text().unwrap_or_default().to_owned();
            let policy = self.policies.entry(name.clone()).or_default();
            let text = |word: &str| {
                value
                    .get(word)
                    .and_then(|node| node.text())
                    .unwrap_or_default()
            };
            match value.text() {
                Some(default) => default.clone_into(&mut policy.default),
                None => {
                    text("default").clone_into(&mut policy.default);
                    text("about").clone_into(&mut policy.about);
                    let values = value.get("values").map(|node| node.members());
                    let values = values
                        .unwrap_or_default()
                        .iter()
                        .filter_map(|node| node.text());
                    policy.values = values.map(str::to_owned).collect();
                }
            }
            if policy.values.is_empty() {
                policy.values = vec!["on".to_owned(), "off".to_owned()];
            }
            let spot = Spot {
                line: key.span.line.saturating_sub(1),
                column: key.span.column.saturating_sub(1),
            };
            let file = shown.to_owned();
            self.places.push((name, Definition { file, spot }));
        }
    }
}

fn shown(layer: &Layer, file: &SourceFile) -> String {
    if layer.name.is_empty() {
        file.path.clone()
    } else {
        format!("{}/{}", layer.name, file.path)
    }
}

/// The value of a key at the start of a line.
pub(super) fn top_value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix(':')?;
        let value = value.split(" #").next().unwrap_or_default();
        Some(value.trim().trim_matches(['"', '\'']))
    })
}
