//! What people did, written down.

use rusqlite::{Connection, params};

use crate::{
    error::Result,
    hold::{AuditEntry, NewAudit},
};

pub(crate) fn write(conn: &Connection, entry: &NewAudit, now: i64) -> Result<()> {
    conn.prepare_cached("INSERT INTO audit (at, who, action, detail) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![now, entry.who, entry.action, entry.detail])?;
    Ok(())
}

/// The entries after the one numbered `after`, oldest first.
pub(crate) fn read(conn: &Connection, after: i64, limit: usize) -> Result<Vec<AuditEntry>> {
    let mut statement = conn.prepare_cached(
        "SELECT id, at, who, action, detail FROM audit WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let entries = statement.query_map([after, limit], |row| {
        Ok(AuditEntry {
            id: row.get(0)?,
            at_ms: row.get(1)?,
            who: row.get(2)?,
            action: row.get(3)?,
            detail: row.get(4)?,
        })
    })?;
    Ok(entries.collect::<rusqlite::Result<_>>()?)
}
