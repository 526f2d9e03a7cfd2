//! What is made of codes and reference ranges is kept from message to message: a laboratory has a few hundred tests, and
//! each of its reports says the same codes, ranges and flags again.
//!
//! Kept is what a rule for a CodeableConcept or Coding makes, a rule that translates by a table or takes a range apart, when
//! all it reads are a few places of the message: no resource, no name of a message map. Equal bytes at those places give an equal element, and take the same leaves. It holds
//! for one sender, whose name is in the systems of its local codes, and for one way to divide a message; what had anything
//! to report is never kept.

use std::collections::HashMap;
use std::hash::Hasher;

use fhir::tree::{Fragment, NodeId};
use hl7v2::{Delimiters, Leaves};
use jiff::tz::TimeZone;

use super::access::Here;
use super::memo::Inputs;
use super::slot::{Emitted, Slot, settled};
use super::unmapped::Ignored;
use super::{Run, Spread, State};
use crate::plan::{Body, Field, OriginId, Plan, Rule, Select, Shape};

/// Most elements kept at a time. When they are too many, the values do not repeat, and all start anew.
const MOST: usize = 4096;
/// Longer values are texts rather than codes.
const LONGEST: usize = 512;
/// Most places that a kept rule reads.
const MOST_PLACES: usize = 4;

/// What was made.
#[derive(Default)]
pub(crate) struct Kept {
    made: HashMap<(OriginId, u64), Element, Spread>,
    valid_for: Option<ValidFor>,
    /// While an element is made, the ones inside it are part of it.
    pub inside: bool,
    /// The bytes at the places of the rule at work.
    bytes: Vec<u8>,
}

/// All that an element depends on beside its bytes and the package. Policies are set anew by [`State`].
#[derive(PartialEq)]
struct ValidFor {
    sender: String,
    base: String,
    zone: Option<TimeZone>,
    delimiters: Delimiters,
}

struct Element {
    bytes: Box<[u8]>,
    emitted: Emitted,
    fragment: Option<Fragment>,
    /// Leaves that were taken: of which place, and which leaf there.
    taken: Vec<(usize, usize)>,
    /// What was left out on purpose: of which place, which leaves there, and why.
    ignored: Vec<(usize, Ignored)>,
}

impl Kept {
    pub fn clear(&mut self) {
        self.made.clear();
    }
}

/// The inputs of every rule whose elements are kept, by its origin.
pub(crate) fn candidates(plan: &Plan) -> Vec<Option<Inputs>> {
    let mut found = Vec::new();
    found.resize_with(plan.origins.len(), || None);
    let maps = plan.maps.iter().map(|map| &map.fields);
    let entries = plan.messages.values().flat_map(|map| &map.entries);
    let sets = entries.flat_map(|entry| &entry.set).map(|set| &set.fields);
    for fields in maps.chain(sets) {
        of_fields(plan, fields, &mut found);
    }
    found
}

fn of_fields(plan: &Plan, fields: &[Field], found: &mut [Option<Inputs>]) {
    for field in fields {
        for rule in &field.rules {
            let inputs = Inputs::of(plan, rule);
            let repeats = match (&rule.body, field.shape) {
                (Body::Table(..), _) => true,
                (Body::Map(_) | Body::Object(_), Shape::CodeableConcept | Shape::Coding) => true,
                (Body::Object(_), _) => inputs.ranges,
                _ => false,
            };
            if repeats
                && !rule.constant
                && inputs.is_steady()
                && inputs.accesses.len() <= MOST_PLACES
                && let Some(place) = found.get_mut(rule.origin as usize)
            {
                *place = Some(inputs);
            }
            of_fields(plan, &rule.set, found);
            match &rule.body {
                Body::Object(fields) => of_fields(plan, fields, found),
                Body::Make(make) => of_fields(plan, &make.fields, found),
                _ => {}
            }
        }
    }
}

impl State {
    /// Forgets what was made for another sender.
    pub(crate) fn keep_for(&mut self, base: &str, zone: Option<&TimeZone>, delimiters: Delimiters) {
        let same = self.kept.valid_for.as_ref().is_some_and(|known| {
            known.sender == self.sender
                && known.base == base
                && known.zone.as_ref() == zone
                && known.delimiters == delimiters
        });
        if !same {
            self.kept.clear();
            self.kept.valid_for = Some(ValidFor {
                sender: self.sender.clone(),
                base: base.to_owned(),
                zone: zone.cloned(),
                delimiters,
            });
        }
    }
}

