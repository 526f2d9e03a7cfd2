//! Retention: the only thing that ever removes a record.

use serde_json::json;

use super::{Books, Home, admit::ids_json, state, transaction};
use crate::{
    browse::{Retained, Retention},
    error::Result,
};

/// Records looked at in one transaction.
const STEP: usize = 256;

const CANDIDATES: &str = "SELECT r.id, r.stored_at, r.size, r.open, r.published, r.destinations,
        (SELECT count(*) FROM deliveries d WHERE d.record = r.id AND d.state = 6)
     FROM records r WHERE r.id > $1 ORDER BY r.id LIMIT $2";

impl Home {
    /// Removes what the policy allows, a few records at a time.
    pub(crate) async fn retain(&self, policy: &Retention) -> Result<Retained> {
        let mut total = Retained::default();
        let mut after = 0;
        let mut excess = match policy.max_bytes {
            None => 0,
            Some(max) => {
                let sql = "SELECT CAST(coalesce(sum(r.size), 0) AS BIGINT) FROM records r";
                let used = transaction!(self, tx => tx.query(sql, &[]).await?)?;
                let used = used.first().map_or(0, |row| row.integer(0));
                used.saturating_sub(i64::try_from(max).unwrap_or(i64::MAX))
            }
        };
        loop {
            let removed = self.retain_step(policy, after, &mut excess).await?;
            total.by_age += removed.0.by_age;
            total.by_size += removed.0.by_size;
            total.bytes += removed.0.bytes;
            match removed.1 {
                Some(next) => after = next,
                None => return Ok(total),
            }
        }
    }

    /// One step behind the record `after`; also where to go on.
    async fn retain_step(
        &self,
        policy: &Retention,
        after: i64,
        excess: &mut i64,
    ) -> Result<(Retained, Option<i64>)> {
        let now = self.now_ms();
        let cutoff = |age: Option<std::time::Duration>| {
            age.map_or(i64::MIN, |age| {
                now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
            })
        };
        let (done_before, dead_before) = (cutoff(policy.done_for), cutoff(policy.dead_for));
        let (step, left) = transaction!(self, tx => {
            let mut books = Books::default();
            let mut removed = Retained::default();
            let mut left = *excess;
            let limit = i64::try_from(STEP).unwrap_or(i64::MAX);
            let rows = tx.query(CANDIDATES, &[after.into(), limit.into()]).await?;
            let mut next = (rows.len() == STEP).then(|| rows.last().map_or(after, |row| row.integer(0)));
            let mut gone = Vec::new();
            for row in &rows {
                let (id, stored_at, size) = (row.integer(0), row.integer(1), row.integer(2));
                if left <= 0 && stored_at >= done_before.max(dead_before) {
                    // Everything that follows is younger.
                    next = None;
                    break;
                }
                let published = row.integer(4) == 1;
                if row.integer(3) > 0 && published {
                    continue;
                }
                let is_dead = row.integer(6) > 0;
                let by_age = stored_at < if is_dead { dead_before } else { done_before };
                if !by_age && (left <= 0 || is_dead || !published) {
                    continue;
                }
                left -= size;
                gone.push(id);
                removed.bytes += u64::try_from(size).unwrap_or(0);
                if by_age {
                    removed.by_age += 1;
                } else {
                    removed.by_size += 1;
                }
                if published && row.json::<Vec<String>>(5).is_empty() {
                    books.remove("", crate::record::State::Filtered);
                }
            }
            if let Some(highest) = gone.last() {
                let ids = [ids_json(&gone)];
                let sql = self.sql(
                    "DELETE FROM deliveries WHERE record IN (SELECT CAST(e.value->>'id' AS BIGINT) FROM {rows})
                     RETURNING destination, state",
                );
                for row in tx.query(&sql, &ids).await? {
                    books.remove(&row.text(0), state(row.integer(1)));
                }
                for (table, column) in [("payloads", "record"), ("records", "id")] {
                    let sql = format!(
                        "DELETE FROM {table} WHERE {column} IN (SELECT CAST(e.value->>'id' AS BIGINT) FROM {{rows}})"
                    );
                    let rows = gone.iter().map(|id| json!({ "id": id })).collect();
                    self.rows(tx, &sql, rows, false).await?;
                }
                let sql = "UPDATE last_number SET number = $1 WHERE number < $1";
                tx.query(sql, &[(*highest).into()]).await?;
                self.book(tx, &books).await?;
            }
            ((removed, next), left)
        })?;
        *excess = left;
        Ok(step)
    }
}
