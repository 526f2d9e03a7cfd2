//! New maps while the gateway runs: read, checked whole, and put in place of the old ones in one step, or not at all.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::Serialize;
use tokio::{
    sync::{Mutex, watch},
    task,
};

use crate::{
    config::Config,
    deliver::MappingStep,
    events::PackageEvents,
    packages::{self, PackageError, Packages},
    watch::{Watch, Watched},
};

/// Loads the packages of a configuration again.
pub struct Reloader {
    config: Config,
    mapping: Arc<MappingStep>,
    events: PackageEvents,
    /// One at a time.
    busy: Mutex<()>,
}

/// Who asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A file has changed.
    Watch,
    /// SIGHUP.
    Signal,
    /// `fhirway mapping reload`.
    Command,
}

/// A package that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// Its layers, the base first.
    pub packages: Vec<String>,
    /// The fingerprint of all its files.
    pub hash: String,
    /// Whether it is another one than before.
    pub changed: bool,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watch => "watch",
            Self::Signal => "signal",
            Self::Command => "command",
        })
    }
}

impl Reloader {
    /// A reloader of what `mapping` works with.
    pub fn new(config: Config, mapping: Arc<MappingStep>, events: PackageEvents) -> Self {
        for (names, hash) in mapping.hashes() {
            events.in_force(&names, None, &hash);
        }
        Self {
            config,
            mapping,
            events,
            busy: Mutex::default(),
        }
    }

    /// Reads all packages and puts them in force. Messages that are being mapped finish with the maps they began with.
    ///
    /// # Errors
    /// [`PackageError`]; the old packages stay, all of them.
    pub async fn reload(&self, trigger: Trigger) -> Result<Vec<InForce>, PackageError> {
        let _one_at_a_time = self.busy.lock().await;
        let config = self.config.clone();
        let loaded = task::spawn_blocking(move || Packages::load(&config))
            .await
            .unwrap_or(Err(PackageError::Panicked));
        let packages = match loaded {
            Ok(packages) => packages,
            Err(error) => {
                self.events.reload_failed(trigger, &error);
                return Err(error);
            }
        };
        let before = self.mapping.hashes();
        let in_force: Vec<InForce> = packages
            .iter()
            .map(|(names, package)| InForce {
                packages: names.clone(),
                hash: package.hash().to_owned(),
                changed: before.get(names).map(String::as_str) != Some(package.hash()),
            })
            .collect();
        let changed = in_force.iter().any(|package| package.changed);
        if changed {
            self.mapping.replace(&packages);
        }
        for package in in_force.iter().filter(|package| package.changed) {
            let old = before.get(&package.packages).map(String::as_str);
            self.events.in_force(&package.packages, old, &package.hash);
        }
        self.events.reloaded(trigger, changed);
        Ok(in_force)
    }

    /// Reloads whenever a file of a package changes, until `stop` says true.
    pub async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let paths = packages::folders(&self.config);
        if paths.is_empty() {
            return;
        }
        let watched = Watched {
            paths: paths.clone(),
            endings: packages::ENDINGS,
        };
        let mut watch = match Watch::start(watched) {
            Ok(watch) => watch,
            Err(error) => {
                self.events.cannot_watch(&error);
                return;
            }
        };
        self.events.watching(&paths);
        let waker = watch.stop();
        loop {
            let waiting = task::spawn_blocking(move || {
                watch.wait();
                watch
            });
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {
                    waker.now();
                    return;
                }
                woken = waiting => match woken {
                    Ok(again) => watch = again,
                    Err(_) => return,
                },
            }
            // What is wrong has been logged and counted; the next change may mend it.
            let _ = self.reload(Trigger::Watch).await;
        }
    }

    /// The folders whose change would matter.
    pub fn folders(&self) -> Vec<PathBuf> {
        packages::folders(&self.config)
    }
}
