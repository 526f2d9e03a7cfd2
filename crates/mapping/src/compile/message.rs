//! Message maps: which segments of which groups become what, and how the resources refer to each other.

use std::collections::BTreeSet;

use fhir::definitions::TypeId;
use fhir::tree::Key;
use hl7v2::Version;
use hl7v2::definitions::{StructureItem, for_version};

use super::layers::Documents;
use super::rows::RowsOf;
use super::scope::Scope;
use super::{Compiler, v2};
use crate::diagnostic::{Code, closest};
use crate::plan::{
    Bind, Body, BoundId, Entry, Field, Group, Link, LinkSource, Makes, MapId, MessageMap, Needs,
    Rule, Select, Set, Shape, WriteMode,
};
use crate::vocabulary;
use crate::yaml::{Node, Span, Value};

/// Name of the map for messages that no other map names.
pub(super) const ANY: &str = "any";

impl Compiler {
    /// Gives every name that any message map binds its number, so that segment maps can refer to it.
    pub(super) fn bound_names(&mut self, documents: &Documents) {
        fn names(node: &Node, found: &mut BTreeSet<String>) {
            match &node.value {
                Value::List(members) => members.iter().for_each(|member| names(member, found)),
                Value::Map(pairs) => pairs.iter().for_each(|(_, value)| names(value, found)),
                Value::Scalar { text, .. } => {
                    if let Some((_, name)) = text.split_once(" as ") {
                        found.insert(name.trim().to_owned());
                    }
                }
            }
        }
        let mut found = BTreeSet::new();
        for node in documents.messages.values() {
            if let Some(map) = node.get("map") {
                names(map, &mut found);
            }
        }
        for name in found {
            self.bound_id(&name);
        }
    }

    pub(super) fn messages(&mut self, documents: &Documents) {
        for (name, node) in &documents.messages {
            self.message = Some(name.clone());
            let message = self.message(name, node, documents);
            self.message = None;
            let origin = self.origin(node.span);
            let notes = self.file_notes(name, node, origin);
            self.plan.notes.messages.insert(name.clone(), notes);
            self.plan.messages.insert(name.clone(), message);
        }
    }

    fn message(&mut self, name: &str, node: &Node, documents: &Documents) -> MessageMap {
        let mut message = MessageMap {
            name: name.to_owned(),
            root: Group::default(),
            entries: Vec::new(),
            links: Vec::new(),
            flat: name == ANY,
        };
        self.bound_types.clear();
        let Some(pairs) = node.pairs() else {
            self.error(
                Code::Shape,
                node.span,
                "a message map is a map of keys",
                "start with `message: ORU_R01` and `map:`",
            );
            return message;
        };
        let structure = self.structure(name, node.span);
        let mut spans = Vec::new();
        if let Some(map) = node.get("map") {
            let mut next = 1;
            message.root = self.group("", 0, map, structure, &mut next, &mut message.entries);
            anchors(&message.root, &mut message.entries);
            // Names are known only now: `set:` may point ahead.
            let mut pending = Vec::new();
            collect_sets(map, &mut pending);
            let start =
                |line: &Line<'_>| line.0.first().map(|(key, _)| key.span).unwrap_or_default();
            spans = pending.iter().map(start).collect();
            for (number, (entry, set)) in pending.into_iter().enumerate() {
                self.entry_details(&mut message.entries, number, entry, set);
            }
        }
        for (key, value) in pairs {
            match key.text().unwrap_or_default() {
                "message" => {
                    if value.text() != Some(name) {
                        self.error(
                            Code::Layout,
                            value.span,
                            format!("this file maps the structure {name}"),
                            format!("write `message: {name}`, or rename the file"),
                        );
                    }
                }
                "rows" => self.rows(value, &RowsOf::Message, documents),
                "events" => self.events(name, value, documents),
                "versions" => {
                    if let Some(versions) = self.read_versions(value) {
                        self.message_versions.insert(name.to_owned(), versions);
                    }
                }
                "link" => message.links = self.links(value),
                other => self.known_key(key, other, &vocabulary::MESSAGE),
            }
        }
        self.required_of_message(&message.entries, &spans, &message.links);
        message
    }

