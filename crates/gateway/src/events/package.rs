//! What happens to the mapping packages while the gateway runs.

use std::{path::PathBuf, sync::Arc};

use tracing::{error, info, warn};

use crate::{
    metrics::{Metrics, unix_seconds},
    packages::PackageError,
    reload::Trigger,
};

/// Events of the mapping packages.
pub struct PackageEvents {
    metrics: Arc<Metrics>,
}

impl PackageEvents {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.package_reload_ok.set(1);
        metrics
            .package_reload_time
            .with_label_values(&[] as &[&str])
            .set(unix_seconds());
        Self {
            metrics: Arc::clone(metrics),
        }
    }

    /// These layers are mapped with the files of this hash, instead of those of the hash `before`.
    pub fn in_force(&self, names: &[String], before: Option<&str>, hash: &str) {
        let packages = names.join("+");
        if let Some(before) = before {
            // The label is gone, or was never there: both are what is wanted.
            let _ = self
                .metrics
                .package_info
                .remove_label_values(&[packages.as_str(), before]);
        }
        self.metrics
            .package_info
            .with_label_values(&[packages.as_str(), hash])
            .set(1.0);
        info!(event = "mapping_in_force", %packages, hash, before);
    }

    /// All packages were read and found right.
    pub fn reloaded(&self, trigger: Trigger, changed: bool) {
        let outcome = if changed { "reloaded" } else { "unchanged" };
        self.metrics
            .package_reloads
            .with_label_values(&[outcome])
            .inc();
        self.metrics.package_reload_ok.set(1);
        self.metrics
            .package_reload_time
            .with_label_values(&[] as &[&str])
            .set(unix_seconds());
        info!(event = "mapping_reloaded", %trigger, changed);
    }

    /// There is a mistake, and the old packages stay.
    pub fn reload_failed(&self, trigger: Trigger, why: &PackageError) {
        self.metrics
            .package_reloads
            .with_label_values(&["failed"])
            .inc();
        self.metrics.package_reload_ok.set(0);
        error!(
            event = "mapping_reload_failed",
            %trigger,
            why = why.in_one_line(),
            kept = "the maps that were in force"
        );
    }

    /// Changes of these folders are noticed.
    pub fn watching(&self, folders: &[PathBuf]) {
        for folder in folders {
            info!(event = "mapping_watched", folder = %folder.display());
        }
    }

    /// The system does not let us watch.
    pub fn cannot_watch(&self, why: &notify::Error) {
        warn!(event = "mapping_not_watched", %why, instead = "SIGHUP or `fhirway mapping reload`");
    }
}
