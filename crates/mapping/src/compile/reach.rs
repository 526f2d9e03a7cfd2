//! Whether what a rule names can be there at all, in the messages that its map is for: a segment of their structures, a field
//! of their versions, a resource name that one of their maps binds.
//!
//! A map or a part serves many messages, and what one of them lacks another has: only what none has is told. Nothing is told
//! of maps that no message map uses. `any.yaml` takes messages of every structure, so it says nothing of segments.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use hl7v2::Version;
use hl7v2::definitions::{for_version, structure_of_event};

use super::layers::Documents;
use super::message::ANY;
use super::scope::Scope;
use super::{Compiler, v2};
use crate::diagnostic::{Code, Diagnostic, closest};
use crate::plan::{Bind, BoundId, MapId, MessageMap};
use crate::syntax::path::PathText;
use crate::yaml::Node;

/// Something that a rule names, and the place where it does.
pub(crate) struct Use {
    what: What,
    owner: Owner,
    /// What is said if no message has it, without the words.
    at: Diagnostic,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Segment(String),
    Field(String, u16),
    Name(BoundId),
}

/// Who names it.
#[derive(Clone)]
pub(crate) enum Owner {
    Map(MapId),
    Message(String),
}

/// What the messages of a message map can have.
struct Message {
    any: bool,
    /// Empty when the structure is not known.
    segments: BTreeSet<String>,
    bound: HashSet<BoundId>,
    maps: HashSet<MapId>,
    versions: Vec<Version>,
}

impl Compiler {
    /// Notes a path to a segment, to be looked at when all message maps are known.
    pub(super) fn note_path(&mut self, path: &PathText, scope: &Scope, node: &Node, at: usize) {
        if !path.segment || path.name.starts_with('Z') || path.name == "MSH" {
            return;
        }
        let mut words = vec![What::Field(path.name.clone(), path.field)];
        if scope.segment.as_ref().map(<[u8; 3]>::as_slice) != Some(path.name.as_bytes()) {
            words.push(What::Segment(path.name.clone()));
        }
        let length = path.name.len() + 1 + path.field.to_string().len();
        for what in words {
            let finding = Diagnostic::warning(Code::NoMessageHas, node.span, "");
            self.note(what, finding.part_of(node, at, length));
        }
    }

    /// Notes that a rule refers to a resource by name.
    pub(super) fn note_name(&mut self, name: BoundId, span: crate::yaml::Span) {
        let finding = Diagnostic::warning(Code::UnknownName, span, "");
        self.note(What::Name(name), finding);
    }

    fn note(&mut self, what: What, at: Diagnostic) {
        let owner = match (&self.user, &self.message) {
            (Some(map), _) => Owner::Map(*map),
            (None, Some(message)) => Owner::Message(message.clone()),
            (None, None) => return,
        };
        self.noted.push(Use { what, owner, at });
    }

    /// Tells of everything that no message has.
    pub(super) fn out_of_reach(&mut self) {
        let noted = std::mem::take(&mut self.noted);
        let messages: BTreeMap<String, Message> = self
            .plan
            .messages
            .iter()
            .map(|(name, map)| (name.clone(), self.reach_of(name, map)))
            .collect();
        // A line of a part is read once for every message that uses it.
        type Place = (u16, u32, u32, usize);
        let mut places: BTreeMap<(Place, What), (bool, bool, Diagnostic)> = BTreeMap::new();
        for one in noted {
            let own: Vec<Version>;
            let (asked, versions): (Vec<&Message>, &[Version]) = match &one.owner {
                Owner::Message(name) => (messages.get(name).into_iter().collect(), &Version::ALL),
                Owner::Map(map) => {
                    own = self
                        .map_versions
                        .get(map)
                        .cloned()
                        .unwrap_or(Version::ALL.into());
                    let users = messages
                        .values()
                        .filter(|message| message.maps.contains(map));
                    (users.collect(), &own)
                }
            };
            let (mut asked_any, mut found) = (false, false);
            for message in asked {
                if let Some(has) = message.has(&one.what, versions) {
                    (asked_any, found) = (true, found || has);
                }
            }
            let span = one.at.span;
            let part = one.at.part.as_ref().map_or(0, |part| part.before.len() + 1);
            let key = ((span.file, span.line, span.column, part), one.what);
            let known = places.entry(key).or_insert((false, false, one.at));
            (known.0, known.1) = (known.0 || asked_any, known.1 || found);
        }
        for ((_, what), (asked, found, mut at)) in places {
            if !asked || found {
                continue;
            }
            let (message, help) = self.words(&what);
            (at.message, at.help) = (message, Some(help));
            self.diagnostics.push(at);
        }
    }

    fn reach_of(&self, name: &str, map: &MessageMap) -> Message {
        let structures = Version::ALL
            .into_iter()
            .filter_map(|version| for_version(version).structure(name));
        let mut segments: BTreeSet<String> = structures
            .flat_map(|structure| structure.items())
            .filter(|item| !item.is_group())
            .map(|item| item.name().to_owned())
            .collect();
        if !segments.is_empty() {
            let named = map.entries.iter().map(|entry| entry.segment);
            segments.extend(named.map(|name| String::from_utf8_lossy(&name).into_owned()));
        }
        let mut maps: HashSet<MapId> = map.entries.iter().map(|entry| entry.map).collect();
        maps.extend(
            self.message_uses
                .iter()
                .filter(|(of, _)| of == name)
                .map(|(_, map)| *map),
        );
        let mut open: Vec<MapId> = maps.iter().copied().collect();
        while let Some(map) = open.pop() {
            let used = self.uses.iter().filter(|(user, ..)| *user == map);
            let new: Vec<MapId> = used.map(|(_, used, _)| *used).collect();
            open.extend(new.into_iter().filter(|map| maps.insert(*map)));
        }
        let bound = map.entries.iter().filter_map(|entry| match entry.bind {
            Bind::As(name) => Some(name),
            _ => None,
        });
        let own = self.message_versions.get(name);
        let versions = own.cloned().unwrap_or(Version::ALL.into());
        Message {
            any: map.flat,
            segments,
            bound: bound.collect(),
            maps,
            versions: versions
                .into_iter()
                .filter(|version| self.versions.contains(version))
                .collect(),
        }
    }

