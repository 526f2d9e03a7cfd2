//! The database: tables, indexes, migrations, connection settings.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::{
    error::{QueueError, Result},
    options::Options,
};

/// Newest schema version of this build; `PRAGMA user_version` of the file says which one it has.
pub(crate) const VERSION: u32 = 3;

/// `PRAGMA application_id`: "FhwQ".
const APPLICATION_ID: i64 = 0x4668_7751;

/// Bytes per page of a new file. Three usual messages (2 kB) share a page of this size, where a default page
/// of 4 kB holds one; still larger pages cost more than they save when a commit has one message.
const PAGE_BYTES: u32 = 8_192;

/// One step per version: `MIGRATIONS[n]` brings a file from version n to n + 1.
/// A released step is never edited; `tests/fixtures` has a file of every released version.
const MIGRATIONS: [&str; VERSION as usize] = [
    include_str!("schema/v1.sql"),
    include_str!("schema/v2.sql"),
    include_str!("schema/v3.sql"),
];

/// Opens (or makes) the database for its one writer and brings it to the current schema.
pub(crate) fn open_writer(path: &Path, options: &Options) -> Result<Connection> {
    let conn = Connection::open(path)?;
    let application: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let found: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let fresh = is_empty(&conn)?;
    if !fresh && application != APPLICATION_ID {
        return Err(QueueError::Foreign(path.to_owned()));
    }
    if found > VERSION {
        return Err(QueueError::NewerSchema {
            path: path.to_owned(),
            found,
            supported: VERSION,
        });
    }
    if fresh {
        conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    }
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
    settings(&conn, options.cache_bytes)?;
    conn.pragma_update(None, "wal_autocheckpoint", options.checkpoint_pages)?;
    migrate(&conn, found)?;
    if let Some(bytes) = options.max_bytes {
        // The hard bound, for settling: appending stops at the soft one before.
        let pages = (bytes.saturating_add(options.reserve_bytes)) / page_size(&conn)?;
        conn.pragma_update(None, "max_page_count", pages.max(1))?;
    }
    Ok(conn)
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(path, flags)?;
    settings(&conn, 2 << 20)?;
    Ok(conn)
}

/// Refuses what is not a queue of a schema that this build knows; for read-only use without the lock.
pub(crate) fn verify(conn: &Connection, path: &Path) -> Result<()> {
    let application: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let found: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Err(QueueError::Foreign(path.to_owned()));
    }
    if found != VERSION {
        return Err(QueueError::NewerSchema {
            path: path.to_owned(),
            found,
            supported: VERSION,
        });
    }
    Ok(())
}

/// Bytes per page.
pub(crate) fn page_size(conn: &Connection) -> Result<u64> {
    Ok(conn.query_row("PRAGMA page_size", [], |row| row.get(0))?)
}

/// Bytes of the database that hold something.
pub(crate) fn used_bytes(conn: &Connection) -> Result<u64> {
    let pages: u64 = conn
        .prepare_cached("PRAGMA page_count")?
        .query_row([], |row| row.get(0))?;
    let free: u64 = conn
        .prepare_cached("PRAGMA freelist_count")?
        .query_row([], |row| row.get(0))?;
    Ok(pages.saturating_sub(free) * page_size(conn)?)
}

fn settings(conn: &Connection, cache_bytes: u64) -> Result<()> {
    // Plans must not depend on bound values, else statements are compiled anew whenever a value changes.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.set_prepared_statement_cache_capacity(128);
    // Negative: KiB instead of pages.
    conn.pragma_update(
        None,
        "cache_size",
        -(i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX)),
    )?;
    conn.execute_batch(
        "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF;",
    )?;
    Ok(())
}

fn is_empty(conn: &Connection) -> Result<bool> {
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0)
}

/// All missing steps in one transaction: a crash in the middle leaves the old version.
fn migrate(conn: &Connection, found: u32) -> Result<()> {
    if found == VERSION {
        return Ok(());
    }
    let steps = MIGRATIONS.iter().skip(found as usize);
    conn.execute_batch("BEGIN IMMEDIATE")?;
    for step in steps {
        conn.execute_batch(step)?;
    }
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", VERSION)?;
    conn.execute_batch("COMMIT")?;
    Ok(())
}
