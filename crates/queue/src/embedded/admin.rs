//! What a person does: release, let through, end a hold, replay.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    books::Books,
    ciphers::Ciphers,
    holds::Holds,
    lane::stored_lanes,
    leases::{Held, Leases},
    pick,
    read::{self, Line},
    reseal, settle, summary,
};
use crate::{
    browse::{Filter, Release, Replay, Replayed, ReplayedRecord},
    error::{QueueError, Result},
    record::{RecordId, State},
};

/// Lets parked and retrying deliveries go on; returns how many. What is leased is left alone.
pub(crate) fn release(
    conn: &Connection,
    books: &mut Books,
    leases: &Leases,
    filter: &Filter,
    release: &Release,
    now: i64,
) -> Result<usize> {
    let mut released = 0;
    for wanted in [State::Parked, State::Retrying] {
        if filter.state.is_some_and(|state| state != wanted) {
            continue;
        }
        let filter = Filter {
            state: Some(wanted),
            ..filter.clone()
        };
        for line in read::list(conn, &filter, &leases.deliveries())? {
            let Some(held) = open_row(conn, &line)? else {
                continue;
            };
            match release {
                Release::Retry => settle::make_ready(conn, books, &held, now)?,
                Release::Dead { reason } => {
                    settle::give_up(conn, books, leases, &held, reason, now)?
                }
            }
            released += 1;
        }
    }
    Ok(released)
}

/// Most records looked at in one go.
const PAGE: usize = 1_000;

/// Lets the first `count` open deliveries that match go now; returns how many.
pub(crate) fn pass(
    conn: &Connection,
    books: &mut Books,
    leases: &Leases,
    holds: &Holds,
    filter: &Filter,
    count: usize,
    now: i64,
) -> Result<usize> {
    let names: Vec<(i64, String)> = books
        .destinations
        .iter()
        .filter(|(_, destination)| {
            !destination.name.is_empty()
                && filter
                    .destination
                    .as_deref()
                    .is_none_or(|name| name == destination.name)
        })
        .map(|(id, destination)| (*id, destination.name.clone()))
        .collect();
    if filter.destination.is_some() && names.is_empty() {
        return Err(QueueError::Invalid("there is no such destination"));
    }
    let mut passed = 0;
    for (id, name) in names {
        let Some(oldest) = summary::oldest(conn, books, leases, id)? else {
            continue;
        };
        let stands = holds.concern(&name)
            || books
                .destinations
                .get(&id)
                .is_some_and(|destination| destination.paused.is_some());
        let mut page = Filter {
            destination: Some(name),
            after: filter.after.max(Some(RecordId(oldest - 1))),
            limit: PAGE,
            ..filter.clone()
        };
        loop {
            let lines = read::list(conn, &page, &leases.deliveries())?;
            let Some(last) = lines.last().map(|line| line.summary.record) else {
                break;
            };
            for line in lines {
                if passed == count {
                    return Ok(passed);
                }
                let waits = match line.summary.state {
                    State::Parked | State::Retrying => true,
                    State::Queued | State::Waiting => stands,
                    _ => false,
                };
                if waits && let_through(conn, books, leases, &line, now)? {
                    passed += 1;
                }
            }
            page.after = Some(last);
        }
    }
    Ok(passed)
}

/// False when it was let through before.
fn let_through(
    conn: &Connection,
    books: &mut Books,
    leases: &Leases,
    line: &Line,
    now: i64,
) -> Result<bool> {
    let (id, record) = (line.destination, line.summary.record.0);
    if matches!(line.summary.state, State::Parked | State::Retrying) {
        if let Some(held) = open_row(conn, line)? {
            let held = Held {
                passed: true,
                ..held
            };
            settle::make_ready(conn, books, &held, now)?;
        }
        return Ok(true);
    }
    // What nobody has looked at gets a row, and so does everything before it, or it could overtake.
    pick::register(conn, books, leases, id, record, usize::MAX, now)?;
    let changed = conn
        .prepare_cached(
            "UPDATE deliveries SET pass = 1 WHERE destination = ?1 AND record = ?2 AND pass = 0",
        )?
        .execute([id, record])?;
    if let Some(destination) = books.destinations.get_mut(&id) {
        destination.touched = true;
    }
    Ok(changed > 0)
}

/// Lets go on what was held; returns how much. What another hold is about is held again when its turn comes.
pub(crate) fn let_go(
    conn: &Connection,
    books: &mut Books,
    leases: &Leases,
    now: i64,
) -> Result<usize> {
    let mut let_go = 0;
    let held = Filter {
        state: Some(State::Parked),
        reason: Some(crate::REASON_HELD.to_owned()),
        limit: PAGE,
        ..Filter::default()
    };
    loop {
        let lines = read::list(conn, &held, &leases.deliveries())?;
        if lines.is_empty() {
            return Ok(let_go);
        }
        for line in lines {
            if let Some(held) = open_row(conn, &line)? {
                let held = Held {
                    passed: false,
                    ..held
                };
                settle::make_ready(conn, books, &held, now)?;
                let_go += 1;
            }
        }
    }
}

