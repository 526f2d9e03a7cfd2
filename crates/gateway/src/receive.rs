//! The way in: what a listener got becomes a stored record and an acknowledgement.
//!
//! One promise is kept here: a positive ACK exists only after the queue says the message is durable. Every
//! other way out of [`Receiver::receive`] is a negative answer, a stored ACK given again, or silence.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use queue::{Appended, Queue};

mod ack;
mod fault;
mod hand;
mod hash;
mod key;
mod plan;
#[cfg(test)]
mod tests;

pub use fault::Fault;
pub use hand::{NotTaken, Receivers, Taken};
pub(crate) use hash::sha256;

use ack::Acknowledger;
pub(crate) use key::sender;
use plan::{Arrival, Member, Planner};
pub(crate) use plan::{CONTROL_ID, MESSAGE_TYPE, SENDER, parse_options};

use crate::{config::Listener, events::ListenerEvents, routes::Routes};

/// Takes what one listener got, whatever carried it.
pub struct Receiver {
    planner: Planner,
    acknowledger: Acknowledger,
    queue: Arc<dyn Queue>,
    events: Arc<ListenerEvents>,
}

/// What goes back to the sender.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The ACK message; `None` where the message asks for none or the profile says to close.
    pub ack: Option<Bytes>,
    /// The application ACK of enhanced mode, which follows the accept ACK in a frame of its own.
    pub later: Option<Bytes>,
    /// What became of what was received.
    pub result: Received,
}

/// What became of what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Durable, now or before.
    Stored,
    /// Not stored: the same bytes may be accepted later.
    Retryable,
    /// Not stored: the same bytes will never be accepted.
    Unusable,
}

impl Receiver {
    /// A receiver for `listener`.
    pub fn new(
        listener: &Listener,
        routes: Routes,
        queue: Arc<dyn Queue>,
        events: Arc<ListenerEvents>,
    ) -> Self {
        let acknowledger = Acknowledger::new(&listener.content.ack);
        Self {
            planner: Planner::new(listener, routes),
            acknowledger,
            queue,
            events,
        }
    }

    /// Stores what came in, then says what to answer. All messages of a batch are stored or none. `names` are those
    /// that the sender proved to have.
    pub async fn receive(&self, payload: Bytes, received_at: SystemTime, names: &[&str]) -> Answer {
        let arrival = Arrival {
            payload: &payload,
            received_at_ms: unix_millis(received_at),
            names,
        };
        let mut members = self
            .planner
            .plan(&arrival, &self.acknowledger, &self.events);
        match self.store(&mut members).await {
            Ok(()) => self.acknowledger.answer(&payload, &members, &self.events),
            Err(fault) => self.refuse(&payload, fault),
        }
    }

    /// Answers what must not be stored: it was cut off, is too large, or the queue did not take it.
    pub fn refuse(&self, payload: &[u8], fault: Fault) -> Answer {
        let (ack, label) = self.acknowledger.refuse(payload, fault);
        self.events.acknowledged(label);
        Answer {
            ack,
            later: None,
            result: fault.result(),
        }
    }

    /// Makes the usable members durable, in one step, and notes what the queue said about each.
    async fn store(&self, members: &mut [Member]) -> Result<(), Fault> {
        let batch: Vec<_> = members.iter_mut().filter_map(Member::take_record).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let appended = self.queue.append(batch).await.map_err(|error| {
            self.events.store_failed(&error);
            Fault::of_queue(&error)
        })?;
        for (member, appended) in members
            .iter_mut()
            .filter(|member| member.is_usable())
            .zip(appended)
        {
            self.report(member, &appended);
            member.note(appended);
        }
        Ok(())
    }

    fn report(&self, member: &Member, appended: &Appended) {
        match appended {
            Appended::Stored(record) => self.events.stored(*record, member.route()),
            Appended::Duplicate { of, .. } => self.events.duplicate(*of),
            Appended::Conflict { of, stored } => {
                self.events.control_id_reused(*of, stored.is_some())
            }
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("ack_bytes", &self.ack.as_ref().map(Bytes::len))
            .field("later_bytes", &self.later.as_ref().map(Bytes::len))
            .field("result", &self.result)
            .finish()
    }
}

/// Milliseconds since 1970 UTC.
pub(crate) fn unix_millis(time: SystemTime) -> i64 {
    let millis = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    i64::try_from(millis).unwrap_or(i64::MAX)
}
