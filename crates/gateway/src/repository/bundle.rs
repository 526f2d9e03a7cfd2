//! Transactions and batches (<https://hl7.org/fhir/R4/http.html#transaction>).
//!
//! A transaction goes in two passes. The first finds out, against the state before it, which resource each entry is:
//! conditions are evaluated, ids given, one identity refused twice. The second writes, DELETE before POST before PUT,
//! with every reference to an entry rewritten to the id that the first pass found.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Repository;
use super::content::{Content, instant};
use super::fault::Fault;
use super::interaction::{self, Conditions, Target, Written, known_type};
use super::query::Query;

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(rename = "resourceType", borrow)]
    resource_type: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow, default)]
    full_url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, default)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow, default)]
    if_none_exist: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    if_none_match: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    if_match: Option<Cow<'a, str>>,
}

/// An entry, understood.
struct Step<'a> {
    index: usize,
    operation: Operation<'a>,
    full_url: Option<&'a str>,
}

enum Operation<'a> {
    Delete {
        type_name: &'a str,
        id: &'a str,
        conditions: Conditions,
    },
    Create {
        type_name: &'a str,
        none_exist: Option<&'a str>,
        resource: &'a RawValue,
    },
    Update {
        type_name: &'a str,
        id: &'a str,
        conditions: Conditions,
        resource: &'a RawValue,
    },
    UpdateWhere {
        type_name: &'a str,
        query: &'a str,
        conditions: Conditions,
        resource: &'a RawValue,
    },
    Get(&'a str),
}

/// What an entry came to.
enum Done {
    Written(Written),
    Found(String),
}

/// A link inside the Bundle and the `Type/id` that it means.
type Links = HashMap<String, String>;

// === impl Repository ===