impl<'r> Run<'r> {
    /// What the rule depends on, if what it makes is kept.
    #[inline]
    pub(crate) fn inputs_of_kept(&self, rule: &Rule) -> Option<&'r Inputs> {
        self.plan.kept.get(rule.origin as usize)?.as_ref()
    }

    /// What the rule makes here: a copy of what it made of the same bytes before, else by `make`.
    #[inline(never)]
    pub(crate) fn kept(
        &mut self,
        slot: Slot,
        rule: &'r Rule,
        inputs: &'r Inputs,
        here: &Here<'r>,
        make: impl FnOnce(&mut Self) -> Emitted,
    ) -> Emitted {
        if self.plain.is_none() || self.state.kept.inside || matches!(slot, Slot::Into(_)) {
            return make(self);
        }
        let own = inputs.current || !matches!(rule.select, Select::Here);
        let mut places = [Leaves::NONE; MOST_PLACES + 1];
        let mut bytes = std::mem::take(&mut self.state.kept.bytes);
        bytes.clear();
        let (current, others) = places.split_at_mut(1);
        for (place, node) in current.iter_mut().zip(here.current.filter(|_| own)) {
            *place = node.run();
            self.note_bytes(node.run(), 1 + node.level() as u8, &mut bytes);
        }
        for (place, access) in others.iter_mut().zip(&inputs.accesses) {
            *place = self.leaves(*access, here);
            self.note_bytes(*place, 1, &mut bytes);
        }
        let emitted = if bytes.len() > LONGEST {
            make(self)
        } else {
            let mut hasher = Spread::default();
            hasher.write(&bytes);
            let key = (rule.origin, hasher.finish());
            match self.copy_kept(slot, key, &bytes, &places) {
                Some(emitted) => emitted,
                None => self.keep(slot, key, &bytes, &places, make),
            }
        };
        self.state.kept.bytes = bytes;
        emitted
    }

    /// The bytes of a place, behind a byte that is below a blank, which no delimiter is: what is absent has only that.
    #[inline]
    fn note_bytes(&self, place: Leaves, mark: u8, bytes: &mut Vec<u8>) {
        if self.message.is_present(place) {
            bytes.push(mark);
            bytes.extend_from_slice(self.message.raw(place));
        } else {
            bytes.push(0);
        }
    }

    fn copy_kept(
        &mut self,
        slot: Slot,
        key: (OriginId, u64),
        bytes: &[u8],
        places: &[Leaves],
    ) -> Option<Emitted> {
        let state = &mut *self.state;
        let known = state.kept.made.get(&key)?;
        if *known.bytes != *bytes {
            return None;
        }
        if let Some(fragment) = &known.fragment {
            match settled(&mut state.tree, slot) {
                Slot::Member(parent, key) => state.tree.graft(parent, key, fragment),
                Slot::Element(list) => state.tree.push_graft(list, fragment),
                // Neither comes here: the one is settled, the other is never kept.
                Slot::Append(node, _) | Slot::Into(node) => node,
            };
        }
        for (place, leaf) in &known.taken {
            if let Some(leaves) = places.get(*place) {
                let leaf = leaves.range().start + leaf;
                if let Some(word) = state.taken.get_mut(leaf / 64) {
                    *word |= 1 << (leaf % 64);
                }
            }
        }
        for (place, Ignored { leaves, why }) in &known.ignored {
            if let Some(place) = places.get(*place) {
                let start = place.range().start;
                let leaves = leaves.start + start..leaves.end + start;
                state.ignored.push(Ignored { leaves, why: *why });
            }
        }
        Some(known.emitted)
    }

    /// Makes the element, and keeps a copy if there was nothing to tell.
    fn keep(
        &mut self,
        slot: Slot,
        key: (OriginId, u64),
        bytes: &[u8],
        places: &[Leaves],
        make: impl FnOnce(&mut Self) -> Emitted,
    ) -> Emitted {
        let told = self.told();
        let since = self.state.tree.mark();
        let words = self.state.taken.len();
        let before = std::mem::replace(&mut self.state.taken, vec![0; words]);
        let ignored_before = self.state.ignored.len();
        self.state.kept.inside = true;
        let emitted = make(self);
        self.state.kept.inside = false;
        let mut taken = Vec::new();
        for (number, place) in places.iter().enumerate() {
            let start = place.range().start;
            let own = place.range().filter(|leaf| self.is_taken(*leaf));
            taken.extend(own.map(|leaf| (number, leaf - start)));
        }
        let new = self.state.ignored.get(ignored_before..).unwrap_or_default();
        let ignored = new.iter().filter_map(|one| within(one, places)).collect();
        for (now, before) in self.state.taken.iter_mut().zip(before) {
            *now |= before;
        }
        if self.told() != told {
            return emitted;
        }
        let fragment = match emitted {
            Emitted::Nothing => None,
            _ => {
                let made = self.made_in(slot);
                let made = made.filter(|node| self.state.tree.is_added(*node, since));
                let Some(fragment) = made.and_then(|node| self.state.tree.fragment(node)) else {
                    return emitted;
                };
                Some(fragment)
            }
        };
        if self.state.kept.made.len() >= MOST {
            self.state.kept.clear();
        }
        let element = Element {
            bytes: bytes.into(),
            emitted,
            fragment,
            taken,
            ignored,
        };
        self.state.kept.made.insert(key, element);
        emitted
    }

    /// How much there is in the report and beside it.
    fn told(&self) -> (usize, usize, usize, usize, bool) {
        let report = &self.state.report;
        (
            report.issues.len(),
            report.code_misses.len(),
            report.deleted.len(),
            self.translated.get(),
            self.state.parked || self.state.failed.is_some(),
        )
    }

    /// The latest element in the slot.
    pub(crate) fn made_in(&self, slot: Slot) -> Option<NodeId> {
        let tree = &self.state.tree;
        let last = |list: NodeId| tree.children(list).last().map(|(_, node)| node);
        match slot {
            Slot::Member(parent, key) => {
                let named = tree.children(parent).filter(|(name, _)| *name == key.name);
                named.last().map(|(_, node)| node)
            }
            Slot::Element(list) => last(list),
            Slot::Append(parent, key) => tree.get(parent, key.name).and_then(last),
            Slot::Into(node) => Some(node),
        }
    }
}

/// The place that ignored leaves are in, and the leaves counted from its first.
fn within(one: &Ignored, places: &[Leaves]) -> Option<(usize, Ignored)> {
    places.iter().enumerate().find_map(|(number, place)| {
        let own = place.range();
        let inside = one.leaves.start >= own.start && one.leaves.end <= own.end;
        let ignored = Ignored {
            leaves: one.leaves.start.checked_sub(own.start)?
                ..one.leaves.end.checked_sub(own.start)?,
            why: one.why,
        };
        inside.then_some((number, ignored))
    })
}
