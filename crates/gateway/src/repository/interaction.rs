//! Interactions with one resource: read, create, update, delete, and search; by type and id.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, TransactionBehavior};
use serde_json::value::RawValue;

use super::content::{self, Content};
use super::fault::Fault;
use super::query::Query;
use super::store::{self, Version};
use super::{Repository, validity};

/// One version of a resource, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The id.
    pub id: String,
    /// Counts from 1.
    pub version: i64,
    /// When it was written, milliseconds since 1970.
    pub updated_ms: i64,
    /// The whole resource.
    pub json: String,
}

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// 201 made, 200 a new version or nothing to change, 204 deleted, 304 left alone by `ifNoneMatch: *`.
    pub status: u16,
    /// The resource type.
    pub type_name: String,
    /// The id.
    pub id: String,
    /// The version that is current now; 0 when there is no resource.
    pub version: i64,
    /// When that version was written, milliseconds since 1970.
    pub updated_ms: i64,
}

/// What must hold before a resource is written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Conditions {
    /// `If-Match`: the version that must be current.
    pub(super) if_match: Option<i64>,
    /// `If-None-Match: *`: only when there is none.
    pub(super) only_new: bool,
}

/// A resource to be written: where, and what is there now.
pub(super) struct Target {
    pub(super) id: String,
    /// The current version, which may be a deletion.
    pub(super) existing: Option<Version>,
    /// Leave it as it is, and say this status.
    pub(super) keep: Option<u16>,
}

/// A page of search results.
pub(super) struct Page {
    pub(super) total: u64,
    pub(super) resources: Vec<Stored>,
}

// === impl Repository ===

impl Repository {
    /// The types that have resources, with how many.
    ///
    /// # Errors
    /// [`Fault::Storage`].
    pub fn counts(&self) -> Result<Vec<(String, u64)>, Fault> {
        Ok(store::counts(&self.lock())?)
    }

    /// The current version of a resource.
    ///
    /// # Errors
    /// [`Fault::NotFound`], [`Fault::Gone`], [`Fault::UnknownType`], [`Fault::Storage`].
    pub fn read(&self, type_name: &str, id: &str) -> Result<Stored, Fault> {
        read(&self.lock(), type_name, id)
    }

    /// How many versions a resource has had, deletions included; 0 when it never was.
    ///
    /// # Errors
    /// [`Fault::Storage`].
    pub fn history_length(&self, type_name: &str, id: &str) -> Result<usize, Fault> {
        Ok(store::versions(&self.lock(), type_name, id)?.len())
    }

    /// The resources that a query finds, `identifier=urn:oid:1.2|A1`, oldest first.
    ///
    /// # Errors
    /// [`Fault::NotSupported`] for another parameter than the module's page names, [`Fault::Invalid`],
    /// [`Fault::UnknownType`], [`Fault::Storage`].
    pub fn search(&self, type_name: &str, query: &str) -> Result<Vec<Stored>, Fault> {
        Ok(search(&self.lock(), type_name, &Query::parse(query)?)?.resources)
    }

    /// What `ConceptMap/$translate` answers.
    ///
    /// # Errors
    /// [`Fault::Invalid`], [`Fault::NotFound`], [`Fault::NotSupported`], [`Fault::Storage`].
    pub(super) fn translate(&self, query: &str) -> Result<String, Fault> {
        super::translate::translate(&self.lock(), query)
    }

    /// Runs `work` in a transaction that is undone when it fails.
    pub(super) fn atomically<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Reads a resource that is to be written, and checks it.
    pub(super) fn content(
        &self,
        type_name: &str,
        resource: &RawValue,
        resolve: &mut content::Resolve<'_>,
    ) -> Result<Content, Fault> {
        let content = Content::read(resource, resolve)?;
        if content.type_name != type_name {
            return Err(Fault::Invalid("resourceType is not that of the url".into()));
        }
        if self.is_validating() {
            validity::check(resource)?;
        }
        Ok(content)
    }

    pub(super) fn create(
        &self,
        type_name: &str,
        json: &[u8],
        none_exist: Option<&str>,
    ) -> Result<Written, Fault> {
        known_type(type_name)?;
        let resource = parse(json)?;
        self.atomically(|connection| {
            let content = self.content(type_name, resource, &mut |text| {
                conditional(connection, text)
            })?;
            let target = creation(connection, type_name, none_exist, 0)?;
            write(connection, type_name, target, &content)
        })
    }

