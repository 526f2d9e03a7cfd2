//! Urgent records: they, and what they have to wait for, go first; order per key holds, and others go on.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    lane::stored_lanes,
    pick::{Hand, register},
};
use crate::error::Result;

/// Unseen records in front of an urgent one that one lease call writes down, so that the call stays short.
const BUDGET: usize = 4_000;

/// So many leases of a destination may be urgent ones in a row where one is asked for at a time.
const ROW: u32 = 3;

/// Looks for urgent records far behind the scan, and writes down what is in front of them: then the lanes say
/// what they wait for. What is near is met by the scan.
pub(crate) fn admit(hand: &mut Hand<'_>) -> Result<()> {
    let id = hand.destination;
    loop {
        let Some((scan, seen)) = hand
            .books
            .destinations
            .get(&id)
            .map(|destination| (destination.scan, destination.urgent_seen))
        else {
            return Ok(());
        };
        let next: Option<(i64, i64)> = hand
            .conn
            .prepare_cached(
                "SELECT id, audience FROM records INDEXED BY records_urgent
                 WHERE urgent = 1 AND id > ?1 ORDER BY id LIMIT 1",
            )?
            .query_row([scan.max(seen)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((record, audience)) = next else {
            return Ok(());
        };
        let mine = hand.books.members(audience).contains(&id);
        if mine {
            let arrived = register(
                hand.conn,
                hand.books,
                hand.leases,
                id,
                record,
                BUDGET,
                hand.now,
            )?;
            if !arrived {
                return Ok(());
            }
        }
        if let Some(destination) = hand.books.destinations.get_mut(&id) {
            destination.urgent_seen = record;
        }
    }
}

/// How many of a call's leases may be urgent ones, with `taken` gone already: a quarter is for others.
pub(crate) fn share(hand: &mut Hand<'_>, taken: usize) -> usize {
    let Some(destination) = hand.books.destinations.get_mut(&hand.destination) else {
        return hand.max;
    };
    if hand.max >= 4 {
        return taken + (hand.max - taken) * 3 / 4;
    }
    destination.urgent_row += 1;
    if destination.urgent_row > ROW {
        destination.urgent_row = 0;
        return hand.max.saturating_sub(1);
    }
    hand.max
}

/// Marks an open delivery and everything it waits for, over all lanes.
pub(crate) fn hurry(conn: &Connection, destination: i64, record: i64) -> Result<()> {
    let mut mark = conn.prepare_cached(
        "UPDATE deliveries SET urgent = 1 WHERE destination = ?1 AND record = ?2 AND urgent = 0 AND state < 5",
    )?;
    let mut keys_of = conn.prepare_cached("SELECT keys FROM records WHERE id = ?1")?;
    let mut earlier = conn.prepare_cached(
        "SELECT record FROM lanes WHERE destination = ?1 AND lane = ?2 AND record < ?3",
    )?;
    let mut open = vec![record];
    while let Some(record) = open.pop() {
        if mark.execute([destination, record])? == 0 {
            continue;
        }
        let keys: Option<String> = keys_of.query_row([record], |row| row.get(0)).optional()?;
        for lane in stored_lanes(&keys.unwrap_or_default()) {
            let rows = earlier.query_map(params![destination, lane, record], |row| row.get(0))?;
            for row in rows {
                open.push(row?);
            }
        }
    }
    Ok(())
}
