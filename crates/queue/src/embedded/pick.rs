//! Leasing: which deliveries of a destination are next.
//!
//! Five sources: leases that ran out, urgent rows, rows that are ready, retries that are due, and records that
//! nobody has looked at yet. The last are read in order from where the scan stopped; one whose key is taken is
//! written down as waiting (with its lanes) and never scanned again, so the cost of a backlog is paid once, and
//! nothing about it is kept in memory. A paused destination yields only what a person lets through.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{
    books::{self, Books},
    holds::{Candidate, Holds},
    lane::stored_lanes,
    leases::{Held, Leases},
    settle, urgent,
};
use crate::{
    error::Result,
    record::{LeaseId, State},
};

/// How many unseen records one call looks at, so that appends never wait long for a scan.
const SCAN_BUDGET: usize = 1_000;

/// What a lease call took.
#[derive(Debug)]
pub(crate) struct Picks {
    /// Lease, record and counted attempts.
    pub(crate) picked: Vec<(LeaseId, i64, u32)>,
    /// Leases that ran out and were given anew: to be restored if the transaction fails.
    pub(crate) replaced: Vec<(LeaseId, Held)>,
    /// Whether nothing more is leasable at present.
    pub(crate) exhausted: bool,
}

/// What a lease call works on and what it may take.
pub(crate) struct Hand<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) books: &'a mut Books,
    pub(crate) leases: &'a mut Leases,
    pub(crate) holds: &'a Holds,
    pub(crate) destination: i64,
    pub(crate) name: &'a str,
    pub(crate) max: usize,
    pub(crate) deadline: Instant,
    pub(crate) now: i64,
}

/// Rows of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What a person lets through.
    Passed,
    Urgent,
    Any,
}

/// Leases up to `max` deliveries. The caller holds the transaction and undoes the leases if it fails, also
/// when this is what fails: `picks` says what was done so far.
pub(crate) fn pick(hand: &mut Hand<'_>, picks: &mut Picks) -> Result<()> {
    let paused = hand
        .books
        .destinations
        .get(&hand.destination)
        .is_some_and(|destination| destination.paused.is_some());
    expired(hand, paused, picks);
    let kinds: &[Kind] = if paused {
        &[Kind::Passed]
    } else {
        urgent::admit(hand)?;
        &[Kind::Urgent, Kind::Any]
    };
    picks.exhausted = true;
    let all = hand.max;
    for kind in kinds {
        if *kind == Kind::Urgent {
            hand.max = urgent::share(hand, picks.picked.len());
        }
        for state in [State::Queued, State::Retrying] {
            if rows(hand, state, *kind, picks)? {
                // Some were held, in place of others that may go.
                picks.exhausted = false;
            }
        }
        hand.max = all;
    }
    if picks.picked.len() >= hand.max {
        picks.exhausted = false;
    } else if !paused {
        picks.exhausted &= scan(hand, picks)?;
    }
    Ok(())
}

/// How long from now.
pub(crate) fn deadline(lease_for: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(lease_for)
        .unwrap_or(now + Duration::from_secs(86_400 * 365))
}

/// When the next retry of a destination falls due.
pub(crate) fn next_retry(
    conn: &Connection,
    destination: i64,
    now: i64,
    paused: bool,
) -> Result<Option<i64>> {
    let sql = if paused {
        "SELECT min(not_before) FROM deliveries INDEXED BY deliveries_pass
         WHERE destination = ?1 AND state = 3 AND state < 5 AND pass = 1 AND not_before > ?2"
    } else {
        "SELECT min(not_before) FROM deliveries INDEXED BY deliveries_open
         WHERE destination = ?1 AND state = 3 AND state < 5 AND not_before > ?2"
    };
    Ok(conn
        .prepare_cached(sql)?
        .query_row([destination, now], |row| row.get(0))?)
}

