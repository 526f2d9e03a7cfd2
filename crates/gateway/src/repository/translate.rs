//! `ConceptMap/$translate` (<https://hl7.org/fhir/R4/conceptmap-operation-translate.html>) from the ConceptMaps that are
//! stored: one code and its system, on to the targets that some map of them names.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::fault::Fault;
use super::query::Query;
use super::{interaction, query};

/// What is asked.
#[derive(Default)]
struct Asked {
    url: Option<String>,
    system: String,
    code: String,
    target: Option<String>,
}

/// Answers the operation; `query` is percent-encoded.
///
/// # Errors
/// [`Fault::Invalid`] without a code or with a parameter that is not known, [`Fault::NotFound`] when no ConceptMap has the url
/// that is named, [`Fault::Storage`].
pub(super) fn translate(connection: &Connection, query: &str) -> Result<String, Fault> {
    let asked = Asked::read(query)?;
    let all = Query::parse("_count=1000")?;
    let mut known_url = asked.url.is_none();
    let mut matches = Vec::new();
    for stored in interaction::search(connection, "ConceptMap", &all)?.resources {
        let map: Value = serde_json::from_str(&stored.json)
            .map_err(|_| Fault::Invalid("a stored ConceptMap is not JSON".into()))?;
        let map = &map;
        if asked.url.as_deref().is_some_and(|url| map["url"] != url) {
            continue;
        }
        known_url = true;
        for group in &list(&map["group"]) {
            let of_system = group["source"]
                .as_str()
                .is_none_or(|system| system == asked.system);
            let into = group["target"].as_str();
            let wanted = asked.target.as_deref();
            if !of_system || wanted.is_some_and(|wanted| into.is_some_and(|into| into != wanted)) {
                continue;
            }
            let element = list(&group["element"]);
            let element = element
                .iter()
                .find(|element| element["code"] == asked.code.as_str());
            let targets = element.map(|element| list(&element["target"]));
            for target in &targets.unwrap_or_default() {
                let mut concept = json!({ "system": into, "code": target["code"] });
                if let Some(display) = target["display"].as_str() {
                    let object = concept.as_object_mut();
                    object.map(|object| object.insert("display".to_owned(), json!(display)));
                }
                let equivalence = target["equivalence"].as_str().unwrap_or("equivalent");
                matches.push(json!({ "name": "match", "part": [
                    { "name": "equivalence", "valueCode": equivalence },
                    { "name": "concept", "valueCoding": concept },
                    { "name": "source", "valueUri": map["url"] },
                ]}));
            }
        }
    }
    if !known_url {
        return Err(Fault::NotFound);
    }
    let mut parameters = vec![json!({ "name": "result", "valueBoolean": !matches.is_empty() })];
    parameters.extend(matches);
    Ok(json!({ "resourceType": "Parameters", "parameter": parameters }).to_string())
}

impl Asked {
    fn read(text: &str) -> Result<Asked, Fault> {
        let mut asked = Asked::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = query::decode(value)?;
            match name {
                "url" => asked.url = Some(value),
                "system" => asked.system = value,
                "code" => asked.code = value,
                "targetsystem" => asked.target = Some(value),
                _ => return Err(Fault::NotSupported(format!("parameter {name}"))),
            }
        }
        if asked.code.is_empty() {
            return Err(Fault::Invalid("$translate needs a code".into()));
        }
        Ok(asked)
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}
