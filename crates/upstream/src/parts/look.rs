//! Questions about what the server has: which version is to be replaced, which condition is not unique, what is gone.
//! Asked past the circuit and the limit, one by one: they are few, and only asked where something hangs on them.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;

use super::Delivery;
use crate::answer::Answer;
use crate::bundle::{Asked, Resource};
use crate::classify;
use crate::failure::Failure;

/// What the server has.
pub(super) enum Look {
    /// Nothing.
    None,
    /// It was deleted.
    Gone,
    /// One, and its version as an entity tag, if the server tells it.
    One { id: String, etag: Option<String> },
    /// More than one.
    Several(usize),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    #[serde(default)]
    resource_type: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    meta: Meta,
    #[serde(default)]
    total: Option<usize>,
    #[serde(default)]
    entry: Vec<FoundEntry>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    version_id: Option<String>,
}

#[derive(Deserialize)]
struct FoundEntry {
    #[serde(default)]
    resource: Option<FoundResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FoundResource {
    #[serde(default)]
    resource_type: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    meta: Meta,
}

impl Delivery<'_> {
    /// What the server has of an entry, by its id or its condition.
    pub(super) async fn look(&self, place: usize) -> Result<Look, Failure> {
        let Some(asked) = self.bundle.entry.get(place).map(|entry| &entry.request) else {
            return Ok(Look::None);
        };
        let (method, path, body) = match (asked.id(), asked.condition()) {
            (Some(_), _) => (Method::GET, asked.url.to_string(), Bytes::new()),
            // An identifier does not belong into the log of every proxy: the question is posted.
            (None, Some(condition)) => (
                Method::POST,
                format!("{}/_search", asked.type_name()),
                format!("{condition}&_count=2").into(),
            ),
            (None, None) => return Ok(Look::None),
        };
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = (!body.is_empty()).then_some((CONTENT_TYPE, form));
        let answer = self.stack.ask(method, &path, headers, body).await?;
        read(&answer, asked)
    }

    /// The versions that the entries replace, where versions count.
    pub(super) async fn versions(
        &self,
        places: &[usize],
    ) -> Result<HashMap<usize, String>, Failure> {
        let mut versions = HashMap::new();
        if !self.stack.settings().versions {
            return Ok(versions);
        }
        for place in places {
            let replaces = self.bundle.entry.get(*place).is_some_and(|entry| {
                entry.request.method == "PUT" && entry.request.if_none_match.is_none()
            });
            if replaces
                && let Look::One {
                    etag: Some(etag), ..
                } = self.look(*place).await?
            {
                versions.insert(*place, etag);
            }
        }
        Ok(versions)
    }

    /// Why a condition was refused: an identifier that several resources have, told by its system and never by its value.
    /// Entries that are there already, and were to be made only if not, are left out from now on.
    pub(super) async fn blame(&mut self, places: &[usize]) -> Option<String> {
        for place in places {
            let asked = &self.bundle.entry.get(*place)?.request;
            let only_new = asked.if_none_match.is_some();
            if asked.condition().is_none() && !only_new {
                continue;
            }
            match self.look(*place).await {
                Ok(Look::Several(count)) => {
                    let asked = &self.bundle.entry.get(*place)?.request;
                    let system = asked
                        .identifier_system()
                        .unwrap_or_else(|| "(no system)".to_owned());
                    return Some(format!(
                        "entry {place} ({}): {count} or more resources have its identifier of system {system}",
                        asked.type_name()
                    ));
                }
                Ok(Look::One { .. }) if only_new => {
                    let entry = self.bundle.entry.get(*place)?;
                    let (full_url, url) =
                        (entry.full_url.to_string(), entry.request.url.to_string());
                    self.names.insert(full_url, url);
                    self.left_out.insert(*place);
                }
                _ => {}
            }
        }
        None
    }

    /// Entries whose resource was deleted are made anew, under another id, where an identifier says which they are: later
    /// messages then find them. False when there is none, or one could not be found again.
    pub(super) async fn recreate(&mut self, places: &[usize]) -> bool {
        let mut any = false;
        for place in places {
            let Ok(Look::Gone) = self.look(*place).await else {
                continue;
            };
            let Some(entry) = self.bundle.entry.get_mut(*place) else {
                continue;
            };
            let Some(condition) = condition_of(&entry.resource) else {
                return false;
            };
            let old = entry.request.url.to_string();
            let type_name = entry.request.type_name().to_owned();
            if !entry.full_url.starts_with("urn:uuid:") {
                let id = old.rsplit('/').next().unwrap_or_default();
                entry.full_url = Cow::Owned(format!("urn:uuid:{id}"));
            }
            self.names.insert(old, entry.full_url.to_string());
            entry.request = Asked {
                method: "POST".into(),
                url: type_name.into(),
                if_none_exist: Some(condition.into()),
                ..Asked::default()
            };
            any = true;
        }
        any
    }
}

fn read(answer: &Answer, asked: &Asked<'_>) -> Result<Look, Failure> {
    match answer.status {
        404 => return Ok(Look::None),
        410 => return Ok(Look::Gone),
        200..=299 => {}
        _ => return Err(classify::refused(answer)),
    }
    let unreadable = |_| {
        Failure::new(
            crate::Class::Transient,
            "the server's answer to a search is not readable",
        )
    };
    let found: Found = serde_json::from_slice(&answer.body).map_err(unreadable)?;
    let etag = |version: Option<String>| version.map(|version| format!("W/\"{version}\""));
    if found.resource_type != "Bundle" {
        return Ok(Look::One {
            etag: answer.etag.clone().or_else(|| etag(found.meta.version_id)),
            id: found.id,
        });
    }
    let mut matches: Vec<FoundResource> = found
        .entry
        .into_iter()
        .filter_map(|entry| entry.resource)
        .filter(|resource| resource.resource_type == asked.type_name())
        .collect();
    let count = found.total.unwrap_or_default().max(matches.len());
    Ok(match (count, matches.pop()) {
        (0 | 1, None) => Look::None,
        (1, Some(one)) => Look::One {
            id: one.id,
            etag: etag(one.meta.version_id),
        },
        (several, _) => Look::Several(several),
    })
}

/// A condition by the first identifier of a resource that has a system.
fn condition_of(resource: &Resource<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Identified {
        #[serde(default)]
        identifier: Vec<Identifier>,
    }
    #[derive(Deserialize)]
    struct Identifier {
        #[serde(default)]
        system: String,
        #[serde(default)]
        value: String,
    }
    let found: Identified = serde_json::from_str(&resource.0).ok()?;
    let identifier = found
        .identifier
        .into_iter()
        .find(|one| !one.system.is_empty() && !one.value.is_empty())?;
    Some(format!(
        "identifier={}%7C{}",
        token(&identifier.system),
        token(&identifier.value)
    ))
}

/// A search token: the parameter's own escapes (search.html#escaping), then those of a query.
fn token(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '$' | ',' | '|' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    percent_encoding::utf8_percent_encode(&escaped, percent_encoding::NON_ALPHANUMERIC).to_string()
}