    fn words(&self, what: &What) -> (String, String) {
        match what {
            What::Segment(name) => (
                format!("no message with this rule has a segment {name}: its structure has none"),
                format!(
                    "name a segment of the structure; if a sender puts {name} there all the same, give it a line in the message map"
                ),
            ),
            What::Field(name, number) => {
                let has = |version: &Version| {
                    let segment = for_version(*version).segment(name);
                    segment.is_some_and(|segment| segment.field(*number).is_some())
                };
                let first = Version::ALL.into_iter().find(has);
                let came = first.map_or("", Version::as_str);
                (
                    format!("{name}-{number} is in none of the versions that this is for"),
                    format!(
                        "it came with version {came}; widen `versions:` if your senders use it"
                    ),
                )
            }
            What::Name(name) => {
                let name = self
                    .plan
                    .names
                    .get(*name as usize)
                    .map_or("", String::as_str);
                (
                    format!("no message map with this rule binds a resource to the name `{name}`"),
                    "bind it with `as` in the same message map, or leave the rule out".to_owned(),
                )
            }
        }
    }

    // === versions ===

    /// `versions: 2.3 to 2.5.1`, `from 2.5`, `to 2.4` or `2.5.1`.
    pub(super) fn read_versions(&mut self, node: &Node) -> Option<Vec<Version>> {
        let text = self.text_of(node, "a range of versions")?.to_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let range = match words.as_slice() {
            [one] => Some((*one, *one)),
            [first, "to", last] => Some((*first, *last)),
            ["from", first] => Some((*first, Version::NEWEST.as_str())),
            ["to", last] => Some((Version::V2_1.as_str(), *last)),
            _ => None,
        };
        let read = |text: &str| {
            Version::ALL
                .into_iter()
                .find(|known| known.as_str() == text)
        };
        let found = range.and_then(|(first, last)| Some((read(first)?, read(last)?)));
        let Some((first, last)) = found.filter(|(first, last)| first <= last) else {
            let names: Vec<&str> = Version::ALL.into_iter().map(Version::as_str).collect();
            self.error(
                Code::Shape,
                node.span,
                format!("`{text}` is no range of versions"),
                format!(
                    "write `2.3 to 2.5.1`, `from 2.5`, `to 2.4` or `2.5.1`; there are {}",
                    names.join(", ")
                ),
            );
            return None;
        };
        let within = |version: &Version| (first..=last).contains(version);
        Some(Version::ALL.into_iter().filter(within).collect())
    }

    // === events ===

    /// The events of a message map are those of its structure.
    pub(super) fn events(&mut self, name: &str, node: &Node, documents: &Documents) {
        let code = name.split('_').next().unwrap_or_default();
        for member in node.members() {
            let Some(event) = self.text_of(member, "an event").map(str::to_owned) else {
                continue;
            };
            if name == ANY || event == "*" || event.starts_with('Z') || code.starts_with('Z') {
                continue;
            }
            let own = event == code || structure_of_event(code, &event) == Some(name);
            // Old versions have structures that the newest one no longer uses.
            let ends = name.ends_with(&format!("_{event}"));
            // A structure of its own that old versions gave the event, and that nobody maps.
            let other = structure_of_event(code, &event);
            let unused = other.is_some_and(|other| !documents.messages.contains_key(other));
            if own || ends || unused {
                continue;
            }
            let help = match other {
                Some(other) => format!("its messages have the structure {other}"),
                None => {
                    let digits = ('0'..='9').flat_map(|a| ('0'..='9').map(move |b| (a, b)));
                    let letters = ('A'..='Y').flat_map(|l| digits.clone().map(move |d| (l, d)));
                    let known: Vec<String> = letters
                        .map(|(letter, (a, b))| format!("{letter}{a}{b}"))
                        .filter(|event| structure_of_event(code, event) == Some(name))
                        .collect();
                    match closest(&event, known.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("its events are {}", known.join(", ")),
                    }
                }
            };
            self.warn(
                Code::NoSuchValue,
                member.span,
                format!("{event} is no event of the structure {name}"),
                help,
            );
        }
    }
}

impl Message {
    /// Whether its messages have that; `None` when they may have anything.
    fn has(&self, what: &What, versions: &[Version]) -> Option<bool> {
        match what {
            What::Segment(_) if self.any || self.segments.is_empty() => None,
            What::Segment(name) => Some(self.segments.contains(name)),
            What::Field(name, number) => {
                let mut both = versions
                    .iter()
                    .filter(|version| self.versions.contains(version));
                let known = both
                    .clone()
                    .any(|version| for_version(*version).segment(name).is_some());
                // A segment that came later is a matter of structures.
                known.then(|| both.any(|version| v2::has_field(*version, name, *number)))
            }
            What::Name(name) => Some(self.bound.contains(name)),
        }
    }
}
