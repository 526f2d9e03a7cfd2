//! Table 3.4 of the reliability page: what an answer, or the lack of one, means. Pure.

use std::time::Duration;

use crate::answer::{Answer, Reading, Severity, Summary};
use crate::failure::{Class, EntryFailure, Failure};
use crate::http_client::SendError;
use crate::request::{Delivered, Entry, Kind};

/// Codes that mean "someone else was writing", whatever the status: servers tell a failed If-Match inside a
/// transaction as 400, 409 or 412.
const CONFLICT_CODES: [&str; 2] = ["conflict", "lock-error"];
/// Codes that mean "not now", whatever the status.
const TRANSIENT_CODES: [&str; 4] = ["transient", "timeout", "no-store", "throttled"];

/// The class of a status that is not 2xx, for the request as a whole.
pub(crate) fn class_of(status: u16, retry_after: Option<Duration>, summary: &Summary) -> Class {
    match status {
        400 | 412 | 422 if summary.has_error(&CONFLICT_CODES) => Class::Conflict,
        400 | 422 if summary.has_error(&TRANSIENT_CODES) => Class::Transient,
        401 => Class::Auth,
        // A redirect is not followed: the credential belongs to the configured host.
        300..=399 => Class::Config,
        403 | 404 | 405 | 406 | 407 | 415 | 426 | 431 => Class::Config,
        408 => Class::Ambiguous,
        409 | 423 => Class::Conflict,
        410 => Class::Gone,
        412 => Class::Precondition,
        413 => Class::TooLarge,
        425 => Class::Transient,
        429 => Class::Throttled { retry_after },
        503 if retry_after.is_some() => Class::Throttled { retry_after },
        // Not implemented, HTTP version not supported, a captive portal: waiting does not help.
        501 | 505 | 511 => Class::Config,
        500..=599 => Class::Transient,
        _ => Class::Permanent,
    }
}

/// The class of one entry's status inside a batch answer; `None` when the entry is stored. Here 403, 404, 405 and
/// 415 speak of the entry, not of the base, and 401 cannot be refreshed.
pub(crate) fn entry_class(status: u16, summary: &Summary) -> Option<Class> {
    match status {
        200..=299 | 304 => None,
        // No status: the server broke its contract, and sending again is safe.
        0 => Some(Class::Ambiguous),
        401 | 403 | 404 | 405 | 406 | 415 => Some(Class::Permanent),
        501 | 505 | 511 => Some(Class::Permanent),
        status => Some(class_of(status, None, summary)),
    }
}

/// The class of a failure without an answer.
pub(crate) fn unanswered(error: &SendError) -> Failure {
    let class = match error {
        SendError::Credential(error) if error.transient => Class::Transient,
        SendError::Credential(_) => Class::Auth,
        SendError::Tls(_) | SendError::NotHttp | SendError::Coding => Class::Config,
        SendError::NoConnection(_) | SendError::NotSent => Class::Transient,
        SendError::Lost => Class::Ambiguous,
    };
    Failure::new(class, error.to_string())
}

/// An answer that is not 2xx.
pub(crate) fn refused(answer: &Answer) -> Failure {
    let summary = match answer.read() {
        Reading::Outcome(summary) => summary,
        _ => Summary::default(),
    };
    let class = class_of(answer.status, answer.retry_after, &summary);
    Failure {
        status: Some(answer.status),
        summary: Box::new(summary),
        body: answer.body.clone(),
        ..Failure::new(class, "")
    }
}

