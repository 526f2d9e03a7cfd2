//! Reading the folder of a package, which may be anything a person can name.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use mapping::{Layer, SourceFile};

/// Files are looked at before they are read: a larger one is no mapping file.
const MAX_FILE: u64 = 32 << 20;
/// Folders inside each other.
const MAX_DEPTH: usize = 16;
/// Files of one package.
const MAX_FILES: usize = 20_000;
/// What a package has at least one of.
const PARTS: [&str; 6] = [
    "package.yaml",
    "messages",
    "segments",
    "datatypes",
    "tables",
    "profiles",
];

/// Why a folder is no package. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Not a folder.
    #[error("{} is not a folder: name the folder that has package.yaml", .0.display())]
    NotAFolder(PathBuf),
    /// A folder of something else.
    #[error(
        "{} is not a mapping package: it has no package.yaml and none of the folders messages, segments, datatypes, tables and profiles",
        .0.display()
    )]
    NotAPackage(PathBuf),
    /// A file that nobody wrote as a mapping file.
    #[error("{} has {bytes} bytes, and a mapping file at most {MAX_FILE}: is it in the right folder?", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How large.
        bytes: u64,
    },
    /// A file in another encoding.
    #[error("{}:{line}: byte {byte} is not UTF-8: save the file as UTF-8", path.display())]
    Encoding {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The byte in the file, from 0.
        byte: usize,
    },
    /// A link to a folder around it.
    #[error("{} leads back to a folder around it: remove the link", .0.display())]
    Circle(PathBuf),
    /// Folders inside each other, deeper than a package has them.
    #[error("{} is nested too deeply: a package has at most {MAX_DEPTH} folders inside each other", .0.display())]
    TooDeep(PathBuf),
    /// More files than a package has.
    #[error("{} has more than {MAX_FILES} files: is it the right folder?", .0.display())]
    TooMany(PathBuf),
    /// Neither a file nor a folder: a pipe, a device.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
}

/// The layer of a folder: every YAML and CSV file below it, and every JSON file of `profiles/`, but for `tests/`, `examples/` and what is hidden.
///
/// # Errors
/// [`FolderError`].
pub fn read(folder: &Path) -> Result<Layer, FolderError> {
    if !folder.is_dir() {
        return Err(match fs::metadata(folder) {
            Ok(_) => FolderError::NotAFolder(folder.to_owned()),
            Err(error) => FolderError::Read(folder.to_owned(), error),
        });
    }
    if !PARTS.iter().any(|part| folder.join(part).exists()) {
        return Err(FolderError::NotAPackage(folder.to_owned()));
    }
    let mut walk = Walk {
        root: folder,
        around: Vec::new(),
        files: Vec::new(),
    };
    walk.folder(folder)?;
    let mut files = walk.files;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Layer {
        name: folder
            .display()
            .to_string()
            .trim_end_matches('/')
            .to_owned(),
        files,
    })
}

struct Walk<'p> {
    root: &'p Path,
    /// The real paths of the folders around the one being read.
    around: Vec<PathBuf>,
    files: Vec<SourceFile>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path) -> Result<(), FolderError> {
        let at = |error| FolderError::Read(folder.to_owned(), error);
        let real = fs::canonicalize(folder).map_err(at)?;
        if self.around.contains(&real) {
            return Err(FolderError::Circle(folder.to_owned()));
        }
        if self.around.len() >= MAX_DEPTH {
            return Err(FolderError::TooDeep(folder.to_owned()));
        }
        self.around.push(real);
        for entry in fs::read_dir(folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            // Hidden: of editors and version control, and the real folders behind the links of a Kubernetes volume.
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                if entry.file_name() != "tests" && entry.file_name() != "examples" {
                    self.folder(&path)?;
                }
            } else if self.belongs(&path) {
                self.file(&path)?;
            }
        }
        self.around.pop();
        Ok(())
    }

    /// Whether a file of that name belongs to a package. JSON does under `profiles/`; elsewhere it may be anything.
    fn belongs(&self, path: &Path) -> bool {
        let ending = path.extension();
        let known = ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
        let profile = path
            .strip_prefix(self.root)
            .is_ok_and(|inside| inside.starts_with("profiles"));
        known && (profile || ending.is_some_and(|ending| ending != "json"))
    }

    fn file(&mut self, path: &Path) -> Result<(), FolderError> {
        if self.files.len() >= MAX_FILES {
            return Err(FolderError::TooMany(self.root.to_owned()));
        }
        let text = text(path)?;
        let name = path.strip_prefix(self.root).unwrap_or(path);
        let parts: Vec<_> = name
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        self.files.push(SourceFile {
            path: parts.join("/"),
            text,
        });
        Ok(())
    }
}

/// Endings of the files of a package.
pub const ENDINGS: &[&str] = &["yaml", "yml", "csv", "json"];

fn text(path: &Path) -> Result<String, FolderError> {
    let at = |error| FolderError::Read(path.to_owned(), error);
    let told = fs::metadata(path).map_err(at)?;
    if !told.is_file() {
        return Err(FolderError::NotAFile(path.to_owned()));
    }
    let too_large = |bytes| FolderError::TooLarge {
        path: path.to_owned(),
        bytes,
    };
    if told.len() > MAX_FILE {
        return Err(too_large(told.len()));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(at)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(too_large(bytes.len() as u64));
    }
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..byte).unwrap_or_default();
        FolderError::Encoding {
            path: path.to_owned(),
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            byte,
        }
    })
}

#[cfg(test)]
mod tests;
