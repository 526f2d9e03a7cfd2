//! Bundles: the invariants bdl-1 to bdl-12, and what a transaction asks of its requests
//! (<https://hl7.org/fhir/R4/http.html#trules>).

use std::collections::HashSet;

use super::Validator;
use crate::names::NameId;
use crate::outcome::IssueType::{Duplicate, Invariant, Required, Value};
use crate::tree::NodeId;

pub(super) fn bundle(validator: &mut Validator<'_>, node: NodeId) {
    let names = &validator.rules.names;
    let kind = validator.child_text(node, NameId::TYPE);
    let has = |name| validator.child(node, name).is_some();
    let identifier = validator.child(node, names.identifier);
    let identified = identifier.is_some_and(|identifier| {
        validator.child(identifier, names.system).is_some()
            && validator.child(identifier, names.value).is_some()
    });
    let first = validator.members(node, NameId::ENTRY).next();
    let first_type = first
        .and_then(|entry| validator.child(entry, NameId::RESOURCE))
        .map_or("", |resource| {
            validator.child_text(resource, NameId::RESOURCE_TYPE)
        });
    for (wrong, message) in [
        (
            has(names.total) && !matches!(kind, "searchset" | "history"),
            "bdl-1: only a search or history has a total",
        ),
        (
            kind == "document" && !identified,
            "bdl-9: a document has an identifier with system and value",
        ),
        (
            kind == "document" && !has(names.timestamp),
            "bdl-10: a document has a timestamp",
        ),
        (
            kind == "document" && first_type != "Composition",
            "bdl-11: a document begins with a Composition",
        ),
        (
            kind == "message" && first_type != "MessageHeader",
            "bdl-12: a message begins with a MessageHeader",
        ),
    ] {
        if wrong {
            validator.error(Invariant, message);
        }
    }
    entries(validator, node, kind);
}

fn entries(validator: &mut Validator<'_>, node: NodeId, kind: &str) {
    let names = &validator.rules.names;
    let mut urls = HashSet::new();
    let mut identities = HashSet::new();
    for (index, entry) in validator.members(node, NameId::ENTRY).enumerate() {
        let has = |name| validator.child(entry, name).is_some();
        let url = validator.child_text(entry, NameId::FULL_URL);
        let resource = validator.child(entry, NameId::RESOURCE);
        let version = resource
            .and_then(|resource| validator.child(resource, names.meta))
            .map_or("", |meta| validator.child_text(meta, names.version_id));
        let asks = matches!(kind, "batch" | "transaction" | "history");
        let answers = matches!(kind, "batch-response" | "transaction-response" | "history");
        let twice = !url.is_empty() && kind != "history" && !urls.insert((url, version));
        for (wrong, message) in [
            (
                has(names.search) && kind != "searchset",
                "bdl-2: only an entry of a search has search",
            ),
            (
                has(NameId::REQUEST) != asks,
                "bdl-3: a batch, transaction or history has requests, and nothing else has",
            ),
            (
                has(names.response) != answers,
                "bdl-4: a response or history has responses, and nothing else has",
            ),
            (twice, "bdl-7: another entry has the same fullUrl"),
            (
                url.contains("/_history/"),
                "bdl-8: a fullUrl has no version",
            ),
        ] {
            if wrong {
                validator.error_at(&place(index), Invariant, message);
            }
        }
        if let (true, Some(request)) = (
            matches!(kind, "batch" | "transaction"),
            validator.child(entry, NameId::REQUEST),
        ) {
            self::request(validator, request, resource, index);
            let key = identity(validator, request);
            if kind == "transaction" && key.is_some_and(|key| !identities.insert(key)) {
                validator.error_at(
                    &place(index),
                    Duplicate,
                    "another entry of the transaction writes the same resource",
                );
            }
        }
    }
}

/// An entry, below the Bundle.
fn place(index: usize) -> String {
    format!("entry[{index}]")
}

/// A write names the type of its resource, and an update its id.
fn request(validator: &mut Validator<'_>, request: NodeId, resource: Option<NodeId>, index: usize) {
    let method = validator.child_text(request, NameId::METHOD);
    if !matches!(method, "POST" | "PUT") {
        return;
    }
    let url = validator.child_text(request, NameId::URL);
    let Some(resource) = resource else {
        // A POST may be an operation without a body.
        if method == "PUT" {
            validator.error_at(&place(index), Required, "a write without a resource");
        }
        return;
    };
    if url.contains('$') {
        return;
    }
    let type_name = validator.child_text(resource, NameId::RESOURCE_TYPE);
    let id = validator.child_text(resource, NameId::ID);
    let (path, query) = url
        .split_once('?')
        .map_or((url, None), |(path, query)| (path, Some(query)));
    let wrong = match (method, query) {
        ("PUT", None) if !id.is_empty() && is_path(path, &[type_name, id]) => None,
        ("PUT", Some(_)) | ("POST", None) if is_path(path, &[type_name]) => None,
        ("PUT", None) => Some("an update goes to the type and id of the resource"),
        ("PUT", _) => Some("the url is not of the type of the resource"),
        _ => Some("a create goes to the type of the resource"),
    };
    if let Some(message) = wrong {
        validator.error_at(&format!("{}.request.url", place(index)), Value, message);
    }
}

/// Whether the path consists of the parts, behind a server's base if there is one.
fn is_path(path: &str, parts: &[&str]) -> bool {
    let mut found = path.rsplit('/');
    let same = parts.iter().rev().all(|part| found.next() == Some(part));
    same && (path.contains("://") || found.next().is_none())
}

/// What two entries of a transaction must not both have: the resource they replace or delete, or the condition they
/// create under.
fn identity<'a>(validator: &Validator<'a>, request: NodeId) -> Option<(&'a str, &'a str)> {
    let url = validator.child_text(request, NameId::URL);
    match validator.child_text(request, NameId::METHOD) {
        "PUT" | "PATCH" | "DELETE" => Some(url.split_once('?').unwrap_or((url, ""))),
        "POST" => {
            let condition = validator.child_text(request, NameId::IF_NONE_EXIST);
            (!condition.is_empty()).then_some((url, condition))
        }
        _ => None,
    }
}
