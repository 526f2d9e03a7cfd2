//! The one writer: group commit without a timer.
//!
//! A group is whatever has queued up while the last one was being committed (see `desk.rs`). All of it is done
//! in one transaction, committed, and only then answered. One caller waits for nobody; many share one flush.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{
    admin,
    append::{self, Window},
    books::{Books, NOBODY},
    ciphers::Ciphers,
    clock::Clock,
    holds::Holds,
    leases::{Held, Leases},
    pick::{self, Hand, Picks},
    request::Request,
    retain,
    room::Room,
    settle,
    signal::{Signals, Wake},
    summary,
};
use crate::{
    error::{Bound, Class, QueueError, Result},
    faults::{Fault, Point},
    observer::Commit,
    options::Options,
    record::{Appended, LeaseId, Outcome},
};

/// How often the edge of the dedup window is moved.
const WINDOW_EVERY: Duration = Duration::from_secs(10);

/// The writer and all it knows.
pub(crate) struct Writer {
    pub(crate) conn: Connection,
    pub(crate) options: Options,
    pub(crate) books: Books,
    pub(crate) holds: Holds,
    pub(crate) ciphers: Arc<Ciphers>,
    pub(crate) leases: Arc<Mutex<Leases>>,
    pub(crate) clock: Clock,
    pub(crate) room: Room,
    pub(crate) signals: Arc<Signals>,
    pub(crate) stopped: Arc<AtomicBool>,
    pub(crate) found_wrong: u64,
    pub(crate) window: i64,
    pub(crate) window_moved: Option<Instant>,
}

/// What to put back if the transaction fails.
enum Undo {
    /// A lease that was given.
    Given(LeaseId),
    /// A lease that was taken back.
    Taken(LeaseId, Held),
}

/// What one transaction changes in memory.
#[derive(Default)]
struct Effects {
    undo: Vec<Undo>,
    wakes: Vec<(String, Wake)>,
    commit: Commit,
}

// === impl Writer ===

impl Writer {
    /// Does a group and answers it.
    pub(crate) fn group(&mut self, mut group: Vec<Request>) {
        self.fault(Point::BeforeBegin);
        self.work(&mut group);
        for request in group {
            let unclaimed = request.send();
            if !unclaimed.is_empty() {
                self.expire(&unclaimed);
            }
        }
        self.fault(Point::AfterAnswer);
    }

    /// Does a group and prepares its answers.
    fn work(&mut self, group: &mut [Request]) {
        if self.stopped.load(Ordering::Acquire) {
            return self.refuse(group);
        }
        if group.iter().any(Request::grows)
            && let Err(error) = self.room.check(&self.conn)
        {
            self.fail_growth(group, &error);
        }
        let mut result = self.transaction(group);
        if let Err(QueueError::Full(bound)) = &result {
            // What only settles may still fit.
            self.fail_growth(group, &QueueError::Full(*bound));
            group.iter_mut().for_each(Request::reopen);
            result = self.transaction(group);
        }
        if let Err(error) = result {
            group.iter_mut().for_each(|request| request.fail(&error));
        }
    }

    fn transaction(&mut self, group: &mut [Request]) -> Result<()> {
        let mut effects = Effects::default();
        let begun = Instant::now();
        match self.try_transaction(group, &mut effects, begun) {
            Ok(()) => {
                for (name, wake) in effects.wakes.drain(..) {
                    self.signals.set(&name, wake);
                }
                self.wake_touched();
                if let Some(observer) = &self.options.observer {
                    observer.committed(&effects.commit);
                }
                Ok(())
            }
            Err(failure) => Err(self.roll_back(failure, effects)),
        }
    }

    fn try_transaction(
        &mut self,
        group: &mut [Request],
        effects: &mut Effects,
        begun: Instant,
    ) -> Result<(), Failure> {
        self.conn
            .prepare_cached("BEGIN IMMEDIATE")
            .and_then(|mut s| s.execute([]))
            .map_err(QueueError::from)?;
        let now = self.clock.now_ms();
        self.move_window(now)?;
        for request in group.iter_mut().filter(|request| request.is_open()) {
            self.one(request, effects, now)?;
            effects.commit.requests += 1;
        }
        // Leases come last: they see all that the group brings.
        for request in group.iter_mut().filter(|request| request.is_open()) {
            if let Request::Lease {
                destination,
                max,
                lease_for,
                ask,
            } = request
                && !ask.is_abandoned()
            {
                ask.answer = Some(Ok(self.lease(
                    destination,
                    *max,
                    *lease_for,
                    effects,
                    now,
                )?));
            }
        }
        self.move_positions();
        self.books.write(&self.conn)?;
        match self.fault(Point::BeforeCommit) {
            Some(Fault::Full) => {
                return Err(Failure {
                    error: QueueError::Full(Bound::Disk),
                    at_commit: false,
                });
            }
            Some(Fault::Io) => {
                let error = std::io::Error::other("injected fault");
                return Err(Failure {
                    error: QueueError::Io(Arc::new(error)),
                    at_commit: true,
                });
            }
            None => {}
        }
        effects.commit.work = begun.elapsed();
        let commit = Instant::now();
        self.conn
            .prepare_cached("COMMIT")
            .and_then(|mut s| s.execute([]))
            .map_err(|error| Failure {
                error: error.into(),
                at_commit: true,
            })?;
        effects.commit.commit = commit.elapsed();
        self.fault(Point::AfterCommit);
        Ok(())
    }

