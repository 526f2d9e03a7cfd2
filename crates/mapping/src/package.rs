//! A mapping package, compiled and ready.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::compile::{Files, compile};
use crate::diagnostic::{Diagnostic, closest};
use crate::engine::Converter;
use crate::plan::Plan;

/// A file of a package: its path inside the package, with `/`, and its text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Such as `segments/PID/Patient.yaml`.
    pub path: String,
    /// The content.
    pub text: String,
}

/// A folder of mapping files. Later layers are overlays on earlier ones.
#[derive(Clone, Debug)]
pub struct Layer {
    /// How its files are named in diagnostics, such as `mappings`.
    pub name: String,
    /// Its files, in any order.
    pub files: Vec<SourceFile>,
}

/// Compiled mapping files; shared by all converters.
pub struct Package {
    pub(crate) plan: Plan,
    rules: Vec<Arc<str>>,
    files: usize,
    hash: String,
}

impl Package {
    /// Reads and checks all files. With an error among the findings there is no package; warnings come with one.
    pub fn compile(layers: &[Layer]) -> (Option<Package>, Vec<Diagnostic>) {
        let files = Files::new(layers);
        let (plan, diagnostics) = compile(&files);
        let package = plan.map(|plan| {
            let place = |origin: &crate::plan::Origin| {
                let line = origin.line;
                let path = files.path(origin.file);
                if line == 0 {
                    Arc::from("")
                } else {
                    Arc::from(format!("{path}:{line}"))
                }
            };
            let rules = plan.origins.iter().map(place).collect();
            Package {
                plan,
                rules,
                files: files.paths().len(),
                hash: hash(&files),
            }
        });
        (package, diagnostics)
    }

    /// The text of a file, to show a diagnostic in.
    pub fn source<'l>(layers: &'l [Layer], file: &str) -> Option<&'l str> {
        layers.iter().find_map(|layer| {
            let path = if layer.name.is_empty() {
                Some(file)
            } else {
                file.strip_prefix(layer.name.as_str())?.strip_prefix('/')
            };
            layer
                .files
                .iter()
                .find(|source| Some(source.path.as_str()) == path)
                .map(|source| source.text.as_str())
        })
    }

    /// A fingerprint of all files, the same on every machine.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The structures that have a message map of their own.
    pub fn structures(&self) -> impl Iterator<Item = &str> {
        self.plan
            .messages
            .keys()
            .map(String::as_str)
            .filter(|name| *name != "any")
    }

    /// The policies: name, default, values, what they are about.
    pub fn policies(&self) -> impl Iterator<Item = (&str, &str, &[String], &str)> {
        self.plan.policies.iter().map(|policy| {
            (
                policy.name.as_str(),
                policy.default.as_str(),
                policy.values.as_slice(),
                policy.about.as_str(),
            )
        })
    }

    /// Why a policy can't be set to a value, with what to write instead; `None` when it can.
    pub fn refuses_policy(&self, name: &str, value: &str) -> Option<String> {
        let Some((_, _, values, _)) = self.policies().find(|(known, ..)| *known == name) else {
            let names = || self.policies().map(|(name, ..)| name);
            return Some(match (closest(name, names()), names().next()) {
                (Some(near), _) => format!("there is no such policy; did you mean `{near}`?"),
                (None, Some(_)) => {
                    let names: Vec<&str> = names().collect();
                    format!("there is no such policy; there are {}", names.join(", "))
                }
                (None, None) => "the package has no policies".to_owned(),
            });
        };
        let known = values.iter().any(|known| known == value);
        (!known).then(|| format!("`{value}` is not one of {}", values.join(", ")))
    }

    /// Counts of maps, tables and message maps.
    pub fn counts(&self) -> (usize, usize, usize) {
        (
            self.plan.maps.len(),
            self.plan.tables.len(),
            self.plan.messages.len(),
        )
    }

    /// A converter of its own for a thread; it keeps its memory from message to message.
    pub fn converter(self: &Arc<Self>) -> Converter {
        Converter::new(Arc::clone(self))
    }

    /// Where a rule stands, as `file:line`.
    pub(crate) fn rule(&self, origin: u32) -> Arc<str> {
        let rule = self
            .rules
            .get(origin as usize)
            .or_else(|| self.rules.first());
        rule.map_or_else(|| Arc::from(""), Arc::clone)
    }
}

impl fmt::Debug for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Package")
            .field("files", &self.files)
            .field("hash", &self.hash)
            .finish()
    }
}

fn hash(files: &Files) -> String {
    let mut all = String::new();
    for (path, text) in files.contents() {
        all.push_str(path);
        all.push('\0');
        all.push_str(text);
        all.push('\0');
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, all.as_bytes())
        .simple()
        .to_string()
}

/// The example of the crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
