//! Puts the mapping package of the repository into the binary, as a list of paths and texts.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = manifest.join("../../mappings");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    walk(&root, &mut files)?;
    files.sort();
    let mut code = String::from("&[\n");
    for path in files {
        let name = path.strip_prefix(&root).unwrap_or(&path);
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
    fs::write(out.join("shipped_package.rs"), code)
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