impl Repository {
    /// Carries out a transaction or batch Bundle and returns the response Bundle. With `representation` the response
    /// holds the resources as they are stored.
    ///
    /// # Errors
    /// [`Fault`]; of a transaction nothing is stored then. The entries of a batch fail on their own, inside the answer.
    pub fn bundle(&self, json: &[u8], representation: bool) -> Result<String, Fault> {
        let bundle: Bundle<'_> = serde_json::from_slice(json).map_err(|error| {
            Fault::Invalid(format!(
                "not a Bundle at line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        if bundle.resource_type != "Bundle" {
            return Err(Fault::Invalid("not a Bundle".into()));
        }
        match bundle.kind.as_ref() {
            "transaction" => self.transaction(&bundle, representation),
            "batch" => Ok(self.batch(&bundle, representation)),
            _ => Err(Fault::Invalid(
                "Bundle is neither transaction nor batch".into(),
            )),
        }
    }

    fn transaction(&self, bundle: &Bundle<'_>, representation: bool) -> Result<String, Fault> {
        let mut steps = Vec::with_capacity(bundle.entry.len());
        for (index, entry) in bundle.entry.iter().enumerate() {
            steps.push(Step::of(index, entry).map_err(|fault| fault.at(index))?);
        }
        self.atomically(|connection| {
            let targets = plan(connection, &steps)?;
            let links = links(&steps, &targets);
            let mut order: Vec<(&Step<'_>, Option<Target>)> = steps.iter().zip(targets).collect();
            order.sort_by_key(|(step, _)| step.operation.rank());
            let mut done: Vec<Option<Done>> = steps.iter().map(|_| None).collect();
            for (step, target) in order {
                let result = self
                    .carry_out(connection, step, target, &links)
                    .map_err(|fault| fault.at(step.index))?;
                if let Some(place) = done.get_mut(step.index) {
                    *place = Some(result);
                }
            }
            let mut out =
                String::from(r#"{"resourceType":"Bundle","type":"transaction-response","entry":["#);
            for (index, done) in done.into_iter().flatten().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                answer(connection, &done, representation, &mut out)?;
            }
            out.push_str("]}");
            Ok(out)
        })
    }

    fn batch(&self, bundle: &Bundle<'_>, representation: bool) -> String {
        let mut out = String::from(r#"{"resourceType":"Bundle","type":"batch-response","entry":["#);
        for (index, entry) in bundle.entry.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            let start = out.len();
            let result = Step::of(index, entry).and_then(|step| {
                self.atomically(|connection| {
                    let target = plan(connection, std::slice::from_ref(&step))?
                        .pop()
                        .flatten();
                    // The entries of a batch do not see each other (http.html#brules), so there are no links.
                    let done = self.carry_out(connection, &step, target, &Links::new())?;
                    answer(connection, &done, representation, &mut out)
                })
            });
            if let Err(fault) = result {
                out.truncate(start);
                // Writing to a String does not fail.
                let _ = write!(
                    out,
                    r#"{{"response":{{"status":"{}","outcome":{}}}}}"#,
                    fault.status(),
                    fault.at(index).outcome()
                );
            }
        }
        out.push_str("]}");
        out
    }

    fn carry_out(
        &self,
        connection: &Connection,
        step: &Step<'_>,
        target: Option<Target>,
        links: &Links,
    ) -> Result<Done, Fault> {
        let (type_name, resource) = match &step.operation {
            Operation::Get(url) => return get(connection, url).map(Done::Found),
            Operation::Delete { type_name, .. } => {
                let target = target.ok_or(Fault::NotFound)?;
                return interaction::delete(connection, type_name, target).map(Done::Written);
            }
            Operation::Create {
                type_name,
                resource,
                ..
            }
            | Operation::Update {
                type_name,
                resource,
                ..
            }
            | Operation::UpdateWhere {
                type_name,
                resource,
                ..
            } => (*type_name, *resource),
        };
        let target = target.ok_or(Fault::NotFound)?;
        let content = self.content(type_name, resource, &mut |text| match links.get(text) {
            Some(found) => Ok(Some(found.clone())),
            None => interaction::conditional(connection, text),
        })?;
        match &step.operation {
            Operation::Update { .. } => interaction::same_id(&content, &target)?,
            Operation::UpdateWhere { .. } => same_id_if_any(&content, &target)?,
            _ => {}
        }
        interaction::write(connection, type_name, target, &content).map(Done::Written)
    }
}

/// A conditional update may come without an id.
fn same_id_if_any(content: &Content, target: &Target) -> Result<(), Fault> {
    match content.id {
        Some(_) => interaction::same_id(content, target),
        None => Ok(()),
    }
}

// === impl Step ===

impl<'a> Step<'a> {
    fn of(index: usize, entry: &'a Entry<'a>) -> Result<Self, Fault> {
        let invalid = |text: &str| Fault::Invalid(text.to_owned());
        let request = entry
            .request
            .as_ref()
            .ok_or_else(|| invalid("entry without request"))?;
        let url = request.url.trim_start_matches('/');
        let resource = || {
            entry
                .resource
                .ok_or_else(|| invalid("entry without resource"))
        };
        let conditions = || -> Result<Conditions, Fault> {
            Ok(Conditions {
                if_match: request.if_match.as_deref().map(version_of).transpose()?,
                only_new: request.if_none_match.as_deref() == Some("*"),
            })
        };
        let operation = match request.method.as_ref() {
            "GET" => Operation::Get(url),
            "POST" => {
                known_type(url)?;
                Operation::Create {
                    type_name: url,
                    none_exist: request.if_none_exist.as_deref(),
                    resource: resource()?,
                }
            }
            "PUT" => match (url.split_once('?'), url.split_once('/')) {
                (Some((type_name, query)), _) => {
                    known_type(type_name)?;
                    Operation::UpdateWhere {
                        type_name,
                        query,
                        conditions: conditions()?,
                        resource: resource()?,
                    }
                }
                (None, Some((type_name, id))) => {
                    known_type(type_name)?;
                    Operation::Update {
                        type_name,
                        id,
                        conditions: conditions()?,
                        resource: resource()?,
                    }
                }
                (None, None) => return Err(invalid("PUT without an id or a condition")),
            },
            "DELETE" if url.contains('?') => {
                return Err(Fault::NotSupported("conditional delete".into()));
            }
            "DELETE" => {
                let (type_name, id) = url
                    .split_once('/')
                    .ok_or_else(|| invalid("DELETE without an id"))?;
                known_type(type_name)?;
                Operation::Delete {
                    type_name,
                    id,
                    conditions: conditions()?,
                }
            }
            "PATCH" | "HEAD" => {
                return Err(Fault::NotSupported("PATCH or HEAD in a Bundle".into()));
            }
            _ => return Err(invalid("method is not one")),
        };
        Ok(Self {
            index,
            operation,
            full_url: entry.full_url.as_deref(),
        })
    }
}

// === impl Operation ===

impl Operation<'_> {
    /// The order of a transaction (<https://hl7.org/fhir/R4/http.html#trules>).
    fn rank(&self) -> u8 {
        match self {
            Self::Delete { .. } => 0,
            Self::Create { .. } => 1,
            Self::Update { .. } | Self::UpdateWhere { .. } => 2,
            Self::Get(_) => 3,
        }
    }

    fn type_name(&self) -> &str {
        match self {
            Self::Delete { type_name, .. }
            | Self::Create { type_name, .. }
            | Self::Update { type_name, .. }
            | Self::UpdateWhere { type_name, .. } => type_name,
            Self::Get(_) => "",
        }
    }

    /// The condition of a conditional create or update.
    fn condition(&self) -> Option<&str> {
        match self {
            Self::Create { none_exist, .. } => *none_exist,
            Self::UpdateWhere { query, .. } => Some(query),
            _ => None,
        }
    }
}

/// Finds the resource of each entry against the state before the transaction; no identity twice.
fn plan(connection: &Connection, steps: &[Step<'_>]) -> Result<Vec<Option<Target>>, Fault> {
    let mut targets = Vec::with_capacity(steps.len());
    let mut identities = HashSet::new();
    let mut conditions = HashSet::new();
    let mut taken = 0;
    for step in steps {
        let found = target(connection, step, taken).map_err(|fault| fault.at(step.index))?;
        let type_name = step.operation.type_name();
        let twice =
            || Fault::Invalid("the same resource twice in one transaction".into()).at(step.index);
        if let Some(found) = &found {
            if found.existing.is_none() {
                taken += 1;
            }
            if !identities.insert((type_name, found.id.clone())) {
                return Err(twice());
            }
        }
        // Two entries whose condition matches nothing yet would make the same resource twice.
        if let Some(condition) = step.operation.condition()
            && !conditions.insert((type_name, condition))
        {
            return Err(twice());
        }
        targets.push(found);
    }
    Ok(targets)
}

fn target(connection: &Connection, step: &Step<'_>, taken: u32) -> Result<Option<Target>, Fault> {
    let found = match &step.operation {
        Operation::Get(_) => return Ok(None),
        Operation::Delete {
            type_name,
            id,
            conditions,
        }
        | Operation::Update {
            type_name,
            id,
            conditions,
            ..
        } => interaction::update_of(connection, type_name, id, conditions),
        Operation::Create {
            type_name,
            none_exist,
            ..
        } => interaction::creation(connection, type_name, *none_exist, taken),
        Operation::UpdateWhere {
            type_name,
            query,
            conditions,
            resource,
        } => {
            let own = own_id(resource)?;
            interaction::conditional_update(
                connection,
                type_name,
                query,
                own.as_deref(),
                conditions,
                taken,
            )
        }
    };
    found.map(Some)
}

/// The id inside a resource, without reading the rest of it twice in full.
fn own_id(resource: &RawValue) -> Result<Option<Cow<'_, str>>, Fault> {
    #[derive(Deserialize)]
    struct Id<'a> {
        #[serde(borrow, default)]
        id: Option<Cow<'a, str>>,
    }
    serde_json::from_str::<Id<'_>>(resource.get())
        .map(|found| found.id)
        .map_err(|_| Fault::Invalid("resource is not an object with a string as id".into()))
}

