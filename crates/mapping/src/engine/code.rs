//! Coded values: code tables, coding systems, assigning authorities.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use fhir::NameId;
use fhir::primitive::Primitive;
use fhir::tree::{Key, NodeId};
use hl7v2::{Level, Node};

use super::access::Here;
use super::helpers::{is_oid, is_uri, urn_part};
use super::slot::{Emitted, Slot, Source};
use super::{Run, Spread};
use crate::plan::{MapId, Miss, OriginId, Plan, Shape, Table, TableId, Target};
use crate::report::{CodeMiss, MissedCode, ReportCode};

/// Where HL7 keeps its v2 tables as FHIR code systems.
const V2_TABLES: &str = "http://terminology.hl7.org/CodeSystem/v2-";
/// Most identifier systems that are remembered in a message.
const MOST_AUTHORITIES: usize = 8;

/// Names of the elements of Coding and CodeableConcept.
struct Names {
    coding: Key,
    text: Key,
    system: Key,
    code: Key,
    display: Key,
}

fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(|| {
        let key = |name: &str, order: u16| Key {
            name: NameId::of(name).unwrap_or(NameId::RESOURCE_TYPE),
            order,
        };
        Names {
            coding: key("coding", 3),
            text: key("text", 4),
            system: key("system", 3),
            code: key("code", 5),
            display: key("display", 6),
        }
    })
}

/// Code, text and system of one triplet of a CWE.
struct Triplet<'r> {
    code: Node<'r>,
    display: Node<'r>,
    system: Option<Node<'r>>,
}