    /// Does one request but leases.
    fn one(&mut self, request: &mut Request, effects: &mut Effects, now: i64) -> Result<()> {
        match request {
            Request::Append(records, ask) => {
                let window = Window {
                    after: self.window,
                    on_conflict: self.options.dedup.on_conflict,
                };
                let mut answers = Vec::with_capacity(records.len());
                for prepared in records.iter() {
                    let appended = append::append(
                        &self.conn,
                        &self.ciphers,
                        &mut self.books,
                        window,
                        now,
                        prepared,
                    )?;
                    match appended {
                        Appended::Stored(_)
                        | Appended::Conflict {
                            stored: Some(_), ..
                        } => {
                            effects.commit.records += 1;
                            effects.commit.bytes += prepared.bytes() as u64;
                        }
                        _ => effects.commit.duplicates += 1,
                    }
                    answers.push(appended);
                }
                ask.answer = Some(Ok(answers));
            }
            Request::Settle(lease, outcome, ask) => {
                ask.answer = Some(self.settle(*lease, outcome, effects, now)?);
            }
            Request::Lease { .. } => {}
            Request::Expire(leases) => {
                let leases = std::mem::take(leases);
                self.expire(&leases);
            }
            Request::Replay(replay, ask) => {
                let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
                ask.answer = Some(Ok(admin::replay(
                    &self.conn,
                    &self.ciphers,
                    &mut self.books,
                    &leases,
                    replay,
                    now,
                )?));
            }
            Request::Release(filter, release, ask) => {
                let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
                let count =
                    admin::release(&self.conn, &mut self.books, &leases, filter, release, now)?;
                ask.answer = Some(Ok(count));
            }
            Request::Pause {
                destination,
                reason,
                ask,
            } => {
                let id = self.books.destination(&self.conn, destination)?;
                if let Some(destination) = self.books.destinations.get_mut(&id) {
                    destination.paused = reason.clone();
                    destination.dirty = true;
                    destination.touched = true;
                }
                ask.answer = Some(Ok(()));
            }
            Request::Retain { policy, after, ask } => {
                ask.answer = Some(Ok(retain::step(
                    &self.conn,
                    &mut self.books,
                    policy,
                    *after,
                    now,
                )?));
            }
            Request::Status(ask) => ask.answer = Some(Ok(self.status(now)?)),
            Request::Checked(wrong) => self.found_wrong = *wrong,
            Request::Job(job) => job.run(self, now)?,
        }
        Ok(())
    }

