//! Older messages never overwrite newer data: the decision for each resource of one message. The rule is in `newest`.

use std::cell::RefCell;

use fhir::{
    NameId,
    bundle::{Entry, Write},
    tree::Tree,
};
use hl7v2::Message;
use jiff::tz::TimeZone;
use queue::Lease;

use crate::{
    config::{
        Destination,
        destination::{Address, Ids, Stale},
    },
    newest::{Newest, ResourceKey, SourceTime, event_time, release_time},
};

/// Resources that are about the message itself: each message has its own.
const OF_THE_MESSAGE: [&str; 3] = ["MessageHeader", "Provenance", "OperationOutcome"];

/// Decides for one message.
pub(super) struct Judge<'a> {
    newest: &'a Newest,
    destination: &'a Destination,
    zone: Option<&'a TimeZone>,
    received_ms: i64,
    forced: bool,
    judged: RefCell<Judged>,
}

/// What was decided.
#[derive(Default)]
pub(super) struct Judged {
    /// What is to be remembered once it is delivered.
    pub(super) times: Vec<(ResourceKey, SourceTime)>,
    /// Types of the resources that are left as they are.
    pub(super) older: Vec<String>,
    /// Whether nothing is left to be sent.
    pub(super) nothing: bool,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        newest: &'a Newest,
        destination: &'a Destination,
        lease: &Lease,
        zone: Option<&'a TimeZone>,
    ) -> Self {
        Self {
            newest,
            destination,
            zone,
            received_ms: lease.received_at_ms,
            forced: newest.is_forced(lease.record)
                || lease
                    .replay_of
                    .is_some_and(|record| newest.is_forced(record)),
            judged: RefCell::default(),
        }
    }

    /// Leaves alone what is newer at the destination.
    pub(super) fn decide(&self, message: &Message<'_>, tree: &Tree, entries: &mut [Entry<'_>]) {
        // An exchange keeps no state that could be overwritten.
        let is_exchange = matches!(self.destination.address, Address::Exchange(_));
        if self.destination.writing.stale == Stale::Overwrite || is_exchange {
            return;
        }
        // Without a time nothing can be said of a message.
        let Some(event) = event_time(message, self.zone, self.received_ms) else {
            return;
        };
        let mut judged = self.judged.borrow_mut();
        let issued = NameId::of("issued");
        for entry in &mut *entries {
            if entry.write != Write::Update || OF_THE_MESSAGE.contains(&entry.type_name) {
                continue;
            }
            let released = issued
                .and_then(|name| tree.get(entry.resource, name))
                .and_then(|issued| release_time(tree.text(issued)));
            let time = SourceTime::new(event, released);
            let key = ResourceKey::new(&self.destination.name, entry.type_name, entry.uuid);
            let delivered = self.newest.get(key);
            if !self.forced && delivered.is_some_and(|delivered| time.is_older_than(&delivered)) {
                judged.older.push(entry.type_name.to_owned());
                // By identifier it is made should it be gone; by id it was there, and is referred to by that.
                entry.write = match (self.destination.ids, entry.condition) {
                    (Ids::Conditional, Some(_)) => Write::Create,
                    _ => Write::Leave,
                };
            } else {
                judged.times.push((key, time));
            }
        }
        judged.nothing =
            !entries.is_empty() && entries.iter().all(|entry| entry.write == Write::Leave);
    }

    pub(super) fn into_judged(self) -> Judged {
        self.judged.into_inner()
    }
}

impl Judged {
    /// For the record's history: how many resources were left as they are, and of which types.
    pub(super) fn told(&self) -> Option<String> {
        if self.older.is_empty() {
            return None;
        }
        let mut types = self.older.clone();
        types.sort_unstable();
        types.dedup();
        Some(format!(
            "{} older than what is there and left as they are: {}",
            self.older.len(),
            types.join(", ")
        ))
    }
}
