//! Retention: the only thing that ever removes a record.

use rusqlite::{Connection, params};

use super::{
    books::{self, Books, NOBODY},
    schema,
};
use crate::{
    browse::{Retained, Retention},
    error::Result,
    record::State,
};

/// Records looked at in one transaction.
const STEP: i64 = 256;

/// What one step did.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) removed: Retained,
    /// Where to go on; `None`: done.
    pub(crate) next: Option<i64>,
}

/// Removes what the policy allows among the next few records after `after`.
pub(crate) fn step(
    conn: &Connection,
    books: &mut Books,
    policy: &Retention,
    after: i64,
    now: i64,
) -> Result<Step> {
    let cutoff = |age: Option<std::time::Duration>| {
        age.map_or(i64::MIN, |age| {
            now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
        })
    };
    let (done_before, dead_before) = (cutoff(policy.done_for), cutoff(policy.dead_for));
    let mut excess = match policy.max_bytes {
        Some(max) => {
            i64::try_from(schema::used_bytes(conn)?.saturating_sub(max)).unwrap_or(i64::MAX)
        }
        None => 0,
    };
    let mut step = Step {
        removed: Retained::default(),
        next: None,
    };
    for old in candidates(conn, after)? {
        if excess <= 0 && old.stored_at >= done_before.max(dead_before) {
            // Everything that follows is younger.
            return Ok(Step { next: None, ..step });
        }
        step.next = Some(old.id);
        if !old.is_done {
            continue;
        }
        let by_age = old.stored_at
            < if old.is_dead {
                dead_before
            } else {
                done_before
            };
        if !by_age && (excess <= 0 || old.is_dead) {
            continue;
        }
        remove(conn, books, old.id)?;
        excess -= old.size;
        step.removed.bytes += u64::try_from(old.size).unwrap_or(0);
        if by_age {
            step.removed.by_age += 1;
        } else {
            step.removed.by_size += 1;
        }
    }
    Ok(step)
}

struct Old {
    id: i64,
    stored_at: i64,
    size: i64,
    /// Every destination has a final state.
    is_done: bool,
    is_dead: bool,
}

fn candidates(conn: &Connection, after: i64) -> Result<Vec<Old>> {
    let mut statement = conn.prepare_cached(
        "SELECT r.id, r.stored_at, r.size,
                sum(a.destination > 0 AND coalesce(d.state, 1) < 5) = 0, coalesce(sum(d.state = 6), 0) > 0
         FROM (SELECT id, stored_at, size, audience FROM records WHERE id > ?1 ORDER BY id LIMIT ?2) r
         JOIN audience_members a ON a.audience = r.audience
         LEFT JOIN deliveries d ON d.destination = a.destination AND d.record = r.id
         GROUP BY r.id ORDER BY r.id",
    )?;
    let rows = statement.query_map([after, STEP], |row| {
        Ok(Old {
            id: row.get(0)?,
            stored_at: row.get(1)?,
            size: row.get(2)?,
            is_done: row.get(3)?,
            is_dead: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn remove(conn: &Connection, books: &mut Books, id: i64) -> Result<()> {
    let audience: i64 = conn
        .prepare_cached("SELECT audience FROM records WHERE id = ?1")?
        .query_row([id], |row| row.get(0))?;
    let members = books.members(audience).to_vec();
    for destination in members {
        if destination == NOBODY {
            books.remove(destination, State::Filtered);
            continue;
        }
        let state: i64 = conn
            .prepare_cached(
                "DELETE FROM deliveries WHERE destination = ?1 AND record = ?2 RETURNING state",
            )?
            .query_row([destination, id], |row| row.get(0))?;
        books.remove(destination, books::state(state));
    }
    conn.prepare_cached("DELETE FROM payloads WHERE id = ?1")?
        .execute([id])?;
    conn.prepare_cached("DELETE FROM records WHERE id = ?1")?
        .execute(params![id])?;
    Ok(())
}
