//! Prints a validated configuration, with secrets masked.

use std::{fmt::Write as _, time::Duration};

use serde::Serializer;
use serde_json::Value;

use super::units;

/// Serialises a length of time as `30s`.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands out references
pub fn as_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&units::show_duration(*duration))
}

/// Serialises a length of time as `30s`, and none as `off`.
pub fn as_option_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => as_duration(duration, serializer),
        None => serializer.serialize_str("off"),
    }
}

/// Serialises a size as `16MiB`.
pub fn as_bytes<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&units::show_bytes(*bytes))
}

/// Serialises a size as `16MiB`, and none as `off`.
pub fn as_option_bytes<S: Serializer>(
    bytes: &Option<u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => serializer.serialize_str(&units::show_bytes(*bytes)),
        None => serializer.serialize_str("off"),
    }
}

/// A JSON value as indented `key: value` lines, which is how the configuration is written.
pub fn as_yaml(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if nested(value) {
                    let _ = writeln!(out, "{indent}{key}:");
                    block(value, depth + 1, out);
                } else {
                    let _ = writeln!(out, "{indent}{key}: {}", scalar(value));
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if nested(item) {
                    let mut inner = String::new();
                    block(item, depth + 1, &mut inner);
                    let _ = writeln!(out, "{indent}- {}", inner.trim_start().trim_end());
                } else {
                    let _ = writeln!(out, "{indent}- {}", scalar(item));
                }
            }
        }
        other => {
            let _ = writeln!(out, "{indent}{}", scalar(other));
        }
    }
}

fn nested(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "~".to_owned(),
        Value::String(text) if plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether text can stand in YAML without quotes; in doubt it gets them.
fn plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '.')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-:@+()= ".contains(c))
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
}
