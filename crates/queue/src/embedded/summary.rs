//! The status, from the books and the leases.

use rusqlite::{Connection, OptionalExtension};

use super::{
    books::{Books, Destination, NOBODY},
    leases::Leases,
    pick, schema,
};
use crate::{
    error::Result,
    status::{DestinationStatus, Status},
};

/// Where everything stands. The scan of a destination may move over records that are for others.
pub(crate) fn status(
    conn: &Connection,
    books: &mut Books,
    leases: &Leases,
    now: i64,
) -> Result<Status> {
    let mut status = Status {
        database_bytes: schema::used_bytes(conn)?,
        ..from_books(books)
    };
    let ids: Vec<i64> = books
        .destinations
        .keys()
        .copied()
        .filter(|id| *id != NOBODY)
        .collect();
    for id in ids {
        let oldest = oldest(conn, books, leases, id)?;
        let Some(destination) = books.destinations.get(&id) else {
            continue;
        };
        let Some(line) = status.destinations.get_mut(&destination.name) else {
            continue;
        };
        let (queued, retrying) = leases.count(id);
        line.queued = line.queued.saturating_sub(count(queued));
        line.retrying = line.retrying.saturating_sub(count(retrying));
        line.leased = count(queued + retrying);
        if let Some(oldest) = oldest {
            line.oldest_age_ms = stored_at(conn, oldest)?.map(|stored_at| count(now - stored_at));
        }
    }
    total(&mut status);
    Ok(status)
}

/// The same without looking at the disk, for a queue that has stopped.
pub(crate) fn stopped(books: &Books, found_wrong: u64) -> Status {
    let mut status = from_books(books);
    total(&mut status);
    status.mismatch += found_wrong;
    status.stopped = true;
    status
}

fn from_books(books: &Books) -> Status {
    let mut status = Status {
        records: count(books.last_record()),
        ..Status::default()
    };
    for (id, destination) in &books.destinations {
        if *id == NOBODY {
            status.unrouted = count(destination.counters.filtered);
        } else {
            status
                .destinations
                .insert(destination.name.clone(), line(destination));
        }
    }
    status
}

fn line(destination: &Destination) -> DestinationStatus {
    let c = &destination.counters;
    DestinationStatus {
        accepted: count(c.accepted),
        queued: count(c.queued),
        waiting: count(c.waiting),
        leased: 0,
        retrying: count(c.retrying),
        parked: count(c.parked),
        delivered: count(c.delivered),
        dead: count(c.dead),
        filtered: count(c.filtered),
        dead_kept: count(c.dead - c.removed_dead),
        oldest_age_ms: None,
        bytes: count(c.open_bytes),
        paused: destination.paused.clone(),
    }
}

fn total(status: &mut Status) {
    let mut total = DestinationStatus {
        accepted: status.unrouted,
        filtered: status.unrouted,
        ..Default::default()
    };
    let mut mismatch = 0;
    for line in status.destinations.values() {
        total.accepted += line.accepted;
        total.queued += line.queued;
        total.waiting += line.waiting;
        total.leased += line.leased;
        total.retrying += line.retrying;
        total.parked += line.parked;
        total.delivered += line.delivered;
        total.dead += line.dead;
        total.filtered += line.filtered;
        total.dead_kept += line.dead_kept;
        total.bytes += line.bytes;
        total.oldest_age_ms = total.oldest_age_ms.max(line.oldest_age_ms);
        mismatch += line.mismatch();
    }
    status.mismatch = mismatch;
    status.total = total;
}

/// The oldest record that is open for a destination.
pub(crate) fn oldest(
    conn: &Connection,
    books: &mut Books,
    leases: &Leases,
    id: i64,
) -> Result<Option<i64>> {
    let unseen = pick::first_unseen(conn, books, leases, id)?;
    let mut statement = conn.prepare_cached(
        "SELECT min(record) FROM deliveries INDEXED BY deliveries_open
         WHERE destination = ?1 AND state = ?2 AND state < 5 AND not_before = 0",
    )?;
    let mut oldest = [unseen, leases.oldest_fresh(id)]
        .into_iter()
        .flatten()
        .min();
    for state in [1, 2, 4] {
        let first: Option<i64> = statement.query_row([id, state], |row| row.get(0))?;
        oldest = [oldest, first].into_iter().flatten().min();
    }
    let retrying: Option<i64> = conn
        .prepare_cached(
            "SELECT min(record) FROM deliveries INDEXED BY deliveries_open
             WHERE destination = ?1 AND state = 3 AND state < 5",
        )?
        .query_row([id], |row| row.get(0))?;
    Ok([oldest, retrying].into_iter().flatten().min())
}

fn stored_at(conn: &Connection, record: i64) -> Result<Option<i64>> {
    Ok(conn
        .prepare_cached("SELECT stored_at FROM records WHERE id = ?1")?
        .query_row([record], |row| row.get(0))
        .optional()?)
}

/// A count is never negative; if one were, `mismatch` would show it as a difference.
fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
