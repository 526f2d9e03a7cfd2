//! A small FHIR R4 repository inside the gateway, for trying out and for tests. Not for production.
//!
//! It takes what the gateway sends (transactions, batches, conditional create and update), answers the questions one
//! asks while trying out (read, history, search by `_id`, `identifier`, `patient`, `subject`), and keeps everything in
//! one SQLite file or in memory. There is no access control, no terminology, no referential integrity for references to
//! resources outside of a Bundle, and search knows no other parameters; so it listens on loopback only, and its
//! CapabilityStatement says `experimental`.
//!
//! What it promises all the same:
//! - A transaction is all or nothing (<https://hl7.org/fhir/R4/http.html#transaction>). One connection writes, so two
//!   conditional creates of one patient at the same time make one patient.
//! - Content that does not change makes no new version: a redelivered Bundle leaves every version as it is. (FHIR leaves
//!   this to the server; many real ones do count up.)
//! - `PUT Type/id` with `ifNoneMatch: *` in a Bundle makes the resource if there is none, and otherwise answers 304 and
//!   leaves it alone; as a single request it answers 412, as HTTP says.
//! - Content is kept as JSON text: a decimal keeps its digits. Only `id`, `meta.versionId`, `meta.lastUpdated` and
//!   references into the Bundle are written by the repository; insignificant white space goes.
//! - Durable against a crash of the process; the last transactions may be lost with the power (`synchronous=NORMAL`).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

mod api;
mod bundle;
mod capability;
mod content;
mod fault;
mod history;
mod interaction;
mod query;
mod store;
#[cfg(test)]
mod tests;
mod translate;
mod validity;

pub use api::router;
pub(crate) use capability::statement;
pub use fault::Fault;
pub use interaction::{Stored, Written};

/// Bytes of a request that are read at most.
pub const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// The repository. Share it in an `Arc`; every method takes the one connection for as long as it runs.
pub struct Repository {
    connection: Mutex<Connection>,
    validating: AtomicBool,
}

/// Why a repository cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The folder of the file cannot be made.
    #[error("cannot make the folder of the repository's file")]
    Folder(#[source] std::io::Error),
    /// SQLite cannot open the file, or it is something else.
    #[error("cannot open the repository's file")]
    Open(#[source] rusqlite::Error),
    /// The file was made by a newer version.
    #[error("the repository's file has format {found}, this program knows {known}")]
    Format {
        /// The format of the file.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
}

// === impl Repository ===

impl Repository {
    /// Opens the repository in a file, which is made if there is none, or in memory with `None`.
    ///
    /// # Errors
    /// [`RepositoryError`]: no folder, no database, or one of a newer format.
    pub fn open(path: Option<&Path>) -> Result<Self, RepositoryError> {
        let connection = match path {
            Some(path) => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).map_err(RepositoryError::Folder)?;
                }
                Connection::open(path).map_err(RepositoryError::Open)?
            }
            None => Connection::open_in_memory().map_err(RepositoryError::Open)?,
        };
        store::prepare(&connection)?;
        tracing::warn!(
            persistent = path.is_some(),
            "embedded fhir repository is open: for trying out and tests, not for production"
        );
        Ok(Self {
            connection: Mutex::new(connection),
            validating: AtomicBool::new(true),
        })
    }

    /// Turns the check of resources against the R4 definitions off or on. On at first.
    pub fn set_validating(&self, validating: bool) {
        self.validating.store(validating, Ordering::Relaxed);
    }

    fn is_validating(&self) -> bool {
        self.validating.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolls it back on unwinding, so what is left is sound.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").finish_non_exhaustive()
    }
}
