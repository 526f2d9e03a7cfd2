//! Settling: what a lease ended with, and who is next on its lanes.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    books::{self, Books},
    ciphers::Ciphers,
    lane::stored_lanes,
    leases::{Held, Leases},
    pick::{enter, has_earlier},
};
use crate::{
    error::Result,
    record::{Outcome, State},
};

/// A delivery's row after a change.
struct Row<'a> {
    state: State,
    attempts: u32,
    not_before: i64,
    reason: Option<&'a str>,
    detail: Option<&'a str>,
}

/// Writes an outcome. The lease has been taken out of `leases`; `due` is the time of a retry by the queue's
/// clock. The caller holds the transaction.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of the writer, with all it works on"
)]
pub(crate) fn settle(
    conn: &Connection,
    ciphers: &Ciphers,
    books: &mut Books,
    leases: &Leases,
    held: &Held,
    outcome: &Outcome,
    due: i64,
    now: i64,
) -> Result<()> {
    let plain = |state| Row {
        state,
        attempts: held.attempts,
        not_before: 0,
        reason: None,
        detail: None,
    };
    let row = match outcome {
        Outcome::Delivered { detail } => Row {
            detail: detail.as_deref(),
            ..plain(State::Delivered)
        },
        Outcome::Filtered { reason } => Row {
            reason: Some(reason),
            ..plain(State::Filtered)
        },
        Outcome::RetryAt {
            counted, reason, ..
        } => Row {
            attempts: held.attempts.saturating_add(u32::from(*counted)),
            not_before: due.max(1),
            reason: Some(reason),
            ..plain(State::Retrying)
        },
        Outcome::Dead { reason, detail } => Row {
            reason: Some(reason),
            detail: detail.as_deref(),
            ..plain(State::Dead)
        },
        Outcome::Park { reason, detail } => Row {
            reason: Some(reason),
            detail: detail.as_deref(),
            ..plain(State::Parked)
        },
    };
    write(conn, ciphers, books, leases, held, &row, now)
}

/// Gives up a delivery that is not leased.
pub(crate) fn give_up(
    conn: &Connection,
    books: &mut Books,
    leases: &Leases,
    held: &Held,
    reason: &str,
    now: i64,
) -> Result<()> {
    let row = Row {
        state: State::Dead,
        attempts: held.attempts,
        not_before: 0,
        reason: Some(reason),
        detail: None,
    };
    // Without a detail there is nothing to encrypt.
    write(conn, &Ciphers::default(), books, leases, held, &row, now)
}

/// Makes a parked or retrying delivery ready. It is still the first of its lanes. A passed one goes though its
/// destination is paused or a hold is on it.
pub(crate) fn make_ready(
    conn: &Connection,
    books: &mut Books,
    held: &Held,
    now: i64,
) -> Result<()> {
    conn.prepare_cached(
        "UPDATE deliveries SET state = 1, attempts = 0, not_before = 0, changed_at = ?3, pass = max(pass, ?4),
            reason = nullif(reason, 'held')
         WHERE destination = ?1 AND record = ?2",
    )?
    .execute(params![held.destination, held.record, now, held.passed])?;
    books.change(
        held.destination,
        held.row.unwrap_or(State::Queued),
        State::Queued,
        held.size,
    );
    Ok(())
}

/// Parks a delivery that is ready or due because of a hold.
pub(crate) fn keep(conn: &Connection, books: &mut Books, held: &Held, now: i64) -> Result<()> {
    conn.prepare_cached(
        "UPDATE deliveries SET state = 4, not_before = 0, changed_at = ?3, reason = ?4
         WHERE destination = ?1 AND record = ?2",
    )?
    .execute(params![
        held.destination,
        held.record,
        now,
        crate::REASON_HELD
    ])?;
    books.change(
        held.destination,
        held.row.unwrap_or(State::Queued),
        State::Parked,
        held.size,
    );
    Ok(())
}

fn write(
    conn: &Connection,
    ciphers: &Ciphers,
    books: &mut Books,
    leases: &Leases,
    held: &Held,
    row: &Row<'_>,
    now: i64,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO deliveries (destination, record, state, attempts, not_before, changed_at, reason, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET state = excluded.state, attempts = excluded.attempts,
            not_before = excluded.not_before, changed_at = excluded.changed_at, reason = excluded.reason,
            detail = excluded.detail, pass = CASE excluded.state WHEN 4 THEN 0 ELSE pass END",
    )?
    .execute(params![
        held.destination,
        held.record,
        books::code(row.state),
        row.attempts,
        row.not_before,
        now,
        row.reason,
        ciphers.seal_detail(held.destination, held.record, row.detail)?,
    ])?;
    books.change(
        held.destination,
        held.row.unwrap_or(State::Queued),
        row.state,
        held.size,
    );
    if !row.state.is_final() {
        // Its row in the lanes blocks the key from now on, in place of the lease.
        return enter(conn, held.destination, held.record, &held.lanes);
    }
    for lane in &held.lanes {
        if held.row.is_some() {
            conn.prepare_cached(
                "DELETE FROM lanes WHERE destination = ?1 AND lane = ?2 AND record = ?3",
            )?
            .execute([held.destination, *lane, held.record])?;
        }
    }
    for lane in &held.lanes {
        promote(conn, books, leases, held.destination, *lane, now)?;
    }
    Ok(())
}

/// Makes the first waiting record of a lane ready, if it is the first of all its lanes.
fn promote(
    conn: &Connection,
    books: &mut Books,
    leases: &Leases,
    destination: i64,
    lane: i64,
    now: i64,
) -> Result<()> {
    let next: Option<(i64, i64, String, i64)> = conn
        .prepare_cached(
            "SELECT l.record, d.state, r.keys, r.size FROM lanes l
             JOIN deliveries d ON d.destination = l.destination AND d.record = l.record
             JOIN records r ON r.id = l.record
             WHERE l.destination = ?1 AND l.lane = ?2 ORDER BY l.record LIMIT 1",
        )?
        .query_row([destination, lane], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((record, state, keys, size)) = next else {
        return Ok(());
    };
    if books::state(state) != State::Waiting {
        return Ok(());
    }
    for lane in stored_lanes(&keys) {
        if leases.is_busy(destination, lane) || has_earlier(conn, destination, lane, record)? {
            return Ok(());
        }
    }
    conn.prepare_cached(
        "UPDATE deliveries SET state = 1, changed_at = ?3 WHERE destination = ?1 AND record = ?2",
    )?
    .execute([destination, record, now])?;
    books.change(destination, State::Waiting, State::Queued, size);
    Ok(())
}
