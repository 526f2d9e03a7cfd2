//! Which tests there are: every `NAME.hl7` below `tests/`, and what stands beside it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::shown;
use crate::cli::Failure;

/// One test. Files that belong to none make one too, which fails, so that a slip of the pen is not silence.
#[derive(Debug)]
pub(super) struct Case {
    /// The path of its message without the ending.
    pub(super) name: String,
    /// Which layer it belongs to.
    pub(super) layer: usize,
    /// The message.
    pub(super) message: Option<PathBuf>,
    /// The Bundle it must become, which may not exist yet.
    pub(super) bundle: PathBuf,
    /// Assertions about it.
    pub(super) assertions: Option<PathBuf>,
    /// `defaults.yaml` of its folder and of those around it, the nearest first.
    pub(super) defaults: Vec<PathBuf>,
    /// Files that no test knows what to do with.
    pub(super) stray: Option<String>,
}

/// Settings and assertions for all tests of a folder and those below it.
const DEFAULTS: &str = "defaults.yaml";
/// Endings that belong to a test, the longest first.
const ENDINGS: [&str; 3] = [".bundle.json", ".assert.yaml", ".hl7"];

/// The tests below a folder, by name; none if there is no such folder.
///
/// # Errors
/// [`Failure::Usage`] for a folder that cannot be listed.
pub(super) fn cases(folder: &Path, layer: usize) -> Result<Vec<Case>, Failure> {
    let mut cases = Vec::new();
    if folder.is_dir() {
        walk(folder, layer, &[], &mut cases).map_err(|(path, error)| {
            Failure::Usage(format!("cannot list {}: {error}", path.display()))
        })?;
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(cases)
}

fn walk(
    folder: &Path,
    layer: usize,
    above: &[PathBuf],
    cases: &mut Vec<Case>,
) -> Result<(), (PathBuf, io::Error)> {
    let at = |error| (folder.to_owned(), error);
    let mut defaults = above.to_vec();
    let mut folders = Vec::new();
    let mut names: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut strays = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // Links to folders are not followed, so that a circle of links cannot trap the walk.
        if entry.file_type().map_err(at)?.is_dir() {
            folders.push(path);
        } else if name == DEFAULTS {
            defaults.insert(0, path);
        } else if let Some((stem, ending)) = ENDINGS
            .iter()
            .find_map(|ending| Some((name.strip_suffix(ending)?, *ending)))
        {
            names.entry(stem.to_owned()).or_default().push(ending);
        } else if name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json") {
            strays.push(path);
        }
    }
    for (stem, endings) in names {
        let beside = |ending: &str| folder.join(format!("{stem}{ending}"));
        let has = |ending: &str| endings.contains(&ending).then(|| beside(ending));
        cases.push(Case {
            name: shown(&folder.join(&stem)),
            layer,
            message: has(".hl7"),
            bundle: beside(".bundle.json"),
            assertions: has(".assert.yaml"),
            defaults: defaults.clone(),
            stray: None,
        });
    }
    cases.extend(strays.into_iter().map(|path| Case {
        name: shown(&path),
        layer,
        message: None,
        bundle: PathBuf::new(),
        assertions: None,
        defaults: Vec::new(),
        stray: Some(format!(
            "this belongs to no test: there are NAME.hl7, NAME.bundle.json, NAME.assert.yaml and {DEFAULTS}"
        )),
    }));
    folders
        .iter()
        .try_for_each(|folder| walk(folder, layer, &defaults, cases))
}
