//! Looking at a queue and putting things right by hand: filters, summaries, replay, release, retention.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::record::{RecordId, State};

/// Which deliveries are meant. Every `Some` must match; the default matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// State at the destination.
    pub state: Option<State>,
    /// Name of the destination.
    pub destination: Option<String>,
    /// Reason code of the last outcome.
    pub reason: Option<String>,
    /// Where the record came in.
    pub listener: Option<String>,
    /// Value of the attribute `message_type`.
    pub message_type: Option<String>,
    /// Arrived at or after, milliseconds since 1970 UTC.
    pub from_ms: Option<i64>,
    /// Arrived before, milliseconds since 1970 UTC.
    pub to_ms: Option<i64>,
    /// Only records with a greater number: the last number of the page before.
    pub after: Option<RecordId>,
    /// Only these records; empty means any.
    pub records: Vec<RecordId>,
    /// At most so many records; 0 means the default of 100, and 10,000 is the most.
    pub limit: usize,
}

/// One delivery (a record at a destination) as a line of a list. No payload, no keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordSummary {
    /// The record.
    pub record: RecordId,
    /// The destination; `None` for a record that no destination wanted.
    pub destination: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Counted attempts that failed.
    pub attempts: u32,
    /// For `retrying`: not before this time, milliseconds since 1970 UTC.
    pub not_before_ms: Option<i64>,
    /// Reason code of the last outcome.
    pub reason: Option<String>,
    /// When it arrived, milliseconds since 1970 UTC.
    pub received_at_ms: i64,
    /// When the state last changed, milliseconds since 1970 UTC; `None` while nothing has happened.
    pub changed_at_ms: Option<i64>,
    /// Where it came in.
    pub listener: String,
    /// What decided where it goes.
    pub route: String,
    /// Bytes of payload.
    pub size: u64,
    /// As appended.
    pub attributes: BTreeMap<String, String>,
    /// The record this is a replay of.
    pub replay_of: Option<RecordId>,
    /// The earlier record with the same dedup key and other content.
    pub conflict_of: Option<RecordId>,
    /// Whether it goes before others.
    pub urgent: bool,
    /// The record that a person corrected to make this one.
    pub edit_of: Option<RecordId>,
}

/// Everything about one record but its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordDetail {
    /// The record.
    pub record: RecordId,
    /// When it arrived, milliseconds since 1970 UTC.
    pub received_at_ms: i64,
    /// When it was stored, milliseconds since 1970 UTC by the queue's own clock.
    pub stored_at_ms: i64,
    /// Where it came in.
    pub listener: String,
    /// What decided where it goes.
    pub route: String,
    /// Bytes of payload.
    pub size: u64,
    /// Bytes of the stored acknowledgement.
    pub ack_bytes: Option<u64>,
    /// How many ordering keys it has (the keys themselves may name a patient).
    pub ordering_keys: usize,
    /// As appended.
    pub attributes: BTreeMap<String, String>,
    /// The record this is a replay of.
    pub replay_of: Option<RecordId>,
    /// Later records that replay this one.
    pub replayed_as: Vec<RecordId>,
    /// The earlier record with the same dedup key and other content.
    pub conflict_of: Option<RecordId>,
    /// Whether it goes before others.
    pub urgent: bool,
    /// The record that a person corrected to make this one.
    pub edit_of: Option<RecordId>,
    /// Later records that a person made of this one.
    pub edited_as: Vec<RecordId>,
    /// One per destination; empty for a record that no destination wanted.
    pub deliveries: Vec<DeliveryDetail>,
}

/// Where a record stands for one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryDetail {
    /// Name of the destination.
    pub destination: String,
    /// Where it stands.
    pub state: State,
    /// Counted attempts that failed.
    pub attempts: u32,
    /// For `retrying`: not before this time, milliseconds since 1970 UTC.
    pub not_before_ms: Option<i64>,
    /// When the state last changed, milliseconds since 1970 UTC.
    pub changed_at_ms: Option<i64>,
    /// Reason code of the last outcome.
    pub reason: Option<String>,
    /// Detail of the last outcome.
    pub detail: Option<String>,
}

/// Deliver again what was delivered, filtered or given up before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replay {
    /// Which deliveries.
    pub filter: Filter,
    /// To this destination instead of the one each of them had.
    pub destination: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Makes the request safe to send twice: a second one with the same token does nothing and gets the
    /// answer of the first.
    pub token: Option<String>,
}

/// What a replay did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// New records, in the order of the originals. Empty for a dry run.
    pub records: Vec<ReplayedRecord>,
    /// Deliveries that match and can be replayed.
    pub matched: usize,
    /// Deliveries that match but are still on their way to that destination, so nothing is to be done.
    pub open: usize,
    /// More may match: go on with `after` set to this record (and another token).
    pub next: Option<RecordId>,
    /// This is the answer to an earlier request with the same token.
    pub repeated: bool,
}

/// One replayed delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayedRecord {
    /// What is replayed.
    pub original: RecordId,
    /// The new record that carries it.
    pub record: RecordId,
    /// Where it goes.
    pub destination: String,
}

/// What a person decides about parked or retrying deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Release {
    /// Try again now, with its attempts counted from zero.
    Retry,
    /// Give up: it becomes a dead letter with this reason and its key moves on.
    Dead {
        /// Why, as a short code.
        reason: String,
    },
}

/// What may be removed. Nothing that is still to be delivered ever is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Records delivered or filtered everywhere go this long after they were stored. `None`: by age never.
    pub done_for: Option<Duration>,
    /// The same for records with a dead letter. `None`: dead letters are kept.
    pub dead_for: Option<Duration>,
    /// While the data takes more than this, the oldest records delivered or filtered everywhere go early.
    pub max_bytes: Option<u64>,
}

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Records removed because of their age.
    pub by_age: u64,
    /// Records removed because of the size bound.
    pub by_size: u64,
    /// Bytes of payload removed.
    pub bytes: u64,
}

// === impl Filter ===

impl Filter {
    pub(crate) const MAX_LIMIT: usize = 10_000;

    /// The limit with its default and bound applied.
    pub(crate) fn effective_limit(&self) -> usize {
        match self.limit {
            0 => 100,
            limit => limit.min(Self::MAX_LIMIT),
        }
    }
}