/// CWE.1-3, CWE.4-6 and CWE.10-12; for a bare code only the first.
fn triplets(node: Node<'_>) -> impl Iterator<Item = Triplet<'_>> {
    let composite = node.level() != Level::Subcomponent;
    [1, 4, 10]
        .into_iter()
        .take(if composite { 3 } else { 1 })
        .map(move |first| Triplet {
            code: node.child(first),
            display: node.child(first + 1),
            system: Some(node.child(first + 2)),
        })
}

impl<'r> Run<'r> {
    /// Translates the current value by a table into the slot.
    #[allow(
        clippy::too_many_arguments,
        reason = "one call site; a struct would only rename them"
    )]
    pub(crate) fn table(
        &mut self,
        slot: Slot,
        shape: Shape,
        table: TableId,
        miss: Option<Miss>,
        base: Option<MapId>,
        here: &Here<'r>,
        origin: OriginId,
    ) -> Emitted {
        let (Some(node), plan) = (here.current, self.plan) else {
            return Emitted::Nothing;
        };
        let Some(table) = plan.tables.get(table) else {
            return Emitted::Nothing;
        };
        let miss = miss.unwrap_or(table.miss);
        match shape {
            Shape::Primitive(primitive) => {
                self.table_primitive(slot, primitive, table, miss, node, origin)
            }
            Shape::Coding => self.table_coding(slot, table, miss, node, origin),
            _ => self.table_concept(slot, table, miss, base, here, node, origin),
        }
    }

    fn table_primitive(
        &mut self,
        slot: Slot,
        primitive: Primitive,
        table: &'r Table,
        miss: Miss,
        node: Node<'r>,
        origin: OriginId,
    ) -> Emitted {
        let code = self.text(node);
        let listed = triplets(node)
            .map(|triplet| (self.lookup(table, &triplet), triplet))
            .find(|(lookup, _)| !matches!(lookup, Lookup::Missing));
        let (lookup, source) = match (listed, &code) {
            (Some((lookup, triplet)), _) => {
                self.take_triplet(&triplet);
                (lookup, triplet.code)
            }
            // A code whose system the table does not name is better than none.
            (None, Some(code)) => (Lookup::of(find(table, code)), node),
            (None, None) => return Emitted::Nothing,
        };
        let same;
        let target = match lookup {
            Lookup::Targets([target, ..]) => target.code.as_str(),
            Lookup::Targets([]) | Lookup::Alone => return Emitted::Nothing,
            Lookup::Same(_) => {
                same = self.text(source).unwrap_or_default();
                &same
            }
            Lookup::Missing => {
                self.miss(table, miss, node, origin, slot);
                match table.fallback() {
                    Some(target) => target.code.as_str(),
                    None => return Emitted::Nothing,
                }
            }
        };
        if self.put_primitive(slot, primitive, target, Source::Node(source), origin) {
            Emitted::Data
        } else {
            Emitted::Nothing
        }
    }

    fn table_coding(
        &mut self,
        slot: Slot,
        table: &'r Table,
        miss: Miss,
        node: Node<'r>,
        origin: OriginId,
    ) -> Emitted {
        let keys = names();
        let mut alone = false;
        for triplet in triplets(node) {
            match self.lookup(table, &triplet) {
                Lookup::Targets([target, ..]) => {
                    let object = self.open(slot, origin);
                    self.put_target(object, target, keys, origin);
                    self.take_triplet(&triplet);
                    return Emitted::Data;
                }
                Lookup::Same(system) => {
                    let object = self.open(slot, origin);
                    self.put_same(object, &triplet, system, keys, origin);
                    return Emitted::Data;
                }
                Lookup::Targets([]) | Lookup::Missing => {}
                Lookup::Alone => alone = true,
            }
        }
        if !node.child(1).is_valued() && node.level() != Level::Subcomponent {
            return Emitted::Nothing;
        }
        if alone {
            return self.plain_coding(slot, node, origin);
        }
        self.miss(table, miss, node, origin, slot);
        if let Some(target) = table.fallback() {
            let object = self.open(slot, origin);
            self.put_target(object, target, keys, origin);
            return Emitted::Data;
        }
        if miss == Miss::Drop {
            Emitted::Nothing
        } else {
            self.plain_coding(slot, node, origin)
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one call site; a struct would only rename them"
    )]
    fn table_concept(
        &mut self,
        slot: Slot,
        table: &'r Table,
        miss: Miss,
        base: Option<MapId>,
        here: &Here<'r>,
        node: Node<'r>,
        origin: OriginId,
    ) -> Emitted {
        let (mut matched, mut alone) = (false, false);
        for triplet in triplets(node) {
            match self.lookup(table, &triplet) {
                Lookup::Targets(_) | Lookup::Same(_) => matched = true,
                Lookup::Alone => alone = true,
                Lookup::Missing => {}
            }
        }
        if !matched {
            let valued = !alone && triplets(node).any(|triplet| triplet.code.is_valued());
            if valued {
                self.miss(table, miss, node, origin, slot);
            }
            match (table.fallback(), miss) {
                (Some(target), _) if valued => {
                    let keys = names();
                    let object = self.open(slot, origin);
                    let codings = self.state.tree.add_array(object, keys.coding);
                    let coding = self.open(Slot::Element(codings), origin);
                    self.put_target(coding, target, keys, origin);
                    self.plain_codings(codings, node, keys, origin);
                    return Emitted::Data;
                }
                (_, Miss::Drop) if valued => return Emitted::Nothing,
                _ => {}
            }
            return match base {
                Some(map) => self.map(slot, Shape::CodeableConcept, map, &[], here, origin),
                None => self.plain_concept(slot, node, origin),
            };
        }
        let keys = names();
        let object = self.open(slot, origin);
        let codings = self.state.tree.add_array(object, keys.coding);
        let base = base.and_then(|map| self.plan.maps.get(map));
        // Codes that the targets stand for; a map that makes the rest makes them too.
        let mut replaced = Vec::new();
        for triplet in triplets(node) {
            let stays = match self.lookup(table, &triplet) {
                Lookup::Targets(targets) => {
                    for target in targets {
                        let coding = self.open(Slot::Element(codings), origin);
                        self.put_target(coding, target, keys, origin);
                    }
                    // The source code stays beside a translation into another system, if it said which system it is of.
                    let translated = targets.iter().all(|target| {
                        target.code != self.peek(triplet.code)
                            || !target.system.starts_with(V2_TABLES)
                    });
                    translated && triplet.system.is_some_and(|system| system.is_valued())
                }
                Lookup::Same(system) => {
                    let coding = self.open(Slot::Element(codings), origin);
                    self.put_same(coding, &triplet, system, keys, origin);
                    false
                }
                Lookup::Alone | Lookup::Missing => true,
            };
            if !stays {
                self.take_triplet(&triplet);
                replaced.push(self.peek(triplet.code));
            } else if base.is_none() {
                self.put_triplet(codings, &triplet, keys, origin);
            }
        }
        match base {
            Some(map) => {
                let targets = self.state.tree.mark();
                self.deeper(|run| run.fields(object, &map.fields, here));
                self.forget(codings, targets, &replaced, keys);
            }
            None => {
                self.concept_text(object, node, true, keys, origin);
            }
        }
        Emitted::Data
    }

    /// Takes back the codings of these codes that came since the mark.
    fn forget(
        &mut self,
        codings: NodeId,
        since: fhir::tree::Mark,
        codes: &[Cow<'r, str>],
        keys: &'static Names,
    ) {
        let tree = &self.state.tree;
        let replaced: Vec<NodeId> = tree
            .children(codings)
            .map(|(_, coding)| coding)
            .filter(|coding| tree.is_added(*coding, since))
            .filter(|coding| {
                let code = tree.get(*coding, keys.code.name);
                code.is_some_and(|code| codes.iter().any(|known| known == tree.text(code)))
            })
            .collect();
        for coding in replaced {
            self.state.tree.remove(codings, coding);
        }
    }

    /// A code that stays what it is, in the table's target system.
    fn put_same(
        &mut self,
        coding: NodeId,
        triplet: &Triplet<'r>,
        system: &str,
        keys: &'static Names,
        origin: OriginId,
    ) {
        self.take_triplet(triplet);
        if !system.is_empty() {
            self.put_member(coding, keys.system.name, keys.system.order, system, origin);
        }
        for (part, key, primitive) in [
            (triplet.code, keys.code, Primitive::Code),
            (triplet.display, keys.display, Primitive::String),
        ] {
            if let Some(text) = self.text(part) {
                self.put_primitive(
                    Slot::Member(coding, key),
                    primitive,
                    &text,
                    Source::Node(part),
                    origin,
                );
            }
        }
    }

    /// The value as it stands, for a CodeableConcept that no map makes.
    pub(crate) fn plain_concept(
        &mut self,
        slot: Slot,
        node: Node<'r>,
        origin: OriginId,
    ) -> Emitted {
        let keys = names();
        let object = self.open(slot, origin);
        let codings = self.state.tree.add_array(object, keys.coding);
        let any = self.plain_codings(codings, node, keys, origin);
        let text = self.concept_text(object, node, any, keys, origin);
        if any || text {
            return Emitted::Data;
        }
        self.close_empty(slot, object);
        Emitted::Nothing
    }

    pub(crate) fn plain_coding(&mut self, slot: Slot, node: Node<'r>, origin: OriginId) -> Emitted {
        let keys = names();
        let object = self.open(slot, origin);
        let found = triplets(node)
            .next()
            .is_some_and(|triplet| self.triplet_into(object, &triplet, keys, origin));
        if found {
            return Emitted::Data;
        }
        self.close_empty(slot, object);
        Emitted::Nothing
    }

    fn plain_codings(
        &mut self,
        codings: NodeId,
        node: Node<'r>,
        keys: &'static Names,
        origin: OriginId,
    ) -> bool {
        let mut any = false;
        for triplet in triplets(node) {
            any |= self.put_triplet(codings, &triplet, keys, origin);
        }
        any
    }

    fn put_triplet(
        &mut self,
        codings: NodeId,
        triplet: &Triplet<'r>,
        keys: &'static Names,
        origin: OriginId,
    ) -> bool {
        if !triplet.code.is_valued() {
            return false;
        }
        let coding = self.open(Slot::Element(codings), origin);
        if self.triplet_into(coding, triplet, keys, origin) {
            return true;
        }
        self.close_empty(Slot::Element(codings), coding);
        false
    }

    fn triplet_into(
        &mut self,
        coding: NodeId,
        triplet: &Triplet<'r>,
        keys: &'static Names,
        origin: OriginId,
    ) -> bool {
        let Some(code) = self.text(triplet.code) else {
            return false;
        };
        let slot = Slot::Member(coding, keys.code);
        // Two blanks inside a code are one for FHIR.
        let code: Cow<'_, str> = if is_spaced(&code) {
            Cow::Owned(code.split_whitespace().collect::<Vec<_>>().join(" "))
        } else {
            code
        };
        if !self.put_primitive(
            slot,
            Primitive::Code,
            &code,
            Source::Node(triplet.code),
            origin,
        ) {
            return false;
        }
        if let Some(system) = triplet.system.and_then(|system| self.text(system)) {
            let uri = self.system_of(system, &code);
            self.put_primitive(
                Slot::Member(coding, keys.system),
                Primitive::Uri,
                &uri,
                Source::Nowhere,
                origin,
            );
        }
        if let Some(display) = self.text(triplet.display) {
            self.put_primitive(
                Slot::Member(coding, keys.display),
                Primitive::String,
                &display,
                Source::Nowhere,
                origin,
            );
        }
        true
    }

    /// CWE.9 is the original text; without a code the text of the first triplet says what is meant.
    fn concept_text(
        &mut self,
        object: NodeId,
        node: Node<'r>,
        coded: bool,
        keys: &'static Names,
        origin: OriginId,
    ) -> bool {
        let composite = node.level() != Level::Subcomponent;
        let candidates: &[usize] = if coded { &[9] } else { &[9, 2, 5] };
        for number in candidates.iter().filter(|_| composite) {
            if let Some(text) = self.text(node.child(*number)) {
                return self.put_primitive(
                    Slot::Member(object, keys.text),
                    Primitive::String,
                    &text,
                    Source::Nowhere,
                    origin,
                );
            }
        }
        false
    }

    fn take_triplet(&mut self, triplet: &Triplet<'r>) {
        let parts = [Some(triplet.code), Some(triplet.display), triplet.system];
        for part in parts.into_iter().flatten() {
            self.take_first(part);
        }
    }

    fn put_target(
        &mut self,
        coding: NodeId,
        target: &Target,
        keys: &'static Names,
        origin: OriginId,
    ) {
        if !target.system.is_empty() {
            self.put_member(
                coding,
                keys.system.name,
                keys.system.order,
                &target.system,
                origin,
            );
        }
        self.put_member(
            coding,
            keys.code.name,
            keys.code.order,
            &target.code,
            origin,
        );
        if let Some(display) = &target.display {
            self.put_member(
                coding,
                keys.display.name,
                keys.display.order,
                display,
                origin,
            );
        }
    }

    /// What the table says of a triplet: its code is listed, and its system is one that the table translates, or none.
    fn lookup(&self, table: &'r Table, triplet: &Triplet<'r>) -> Lookup<'r> {
        if !triplet.code.is_valued() {
            return Lookup::Missing;
        }
        let (mut same, mut code) = (Lookup::Missing, None);
        for group in table.groups() {
            let fits = group.source.is_empty() || {
                let system = triplet
                    .system
                    .map(|system| self.peek(system))
                    .unwrap_or_default();
                system.is_empty()
                    || group
                        .source
                        .iter()
                        .any(|source| same_system(source, &system))
            };
            if !fits {
                continue;
            }
            let code = code.get_or_insert_with(|| self.peek(triplet.code));
            match Lookup::of(find_in(group, code)) {
                Lookup::Missing if group.same_rest && matches!(same, Lookup::Missing) => {
                    same = Lookup::Same(&group.target);
                }
                Lookup::Missing => {}
                found => return found,
            }
        }
        match same {
            Lookup::Missing if table.translate.is_some() => self.translated(table, triplet),
            same => same,
        }
    }

    /// What a terminology server said of a code that the table does not list.
    fn translated(&self, table: &'r Table, triplet: &Triplet<'r>) -> Lookup<'r> {
        let system = triplet.system.map(|system| self.peek(system));
        let code = self.peek(triplet.code);
        let known = &self.context.translations;
        match known.get(&table.name, &system.unwrap_or_default(), &code) {
            Some(targets) => {
                self.translated.set(self.translated.get() + 1);
                Lookup::of(Some(targets))
            }
            None => Lookup::Missing,
        }
    }

    fn miss(&mut self, table: &Table, miss: Miss, node: Node<'r>, origin: OriginId, slot: Slot) {
        let place = node.place();
        let first = triplets(node).find(|triplet| triplet.code.is_valued());
        let code = first.map(|triplet| {
            let system = triplet.system.map(|system| self.peek(system));
            let system = system.unwrap_or_default();
            let missed = MissedCode::new(&self.peek(triplet.code), &system);
            match table.translate {
                Some(_) => {
                    let first = table.source.first().map(String::as_str);
                    let named = Some(&*system).filter(|system| !system.trim().is_empty());
                    let named = named.or(first).map(|named| named.trim().to_owned());
                    match named {
                        Some(named) => missed.of_system(&self.system(Cow::Owned(named))),
                        None => missed,
                    }
                }
                None => missed,
            }
        });
        self.state.report.code_misses.push(CodeMiss {
            table: table.name.clone(),
            place,
            code: code.unwrap_or_default(),
        });
        match miss {
            Miss::Keep => {}
            Miss::Drop => self.note(ReportCode::CodeDropped, Some(node), origin, slot),
            Miss::Park => self.state.parked = true,
            Miss::Fail => {
                if self.state.failed.is_none() {
                    self.state.failed = Some(super::ConvertError::CodeMiss {
                        table: table.name.clone(),
                        place: place.to_string(),
                        rule: self.package.rule(origin).to_string(),
                    });
                }
            }
        }
    }

    // === systems and authorities ===

    /// The URI of a coding system named as in HL7 table 0396.
    pub(crate) fn system(&self, name: Cow<'r, str>) -> Cow<'r, str> {
        if let Some(uri) = published(self.plan, &name) {
            return uri;
        }
        if is_oid(&name) {
            return Cow::Owned(format!("urn:oid:{name}"));
        }
        if is_uri(&name) {
            return name;
        }
        Cow::Owned(self.local("system", Some(&self.state.sender), &name))
    }

    /// The URI of a coding system for this code. Where the package knows all codes of that system (table `KnownCodes`) and this is none of
    /// them, it is one of the sender's own: a code that a published system does not have means what the sender says it means.
    pub(crate) fn system_of(&self, name: Cow<'r, str>, code: &str) -> Cow<'r, str> {
        let local = || Cow::Owned(self.local("system", Some(&self.state.sender), &name));
        let uri = self.system(name.clone());
        match self.plan.known_codes.get(&*uri) {
            Some(codes) if !codes.contains(code) => local(),
            _ => uri,
        }
    }

    /// The identifier system of an HD.
    pub(crate) fn authority_of(&mut self, hd: Node<'r>) -> Cow<'r, str> {
        self.authority(Some(hd.child(1)), Some(hd.child(2)), Some(hd.child(3)))
    }

    /// The identifier system of namespace, universal id and its type (HD.1-3, EI.2-4).
    pub(crate) fn authority(
        &mut self,
        namespace: Option<Node<'r>>,
        universal: Option<Node<'r>>,
        kind: Option<Node<'r>>,
    ) -> Cow<'r, str> {
        let mut read =
            |node: Option<Node<'r>>| node.and_then(|node| self.text(node)).unwrap_or_default();
        let (namespace, universal) = (read(namespace), read(universal));
        // The type only says what the id itself shows.
        read(kind);
        let mut known = self.authorities.iter();
        if let Some((.., system)) = known.find(|(n, u, _)| *n == namespace && *u == universal) {
            return system.clone();
        }
        let system = self.system_of_authority(&namespace, &universal);
        if let (Cow::Borrowed(namespace), Cow::Borrowed(universal)) = (namespace, universal)
            && self.authorities.len() < MOST_AUTHORITIES
        {
            self.authorities
                .push((namespace, universal, system.clone()));
        }
        system
    }

    fn system_of_authority(&self, namespace: &str, universal: &str) -> Cow<'r, str> {
        let known = |name: &str| {
            let table = self
                .plan
                .authorities
                .and_then(|table| self.plan.tables.get(table))?;
            find(table, name)?
                .first()
                .map(|target| Cow::Borrowed(target.code.as_str()))
        };
        for id in [universal, namespace] {
            if id.is_empty() {
                continue;
            }
            if let Some(system) = known(id) {
                return system;
            }
            let oid = id.strip_prefix("urn:oid:").unwrap_or(id);
            if is_oid(oid) {
                return Cow::Owned(["urn:oid:", oid].concat());
            }
            if is_uri(id) {
                return Cow::Owned(id.to_owned());
            }
            if let Ok(id) = uuid::Uuid::try_parse(id) {
                // In the one form that the URN has, whatever the sender writes (RFC 9562, section 4).
                return Cow::Owned(format!("urn:uuid:{id}"));
            }
        }
        if !universal.is_empty() {
            return Cow::Owned(self.local("authority", None, universal));
        }
        if namespace.is_empty() {
            // A number that nobody vouches for is the sender's own.
            return Cow::Owned(self.local("sender", None, &self.state.sender));
        }
        Cow::Owned(self.local("authority", None, namespace))
    }

    /// A URI for what only has a local name.
    fn local(&self, kind: &str, sender: Option<&str>, name: &str) -> String {
        let mut out = String::with_capacity(64);
        out.extend([self.context.base(), ":", kind]);
        for part in sender.into_iter().chain([name]) {
            out.push(':');
            if part.is_empty() {
                out.push_str("unknown");
            }
            urn_part(&mut out, part);
        }
        out
    }
}

