//! Reads a section of the raw tree key by key, collecting every problem instead of stopping at the first.
//!
//! A key is known because somebody asked for it: [`Section::finish`] reports the keys that nobody asked
//! for, with the nearest known one. So a new setting is one line in the place that uses it, and no list
//! of names can fall behind.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    net::SocketAddr,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use super::{
    problem::{Kind, Problem},
    secret::{Secret, SecretSource},
    source::{Entry, Node, Origin, Value},
    units,
};

/// The problems found so far, shared by all sections of one load.
#[derive(Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Adds one.
    pub fn push(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// All of them, in the order they were found.
    pub fn into_vec(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// A mapping that is being read.
pub struct Section<'a> {
    /// Dotted path from the top of the file, for messages: `listeners.lab.tls`.
    path: String,
    origin: Origin,
    entries: &'a [Entry],
    asked: RefCell<Vec<&'static str>>,
    problems: &'a Problems,
    quiet: Cell<bool>,
}

impl<'a> Section<'a> {
    /// The section `node`, which must be a mapping (or nothing, which is an empty one).
    pub fn new(path: String, node: &'a Node, problems: &'a Problems) -> Self {
        let (entries, quiet): (&[Entry], bool) = match &node.value {
            Value::Map(entries) => (entries, false),
            Value::Null => (&[], false),
            _ => {
                let message = format!(
                    "{} must be a section of keys, not {}",
                    named(&path),
                    node.kind()
                );
                problems.push(Problem::error(node.origin.clone(), message).of(Kind::Shape));
                (&[], true)
            }
        };
        Self {
            path,
            origin: node.origin.clone(),
            entries,
            asked: RefCell::default(),
            problems,
            quiet: Cell::new(quiet),
        }
    }

    /// Where the section stands.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Dotted path of `key` in this section.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Reports an error at `origin`.
    pub fn error(&self, origin: &Origin, message: String) {
        self.problems.push(Problem::error(origin.clone(), message));
    }

    /// Reports an error of another sort than a value that can't be used.
    pub fn error_of(&self, kind: Kind, origin: &Origin, message: String) {
        self.problems
            .push(Problem::error(origin.clone(), message).of(kind));
    }

    /// Reports that `key` must be there.
    pub fn missing(&self, key: &str, help: impl Into<String>) {
        let message = format!("{} is missing", self.path_of(key));
        let problem = Problem::error(self.origin.clone(), message).of(Kind::Missing);
        self.problems.push(problem.with_help(help));
    }

    /// Reports an error with its fix at `origin`.
    pub fn error_with_help(&self, origin: &Origin, message: String, help: impl Into<String>) {
        self.problems
            .push(Problem::error(origin.clone(), message).with_help(help));
    }

    /// Reports something to know at `origin`.
    pub fn warn_of(&self, kind: Kind, origin: &Origin, message: String, help: impl Into<String>) {
        let problem = Problem::warning(origin.clone(), message).of(kind);
        self.problems.push(problem.with_help(help));
    }

    /// The value of `key`, when it was given and is not null.
    pub fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
    }

    /// Where the value of `key` stands, or the section itself when it was not given.
    pub fn origin_of(&self, key: &str) -> Origin {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map_or_else(|| self.origin.clone(), |entry| entry.node.origin.clone())
    }

    fn scalar(&self, key: &'static str) -> Option<(&'a str, &'a Origin)> {
        let node = self.node(key)?;
        match &node.value {
            Value::Scalar(text) => Some((text, &node.origin)),
            _ => {
                self.error_of(
                    Kind::Shape,
                    &node.origin,
                    format!(
                        "{} must be a single value, not {}",
                        self.path_of(key),
                        node.kind()
                    ),
                );
                None
            }
        }
    }

    /// A value in a notation of its own; what `parse` says is reported with its place.
    pub fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, origin) = self.scalar(key)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.error(origin, format!("{}: {why}", self.path_of(key)));
                None
            }
        }
    }

    /// Text, when given.
    pub fn text(&self, key: &'static str) -> Option<String> {
        self.scalar(key).map(|(text, _)| text.to_owned())
    }

    /// Text that must be given; an error is reported and "" returned when it was not.
    pub fn required_text(&self, key: &'static str) -> String {
        match self.node(key) {
            None => {
                if !self.quiet.get() {
                    let message = format!("{} is missing", self.path_of(key));
                    self.error_of(Kind::Missing, &self.origin, message);
                }
                String::new()
            }
            Some(_) => self.text(key).unwrap_or_default(),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        self.parsed(key, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("`{text}` is not true or false")),
        })
    }

    /// A whole number from `least` upwards.
    pub fn number<T>(&self, key: &'static str, least: T) -> Option<T>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        self.parsed(key, |text| match text.replace('_', "").parse::<T>() {
            Ok(number) if number >= least => Ok(number),
            Ok(_) => Err(format!("must be at least {least}")),
            Err(_) => Err(format!("`{text}` is not a whole number in range")),
        })
    }

    /// A number of at least `least`, or `off`.
    pub fn number_or_off(&self, key: &'static str, least: usize) -> Option<Option<usize>> {
        self.parsed(key, |text| match text.replace('_', "").parse() {
            _ if text == "off" => Ok(None),
            Ok(number) if number >= least => Ok(Some(number)),
            Ok(_) => Err(format!("must be at least {least}, or off")),
            Err(_) => Err(format!("`{text}` is neither a whole number nor off")),
        })
    }

    /// A length of time such as `250ms`, `30s`, `5m`, `12h` or `7d`.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        self.parsed(key, units::duration)
    }

    /// A length of time, or `off`.
    pub fn duration_or_off(&self, key: &'static str) -> Option<Option<Duration>> {
        self.parsed(key, |text| {
            if text == "off" {
                Ok(None)
            } else {
                units::duration(text).map(Some)
            }
        })
    }

    /// A number of bytes such as `64KiB`, `16MiB` or `1000000`.
    pub fn bytes(&self, key: &'static str) -> Option<u64> {
        self.parsed(key, units::bytes)
    }

    /// A number of bytes, or `off`.
    pub fn bytes_or_off(&self, key: &'static str) -> Option<Option<u64>> {
        self.parsed(key, |text| {
            if text == "off" {
                Ok(None)
            } else {
                units::bytes(text).map(Some)
            }
        })
    }

    /// An address to bind, `127.0.0.1:2575`; names are not resolved here.
    pub fn address(&self, key: &'static str) -> Option<SocketAddr> {
        self.parsed(key, |text| {
            text.parse().map_err(|_| {
                format!(
                    "`{text}` is not an address with a port, such as 127.0.0.1:2575 or [::1]:2575"
                )
            })
        })
    }

    /// A path, taken as written (relative to the working directory).
    pub fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// One of a fixed set of words.
    pub fn choice<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let (text, origin) = self.scalar(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let problem = Problem::error(
            origin.clone(),
            format!(
                "{}: `{text}` is not one of {}",
                self.path_of(key),
                known.join(", ")
            ),
        )
        .of(Kind::Choice);
        self.problems
            .push(match nearest(text, known.iter().copied()) {
                Some(near) => problem.with_help(format!("did you mean `{near}`?")),
                None => problem,
            });
        None
    }

    /// A list of texts; a single value counts as a list of one. Each comes with its place.
    pub fn texts(&self, key: &'static str) -> Option<Vec<(String, Origin)>> {
        let node = self.node(key)?;
        let items: &[Node] = match &node.value {
            Value::List(items) => items,
            Value::Scalar(_) => std::slice::from_ref(node),
            _ => {
                self.error_of(
                    Kind::Shape,
                    &node.origin,
                    format!("{} must be a list", self.path_of(key)),
                );
                return None;
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::Scalar(text) => texts.push((text.clone(), item.origin.clone())),
                _ => self.error_of(
                    Kind::Shape,
                    &item.origin,
                    format!(
                        "{} must be a list of single values, found {}",
                        self.path_of(key),
                        item.kind()
                    ),
                ),
            }
        }
        Some(texts)
    }

    /// A section below this one, when given.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        self.node(key)
            .map(|node| Section::new(self.path_of(key), node, self.problems))
    }

    /// A section below this one, or an empty one.
    pub fn section_or_empty(&self, key: &'static str) -> Section<'a> {
        self.section(key).unwrap_or_else(|| Section {
            path: self.path_of(key),
            origin: self.origin.clone(),
            entries: &[],
            asked: RefCell::default(),
            problems: self.problems,
            quiet: Cell::new(false),
        })
    }

    /// The sections of a mapping from names that the user chose to settings.
    pub fn named_sections(&self, key: &'static str) -> Vec<(String, Section<'a>)> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let path = self.path_of(key);
        let section = Section::new(path.clone(), node, self.problems);
        let mut found = Vec::new();
        for entry in section.entries {
            if !valid_name(&entry.key) {
                self.error_with_help(
                    &entry.origin,
                    format!("`{}` is not usable as a name", entry.key),
                    "names have small letters, digits, `-` and `_`, begin with a letter, at most 64 characters",
                );
            }
            found.push((
                entry.key.clone(),
                Section::new(format!("{path}.{}", entry.key), &entry.node, self.problems),
            ));
        }
        found
    }

    /// A mapping from texts that the user chose to texts (headers, policies).
    pub fn text_map(&self, key: &'static str) -> Vec<(String, String, Origin)> {
        let Some(section) = self.section(key) else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for entry in section.entries {
            match &entry.node.value {
                Value::Scalar(text) => {
                    pairs.push((entry.key.clone(), text.clone(), entry.origin.clone()))
                }
                _ => self.error_of(
                    Kind::Shape,
                    &entry.node.origin,
                    format!(
                        "{}.{} must be a single value, not {}",
                        section.path,
                        entry.key,
                        entry.node.kind()
                    ),
                ),
            }
        }
        pairs
    }

    /// A mapping from texts that the user chose to values of which any may be a secret (headers). Plain text is usual
    /// here, and no reason to warn.
    pub fn secret_map(&self, key: &'static str) -> Vec<(String, Secret, Origin)> {
        let Some(section) = self.section(key) else {
            return Vec::new();
        };
        let read = |entry: &'a Entry| {
            let path = format!("{}.{}", section.path, entry.key);
            let secret = section.read_secret(&entry.node, path, false)?;
            Some((entry.key.clone(), secret, entry.origin.clone()))
        };
        section.entries.iter().filter_map(read).collect()
    }

    /// A secret: `{file: PATH}`, `{env: NAME}`, or plain text, which is allowed and warned about.
    pub fn secret(&self, key: &'static str) -> Option<Secret> {
        self.read_secret(self.node(key)?, self.path_of(key), true)
    }

    /// A list of secrets; a single one counts as a list of one. Each comes with its place.
    pub fn secrets(&self, key: &'static str) -> Vec<(Secret, Origin)> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let items: &[Node] = match &node.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(node),
        };
        let read = |(index, item): (usize, &'a Node)| {
            let path = format!("{}[{index}]", self.path_of(key));
            let secret = self.read_secret(item, path, true)?;
            Some((secret, item.origin.clone()))
        };
        items.iter().enumerate().filter_map(read).collect()
    }

    fn read_secret(&self, node: &'a Node, path: String, warn: bool) -> Option<Secret> {
        let source = match &node.value {
            Value::Scalar(text) => {
                if warn && matches!(node.origin, Origin::File { .. }) {
                    self.problems.push(
                        Problem::warning(
                            node.origin.clone(),
                            format!("{path} is written in plain text"),
                        )
                        .of(Kind::Exposed)
                        .with_help("use {file: /run/secrets/NAME} or {env: NAME}"),
                    );
                }
                SecretSource::Literal(text.clone())
            }
            Value::Map(_) => {
                let section = Section::new(path.clone(), node, self.problems);
                let (file, env) = (section.path("file"), section.text("env"));
                section.finish();
                match (file, env) {
                    (Some(file), None) => SecretSource::File(file),
                    (None, Some(env)) => SecretSource::Environment(env),
                    _ => {
                        let message = format!("{path} needs exactly one of `file` and `env`");
                        self.error_of(Kind::Secret, &node.origin, message);
                        return None;
                    }
                }
            }
            _ => {
                let message = format!("{path} must be a secret, not {}", node.kind());
                self.error_of(Kind::Secret, &node.origin, message);
                return None;
            }
        };
        match Secret::load(source) {
            Ok(secret) => Some(secret),
            Err(why) => {
                self.error_of(Kind::Secret, &node.origin, format!("{path}: {why}"));
                None
            }
        }
    }

    /// Whether `key` has nothing in it (a key with problems of its own is not reported twice).
    pub fn given_empty(&self, key: &str) -> bool {
        match self
            .entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node.value)
        {
            None | Some(Value::Null) => true,
            Some(Value::Map(entries)) => entries.is_empty(),
            Some(_) => false,
        }
    }

    /// Reports the keys that are not among these: they have no meaning for `what`.
    pub fn only(&self, keys: &[&str], what: &str) {
        for entry in self.entries {
            if !keys.contains(&entry.key.as_str()) {
                self.error_with_help(
                    &entry.origin,
                    format!("{}: {what} has no such key", self.path_of(&entry.key)),
                    format!("its keys: {}", keys.join(", ")),
                );
            }
        }
    }

    /// Reports the keys that nobody asked for. Call it once, after the last key was read.
    pub fn finish(self) {
        self.report_unknown();
    }

    /// [`Section::finish`] for a section that is still needed afterwards.
    pub fn report_unknown(&self) {
        if self.quiet.get() {
            return;
        }
        let asked = self.asked.borrow();
        for entry in self.entries {
            if asked.contains(&entry.key.as_str()) {
                continue;
            }
            let problem = Problem::error(
                entry.origin.clone(),
                format!("unknown key `{}` in {}", entry.key, named(&self.path)),
            )
            .of(Kind::UnknownKey);
            self.problems
                .push(match nearest(&entry.key, asked.iter().copied()) {
                    Some(near) => problem.with_help(format!("did you mean `{near}`?")),
                    None => {
                        let mut known = asked.clone();
                        known.sort_unstable();
                        known.dedup();
                        problem.with_help(format!("known keys: {}", known.join(", ")))
                    }
                });
        }
    }
}

fn named(path: &str) -> &str {
    if path.is_empty() {
        "the configuration"
    } else {
        path
    }
}

/// A name that fits into a metric label, a file name and an environment variable.
fn valid_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

/// The word most like `wrong`, when one is near enough to be a slip of the finger.
pub fn nearest<'w>(wrong: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let wrong = wrong.to_ascii_lowercase().replace('-', "_");
    words
        .map(|word| (strsim::damerau_levenshtein(&wrong, word), word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
