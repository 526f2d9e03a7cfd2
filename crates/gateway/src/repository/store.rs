//! The tables, and the few statements on them. Knows no HTTP and no Bundles.
//!
//! `resource` holds the current version of each resource, `past` the ones before it. `identifier` and `reference` index
//! the current version. `body` and `meta` are the members of the resource and of its meta as text, without what the
//! repository itself says (see [`super::content`]).

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::RepositoryError;
use super::content::Content;
use super::query::{Condition, Query, Token};

const FORMAT: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE resource (
    key INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    meta TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (type, id)
) STRICT;
CREATE TABLE past (
    key INTEGER NOT NULL,
    version INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    meta TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (key, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE identifier (
    type TEXT NOT NULL,
    value TEXT NOT NULL,
    system TEXT NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (type, value, system, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX identifier_by_key ON identifier (key);
CREATE TABLE reference (
    type TEXT NOT NULL,
    target TEXT NOT NULL,
    name TEXT NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (type, target, name, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX reference_by_key ON reference (key);
PRAGMA user_version = 1;
";

/// One version of a resource.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) key: i64,
    pub(super) id: String,
    pub(super) version: i64,
    pub(super) updated_ms: i64,
    pub(super) deleted: bool,
    pub(super) meta: String,
    pub(super) body: String,
}

type Outcome<T> = Result<T, rusqlite::Error>;

/// Sets the connection up and makes the tables.
pub(super) fn prepare(connection: &Connection) -> Result<(), RepositoryError> {
    let opened = |result: Outcome<()>| result.map_err(RepositoryError::Open);
    opened(connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;",
    ))?;
    connection.set_prepared_statement_cache_capacity(64);
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(RepositoryError::Open)?;
    match found {
        0 => opened(connection.execute_batch(&format!("BEGIN; {SCHEMA} COMMIT;"))),
        FORMAT => Ok(()),
        found => Err(RepositoryError::Format {
            found,
            known: FORMAT,
        }),
    }
}

fn version(row: &Row<'_>) -> Outcome<Version> {
    Ok(Version {
        key: row.get(0)?,
        id: row.get(1)?,
        version: row.get(2)?,
        updated_ms: row.get(3)?,
        deleted: row.get(4)?,
        meta: row.get(5)?,
        body: row.get(6)?,
    })
}

/// The current version, deleted or not.
pub(super) fn find(connection: &Connection, type_name: &str, id: &str) -> Outcome<Option<Version>> {
    connection
        .prepare_cached(
            "SELECT key, id, version, updated_ms, deleted, meta, body FROM resource WHERE type = ?1 AND id = ?2",
        )?
        .query_row(params![type_name, id], version)
        .optional()
}

/// All versions, newest first.
pub(super) fn versions(
    connection: &Connection,
    type_name: &str,
    id: &str,
) -> Outcome<Vec<Version>> {
    connection
        .prepare_cached(
            "SELECT key, id, version, updated_ms, deleted, meta, body FROM resource WHERE type = ?1 AND id = ?2
             UNION ALL
             SELECT past.key, id, past.version, past.updated_ms, past.deleted, past.meta, past.body
             FROM past JOIN resource USING (key) WHERE type = ?1 AND id = ?2
             ORDER BY 3 DESC",
        )?
        .query_map(params![type_name, id], version)?
        .collect()
}

/// An id that no resource of the type has: the next key, which makes short and readable ids.
pub(super) fn free_id(connection: &Connection, type_name: &str, taken: u32) -> Outcome<String> {
    let last: i64 = connection
        .prepare_cached("SELECT coalesce(max(key), 0) FROM resource")?
        .query_row([], |row| row.get(0))?;
    let mut next = last + 1 + i64::from(taken);
    loop {
        let id = next.to_string();
        if find(connection, type_name, &id)?.is_none() {
            return Ok(id);
        }
        next += 1;
    }
}

/// Writes the first version of a resource.
pub(super) fn insert(
    connection: &Connection,
    type_name: &str,
    id: &str,
    content: &Content,
    now_ms: i64,
) -> Outcome<()> {
    connection
        .prepare_cached(
            "INSERT INTO resource (type, id, version, updated_ms, deleted, meta, body) VALUES (?1, ?2, 1, ?3, 0, ?4, ?5)",
        )?
        .execute(params![type_name, id, now_ms, content.meta, content.body])?;
    index(
        connection,
        type_name,
        connection.last_insert_rowid(),
        content,
    )
}

/// Writes the next version; `None` deletes.
pub(super) fn replace(
    connection: &Connection,
    type_name: &str,
    old: &Version,
    content: Option<&Content>,
    now_ms: i64,
) -> Outcome<()> {
    connection
        .prepare_cached(
            "INSERT INTO past (key, version, updated_ms, deleted, meta, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![old.key, old.version, old.updated_ms, old.deleted, old.meta, old.body])?;
    let (meta, body) = content.map_or(("", ""), |content| (&content.meta, &content.body));
    connection
        .prepare_cached(
            "UPDATE resource SET version = ?2, updated_ms = ?3, deleted = ?4, meta = ?5, body = ?6 WHERE key = ?1",
        )?
        .execute(params![old.key, old.version + 1, now_ms, content.is_none(), meta, body])?;
    for delete in [
        "DELETE FROM identifier WHERE key = ?1",
        "DELETE FROM reference WHERE key = ?1",
    ] {
        connection.prepare_cached(delete)?.execute([old.key])?;
    }
    match content {
        Some(content) => index(connection, type_name, old.key, content),
        None => Ok(()),
    }
}

fn index(connection: &Connection, type_name: &str, key: i64, content: &Content) -> Outcome<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO identifier (type, value, system, key) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (system, value) in &content.identifiers {
        statement.execute(params![type_name, value, system, key])?;
    }
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO reference (type, target, name, key) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (name, target) in &content.references {
        statement.execute(params![type_name, target, name, key])?;
    }
    Ok(())
}

/// The types that have resources, with how many.
pub(super) fn counts(connection: &Connection) -> Outcome<Vec<(String, u64)>> {
    connection
        .prepare_cached(
            "SELECT type, count(*) FROM resource WHERE deleted = 0 GROUP BY type ORDER BY type",
        )?
        .query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?
        .collect()
}

/// SQLite counts in signed numbers.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

/// How many resources match.
pub(super) fn count(connection: &Connection, type_name: &str, query: &Query) -> Outcome<u64> {
    let (filter, values) = filter(type_name, query);
    connection
        .prepare_cached(&format!("SELECT count(*) FROM resource WHERE {filter}"))?
        .query_row(params_from_iter(values), |row| row.get(0).map(unsigned))
}

/// The resources that match, oldest first, a page of them.
pub(super) fn search(
    connection: &Connection,
    type_name: &str,
    query: &Query,
    limit: u64,
    offset: u64,
) -> Outcome<Vec<Version>> {
    let (filter, mut values) = filter(type_name, query);
    let whole = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    values.extend([whole(limit), whole(offset)]);
    connection
        .prepare_cached(&format!(
            "SELECT key, id, version, updated_ms, deleted, meta, body FROM resource
             WHERE {filter} ORDER BY key LIMIT ? OFFSET ?"
        ))?
        .query_map(params_from_iter(values), version)?
        .collect()
}

/// The SQL of a query; only its shape depends on the request, every value is bound.
fn filter(type_name: &str, query: &Query) -> (String, Vec<Value>) {
    let text = |text: &str| Value::Text(text.to_owned());
    // The plus keeps SQLite from going through all resources of the type when there are keys to go by.
    let by_type = if query.conditions.is_empty() {
        "type"
    } else {
        "+type"
    };
    let mut sql = format!("{by_type} = ? AND deleted = 0");
    let mut values = vec![text(type_name)];
    for condition in &query.conditions {
        let alternatives: Vec<String> = match condition {
            Condition::Id(ids) => ids
                .iter()
                .map(|id| {
                    values.extend([text(type_name), text(id)]);
                    "SELECT key FROM resource WHERE type = ? AND id = ?".to_owned()
                })
                .collect(),
            Condition::Identifier(tokens) => tokens
                .iter()
                .map(|token| {
                    values.push(text(type_name));
                    let Token { system, value } = token;
                    let mut sql = String::from("SELECT key FROM identifier WHERE type = ?");
                    for (column, part) in [(" AND value = ?", value), (" AND system = ?", system)] {
                        if let Some(part) = part {
                            values.push(text(part));
                            sql.push_str(column);
                        }
                    }
                    sql
                })
                .collect(),
            Condition::Reference { name, targets } => targets
                .iter()
                .map(|target| {
                    values.extend([text(type_name), text(target), text(name)]);
                    "SELECT key FROM reference WHERE type = ? AND target = ? AND name = ?"
                        .to_owned()
                })
                .collect(),
        };
        sql.push_str(" AND key IN (");
        sql.push_str(&alternatives.join(" UNION "));
        sql.push(')');
    }
    (sql, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A condition is looked up for every entry of every Bundle, so it must not get slower as the repository fills.
    #[test]
    fn conditions_go_by_index() {
        let connection = Connection::open_in_memory().unwrap();
        prepare(&connection).unwrap();
        for text in [
            "identifier=s|v",
            "identifier=v,w",
            "_id=1,2",
            "patient=1",
            "subject=Group/1",
        ] {
            let (filter, values) = filter("Patient", &Query::parse(text).unwrap());
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT body FROM resource WHERE {filter} ORDER BY key LIMIT 2 OFFSET 0"
            );
            let mut statement = connection.prepare(&sql).unwrap();
            let plan: Vec<String> = statement
                .query_map(params_from_iter(values), |row| row.get(3))
                .unwrap()
                .collect::<Outcome<_>>()
                .unwrap();
            let plan = plan.join("; ");
            assert!(
                plan.contains("SEARCH resource USING INTEGER PRIMARY KEY"),
                "{text}: {plan}"
            );
            assert!(
                !plan.contains("SCAN resource") && !plan.contains("SCAN identifier"),
                "{text}: {plan}"
            );
        }
    }
}
