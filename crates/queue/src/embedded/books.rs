//! The books: every destination with its counters and its position, in memory and in the same transaction
//! as what they count. Only the arrival of records is written down later: until then it is counted from the
//! records themselves, so that an append costs no page of its own for the books.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, params};

use crate::{error::Result, record::State};

/// New records that a destination may have before its counters are written: so many are counted at the start at most.
const WRITE_EVERY: u32 = 4_096;

/// The destination that stands for "nobody": counts unrouted records, its position is the newest record.
pub(crate) const NOBODY: i64 = 0;

/// All destinations and audiences, as in the database plus the running transaction.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) destinations: BTreeMap<i64, Destination>,
    ids: HashMap<String, i64>,
    /// Audience of a list of destinations as given by callers.
    audiences: HashMap<Vec<String>, i64>,
    members: HashMap<i64, Vec<i64>>,
}

/// One destination.
#[derive(Debug, Default)]
pub(crate) struct Destination {
    pub(crate) name: String,
    pub(crate) paused: Option<String>,
    pub(crate) counters: Counters,
    /// As stored: every record up to here that is meant for it has a `deliveries` row.
    pub(crate) position: i64,
    /// Every record up to here was looked at: it is not for this destination, has a row, or is leased.
    pub(crate) scan: i64,
    /// Newest record that had a row when the books were read: only up to here can `scan` meet rows.
    pub(crate) horizon: i64,
    /// Newest urgent record that was looked for, where it is beyond `scan`.
    pub(crate) urgent_seen: i64,
    /// Urgent leases in a row, where one is asked for at a time.
    pub(crate) urgent_row: u32,
    /// Records since the counters were written.
    fresh: u32,
    /// To be written with this transaction.
    pub(crate) dirty: bool,
    /// Something may have become leasable in this transaction.
    pub(crate) touched: bool,
}

/// Deliveries by state, and what retention has removed of the final ones. `queued` includes what has no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) accepted: i64,
    pub(crate) queued: i64,
    pub(crate) waiting: i64,
    pub(crate) retrying: i64,
    pub(crate) parked: i64,
    pub(crate) delivered: i64,
    pub(crate) dead: i64,
    pub(crate) filtered: i64,
    pub(crate) removed_delivered: i64,
    pub(crate) removed_dead: i64,
    pub(crate) removed_filtered: i64,
    pub(crate) open_bytes: i64,
}

// === impl Books ===