/// The URI of a v2 table, or what table `CodingSystem` says of the name.
fn published<'p>(plan: &'p Plan, name: &str) -> Option<Cow<'p, str>> {
    if let Some(table) = v2_table(name) {
        return Some(Cow::Owned(format!("{V2_TABLES}{table:04}")));
    }
    let target = plan
        .coding_systems
        .and_then(|table| plan.tables.get(table))
        .and_then(|table| find(table, name))
        .and_then(|targets| targets.first())?;
    Some(Cow::Borrowed(target.code.as_str()))
}

/// By the URI of a coding system the codes that table `KnownCodes` lists for it.
pub(crate) fn known_codes(
    plan: &Plan,
    table: &Table,
) -> HashMap<String, HashSet<String, Spread>, Spread> {
    let mut known: HashMap<String, HashSet<String, Spread>, Spread> = HashMap::default();
    for group in table.groups() {
        for source in &group.source {
            let uri = published(plan, source).map_or_else(|| source.clone(), Cow::into_owned);
            known
                .entry(uri)
                .or_default()
                .extend(group.codes.keys().cloned());
        }
    }
    known
}

/// Whether a text has other white space than single blanks.
fn is_spaced(text: &str) -> bool {
    let mut before = 0;
    text.bytes().any(|byte| {
        let after = std::mem::replace(&mut before, byte) == b' ';
        matches!(byte, b'\n' | b'\t') || (byte == b' ' && after)
    })
}

