//! `fhirway queue`: look into the queue and put things right.

use std::path::PathBuf;

use clap::Subcommand;
use jiff::Timestamp;
use queue::{Filter, HoldId, NewHold, RecordId, Release, Replay, State};
use serde_json::Value;

use super::{ConfigArg, Failure, Format, Outcome, Verdict, output, runtime};
use crate::{control::Command as Control, newest::Newest};

mod edit;
mod station;
mod transfer;
mod view;

use station::Station;

/// Look into the queue and put things right, also while the gateway runs.
///
/// A running gateway is asked over the control socket in its data folder; without one the queue is opened here.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  fhirway queue status
  fhirway queue dead-letters
  fhirway queue show 1042
  fhirway queue replay --state dead --reason validation --dry-run
  fhirway queue pause fhir && fhirway queue release --first 1 --destination fhir
  fhirway queue edit 1042
  fhirway queue export --state dead --as ndjson --output dead.ndjson")]
pub(crate) enum Command {
    /// Counts by destination and state; the sums must be right.
    #[command(after_help = "\
Examples:
  fhirway queue status
  fhirway queue status --format json | jq .mismatch

Exit code: 1 when the books are wrong or the queue has stopped.")]
    Status {
        #[command(flatten)]
        common: Common,
    },
    /// Deliveries that match, oldest first.
    #[command(after_help = "\
Examples:
  fhirway queue list --state retrying
  fhirway queue list --destination fhir --message-type ORU_R01 --since 2h")]
    List {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        common: Common,
    },
    /// Everything about one record.
    #[command(after_help = "\
Examples:
  fhirway queue show 1042
  fhirway queue show 1042 --payload          with the message, which is patient data")]
    Show {
        /// Number of the record
        record: RecordId,
        /// Print the message too; it is patient data
        #[arg(long)]
        payload: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Deliver again what was delivered, filtered or given up, in the original order.
    #[command(after_help = "\
Examples:
  fhirway queue replay 1042 1043
  fhirway queue replay --state dead --reason validation --dry-run
  fhirway queue replay --state delivered --since 1d --to second-server
  fhirway queue replay 1042 --overwrite      although something newer was delivered since")]
    Replay {
        #[command(flatten)]
        filter: FilterArgs,
        /// To this destination instead of the one it had
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
        /// Write what is older than what was delivered since; else such a replay changes nothing
        #[arg(long, conflicts_with = "dry_run")]
        overwrite: bool,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Do the same request only once, however often it is sent
        #[arg(long, value_name = "TEXT")]
        token: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Dead letters, with why.
    #[command(after_help = "\
Examples:
  fhirway queue dead-letters
  fhirway queue dead-letters --reason permanent --format json")]
    DeadLetters {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        common: Common,
    },
    /// Deliver nothing to a destination until it is resumed, also after a restart.
    #[command(after_help = "Example:\n  fhirway queue pause fhir --reason 'upgrade until 18:00'")]
    Pause {
        /// Name of the destination
        destination: String,
        /// Why, for whoever looks next
        #[arg(long, default_value = "paused by hand")]
        reason: String,
        #[command(flatten)]
        common: Common,
    },
    /// Deliver to a destination again.
    #[command(after_help = "Example:\n  fhirway queue resume fhir")]
    Resume {
        /// Name of the destination
        destination: String,
        #[command(flatten)]
        common: Common,
    },
    /// Have what matches wait from now on, until it is released or the hold is taken away.
    #[command(after_help = "\
Examples:
  fhirway queue hold --destination fhir --reason 'smoke test first'
  fhirway queue hold --keys-of 1042          whatever is about the same patient as record 1042
  fhirway queue hold --message-type ADT_A40 --listener adt")]
    Hold {
        /// Name of the destination [default: all]
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        /// Records with this ordering key; may be given several times
        #[arg(long, value_name = "KEY")]
        key: Vec<String>,
        /// Records that share an ordering key with this one
        #[arg(long, value_name = "RECORD")]
        keys_of: Option<RecordId>,
        /// Name of a listener
        #[arg(long)]
        listener: Option<String>,
        /// Type of message, such as ORU_R01
        #[arg(long)]
        message_type: Option<String>,
        /// Why, for whoever looks next; nothing of a message
        #[arg(long, default_value = "held by hand")]
        reason: String,
        #[command(flatten)]
        common: Common,
    },
    /// Take a hold away; what it held goes on. `status` has the numbers.
    #[command(after_help = "Example:\n  fhirway queue unhold 3")]
    Unhold {
        /// Number of the hold
        hold: HoldId,
        #[command(flatten)]
        common: Common,
    },
    /// Correct a message and have it delivered: a new record, linked to the original.
    #[command(after_help = "\
Examples:
  fhirway queue edit 1042                    in $VISUAL or $EDITOR
  fhirway queue edit 1042 corrected.hl7
  fhirway queue edit 1042 --to second-server - < corrected.hl7

Done twice with the same text it is done once. Who did it and when is in `fhirway queue audit`.")]
    Edit(edit::EditArgs),
    /// Write whole messages, which are patient data, to a file.
    #[command(after_help = "\
Examples:
  fhirway queue export --state dead --output dead.hl7
  fhirway queue export 1042 1043 --as mllp | nc host 2575
  fhirway queue export --since 1d --limit 100000 --as ndjson --output day.ndjson

Exit code: 1 when damaged records were left out.")]
    Export(transfer::ExportArgs),
    /// Take messages as if they had just come in: routed, recognised when they were there before.
    #[command(after_help = "\
Examples:
  fhirway queue import day.ndjson
  fhirway queue import --listener lab messages/ batch.hl7

Exit code: 1 when a message was refused.")]
    Import(transfer::ImportArgs),
    /// What people did: who, when, with what.
    #[command(after_help = "\
Examples:
  fhirway queue audit
  fhirway queue audit --after 200 --format json")]
    Audit {
        /// Only entries with a greater number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: i64,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Copy the queue into a file while it works, and verify the copy.
    #[command(after_help = "\
Example:
  fhirway queue backup /backup/queue-2026-01-31.db

To restore: stop the gateway, put the file in the place of queue.db in the queue's folder, remove queue.db-wal and
queue.db-shm there, start. What was accepted after the backup is not in it. An encrypted queue needs its keys.")]
    Backup {
        /// The file to make; it must not exist
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Encrypt with the first key of queue.encryption everything that is not.
    #[command(after_help = "\
Example:
  fhirway queue reencrypt

To change keys: put the new one first, restart, reencrypt, remove the old one.")]
    Reencrypt {
        #[command(flatten)]
        common: Common,
    },
    /// Let parked and held deliveries go on: try again, or give them up.
    #[command(after_help = "\
Examples:
  fhirway queue release 1042                 also while its destination is paused
  fhirway queue release --first 3 --destination fhir
  fhirway queue release --state parked --destination fhir
  fhirway queue release 1042 --give-up 'wrong patient, see ticket'")]
    Release {
        #[command(flatten)]
        filter: FilterArgs,
        /// Make them dead letters with this reason instead of trying again
        #[arg(long, value_name = "REASON", conflicts_with = "first")]
        give_up: Option<String>,
        /// The first so many that wait, also while their destination is paused
        #[arg(long, value_name = "COUNT")]
        first: Option<usize>,
        #[command(flatten)]
        common: Common,
    },
    /// Recount everything and compare with the books.
    #[command(
        visible_alias = "fsck",
        after_help = "\
Examples:
  fhirway queue check
  fhirway queue fsck --payloads              also verify every checksum

Exit code: 1 when something is damaged or wrong."
    )]
    Check {
        /// Also verify every checksum
        #[arg(long)]
        payloads: bool,
        #[command(flatten)]
        common: Common,
    },
}

/// What all of them take.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    config: ConfigArg,
    /// Data folder [default: data_dir of the configuration]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Which deliveries are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct FilterArgs {
    /// Numbers of records
    records: Vec<RecordId>,
    /// State at the destination: queued, waiting, leased, retrying, parked, delivered, dead, filtered
    #[arg(long)]
    state: Option<State>,
    /// Name of a destination
    #[arg(long)]
    destination: Option<String>,
    /// Reason code of the last outcome
    #[arg(long)]
    reason: Option<String>,
    /// Name of a listener
    #[arg(long)]
    listener: Option<String>,
    /// Type of message, such as ORU_R01
    #[arg(long)]
    message_type: Option<String>,
    /// Received at or after: 2h ago is `2h`, or a time such as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Received before
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only records with a greater number, to page on
    #[arg(long, value_name = "RECORD")]
    after: Option<RecordId>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl FilterArgs {
    fn limit(&self) -> usize {
        self.limit
    }

    fn filter(&self) -> Filter {
        Filter {
            state: self.state,
            destination: self.destination.clone(),
            reason: self.reason.clone(),
            listener: self.listener.clone(),
            message_type: self.message_type.clone(),
            from_ms: self.since.map(Timestamp::as_millisecond),
            to_ms: self.until.map(Timestamp::as_millisecond),
            after: self.after,
            records: self.records.clone(),
            limit: self.limit,
        }
    }

    /// A filter that names something: what changes many records at once is never meant by accident.
    fn pointed(&self) -> Result<Filter, Failure> {
        let filter = self.filter();
        let unpointed = Filter {
            limit: filter.limit,
            after: filter.after,
            ..Filter::default()
        };
        if filter == unpointed {
            return Err(Failure::Usage(
                "name records, or say which with --state, --destination, --since ...".to_owned(),
            ));
        }
        Ok(filter)
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let age = crate::config::parse_duration(text).map_err(|_| {
        "write a time such as 2026-01-31T08:00:00Z, or an age such as 2h".to_owned()
    })?;
    Timestamp::now()
        .checked_sub(age)
        .map_err(|error| error.to_string())
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Edit(args) => return runtime()?.block_on(edit::edit(args)),
        Command::Export(args) => return runtime()?.block_on(transfer::export(args)),
        Command::Import(args) => return runtime()?.block_on(transfer::import(args)),
        _ => {}
    }
    let (common, request) = request(command)?;
    let answer = runtime()?.block_on(async {
        let station = Station::find(common)?;
        match command {
            Command::Replay {
                overwrite: true, ..
            } => overwriting(&station, request).await,
            _ => station.ask(request).await,
        }
    })?;
    match common.format {
        Format::Json => output::print_json(&answer)?,
        Format::Text => output::print(&view::text(command, &answer))?,
    }
    Ok(verdict(command, &answer))
}

fn request(command: &Command) -> Result<(&Common, Control), Failure> {
    Ok(match command {
        Command::Status { common } => (common, Control::Status),
        Command::List { filter, common } => (
            common,
            Control::List {
                filter: filter.filter(),
            },
        ),
        Command::DeadLetters { filter, common } => {
            let filter = Filter {
                state: Some(State::Dead),
                ..filter.filter()
            };
            (common, Control::List { filter })
        }
        Command::Show {
            record,
            payload,
            common,
        } => (
            common,
            Control::Show {
                record: *record,
                payload: *payload,
            },
        ),
        Command::Replay {
            filter,
            to,
            dry_run,
            token,
            common,
            ..
        } => {
            let replay = Replay {
                filter: filter.pointed()?,
                destination: to.clone(),
                dry_run: *dry_run,
                token: token.clone(),
            };
            (common, Control::Replay { replay })
        }
        Command::Pause {
            destination,
            reason,
            common,
        } => (
            common,
            Control::Pause {
                destination: destination.clone(),
                reason: reason.clone(),
            },
        ),
        Command::Resume {
            destination,
            common,
        } => (
            common,
            Control::Resume {
                destination: destination.clone(),
            },
        ),
        Command::Release {
            filter,
            give_up,
            first,
            common,
        } => (common, release(filter, give_up.as_deref(), *first)?),
        Command::Hold {
            destination,
            key,
            keys_of,
            listener,
            message_type,
            reason,
            common,
        } => {
            let hold = NewHold {
                destination: destination.clone(),
                keys: key.clone(),
                keys_of: *keys_of,
                listener: listener.clone(),
                message_type: message_type.clone(),
                reason: reason.clone(),
            };
            if !hold.is_pointed() {
                return Err(Failure::Usage(
                    "say what is to wait, with --destination, --key, --keys-of, --listener or --message-type"
                        .to_owned(),
                ));
            }
            (common, Control::Hold { hold })
        }
        Command::Unhold { hold, common } => (common, Control::Unhold { hold: *hold }),
        Command::Audit {
            after,
            limit,
            common,
        } => (
            common,
            Control::Audit {
                after: *after,
                limit: *limit,
            },
        ),
        Command::Backup { file, common } => {
            let path = std::path::absolute(file).map_err(|error| Failure::run(&error))?;
            (common, Control::Backup { path })
        }
        Command::Reencrypt { common } => (common, Control::Reencrypt),
        Command::Edit(_) | Command::Export(_) | Command::Import(_) => {
            return Err(Failure::Usage("this command asks by itself".to_owned()));
        }
        Command::Check { payloads, common } => (
            common,
            Control::Check {
                payloads: *payloads,
            },
        ),
    })
}

/// A replay that may overwrite newer data. The originals are marked first, so that no new record is delivered before it has
/// the mark; then the new records have it, and the originals no longer.
async fn overwriting(station: &Station<'_>, request: Control) -> Result<Value, Failure> {
    let Control::Replay { replay } = &request else {
        return station.ask(request).await;
    };
    let records = |answer: &Value| -> Vec<RecordId> {
        let lines = answer.as_array().into_iter().flatten();
        lines
            .filter_map(|line| line.get("record")?.as_i64().map(RecordId))
            .collect()
    };
    let newest = Newest::open(station.data()).map_err(|error| Failure::run(&error))?;
    let mark = |records: &[RecordId], forced: bool| {
        newest
            .force(records, forced)
            .map_err(|error| Failure::run(&error))
    };
    let filter = replay.filter.clone();
    let originals = records(&station.ask(Control::List { filter }).await?);
    mark(&originals, true)?;
    let answer = station.ask(request).await;
    if let Ok(Some(replayed)) = answer.as_ref().map(|answer| answer.get("records")) {
        mark(&records(replayed), true)?;
    }
    mark(&originals, false)?;
    answer
}

/// Named records and the first of a destination also pass a pause and a hold; a filter of many does not.
fn release(
    filter: &FilterArgs,
    give_up: Option<&str>,
    first: Option<usize>,
) -> Result<Control, Failure> {
    let pointed = filter.pointed()?;
    Ok(match (give_up, first) {
        (Some(reason), _) => Control::Release {
            filter: pointed,
            release: Release::Dead {
                reason: reason.to_owned(),
            },
        },
        (None, Some(count)) => Control::Pass {
            filter: pointed,
            count,
        },
        (None, None) if !pointed.records.is_empty() => Control::Pass {
            filter: pointed,
            count: usize::MAX,
        },
        (None, None) => Control::Release {
            filter: pointed,
            release: Release::Retry,
        },
    })
}

fn verdict(command: &Command, answer: &Value) -> Verdict {
    let number = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or(0);
    let bad = match command {
        Command::Status { .. } => {
            number("mismatch") > 0 || answer.get("stopped") == Some(&Value::Bool(true))
        }
        Command::Check { .. } => {
            number("corrupt") > 0
                || answer
                    .get("faults")
                    .and_then(Value::as_array)
                    .is_some_and(|faults| !faults.is_empty())
        }
        _ => false,
    };
    if bad { Verdict::Bad } else { Verdict::Good }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_ages() {
        assert_eq!(
            moment("2026-01-31T08:00:00Z").unwrap().as_second(),
            1_769_846_400
        );
        assert!(moment("2h").unwrap() < Timestamp::now());
        assert!(moment("yesterday").is_err());
    }
}
