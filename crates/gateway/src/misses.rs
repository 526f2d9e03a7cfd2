//! Codes that no table lists: which, how often, from whom.
//!
//! The running gateway counts them. Counts live in memory and go to `misses.json` in the data folder every minute and at the
//! end, so that a restart loses a minute at most; they are a help for who fills tables, not books. What is kept of a
//! message is its code and the name of its coding system, and only where these look like a code: at most 40 printable
//! characters without blanks. Kinds of misses are bounded: what comes behind the last is only counted.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use mapping::CodeMiss;
use queue::RecordId;
use serde::{Deserialize, Serialize};

use crate::receive::unix_millis;

mod print;

/// Most kinds of misses that are told apart.
const MOST: usize = 10_000;
/// Records remembered, so that a message that is converted again (for a second destination, or because its server was
/// away) counts once.
const REMEMBERED: usize = 8_192;
/// Longest name of a sender that is kept, in characters.
const LONGEST_SENDER: usize = 64;

/// One kind of miss.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Missed {
    /// The table.
    pub table: String,
    /// Its coding system as the message names it, if it does.
    pub system: Option<String>,
    /// The code; `None` for texts that do not look like one.
    pub code: Option<String>,
    /// Where it stands, such as `PID-16`.
    pub field: String,
    /// Who sent it.
    pub sender: String,
}

/// How often, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How often.
    pub count: u64,
    /// First time, in milliseconds since 1970 UTC.
    pub first_ms: i64,
    /// Last time.
    pub last_ms: i64,
}

/// One kind of miss and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which.
    #[serde(flatten)]
    pub missed: Missed,
    /// How often.
    #[serde(flatten)]
    pub count: Count,
}

/// All that was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissList {
    /// Each kind, by table, system and code.
    pub misses: Vec<Entry>,
    /// Misses that came when there were too many kinds.
    pub more: u64,
}

/// Counts misses, and keeps them in a file.
pub struct Misses {
    path: Option<PathBuf>,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    counts: BTreeMap<Missed, Count>,
    more: u64,
    changed: bool,
    seen: HashSet<RecordId>,
    order: VecDeque<RecordId>,
}

// === impl Misses ===

impl Misses {
    /// Counts of nothing yet, that no file keeps.
    pub fn new() -> Self {
        Self {
            path: None,
            counts: Mutex::default(),
        }
    }

    /// Counts that go on where the file of the data folder left off. A file that cannot be read starts anew.
    pub fn open(data_dir: &Path) -> Self {
        let path = path(data_dir);
        let list = load(&path).unwrap_or_default();
        let counts = Counts {
            counts: list
                .misses
                .into_iter()
                .take(MOST)
                .map(|entry| (entry.missed, entry.count))
                .collect(),
            more: list.more,
            ..Counts::default()
        };
        Self {
            path: Some(path),
            counts: Mutex::new(counts),
        }
    }

    /// Counts the misses of a record once, however often it is converted.
    pub fn count_record(&self, record: RecordId, sender: &str, misses: &[CodeMiss]) {
        if misses.is_empty() {
            return;
        }
        let mut counts = self.lock();
        if !counts.seen.insert(record) {
            return;
        }
        counts.order.push_back(record);
        if counts.order.len() > REMEMBERED
            && let Some(oldest) = counts.order.pop_front()
        {
            counts.seen.remove(&oldest);
        }
        counts.add(sender, misses, unix_millis(SystemTime::now()));
    }

    /// Counts the misses of a message.
    pub fn count(&self, sender: &str, misses: &[CodeMiss]) {
        if !misses.is_empty() {
            self.lock()
                .add(sender, misses, unix_millis(SystemTime::now()));
        }
    }

    /// What was counted.
    pub fn list(&self) -> MissList {
        let counts = self.lock();
        MissList {
            misses: counts
                .counts
                .iter()
                .map(|(missed, count)| Entry {
                    missed: missed.clone(),
                    count: *count,
                })
                .collect(),
            more: counts.more,
        }
    }

    /// Starts anew.
    pub fn clear(&self) {
        let mut counts = self.lock();
        counts.counts.clear();
        (counts.more, counts.changed) = (0, true);
    }

    /// Writes the file, if something has changed.
    ///
    /// # Errors
    /// The file cannot be written; the counts are not lost by that.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if !std::mem::take(&mut self.lock().changed) {
            return Ok(());
        }
        let text = serde_json::to_vec(&self.list())?;
        let new = path.with_extension("json.new");
        write_private(&new, &text)
            .and_then(|()| fs::rename(&new, path))
            .inspect_err(|_| self.lock().changed = true)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Misses {
    fn default() -> Self {
        Self::new()
    }
}

impl Counts {
    fn add(&mut self, sender: &str, misses: &[CodeMiss], now: i64) {
        self.changed = true;
        for miss in misses {
            let field = miss.place.field.map(|field| format!("-{field}"));
            let missed = Missed {
                table: miss.table.clone(),
                system: miss.code.system().map(str::to_owned),
                code: miss.code.code().map(str::to_owned),
                field: format!("{}{}", miss.place.segment_name(), field.unwrap_or_default()),
                sender: sender.chars().take(LONGEST_SENDER).collect(),
            };
            if let Some(count) = self.counts.get_mut(&missed) {
                count.count += 1;
                count.last_ms = now;
            } else if self.counts.len() < MOST {
                let count = Count {
                    count: 1,
                    first_ms: now,
                    last_ms: now,
                };
                self.counts.insert(missed, count);
            } else {
                self.more += 1;
            }
        }
    }
}

/// The file of a data folder.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("misses.json")
}

/// What a gateway that does not run any more has counted.
///
/// # Errors
/// There is no such file, or it is not one of ours.
pub fn load(path: &Path) -> io::Result<MissList> {
    let text = fs::read(path)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Only the owner may read it: codes may say much of a small hospital.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
