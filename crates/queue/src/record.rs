//! What goes into the queue and what comes out: records, leases, outcomes.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Number of a record: grows by one per stored record and is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub i64);

/// Number of a lease. Leases live in the memory of one process: after a restart none is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// A record to append.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// The bytes to carry, kept exactly.
    pub payload: Bytes,
    /// When it arrived, milliseconds since 1970 UTC. Shown and filtered by; order never depends on it.
    pub received_at_ms: i64,
    /// Where it came in.
    pub listener: String,
    /// What decided where it goes.
    pub route: String,
    /// Records that share a key are delivered in the order of appending, per destination. None: no order;
    /// two: the record waits for the earlier ones of both keys and blocks the later ones of both.
    pub ordering_keys: Vec<String>,
    /// What makes a resent record the same one; `None` switches duplicate detection off for it.
    pub dedup_key: Option<String>,
    /// Hash of what must be equal for two records with one `dedup_key` to be the same.
    pub content_hash: [u8; 32],
    /// The acknowledgement that goes back for it, given again to a duplicate.
    pub ack: Option<Bytes>,
    /// Where it must go, each with its own position. Empty: accepted and filtered.
    pub destinations: Vec<String>,
    /// Facts to list and filter by, such as `message_type`. Not for patient data.
    pub attributes: BTreeMap<String, String>,
    /// It and what it has to wait for go before others, without breaking the order of a key.
    pub urgent: bool,
    /// The record that a person corrected to make this one.
    pub edit_of: Option<RecordId>,
}

/// What became of one appended record. Durable once returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Stored under this number.
    Stored(RecordId),
    /// The same key and the same content are already there; nothing was stored.
    Duplicate {
        /// The first of them.
        of: RecordId,
        /// Its acknowledgement, as given when it was appended.
        ack: Option<Bytes>,
    },
    /// The same key with other content was there before.
    Conflict {
        /// The record that has the key.
        of: RecordId,
        /// The new record, flagged; `None` where [`OnConflict::Reject`](crate::OnConflict) refused it.
        stored: Option<RecordId>,
    },
}

/// A record in somebody's hands, for one destination, until it is settled or the lease runs out.
#[derive(Clone, PartialEq, Eq)]
pub struct Lease {
    /// Number to settle by.
    pub id: LeaseId,
    /// The record.
    pub record: RecordId,
    /// The destination it was leased for.
    pub destination: String,
    /// The record's bytes; their checksum was verified.
    pub payload: Bytes,
    /// Where it came in.
    pub listener: String,
    /// What decided where it goes.
    pub route: String,
    /// Counted attempts that failed before this one.
    pub attempts: u32,
    /// When it arrived, milliseconds since 1970 UTC.
    pub received_at_ms: i64,
    /// As appended.
    pub ordering_keys: Vec<String>,
    /// As appended.
    pub attributes: BTreeMap<String, String>,
    /// The record this is a replay of.
    pub replay_of: Option<RecordId>,
}

/// How a lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has arrived. The key's next record follows.
    Delivered {
        /// What to keep about it, such as the status of the answer. Not for patient data.
        detail: Option<String>,
    },
    /// It does not go to this destination after all. The key's next record follows.
    Filtered {
        /// Why.
        reason: String,
    },
    /// Again later; the key stays blocked so that order holds.
    RetryAt {
        /// Not before this time, milliseconds since 1970 UTC by the caller's clock.
        at_ms: i64,
        /// Whether it counts as an attempt (being throttled does not).
        counted: bool,
        /// Why, as a short code.
        reason: String,
    },
    /// Given up: a dead letter. The key's next record follows.
    Dead {
        /// Why, as a short code.
        reason: String,
        /// What a person needs to decide. Not for patient data.
        detail: Option<String>,
    },
    /// A person must look first; the key stays blocked until [`Queue::release`](crate::Queue::release).
    Park {
        /// Why, as a short code.
        reason: String,
        /// What a person needs to decide. Not for patient data.
        detail: Option<String>,
    },
}

/// Where a record stands for one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not looked at yet, or ready.
    Queued,
    /// Seen, behind another record of one of its keys.
    Waiting,
    /// In somebody's hands now.
    Leased,
    /// To be tried again at a set time.
    Retrying,
    /// Held, with its key, until a person releases it.
    Parked,
    /// Done.
    Delivered,
    /// Given up: a dead letter.
    Dead,
    /// Accepted, and wanted by nobody.
    Filtered,
}

/// How long a lease may take, where the caller has no better idea.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(120);

// === impl RecordId ===

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for RecordId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

// === impl NewRecord ===

impl fmt::Debug for NewRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payload, keys and ACK may hold patient data: only their extent is shown.
        f.debug_struct("NewRecord")
            .field("payload_bytes", &self.payload.len())
            .field("listener", &self.listener)
            .field("route", &self.route)
            .field("ordering_keys", &self.ordering_keys.len())
            .field("dedup_key", &self.dedup_key.is_some())
            .field("ack_bytes", &self.ack.as_ref().map(Bytes::len))
            .field("destinations", &self.destinations)
            .finish_non_exhaustive()
    }
}

// === impl Lease ===

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id)
            .field("record", &self.record)
            .field("destination", &self.destination)
            .field("payload_bytes", &self.payload.len())
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

// === impl State ===

impl State {
    /// Every state, in the order of a record's life.
    pub const ALL: [State; 8] = [
        State::Queued,
        State::Waiting,
        State::Leased,
        State::Retrying,
        State::Parked,
        State::Delivered,
        State::Dead,
        State::Filtered,
    ];

    /// Its name, as in metrics and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Retrying => "retrying",
            Self::Parked => "parked",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Filtered => "filtered",
        }
    }

    /// Whether nothing more happens by itself or by release: delivered, dead or filtered.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Dead | Self::Filtered)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for State {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(
                "expected queued, waiting, leased, retrying, parked, delivered, dead or filtered",
            )
    }
}