impl Books {
    pub(crate) fn read(conn: &Connection) -> Result<Self> {
        let mut books = Self::default();
        let mut statement = conn.prepare_cached(
            "SELECT id, name, paused, position, accepted, queued, waiting, retrying, parked, delivered, dead,
                    filtered, removed_delivered, removed_dead, removed_filtered, open_bytes,
                    (SELECT coalesce(max(record), 0) FROM deliveries WHERE destination = destinations.id)
             FROM destinations",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let position = row.get(3)?;
            let destination = Destination {
                name: row.get(1)?,
                paused: row.get(2)?,
                position,
                scan: position,
                counters: Counters {
                    accepted: row.get(4)?,
                    queued: row.get(5)?,
                    waiting: row.get(6)?,
                    retrying: row.get(7)?,
                    parked: row.get(8)?,
                    delivered: row.get(9)?,
                    dead: row.get(10)?,
                    filtered: row.get(11)?,
                    removed_delivered: row.get(12)?,
                    removed_dead: row.get(13)?,
                    removed_filtered: row.get(14)?,
                    open_bytes: row.get(15)?,
                },
                horizon: row.get(16)?,
                touched: true,
                ..Destination::default()
            };
            books.ids.insert(destination.name.clone(), id);
            books.destinations.insert(id, destination);
        }
        let newest = conn.query_row("SELECT coalesce(max(id), 0) FROM records", [], |row| {
            row.get(0)
        })?;
        if let Some(nobody) = books.destinations.get_mut(&NOBODY) {
            nobody.position = nobody.position.max(newest);
        }
        let mut statement = conn
            .prepare_cached("SELECT audience, destination FROM audience_members ORDER BY 1, 2")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            books
                .members
                .entry(row.get(0)?)
                .or_default()
                .push(row.get(1)?);
        }
        books.count_fresh(conn)?;
        Ok(books)
    }

    /// Adds the records that came after the counters were written.
    fn count_fresh(&mut self, conn: &Connection) -> Result<()> {
        // CROSS JOIN keeps the order: a range of record numbers for each destination.
        let mut statement = conn.prepare_cached(
            "SELECT n.id, count(*), sum(r.size) FROM destinations n CROSS JOIN records r ON r.id > n.counted
             JOIN audience_members a ON a.audience = r.audience AND a.destination = n.id GROUP BY n.id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if let Some(destination) = self.destinations.get_mut(&id) {
                destination.accept(id, row.get(1)?, row.get(2)?);
            }
        }
        Ok(())
    }

    /// Writes the rows that changed.
    pub(crate) fn write(&mut self, conn: &Connection) -> Result<()> {
        let counted = self.last_record();
        for (id, destination) in &mut self.destinations {
            if !destination.dirty {
                continue;
            }
            destination.dirty = false;
            destination.fresh = 0;
            let c = &destination.counters;
            conn.prepare_cached(
                "UPDATE destinations SET paused = ?2, position = ?3, accepted = ?4, queued = ?5, waiting = ?6,
                    retrying = ?7, parked = ?8, delivered = ?9, dead = ?10, filtered = ?11, removed_delivered = ?12,
                    removed_dead = ?13, removed_filtered = ?14, open_bytes = ?15, counted = ?16 WHERE id = ?1",
            )?
            .execute(params![
                id,
                destination.paused,
                destination.position,
                c.accepted,
                c.queued,
                c.waiting,
                c.retrying,
                c.parked,
                c.delivered,
                c.dead,
                c.filtered,
                c.removed_delivered,
                c.removed_dead,
                c.removed_filtered,
                c.open_bytes,
                counted,
            ])?;
        }
        Ok(())
    }

    /// The number of a destination, if it has ever been named.
    pub(crate) fn find(&self, name: &str) -> Option<i64> {
        self.ids.get(name).copied().filter(|id| *id != NOBODY)
    }

    /// The number of a destination, made if need be.
    pub(crate) fn destination(&mut self, conn: &Connection, name: &str) -> Result<i64> {
        if let Some(id) = self.find(name) {
            return Ok(id);
        }
        let last = self.last_record();
        conn.prepare_cached(
            "INSERT INTO destinations (name, position, counted) VALUES (?1, ?2, ?2)",
        )?
        .execute(params![name, last])?;
        let id = conn.last_insert_rowid();
        // Nothing stored so far is meant for it, so its position starts at the end.
        let made = Destination {
            name: name.to_owned(),
            position: last,
            scan: last,
            ..Destination::default()
        };
        self.ids.insert(made.name.clone(), id);
        self.destinations.insert(id, made);
        Ok(id)
    }

    /// The audience for a list of names, made if need be.
    pub(crate) fn audience(&mut self, conn: &Connection, names: &[String]) -> Result<i64> {
        if names.is_empty() {
            return Ok(0);
        }
        if let Some(audience) = self.audiences.get(names) {
            return Ok(*audience);
        }
        let mut members = names
            .iter()
            .map(|name| self.destination(conn, name))
            .collect::<Result<Vec<_>>>()?;
        members.sort_unstable();
        members.dedup();
        let known = self
            .members
            .iter()
            .find(|(_, of)| **of == members)
            .map(|(audience, _)| *audience);
        let audience = match known {
            Some(audience) => audience,
            None => {
                let audience = self.members.keys().max().map_or(1, |last| last + 1);
                for member in &members {
                    conn.prepare_cached("INSERT INTO audience_members VALUES (?1, ?2)")?
                        .execute([audience, *member])?;
                }
                self.members.insert(audience, members);
                audience
            }
        };
        self.audiences.insert(names.to_vec(), audience);
        Ok(audience)
    }

    /// The destinations of an audience.
    pub(crate) fn members(&self, audience: i64) -> &[i64] {
        self.members.get(&audience).map_or(&[], Vec::as_slice)
    }

    /// Number of the newest record ever stored.
    pub(crate) fn last_record(&self) -> i64 {
        self.destinations
            .get(&NOBODY)
            .map_or(0, |nobody| nobody.position)
    }

    /// A number for a new record.
    pub(crate) fn next_record(&mut self) -> i64 {
        let nobody = self.destinations.entry(NOBODY).or_default();
        // Not dirty: the newest record itself says its number, until retention removes it (see `remove`).
        nobody.position += 1;
        nobody.position
    }

    /// Counts a new record for everyone in its audience.
    pub(crate) fn accept(&mut self, audience: i64, size: i64) {
        let members = self.members.get(&audience).map_or(&[][..], Vec::as_slice);
        for id in members {
            if let Some(destination) = self.destinations.get_mut(id) {
                destination.accept(*id, 1, size);
            }
        }
    }

    /// Counts a change of state.
    pub(crate) fn change(&mut self, destination: i64, from: State, to: State, size: i64) {
        if let Some(destination) = self.destinations.get_mut(&destination) {
            destination.dirty = true;
            destination.touched = true;
            *destination.counters.of(from) -= 1;
            *destination.counters.of(to) += 1;
            if to.is_final() && !from.is_final() {
                destination.counters.open_bytes -= size;
            }
        }
    }

    /// Counts a final delivery as removed by retention.
    pub(crate) fn remove(&mut self, destination: i64, state: State) {
        // The newest record may be among those that go: from now on its number must be written down.
        if let Some(nobody) = self.destinations.get_mut(&NOBODY) {
            nobody.dirty = true;
        }
        if let Some(destination) = self.destinations.get_mut(&destination) {
            destination.dirty = true;
            let c = &mut destination.counters;
            match state {
                State::Delivered => c.removed_delivered += 1,
                State::Dead => c.removed_dead += 1,
                _ => c.removed_filtered += 1,
            }
        }
    }
}

