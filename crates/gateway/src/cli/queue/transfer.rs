//! `fhirway queue export` and `import`: whole messages out of the queue and into it.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::ValueEnum;
use jiff::{Timestamp, tz::TimeZone};
use queue::RecordId;
use serde_json::{Value, json};

use super::{Common, FilterArgs, Station};
use crate::{
    cli::{Failure, Format, Outcome, Verdict, files, output},
    control::{Brought, Command as Control},
};

/// Records asked for at once, so that neither side holds many messages.
const PAGE: usize = 50;
/// Bytes of messages brought at once.
const CHUNK: usize = 4 << 20;

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// One after the other, each from its MSH
    #[default]
    Plain,
    /// In MLLP frames
    Mllp,
    /// In one batch: FHS, BHS, messages, BTS, FTS
    Batch,
    /// One JSON object per line, with what the queue knows about each
    Ndjson,
}

/// What `export` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// How to write the messages
    #[arg(long = "as", value_name = "SHAPE", value_enum, default_value_t)]
    shape: Shape,
    /// Write to this file instead of standard output; it must not exist
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What `import` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Files or folders: HL7 messages, MLLP frames, batches or NDJSON of an export; `-` is standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Listener as whose messages they are taken [default: the one of the export, else the only one]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Writes matching messages, oldest first, each once.
pub(super) async fn export(args: &ExportArgs) -> Outcome {
    let station = Station::find(&args.common)?;
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(io::BufWriter::new(private(path).map_err(|error| {
            Failure::Usage(format!("cannot write {}: {error}", path.display()))
        })?)),
        None => Box::new(io::BufWriter::new(io::stdout().lock())),
    };
    let mut put = |bytes: &[u8]| {
        out.write_all(bytes)
            .map_err(|error| output::closed_or(&error))
    };
    let mut filter = args.filter.filter();
    let wanted = if filter.records.is_empty() {
        args.filter.limit()
    } else {
        usize::MAX
    };
    let (mut written, mut damaged) = (0_usize, Vec::new());
    if args.shape == Shape::Batch {
        let now = Timestamp::now().to_zoned(TimeZone::UTC);
        let now = now.strftime("%Y%m%d%H%M%S+0000");
        put(format!("FHS|^~\\&|FHIRWAY||||{now}\rBHS|^~\\&|FHIRWAY||||{now}\r").as_bytes())?;
    }
    while written + damaged.len() < wanted {
        filter.limit = PAGE.min(wanted - written - damaged.len());
        let page = station
            .ask(Control::Export {
                filter: filter.clone(),
            })
            .await?;
        let page = page.as_array().cloned().unwrap_or_default();
        let Some(last) = page.last().and_then(number) else {
            break;
        };
        filter.after = Some(RecordId(last));
        for record in page {
            match message(&record) {
                Some(bytes) => {
                    put(&shaped(args.shape, record, bytes)?)?;
                    written += 1;
                }
                None => damaged.extend(number(&record)),
            }
        }
    }
    if args.shape == Shape::Batch {
        put(format!("BTS|{written}\rFTS|1\r").as_bytes())?;
    }
    out.flush().map_err(|error| output::closed_or(&error))?;
    drop(out);
    if args.output.is_some() {
        let told = match args.common.format {
            Format::Json => json!({ "exported": written, "damaged": damaged }).to_string(),
            Format::Text => format!("{written} messages exported"),
        };
        output::print(&(told + "\n"))?;
    }
    if damaged.is_empty() {
        return Ok(Verdict::Good);
    }
    output::complain(&format!(
        "damaged and left out: {damaged:?}; see `fhirway queue fsck --payloads`"
    ));
    Ok(Verdict::Bad)
}

/// Has messages taken as if they had just come in.
pub(super) async fn import(args: &ImportArgs) -> Outcome {
    let station = Station::find(&args.common)?;
    let mut taken = Vec::new();
    for input in files::inputs(&args.inputs)? {
        let name = input.name();
        let bytes = input
            .read()
            .map_err(|error| Failure::Usage(format!("cannot read {name}: {error}")))?;
        let mut chunk: Vec<(Option<String>, Brought)> = Vec::new();
        let mut size = 0;
        for item in items(&bytes).map_err(|why| Failure::Usage(format!("{name}: {why}")))? {
            let other = chunk
                .first()
                .is_some_and(|(listener, _)| *listener != item.0);
            if other || size > CHUNK {
                taken.extend(bring(&station, args, std::mem::take(&mut chunk)).await?);
                size = 0;
            }
            size += item.1.payload.len();
            chunk.push(item);
        }
        taken.extend(bring(&station, args, chunk).await?);
    }
    report(args, &taken)
}

async fn bring(
    station: &Station<'_>,
    args: &ImportArgs,
    chunk: Vec<(Option<String>, Brought)>,
) -> Result<Vec<Value>, Failure> {
    let Some((of_export, _)) = chunk.first() else {
        return Ok(Vec::new());
    };
    let command = Control::Import {
        listener: args.listener.clone().or_else(|| of_export.clone()),
        messages: chunk.into_iter().map(|(_, message)| message).collect(),
    };
    let answer = station.ask(command).await?;
    Ok(answer.as_array().cloned().unwrap_or_default())
}

