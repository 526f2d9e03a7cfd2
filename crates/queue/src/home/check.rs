//! The recount: what the books say, counted again from the rows.

use super::{Home, transaction};
use crate::{error::Result, status::Check};

const BOOKED: &str = "SELECT destination, CAST(sum(accepted) AS BIGINT),
        CAST(sum(delivered - removed_delivered) AS BIGINT), CAST(sum(dead - removed_dead) AS BIGINT),
        CAST(sum(filtered - removed_filtered) AS BIGINT),
        CAST(sum(removed_delivered + removed_dead + removed_filtered) AS BIGINT), CAST(sum(open_bytes) AS BIGINT)
     FROM books GROUP BY destination ORDER BY destination";

const COUNTED: &str = "SELECT count(*), coalesce(sum(CASE WHEN d.state = 5 THEN 1 ELSE 0 END), 0),
        coalesce(sum(CASE WHEN d.state = 6 THEN 1 ELSE 0 END), 0),
        coalesce(sum(CASE WHEN d.state = 7 OR m.value IS NULL THEN 1 ELSE 0 END), 0),
        CAST(coalesce(sum(CASE WHEN m.value IS NULL OR d.state > 4 THEN 0 ELSE r.size END), 0) AS BIGINT)
     FROM records r LEFT JOIN {members} ON true
     LEFT JOIN deliveries d ON d.record = r.id AND d.destination = m.value
     WHERE r.published = 1 AND coalesce(m.value, '') = $1";

const OPEN: &str = "SELECT count(*) FROM records r WHERE r.open <> (SELECT count(*) FROM {members}
        WHERE NOT EXISTS (SELECT 1 FROM deliveries d
            WHERE d.record = r.id AND d.destination = m.value AND d.state > 4))";

const OFF_LANE: &str = "SELECT count(*) FROM deliveries d WHERE d.state < 5
        AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.record = d.record AND l.destination = d.destination)";

const ON_LANE: &str =
    "SELECT count(*) FROM lanes l WHERE l.barrier = 0 AND NOT EXISTS (SELECT 1 FROM deliveries d
        WHERE d.record = l.record AND d.destination = l.destination AND d.state < 5)";

const NO_BYTES: &str = "SELECT count(*) FROM deliveries d
        WHERE NOT EXISTS (SELECT 1 FROM payloads p WHERE p.record = d.record)";

/// Payloads read at once.
const STEP: i64 = 200;

impl Home {
    /// Recounts in one transaction; with `payloads`, reads every payload that is here.
    pub(crate) async fn check(&self, payloads: bool) -> Result<Check> {
        let (counted, open) = (self.sql(COUNTED), self.sql(OPEN));
        let mut check = transaction!(self, tx => {
            let mut check = Check::default();
            let records = tx.query("SELECT count(*) FROM records", &[]).await?;
            check.records = records.first().map_or(0, |row| row.integer(0).unsigned_abs());
            for row in tx.query(BOOKED, &[]).await? {
                let name = row.text(0);
                let counts = tx.query(&counted, &[name.as_str().into()]).await?;
                let Some(counts) = counts.first() else { continue };
                check.deliveries += counts.integer(0).unsigned_abs();
                let lines = [
                    ("accepted", row.integer(1) - row.integer(5), counts.integer(0)),
                    ("delivered", row.integer(2), counts.integer(1)),
                    ("dead", row.integer(3), counts.integer(2)),
                    ("filtered", row.integer(4), counts.integer(3)),
                    ("open bytes", row.integer(6), counts.integer(4)),
                ];
                for (what, booked, counted) in lines {
                    if booked != counted {
                        check.faults.push(format!(
                            "destination `{name}`: {booked} {what} by the books, {counted} by count"
                        ));
                    }
                }
            }
            for (sql, fault) in [
                (open.as_str(), "records have a wrong number of open destinations"),
                (OFF_LANE, "held deliveries stand on no lane"),
                (ON_LANE, "places on lanes belong to nothing that is held"),
                (NO_BYTES, "deliveries that ended or are held have no payload"),
            ] {
                let wrong = tx.query(sql, &[]).await?;
                let wrong = wrong.first().map_or(0, |row| row.integer(0));
                if wrong > 0 {
                    check.faults.push(format!("{wrong} {fault}"));
                }
            }
            check
        })?;
        if payloads {
            self.verify(&mut check).await?;
        }
        Ok(check)
    }

    async fn verify(&self, check: &mut Check) -> Result<()> {
        let sql = "SELECT record, checksum, payload FROM payloads WHERE record > $1 ORDER BY record LIMIT $2";
        let mut after = 0;
        loop {
            let rows =
                transaction!(self, tx => tx.query(sql, &[after.into(), STEP.into()]).await?)?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.integer(0);
            for row in &rows {
                let bytes = row.blob(2).unwrap_or_default();
                if i64::from(crc32c::crc32c(bytes)) != row.integer(1) {
                    check.corrupt += 1;
                    check.faults.push(format!(
                        "record {} does not fit its checksum",
                        row.integer(0)
                    ));
                }
            }
        }
    }
}
