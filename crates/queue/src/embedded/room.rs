//! Whether there is room for more records.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::schema;
use crate::{
    error::{Bound, QueueError, Result},
    options::Options,
};

/// How long an answer of the file system is believed.
const BELIEVE: Duration = Duration::from_millis(200);

/// The bounds of a queue.
#[derive(Debug)]
pub(crate) struct Room {
    folder: PathBuf,
    max_bytes: Option<u64>,
    min_free_bytes: u64,
    asked: Option<(Instant, u64)>,
}

// === impl Room ===

impl Room {
    pub(crate) fn new(folder: PathBuf, options: &Options) -> Self {
        Self {
            folder,
            max_bytes: options.max_bytes,
            min_free_bytes: options.min_free_bytes,
            asked: None,
        }
    }

    /// Refuses with the bound that is reached.
    pub(crate) fn check(&mut self, conn: &Connection) -> Result<()> {
        if let Some(max) = self.max_bytes
            && schema::used_bytes(conn)? >= max
        {
            return Err(QueueError::Full(Bound::MaxBytes));
        }
        if self.min_free_bytes > 0 && self.free()? < self.min_free_bytes {
            return Err(QueueError::Full(Bound::FreeDisk));
        }
        Ok(())
    }

    /// Bytes left, at most a moment old.
    pub(crate) fn free(&mut self) -> Result<u64> {
        if let Some((asked, free)) = self.asked
            && asked.elapsed() < BELIEVE
        {
            return Ok(free);
        }
        let stat = rustix::fs::statvfs(&self.folder).map_err(std::io::Error::from)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        self.asked = Some((Instant::now(), free));
        Ok(free)
    }
}
