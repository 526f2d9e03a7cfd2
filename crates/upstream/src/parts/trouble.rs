//! What follows when a part is refused: smaller parts, attachments moved, or a failure that says what is still to be sent.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use super::attachment::{self, Attachment};
use super::{Delivery, Part, pack};
use crate::answer::Summary;
use crate::bundle::{self, Resource};
use crate::failure::{Class, EntryFailure, Failure};
use crate::request::{Entry, Kind};

impl Delivery<'_> {
    /// A batch of which some entries failed: those that were refused for good do not hold up the others.
    pub(super) fn mixed(&mut self, mut failure: Failure, places: &[usize]) -> Result<(), Failure> {
        for entry in &mut failure.entries {
            entry.index = places.get(entry.index).copied().unwrap_or(entry.index);
        }
        let failed: BTreeSet<usize> = failure.entries.iter().map(|entry| entry.index).collect();
        for place in places.iter().filter(|place| !failed.contains(place)) {
            self.learn(
                *place,
                Entry {
                    status: 200,
                    ..Entry::default()
                },
            );
        }
        if failure
            .entries
            .iter()
            .any(|entry| entry.class.is_retryable())
        {
            return Err(failure);
        }
        self.refused.append(&mut failure.entries);
        Ok(())
    }

    /// Two smaller parts instead of one that is too large; `None` when the failure is another, or nothing can be cut.
    pub(super) fn smaller(
        &mut self,
        part: &Part,
        failure: &Failure,
    ) -> Result<Option<Vec<Part>>, Failure> {
        if failure.class != Class::TooLarge {
            return Ok(None);
        }
        let Part::Entries(places) = part else {
            return Ok(None);
        };
        let chosen: BTreeSet<usize> = places.iter().copied().collect();
        let groups: Vec<Vec<usize>> = bundle::components(&self.bundle.links())
            .into_iter()
            .map(|group| {
                group
                    .into_iter()
                    .filter(|one| chosen.contains(one))
                    .collect()
            })
            .filter(|group: &Vec<usize>| !group.is_empty())
            .collect();
        let size = |place: usize| self.bundle.entry.get(place).map_or(0, bundle::Entry::size);
        if let Some((first, second)) = pack::halves(&groups, size) {
            return Ok(Some(vec![Part::Entries(first), Part::Entries(second)]));
        }
        Ok(self
            .take_out(places)
            .map(|attachment| vec![Part::Attachment(attachment), Part::Entries(places.clone())]))
    }

    /// Takes the largest attachment out of entries that cannot be cut any more.
    fn take_out(&mut self, places: &[usize]) -> Option<Attachment> {
        let place = places
            .iter()
            .copied()
            .max_by_key(|place| self.bundle.entry.get(*place).map_or(0, bundle::Entry::size))?;
        let entry = self.bundle.entry.get_mut(place)?;
        let (attachment, rest) = attachment::take(&entry.resource.0, &entry.full_url)?;
        entry.resource = Resource(Cow::Owned(rest));
        // The body as it came no longer says what is to be sent.
        self.names
            .insert(attachment.full_url(), attachment.reference());
        Some(attachment)
    }

    /// A failure with what it needs for a decision: which part, or which entries of a batch are still to be sent.
    pub(super) fn explained(
        &mut self,
        failure: Failure,
        part: &Part,
        sent: usize,
        rest: &VecDeque<Part>,
    ) -> Failure {
        let failure = match (failure.class, part) {
            (Class::TooLarge, Part::Entries(places)) if failure.detail.is_empty() => {
                let text = match places.as_slice() {
                    [place] => {
                        format!("entry {place} alone is too large, and has no attachment to move")
                    }
                    _ => "entries that refer to each other in a circle cannot be cut".to_owned(),
                };
                failure.because(text)
            }
            _ => failure,
        };
        if sent == 0 && rest.is_empty() && self.refused.is_empty() {
            return failure;
        }
        let text = format!("part {} of {}", sent + 1, sent + 1 + rest.len());
        let failure = failure.because(text);
        self.incomplete(failure, part, rest)
    }

    /// For a batch: exactly what is still to be sent. A transaction is sent again from its first part.
    pub(super) fn incomplete(
        &self,
        failure: Failure,
        part: &Part,
        rest: &VecDeque<Part>,
    ) -> Failure {
        let is_batch = self.request.kind == Kind::Batch;
        if !is_batch || !(failure.class == Class::Mixed || failure.class.is_retryable()) {
            return failure;
        }
        let class = match failure.class {
            Class::Mixed => Class::Transient,
            class => class,
        };
        let mut entries = self.refused.clone();
        let known: BTreeSet<usize> = failure.entries.iter().map(|entry| entry.index).collect();
        let current = match (failure.class, part) {
            (Class::Mixed, _) => Vec::new(),
            (_, Part::Entries(places)) => places.clone(),
            _ => Vec::new(),
        };
        let unsent = rest.iter().flat_map(|part| match part {
            Part::Entries(places) => places.clone(),
            _ => Vec::new(),
        });
        entries.extend(
            current
                .into_iter()
                .chain(unsent)
                .filter(|place| !known.contains(place))
                .map(|index| EntryFailure {
                    index,
                    status: 0,
                    class,
                    summary: Summary::default(),
                }),
        );
        entries.extend(failure.entries.iter().cloned());
        entries.sort_by_key(|entry| entry.index);
        Failure {
            class: Class::Mixed,
            entries,
            ..failure
        }
    }
}
