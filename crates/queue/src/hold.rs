//! Holding deliveries back, and writing down who did what.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::record::RecordId;

/// Number of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HoldId(pub i64);

/// What is to wait from now on. Every condition that is given must fit; at least one must be.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewHold {
    /// Name of the destination; `None` is all of them.
    pub destination: Option<String>,
    /// Records with one of these ordering keys. A key may name a patient: only its hash is kept.
    pub keys: Vec<String>,
    /// Records that share a key with this one.
    pub keys_of: Option<RecordId>,
    /// Where the record came in.
    pub listener: Option<String>,
    /// Value of the attribute `message_type`.
    pub message_type: Option<String>,
    /// Why, for whoever looks next. Not for patient data.
    pub reason: String,
}

/// A hold in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its number.
    pub id: HoldId,
    /// Name of the destination; `None` is all of them.
    pub destination: Option<String>,
    /// How many ordering keys it names; 0: it does not ask for keys.
    pub keys: usize,
    /// Where the record came in.
    pub listener: Option<String>,
    /// Value of the attribute `message_type`.
    pub message_type: Option<String>,
    /// Why.
    pub reason: String,
    /// Since when, milliseconds since 1970 UTC by the queue's own clock.
    pub since_ms: i64,
}

/// Something that a person did, to be written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewAudit {
    /// Who, as far as is known.
    pub who: String,
    /// What was done, as one word: `replay`, `edit`.
    pub action: String,
    /// With what: numbers, names, conditions. Never message text.
    pub detail: String,
}

/// Something that a person did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Grows by one with each entry.
    pub id: i64,
    /// When, milliseconds since 1970 UTC by the queue's own clock.
    pub at_ms: i64,
    /// Who, as far as is known.
    pub who: String,
    /// What was done.
    pub action: String,
    /// With what.
    pub detail: String,
}

/// A copy of the queue that was made while it worked, and verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Where it is.
    pub path: PathBuf,
    /// Its size, bytes.
    pub bytes: u64,
    /// Records in it, each with a checksum that fits.
    pub records: u64,
}

// === impl NewHold ===

impl NewHold {
    /// Whether it says anything about what is to wait.
    #[must_use]
    pub fn is_pointed(&self) -> bool {
        self.destination.is_some()
            || !self.keys.is_empty()
            || self.keys_of.is_some()
            || self.listener.is_some()
            || self.message_type.is_some()
    }
}

impl std::fmt::Debug for NewHold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewHold")
            .field("destination", &self.destination)
            .field("keys", &self.keys.len())
            .field("keys_of", &self.keys_of)
            .field("listener", &self.listener)
            .field("message_type", &self.message_type)
            .finish_non_exhaustive()
    }
}

// === impl HoldId ===

impl std::fmt::Display for HoldId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for HoldId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