/// Moves the scan over records that are for others, without side effects; returns the first record that
/// nobody has looked at, if the budget suffices to find it.
pub(crate) fn first_unseen(
    conn: &Connection,
    books: &mut Books,
    leases: &Leases,
    id: i64,
) -> Result<Option<i64>> {
    let Some((mut scan, horizon)) = books.destinations.get(&id).map(|d| (d.scan, d.horizon)) else {
        return Ok(None);
    };
    let mut found = None;
    let mut statement =
        conn.prepare_cached("SELECT id, audience FROM records WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let mut rows = statement.query(params![scan, i64::try_from(SCAN_BUDGET).unwrap_or(1_000)])?;
    while let Some(row) = rows.next()? {
        let record: i64 = row.get(0)?;
        let mine = books.members(row.get(1)?).contains(&id);
        if mine && !leases.holds(id, record) && !(record <= horizon && has_row(conn, id, record)?) {
            found = Some(record);
            break;
        }
        scan = record;
    }
    if let Some(destination) = books.destinations.get_mut(&id) {
        destination.scan = scan;
    }
    Ok(found)
}

/// Gives what ran out to whoever asks now.
fn expired(hand: &mut Hand<'_>, paused: bool, picks: &mut Picks) {
    for id in hand.leases.expired(hand.destination, Instant::now()) {
        if picks.picked.len() >= hand.max {
            break;
        }
        if paused && !hand.leases.is_passed(id) {
            continue;
        }
        if let Some(held) = hand.leases.take(id) {
            let renewed = Held {
                deadline: hand.deadline,
                ..held.clone()
            };
            picks.replaced.push((id, held));
            let (record, attempts) = (renewed.record, renewed.attempts);
            picks
                .picked
                .push((hand.leases.add(renewed), record, attempts));
        }
    }
}

/// Takes rows that are ready or due; returns whether some of them were held instead.
fn rows(hand: &mut Hand<'_>, state: State, kind: Kind, picks: &mut Picks) -> Result<bool> {
    if picks.picked.len() >= hand.max {
        return Ok(false);
    }
    // What is leased already stays in the index until it is settled: read past it.
    let limit = hand.max - picks.picked.len() + hand.leases.with_row(hand.destination);
    let mut statement = hand.conn.prepare_cached(match kind {
        Kind::Passed => {
            "SELECT d.record, d.attempts, r.keys, r.size, d.pass
             FROM deliveries d INDEXED BY deliveries_pass JOIN records r ON r.id = d.record
             WHERE d.destination = ?1 AND d.state = ?2 AND d.state < 5 AND d.pass = 1 AND d.not_before <= ?3
             ORDER BY d.not_before, d.record LIMIT ?4"
        }
        Kind::Urgent => {
            "SELECT d.record, d.attempts, r.keys, r.size, d.pass
             FROM deliveries d INDEXED BY deliveries_urgent JOIN records r ON r.id = d.record
             WHERE d.destination = ?1 AND d.state = ?2 AND d.state < 5 AND d.urgent = 1 AND d.not_before <= ?3
             ORDER BY d.not_before, d.record LIMIT ?4"
        }
        Kind::Any => {
            "SELECT d.record, d.attempts, r.keys, r.size, d.pass
             FROM deliveries d INDEXED BY deliveries_open JOIN records r ON r.id = d.record
             WHERE d.destination = ?1 AND d.state = ?2 AND d.state < 5 AND d.not_before <= ?3
             ORDER BY d.not_before, d.record LIMIT ?4"
        }
    })?;
    let concerned = hand.holds.concern(hand.name);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![
        hand.destination,
        books::code(state),
        hand.now,
        limit
    ])?;
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        let record: i64 = row.get(0)?;
        if hand.leases.holds(hand.destination, record) {
            continue;
        }
        let attempts = row.get(1)?;
        let held = Held {
            destination: hand.destination,
            record,
            lanes: stored_lanes(row.get_ref(2)?.as_str().unwrap_or_default()),
            size: row.get(3)?,
            attempts,
            row: Some(state),
            passed: row.get(4)?,
            deadline: hand.deadline,
        };
        if concerned && !held.passed && is_held(hand, record, &held.lanes)? {
            kept.push(held);
            continue;
        }
        picks.picked.push((hand.leases.add(held), record, attempts));
        if picks.picked.len() >= hand.max {
            break;
        }
    }
    drop(rows);
    for held in &kept {
        settle::keep(hand.conn, hand.books, held, hand.now)?;
    }
    Ok(!kept.is_empty())
}

/// Returns whether it reached the end of the records.
fn scan(hand: &mut Hand<'_>, picks: &mut Picks) -> Result<bool> {
    let id = hand.destination;
    let Some((mut position, horizon)) = hand
        .books
        .destinations
        .get(&id)
        .map(|d| (d.scan, d.horizon))
    else {
        return Ok(true);
    };
    let concerned = hand.holds.concern(hand.name);
    let mut changes = Vec::new();
    let mut seen = 0;
    let mut statement = hand.conn.prepare_cached(
        "SELECT id, audience, keys, size, urgent FROM records WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows = statement.query(params![
        position,
        i64::try_from(SCAN_BUDGET).unwrap_or(1_000)
    ])?;
    while picks.picked.len() < hand.max
        && let Some(row) = rows.next()?
    {
        seen += 1;
        let record: i64 = row.get(0)?;
        position = record;
        if !hand.books.members(row.get(1)?).contains(&id)
            || hand.leases.holds(id, record)
            || (record <= horizon && has_row(hand.conn, id, record)?)
        {
            continue;
        }
        let lanes = stored_lanes(row.get_ref(2)?.as_str().unwrap_or_default());
        let size = row.get(3)?;
        if is_blocked(hand.conn, hand.leases, id, record, &lanes)? {
            set_aside(hand.conn, id, record, State::Waiting, &lanes, hand.now)?;
            changes.push((State::Waiting, size));
            if row.get(4)? {
                urgent::hurry(hand.conn, id, record)?;
            }
        } else if concerned && is_held(hand, record, &lanes)? {
            set_aside(hand.conn, id, record, State::Parked, &lanes, hand.now)?;
            changes.push((State::Parked, size));
        } else {
            let held = Held {
                destination: id,
                record,
                lanes,
                size,
                attempts: 0,
                row: None,
                passed: false,
                deadline: hand.deadline,
            };
            picks.picked.push((hand.leases.add(held), record, 0));
        }
    }
    for (state, size) in changes {
        hand.books.change(id, State::Queued, state, size);
    }
    if let Some(destination) = hand.books.destinations.get_mut(&id) {
        destination.scan = position;
    }
    Ok(seen < SCAN_BUDGET && picks.picked.len() < hand.max)
}

