//! Telling that files have changed, once they are quiet again.
//!
//! Folders are watched, not files: an editor that saves by renaming makes a new file, and a folder that was replaced as a
//! whole is found again. Who is told looks at the files and decides; being told once too often costs a look.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// Nothing may have changed for so long before it is told: a save is several steps, a copy many.
const QUIET: Duration = Duration::from_millis(200);
/// It is told after so long, however much goes on.
const LONGEST: Duration = Duration::from_secs(5);
/// How often a folder that is gone is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// What is watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Folders with all below them, and single files.
    pub paths: Vec<PathBuf>,
    /// Endings of files that matter, without the dot.
    pub endings: &'static [&'static str],
}

/// A watch that is kept.
pub struct Watch {
    watched: Watched,
    sender: Sender<()>,
    changes: Receiver<()>,
    watcher: Option<RecommendedWatcher>,
}

/// Stops a [`Watch::wait`] from another thread.
#[derive(Clone)]
pub struct Stop(Sender<()>);

impl Watch {
    /// Starts to watch.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn start(watched: Watched) -> Result<Self, notify::Error> {
        let (sender, changes) = mpsc::channel();
        let watcher = watch(&watched, &sender)?;
        Ok(Self {
            watched,
            sender,
            changes,
            watcher: Some(watcher),
        })
    }

    /// What wakes a waiting thread up, as if a file had changed.
    pub fn stop(&self) -> Stop {
        Stop(self.sender.clone())
    }

    /// Returns when something has changed and is quiet again.
    pub fn wait(&mut self) {
        // The sender is ours too, so there is always one.
        let _ = self.changes.recv();
        let since = Instant::now();
        loop {
            let left = LONGEST.saturating_sub(since.elapsed());
            match self.changes.recv_timeout(QUIET.min(left)) {
                Ok(()) if !left.is_zero() => {}
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        self.again();
    }

    /// A folder that was replaced is another one to the system, so all are watched anew; one that is missing is waited
    /// for as long as the change that took it away may last.
    fn again(&mut self) {
        let since = Instant::now();
        loop {
            // The old one goes when the new one is there, so that nothing is missed between them.
            match watch(&self.watched, &self.sender) {
                Ok(watcher) => {
                    self.watcher = Some(watcher);
                    return;
                }
                Err(_) if since.elapsed() < LONGEST => std::thread::sleep(LOOK),
                Err(_) => break,
            }
        }
        // It is still missing: whoever is told will see it, and is told again when it may be back.
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            std::thread::sleep(LONGEST);
            let _ = sender.send(());
        });
    }
}

impl Stop {
    /// Wakes it up.
    pub fn now(&self) {
        let _ = self.0.send(());
    }
}

fn watch(watched: &Watched, sender: &Sender<()>) -> Result<RecommendedWatcher, notify::Error> {
    let (told, matters) = (sender.clone(), Matters::new(watched));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error of the system is a reason to look, too.
        if event.map_or(true, |event| matters.event(&event)) {
            let _ = told.send(());
        }
    })?;
    let mut folders = BTreeSet::new();
    for path in &watched.paths {
        if path.is_dir() {
            watcher.watch(path, RecursiveMode::Recursive)?;
        } else {
            folders.insert(folder_of(path));
        }
    }
    for folder in folders {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Which events are about what is watched.
struct Matters {
    endings: &'static [&'static str],
    files: Vec<PathBuf>,
    has_folders: bool,
}

impl Matters {
    fn new(watched: &Watched) -> Self {
        let (folders, files): (Vec<_>, Vec<_>) =
            watched.paths.iter().partition(|path| path.is_dir());
        Self {
            endings: watched.endings,
            files: files.into_iter().cloned().collect(),
            has_folders: !folders.is_empty(),
        }
    }

    fn event(&self, event: &Event) -> bool {
        !matches!(event.kind, EventKind::Access(_))
            && event.paths.iter().any(|path| self.path(path))
    }

    fn path(&self, path: &Path) -> bool {
        let named = self
            .files
            .iter()
            .any(|file| file.file_name() == path.file_name());
        let ending = path.extension().map(|ending| ending.to_string_lossy());
        named
            || self.has_folders
                && match ending {
                    Some(ending) => self
                        .endings
                        .iter()
                        .any(|known| ending.eq_ignore_ascii_case(known)),
                    // A folder that came, went or was renamed, with all that is in it.
                    None => path.is_dir() || !path.exists(),
                }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    /// Tells each time the watch does.
    fn told(paths: Vec<PathBuf>) -> Receiver<()> {
        let mut watch = Watch::start(Watched {
            paths,
            endings: &["yaml", "hl7"],
        })
        .unwrap();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            loop {
                watch.wait();
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
        receiver
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn changes_are_told_however_they_are_saved() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("segments/PID");
        fs::create_dir_all(&below).unwrap();
        let file = below.join("Patient.yaml");
        fs::write(&file, "a").unwrap();
        let told = told(vec![folder.path().to_owned()]);
        // As it is written, as editors rename, as it goes, as a folder comes.
        fs::write(&file, "b").unwrap();
        told.recv_timeout(PATIENCE).unwrap();
        let new = below.join(".Patient.yaml.swp");
        fs::write(&new, "c").unwrap();
        fs::rename(&new, &file).unwrap();
        told.recv_timeout(PATIENCE).unwrap();
        fs::remove_file(&file).unwrap();
        told.recv_timeout(PATIENCE).unwrap();
        fs::create_dir(folder.path().join("tables")).unwrap();
        told.recv_timeout(PATIENCE).unwrap();
        fs::write(folder.path().join("tables/A.yaml"), "d").unwrap();
        told.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn many_steps_are_told_as_one_and_other_files_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let told = told(vec![folder.path().to_owned()]);
        fs::write(folder.path().join("notes.txt"), "x").unwrap();
        assert!(told.recv_timeout(Duration::from_millis(600)).is_err());
        for number in 0..50 {
            fs::write(folder.path().join(format!("{number}.hl7")), "x").unwrap();
        }
        told.recv_timeout(PATIENCE).unwrap();
        assert!(told.recv_timeout(Duration::from_millis(600)).is_err());
    }

    #[test]
    fn a_folder_that_is_replaced_is_still_watched() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("site");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("package.yaml"), "a").unwrap();
        let told = told(vec![folder.clone()]);
        let next = around.path().join("next");
        fs::create_dir(&next).unwrap();
        fs::write(next.join("package.yaml"), "b").unwrap();
        fs::rename(&folder, around.path().join("old")).unwrap();
        fs::rename(&next, &folder).unwrap();
        fs::remove_dir_all(around.path().join("old")).unwrap();
        told.recv_timeout(PATIENCE).unwrap();
        while told.recv_timeout(Duration::from_secs(1)).is_ok() {}
        fs::write(folder.join("package.yaml"), "c").unwrap();
        told.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn a_single_file_is_watched_whatever_its_ending() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("message.txt");
        fs::write(&file, "a").unwrap();
        let told = told(vec![file.clone()]);
        fs::write(folder.path().join("other.hl7"), "a").unwrap();
        assert!(told.recv_timeout(Duration::from_millis(600)).is_err());
        fs::write(&file, "b").unwrap();
        told.recv_timeout(PATIENCE).unwrap();
    }
}
