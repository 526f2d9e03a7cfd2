//! Mapping packages: the shipped one inside the binary, and folders of the site.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use mapping::{Diagnostic, Layer, Package, Severity, SourceFile};

use crate::config::{Config, PackageSource};

/// Path and text of every file of the shipped package.
static SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shipped_package.rs"));

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The files have mistakes; the text shows all of them.
    #[error("the mapping has {errors} errors:\n{rendered}")]
    Mistakes {
        /// How many.
        errors: usize,
        /// Each with its line and the likely fix.
        rendered: String,
    },
    /// A name that no package has; a checked configuration has none.
    #[error("there is no package `{0}`")]
    Unknown(String),
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

/// The layer of a folder: every YAML and CSV file below it, but for `tests/` and `examples/`.
///
/// # Errors
/// [`PackageError::Read`].
pub fn folder(path: &Path) -> Result<Layer, PackageError> {
    let mut files = Vec::new();
    walk(path, path, &mut files)?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Layer {
        name: path.display().to_string().trim_end_matches('/').to_owned(),
        files,
    })
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> Result<(), PackageError> {
    let at = |error| PackageError::Read(folder.to_owned(), error);
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.is_dir() {
            if path
                .file_name()
                .is_none_or(|name| name != "tests" && name != "examples")
            {
                walk(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|extension| {
            extension == "yaml" || extension == "yml" || extension == "csv"
        }) {
            let text = fs::read_to_string(&path)
                .map_err(|error| PackageError::Read(path.clone(), error))?;
            let name = path.strip_prefix(root).unwrap_or(&path);
            let parts: Vec<_> = name
                .components()
                .map(|part| part.as_os_str().to_string_lossy())
                .collect();
            files.push(SourceFile {
                path: parts.join("/"),
                text,
            });
        }
    }
    Ok(())
}

/// Compiles layers; warnings are returned beside the package.
///
/// # Errors
/// [`PackageError::Mistakes`].
pub fn compile(layers: &[Layer]) -> Result<(Arc<Package>, Vec<Diagnostic>), PackageError> {
    let (package, diagnostics) = Package::compile(layers);
    match package {
        Some(package) => Ok((Arc::new(package), diagnostics)),
        None => Err(PackageError::Mistakes {
            errors: diagnostics
                .iter()
                .filter(|diagnostic| diagnostic.severity == Severity::Error)
                .count(),
            rendered: render(layers, &diagnostics, false),
        }),
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
        let combinations: BTreeSet<&Vec<String>> =
            config.routes.iter().map(|route| &route.packages).collect();
        let mut packages = BTreeMap::new();
        for names in combinations {
            let layers = names
                .iter()
                .map(|name| layer(config, name))
                .collect::<Result<Vec<_>, _>>()?;
            let (package, _) = compile(&layers)?;
            packages.insert(names.clone(), package);
        }
        Ok(Self(packages))
    }

    /// The package of these layers.
    pub fn get(&self, names: &[String]) -> Option<&Arc<Package>> {
        self.0.get(names)
    }
}

fn layer(config: &Config, name: &str) -> Result<Layer, PackageError> {
    match config.packages.get(name) {
        Some(PackageSource::Embedded) => Ok(shipped()),
        Some(PackageSource::Folder(path)) => folder(path),
        None => Err(PackageError::Unknown(name.to_owned())),
    }
}
