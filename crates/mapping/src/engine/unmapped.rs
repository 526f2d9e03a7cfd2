//! What nothing took: nothing in a message is dropped without being told.

use hl7v2::Place;

use super::Run;
use super::access::Here;
use crate::plan::Ignore;

impl<'r> Run<'r> {
    /// Fields that a map ignores on purpose.
    pub(crate) fn take_ignored(&mut self, fields: &'r [Ignore], here: &Here<'r>) {
        for ignore in fields {
            let own = here.segment.id() == ignore.segment;
            if own && self.condition_holds(ignore.when.as_ref(), here) {
                let leaves = here.segment.field(usize::from(ignore.field)).leaves();
                self.take(leaves);
            }
        }
    }

    /// Lists what is populated and not taken: a whole segment when nothing of it was, else a field, else a component.
    pub(crate) fn unmapped(&mut self) {
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
                self.report_unmapped(segment.place());
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
