//! Rules at work: each puts its result into a slot, and says whether there was one.

use hl7v2::{Leaves, Node};

use super::access::Here;
use super::slot::{Emitted, Slot, Source};
use super::{Made, Run, merge};
use crate::compile::lower::is_verbatim;
use crate::plan::{
    Access, Body, Condition, Field, Identity, Makes, MapId, OriginId, Piece, Rule, Select, Shape,
    WriteMode,
};
use crate::report::ReportCode;
use fhir::primitive::Primitive;
use fhir::tree::{Kind, NodeId};

impl<'r> Run<'r> {
    /// All fields of an object.
    pub(crate) fn fields(
        &mut self,
        parent: NodeId,
        fields: &'r [Field],
        here: &Here<'r>,
    ) -> Emitted {
        let mut emitted = Emitted::Nothing;
        for field in fields {
            if self.may_have_needs(&field.needs, here) {
                emitted = emitted.max(match field.place {
                    Some(place) if self.state.trace.is_none() => {
                        self.place_field(parent, field, place, here)
                    }
                    _ => self.field(parent, field, here),
                });
            }
        }
        emitted
    }

    /// A field that is the text of one place, which most are.
    fn place_field(
        &mut self,
        parent: NodeId,
        field: &'r Field,
        (access, primitive, origin): (Access, Primitive, OriginId),
        here: &Here<'r>,
    ) -> Emitted {
        if self.state.tree.find(parent, field.key).0.is_some() {
            return self.field(parent, field, here);
        }
        if !self.step(origin) {
            return Emitted::Nothing;
        }
        let slot = Slot::Member(parent, field.key);
        self.place(access, slot, Shape::Primitive(primitive), here, origin)
    }

    fn field(&mut self, parent: NodeId, field: &'r Field, here: &Here<'r>) -> Emitted {
        if field.array {
            return self.list(parent, field, here);
        }
        let mut rules = field.rules.iter();
        // A second choice is reported for what it would have said, so its rules are asked one by one.
        let first = match field.choice {
            true => None,
            false => match rules.find(|rule| self.has_needs_in(field, &rule.needs, here)) {
                None => return Emitted::Nothing,
                found => found,
            },
        };
        let (there, other) = self.state.tree.find(parent, field.key);
        let slot = match there {
            None => Slot::Member(parent, field.key),
            Some(_) if field.replace => Slot::Member(parent, field.key),
            // An object is added to; of texts the first stays.
            Some(node) if self.state.tree.kind(node) == Kind::Object => Slot::Into(node),
            Some(_) => return Emitted::Nothing,
        };
        if field.choice && other {
            self.second_choice(parent, field, here);
            return Emitted::Nothing;
        }
        let mut next = first;
        loop {
            let Some(rule) = next.or_else(|| rules.find(|rule| self.has_needs(&rule.needs, here)))
            else {
                return Emitted::Nothing;
            };
            next = None;
            let emitted = self.rule(slot, field.shape, rule, here);
            if emitted != Emitted::Nothing {
                if let (Some(old), Slot::Member(..)) = (there, slot) {
                    self.state.tree.remove(parent, old);
                }
                if field.shape == Shape::Period {
                    self.keep_in_order(parent, field, rule.origin);
                }
                return emitted;
            }
        }
    }

    /// An element that repeats: each of its rules adds to it.
    fn list(&mut self, parent: NodeId, field: &'r Field, here: &Here<'r>) -> Emitted {
        let mut emitted = Emitted::Nothing;
        let slot = Slot::Append(parent, field.key);
        let before = self.state.tree.mark();
        for rule in &field.rules {
            if self.has_needs_in(field, &rule.needs, here) {
                emitted = emitted.max(self.rule(slot, field.shape, rule, here));
            }
        }
        if field.distinct
            && emitted != Emitted::Nothing
            && let Some(list) = self.state.tree.get(parent, field.key.name)
        {
            merge::distinct(&mut self.state.tree, list, before);
        }
        emitted
    }

    /// Another variant of the choice is there: tells what this one would have said.
    #[cold]
    fn second_choice(&mut self, parent: NodeId, field: &'r Field, here: &Here<'r>) {
        let slot = Slot::Member(parent, field.key);
        for rule in &field.rules {
            if !rule.constant && self.would_apply(rule, here) {
                self.note(ReportCode::SecondChoice, None, rule.origin, slot);
            }
        }
    }

