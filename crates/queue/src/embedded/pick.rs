//! Leasing: which deliveries of a destination are next.
//!
//! Four sources, oldest kind first: leases that ran out, rows that are ready, retries that are due, and
//! records that nobody has looked at yet. The last are read in order from where the scan stopped; one whose
//! key is taken is written down as waiting (with its lanes) and never scanned again, so the cost of a
//! backlog is paid once, and nothing about it is kept in memory.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{
    books::{self, Books},
    lane::lanes,
    leases::{Held, Leases},
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

/// Leases up to `max` deliveries. The caller holds the transaction and undoes the leases if it fails, also
/// when this is what fails: `picks` says what was done so far.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of the writer, with all it works on"
)]
pub(crate) fn pick(
    conn: &Connection,
    books: &mut Books,
    leases: &mut Leases,
    destination: i64,
    max: usize,
    lease_for: Duration,
    now: i64,
    picks: &mut Picks,
) -> Result<()> {
    let started = Instant::now();
    let deadline = started
        .checked_add(lease_for)
        .unwrap_or(started + Duration::from_secs(86_400 * 365));
    for id in leases.expired(destination, started) {
        if picks.picked.len() >= max {
            break;
        }
        if let Some(held) = leases.take(id) {
            let renewed = Held {
                deadline,
                ..held.clone()
            };
            picks.replaced.push((id, held));
            let (record, attempts) = (renewed.record, renewed.attempts);
            picks.picked.push((leases.add(renewed), record, attempts));
        }
    }
    for state in [State::Queued, State::Retrying] {
        rows(conn, leases, destination, state, max, deadline, now, picks)?;
    }
    if picks.picked.len() < max {
        picks.exhausted = scan(conn, books, leases, destination, max, deadline, now, picks)?;
    } else {
        picks.exhausted = false;
    }
    Ok(())
}

/// When the next retry of a destination falls due.
pub(crate) fn next_retry(conn: &Connection, destination: i64, now: i64) -> Result<Option<i64>> {
    Ok(conn
        .prepare_cached(
            "SELECT min(not_before) FROM deliveries INDEXED BY deliveries_open
             WHERE destination = ?1 AND state = 3 AND state < 5 AND not_before > ?2",
        )?
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

#[expect(
    clippy::too_many_arguments,
    reason = "one step of pick, with all it works on"
)]
fn rows(
    conn: &Connection,
    leases: &mut Leases,
    destination: i64,
    state: State,
    max: usize,
    deadline: Instant,
    now: i64,
    picks: &mut Picks,
) -> Result<()> {
    if picks.picked.len() >= max {
        return Ok(());
    }
    // What is leased already stays in the index until it is settled: read past it.
    let limit = max - picks.picked.len() + leases.with_row(destination);
    let mut statement = conn.prepare_cached(
        "SELECT d.record, d.attempts, r.keys, r.size
         FROM deliveries d INDEXED BY deliveries_open JOIN records r ON r.id = d.record
         WHERE d.destination = ?1 AND d.state = ?2 AND d.state < 5 AND d.not_before <= ?3
         ORDER BY d.not_before, d.record LIMIT ?4",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![destination, books::code(state), now, limit])?;
    while let Some(row) = rows.next()? {
        let record: i64 = row.get(0)?;
        if leases.holds(destination, record) {
            continue;
        }
        let attempts = row.get(1)?;
        let lanes = stored_lanes(row.get_ref(2)?.as_str().unwrap_or_default());
        let held = Held {
            destination,
            record,
            lanes,
            size: row.get(3)?,
            attempts,
            row: Some(state),
            deadline,
        };
        picks.picked.push((leases.add(held), record, attempts));
        if picks.picked.len() >= max {
            break;
        }
    }
    Ok(())
}

/// Returns whether it reached the end of the records.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of pick, with all it works on"
)]
fn scan(
    conn: &Connection,
    books: &mut Books,
    leases: &mut Leases,
    id: i64,
    max: usize,
    deadline: Instant,
    now: i64,
    picks: &mut Picks,
) -> Result<bool> {
    let Some((mut position, horizon)) = books.destinations.get(&id).map(|d| (d.scan, d.horizon))
    else {
        return Ok(true);
    };
    let mut aside = Vec::new();
    let mut seen = 0;
    let mut statement = conn.prepare_cached(
        "SELECT id, audience, keys, size FROM records WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows = statement.query(params![
        position,
        i64::try_from(SCAN_BUDGET).unwrap_or(1_000)
    ])?;
    while picks.picked.len() < max
        && let Some(row) = rows.next()?
    {
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
        let size = row.get(3)?;
        if is_blocked(conn, leases, id, record, &lanes)? {
            set_aside(conn, id, record, &lanes, now)?;
            aside.push(size);
        } else {
            let held = Held {
                destination: id,
                record,
                lanes,
                size,
                attempts: 0,
                row: None,
                deadline,
            };
            picks.picked.push((leases.add(held), record, 0));
        }
    }
    for size in aside {
        books.change(id, State::Queued, State::Waiting, size);
    }
    if let Some(destination) = books.destinations.get_mut(&id) {
        destination.scan = position;
    }
    Ok(seen < SCAN_BUDGET && picks.picked.len() < max)
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
    lanes: &[i64],
    now: i64,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO deliveries (destination, record, state, changed_at) VALUES (?1, ?2, 2, ?3)",
    )?
    .execute([destination, record, now])?;
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

/// Lanes of stored ordering keys. Keys that cannot be read (a damaged row) make one lane of their own text:
/// the record is then found damaged when it is leased.
pub(crate) fn stored_lanes(keys: &str) -> Vec<i64> {
    match serde_json::from_str::<Vec<std::borrow::Cow<'_, str>>>(keys) {
        Ok(keys) => lanes(&keys),
        Err(_) => lanes(&[keys]),
    }
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
            conn.prepare_cached(
                "INSERT INTO deliveries (destination, record, state, changed_at) VALUES (?1, ?2, 1, ?3)",
            )?
            .execute([*id, record, now])?;
            enter(conn, *id, record, &stored_lanes(&keys))?;
        }
    }
    Ok(())
}
