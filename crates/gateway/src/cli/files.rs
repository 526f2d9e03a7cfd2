//! Inputs of `convert` and `send`: files, folders, standard input; and the messages inside.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

use super::Failure;

/// One input that was named or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A file.
    File(PathBuf),
    /// Standard input, `-`.
    Standard,
}

impl Input {
    /// What it is called in reports.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Standard => "-".to_owned(),
        }
    }

    /// All its bytes.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => fs::read(path),
            Self::Standard => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes)?;
                Ok(bytes)
            }
        }
    }
}

/// The inputs that `arguments` name: each folder gives every `*.hl7` file below it, in sorted path order.
///
/// # Errors
/// [`Failure::Usage`] for what does not exist or cannot be listed.
pub(crate) fn inputs(arguments: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            inputs.push(Input::Standard);
        } else if argument.is_dir() {
            let mut found = Vec::new();
            walk(argument, &mut found).map_err(|(path, error)| {
                Failure::Usage(format!("cannot list {}: {error}", path.display()))
            })?;
            found.sort();
            inputs.extend(found.into_iter().map(Input::File));
        } else if argument.exists() {
            inputs.push(Input::File(argument.clone()));
        } else {
            return Err(Failure::Usage(format!(
                "there is no file or folder {}",
                argument.display()
            )));
        }
    }
    Ok(inputs)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let at = |error| (folder.to_owned(), error);
    for entry in fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let path = entry.path();
        // Links to folders are not followed, so that a circle of links cannot trap the walk.
        if entry.file_type().map_err(at)?.is_dir() {
            walk(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("hl7"))
        {
            found.push(path);
        }
    }
    Ok(())
}

/// The byte ranges of the messages in a file. MLLP frames are unwrapped; a file in which nothing looks like
/// a message counts as one message, so that it is reported instead of skipped.
pub(crate) fn messages(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    for part in frames(bytes) {
        let Some(slice) = bytes.get(part.clone()) else {
            continue;
        };
        let split = hl7v2::batch::split(slice);
        if split.messages.is_empty() {
            found.push(part);
        } else {
            found.extend(
                split
                    .messages
                    .iter()
                    .map(|member| part.start + member.range.start..part.start + member.range.end),
            );
        }
    }
    found
}

/// The parts between VT and FS when the file has MLLP frames, else the whole file.
fn frames(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    const VT: u8 = 0x0b;
    const FS: u8 = 0x1c;
    if bytes.first() != Some(&VT) {
        return std::iter::once(0..bytes.len()).collect();
    }
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(start) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == VT))
    {
        let start = at + start + 1;
        let length = bytes
            .get(start..)
            .and_then(|rest| rest.iter().position(|byte| *byte == FS));
        let end = length.map_or(bytes.len(), |length| start + length);
        parts.push(start..end);
        at = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "MSH|^~\\&|A|B|||20260101||ADT^A01|1|P|2.5\rPID|1\r";

    #[test]
    fn folders_are_walked_in_sorted_order() {
        let folder = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, ONE).unwrap();
        };
        for path in ["b/2.hl7", "b/10.HL7", "a.hl7", "b/notes.txt", "c/d/e.hl7"] {
            make(path);
        }
        let found: Vec<String> = inputs(&[folder.path().to_owned()])
            .unwrap()
            .iter()
            .map(|input| {
                input
                    .name()
                    .strip_prefix(&*folder.path().to_string_lossy())
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(found, ["/a.hl7", "/b/10.HL7", "/b/2.hl7", "/c/d/e.hl7"]);
        assert!(matches!(
            inputs(&[folder.path().join("none")]),
            Err(Failure::Usage(_))
        ));
    }

    #[test]
    fn a_file_may_hold_many_messages_frames_or_nonsense() {
        let two = format!("{ONE}{ONE}");
        assert_eq!(messages(two.as_bytes()).len(), 2);
        let framed = format!("\x0b{ONE}\x1c\r\x0b{ONE}\x1c\r");
        let found = messages(framed.as_bytes());
        assert_eq!(found.len(), 2);
        assert_eq!(&framed.as_bytes()[found[1].clone()], ONE.as_bytes());
        assert_eq!(
            messages(b"this is no message"),
            vec![std::ops::Range { start: 0, end: 18 }]
        );
        assert_eq!(messages(b"").len(), 1);
    }
}