/// What a table says of a code.
#[derive(Clone, Copy)]
enum Lookup<'t> {
    Targets(&'t [Target]),
    /// It is not listed, and such codes stay what they are, in this system.
    Same(&'t str),
    /// It is listed, and has no target.
    Alone,
    Missing,
}

impl<'t> Lookup<'t> {
    fn of(targets: Option<&'t [Target]>) -> Lookup<'t> {
        match targets {
            None => Lookup::Missing,
            Some([]) => Lookup::Alone,
            Some(targets) => Lookup::Targets(targets),
        }
    }
}

/// The targets of a code, whatever system it is of; none for a code that is listed without one.
pub(super) fn find<'t>(table: &'t Table, code: &str) -> Option<&'t [Target]> {
    table.groups().find_map(|group| find_in(group, code))
}

/// A code in lower case is found in upper case too.
fn find_in<'t>(group: &'t Table, code: &str) -> Option<&'t [Target]> {
    let targets = group.codes.get(code).or_else(|| {
        let lower = code.bytes().any(|byte| byte.is_ascii_lowercase());
        lower
            .then(|| group.codes.get(&code.to_ascii_uppercase()))
            .flatten()
    })?;
    Some(targets)
}

/// Where HL7 registers its v2 tables as OIDs.
const V2_OIDS: &str = "2.16.840.1.113883.12.";

