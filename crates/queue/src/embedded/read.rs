//! Lists and details, for readers and for the operations that start from a list.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Row, params, types::Value};

use super::{
    books::{code, state},
    ciphers::Ciphers,
};
use crate::{
    browse::{DeliveryDetail, Filter, RecordDetail, RecordSummary},
    error::{QueueError, Result},
    record::{RecordId, State},
};

/// Records looked at in one step, so that no read lasts long (a long one keeps the write-ahead log from
/// being reused).
const STEP: i64 = 20_000;

const COLUMNS: &str = "r.id, a.destination, n.name,
    coalesce(d.state, CASE a.destination WHEN 0 THEN 7 ELSE 1 END), coalesce(d.attempts, 0), d.not_before,
    d.reason, r.received_at, d.changed_at, r.listener, r.route, r.size, r.attributes, r.replay_of, r.conflict_of,
    r.urgent, r.edit_of";

/// A line of a list with the number of its destination.
pub(crate) struct Line {
    pub(crate) destination: i64,
    pub(crate) summary: RecordSummary,
}

/// Deliveries that match, by record; `leased` are (destination, record) pairs that are in somebody's hands.
pub(crate) fn list(conn: &Connection, filter: &Filter, leased: &[(i64, i64)]) -> Result<Vec<Line>> {
    let leased: HashSet<(i64, i64)> = leased.iter().copied().collect();
    let mut page = Page {
        lines: Vec::new(),
        records: 0,
        limit: filter.effective_limit(),
    };
    let after = filter.after.map_or(0, |record| record.0);
    let steps: Box<dyn Iterator<Item = (i64, i64)>> = if !filter.records.is_empty() {
        single(filter.records.iter().map(|record| record.0), after)
    } else if filter.state == Some(State::Leased) {
        single(leased.iter().map(|(_, record)| *record), after)
    } else if matches!(
        filter.state,
        Some(State::Waiting | State::Retrying | State::Parked | State::Dead)
    ) {
        single(rows_in(conn, filter, after)?.into_iter(), after)
    } else {
        let last: i64 = conn.query_row("SELECT coalesce(max(id), 0) FROM records", [], |row| {
            row.get(0)
        })?;
        let first: i64 = conn.query_row("SELECT coalesce(min(id), 1) FROM records", [], |row| {
            row.get(0)
        })?;
        let open_from = if filter.state == Some(State::Queued) {
            first_open(conn)?
        } else {
            first
        };
        let from = after.max(first - 1).max(open_from - 1);
        Box::new(
            (from..last)
                .step_by(usize::try_from(STEP).unwrap_or(1))
                .map(move |low| (low, (low + STEP).min(last))),
        )
    };
    for (low, high) in steps {
        if !read_step(conn, filter, &leased, low, high, &mut page)? {
            break;
        }
    }
    Ok(page.lines)
}