    /// A period that ends before it starts is a mistake of the sender: its end is left out, and told.
    fn keep_in_order(&mut self, parent: NodeId, field: &Field, origin: OriginId) {
        let Some(period) = self.state.tree.get(parent, field.key.name) else {
            return;
        };
        let tree = &self.state.tree;
        let part = |name: &str| {
            let node = tree.get(period, fhir::NameId::of(name)?)?;
            Some((node, tree.text(node)))
        };
        if let (Some((_, start)), Some((end, text))) = (part("start"), part("end"))
            && fhir::primitive::compare(start, text) == Some(std::cmp::Ordering::Greater)
        {
            self.state.tree.remove(period, end);
            let slot = Slot::Member(parent, field.key);
            self.note(ReportCode::BadValue, None, origin, slot);
        }
    }

    /// Whether a rule that may not write would have something to say.
    fn would_apply(&self, rule: &Rule, here: &Here<'r>) -> bool {
        let current = match rule.select {
            Select::Here => {
                let applies = self.condition_holds(rule.when.as_ref(), here);
                return applies && (rule.when.is_some() || self.has_value(&rule.body, here));
            }
            Select::From(access) | Select::Each(access) => self.node(access, here),
        };
        current.is_some_and(|node| {
            node.is_valued()
                && rule
                    .when
                    .as_ref()
                    .is_none_or(|when| self.holds(when, &here.at(node)))
        })
    }

    /// Whether a text reads a field that has a value.
    fn has_value(&self, body: &Body, here: &Here<'r>) -> bool {
        let is_valued = |access: &Access| self.message.is_valued(self.leaves(*access, here));
        match body {
            Body::Place(access) => is_valued(access),
            Body::Text(template) => template.pieces.iter().any(|piece| match piece {
                Piece::Value(access) => is_valued(access),
                _ => false,
            }),
            _ => false,
        }
    }

    pub(crate) fn rule(
        &mut self,
        slot: Slot,
        shape: Shape,
        rule: &'r Rule,
        here: &Here<'r>,
    ) -> Emitted {
        if !self.step(rule.origin) {
            return Emitted::Nothing;
        }
        match rule.select {
            Select::Here => self.once(slot, shape, rule, here),
            Select::From(access) => match self.node(access, here) {
                Some(node) if node.is_valued() => self.once(slot, shape, rule, &here.at(node)),
                Some(node) if node.is_null() => {
                    self.take_null(node);
                    Emitted::Nothing
                }
                _ => Emitted::Nothing,
            },
            Select::Each(access) => {
                let Some(node) = self.node(access, here) else {
                    return Emitted::Nothing;
                };
                let mut emitted = Emitted::Nothing;
                for repetition in node.repetitions() {
                    if repetition.is_null() {
                        self.take_null(repetition);
                    } else if repetition.is_valued() {
                        if !self.step(rule.origin) {
                            break;
                        }
                        emitted = emitted.max(self.once(slot, shape, rule, &here.at(repetition)));
                        if emitted != Emitted::Nothing && matches!(slot, Slot::Member(..)) {
                            break;
                        }
                    }
                }
                emitted
            }
        }
    }

    #[inline(always)]
    fn once(&mut self, slot: Slot, shape: Shape, rule: &'r Rule, here: &Here<'r>) -> Emitted {
        if self.state.trace.is_some() {
            return self.once_traced(slot, shape, rule, here);
        }
        if let Some(when) = &rule.when
            && !self.holds(when, here)
        {
            return Emitted::Nothing;
        }
        let emitted = match self.inputs_of_kept(rule) {
            Some(inputs) => self.kept(slot, rule, inputs, here, |run| {
                run.body(slot, shape, rule, here)
            }),
            None => self.body(slot, shape, rule, here),
        };
        if emitted != Emitted::Nothing
            && let Some(when) = &rule.when
        {
            self.take_condition(when, here);
        }
        emitted
    }

    #[inline]
    pub(crate) fn body(
        &mut self,
        slot: Slot,
        shape: Shape,
        rule: &'r Rule,
        here: &Here<'r>,
    ) -> Emitted {
        self.body_of(&rule.body, slot, shape, rule, here)
    }

