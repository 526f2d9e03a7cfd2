//! The tables, the same in every database, and bringing them up to date.

use super::{Database, Value};
use crate::error::{QueueError, Result};

/// One entry per schema version, oldest first. Released: never edit one, add the next.
const VERSIONS: &[&str] = &[include_str!("schema/v1.sql")];

/// Makes what is missing, in one transaction. Two nodes that start at once take turns.
pub(super) async fn migrate(database: &dyn Database) -> Result<()> {
    let _alone = database.exclusive().await?;
    let mut tx = database.begin().await?;
    let make = "CREATE TABLE IF NOT EXISTS fhirway_home (version BIGINT NOT NULL)";
    tx.query(make, &[]).await?;
    let rows = tx.query("SELECT version FROM fhirway_home", &[]).await?;
    let found = rows.first().map_or(0, |row| row.integer(0));
    let known = i64::try_from(VERSIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(QueueError::NewerSchema {
            path: "(shared home)".into(),
            found: u32::try_from(found).unwrap_or(u32::MAX),
            supported: u32::try_from(known).unwrap_or(u32::MAX),
        });
    }
    if found == known {
        return Ok(());
    }
    let done = usize::try_from(found).unwrap_or(0);
    for version in VERSIONS.iter().skip(done) {
        let plain: Vec<&str> = version
            .lines()
            .map(|line| line.split("--").next().unwrap_or_default())
            .collect();
        let text = plain.join("\n").replace("{blob}", database.dialect().blob);
        for statement in text.split(';').filter(|part| !part.trim().is_empty()) {
            tx.query(statement, &[]).await?;
        }
    }
    tx.query("DELETE FROM fhirway_home", &[]).await?;
    let insert = "INSERT INTO fhirway_home VALUES ($1)";
    tx.query(insert, &[Value::Integer(known)]).await?;
    tx.commit().await
}