/// Gives a row to every record up to `to` (at most `budget` are looked at) that nobody has looked at: queued or
/// waiting. Returns whether it got there.
pub(crate) fn register(
    conn: &Connection,
    books: &mut Books,
    leases: &Leases,
    id: i64,
    to: i64,
    budget: usize,
    now: i64,
) -> Result<bool> {
    let Some((mut position, horizon)) = books.destinations.get(&id).map(|d| (d.scan, d.horizon))
    else {
        return Ok(true);
    };
    let mut changes = Vec::new();
    let mut statement = conn.prepare_cached(
        "SELECT id, audience, keys, size, urgent FROM records WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
    )?;
    let limit = i64::try_from(budget).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![position, to, limit])?;
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        seen += 1;
        let record: i64 = row.get(0)?;
        position = record;
        if !books.members(row.get(1)?).contains(&id)
            || leases.holds(id, record)
            || (record <= horizon && has_row(conn, id, record)?)
        {
            continue;
        }
        let lanes = stored_lanes(row.get_ref(2)?.as_str().unwrap_or_default());
        let state = if is_blocked(conn, leases, id, record, &lanes)? {
            State::Waiting
        } else {
            State::Queued
        };
        set_aside(conn, id, record, state, &lanes, now)?;
        if state == State::Waiting {
            changes.push(row.get(3)?);
        }
        if row.get(4)? {
            urgent::hurry(conn, id, record)?;
        }
    }
    drop(rows);
    for size in changes {
        books.change(id, State::Queued, State::Waiting, size);
    }
    if let Some(destination) = books.destinations.get_mut(&id) {
        destination.scan = position;
        destination.dirty = true;
    }
    Ok(seen < budget)
}

/// Whether a record must wait: another one of its lanes is leased, or an earlier one is still open.
fn is_blocked(
    conn: &Connection,
    leases: &Leases,
    destination: i64,
    record: i64,
    lanes: &[i64],
) -> Result<bool> {
    for lane in lanes {
        if leases.is_busy(destination, *lane) || has_earlier(conn, destination, *lane, record)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_held(hand: &Hand<'_>, record: i64, lanes: &[i64]) -> Result<bool> {
    let candidate = Candidate {
        destination: hand.name,
        record,
        lanes,
    };
    hand.holds.hold(hand.conn, &candidate)
}

/// Whether an earlier record of the lane is written down as open.
pub(crate) fn has_earlier(
    conn: &Connection,
    destination: i64,
    lane: i64,
    record: i64,
) -> Result<bool> {
    Ok(conn
        .prepare_cached(
            "SELECT 1 FROM lanes WHERE destination = ?1 AND lane = ?2 AND record < ?3 LIMIT 1",
        )?
        .exists([destination, lane, record])?)
}

fn set_aside(
    conn: &Connection,
    destination: i64,
    record: i64,
    state: State,
    lanes: &[i64],
    now: i64,
) -> Result<()> {
    let reason = (state == State::Parked).then_some(crate::REASON_HELD);
    conn.prepare_cached(
        "INSERT INTO deliveries (destination, record, state, changed_at, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        destination,
        record,
        books::code(state),
        now,
        reason
    ])?;
    enter(conn, destination, record, lanes)
}

/// Writes down that a record is open on its lanes.
pub(crate) fn enter(conn: &Connection, destination: i64, record: i64, lanes: &[i64]) -> Result<()> {
    for lane in lanes {
        conn.prepare_cached(
            "INSERT OR IGNORE INTO lanes (destination, lane, record) VALUES (?1, ?2, ?3)",
        )?
        .execute([destination, *lane, record])?;
    }
    Ok(())
}

fn has_row(conn: &Connection, destination: i64, record: i64) -> Result<bool> {
    Ok(conn
        .prepare_cached("SELECT 1 FROM deliveries WHERE destination = ?1 AND record = ?2")?
        .exists([destination, record])?)
}

/// After a restart: what was leased and had no row gets one (ready, on its lanes), so that whatever looks for
/// an earlier record of a lane finds it. Only records up to the newest row can be concerned; later ones are
/// simply read again.
pub(crate) fn recover(conn: &Connection, books: &Books, now: i64) -> Result<()> {
    for (id, destination) in &books.destinations {
        let mut statement = conn.prepare_cached(
            "SELECT r.id, r.keys FROM records r JOIN audience_members a ON a.audience = r.audience
             WHERE r.id > ?1 AND r.id <= ?2 AND a.destination = ?3 AND a.destination > 0
               AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.destination = ?3 AND d.record = r.id)",
        )?;
        let found = statement
            .query_map([destination.position, destination.horizon, *id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
        for (record, keys) in found {
            set_aside(conn, *id, record, State::Queued, &stored_lanes(&keys), now)?;
        }
    }
    Ok(())
}