    /// `body` is the rule's, or what a fixed one is made by.
    fn body_of(
        &mut self,
        body: &'r Body,
        slot: Slot,
        shape: Shape,
        rule: &'r Rule,
        here: &Here<'r>,
    ) -> Emitted {
        let origin = rule.origin;
        match body {
            Body::Place(access) => self.place(*access, slot, shape, here, origin),
            Body::Fixed(fixed) => match self.settle(slot) {
                Slot::Member(parent, key) => {
                    self.state.tree.graft(parent, key, &fixed.fragment);
                    Emitted::Constant
                }
                Slot::Element(list) => {
                    self.state.tree.push_graft(list, &fixed.fragment);
                    Emitted::Constant
                }
                Slot::Into(_) | Slot::Append(..) => {
                    self.body_of(&fixed.otherwise, slot, shape, rule, here)
                }
            },
            Body::Value => match (shape, here.current) {
                (Shape::Primitive(primitive), Some(node)) => match self.text(node) {
                    Some(text)
                        if self.put_primitive(
                            slot,
                            primitive,
                            &text,
                            Source::Node(node),
                            origin,
                        ) =>
                    {
                        Emitted::Data
                    }
                    _ => Emitted::Nothing,
                },
                (Shape::Coding, Some(node)) => self.plain_coding(slot, node, origin),
                (Shape::CodeableConcept, Some(node)) => self.plain_concept(slot, node, origin),
                _ => Emitted::Nothing,
            },
            Body::Text(template) => self.put_template(slot, shape, template, rule, here),
            Body::Texts(templates) => {
                let mut emitted = Emitted::Nothing;
                for template in templates {
                    emitted = emitted.max(self.put_template(slot, shape, template, rule, here));
                    if emitted != Emitted::Nothing && matches!(slot, Slot::Member(..)) {
                        break;
                    }
                }
                emitted
            }
            Body::Object(fields) => self.object(slot, fields, &[], rule.constant, here, origin),
            Body::Map(map) => match self.plan.maps.get(*map).map(|map| &map.makes) {
                Some(Makes::Resource(_)) => {
                    let resource = self.remembered(rule, here, |run| {
                        run.deeper(|run| run.map_resource(*map, &rule.set, here, origin))
                    });
                    self.put_resource(slot, shape, resource, origin)
                }
                _ => self.map(slot, shape, *map, &rule.set, here, origin),
            },
            Body::Table(table, miss, base) => {
                let emitted = self.table(slot, shape, *table, *miss, *base, here, origin);
                if emitted != Emitted::Nothing && !rule.set.is_empty() {
                    self.set_last(slot, &rule.set, here);
                }
                emitted
            }
            Body::Ref(name) => match self.bound(*name) {
                Some(resource) => self
                    .put_reference(slot, shape, resource, origin)
                    .min(Emitted::Linked),
                None => Emitted::Nothing,
            },
            Body::Called(name, key) => match self.called(*name, key, here) {
                Some(resource) => {
                    self.take_key(key, here);
                    self.put_reference(slot, shape, resource, origin)
                        .min(Emitted::Linked)
                }
                None => Emitted::Nothing,
            },
            Body::Make(make) => {
                let contents = Contents {
                    fields: &make.fields,
                    set: &[],
                };
                let resource = self.remembered(rule, here, |run| {
                    let key = make.key.as_ref();
                    run.resource(make.type_name, key, make.write, contents, here, origin)
                });
                self.put_resource(slot, shape, resource, origin)
            }
        }
    }

    /// The text of one place.
    #[inline]
    fn place(
        &mut self,
        access: Access,
        slot: Slot,
        shape: Shape,
        here: &Here<'r>,
        origin: OriginId,
    ) -> Emitted {
        let Shape::Primitive(primitive) = shape else {
            return Emitted::Nothing;
        };
        let Some(text) = self.text_at(access, here) else {
            return Emitted::Nothing;
        };
        if self.put_primitive(slot, primitive, &text, Source::Path(access, here), origin) {
            Emitted::Data
        } else {
            Emitted::Nothing
        }
    }

    fn put_resource(
        &mut self,
        slot: Slot,
        shape: Shape,
        resource: Option<u32>,
        origin: OriginId,
    ) -> Emitted {
        match resource {
            Some(resource) => self.put_reference(slot, shape, resource, origin),
            None => Emitted::Nothing,
        }
    }

    /// The resource that a map makes of the current value.
    fn map_resource(
        &mut self,
        map: MapId,
        set: &'r [Field],
        here: &Here<'r>,
        origin: OriginId,
    ) -> Option<u32> {
        let map = self.plan.maps.get(map)?;
        let Makes::Resource(type_name) = &map.makes else {
            return None;
        };
        if self.too_deep(origin) || !self.condition_holds(map.when.as_ref(), here) {
            return None;
        }
        let contents = Contents {
            fields: &map.fields,
            set,
        };
        let key = map.key.as_ref();
        let resource = self.resource(type_name, key, map.write, contents, here, origin)?;
        if let Some(when) = &map.when {
            self.take_condition(when, here);
        }
        self.note_ignored(&map.ignore, here);
        Some(resource)
    }