/// Everything about one record but its payload.
pub(crate) fn show(
    conn: &Connection,
    ciphers: &Ciphers,
    record: RecordId,
    leased: &[(i64, i64)],
) -> Result<RecordDetail> {
    let mut detail = conn
        .prepare_cached(
            "SELECT r.received_at, r.stored_at, r.listener, r.route, r.size, length(coalesce(r.ack, p.ack)), r.keys, r.attributes,
                    r.replay_of, r.conflict_of, r.urgent, r.edit_of
             FROM records r LEFT JOIN payloads p ON p.id = r.id WHERE r.id = ?1",
        )?
        .query_row([record.0], |row| {
            Ok(RecordDetail {
                record,
                received_at_ms: row.get(0)?,
                stored_at_ms: row.get(1)?,
                listener: row.get(2)?,
                route: row.get(3)?,
                size: row.get(4)?,
                ack_bytes: row.get(5)?,
                ordering_keys: serde_json::from_str::<Vec<serde::de::IgnoredAny>>(row.get_ref(6)?.as_str()?).map_or(0, |keys| keys.len()),
                attributes: attributes(row, 7)?,
                replay_of: row.get::<_, Option<i64>>(8)?.map(RecordId),
                replayed_as: Vec::new(),
                conflict_of: row.get::<_, Option<i64>>(9)?.map(RecordId),
                urgent: row.get(10)?,
                edit_of: row.get::<_, Option<i64>>(11)?.map(RecordId),
                edited_as: Vec::new(),
                deliveries: Vec::new(),
            })
        })
        .optional()?
        .ok_or(QueueError::NotFound)?;
    let made_of = |sql: &str| -> Result<Vec<RecordId>> {
        let mut statement = conn.prepare_cached(sql)?;
        let found = statement.query_map([record.0], |row| row.get(0).map(RecordId))?;
        Ok(found.collect::<Result<_, _>>()?)
    };
    detail.replayed_as = made_of("SELECT id FROM records WHERE replay_of = ?1 ORDER BY id")?;
    detail.edited_as = made_of("SELECT id FROM records WHERE edit_of = ?1 ORDER BY id")?;
    let mut statement = conn.prepare_cached(
        "SELECT a.destination, n.name, coalesce(d.state, 1), coalesce(d.attempts, 0), d.not_before, d.changed_at,
                d.reason, d.detail
         FROM records r JOIN audience_members a ON a.audience = r.audience JOIN destinations n ON n.id = a.destination
         LEFT JOIN deliveries d ON d.destination = a.destination AND d.record = r.id
         WHERE r.id = ?1 AND a.destination > 0 ORDER BY a.destination",
    )?;
    let deliveries = statement.query_map([record.0], |row| {
        let stored = state(row.get(2)?);
        Ok(DeliveryDetail {
            destination: row.get(1)?,
            state: if leased.contains(&(row.get(0)?, record.0)) {
                State::Leased
            } else {
                stored
            },
            attempts: row.get(3)?,
            not_before_ms: (stored == State::Retrying)
                .then(|| row.get(4))
                .transpose()?,
            changed_at_ms: row.get(5)?,
            reason: row.get(6)?,
            detail: ciphers.open_detail(row.get(0)?, record.0, row.get_ref(7)?),
        })
    })?;
    detail.deliveries = deliveries.collect::<Result<_, _>>()?;
    Ok(detail)
}

/// A page that ends between two records.
struct Page {
    lines: Vec<Line>,
    records: usize,
    limit: usize,
}

fn single(records: impl Iterator<Item = i64>, after: i64) -> Box<dyn Iterator<Item = (i64, i64)>> {
    let mut records: Vec<i64> = records.filter(|record| *record > after).collect();
    records.sort_unstable();
    records.dedup();
    Box::new(records.into_iter().map(|record| (record - 1, record)))
}

/// Records with a delivery in a state that has an index. More than a page of them, because the other
/// conditions of the filter come later; the bound keeps memory flat.
fn rows_in(conn: &Connection, filter: &Filter, after: i64) -> Result<Vec<i64>> {
    let wanted = filter.state.unwrap_or(State::Dead);
    let sql = if wanted == State::Dead {
        "SELECT d.record FROM deliveries d INDEXED BY deliveries_dead
         WHERE d.destination = ?1 AND d.state = 6 AND ?2 = 6 AND d.record > ?3 AND (?4 IS NULL OR d.reason = ?4)
         ORDER BY d.record LIMIT 200000"
    } else {
        "SELECT d.record FROM deliveries d INDEXED BY deliveries_open
         WHERE d.destination = ?1 AND d.state = ?2 AND d.state < 5 AND d.record > ?3 AND (?4 IS NULL OR d.reason = ?4)
         ORDER BY d.record LIMIT 200000"
    };
    let mut found = Vec::new();
    for destination in destinations(conn, filter)? {
        let mut statement = conn.prepare_cached(sql)?;
        let rows = statement.query_map(
            params![destination, code(wanted), after, filter.reason],
            |row| row.get(0),
        )?;
        for row in rows {
            found.push(row?);
        }
    }
    Ok(found)
}