    fn structure(&mut self, name: &str, span: Span) -> Option<StructureItem<'static>> {
        if name == ANY {
            return None;
        }
        let found = Version::ALL
            .into_iter()
            .rev()
            .find_map(|version| for_version(version).structure(name));
        if found.is_none() {
            let near = closest(name, for_version(Version::NEWEST).structure_names());
            let help = near.map_or_else(
                || {
                    "the file is named for a message structure (MSH-9.3), such as ORU_R01"
                        .to_owned()
                },
                |near| format!("did you mean `{near}`?"),
            );
            self.warn(
                Code::UnknownGroup,
                span,
                format!("HL7 v2 has no message structure `{name}`"),
                help,
            );
        }
        found.map(|structure| structure.root())
    }

    fn group(
        &mut self,
        name: &str,
        id: u32,
        node: &Node,
        structure: Option<StructureItem<'static>>,
        next: &mut u32,
        entries: &mut Vec<Entry>,
    ) -> Group {
        let mut group = Group {
            id,
            name: name.to_owned(),
            ..Group::default()
        };
        for member in node.members() {
            let Some(pairs) = member.pairs() else {
                self.error(
                    Code::Shape,
                    member.span,
                    format!("a line of a message map is not {}", member.kind()),
                    "write `PID: PID/Patient as patient`, or a group name with a list",
                );
                continue;
            };
            let head = pairs.iter().find(|(key, _)| {
                key.text()
                    .is_some_and(|text| text.starts_with(|c: char| c.is_ascii_uppercase()))
            });
            let Some((key, value)) = head else {
                self.error(
                    Code::Shape,
                    member.span,
                    "this line names neither a segment nor a group",
                    "write `PID: PID/Patient as patient`, a group name with a list, or `use: NAME` for the lines of a part",
                );
                continue;
            };
            let text = key.text().unwrap_or_default();
            if matches!(value.value, Value::List(_)) {
                let item = structure.and_then(|item| item.child(text));
                if structure.is_some() && item.is_none_or(|item| !item.is_group()) {
                    let names: Vec<&str> = structure
                        .iter()
                        .flat_map(StructureItem::children)
                        .filter(StructureItem::is_group)
                        .map(|item| item.name())
                        .collect();
                    let help = match closest(text, names.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if names.is_empty() => "it has no groups here".to_owned(),
                        None => format!("its groups here are {}", names.join(", ")),
                    };
                    self.error(
                        Code::UnknownGroup,
                        key.span,
                        format!("the structure has no group `{text}` here"),
                        help,
                    );
                }
                let id = *next;
                *next += 1;
                group
                    .groups
                    .push(self.group(text, id, value, item, next, entries));
                continue;
            }
            let number = entries.len();
            let entry = self.entry(key, value);
            self.segment_in_structure(key, entry.segment, structure);
            match group
                .entries
                .iter_mut()
                .find(|(segment, _)| *segment == entry.segment)
            {
                Some((_, numbers)) => numbers.push(number),
                None => group.entries.push((entry.segment, vec![number])),
            }
            entries.push(entry);
        }
        group
    }

    fn segment_in_structure(
        &mut self,
        key: &Node,
        segment: [u8; 3],
        structure: Option<StructureItem<'static>>,
    ) {
        let name = String::from_utf8_lossy(&segment).into_owned();
        let Some(structure) = structure else { return };
        // What several messages share may name a segment that one of them lacks: a sender who puts it there means it.
        if name.starts_with('Z')
            || structure.child(&name).is_some()
            || self.part_files.contains(&key.span.file)
        {
            return;
        }
        let names: Vec<&str> = structure.children().map(|item| item.name()).collect();
        self.error(
            Code::UnknownGroup,
            key.span,
            format!("the structure has no segment {name} here"),
            format!("here it has {}", names.join(", ")),
        );
    }

    /// `PID: PID/Patient as patient`; the rest of the line follows once all names are known.
    fn entry(&mut self, key: &Node, value: &Node) -> Entry {
        let mut words = key.text().unwrap_or_default().split_whitespace();
        let name = words.next().unwrap_or_default();
        let mut entry = Entry {
            segment: <[u8; 3]>::try_from(name.as_bytes()).unwrap_or(*b"???"),
            after: None,
            anchors: Vec::new(),
            map: MapId::MAX,
            bind: Bind::Nothing,
            when: None,
            set: Vec::new(),
            write: None,
            key: None,
            called: Vec::new(),
            origin: self.origin(key.span),
        };
        if !v2::is_segment(name) {
            self.error(
                Code::UnknownPath,
                key.span,
                format!("there is no segment `{name}` in HL7 v2"),
                "a segment has three characters; local ones start with Z",
            );
        }
        match (words.next(), words.next(), words.next()) {
            (None, ..) => {}
            (Some("after"), Some(anchor), None) if v2::is_segment(anchor) => {
                entry.after = <[u8; 3]>::try_from(anchor.as_bytes()).ok()
            }
            _ => self.error(
                Code::Shape,
                key.span,
                "this can't be read",
                "write `NTE after PID:` for the NTE that follow a PID",
            ),
        }
        let Some(text) = self.text_of(value, "the map of a segment") else {
            return entry;
        };
        let mut words = text.split_whitespace();
        let map = words.next().unwrap_or_default().to_owned();
        if let Some(id) = self.map_id(&map, value.span) {
            entry.map = id;
            self.fits_segment(id, entry.segment, value.span);
        }
        match (words.next(), words.next(), words.next()) {
            (None, ..) => {}
            (Some("as"), Some(name), None) => {
                let name = name.to_owned();
                let id = self.bound_id(&name);
                entry.bind = Bind::As(id);
                self.bind_type(id, entry.map, &name, value.span);
            }
            (Some("into"), Some(name), None) => {
                let name = name.to_owned();
                if let Some(id) = self.known_bound(&name, value.span) {
                    entry.bind = Bind::Into(id);
                }
            }
            _ => self.error(
                Code::Shape,
                value.span,
                "this can't be read",
                "write `PID/Patient`, `PID/Patient as patient` or `PD1/Patient into patient`",
            ),
        }
        entry
    }

    fn fits_segment(&mut self, id: MapId, segment: [u8; 3], span: Span) {
        let Some(header) = self.maps.get(id) else {
            return;
        };
        let (name, of, makes) = (header.name.clone(), header.segment, header.makes.clone());
        if of != Some(segment) {
            let segment = String::from_utf8_lossy(&segment).into_owned();
            self.error(
                Code::WrongType,
                span,
                format!("`{name}` does not map the segment {segment}"),
                format!("use a map under segments/{segment}/"),
            );
        } else if !matches!(makes, Makes::Resource(_)) {
            self.error(Code::WrongType, span, format!("`{name}` makes no resource"), "a message map uses maps that make resources; use this one from a segment map with `map:`");
        }
    }

    fn bind_type(&mut self, id: BoundId, map: MapId, name: &str, span: Span) {
        let Some(header) = self.maps.get(map) else {
            return;
        };
        let made = header.type_name;
        match self.bound_types.get(&id) {
            Some(known) if *known != made && !made.is_empty() => {
                let known = *known;
                self.error(
                    Code::WrongType,
                    span,
                    format!("`{name}` is a {known}, and this makes a {made}"),
                    "use another name",
                );
            }
            _ => {
                self.bound_types.insert(id, made);
            }
        }
    }

    // === set, when, write ===

    fn entry_details(
        &mut self,
        entries: &mut [Entry],
        number: usize,
        pairs: &[(Node, Node)],
        set: Option<&Node>,
    ) {
        let Some((map, bind, segment)) = entries
            .get(number)
            .map(|entry| (entry.map, entry.bind, entry.segment))
        else {
            return;
        };
        let scope = Scope {
            segment: Some(segment),
            current: None,
        };
        let (mut when, mut write, mut identity, mut called) = (None, None, None, Vec::new());
        for (key, value) in pairs {
            match key.text().unwrap_or_default() {
                "when" => when = self.condition(value, &scope),
                "write" => write = self.write_mode(value),
                "key" => identity = self.identity(value, &scope),
                "called" => called = self.identities(value, &scope),
                word if word.starts_with(|c: char| c.is_ascii_uppercase()) => {}
                other => self.known_key(key, other, &vocabulary::LINE),
            }
        }
        let sets = set
            .map(|set| self.sets(set, map, &scope))
            .unwrap_or_default();
        if let Bind::Into(id) = bind {
            self.check_into(map, id, pairs);
        }
        if let Some(entry) = entries.get_mut(number) {
            (entry.when, entry.write, entry.set) = (when, write, sets);
            (entry.key, entry.called) = (identity, called);
        }
    }

    fn check_into(&mut self, map: MapId, id: BoundId, pairs: &[(Node, Node)]) {
        let (Some(header), Some(known)) = (self.maps.get(map), self.bound_types.get(&id).copied())
        else {
            return;
        };
        let (name, made) = (header.name.clone(), header.type_name);
        if made != known {
            let span = pairs
                .first()
                .map(|(_, value)| value.span)
                .unwrap_or_default();
            self.error(
                Code::WrongType,
                span,
                format!("`{name}` makes a {made}, the name stands for a {known}"),
                format!("use a map that makes a {known}"),
            );
        }
    }

    fn sets(&mut self, node: &Node, map: MapId, scope: &Scope) -> Vec<Set> {
        let Some(pairs) = node.pairs() else {
            self.error(
                Code::Shape,
                node.span,
                format!("`set` is a map of elements, not {}", node.kind()),
                "write `set: { subject: patient }`",
            );
            return Vec::new();
        };
        let own = self
            .maps
            .get(map)
            .and_then(|header| self.r4.type_(header.type_name));
        pairs
            .iter()
            .filter_map(|(key, value)| self.set_one(key, value, own, scope))
            .collect()
    }

    fn set_one(
        &mut self,
        key: &Node,
        value: &Node,
        own: Option<TypeId>,
        scope: &Scope,
    ) -> Option<Set> {
        let text = self.text_of(key, "an element")?.to_owned();
        let mut path: Vec<&str> = text.split('.').collect();
        let mut target = None;
        let mut type_id = own?;
        if path.len() > 1 && self.bound.contains_key(*path.first()?) {
            let id = self.known_bound(path.remove(0), key.span)?;
            let type_name = self.bound_types.get(&id).copied().unwrap_or_default();
            let Some(found) = self.r4.type_(type_name) else {
                self.error(
                    Code::UnknownName,
                    key.span,
                    "nothing in this message map is bound to that name",
                    "use a name that a line with `as` binds",
                );
                return None;
            };
            (target, type_id) = (Some(id), found);
        }
        let field = self.set_path(type_id, &path, key, value, scope)?;
        Some(Set {
            target,
            fields: vec![field],
        })
    }

    fn set_path(
        &mut self,
        type_id: TypeId,
        path: &[&str],
        key: &Node,
        value: &Node,
        scope: &Scope,
    ) -> Option<Field> {
        let (name, rest) = path.split_first()?;
        let target = self.target(type_id, name, key, true)?;
        let element = target.element?;
        let origin = self.origin(value.span);
        let plain = |body: Body| Rule {
            when: None,
            select: Select::Here,
            body,
            set: Vec::new(),
            needs: Needs::default(),
            constant: false,
            origin,
        };
        let rules = if rest.is_empty() {
            let mut rules = Vec::new();
            for member in value.members() {
                match &member.value {
                    Value::Scalar { text, .. }
                        if target.shape == Shape::Reference && !text.contains("{{") =>
                    {
                        let id = self.known_bound(text, member.span)?;
                        self.check_target(&target, id, member.span);
                        rules.push(plain(Body::Ref(id)));
                    }
                    _ => rules.extend(self.rule(member, &target, scope)),
                }
            }
            rules
        } else {
            let inner = self.set_path(target.type_id, rest, key, value, scope)?;
            let constant = inner.rules.iter().all(|rule| rule.constant);
            let object = plain(Body::Object(vec![inner]));
            vec![Rule { constant, ..object }]
        };
        Some(Field {
            key: Key {
                name: element.name,
                order: element.order,
            },
            array: target.array,
            shape: target.shape,
            choice: element.choice,
            rules,
            // In a list `set` adds; a single element it replaces.
            replace: !target.array && rest.is_empty(),
            distinct: super::element::distinct(self.r4.type_name(target.type_id)),
            needs: Needs::default(),
            place: None,
        })
    }

    /// A reference must be allowed to point to what the name stands for.
    fn check_target(&mut self, target: &super::element::Target, id: BoundId, span: Span) {
        let Some(type_name) = self
            .bound_types
            .get(&id)
            .copied()
            .filter(|name| !name.is_empty())
        else {
            return;
        };
        let targets = target
            .element
            .and_then(|element| element.type_())
            .map_or(&[][..], |type_ref| type_ref.targets);
        let names: Vec<&str> = targets.iter().map(|id| self.r4.type_name(*id)).collect();
        if names.is_empty() || names.contains(&type_name) || names.contains(&"Resource") {
            return;
        }
        self.error(
            Code::WrongType,
            span,
            format!("the element can't refer to a {type_name}"),
            format!("it may refer to {}", names.join(", ")),
        );
    }

    // === link ===

    fn links(&mut self, node: &Node) -> Vec<Link> {
        let Some(pairs) = node.pairs() else {
            self.error(
                Code::Shape,
                node.span,
                format!("`link` is a map, not {}", node.kind()),
                "write `link: { header.focus: patient }`",
            );
            return Vec::new();
        };
        pairs
            .iter()
            .filter_map(|(key, value)| self.link(key, value))
            .collect()
    }

    fn link(&mut self, key: &Node, value: &Node) -> Option<Link> {
        let text = self.text_of(key, "an element")?.to_owned();
        let mut path = text.split('.');
        let target = self.known_bound(path.next()?, key.span)?;
        let mut type_id = self
            .r4
            .type_(self.bound_types.get(&target).copied().unwrap_or_default())?;
        let (mut keys, mut array, mut reference) = (Vec::new(), false, None);
        for name in path {
            let found = self.target(type_id, name, key, false)?;
            let element = found.element?;
            keys.push(Key {
                name: element.name,
                order: element.order,
            });
            (type_id, array, reference) = (found.type_id, found.array, Some(found));
        }
        let reference =
            reference.filter(|found| found.shape == Shape::Reference && keys.len() == 1);
        let Some(reference) = reference else {
            self.error(
                Code::WrongType,
                key.span,
                "`link` sets an element that is a reference",
                "write the name of a resource and one of its elements: `header.focus`",
            );
            return None;
        };
        let mut sources = Vec::new();
        for member in value.members() {
            let text = self.text_of(member, "the name of a resource")?;
            sources.push(match text.strip_prefix("each ").map(str::trim) {
                Some("*") => LinkSource::Everything,
                Some(name) => LinkSource::Each(self.known_bound(name, member.span)?),
                None => LinkSource::First(self.known_bound(text, member.span)?),
            });
        }
        let r4 = self.r4;
        let targets = reference
            .element
            .and_then(|element| element.type_())
            .map_or(&[][..], |type_ref| type_ref.targets);
        let targets = targets
            .iter()
            .map(|id| r4.type_name(*id).to_owned())
            .filter(|name| name != "Resource")
            .collect();
        Some(Link {
            target,
            path: keys,
            array,
            sources,
            targets,
            origin: self.origin(key.span),
        })
    }
}

