//! What a person brings: messages from a file, and corrected ones. They take the way of all messages: parsed,
//! routed, recognised when they were there before.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use queue::{Appended, NewRecord, QueueError, RecordId};
use serde::Serialize;

use super::{
    Fault, Receiver,
    plan::{Arrival, CONTROL_ID, Plan},
};

/// The receivers of all listeners, by name.
#[derive(Clone, Default)]
pub struct Receivers(Arc<BTreeMap<String, Arc<Receiver>>>);

/// What became of one message that was brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// MSH-10.
    pub control_id: Option<String>,
    /// `stored`, `duplicate`, `conflict` (stored, with the control id of another message) or `refused`.
    pub outcome: &'static str,
    /// Its record, or the one that has it already.
    pub record: Option<RecordId>,
    /// The route that took it.
    pub route: Option<String>,
    /// Why it was refused. Nothing of the message.
    pub why: Option<&'static str>,
}

/// Why a corrected message is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// It cannot be used.
    #[error("the message cannot be used: {0}")]
    Unusable(&'static str),
    /// It is not one message.
    #[error("there must be exactly one message, here are {0}")]
    Count(usize),
    /// No route takes it any more.
    #[error("no route takes the message as it is now: name a destination with --to")]
    Unrouted,
    /// The queue says no.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

// === impl Receivers ===

impl Receivers {
    /// Receivers by the name of their listener.
    pub fn new(receivers: BTreeMap<String, Arc<Receiver>>) -> Self {
        Self(Arc::new(receivers))
    }

    /// The receiver of a listener; without a name, of the only one there is.
    ///
    /// # Errors
    /// A sentence with the names that exist.
    pub fn find(&self, name: Option<&str>) -> Result<&Receiver, String> {
        let mut all = self.0.iter();
        let known = || self.0.keys().cloned().collect::<Vec<_>>().join(", ");
        match (name, all.next(), all.next()) {
            (Some(name), ..) => self
                .0
                .get(name)
                .map(Arc::as_ref)
                .ok_or_else(|| format!("there is no listener `{name}`; known: {}", known())),
            (None, Some((_, only)), None) => Ok(only),
            (None, ..) => Err(format!("name a listener with --listener: {}", known())),
        }
    }
}

// === impl Receiver ===

impl Receiver {
    /// Takes messages as if they had just come in. All messages of a batch are stored or none.
    pub async fn import(&self, payload: Bytes, received_at_ms: i64) -> Vec<Taken> {
        let names = self.planner.trusted();
        let arrival = Arrival {
            payload: &payload,
            received_at_ms,
            names: &names,
        };
        let mut members = self
            .planner
            .plan(&arrival, &self.acknowledger, &self.events);
        let control_ids: Vec<Option<String>> = members
            .iter()
            .map(|member| match &member.plan {
                Plan::Store {
                    record: Some(record),
                    ..
                } => record.attributes.get(CONTROL_ID).cloned(),
                _ => None,
            })
            .collect();
        let failed = self.store(&mut members).await.err();
        members
            .iter()
            .zip(control_ids)
            .map(|(member, control_id)| taken(&member.plan, control_id, failed))
            .collect()
    }

    /// Stores what a person made of the record `original`; `to` overrules the destinations of its route. Done twice
    /// with the same bytes, it is done once.
    ///
    /// # Errors
    /// [`NotTaken`]; then nothing is stored.
    pub async fn correct(
        &self,
        original: RecordId,
        payload: Bytes,
        received_at_ms: i64,
        to: Vec<String>,
    ) -> Result<RecordId, NotTaken> {
        for made in self.queue.show(original).await?.edited_as {
            if self.queue.payload(made).await? == payload {
                return Ok(made);
            }
        }
        let names = self.planner.trusted();
        let arrival = Arrival {
            payload: &payload,
            received_at_ms,
            names: &names,
        };
        let mut members = self
            .planner
            .plan(&arrival, &self.acknowledger, &self.events);
        let [member] = members.as_mut_slice() else {
            return Err(NotTaken::Count(members.len()));
        };
        let record = member.take_record();
        if let Plan::Refuse(fault) = member.plan {
            return Err(NotTaken::Unusable(fault.text()));
        }
        let mut record = NewRecord {
            edit_of: Some(original),
            // It has the control id of its original, and is another message all the same.
            dedup_key: None,
            ..record.unwrap_or_default()
        };
        if !to.is_empty() {
            record.destinations = to;
        }
        if record.destinations.is_empty() {
            return Err(NotTaken::Unrouted);
        }
        match self.queue.append(vec![record]).await?.pop() {
            Some(Appended::Stored(record)) => Ok(record),
            _ => Err(NotTaken::Unusable("the queue did not store it")),
        }
    }
}

fn taken(plan: &Plan, control_id: Option<String>, failed: Option<Fault>) -> Taken {
    let refused = |fault: Fault| Taken {
        control_id: control_id.clone(),
        outcome: "refused",
        record: None,
        route: None,
        why: Some(fault.text()),
    };
    let (route, appended) = match (plan, failed) {
        (Plan::Refuse(fault), _) => return refused(*fault),
        (Plan::Store { .. }, Some(fault)) => return refused(fault),
        (
            Plan::Store {
                route, appended, ..
            },
            None,
        ) => (route, appended),
    };
    let (outcome, record) = match appended {
        Some(Appended::Stored(record)) => ("stored", Some(*record)),
        Some(Appended::Duplicate { of, .. }) => ("duplicate", Some(*of)),
        Some(Appended::Conflict { stored, .. }) => ("conflict", *stored),
        None => return refused(Fault::Storage),
    };
    Taken {
        control_id,
        outcome,
        record,
        route: Some(route.clone()),
        why: None,
    }
}