    fn put_template(
        &mut self,
        slot: Slot,
        shape: Shape,
        template: &'r crate::plan::Template,
        rule: &Rule,
        here: &Here<'r>,
    ) -> Emitted {
        if let (true, Shape::Primitive(primitive), [Piece::Text(text)]) =
            (rule.constant, shape, template.pieces.as_slice())
            && is_verbatim(primitive)
            && !matches!(slot, Slot::Into(_))
        {
            // It was checked with the package.
            self.put_string(slot, text, rule.origin);
            return Emitted::Constant;
        }
        let Shape::Primitive(primitive) = shape else {
            return Emitted::Nothing;
        };
        let mut scratch = std::mem::take(&mut self.state.scratch);
        scratch.clear();
        let made = match self.render(template, here, &mut scratch) {
            Some(rendered) => {
                let text = rendered.text.as_deref().unwrap_or(&scratch);
                self.put_primitive(slot, primitive, text, rendered.source, rule.origin)
            }
            None => false,
        };
        self.state.scratch = scratch;
        match made {
            false => Emitted::Nothing,
            true if rule.constant => Emitted::Constant,
            true => Emitted::Data,
        }
    }

    /// An object of its own, or more of one that is there.
    fn object(
        &mut self,
        slot: Slot,
        fields: &'r [Field],
        set: &'r [Field],
        constant: bool,
        here: &Here<'r>,
        origin: OriginId,
    ) -> Emitted {
        if self.too_deep(origin) {
            return Emitted::Nothing;
        }
        let node = self.open(slot, origin);
        let emitted = self.deeper(|run| run.fields(node, fields, here));
        if emitted >= Emitted::Linked || (constant && emitted == Emitted::Constant) {
            let emitted = emitted.max(self.deeper(|run| run.fields(node, set, here)));
            if !self.reversed(node, here, origin, slot) || !self.state.tree.is_empty(node) {
                return emitted;
            }
        }
        self.close_empty(slot, node);
        Emitted::Nothing
    }

    /// Applies a map to the current value.
    pub(crate) fn map(
        &mut self,
        slot: Slot,
        shape: Shape,
        map: MapId,
        set: &'r [Field],
        here: &Here<'r>,
        origin: OriginId,
    ) -> Emitted {
        let Some(map) = self.plan.maps.get(map) else {
            return Emitted::Nothing;
        };
        if self.too_deep(origin) || !self.step(map.origin) {
            return Emitted::Nothing;
        }
        if let Some(when) = &map.when
            && !self.holds(when, here)
        {
            return Emitted::Nothing;
        }
        let emitted = self.deeper(|run| match &map.makes {
            // A rule makes those itself, see `body`; from a table there is none.
            Makes::Resource(_) => Emitted::Nothing,
            Makes::Complex => run.object(slot, &map.fields, set, false, here, origin),
            Makes::Primitive => {
                let mut emitted = Emitted::Nothing;
                for rule in &map.result {
                    emitted = run.rule(slot, shape, rule, here);
                    if emitted != Emitted::Nothing {
                        break;
                    }
                }
                emitted
            }
        });
        if emitted != Emitted::Nothing {
            if let Some(when) = &map.when {
                self.take_condition(when, here);
            }
            self.note_ignored(&map.ignore, here);
        }
        emitted
    }

    /// One map or object further in.
    #[inline]
    pub(crate) fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> T {
        let outside = self.depth;
        self.depth = outside.saturating_add(1);
        let made = inside(self);
        self.depth = outside;
        made
    }

    /// `set:` beside `table:` goes to the object that was just made.
    fn set_last(&mut self, slot: Slot, set: &'r [Field], here: &Here<'r>) {
        let made = self.made_in(slot);
        if let Some(node) = made {
            self.deeper(|run| run.fields(node, set, here));
        }
    }

