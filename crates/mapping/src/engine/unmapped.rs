//! What nothing took: nothing in a message is dropped without being told.

use std::ops::Range;
use std::sync::Arc;

use hl7v2::{Node, Place, Segment, Version, definitions};

use super::Run;
use super::access::Here;
use crate::plan::{Access, Ignore, Root};
use crate::report::IgnoredCount;

/// Leaves that a map leaves out on purpose.
#[derive(Clone, Debug)]
pub(crate) struct Ignored {
    pub leaves: Range<usize>,
    /// Number in [`crate::plan::Plan::reasons`].
    pub why: u16,
}

impl<'r> Run<'r> {
    /// Notes what a map leaves out on purpose.
    pub(crate) fn note_ignored(&mut self, ignores: &'r [Ignore], here: &Here<'r>) {
        for ignore in ignores {
            if self.condition_holds(ignore.when.as_ref(), here) {
                let why = ignore.why;
                let noted = &mut self.state.ignored;
                ignored_leaves(ignore.access, here, |leaves| {
                    noted.push(Ignored { leaves, why });
                });
            }
        }
    }

    /// Counts what was left out on purpose, by reason.
    fn count_ignored(&mut self) {
        for Ignored { leaves, why } in std::mem::take(&mut self.state.ignored) {
            let open = |leaf: usize| !self.is_taken(leaf) && !self.message.leaf_is_empty(leaf);
            if !leaves.clone().any(open) {
                continue;
            }
            self.take(leaves);
            let Some(why) = self.plan.reasons.get(usize::from(why)) else {
                continue;
            };
            let counts = &mut self.state.report.ignored;
            match counts.iter_mut().find(|known| Arc::ptr_eq(&known.why, why)) {
                Some(known) => known.count += 1,
                None => counts.push(IgnoredCount {
                    why: Arc::clone(why),
                    count: 1,
                }),
            }
        }
    }

    /// Lists what is populated and not taken: a whole segment when nothing of it was, else a field, else a component.
    pub(crate) fn unmapped(&mut self) {
        self.count_ignored();
        for segment in self.message.segments() {
            let mut left = segment
                .leaves()
                .filter(|leaf| !self.is_taken(*leaf) && !self.message.leaf_is_empty(*leaf))
                .peekable();
            if left.peek().is_none() {
                continue;
            }
            let header = segment.id() == *b"MSH";
            let touched = segment.leaves().any(|leaf| self.is_taken(leaf));
            if !touched && !header {
                if !self.is_only_numbered(segment) {
                    self.report_unmapped(segment.place());
                }
                continue;
            }
            let mut places: Vec<Place> = Vec::new();
            for number in if header { 3 } else { 1 }..=segment.field_count() {
                let field = segment.field(number);
                let open =
                    |leaf: &usize| !self.is_taken(*leaf) && !self.message.leaf_is_empty(*leaf);
                if !field.leaves().any(|leaf| open(&leaf)) {
                    continue;
                }
                if !field.leaves().any(|leaf| self.is_taken(leaf)) {
                    places.push(field.place());
                    continue;
                }
                for repetition in field.repetitions() {
                    if repetition.leaves().any(|leaf| open(&leaf))
                        && !repetition.leaves().any(|leaf| self.is_taken(leaf))
                    {
                        places.push(repetition.place());
                        continue;
                    }
                    for component in 1..=repetition.child_count() {
                        let component = repetition.child(component);
                        if component.leaves().any(|leaf| open(&leaf)) {
                            places.push(component.place());
                        }
                    }
                }
            }
            for place in places {
                self.report_unmapped(place);
            }
        }
    }

    /// Whether nothing but its number (`PID|1`) is populated in a segment: it says nothing.
    fn is_only_numbered(&self, segment: Segment<'_>) -> bool {
        let first = definitions::for_version(Version::NEWEST)
            .segment(segment.name())
            .and_then(|known| known.field(1));
        first.is_some_and(|field| field.data_type == "SI")
            && (2..=segment.field_count()).all(|number| {
                segment
                    .field(number)
                    .leaves()
                    .all(|leaf| self.message.leaf_is_empty(leaf))
            })
    }

    pub(crate) fn is_taken(&self, leaf: usize) -> bool {
        self.state
            .taken
            .get(leaf / 64)
            .is_some_and(|word| word & (1 << (leaf % 64)) != 0)
            || self
                .state
                .trace
                .as_ref()
                .is_some_and(|trace| trace.is_taken(leaf))
    }

    fn report_unmapped(&mut self, place: Place) {
        let name = place.segment_name().to_owned();
        *self.state.report.unmapped_segments.entry(name).or_insert(0) += 1;
        self.state.report.unmapped.push(place);
    }
}

/// The leaves of an ignored place; of a field's component those of every repetition.
pub(crate) fn ignored_leaves<'r>(
    access: Access,
    here: &Here<'r>,
    mut each: impl FnMut(Range<usize>),
) {
    let part = |node: Node<'r>| match (access.component, access.subcomponent) {
        (0, _) => node,
        (component, 0) => node.child(usize::from(component)),
        (component, inner) => node.child(usize::from(component)).child(usize::from(inner)),
    };
    match access.root {
        Root::Current => {
            if let Some(node) = here.current {
                each(part(node).leaves());
            }
        }
        Root::Segment(name) if name == here.name => {
            let field = here.segment.field(usize::from(access.field));
            match (access.repetition, access.component) {
                (0, 0) => each(field.leaves()),
                (0, _) => field
                    .repetitions()
                    .for_each(|repetition| each(part(repetition).leaves())),
                (number, _) => each(part(field.repetition(usize::from(number))).leaves()),
            }
        }
        Root::Segment(_) => {}
    }
}