    /// The outer error fails the transaction, the inner one only this request.
    fn settle(
        &mut self,
        id: LeaseId,
        outcome: &Outcome,
        effects: &mut Effects,
        now: i64,
    ) -> Result<Result<()>> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = leases.take(id) else {
            return Ok(Err(QueueError::LeaseLost));
        };
        let due = match outcome {
            Outcome::RetryAt { at_ms, .. } => self.clock.of_wall(*at_ms),
            _ => 0,
        };
        effects.undo.push(Undo::Taken(id, held.clone()));
        settle::settle(
            &self.conn,
            &self.ciphers,
            &mut self.books,
            &leases,
            &held,
            outcome,
            due,
            now,
        )?;
        effects.commit.settled += 1;
        Ok(Ok(()))
    }

    fn lease(
        &mut self,
        name: &str,
        max: usize,
        lease_for: Duration,
        effects: &mut Effects,
        now: i64,
    ) -> Result<Picks> {
        let none = Picks {
            picked: Vec::new(),
            replaced: Vec::new(),
            exhausted: true,
        };
        let Some(id) = self.books.find(name) else {
            effects.wakes.push((
                name.to_owned(),
                Wake {
                    ready: false,
                    at: None,
                },
            ));
            return Ok(none);
        };
        let paused = self
            .books
            .destinations
            .get(&id)
            .is_some_and(|destination| destination.paused.is_some());
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let mut picks = none;
        let result = pick::pick(
            &mut Hand {
                conn: &self.conn,
                books: &mut self.books,
                leases: &mut leases,
                holds: &self.holds,
                destination: id,
                name,
                max,
                deadline: pick::deadline(lease_for),
                now,
            },
            &mut picks,
        );
        for (id, held) in picks.replaced.drain(..) {
            effects.undo.push(Undo::Taken(id, held));
        }
        for (id, _, _) in &picks.picked {
            effects.undo.push(Undo::Given(*id));
        }
        result?;
        let mut wake = Wake {
            ready: !picks.exhausted,
            at: None,
        };
        if picks.exhausted {
            let retry = pick::next_retry(&self.conn, id, now, paused)?.map(|due| {
                Instant::now() + Duration::from_millis(u64::try_from(due - now).unwrap_or(0))
            });
            // A lease that runs out while its destination is paused goes to nobody.
            let deadline = leases.next_deadline(id).filter(|_| !paused);
            wake.at = [retry, deadline].into_iter().flatten().min();
        }
        drop(leases);
        effects.wakes.push((name.to_owned(), wake));
        self.untouch(id);
        Ok(picks)
    }

    /// A lease has just seen everything: what the group brought needs no further wake.
    fn untouch(&mut self, id: i64) {
        if let Some(destination) = self.books.destinations.get_mut(&id) {
            destination.touched = false;
        }
    }

    fn wake_touched(&mut self) {
        for destination in self
            .books
            .destinations
            .values_mut()
            .filter(|destination| destination.touched)
        {
            destination.touched = false;
            self.signals.set(
                &destination.name,
                Wake {
                    ready: true,
                    at: None,
                },
            );
        }
    }

    fn expire(&mut self, expired: &[LeaseId]) {
        let names = {
            let mut leases = self.leases();
            expired
                .iter()
                .filter_map(|id| leases.expire(*id))
                .collect::<Vec<_>>()
        };
        for id in names {
            if let Some(destination) = self.books.destinations.get(&id) {
                self.signals.set(
                    &destination.name,
                    Wake {
                        ready: true,
                        at: None,
                    },
                );
            }
        }
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&mut self, now: i64) -> Result<crate::status::Status> {
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = summary::status(&self.conn, &mut self.books, &leases, now)?;
        status.mismatch += self.found_wrong;
        status.disk_free_bytes = self.room.free().ok();
        status.stopped = self.stopped.load(Ordering::Acquire);
        Ok(status)
    }

    /// A destination's stored position follows its scan, but stays before what is leased and has no row.
    fn move_positions(&mut self) {
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, destination) in self
            .books
            .destinations
            .iter_mut()
            .filter(|(id, d)| d.dirty && **id != NOBODY)
        {
            let held = leases
                .oldest_fresh(*id)
                .map_or(i64::MAX, |oldest| oldest - 1);
            destination.position = destination.position.max(destination.scan.min(held));
        }
    }

    fn move_window(&mut self, now: i64) -> Result<()> {
        if self
            .window_moved
            .is_none_or(|moved| moved.elapsed() > WINDOW_EVERY)
        {
            self.window = append::window_edge(
                &self.conn,
                &self.options.dedup,
                self.books.last_record(),
                now,
            )?;
            self.window_moved = Some(Instant::now());
        }
        Ok(())
    }

    /// Puts memory back to what the disk says; stops the queue when nobody can know what that is.
    fn roll_back(&mut self, failure: Failure, effects: Effects) -> QueueError {
        if !self.conn.is_autocommit() {
            // A failure here means that SQLite has rolled back by itself.
            let _already = self.conn.execute_batch("ROLLBACK");
        }
        {
            let mut leases = self.leases();
            for undo in effects.undo.into_iter().rev() {
                match undo {
                    Undo::Given(id) => drop(leases.take(id)),
                    Undo::Taken(id, held) => leases.put(id, held),
                }
            }
        }
        let full = matches!(failure.error, QueueError::Full(_));
        if failure.error.class() == Class::Io || (failure.at_commit && !full) {
            return self.stop(failure.error);
        }
        match Books::read(&self.conn).and_then(|books| Ok((books, Holds::read(&self.conn)?))) {
            Ok((books, holds)) => {
                self.books = books;
                self.holds = holds;
                failure.error
            }
            Err(error) => self.stop(error),
        }
    }

    fn stop(&mut self, error: QueueError) -> QueueError {
        self.stopped.store(true, Ordering::Release);
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "queue stopped: nothing is acknowledged until it is opened again"
        );
        if let Some(observer) = &self.options.observer {
            observer.stopped();
        }
        error
    }

    /// Everything but the status is refused once stopped.
    fn refuse(&mut self, group: &mut [Request]) {
        for request in group {
            match request {
                Request::Status(ask) => {
                    ask.answer = Some(Ok(summary::stopped(&self.books, self.found_wrong)))
                }
                other => other.fail(&QueueError::Stopped),
            }
        }
    }

    fn fail_growth(&mut self, group: &mut [Request], error: &QueueError) {
        let mut refused = 0;
        for request in group.iter_mut().filter(|request| request.grows()) {
            if let Request::Append(records, _) = request {
                refused += records.len();
            }
            request.fail(error);
        }
        if let Some(observer) = &self.options.observer {
            observer.refused(refused);
        }
    }

    fn fault(&self, point: Point) -> Option<Fault> {
        self.options
            .faults
            .as_ref()
            .and_then(|faults| faults.at(point))
    }
}

/// An error, and whether it came from the commit itself.
struct Failure {
    error: QueueError,
    at_commit: bool,
}

// === impl Failure ===

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        Self {
            error,
            at_commit: false,
        }
    }
}