    /// Makes a resource, or adds to the one of the same identity; nothing when no field of it has a value.
    pub(crate) fn resource(
        &mut self,
        type_name: &'static str,
        key: Option<&'r Identity>,
        write: WriteMode,
        contents: Contents<'r>,
        here: &Here<'r>,
        origin: OriginId,
    ) -> Option<u32> {
        let identified = self.identify(type_name, key, here);
        if let Some(known) = self.state.by_identity.get(&identified.uuid).copied() {
            self.trace_key(known, key, here, origin);
            return self.add_to(known, contents, here, origin);
        }
        if self.state.under_way.contains(&identified.uuid) {
            // No resource refers to itself: a ward that is its own building has none.
            return None;
        }
        let number = u32::try_from(self.state.made.len()).ok()?;
        let node = self.state.tree.object();
        self.state.tree.set_origin(node, origin);
        let type_key = fhir::tree::Key {
            name: fhir::NameId::RESOURCE_TYPE,
            order: 0,
        };
        self.state.tree.add_string(node, type_key, type_name);
        self.state.made.push(Made {
            node,
            type_name,
            uuid: identified.uuid,
            write,
            condition: identified.condition,
        });
        self.state.under_way.push(identified.uuid);
        let emitted = self.deeper(|run| run.fields(node, contents.fields, here));
        self.state.under_way.pop();
        if emitted != Emitted::Data {
            // Whatever it referred to would have been data; so it stands last.
            self.state.made.truncate(number as usize);
            return None;
        }
        self.state.by_identity.insert(identified.uuid, number);
        self.deeper(|run| run.fields(node, contents.set, here));
        self.ensure_identifier(number);
        self.trace_key(number, key, here, origin);
        Some(number)
    }

    fn add_to(
        &mut self,
        known: u32,
        contents: Contents<'r>,
        here: &Here<'r>,
        origin: OriginId,
    ) -> Option<u32> {
        let scratch = self.state.tree.object();
        self.state.tree.set_origin(scratch, origin);
        self.deeper(|run| {
            run.fields(scratch, contents.fields, here);
            run.fields(scratch, contents.set, here);
        });
        let there = self.state.made.get(known as usize)?.node;
        let since = self.trace_mark();
        merge::merge(&mut self.state.tree, there, scratch);
        self.trace_merge(there, scratch, since);
        Some(known)
    }

    /// Adds a map's elements to a resource made earlier.
    pub(crate) fn add_map(&mut self, resource: u32, map: MapId, here: &Here<'r>) {
        let (Some(map), Some(made)) = (
            self.plan.maps.get(map),
            self.state.made.get(resource as usize),
        ) else {
            return;
        };
        let node = made.node;
        if let Some(when) = &map.when {
            if !self.holds(when, here) {
                return;
            }
            self.take_condition(when, here);
        }
        self.fields(node, &map.fields, here);
    }

    // === what was used ===

    /// Marks leaves as taken by a rule.
    pub(crate) fn take(&mut self, leaves: std::ops::Range<usize>) {
        for leaf in leaves {
            self.take_leaf(leaf);
        }
    }

    #[inline]
    pub(crate) fn take_leaf(&mut self, leaf: usize) {
        if let Some(word) = self.state.taken.get_mut(leaf / 64) {
            *word |= 1 << (leaf % 64);
        }
    }

    #[inline]
    pub(crate) fn take_first(&mut self, node: Node<'r>) {
        let leaves = node.leaves();
        if !leaves.is_empty() {
            self.take_leaf(leaves.start);
        }
    }

    #[inline]
    pub(crate) fn take_first_of(&mut self, leaves: Leaves) {
        if !leaves.is_empty() {
            self.take_leaf(leaves.range().start);
        }
    }

    /// The sender asks to delete a value: it is never written, and told in the report.
    #[cold]
    pub(crate) fn take_null(&mut self, node: Node<'r>) {
        self.take(node.leaves());
        let place = node.place();
        // Several rules ask for the same field one after another.
        let mut latest = self.state.report.deleted.iter().rev().take(16);
        if !latest.any(|known| *known == place) {
            self.state.report.deleted.push(place);
        }
    }

    #[cold]
    pub(crate) fn odd_text(&mut self, node: Node<'r>) {
        let mut issues = Vec::new();
        node.text_with(&mut issues);
        for issue in issues {
            let mut latest = self.state.report.issues.iter().rev().take(16);
            let known =
                latest.any(|known| known.code == ReportCode::OddText && known.place == issue.place);
            if !known {
                self.state.report.issues.push(crate::report::ReportIssue {
                    code: ReportCode::OddText,
                    place: issue.place,
                    rule: self.package.rule(0),
                    element: "",
                });
            }
        }
    }

    pub(crate) fn condition_holds(&self, condition: Option<&Condition>, here: &Here<'r>) -> bool {
        condition.is_none_or(|condition| self.holds(condition, here))
    }
}

/// The rules of a resource: its own, and what the place that makes it sets.
#[derive(Clone, Copy)]
pub(crate) struct Contents<'r> {
    pub fields: &'r [Field],
    pub set: &'r [Field],
}
