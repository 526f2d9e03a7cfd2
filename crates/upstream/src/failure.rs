//! A delivery that did not happen: its class (reliability table 3.4) and what to do about it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::answer::Summary;
use crate::breaker::Reason;

/// Why a Bundle is not delivered. `Display` and `Debug` never show the response's text.
#[derive(Clone)]
pub struct Failure {
    /// The row of table 3.4.
    pub class: Class,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The answer's OperationOutcome: severities, codes and expressions, no text.
    pub summary: Box<Summary>,
    /// What happened below HTTP or with the answer, in fixed words: `connection refused`, `tls: …`.
    pub detail: Box<str>,
    /// For [`Class::Mixed`]: the entries that failed, in the order of the Bundle.
    pub entries: Vec<EntryFailure>,
    /// The answer's body as far as it was read. May hold PHI: for the encrypted store, not for a log.
    pub body: Bytes,
    pub(crate) wait: Duration,
    pub(crate) park: bool,
}

/// The rows of table 3.4. [`Class::as_str`] is the label for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// 400, 422 and other answers that blame the message: the same bytes will never do.
    Permanent,
    /// 401 after the credential was refreshed once: the message is not at fault.
    Auth,
    /// 403, 404 or 405 on the base, 415, a redirect, TLS that cannot be verified, an answer that is not FHIR.
    Config,
    /// A timeout, 408, or a connection lost after sending: stored or not, nobody knows. The identical request is safe.
    Ambiguous,
    /// 409, 423, or a version conflict told in another status.
    Conflict,
    /// 410: deleted at the server.
    Gone,
    /// 412: a condition matched several resources; a person must look.
    Precondition,
    /// 413: the Bundle is too large for the server.
    TooLarge,
    /// 429, or 503 with Retry-After.
    Throttled {
        /// How long the server wants to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
    /// 5xx, or no connection: the server is not well.
    Transient,
    /// A batch of which some entries failed; the others are stored.
    Mixed,
    /// Not sent: the circuit is open.
    Paused {
        /// What opened it.
        reason: Reason,
    },
}

/// One failed entry of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryFailure {
    /// The entry's place in the Bundle that the caller gave, 0-based.
    pub index: usize,
    /// The entry's HTTP status; 0 when the server gave none.
    pub status: u16,
    /// The class of that status alone.
    pub class: Class,
    /// Codes of its OperationOutcome.
    pub summary: Summary,
}

/// What the caller does with the record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Put it aside with the failure's summary; the key goes on.
    DeadLetter,
    /// Send the identical Bundle again after `after`.
    Retry {
        /// Not earlier than this from now.
        after: Duration,
        /// Whether it counts as an attempt of the record. Being told to wait does not.
        counted: bool,
    },
    /// Send only these entries again after `after` ([`crate::Request::entries`]).
    RetryEntries {
        /// Places in the Bundle of all that is not stored. What was refused for good is among them: it costs one more
        /// refusal, and so the last answer still tells of it, whatever the caller forgets in between.
        entries: Vec<usize>,
        /// Places in the Bundle of what will not succeed: for the report.
        refused: Vec<usize>,
        /// Not earlier than this from now.
        after: Duration,
        /// Whether it counts as an attempt of the record.
        counted: bool,
    },
    /// The message is not at fault: keep it queued, raise the alarm. The circuit is open already and
    /// tries again by itself after `recheck`.
    PauseDestination {
        /// When the next probe is due.
        recheck: Duration,
    },
    /// Keep the key blocked until a person releases it.
    ParkKey,
    /// Split the Bundle or move attachments out of it; else dead letter.
    Split,
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(class: Class, detail: impl Into<Box<str>>) -> Self {
        Self {
            class,
            status: None,
            summary: Box::default(),
            detail: detail.into(),
            entries: Vec::new(),
            body: Bytes::new(),
            wait: Duration::ZERO,
            park: false,
        }
    }

    /// The same with more to tell, in words fit for a log.
    pub(crate) fn because(mut self, text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        self.detail = match &*self.detail {
            "" => text.into(),
            before => format!("{text}: {before}").into(),
        };
        self
    }

    /// What to do now. Waits are drawn once per failure, so asking twice gives the same answer.
    pub fn action(&self) -> Action {
        let after = self.wait;
        match self.class {
            Class::Permanent | Class::Gone | Class::Precondition => Action::DeadLetter,
            Class::TooLarge => Action::Split,
            Class::Auth | Class::Config => Action::PauseDestination { recheck: after },
            Class::Conflict if self.park => Action::ParkKey,
            Class::Conflict | Class::Ambiguous | Class::Transient => Action::Retry {
                after,
                counted: true,
            },
            Class::Throttled { .. } | Class::Paused { .. } => Action::Retry {
                after,
                counted: false,
            },
            Class::Mixed => self.mixed_action(),
        }
    }

    fn mixed_action(&self) -> Action {
        let refused: Vec<usize> = self
            .entries
            .iter()
            .filter(|entry| !entry.class.is_retryable())
            .map(|entry| entry.index)
            .collect();
        if refused.len() == self.entries.len() {
            return Action::DeadLetter;
        }
        let throttled_only = self
            .entries
            .iter()
            .filter(|entry| entry.class.is_retryable())
            .all(|entry| matches!(entry.class, Class::Throttled { .. }));
        Action::RetryEntries {
            entries: self.entries.iter().map(|entry| entry.index).collect(),
            refused,
            after: self.wait,
            counted: !throttled_only,
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("class", &self.class)
            .field("status", &self.status)
            .field("summary", &self.summary)
            .field("detail", &self.detail)
            .field("entries", &self.entries.len())
            .field("bytes", &self.body.len())
            .field("action", &self.action())
            .finish()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not delivered: {}", self.class.as_str())?;
        if let Some(status) = self.status {
            write!(f, ", status {status}")?;
        }
        if !self.detail.is_empty() {
            write!(f, ", {}", self.detail)?;
        }
        if !self.entries.is_empty() {
            write!(f, ", {} entries failed", self.entries.len())?;
        }
        if !self.summary.is_empty() {
            write!(f, ", {}", self.summary)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

// === impl Class ===

impl Class {
    /// The kebab-case label for metrics, logs and dead-letter reasons.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Auth => "auth",
            Self::Config => "config",
            Self::Ambiguous => "ambiguous",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Precondition => "precondition",
            Self::TooLarge => "too-large",
            Self::Throttled { .. } => "throttled",
            Self::Transient => "transient",
            Self::Mixed => "mixed",
            Self::Paused { .. } => "paused",
        }
    }

    /// Whether the same request may succeed later without anybody doing anything.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Ambiguous
                | Self::Conflict
                | Self::Throttled { .. }
                | Self::Transient
                | Self::Paused { .. }
        )
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
