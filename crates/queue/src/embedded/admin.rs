//! What a person does: release, replay.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    books::Books,
    leases::{Held, Leases},
    pick::stored_lanes,
    read::{self, Line},
    settle,
};
use crate::{
    browse::{Filter, Release, Replay, Replayed, ReplayedRecord},
    error::Result,
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

/// Appends matching records again, to the destination they had or to another one.
pub(crate) fn replay(
    conn: &Connection,
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
            let record = copy(conn, books, original, &destination, now)?;
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
                attributes, content_tag, content_hash, conflict_of, replay_of, urgent, edit_of, ack, payload)
             SELECT ?2, ?3, r.received_at, ?4, r.size, r.checksum, r.listener, r.route, r.keys, r.attributes,
                r.content_tag, r.content_hash, r.conflict_of, coalesce(r.replay_of, r.id), r.urgent, r.edit_of,
                coalesce(r.ack, p.ack), coalesce(r.payload, p.payload)
             FROM records r LEFT JOIN payloads p ON p.id = r.id WHERE r.id = ?1 RETURNING size",
        )?
        .query_row([original.0, id, now, audience], |row| row.get(0))?;
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
        deadline: std::time::Instant::now(),
    }))
}