fn report(args: &ImportArgs, taken: &[Value]) -> Outcome {
    let count = |outcome: &str| {
        taken
            .iter()
            .filter(|one| one.get("outcome").and_then(Value::as_str) == Some(outcome))
            .count()
    };
    let refused = count("refused");
    match args.common.format {
        Format::Json => output::print_json(&json!({
            "stored": count("stored"), "duplicates": count("duplicate"), "conflicts": count("conflict"),
            "refused": refused, "messages": taken,
        }))?,
        Format::Text => {
            let mut text = String::new();
            for (index, one) in taken.iter().enumerate() {
                if let Some(why) = one.get("why").and_then(Value::as_str) {
                    text.push_str(&format!("message {}: refused: {why}\n", index + 1));
                }
            }
            text.push_str(&format!(
                "{} stored, {} duplicates, {} with a control id of another message, {refused} refused\n",
                count("stored") + count("conflict"),
                count("duplicate"),
                count("conflict"),
            ));
            output::print(&text)?;
        }
    }
    Ok(if refused == 0 && !taken.is_empty() {
        Verdict::Good
    } else {
        Verdict::Bad
    })
}

/// The messages of an input, with the listener that an export names.
fn items(bytes: &[u8]) -> Result<Vec<(Option<String>, Brought)>, String> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') {
        return String::from_utf8_lossy(bytes)
            .lines()
            .filter(|line| !line.trim().is_empty())
            .enumerate()
            .map(|(index, line)| {
                exported(line).ok_or_else(|| format!("line {} is not of `queue export`", index + 1))
            })
            .collect();
    }
    let mut found = Vec::new();
    for frame in frames(bytes) {
        let split = hl7v2::batch::split(frame);
        let wrong = split.issues.iter().any(|issue| {
            matches!(
                issue.code,
                hl7v2::IssueCode::BatchCount | hl7v2::IssueCode::FileCount
            )
        });
        if wrong {
            return Err("the number of messages is not what the trailer says".to_owned());
        }
        for member in &split.messages {
            let message = frame.get(member.range.clone()).unwrap_or_default();
            found.push((None, brought(message, None)));
        }
    }
    if found.is_empty() {
        return Err("there is no message in it".to_owned());
    }
    Ok(found)
}

/// What stands in MLLP frames, or everything where there are none.
fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    if bytes.first() != Some(&0x0b) {
        return vec![bytes];
    }
    bytes
        .split(|byte| *byte == 0x0b)
        .filter_map(|part| part.split(|byte| *byte == 0x1c).next())
        .filter(|part| !part.is_empty())
        .collect()
}

fn exported(line: &str) -> Option<(Option<String>, Brought)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let bytes = match value.get("message").and_then(Value::as_str) {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD
            .decode(value.get("message_base64")?.as_str()?)
            .ok()?,
    };
    let listener = value
        .get("listener")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let received = value.get("received_at_ms").and_then(Value::as_i64);
    Some((listener, brought(&bytes, received)))
}

fn brought(message: &[u8], received_at_ms: Option<i64>) -> Brought {
    Brought {
        payload: STANDARD.encode(message),
        received_at_ms,
    }
}

fn number(record: &Value) -> Option<i64> {
    record.get("record").and_then(Value::as_i64)
}

/// The message of an exported record; `None`: it is damaged.
pub(super) fn message(record: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(record.get("payload")?.as_str()?).ok()
}

fn shaped(shape: Shape, record: Value, mut message: Vec<u8>) -> Result<Vec<u8>, Failure> {
    match shape {
        Shape::Mllp => {
            message.insert(0, 0x0b);
            message.extend([0x1c, b'\r']);
        }
        Shape::Plain | Shape::Batch => {
            if !matches!(message.last(), Some(b'\r' | b'\n')) {
                message.push(b'\r');
            }
        }
        Shape::Ndjson => {
            let mut line = record;
            if let Value::Object(map) = &mut line {
                map.remove("payload");
                match String::from_utf8(message) {
                    Ok(text) => map.insert("message".to_owned(), text.into()),
                    Err(other) => map.insert(
                        "message_base64".to_owned(),
                        STANDARD.encode(other.as_bytes()).into(),
                    ),
                };
            }
            message = serde_json::to_vec(&line).map_err(|error| Failure::run(&error))?;
            message.push(b'\n');
        }
    }
    Ok(message)
}

/// A new file that only its owner can read: messages are patient data.
pub(super) fn private(path: &std::path::Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(bytes: &[u8]) -> Vec<String> {
        items(bytes)
            .unwrap()
            .into_iter()
            .map(|(_, one)| String::from_utf8(STANDARD.decode(one.payload).unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn every_shape_of_an_export_is_read_again() {
        let all = ["MSH|^~\\&|A|B\rPID|1\r", "MSH|^~\\&|C|D\rPID|2\r"];
        for shape in [Shape::Plain, Shape::Mllp, Shape::Batch, Shape::Ndjson] {
            let mut file = Vec::new();
            if shape == Shape::Batch {
                file.extend(b"FHS|^~\\&|FHIRWAY\rBHS|^~\\&|FHIRWAY\r");
            }
            for message in all {
                let record = json!({ "record": 1, "listener": "lab", "payload": "" });
                file.extend(shaped(shape, record, message.as_bytes().to_vec()).unwrap());
            }
            if shape == Shape::Batch {
                file.extend(b"BTS|2\rFTS|1\r");
            }
            assert_eq!(messages(&file), all, "{shape:?}");
        }
        assert!(items(b"BHS|^~\\&|X\rMSH|^~\\&|A|B\rBTS|2\r").is_err());
        assert!(items(b"{\"record\": 1}\n").is_err());
        assert!(items(b"").is_err());
    }
}