/// Appends matching records again, to the destination they had or to another one.
pub(crate) fn replay(
    conn: &Connection,
    ciphers: &Ciphers,
    books: &mut Books,
    leases: &Leases,
    replay: &Replay,
    now: i64,
) -> Result<Replayed> {
    if let Some(answer) = earlier_answer(conn, replay)? {
        return Ok(answer);
    }
    let lines = read::list(conn, &replay.filter, &leases.deliveries())?;
    let mut answer = Replayed::default();
    let distinct = lines
        .iter()
        .map(|line| line.summary.record)
        .collect::<std::collections::BTreeSet<_>>();
    if distinct.len() >= replay.filter.effective_limit() {
        answer.next = distinct.last().copied();
    }
    let mut last = None;
    for line in lines {
        let original = line.summary.record;
        let destination = match (&replay.destination, line.summary.destination) {
            // Once per record, even if several of its deliveries match.
            (Some(_), _) if last == Some(original) => continue,
            (Some(other), _) => other.clone(),
            (None, Some(own)) => own,
            (None, None) => continue,
        };
        last = Some(original);
        if is_open(conn, books, &destination, original)? {
            answer.open += 1;
            continue;
        }
        answer.matched += 1;
        if !replay.dry_run {
            let record = copy(conn, ciphers, books, original, &destination, now)?;
            answer.records.push(ReplayedRecord {
                original,
                record,
                destination,
            });
        }
    }
    if let (Some(token), false) = (&replay.token, replay.dry_run) {
        let text = serde_json::to_string(&answer).unwrap_or_default();
        conn.prepare_cached("INSERT INTO tokens (token, used_at, answer) VALUES (?1, ?2, ?3)")?
            .execute(params![token, now, text])?;
    }
    Ok(answer)
}

fn earlier_answer(conn: &Connection, replay: &Replay) -> Result<Option<Replayed>> {
    let Some(token) = &replay.token else {
        return Ok(None);
    };
    let text: Option<String> = conn
        .prepare_cached("SELECT answer FROM tokens WHERE token = ?1")?
        .query_row([token], |row| row.get(0))
        .optional()?;
    Ok(text.map(|text| Replayed {
        repeated: true,
        ..serde_json::from_str(&text).unwrap_or_default()
    }))
}

/// Whether a record is still on its way to a destination.
fn is_open(conn: &Connection, books: &Books, destination: &str, record: RecordId) -> Result<bool> {
    let Some(destination) = books.find(destination) else {
        return Ok(false);
    };
    let state: Option<Option<i64>> = conn
        .prepare_cached(
            "SELECT d.state FROM records r JOIN audience_members a ON a.audience = r.audience
             LEFT JOIN deliveries d ON d.destination = a.destination AND d.record = r.id
             WHERE r.id = ?1 AND a.destination = ?2",
        )?
        .query_row([record.0, destination], |row| row.get(0))
        .optional()?;
    Ok(match state {
        None => false,
        Some(None) => true,
        Some(Some(code)) => !super::books::state(code).is_final(),
    })
}

/// A new record with the bytes of an old one. No dedup key: the original keeps it. The chain of replays is
/// flat: a replay of a replay names the first record.
fn copy(
    conn: &Connection,
    ciphers: &Ciphers,
    books: &mut Books,
    original: RecordId,
    to: &str,
    now: i64,
) -> Result<RecordId> {
    let audience = books.audience(conn, &[to.to_owned()])?;
    let id = books.next_record();
    let size = conn
        .prepare_cached(
            "INSERT INTO records (id, stored_at, received_at, audience, size, checksum, listener, route, keys,
                attributes, content_tag, content_hash, conflict_of, replay_of, urgent, edit_of, cipher, sealed_keys, ack,
                payload)
             SELECT ?2, ?3, r.received_at, ?4, r.size, r.checksum, r.listener, r.route, r.keys, r.attributes,
                r.content_tag, r.content_hash, r.conflict_of, coalesce(r.replay_of, r.id), r.urgent, r.edit_of,
                r.cipher, r.sealed_keys, coalesce(r.ack, p.ack), coalesce(r.payload, p.payload)
             FROM records r LEFT JOIN payloads p ON p.id = r.id WHERE r.id = ?1 RETURNING size",
        )?
        .query_row([original.0, id, now, audience], |row| row.get(0))?;
    if ciphers.current().is_some() {
        // A damaged one stays as it is: damaged.
        reseal::reseal(conn, ciphers, original.0, id)?;
    }
    books.accept(audience, size);
    Ok(RecordId(id))
}

fn open_row(conn: &Connection, line: &Line) -> Result<Option<Held>> {
    let record = line.summary.record.0;
    let keys: Option<String> = conn
        .prepare_cached("SELECT keys FROM records WHERE id = ?1")?
        .query_row([record], |row| row.get(0))
        .optional()?;
    Ok(keys.map(|keys| Held {
        destination: line.destination,
        record,
        lanes: stored_lanes(&keys),
        size: i64::try_from(line.summary.size).unwrap_or(i64::MAX),
        attempts: line.summary.attempts,
        row: Some(line.summary.state),
        // Released by a person, it is not held again.
        passed: line.summary.reason.as_deref() == Some(crate::REASON_HELD),
        deadline: std::time::Instant::now(),
    }))
}