/// A line of a message map: its keys, and its `set`.
type Line<'n> = (&'n [(Node, Node)], Option<&'n Node>);

/// The lines of a message map in the order in which their entries were made.
fn collect_sets<'n>(node: &'n Node, found: &mut Vec<Line<'n>>) {
    for member in node.members() {
        let Some(pairs) = member.pairs() else {
            continue;
        };
        let head = pairs.iter().find(|(key, _)| {
            key.text()
                .is_some_and(|text| text.starts_with(|c: char| c.is_ascii_uppercase()))
        });
        match head {
            Some((_, value)) if matches!(value.value, Value::List(_)) => collect_sets(value, found),
            Some(_) => found.push((pairs, member.get("set"))),
            None => {}
        }
    }
}

/// Tells each `SEG after X` which other anchors there are, since the nearest decides.
fn anchors(group: &Group, entries: &mut [Entry]) {
    for (_, numbers) in &group.entries {
        let all: Vec<[u8; 3]> = numbers
            .iter()
            .filter_map(|number| entries.get(*number)?.after)
            .collect();
        for number in numbers {
            if let Some(entry) = entries
                .get_mut(*number)
                .filter(|entry| entry.after.is_some())
            {
                entry.anchors = all.clone();
            }
        }
    }
    for group in &group.groups {
        anchors(group, entries);
    }
}

/// Only so that the write mode's meaning has one home.
impl WriteMode {
    pub(crate) fn to_fhir(self) -> fhir::bundle::Write {
        match self {
            WriteMode::Update => fhir::bundle::Write::Update,
            WriteMode::Create => fhir::bundle::Write::Create,
        }
    }
}
