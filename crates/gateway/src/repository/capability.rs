//! The CapabilityStatement: only what is really there (<https://hl7.org/fhir/R4/capabilitystatement.html>).

use std::sync::OnceLock;

use fhir::definitions::{Definitions, TypeId, TypeKind, r4};
use serde_json::{Value, json};

const DESCRIPTION: &str = "The repository embedded in Fhirway, for trying out and for tests. Not for production: no access control, \
     no referential integrity outside of Bundles, few search parameters.";

/// The statement as JSON; made once.
pub(crate) fn statement() -> &'static str {
    static STATEMENT: OnceLock<String> = OnceLock::new();
    STATEMENT.get_or_init(|| build().to_string())
}

fn build() -> Value {
    let definitions = r4();
    let mut types: Vec<TypeId> = definitions
        .types()
        .filter(|id| definitions.kind(*id) == TypeKind::Resource && !definitions.is_abstract(*id))
        .collect();
    types.sort_by_key(|id| definitions.type_name(*id));
    let resources: Vec<Value> = types
        .into_iter()
        .map(|id| resource(definitions, id))
        .collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "experimental": true,
        "date": "2026-11-21",
        "kind": "instance",
        "description": DESCRIPTION,
        "software": {"name": "Fhirway embedded repository", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": DESCRIPTION},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [{
            "mode": "server",
            "resource": resources,
            "interaction": [{"code": "transaction"}, {"code": "batch"}],
        }],
    })
}

fn resource(definitions: &Definitions, id: TypeId) -> Value {
    let mut parameters = vec![json!({"name": "_id", "type": "token"})];
    let has = |name: &str| definitions.element(id, name).is_some();
    if has("identifier") {
        parameters.push(json!({"name": "identifier", "type": "token"}));
    }
    if ["patient", "subject", "beneficiary", "for"]
        .into_iter()
        .any(has)
    {
        parameters.push(json!({"name": "patient", "type": "reference"}));
    }
    if has("subject") {
        parameters.push(json!({"name": "subject", "type": "reference"}));
    }
    let codes = [
        "read",
        "vread",
        "update",
        "delete",
        "history-instance",
        "create",
        "search-type",
    ];
    json!({
        "type": definitions.type_name(id),
        "interaction": codes.map(|code| json!({"code": code})),
        "versioning": "versioned",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": true,
        "conditionalUpdate": true,
        "conditionalDelete": "not-supported",
        "referencePolicy": ["literal", "local"],
        "searchParam": parameters,
    })
}