/// The meaning of an answer to a Bundle. `sent` is the number of entries sent, known for a batch only.
pub(crate) fn answered(
    kind: Kind,
    sent: Option<usize>,
    answer: &Answer,
) -> Result<Delivered, Failure> {
    if !(200..300).contains(&answer.status) {
        return Err(refused(answer));
    }
    let failure = |class: Class, detail: &str, summary: Summary| Failure {
        status: Some(answer.status),
        summary: Box::new(summary),
        body: answer.body.clone(),
        ..Failure::new(class, detail)
    };
    let delivered = |entries: Vec<Entry>, summary: Summary| Delivered {
        status: answer.status,
        entries,
        summary,
        body: answer.body.clone(),
        truncated: answer.truncated,
    };
    match (answer.read(), kind) {
        (Reading::Response(entries), _) => {
            let (entries, failed) = sort_entries(entries, sent);
            if failed.is_empty() {
                return Ok(delivered(entries, Summary::default()));
            }
            Err(Failure {
                entries: failed,
                ..failure(Class::Mixed, "", Summary::default())
            })
        }
        (Reading::Outcome(summary), _) if summary.worst() >= Some(Severity::Error) => Err(failure(
            Class::Permanent,
            "success status with an error outcome",
            summary,
        )),
        (Reading::Outcome(summary), Kind::Transaction) => Ok(delivered(Vec::new(), summary)),
        (Reading::Empty, Kind::Transaction) => Ok(delivered(Vec::new(), Summary::default())),
        // The status of a transaction is its outcome; only a batch needs the rest of the answer.
        (Reading::Unreadable, Kind::Transaction) if answer.truncated && answer.is_fhir() => {
            Ok(delivered(Vec::new(), Summary::default()))
        }
        // A proxy's login page with 200, or a server that stored the Bundle instead of carrying it out: nothing is
        // known to be stored, and no other message will fare better.
        _ => Err(failure(
            Class::Config,
            "success status, but not an answer to a Bundle",
            Summary::default(),
        )),
    }
}

/// The meaning of an answer to a single resource. What the server says of the resource in FHIR is the resource's matter;
/// without that, a path that is not there or not allowed is the destination's.
/// With `only_new`, 412 is how the server says that it is there already: all is well.
pub(crate) fn answered_single(only_new: bool, answer: &Answer) -> Result<Delivered, Failure> {
    if only_new && answer.status == 412 {
        return Ok(Delivered {
            status: 304,
            entries: vec![Entry {
                status: 304,
                ..Entry::default()
            }],
            summary: Summary::default(),
            body: answer.body.clone(),
            truncated: answer.truncated,
        });
    }
    if !(200..300).contains(&answer.status) && answer.status != 304 {
        let mut failure = refused(answer);
        if matches!(answer.status, 403..=405) && !failure.summary.is_empty() {
            failure.class = Class::Permanent;
        }
        return Err(failure);
    }
    let summary = match answer.read() {
        Reading::Outcome(summary) if summary.worst() >= Some(Severity::Error) => {
            return Err(Failure {
                status: Some(answer.status),
                summary: Box::new(summary),
                body: answer.body.clone(),
                ..Failure::new(Class::Permanent, "success status with an error outcome")
            });
        }
        Reading::Outcome(summary) => summary,
        // A login page.
        Reading::Unreadable if !answer.truncated => {
            return Err(Failure {
                status: Some(answer.status),
                ..Failure::new(
                    Class::Config,
                    "success status, but not an answer to a resource",
                )
            });
        }
        _ => Summary::default(),
    };
    Ok(Delivered {
        status: answer.status,
        entries: vec![Entry {
            status: answer.status,
            location: answer.location.clone().or_else(|| answer.own_name()),
            etag: answer.etag.clone(),
        }],
        summary,
        body: answer.body.clone(),
        truncated: answer.truncated,
    })
}

/// Tells stored entries from failed ones; entries that the answer leaves out are unknown.
fn sort_entries(
    answered: Vec<(Entry, Summary)>,
    sent: Option<usize>,
) -> (Vec<Entry>, Vec<EntryFailure>) {
    let count = answered.len();
    let mut entries = Vec::with_capacity(count);
    let mut failed = Vec::new();
    for (index, (entry, summary)) in answered.into_iter().enumerate() {
        if let Some(class) = entry_class(entry.status, &summary) {
            failed.push(EntryFailure {
                index,
                status: entry.status,
                class,
                summary,
            });
        }
        entries.push(entry);
    }
    failed.extend((count..sent.unwrap_or(count)).map(|index| EntryFailure {
        index,
        status: 0,
        class: Class::Ambiguous,
        summary: Summary::default(),
    }));
    (entries, failed)
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
