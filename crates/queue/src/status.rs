//! Where everything stands, and whether the sums are right.

use std::collections::BTreeMap;

use serde::Serialize;

/// The state of a queue at one moment (between two commits).
///
/// Counts are of deliveries: a record for two destinations counts twice, a record that no destination
/// wanted counts once, under `filtered` of the total.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// By name of destination.
    pub destinations: BTreeMap<String, DestinationStatus>,
    /// Sum over all destinations, plus the records that no destination wanted.
    pub total: DestinationStatus,
    /// Records that no destination wanted (accepted and filtered at once).
    pub unrouted: u64,
    /// Records appended or made by replay since the queue was made.
    pub records: u64,
    /// Bytes of the database in use, without free pages.
    pub database_bytes: u64,
    /// Bytes that the file system with the queue has left for us; `None` when it does not say, or nobody is
    /// there to ask (a copy that is only read).
    pub disk_free_bytes: Option<u64>,
    /// By how many deliveries accepted differs from the sum of all states, plus what the last
    /// [`check`](crate::Queue::check) found wrong. Anything but 0 is a fault.
    pub mismatch: u64,
    /// The queue acknowledges nothing any more ([`QueueError::Stopped`](crate::QueueError::Stopped)).
    pub stopped: bool,
}

/// Deliveries of one destination: `accepted` is always the sum of the eight states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DestinationStatus {
    /// All that were ever meant for it.
    pub accepted: u64,
    /// Not looked at yet, or ready.
    pub queued: u64,
    /// Behind another record of one of their keys.
    pub waiting: u64,
    /// In somebody's hands.
    pub leased: u64,
    /// To be tried again later.
    pub retrying: u64,
    /// Held for a person.
    pub parked: u64,
    /// Ever delivered, including what retention has removed.
    pub delivered: u64,
    /// Ever given up, including what retention has removed.
    pub dead: u64,
    /// Ever filtered, including what retention has removed.
    pub filtered: u64,
    /// Dead letters that are still there.
    pub dead_kept: u64,
    /// Age of the oldest delivery that is still open, milliseconds since it was stored.
    pub oldest_age_ms: Option<u64>,
    /// Bytes of payload still to be delivered.
    pub bytes: u64,
    /// Why nothing is leased at present, where somebody paused it.
    pub paused: Option<String>,
}

/// What a recount found ([`Queue::check`](crate::Queue::check)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Records looked at.
    pub records: u64,
    /// Deliveries looked at.
    pub deliveries: u64,
    /// Records whose checksum does not fit (only with `payloads`).
    pub corrupt: u64,
    /// One sentence per fault; no message content.
    pub faults: Vec<String>,
}

// === impl DestinationStatus ===

impl DestinationStatus {
    /// Deliveries still to be made.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.queued + self.waiting + self.leased + self.retrying + self.parked
    }

    /// By how many `accepted` differs from the sum of all states; 0 when the books are right.
    #[must_use]
    pub fn mismatch(&self) -> u64 {
        self.accepted
            .abs_diff(self.open() + self.delivered + self.dead + self.filtered)
    }
}

// === impl Check ===

impl Check {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.corrupt == 0 && self.faults.is_empty()
    }
}
