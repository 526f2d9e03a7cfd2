//! A copy of the queue while it works.

use std::{fs::File, path::Path};

use rusqlite::{Connection, backup};

use super::{check, ciphers::Ciphers, schema};
use crate::{
    encryption::EncryptionKey,
    error::{QueueError, Result},
    hold::Backup,
};

/// Copies the database as it is at this moment into a new file, and verifies the copy. A file that is there is
/// never overwritten, and one that could not be finished or verified is removed.
pub(crate) fn backup(conn: &Connection, keys: &[EncryptionKey], to: &Path) -> Result<Backup> {
    if to.exists() {
        return Err(QueueError::Invalid(
            "there is a file of that name already; a backup never overwrites one",
        ));
    }
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = to.with_file_name(name);
    let made = copy(conn, &partial).and_then(|()| verify(&partial, keys));
    match made {
        Ok((bytes, records)) => {
            std::fs::rename(&partial, to)?;
            let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(Backup {
                path: to.to_owned(),
                bytes,
                records,
            })
        }
        Err(error) => {
            let _gone = std::fs::remove_file(&partial);
            Err(error)
        }
    }
}

/// All pages in one step: one moment of the queue, which goes on writing meanwhile.
fn copy(conn: &Connection, to: &Path) -> Result<()> {
    let _left_over = std::fs::remove_file(to);
    let mut copy = Connection::open(to)?;
    {
        let backup = backup::Backup::new(conn, &mut copy)?;
        backup.step(-1)?;
    }
    // One file, without a log beside it.
    copy.execute_batch("PRAGMA journal_mode = DELETE")?;
    copy.close().map_err(|(_, error)| error)?;
    File::open(to)?.sync_all()?;
    Ok(())
}

fn verify(copy: &Path, keys: &[EncryptionKey]) -> Result<(u64, u64)> {
    let conn = schema::open_reader(copy)?;
    schema::verify(&conn, copy)?;
    let ciphers = Ciphers::for_reader(&conn, keys)?;
    let check = check::check(&conn, &ciphers, true)?;
    if !check.is_sound() {
        return Err(QueueError::Corrupt(std::sync::Arc::new(UnsoundCopy(
            check.faults.len(),
        ))));
    }
    Ok((std::fs::metadata(copy)?.len(), check.records))
}

#[derive(Debug, thiserror::Error)]
#[error("the copy has {0} faults, as the queue itself may have: run `fhirway queue fsck`")]
struct UnsoundCopy(usize);
