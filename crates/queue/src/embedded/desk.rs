//! Whose turn it is to write: the requests that wait, the one writer, and who runs it.
//!
//! Whoever brings a request and finds nobody at work does it at once, where it stands, together with all that
//! has come meanwhile: a lone writer then pays for its commit and for no change of threads. As soon as several
//! write at the same time, the writer's thread does their groups, and those who wait only wait.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::runtime::{Handle, RuntimeFlavor};

use super::{request::Request, writer::Writer};
use crate::error::{QueueError, Result};

/// Most requests and most payload bytes in one transaction.
const GROUP_REQUESTS: usize = 4_096;
const GROUP_BYTES: usize = 64 << 20;

/// The requests and the writer.
pub(crate) struct Desk {
    inbox: Mutex<Inbox>,
    bell: Condvar,
    writer: Mutex<Writer>,
    /// The last group had no more than one request: whoever comes now is probably alone.
    lonely: AtomicBool,
}

#[derive(Default)]
struct Inbox {
    waiting: VecDeque<Request>,
    /// The writer's thread waits for the bell.
    asleep: bool,
    closed: bool,
}

// === impl Desk ===

impl Desk {
    pub(crate) fn new(writer: Writer) -> Self {
        Self {
            inbox: Mutex::default(),
            bell: Condvar::new(),
            writer: Mutex::new(writer),
            lonely: AtomicBool::new(true),
        }
    }

    /// Brings a request, and does it at once where that is the quickest way. Its answer comes by its `Ask`.
    pub(crate) fn bring(&self, request: Request) -> Result<()> {
        let alone = {
            let mut inbox = self.inbox();
            if inbox.closed {
                return Err(QueueError::Closed);
            }
            inbox.waiting.push_back(request);
            inbox.waiting.len() == 1
        };
        if alone && self.lonely.load(Ordering::Relaxed) && may_block() {
            match self.writer.try_lock() {
                Ok(mut writer) => {
                    tokio::task::block_in_place(|| self.group(&mut writer));
                    return Ok(());
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Poisoned(_)) => return self.give_up(),
            }
        }
        self.ring(self.inbox());
        Ok(())
    }

    /// Leaves a request for the writer's thread.
    pub(crate) fn leave(&self, request: Request) {
        let mut inbox = self.inbox();
        if !inbox.closed {
            inbox.waiting.push_back(request);
            self.ring(inbox);
        }
    }

    /// The work of the writer's thread: groups, until the desk is closed and everything is done.
    pub(crate) fn serve(&self) {
        loop {
            let mut inbox = self.inbox();
            while inbox.waiting.is_empty() {
                if inbox.closed {
                    return;
                }
                inbox.asleep = true;
                inbox = self
                    .bell
                    .wait(inbox)
                    .unwrap_or_else(PoisonError::into_inner);
                inbox.asleep = false;
            }
            drop(inbox);
            let Ok(mut writer) = self.writer.lock() else {
                let _closed = self.give_up();
                return;
            };
            while self.group(&mut writer) {}
        }
    }

    /// Takes no more requests; those that wait are still done.
    pub(crate) fn close(&self) {
        let mut inbox = self.inbox();
        inbox.closed = true;
        self.ring(inbox);
    }

    /// Does one group of what waits; false when nothing does.
    fn group(&self, writer: &mut Writer) -> bool {
        let mut group = Vec::new();
        {
            let mut inbox = self.inbox();
            let mut bytes = 0;
            while group.len() < GROUP_REQUESTS
                && bytes < GROUP_BYTES
                && let Some(next) = inbox.waiting.pop_front()
            {
                bytes += next.weight();
                group.push(next);
            }
        }
        if group.is_empty() {
            return false;
        }
        self.lonely.store(group.len() == 1, Ordering::Relaxed);
        writer.group(group);
        true
    }

    /// The writer ended by a panic, in the middle of something: nothing can be relied on any more.
    fn give_up(&self) -> Result<()> {
        let mut inbox = self.inbox();
        inbox.closed = true;
        inbox.waiting.clear();
        Err(QueueError::Closed)
    }

    fn ring(&self, mut inbox: MutexGuard<'_, Inbox>) {
        if inbox.asleep {
            inbox.asleep = false;
            drop(inbox);
            self.bell.notify_one();
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this thread may wait for a disk: others of its runtime go on with its other tasks.
fn may_block() -> bool {
    Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}