// === impl Destination ===

impl Destination {
    /// Counts new records of so many bytes together.
    fn accept(&mut self, id: i64, records: i64, bytes: i64) {
        self.fresh = self
            .fresh
            .saturating_add(u32::try_from(records).unwrap_or(u32::MAX));
        self.dirty |= self.fresh >= WRITE_EVERY;
        self.counters.accepted += records;
        if id == NOBODY {
            self.counters.filtered += records;
        } else {
            self.touched = true;
            self.counters.queued += records;
            self.counters.open_bytes += bytes;
        }
    }
}

// === impl Counters ===

impl Counters {
    /// The counter of a stored state; a leased delivery is stored as queued or retrying.
    fn of(&mut self, state: State) -> &mut i64 {
        match state {
            State::Queued | State::Leased => &mut self.queued,
            State::Waiting => &mut self.waiting,
            State::Retrying => &mut self.retrying,
            State::Parked => &mut self.parked,
            State::Delivered => &mut self.delivered,
            State::Dead => &mut self.dead,
            State::Filtered => &mut self.filtered,
        }
    }
}

/// The number of a state in the database.
pub(crate) fn code(state: State) -> i64 {
    match state {
        State::Queued | State::Leased => 1,
        State::Waiting => 2,
        State::Retrying => 3,
        State::Parked => 4,
        State::Delivered => 5,
        State::Dead => 6,
        State::Filtered => 7,
    }
}

/// The state of a number in the database; an unknown number (a damaged row) reads as parked, which nothing
/// moves but a person.
pub(crate) fn state(code: i64) -> State {
    match code {
        1 => State::Queued,
        2 => State::Waiting,
        3 => State::Retrying,
        5 => State::Delivered,
        6 => State::Dead,
        7 => State::Filtered,
        _ => State::Parked,
    }
}
