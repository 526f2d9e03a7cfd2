//! The status: the sums of the books, and what is held.

use super::{Home, state, transaction};
use crate::{
    error::Result,
    record::State,
    status::{DestinationStatus, Status},
};

/// How many of the oldest open records are looked at to find the oldest of a destination.
const LOOK_BACK: i64 = 10_000;

const BOOKED: &str =
    "SELECT destination, CAST(sum(accepted) AS BIGINT), CAST(sum(delivered) AS BIGINT),
        CAST(sum(dead) AS BIGINT), CAST(sum(filtered) AS BIGINT), CAST(sum(removed_dead) AS BIGINT),
        CAST(sum(open_bytes) AS BIGINT)
     FROM books GROUP BY destination";

const HELD: &str = "SELECT destination, state, count(*) FROM deliveries WHERE state < 5 GROUP BY destination, state";

const OLDEST: &str = "SELECT m.value, min(r.stored_at)
     FROM (SELECT id, stored_at, destinations FROM records WHERE open > 0 AND published = 1 ORDER BY id LIMIT $1) r, {members}
     WHERE NOT EXISTS (SELECT 1 FROM deliveries d
        WHERE d.record = r.id AND d.destination = m.value AND d.state > 4)
     GROUP BY m.value";

impl Home {
    /// Where everything stands. What is with the broker counts as queued; who leases knows what is leased.
    pub(crate) async fn status(&self) -> Result<Status> {
        let oldest = self.sql(OLDEST);
        let (booked, held, oldest, paused, last) = transaction!(self, tx => {
            (
                tx.query(BOOKED, &[]).await?,
                tx.query(HELD, &[]).await?,
                tx.query(&oldest, &[LOOK_BACK.into()]).await?,
                tx.query("SELECT destination, reason FROM paused", &[]).await?,
                tx.query("SELECT coalesce(max(id), 0) FROM records", &[]).await?,
            )
        })?;
        let mut status = Status::default();
        for row in &booked {
            let name = row.text(0);
            if name.is_empty() {
                status.unrouted = count(row.integer(1));
                continue;
            }
            let line = status.destinations.entry(name).or_default();
            line.accepted = count(row.integer(1));
            line.delivered = count(row.integer(2));
            line.dead = count(row.integer(3));
            line.filtered = count(row.integer(4));
            line.dead_kept = count(row.integer(3) - row.integer(5));
            line.bytes = count(row.integer(6));
        }
        let mut queued_here = std::collections::HashMap::new();
        for row in &held {
            let line = status.destinations.entry(row.text(0)).or_default();
            let number = count(row.integer(2));
            match state(row.integer(1)) {
                State::Waiting => line.waiting = number,
                State::Retrying => line.retrying = number,
                State::Parked => line.parked = number,
                _ => {
                    queued_here.insert(row.text(0), number);
                }
            }
        }
        for (name, line) in &mut status.destinations {
            let elsewhere = line.waiting
                + line.retrying
                + line.parked
                + line.delivered
                + line.dead
                + line.filtered;
            let with_the_broker = line.accepted.checked_sub(elsewhere);
            // More ended or held than was ever accepted: the books are wrong, and `mismatch` will say so.
            let least = queued_here.get(name).copied().unwrap_or(0);
            line.queued = with_the_broker.unwrap_or(0).max(least);
        }
        let now = self.now_ms();
        for row in &oldest {
            if let Some(line) = status.destinations.get_mut(&row.text(0)) {
                line.oldest_age_ms = Some(count(now - row.integer(1)));
            }
        }
        for row in &paused {
            let line = status.destinations.entry(row.text(0)).or_default();
            line.paused = Some(row.text(1));
        }
        status.records = last.first().map_or(0, |row| count(row.integer(0)));
        total(&mut status);
        Ok(status)
    }
}

/// Sums up the destinations.
pub(crate) fn total(status: &mut Status) {
    let mut total = DestinationStatus {
        accepted: status.unrouted,
        filtered: status.unrouted,
        ..DestinationStatus::default()
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

/// A count is never negative; if one were, `mismatch` would show it as a difference.
fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
