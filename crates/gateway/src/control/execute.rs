//! Carrying out one command on a queue, whoever asks and whether or not a gateway runs.

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use queue::{Filter, NewAudit, Queue, RecordId, State};
use serde_json::{Value, json};

use super::{Command, ControlError};
use crate::receive::{Receivers, unix_millis};

/// Carries out one command on a queue. What changes something, or shows messages, is written down first with `by`,
/// who asks.
///
/// # Errors
/// [`ControlError::Queue`], or [`ControlError::Refused`] with what is wrong with the request.
pub async fn execute(
    queue: &dyn Queue,
    receivers: &Receivers,
    by: &str,
    command: Command,
) -> Result<Value, ControlError> {
    if let Some((action, detail)) = trace(&command) {
        queue
            .note(NewAudit {
                who: by.to_owned(),
                action: action.to_owned(),
                detail,
            })
            .await?;
    }
    Ok(match command {
        Command::Status => {
            let mut status = serde_json::to_value(queue.status().await?)?;
            if let Value::Object(map) = &mut status {
                map.insert(
                    "holds".to_owned(),
                    serde_json::to_value(queue.holds().await?)?,
                );
            }
            status
        }
        Command::List { filter } => serde_json::to_value(queue.list(&filter).await?)?,
        Command::Show { record, payload } => {
            let mut value = serde_json::to_value(queue.show(record).await?)?;
            if payload && let Value::Object(map) = &mut value {
                let bytes = queue.payload(record).await?;
                map.insert("payload".to_owned(), String::from_utf8_lossy(&bytes).into());
            }
            value
        }
        Command::Replay { replay } => serde_json::to_value(queue.replay(replay).await?)?,
        Command::Release { filter, release } => {
            json!({ "released": queue.release(filter, release).await? })
        }
        Command::Pass { filter, count } => json!({ "released": queue.pass(filter, count).await? }),
        Command::Hold { hold } => json!({ "hold": queue.hold(hold).await? }),
        Command::Unhold { hold } => json!({ "released": queue.unhold(hold).await? }),
        Command::Pause {
            destination,
            reason,
        } => {
            queue.pause(&destination, &reason).await?;
            json!({ "paused": destination })
        }
        Command::Resume { destination } => {
            queue.resume(&destination).await?;
            json!({ "resumed": destination })
        }
        Command::Edit {
            record,
            payload,
            to,
        } => {
            let listener = queue.show(record).await?.listener;
            let receiver = receivers
                .find(Some(&listener))
                .map_err(ControlError::Refused)?;
            let now = unix_millis(SystemTime::now());
            let made = receiver
                .correct(record, decode(&payload)?, now, to)
                .await
                .map_err(|error| ControlError::Refused(error.to_string()))?;
            json!({ "edited": record, "record": made })
        }
        Command::Import { listener, messages } => {
            let receiver = receivers
                .find(listener.as_deref())
                .map_err(ControlError::Refused)?;
            let mut taken = Vec::with_capacity(messages.len());
            for message in messages {
                let arrived = message
                    .received_at_ms
                    .unwrap_or_else(|| unix_millis(SystemTime::now()));
                taken.extend(receiver.import(decode(&message.payload)?, arrived).await);
            }
            serde_json::to_value(taken)?
        }
        Command::Export { filter } => export(queue, &filter).await?,
        Command::Audit { after, limit } => serde_json::to_value(queue.audit(after, limit).await?)?,
        Command::Backup { path } => serde_json::to_value(queue.backup(path).await?)?,
        Command::Reencrypt => json!({ "reencrypted": queue.reencrypt().await? }),
        Command::Reload | Command::Misses { .. } => {
            return Err(ControlError::Refused(
                "no gateway is running here".to_owned(),
            ));
        }
        Command::Check { payloads } => {
            let mut check = serde_json::to_value(queue.check(payloads).await?)?;
            if let Value::Object(map) = &mut check {
                map.insert("quarantined".to_owned(), quarantined(queue).await?);
            }
            check
        }
    })
}