/// What links inside the Bundle mean: full URLs, and for `http://base/Type/x` also `Type/x`.
fn links(steps: &[Step<'_>], targets: &[Option<Target>]) -> Links {
    let mut links = Links::new();
    for (step, target) in steps.iter().zip(targets) {
        let (Some(full_url), Some(target)) = (step.full_url, target) else {
            continue;
        };
        let type_name = step.operation.type_name();
        let meaning = format!("{type_name}/{}", target.id);
        if let Some((head, id)) = full_url.rsplit_once('/')
            && head.ends_with(type_name)
        {
            links.insert(format!("{type_name}/{id}"), meaning.clone());
        }
        links.insert(full_url.to_owned(), meaning);
    }
    links
}

/// GET inside a Bundle: a resource or a search.
fn get(connection: &Connection, url: &str) -> Result<String, Fault> {
    if let Some(query) = url.strip_prefix("ConceptMap/$translate?") {
        return super::translate::translate(connection, query);
    }
    if let Some((type_name, query)) = url.split_once('?') {
        let page = interaction::search(connection, type_name, &Query::parse(query)?)?;
        let entries: Vec<String> = page
            .resources
            .iter()
            .map(|stored| format!(r#"{{"resource":{}}}"#, stored.json))
            .collect();
        return Ok(format!(
            r#"{{"resourceType":"Bundle","type":"searchset","total":{},"entry":[{}]}}"#,
            page.total,
            entries.join(",")
        ));
    }
    let (type_name, id) = url.split_once('/').ok_or(Fault::NotFound)?;
    Ok(interaction::read(connection, type_name, id)?.json)
}

/// Appends the entry of the response.
fn answer(
    connection: &Connection,
    done: &Done,
    representation: bool,
    out: &mut String,
) -> Result<(), Fault> {
    let written = match done {
        Done::Found(json) => {
            // Writing to a String does not fail, here and below.
            let _ = write!(
                out,
                r#"{{"resource":{json},"response":{{"status":"200 OK"}}}}"#
            );
            return Ok(());
        }
        Done::Written(written) => written,
    };
    let Written {
        status,
        type_name,
        id,
        version,
        updated_ms,
    } = written;
    out.push('{');
    if representation && *status != 204 {
        let stored = interaction::read(connection, type_name, id)?;
        let _ = write!(out, r#""resource":{},"#, stored.json);
    }
    let reason = match status {
        201 => "201 Created",
        204 => "204 No Content",
        304 => "304 Not Modified",
        _ => "200 OK",
    };
    let _ = write!(out, r#""response":{{"status":"{reason}""#);
    if *status != 204 {
        let _ = write!(
            out,
            r#","location":"{type_name}/{id}/_history/{version}","etag":"W/\"{version}\"","lastModified":"{}""#,
            instant(*updated_ms)
        );
    }
    out.push_str("}}");
    Ok(())
}

/// The version in an entity tag: `W/"3"`.
pub(super) fn version_of(etag: &str) -> Result<i64, Fault> {
    etag.trim()
        .trim_start_matches("W/")
        .trim_matches('"')
        .parse()
        .map_err(|_| Fault::Precondition)
}
