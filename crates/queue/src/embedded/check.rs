//! The recount: everything that the books say, counted again from the rows.

use rusqlite::Connection;

use super::{
    books::{Books, NOBODY, state},
    ciphers::Ciphers,
    lane::stored_lanes,
    load::{LoadError, load},
};
use crate::{error::Result, record::State, status::Check};

/// Most faults that are listed.
const FAULTS: usize = 100;

/// Recounts in one read transaction, so while the queue works. With `payloads`, reads every record.
pub(crate) fn check(conn: &Connection, ciphers: &Ciphers, payloads: bool) -> Result<Check> {
    let mut check = Check::default();
    conn.execute_batch("BEGIN")?;
    let counted = count(conn, &mut check);
    conn.execute_batch("COMMIT")?;
    counted?;
    if payloads {
        verify_records(conn, ciphers, &mut check)?;
    }
    Ok(check)
}

fn count(conn: &Connection, check: &mut Check) -> Result<()> {
    let sound: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if sound != "ok" {
        check.fault("the database file is damaged".to_owned());
    }
    check.records = conn.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?;
    let books = Books::read(conn)?;
    let without: i64 = conn.query_row(
        "SELECT count(*) FROM records r LEFT JOIN payloads p ON p.id = r.id
         WHERE r.payload IS NULL AND p.id IS NULL",
        [],
        |row| row.get(0),
    )?;
    if without > 0 {
        check.fault(format!("{without} records have no payload"));
    }
    for id in books.destinations.keys() {
        destination(conn, &books, *id, check)?;
    }
    lanes(conn, check)
}

fn destination(conn: &Connection, books: &Books, id: i64, check: &mut Check) -> Result<()> {
    let Some(destination) = books.destinations.get(&id) else {
        return Ok(());
    };
    let booked = &destination.counters;
    let mut counted = [0_i64; 8];
    let mut open_bytes = 0_i64;
    let mut statement = conn.prepare_cached(
        "SELECT coalesce(d.state, CASE a.destination WHEN 0 THEN 7 ELSE 1 END) AS state, count(*), sum(r.size),
                coalesce(min(CASE WHEN d.state IS NULL THEN r.id END), 0)
         FROM audience_members a JOIN records r ON r.audience = a.audience
         LEFT JOIN deliveries d ON d.destination = a.destination AND d.record = r.id
         WHERE a.destination = ?1 GROUP BY 1",
    )?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let code: i64 = row.get(0)?;
        let number: i64 = row.get(1)?;
        check.deliveries += u64::try_from(number).unwrap_or(0);
        if let Some(slot) = usize::try_from(code)
            .ok()
            .and_then(|code| counted.get_mut(code))
        {
            *slot += number;
        } else {
            check.fault(format!(
                "destination {id} has {number} deliveries in the unknown state {code}"
            ));
        }
        if !state(code).is_final() {
            open_bytes += row.get::<_, i64>(2)?;
        }
        let first_without_row: i64 = row.get(3)?;
        if id != NOBODY && first_without_row > 0 && first_without_row <= destination.position {
            check.fault(format!(
                "record {first_without_row} has no delivery for destination {id}, whose position is {}",
                destination.position
            ));
        }
    }
    let [
        _,
        queued,
        waiting,
        retrying,
        parked,
        delivered,
        dead,
        filtered,
    ] = counted;
    let lines = [
        (State::Queued, booked.queued, queued),
        (State::Waiting, booked.waiting, waiting),
        (State::Retrying, booked.retrying, retrying),
        (State::Parked, booked.parked, parked),
        (
            State::Delivered,
            booked.delivered,
            delivered + booked.removed_delivered,
        ),
        (State::Dead, booked.dead, dead + booked.removed_dead),
        (
            State::Filtered,
            booked.filtered,
            filtered + booked.removed_filtered,
        ),
    ];
    let mut sum = 0;
    for (state, booked, counted) in lines {
        sum += counted;
        if booked != counted {
            check.fault(format!(
                "destination {id}: {booked} {state} by the books, {counted} by count"
            ));
        }
    }
    if sum != booked.accepted {
        check.fault(format!(
            "destination {id}: {} accepted by the books, {sum} by count",
            booked.accepted
        ));
    }
    if id != NOBODY && open_bytes != booked.open_bytes {
        check.fault(format!(
            "destination {id}: {} open bytes by the books, {open_bytes} by count",
            booked.open_bytes
        ));
    }
    Ok(())
}

/// Every open delivery with a row stands on each of its lanes, and nothing else does.
fn lanes(conn: &Connection, check: &mut Check) -> Result<()> {
    let mut expected = 0_i64;
    let mut statement = conn.prepare_cached(
        "SELECT d.destination, d.record, r.keys FROM destinations n
         JOIN deliveries d INDEXED BY deliveries_open ON d.destination = n.id AND d.state < 5
         JOIN records r ON r.id = d.record",
    )?;
    let mut on_lane = conn.prepare_cached(
        "SELECT 1 FROM lanes WHERE destination = ?1 AND lane = ?2 AND record = ?3",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (destination, record): (i64, i64) = (row.get(0)?, row.get(1)?);
        for lane in stored_lanes(row.get_ref(2)?.as_str().unwrap_or_default()) {
            expected += 1;
            if !on_lane.exists([destination, lane, record])? {
                check.fault(format!(
                    "record {record} is open for destination {destination} and not on its lane"
                ));
            }
        }
    }
    let there: i64 = conn.query_row("SELECT count(*) FROM lanes", [], |row| row.get(0))?;
    if there != expected {
        check.fault(format!("{there} places on lanes, {expected} expected"));
    }
    Ok(())
}

fn verify_records(conn: &Connection, ciphers: &Ciphers, check: &mut Check) -> Result<()> {
    let mut after = 0_i64;
    loop {
        let mut statement =
            conn.prepare_cached("SELECT id FROM records WHERE id > ?1 ORDER BY id LIMIT 1000")?;
        let ids: Vec<i64> = statement
            .query_map([after], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let Some(last) = ids.last() else {
            return Ok(());
        };
        after = *last;
        for id in ids {
            match load(conn, ciphers, id) {
                // Retention may have taken it in the meantime.
                Ok(_) | Err(LoadError::Missing) => {}
                Err(LoadError::Damaged) => {
                    check.corrupt += 1;
                    check.fault(format!("record {id} does not fit its checksum"));
                }
                Err(LoadError::NoKey) => {
                    check.fault(format!(
                        "record {id} is encrypted with a key that is not at hand"
                    ));
                }
                Err(LoadError::Storage(error)) => return Err(error),
            }
        }
    }
}

// === impl Check ===

impl Check {
    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS {
            self.faults.push(fault);
        }
    }
}