    pub(super) fn update(
        &self,
        type_name: &str,
        id: &str,
        json: &[u8],
        conditions: &Conditions,
    ) -> Result<Written, Fault> {
        known_type(type_name)?;
        let resource = parse(json)?;
        self.atomically(|connection| {
            let content = self.content(type_name, resource, &mut |text| {
                conditional(connection, text)
            })?;
            let target = update_of(connection, type_name, id, conditions)?;
            if target.keep.is_some() {
                return Err(Fault::Precondition);
            }
            same_id(&content, &target)?;
            write(connection, type_name, target, &content)
        })
    }

    pub(super) fn update_where(
        &self,
        type_name: &str,
        query: &str,
        json: &[u8],
        conditions: &Conditions,
    ) -> Result<Written, Fault> {
        known_type(type_name)?;
        let resource = parse(json)?;
        self.atomically(|connection| {
            let content = self.content(type_name, resource, &mut |text| {
                conditional(connection, text)
            })?;
            let own = content.id.as_deref();
            let target = conditional_update(connection, type_name, query, own, conditions, 0)?;
            if target.keep.is_some() {
                return Err(Fault::Precondition);
            }
            write(connection, type_name, target, &content)
        })
    }

    pub(super) fn delete(
        &self,
        type_name: &str,
        id: &str,
        conditions: &Conditions,
    ) -> Result<Written, Fault> {
        known_type(type_name)?;
        self.atomically(|connection| {
            let target = update_of(connection, type_name, id, conditions)?;
            delete(connection, type_name, target)
        })
    }
}

/// Checks that a name is a resource type of R4.
pub(super) fn known_type(type_name: &str) -> Result<(), Fault> {
    let definitions = fhir::definitions::r4();
    match definitions.resource(type_name) {
        Some(found) if !definitions.is_abstract(found) => Ok(()),
        _ => Err(Fault::UnknownType),
    }
}

