//! `fhirway queue edit`: a corrected message goes on in place of the one that could not.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use queue::{Filter, RecordId};

use super::{Common, Station, transfer, view};
use crate::{
    cli::{Failure, Format, Outcome, Verdict, output},
    control::Command as Control,
};

/// What `edit` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct EditArgs {
    /// Number of the record
    record: RecordId,
    /// The corrected message, `-` for standard input; without it $VISUAL or $EDITOR opens the message
    file: Option<PathBuf>,
    /// To this destination instead of those of its route; may be given several times
    #[arg(long, value_name = "NAME")]
    to: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Has a person change a message and brings the result.
pub(super) async fn edit(args: &EditArgs) -> Outcome {
    let station = Station::find(&args.common)?;
    let filter = Filter {
        records: vec![args.record],
        ..Filter::default()
    };
    let found = station.ask(Control::Export { filter }).await?;
    let original = found
        .as_array()
        .and_then(|records| records.first())
        .and_then(transfer::message)
        .ok_or_else(|| Failure::Run(format!("there is no readable record {}", args.record)))?;
    let changed = match &args.file {
        Some(path) if path.as_os_str() == "-" => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
                .map_err(|error| Failure::Run(format!("cannot read standard input: {error}")))?;
            bytes
        }
        Some(path) => std::fs::read(path)
            .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?,
        None => in_editor(args.record, &original)?,
    };
    let changed = with_line_ends_of(&original, &changed);
    if changed == original {
        output::print("nothing was changed, so nothing is sent\n")?;
        return Ok(Verdict::Good);
    }
    let answer = station
        .ask(Control::Edit {
            record: args.record,
            payload: STANDARD.encode(&changed),
            to: args.to.clone(),
        })
        .await?;
    match args.common.format {
        Format::Json => output::print_json(&answer)?,
        Format::Text => output::print(&view::edited(&answer))?,
    }
    Ok(Verdict::Good)
}

/// Segments end as they did in the original, whatever the editor makes of them.
fn with_line_ends_of(original: &[u8], changed: &[u8]) -> Vec<u8> {
    if original.contains(&b'\n') || !original.contains(&b'\r') {
        return changed.to_vec();
    }
    let mut bytes = Vec::with_capacity(changed.len());
    for (index, byte) in changed.iter().enumerate() {
        match byte {
            b'\n' if index > 0 && changed.get(index - 1) == Some(&b'\r') => {}
            b'\n' => bytes.push(b'\r'),
            other => bytes.push(*other),
        }
    }
    // Editors end a file with a line end; the original may not.
    if !original.ends_with(b"\r") && bytes.ends_with(b"\r") {
        bytes.pop();
    }
    bytes
}

fn in_editor(record: RecordId, original: &[u8]) -> Result<Vec<u8>, Failure> {
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|editor| !editor.trim().is_empty())
        .ok_or_else(|| {
            Failure::Usage("set EDITOR, or name a file with the corrected message".to_owned())
        })?;
    let name = format!("fhirway-edit-{}-{record}.hl7", std::process::id());
    let file = Removed(std::env::temp_dir().join(name));
    let lines: Vec<u8> = if original.contains(&b'\n') {
        original.to_vec()
    } else {
        original
            .iter()
            .map(|byte| if *byte == b'\r' { b'\n' } else { *byte })
            .collect()
    };
    let failed =
        |error: std::io::Error| Failure::Run(format!("cannot use {}: {error}", file.0.display()));
    {
        let mut open = transfer::private(&file.0).map_err(failed)?;
        std::io::Write::write_all(&mut open, &lines).map_err(failed)?;
    }
    run_editor(&editor, &file.0)?;
    std::fs::read(&file.0).map_err(failed)
}

/// The variable may hold arguments, `code --wait`, as everywhere else.
fn run_editor(editor: &str, file: &Path) -> Result<(), Failure> {
    let mut words = editor.split_whitespace();
    let ended = std::process::Command::new(words.next().unwrap_or_default())
        .args(words)
        .arg(file)
        .status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Run(format!(
            "the editor ended with {status}; nothing was sent"
        ))),
        Err(error) => Err(Failure::Usage(format!("cannot start `{editor}`: {error}"))),
    }
}

/// A file with a message in it that does not stay.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_stay_as_they_were() {
        for (original, changed, expected) in [
            ("MSH\rPID\r", "MSH\nPID|1\n", "MSH\rPID|1\r"),
            ("MSH\rPID", "MSH\nPID|1\n", "MSH\rPID|1"),
            ("MSH\rPID\r", "MSH\r\nPID|1\r\n", "MSH\rPID|1\r"),
            ("MSH\nPID\n", "MSH\nPID|1\n", "MSH\nPID|1\n"),
        ] {
            let got = with_line_ends_of(original.as_bytes(), changed.as_bytes());
            assert_eq!(got, expected.as_bytes());
        }
    }
}
