//! Mapping packages: the shipped one inside the binary, and folders of the site.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use mapping::{Diagnostic, Layer, Package, Severity, SourceFile};

use crate::config::{Config, PackageSource, Route};

mod folder;

pub use folder::{ENDINGS, FolderError};

/// Path and text of every file of the shipped package.
static SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shipped_package.rs"));

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A folder that is no package, or a file in it that cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The files have mistakes; the text shows all of them.
    #[error("the mapping has {errors} errors:\n{rendered}")]
    Mistakes {
        /// How many.
        errors: usize,
        /// Each with its line and the likely fix.
        rendered: String,
        /// The first one in a line, with its place.
        first: String,
    },
    /// A route sets a policy that its packages do not have, or to a value it cannot have.
    #[error("routes.{route}.policies.{policy}: {why}")]
    Policy {
        /// The route.
        route: String,
        /// The policy.
        policy: String,
        /// What is wrong, and what to write.
        why: String,
    },
    /// A mistake in the gateway itself.
    #[error("internal error while reading the packages")]
    Panicked,
    /// A name that no package has; a checked configuration has none.
    #[error("there is no package `{0}`")]
    Unknown(String),
}

impl PackageError {
    /// For a log: the first mistake with its place, and how many there are.
    pub fn in_one_line(&self) -> String {
        match self {
            Self::Mistakes { errors, first, .. } => {
                let more = errors.saturating_sub(1);
                format!("{first} (and {more} more; fhirway mapping check shows all)")
            }
            other => crate::cli::chain(other),
        }
    }
}

/// The layer of the shipped package.
pub fn shipped() -> Layer {
    let files = SHIPPED.iter().map(|(path, text)| SourceFile {
        path: (*path).to_owned(),
        text: (*text).to_owned(),
    });
    Layer {
        name: "mappings".to_owned(),
        files: files.collect(),
    }
}

/// The layer of a folder.
///
/// # Errors
/// [`PackageError::Folder`].
pub fn folder(path: &Path) -> Result<Layer, PackageError> {
    Ok(folder::read(path)?)
}

/// Compiles layers; warnings are returned beside the package.
///
/// # Errors
/// [`PackageError::Mistakes`].
pub fn compile(layers: &[Layer]) -> Result<(Arc<Package>, Vec<Diagnostic>), PackageError> {
    let (package, diagnostics) = Package::compile(layers);
    match package {
        Some(package) => Ok((Arc::new(package), diagnostics)),
        None => {
            let is_error = |found: &&Diagnostic| found.severity == Severity::Error;
            let first = diagnostics.iter().find(is_error);
            Err(PackageError::Mistakes {
                errors: diagnostics.iter().filter(is_error).count(),
                rendered: render(layers, &diagnostics, false),
                first: first.map(Diagnostic::one_line).unwrap_or_default(),
            })
        }
    }
}

/// All findings, each with the line it stands in.
pub fn render(layers: &[Layer], diagnostics: &[Diagnostic], colour: bool) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let source = Package::source(layers, &diagnostic.file).unwrap_or_default();
        let _ = writeln!(out, "{}\n", diagnostic.render(source, colour));
    }
    out
}

/// The packages of a configuration, each combination of layers compiled once.
pub struct Packages(BTreeMap<Vec<String>, Arc<Package>>);

impl Packages {
    /// Compiles what the routes use.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn load(config: &Config) -> Result<Self, PackageError> {
        let combinations: BTreeSet<Vec<String>> =
            config.routes.iter().flat_map(Route::layerings).collect();
        let mut packages = BTreeMap::new();
        for names in combinations {
            let layers = names
                .iter()
                .map(|name| layer(config, name))
                .collect::<Result<Vec<_>, _>>()?;
            let (package, _) = compile(&layers)?;
            packages.insert(names, package);
        }
        for route in &config.routes {
            if let Some(package) = packages.get(&route.packages) {
                check_policies(&route.name, &route.policies, package)?;
            }
            for overlay in &route.overlays {
                if let Some(package) = packages.get(&route.layers_with(overlay)) {
                    let place = format!("{}.overlays.{}", route.name, overlay.name);
                    check_policies(&place, &overlay.policies, package)?;
                }
            }
        }
        Ok(Self(packages))
    }

    /// Every combination of layers, with its package.
    pub fn iter(&self) -> impl Iterator<Item = (&Vec<String>, &Arc<Package>)> {
        self.0.iter()
    }

    /// The package of these layers.
    pub fn get(&self, names: &[String]) -> Option<&Arc<Package>> {
        self.0.get(names)
    }
}

/// The folders that the routes of a configuration use.
pub fn folders(config: &Config) -> Vec<PathBuf> {
    let names: BTreeSet<String> = config
        .routes
        .iter()
        .flat_map(Route::layerings)
        .flatten()
        .collect();
    let sources = names
        .into_iter()
        .filter_map(|name| config.packages.get(&name));
    sources
        .filter_map(|source| match source {
            PackageSource::Embedded => None,
            PackageSource::Folder(path) => Some(path.clone()),
        })
        .collect()
}

/// A policy that nothing asks for would be a decision that is silently not taken.
fn check_policies(
    route: &str,
    policies: &BTreeMap<String, String>,
    package: &Package,
) -> Result<(), PackageError> {
    for (policy, value) in policies {
        if let Some(why) = package.refuses_policy(policy, value) {
            return Err(PackageError::Policy {
                route: route.to_owned(),
                policy: policy.clone(),
                why,
            });
        }
    }
    Ok(())
}

fn layer(config: &Config, name: &str) -> Result<Layer, PackageError> {
    match config.packages.get(name) {
        Some(PackageSource::Embedded) => Ok(shipped()),
        Some(PackageSource::Folder(path)) => Ok(folder::read(path)?),
        None => Err(PackageError::Unknown(name.to_owned())),
    }
}
