//! Puts the mapping package of the repository, and the pages of `fhirway explain`, into the binary: lists of paths and texts.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut maps = Vec::new();
    let root = manifest.join("../../mappings");
    walk(&root, &mut maps)?;
    embed(&root, maps, "shipped_package.rs")?;
    let mut pages = Vec::new();
    let root = manifest.join("codes");
    walk_pages(&root, &mut pages)?;
    embed(&root, pages, "code_pages.rs")
}

/// Writes the list of the files, by their paths below `root`.
fn embed(root: &Path, mut files: Vec<PathBuf>, list: &str) -> io::Result<()> {
    files.sort();
    let mut code = String::from("&[\n");
    for path in files {
        let name = path.strip_prefix(root).unwrap_or(&path);
        let name = name
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect::<Vec<_>>()
            .join("/");
        let _ = writeln!(
            code,
            "    ({name:?}, include_str!({:?})),",
            fs::canonicalize(&path)?
        );
    }
    code.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join(list), code)
}

/// All Markdown files below `folder`.
fn walk_pages(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk_pages(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    Ok(())
}

/// All YAML and CSV files below `folder`, without the tests of the package and its examples.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path
                .file_name()
                .is_none_or(|name| name != "tests" && name != "examples")
            {
                walk(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| {
            let profile = extension == "json" && folder.ends_with("profiles");
            extension == "yaml" || extension == "yml" || extension == "csv" || profile
        }) {
            files.push(path);
        }
    }
    Ok(())
}