/// 1 of `HL70001`, `HL7-0001`, `0001` and the table's OID.
fn v2_table(name: &str) -> Option<u16> {
    if let Some(number) = name.strip_prefix(V2_OIDS) {
        return number.parse().ok();
    }
    let number = name
        .strip_prefix("HL7")
        .map_or(name, |rest| rest.trim_start_matches(['-', ' ', '_']));
    let digits = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| number.parse().ok()).flatten()
}

/// Whether a coding system of a message is the one a table translates.
fn same_system(source: &str, system: &str) -> bool {
    source == system || matches!((v2_table(source), v2_table(system)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_tables_by_any_of_their_names() {
        assert_eq!(v2_table("HL70001"), Some(1));
        assert_eq!(v2_table("2.16.840.1.113883.12.78"), Some(78));
        assert_eq!(v2_table("0001"), Some(1));
        assert_eq!(v2_table("HL7-0203"), Some(203));
        assert_eq!(v2_table("LN"), None);
        assert!(
            same_system("HL70001", "0001")
                && !same_system("HL70001", "HL70002")
                && same_system("LN", "LN")
        );
    }

    #[test]
    fn the_keys_of_codings_are_r4s() {
        let r4 = fhir::definitions::r4();
        let (coding, concept) = (
            r4.type_("Coding").unwrap(),
            r4.type_("CodeableConcept").unwrap(),
        );
        let keys = names();
        for (type_id, key, name) in [
            (concept, keys.coding, "coding"),
            (concept, keys.text, "text"),
            (coding, keys.system, "system"),
            (coding, keys.code, "code"),
            (coding, keys.display, "display"),
        ] {
            let element = r4.element(type_id, name).unwrap();
            assert_eq!(
                (key.name, key.order),
                (element.name, element.order),
                "{name}"
            );
        }
    }
}
