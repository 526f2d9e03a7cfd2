//! What the writer is asked, and how it answers.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{append::Prepared, job::Job, pick::Picks, retain::Step};
use crate::{
    browse::{Filter, Release, Replay, Replayed, Retention},
    error::{QueueError, Result},
    record::{Appended, LeaseId, Outcome},
    status::Status,
};

/// One request to the writer.
pub(crate) enum Request {
    /// The caller keeps a share of its records, so that they are freed where they were made.
    Append(Arc<[Prepared]>, Ask<Vec<Appended>>),
    Settle(LeaseId, Outcome, Ask<()>),
    Lease {
        destination: String,
        max: usize,
        lease_for: Duration,
        ask: Ask<Picks>,
    },
    /// Let these leases run out at once: nobody took them.
    Expire(Vec<LeaseId>),
    Replay(Replay, Ask<Replayed>),
    Release(Filter, Release, Ask<usize>),
    Pause {
        destination: String,
        reason: Option<String>,
        ask: Ask<()>,
    },
    Retain {
        policy: Retention,
        after: i64,
        ask: Ask<Step>,
    },
    Status(Ask<Status>),
    /// What a person asks.
    Job(Box<dyn Job>),
    /// What a recount found wrong.
    Checked(u64),
}

/// Where an answer goes; it is sent only after the commit.
pub(crate) struct Ask<T> {
    reply: oneshot::Sender<Result<T>>,
    pub(crate) answer: Option<Result<T>>,
}

// === impl Request ===

impl Request {
    /// Whether it still has to be done.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Append(_, ask) => ask.answer.is_none(),
            Self::Settle(_, _, ask) | Self::Pause { ask, .. } => ask.answer.is_none(),
            Self::Lease { ask, .. } => ask.answer.is_none(),
            Self::Replay(_, ask) => ask.answer.is_none(),
            Self::Release(_, _, ask) => ask.answer.is_none(),
            Self::Retain { ask, .. } => ask.answer.is_none(),
            Self::Status(ask) => ask.answer.is_none(),
            Self::Job(job) => job.is_open(),
            Self::Expire(_) | Self::Checked(_) => true,
        }
    }

    /// Bytes of payload that it brings.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Append(records, _) => records.iter().map(Prepared::bytes).sum(),
            _ => 0,
        }
    }

    /// Whether it adds records, and so is refused when there is no room.
    pub(crate) fn grows(&self) -> bool {
        matches!(self, Self::Append(..) | Self::Replay(..))
    }

    /// Answers with an error in place of whatever was prepared.
    pub(crate) fn fail(&mut self, error: &QueueError) {
        match self {
            Self::Append(_, ask) => ask.fail(error),
            Self::Settle(_, _, ask) | Self::Pause { ask, .. } => ask.fail(error),
            Self::Lease { ask, .. } => ask.fail(error),
            Self::Replay(_, ask) => ask.fail(error),
            Self::Release(_, _, ask) => ask.fail(error),
            Self::Retain { ask, .. } => ask.fail(error),
            Self::Status(ask) => ask.fail(error),
            Self::Job(job) => job.fail(error),
            Self::Expire(_) | Self::Checked(_) => {}
        }
    }

    /// Takes a prepared answer back: the transaction is done again without what grows.
    pub(crate) fn reopen(&mut self) {
        match self {
            Self::Append(..) | Self::Replay(..) | Self::Expire(_) | Self::Checked(_) => {}
            Self::Settle(_, _, ask) | Self::Pause { ask, .. } => ask.answer = None,
            Self::Lease { ask, .. } => ask.answer = None,
            Self::Release(_, _, ask) => ask.answer = None,
            Self::Retain { ask, .. } => ask.answer = None,
            Self::Status(ask) => ask.answer = None,
            Self::Job(job) => job.reopen(),
        }
    }

    /// Tells whoever asked. Returns leases that nobody is there to take.
    pub(crate) fn send(self) -> Vec<LeaseId> {
        match self {
            Self::Append(records, ask) => {
                drop(records);
                drop(ask.send());
            }
            Self::Settle(_, _, ask) | Self::Pause { ask, .. } => drop(ask.send()),
            Self::Lease { ask, .. } => {
                if let Some(Ok(picks)) = ask.send() {
                    return picks.picked.into_iter().map(|(id, _, _)| id).collect();
                }
            }
            Self::Replay(_, ask) => drop(ask.send()),
            Self::Release(_, _, ask) => drop(ask.send()),
            Self::Retain { ask, .. } => drop(ask.send()),
            Self::Status(ask) => drop(ask.send()),
            Self::Job(job) => job.send(),
            Self::Expire(_) | Self::Checked(_) => {}
        }
        Vec::new()
    }
}

// === impl Ask ===

impl<T> Ask<T> {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        (
            Self {
                reply,
                answer: None,
            },
            answer,
        )
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    pub(crate) fn fail(&mut self, error: &QueueError) {
        self.answer = Some(Err(error.clone()));
    }

    /// Gives the answer back when nobody waits for it any more.
    pub(crate) fn send(self) -> Option<Result<T>> {
        self.reply
            .send(self.answer.unwrap_or(Err(QueueError::Closed)))
            .err()
    }
}
