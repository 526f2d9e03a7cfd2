//! What the answer of a server means for a record (reliability table 3.4).

use std::time::{Duration, SystemTime};

use queue::Lease;
use upstream::{Action, Delivered, Failure};

use crate::{config::Destination, receive::unix_millis};

/// What happens to a record now.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is stored there.
    Done { detail: String },
    /// The same again, at once or after a moment, for these entries of a batch.
    Again {
        entries: Vec<usize>,
        after: Duration,
    },
    /// Back to the queue until later; its key waits.
    Later {
        reason: &'static str,
        after: Duration,
        counted: bool,
    },
    /// It does not go there after all.
    Filtered { reason: &'static str },
    /// A person must look; its key waits.
    Park {
        reason: &'static str,
        detail: String,
    },
    /// It can never be delivered; the route says what that means for its key.
    Poison {
        reason: &'static str,
        detail: String,
    },
}

impl Verdict {
    pub(super) fn poison(reason: &'static str, detail: String) -> Self {
        Self::Poison { reason, detail }
    }

    pub(super) fn later(reason: &'static str, after: Duration, counted: bool) -> Self {
        Self::Later {
            reason,
            after,
            counted,
        }
    }
}

/// Judges one answer.
pub(super) fn judge(
    answer: Result<Delivered, Failure>,
    config: &Destination,
    lease: &Lease,
) -> Verdict {
    let failure = match answer {
        Ok(delivered) => {
            return Verdict::Done {
                detail: format!("status {}", delivered.status),
            };
        }
        Err(failure) => failure,
    };
    let reason = failure.class.as_str();
    let verdict = match failure.action() {
        Action::DeadLetter | Action::Split => return Verdict::poison(reason, failure.to_string()),
        Action::ParkKey => {
            return Verdict::Park {
                reason,
                detail: failure.to_string(),
            };
        }
        Action::Retry { after, counted } => Verdict::later(reason, after, counted),
        // A batch in which some entries can never succeed: those that can are sent first; what is left then
        // comes back as permanent.
        Action::RetryEntries { entries, after, .. } => Verdict::Again { entries, after },
        Action::PauseDestination { recheck } => Verdict::later(reason, recheck, false),
        _ => Verdict::later(reason, config.retry.initial, true),
    };
    if too_old(config, lease) {
        Verdict::poison("max-age", failure.to_string())
    } else {
        verdict
    }
}

/// Whether a record is past the age at which it is given up.
pub(super) fn too_old(config: &Destination, lease: &Lease) -> bool {
    let age = unix_millis(SystemTime::now()).saturating_sub(lease.received_at_ms);
    config
        .retry
        .max_age
        .is_some_and(|max| Duration::from_millis(age.unsigned_abs()) > max && age > 0)
}