/// Who runs this process, for the audit: the name that the system or sudo gives.
pub fn whoami() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// What is written down about a command, without anything of a message; `None`: it changes and shows nothing.
fn trace(command: &Command) -> Option<(&'static str, String)> {
    let text = |value: Value| value.to_string();
    Some(match command {
        Command::Status
        | Command::List { .. }
        | Command::Show { payload: false, .. }
        | Command::Audit { .. }
        | Command::Check { .. }
        | Command::Reload
        | Command::Misses { .. } => return None,
        Command::Show { record, .. } => ("view", text(json!({ "record": record }))),
        Command::Replay { replay } if replay.dry_run => return None,
        Command::Replay { replay } => (
            "replay",
            text(json!({ "filter": replay.filter, "to": replay.destination })),
        ),
        Command::Release { filter, release } => (
            "release",
            text(json!({ "filter": filter, "release": release })),
        ),
        Command::Pass { filter, count } => {
            ("release", text(json!({ "filter": filter, "first": count })))
        }
        Command::Hold { hold } => (
            "hold",
            text(json!({
                "destination": hold.destination, "keys": hold.keys.len(), "keys_of": hold.keys_of,
                "listener": hold.listener, "message_type": hold.message_type, "reason": hold.reason,
            })),
        ),
        Command::Unhold { hold } => ("unhold", text(json!({ "hold": hold }))),
        Command::Pause {
            destination,
            reason,
        } => (
            "pause",
            text(json!({ "destination": destination, "reason": reason })),
        ),
        Command::Resume { destination } => ("resume", text(json!({ "destination": destination }))),
        Command::Edit {
            record,
            payload,
            to,
        } => (
            "edit",
            text(json!({ "record": record, "to": to, "bytes": payload.len() / 4 * 3 })),
        ),
        Command::Import { listener, messages } => (
            "import",
            text(json!({ "listener": listener, "messages": messages.len() })),
        ),
        Command::Export { filter } => ("export", text(json!({ "filter": filter }))),
        Command::Backup { path } => ("backup", text(json!({ "path": path }))),
        Command::Reencrypt => ("reencrypt", String::new()),
    })
}

async fn export(queue: &dyn Queue, filter: &Filter) -> Result<Value, ControlError> {
    let mut records: Vec<RecordId> = queue
        .list(filter)
        .await?
        .into_iter()
        .map(|line| line.record)
        .collect();
    records.dedup();
    let mut exported = Vec::with_capacity(records.len());
    for record in records {
        let mut value = serde_json::to_value(queue.show(record).await?)?;
        let payload = queue.payload(record).await;
        if let Value::Object(map) = &mut value {
            match payload {
                Ok(bytes) => map.insert("payload".to_owned(), STANDARD.encode(bytes).into()),
                // One damaged record does not keep the others from being exported.
                Err(error) => map.insert("damaged".to_owned(), error.to_string().into()),
            };
        }
        exported.push(value);
    }
    Ok(exported.into())
}

/// Numbers of the records that were found damaged when their turn came.
async fn quarantined(queue: &dyn Queue) -> Result<Value, ControlError> {
    let corrupt = Filter {
        state: Some(State::Dead),
        reason: Some(queue::REASON_CORRUPT.to_owned()),
        limit: 1_000,
        ..Filter::default()
    };
    let mut records: Vec<RecordId> = queue
        .list(&corrupt)
        .await?
        .into_iter()
        .map(|line| line.record)
        .collect();
    records.dedup();
    Ok(serde_json::to_value(records)?)
}

fn decode(payload: &str) -> Result<Bytes, ControlError> {
    STANDARD
        .decode(payload)
        .map(Bytes::from)
        .map_err(|_| ControlError::Refused("the message is not base64".to_owned()))
}