fn destinations(conn: &Connection, filter: &Filter) -> Result<Vec<i64>> {
    let mut statement = conn
        .prepare_cached("SELECT id FROM destinations WHERE id > 0 AND (?1 IS NULL OR name = ?1)")?;
    Ok(statement
        .query_map([&filter.destination], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

/// No delivery of an earlier record is queued.
fn first_open(conn: &Connection) -> Result<i64> {
    let position: i64 = conn.query_row(
        "SELECT coalesce(min(position), 0) FROM destinations WHERE id > 0",
        [],
        |row| row.get(0),
    )?;
    let ready: Option<i64> = conn.query_row(
        "SELECT min((SELECT min(record) FROM deliveries INDEXED BY deliveries_open
                     WHERE destination = n.id AND state = 1 AND state < 5)) FROM destinations n WHERE n.id > 0",
        [],
        |row| row.get(0),
    )?;
    Ok(ready.map_or(position + 1, |ready| ready.min(position + 1)))
}

/// Reads the lines of records in (low, high]; false when the page is full.
fn read_step(
    conn: &Connection,
    filter: &Filter,
    leased: &HashSet<(i64, i64)>,
    low: i64,
    high: i64,
    page: &mut Page,
) -> Result<bool> {
    let mut sql = format!(
        "SELECT {COLUMNS} FROM records r JOIN audience_members a ON a.audience = r.audience
         JOIN destinations n ON n.id = a.destination
         LEFT JOIN deliveries d ON d.destination = a.destination AND d.record = r.id
         WHERE r.id > ? AND r.id <= ?"
    );
    let mut values: Vec<Value> = vec![low.into(), high.into()];
    let mut add = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value);
        }
    };
    add(
        " AND n.id > 0 AND n.name = ?",
        filter.destination.clone().map(Value::from),
    );
    add(
        " AND r.listener = ?",
        filter.listener.clone().map(Value::from),
    );
    add(
        " AND json_extract(r.attributes, '$.message_type') = ?",
        filter.message_type.clone().map(Value::from),
    );
    add(" AND r.received_at >= ?", filter.from_ms.map(Value::from));
    add(" AND r.received_at < ?", filter.to_ms.map(Value::from));
    add(" AND d.reason = ?", filter.reason.clone().map(Value::from));
    sql.push_str(" ORDER BY r.id, a.destination");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let (record, destination) = (row.get(0)?, row.get(1)?);
        let stored = state(row.get(3)?);
        let now = if leased.contains(&(destination, record)) {
            State::Leased
        } else {
            stored
        };
        if filter.state.is_some_and(|wanted| wanted != now) {
            continue;
        }
        if page
            .lines
            .last()
            .is_none_or(|line| line.summary.record.0 != record)
        {
            if page.records == page.limit {
                return Ok(false);
            }
            page.records += 1;
        }
        page.lines.push(Line {
            destination,
            summary: summary(row, now, stored)?,
        });
    }
    Ok(true)
}

fn summary(row: &Row<'_>, now: State, stored: State) -> Result<RecordSummary> {
    Ok(RecordSummary {
        record: RecordId(row.get(0)?),
        destination: Some(row.get(2)?).filter(|name: &String| !name.is_empty()),
        state: now,
        attempts: row.get(4)?,
        not_before_ms: (stored == State::Retrying)
            .then(|| row.get(5))
            .transpose()?,
        reason: row.get(6)?,
        received_at_ms: row.get(7)?,
        changed_at_ms: row.get(8)?,
        listener: row.get(9)?,
        route: row.get(10)?,
        size: row.get(11)?,
        attributes: attributes(row, 12)?,
        replay_of: row.get::<_, Option<i64>>(13)?.map(RecordId),
        conflict_of: row.get::<_, Option<i64>>(14)?.map(RecordId),
        urgent: row.get(15)?,
        edit_of: row.get::<_, Option<i64>>(16)?.map(RecordId),
    })
}

/// Attributes; a damaged text reads as none, so that a list never fails because of one record.
fn attributes(row: &Row<'_>, column: usize) -> rusqlite::Result<BTreeMap<String, String>> {
    Ok(row
        .get_ref(column)?
        .as_str()
        .ok()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default())
}