/// JSON without looking into it, apart from its grammar.
pub(super) fn parse(json: &[u8]) -> Result<&RawValue, Fault> {
    serde_json::from_slice(json).map_err(|error| {
        Fault::Invalid(format!(
            "not json at line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

pub(super) fn read(connection: &Connection, type_name: &str, id: &str) -> Result<Stored, Fault> {
    known_type(type_name)?;
    match store::find(connection, type_name, id)? {
        None => Err(Fault::NotFound),
        Some(version) if version.deleted => Err(Fault::Gone),
        Some(version) => Ok(stored(type_name, version)),
    }
}

pub(super) fn stored(type_name: &str, version: Version) -> Stored {
    let json = content::render(
        type_name,
        &version.id,
        version.version,
        version.updated_ms,
        &version.meta,
        &version.body,
    );
    Stored {
        id: version.id,
        version: version.version,
        updated_ms: version.updated_ms,
        json,
    }
}

pub(super) fn search(
    connection: &Connection,
    type_name: &str,
    query: &Query,
) -> Result<Page, Fault> {
    known_type(type_name)?;
    let total = store::count(connection, type_name, query)?;
    let resources = if query.only_count {
        Vec::new()
    } else {
        store::search(connection, type_name, query, query.page(), query.offset)?
    };
    Ok(Page {
        total,
        resources: resources
            .into_iter()
            .map(|version| stored(type_name, version))
            .collect(),
    })
}

/// The one resource that a condition matches.
fn only_match(
    connection: &Connection,
    type_name: &str,
    query: &str,
) -> Result<Option<Version>, Fault> {
    let query = Query::condition(query)?;
    let mut matches = store::search(connection, type_name, &query, 2, 0)?;
    match matches.len() {
        0 | 1 => Ok(matches.pop()),
        _ => Err(Fault::MultipleMatches),
    }
}

/// A conditional reference, `Patient?identifier=…` (<https://hl7.org/fhir/R4/http.html#trules>), as `Patient/1`.
/// Anything else is left as it is.
pub(super) fn conditional(connection: &Connection, text: &str) -> Result<Option<String>, Fault> {
    let Some((type_name, query)) = text.split_once('?') else {
        return Ok(None);
    };
    if known_type(type_name).is_err() {
        return Ok(None);
    }
    match only_match(connection, type_name, query)? {
        Some(found) => Ok(Some(format!("{type_name}/{}", found.id))),
        None => Err(Fault::Invalid(
            "conditional reference matches nothing".into(),
        )),
    }
}

/// Where a create goes: a free id, or the resource that is there already. `taken` ids are spoken for in this transaction.
pub(super) fn creation(
    connection: &Connection,
    type_name: &str,
    none_exist: Option<&str>,
    taken: u32,
) -> Result<Target, Fault> {
    let found = match none_exist {
        Some(query) => {
            // `Patient?identifier=…` is written by some clients.
            let query = query.split_once('?').map_or(query, |(_, query)| query);
            only_match(connection, type_name, query)?
        }
        None => None,
    };
    match found {
        Some(version) => Ok(Target {
            id: version.id.clone(),
            existing: Some(version),
            keep: Some(200),
        }),
        None => Ok(Target {
            id: store::free_id(connection, type_name, taken)?,
            existing: None,
            keep: None,
        }),
    }
}

/// Where `PUT Type/id` or `DELETE Type/id` goes.
pub(super) fn update_of(
    connection: &Connection,
    type_name: &str,
    id: &str,
    conditions: &Conditions,
) -> Result<Target, Fault> {
    // https://hl7.org/fhir/R4/datatypes.html#id
    let is_id = (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if !is_id {
        return Err(Fault::Invalid("not an id".into()));
    }
    let existing = store::find(connection, type_name, id)?;
    target(id.to_owned(), existing, conditions)
}

/// Where `PUT Type?query` goes (<https://hl7.org/fhir/R4/http.html#cond-update>). `own` is the id in the resource.
pub(super) fn conditional_update(
    connection: &Connection,
    type_name: &str,
    query: &str,
    own: Option<&str>,
    conditions: &Conditions,
    taken: u32,
) -> Result<Target, Fault> {
    match (only_match(connection, type_name, query)?, own) {
        (Some(found), Some(own)) if found.id != own => Err(Fault::Invalid(
            "id is not that of the resource that matches".into(),
        )),
        (Some(found), _) => target(found.id.clone(), Some(found), conditions),
        (None, Some(own)) => {
            let target = update_of(connection, type_name, own, conditions)?;
            match &target.existing {
                Some(existing) if !existing.deleted => Err(Fault::Conflict(
                    "condition matches nothing, yet the resource's id is taken",
                )),
                _ => Ok(target),
            }
        }
        (None, None) => target(
            store::free_id(connection, type_name, taken)?,
            None,
            conditions,
        ),
    }
}

fn target(id: String, existing: Option<Version>, conditions: &Conditions) -> Result<Target, Fault> {
    let current = existing.as_ref().filter(|version| !version.deleted);
    if conditions.if_match.is_some()
        && conditions.if_match != current.map(|version| version.version)
    {
        return Err(Fault::Precondition);
    }
    let keep = (conditions.only_new && current.is_some()).then_some(304);
    Ok(Target { id, existing, keep })
}

/// `PUT Type/id` wants the same id in the resource (<https://hl7.org/fhir/R4/http.html#update>).
pub(super) fn same_id(content: &Content, target: &Target) -> Result<(), Fault> {
    if content.id.as_deref() == Some(target.id.as_str()) {
        return Ok(());
    }
    Err(Fault::Invalid(
        "id of the resource is not that of the url".into(),
    ))
}

/// Writes, unless the target is to be kept or nothing changes.
pub(super) fn write(
    connection: &Connection,
    type_name: &str,
    target: Target,
    content: &Content,
) -> Result<Written, Fault> {
    let now = now_ms();
    let written = |status, version, updated_ms| Written {
        status,
        type_name: type_name.to_owned(),
        id: target.id.clone(),
        version,
        updated_ms,
    };
    let Some(existing) = &target.existing else {
        store::insert(connection, type_name, &target.id, content, now)?;
        return Ok(written(201, 1, now));
    };
    if let Some(status) = target.keep {
        return Ok(written(status, existing.version, existing.updated_ms));
    }
    if !existing.deleted && existing.body == content.body && existing.meta == content.meta {
        return Ok(written(200, existing.version, existing.updated_ms));
    }
    store::replace(connection, type_name, existing, Some(content), now)?;
    let status = if existing.deleted { 201 } else { 200 };
    Ok(written(status, existing.version + 1, now))
}

/// Deletes; what is not there is deleted already.
pub(super) fn delete(
    connection: &Connection,
    type_name: &str,
    target: Target,
) -> Result<Written, Fault> {
    let now = now_ms();
    let (version, updated_ms) = match &target.existing {
        Some(existing) if !existing.deleted => {
            store::replace(connection, type_name, existing, None, now)?;
            (existing.version + 1, now)
        }
        Some(existing) => (existing.version, existing.updated_ms),
        None => (0, now),
    };
    Ok(Written {
        status: 204,
        type_name: type_name.to_owned(),
        id: target.id,
        version,
        updated_ms,
    })
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}
