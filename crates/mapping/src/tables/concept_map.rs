//! Code tables as FHIR R4 ConceptMaps, both ways.
//!
//! | Table | ConceptMap |
//! |---|---|
//! | `source`, `target` | `group.source`, `group.target`: a group for each pair |
//! | `codes`, with several targets | `group.element`, `target` |
//! | a code without a target | `target.equivalence` = `unmatched` |
//! | `default`, `same: all`, `else` | `group.unmapped`: `fixed`, `provided`, `other-map` |
//! | `miss` | an extension, left out for `keep` |
//!
//! A target that says no equivalence is `equivalent`.

use serde_json::{Map, Value, json};

use super::{CodeEntry, CodeGroup, CodeTable, CodeTarget, CodingSystems, EQUIVALENCES};

/// URL of the extension that holds `miss`.
const MISS: &str = "urn:fhirway:table-miss";
/// Start of the canonical of a table that no ConceptMap of a server stands for.
const TABLE: &str = "urn:fhirway:table:";

/// Why a JSON document is no ConceptMap that a table can hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConceptMapError {
    /// Where, as a FHIRPath: `ConceptMap.group[0].element[3]`.
    pub place: String,
    /// What is wrong, and what to do.
    pub message: String,
}

fn error(place: &str, message: &str) -> ConceptMapError {
    ConceptMapError {
        place: place.to_owned(),
        message: message.to_owned(),
    }
}

// === export ===

impl CodeTable {
    /// The table as a ConceptMap.
    pub fn to_concept_map(&self, systems: &CodingSystems) -> Value {
        let id: String = self
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(64)
            .collect();
        let mut name: String = self
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        if !name.starts_with(|c: char| c.is_ascii_uppercase()) {
            name.insert_str(0, "T_");
        }
        let mut map = Map::new();
        map.insert("resourceType".into(), "ConceptMap".into());
        map.insert("id".into(), id.into());
        if let Some(miss) = self.miss.as_ref().filter(|miss| *miss != "keep") {
            map.insert(
                "extension".into(),
                json!([{ "url": MISS, "valueCode": miss }]),
            );
        }
        map.insert("url".into(), format!("{TABLE}{}", self.name).into());
        map.insert("name".into(), name.into());
        map.insert("title".into(), self.name.as_str().into());
        map.insert("status".into(), "active".into());
        if let Some(about) = &self.about {
            map.insert("description".into(), about.as_str().into());
        }
        let last = self.groups.len().saturating_sub(1);
        let mut groups = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            // What no group lists is asked of another table by the last one.
            let rest = self.rest.as_deref().filter(|_| number == last);
            group.export(systems, rest, &mut groups);
        }
        if !groups.is_empty() {
            map.insert("group".into(), groups.into());
        }
        Value::Object(map)
    }
}

impl CodeGroup {
    fn export(&self, systems: &CodingSystems, rest: Option<&str>, groups: &mut Vec<Value>) {
        let sources: Vec<Option<String>> = match self.source.as_slice() {
            [] => vec![None],
            names => {
                let mut uris: Vec<Option<String>> = Vec::new();
                for name in names {
                    let uri = Some(systems.uri(name));
                    if !uris.contains(&uri) {
                        uris.push(uri);
                    }
                }
                uris
            }
        };
        // Each target system is a group; codes without a target stand in that of the table's own.
        let mut targets = vec![self.target.as_str()];
        let others = self
            .codes
            .iter()
            .flat_map(|entry| &entry.targets)
            .filter_map(|target| target.system.as_deref());
        for system in others {
            if !targets.contains(&system) {
                targets.push(system);
            }
        }
        for source in &sources {
            for system in &targets {
                let main = *system == self.target;
                let elements: Vec<Value> = self
                    .codes
                    .iter()
                    .filter_map(|entry| entry.export(system, &self.target, main))
                    .collect();
                let unmapped = if main { self.unmapped(rest) } else { None };
                if elements.is_empty() && unmapped.is_none() {
                    continue;
                }
                let mut group = Map::new();
                if let Some(source) = source {
                    group.insert("source".into(), source.as_str().into());
                }
                if !system.is_empty() {
                    group.insert("target".into(), (*system).into());
                }
                group.insert("element".into(), elements.into());
                if let Some(unmapped) = unmapped {
                    group.insert("unmapped".into(), unmapped);
                }
                groups.push(Value::Object(group));
            }
        }
    }

    fn unmapped(&self, rest: Option<&str>) -> Option<Value> {
        if self.same_rest {
            return Some(json!({ "mode": "provided" }));
        }
        if let Some(default) = &self.default {
            let mut unmapped = json!({ "mode": "fixed", "code": default.code });
            if let (Some(display), Some(map)) = (&default.display, unmapped.as_object_mut()) {
                map.insert("display".into(), display.as_str().into());
            }
            return Some(unmapped);
        }
        rest.map(|name| json!({ "mode": "other-map", "url": format!("{TABLE}{name}") }))
    }
}

impl CodeEntry {
    fn export(&self, system: &str, own: &str, main: bool) -> Option<Value> {
        let mut targets: Vec<Value> = self
            .targets
            .iter()
            .filter(|target| target.system.as_deref().unwrap_or(own) == system)
            .map(CodeTarget::export)
            .collect();
        if self.targets.is_empty() && main {
            targets.push(json!({ "equivalence": "unmatched" }));
        }
        if targets.is_empty() {
            return None;
        }
        let mut element = Map::new();
        element.insert("code".into(), self.code.as_str().into());
        if let Some(name) = &self.name {
            element.insert("display".into(), name.as_str().into());
        }
        element.insert("target".into(), targets.into());
        Some(Value::Object(element))
    }
}

impl CodeTarget {
    fn export(&self) -> Value {
        let mut target = Map::new();
        if !self.code.is_empty() {
            target.insert("code".into(), self.code.as_str().into());
        }
        if let Some(display) = &self.display {
            target.insert("display".into(), display.as_str().into());
        }
        let equivalence = self.equivalence.as_deref().unwrap_or("equivalent");
        target.insert("equivalence".into(), equivalence.into());
        if let Some(comment) = &self.comment {
            target.insert("comment".into(), comment.as_str().into());
        }
        Value::Object(target)
    }
}

// === import ===

impl CodeTable {
    /// The table that a ConceptMap is. Coding systems get the names that messages give them, where these are known.
    ///
    /// # Errors
    /// [`ConceptMapError`]: it is no ConceptMap, or has what a table cannot hold.
    pub fn of_concept_map(
        map: &Value,
        name: Option<&str>,
        systems: &CodingSystems,
    ) -> Result<CodeTable, ConceptMapError> {
        if map["resourceType"] != "ConceptMap" {
            return Err(error(
                "$",
                "this is no FHIR ConceptMap: `resourceType` must be `ConceptMap`",
            ));
        }
        let text = |key: &str| map[key].as_str().map(str::to_owned);
        let given = name.map(str::to_owned).or_else(|| own_name(map));
        let name = given.ok_or_else(|| {
            error(
                "ConceptMap",
                "it has no name that a table can have: say `--name NAME`",
            )
        })?;
        if !is_table_name(&name) {
            return Err(error(
                "ConceptMap",
                &format!(
                    "`{name}` can't be the name of a table: letters, digits, `-`, `_`, `.` and `/` can be in it"
                ),
            ));
        }
        let mut table = CodeTable {
            name,
            about: text("description")
                .or_else(|| text("title").filter(|title| !is_table_name(title)))
                .map(|about| about.split_whitespace().collect::<Vec<_>>().join(" ")),
            ..CodeTable::default()
        };
        let extensions = map["extension"].as_array().into_iter().flatten();
        table.miss = extensions
            .filter(|extension| extension["url"] == MISS)
            .find_map(|extension| extension["valueCode"].as_str().map(str::to_owned));
        let mut read: Vec<(Option<String>, CodeGroup)> = Vec::new();
        for (number, group) in map["group"].as_array().into_iter().flatten().enumerate() {
            let place = format!("ConceptMap.group[{number}]");
            let source = group["source"].as_str().map(|uri| systems.name(uri));
            let found = match read.iter_mut().find(|(known, _)| *known == source) {
                Some((_, found)) => found,
                None => {
                    let new = CodeGroup {
                        target: group["target"].as_str().unwrap_or_default().to_owned(),
                        ..CodeGroup::default()
                    };
                    read.push((source, new));
                    match read.last_mut() {
                        Some((_, found)) => found,
                        None => continue,
                    }
                }
            };
            import_group(group, found, &mut table.rest, &place)?;
        }
        if read.is_empty() {
            return Err(error(
                "ConceptMap",
                "it has no groups, so there is nothing to look up",
            ));
        }
        // Systems with the same codes share a group.
        for (source, mut group) in read {
            match table.groups.iter_mut().find(|known| {
                known.same_codes(&group) && !known.source.is_empty() && source.is_some()
            }) {
                Some(known) => known.source.extend(source),
                None => {
                    group.source.extend(source);
                    table.groups.push(group);
                }
            }
        }
        Ok(table)
    }
}

impl CodeGroup {
    fn same_codes(&self, other: &CodeGroup) -> bool {
        (&self.target, &self.codes, self.same_rest, &self.default)
            == (&other.target, &other.codes, other.same_rest, &other.default)
    }
}

fn own_name(map: &Value) -> Option<String> {
    ["title", "name", "id"]
        .into_iter()
        .filter_map(|key| map[key].as_str())
        .find(|name| is_table_name(name))
        .map(str::to_owned)
}

fn is_table_name(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    name.len() <= 200 && name.split('/').all(part)
}

fn import_group(
    json: &Value,
    group: &mut CodeGroup,
    rest: &mut Option<String>,
    place: &str,
) -> Result<(), ConceptMapError> {
    let system = json["target"].as_str().unwrap_or_default();
    let system = (system != group.target).then(|| system.to_owned());
    for (number, element) in json["element"].as_array().into_iter().flatten().enumerate() {
        let place = format!("{place}.element[{number}]");
        let Some(code) = element["code"].as_str() else {
            return Err(error(&place, "it has no code"));
        };
        let name = element["display"].as_str().map(str::to_owned);
        let mut targets = Vec::new();
        for (number, target) in element["target"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let place = format!("{place}.target[{number}]");
            for odd in ["dependsOn", "product"] {
                if target.get(odd).is_some() {
                    return Err(error(
                        &place,
                        &format!("a table can't hold `{odd}`: write this as rules with conditions"),
                    ));
                }
            }
            targets.extend(import_target(target, system.as_ref(), &place)?);
        }
        match group.codes.iter_mut().find(|known| known.code == code) {
            Some(known) => known.targets.extend(targets),
            None => group.codes.push(CodeEntry {
                code: code.to_owned(),
                name,
                targets,
            }),
        }
    }
    let unmapped = &json["unmapped"];
    match unmapped["mode"].as_str() {
        None => {}
        Some("provided") => group.same_rest = true,
        Some("fixed") => {
            let code = unmapped["code"].as_str();
            let code = code
                .ok_or_else(|| error(&format!("{place}.unmapped"), "mode `fixed` needs a code"))?;
            group.default = Some(CodeTarget {
                code: code.to_owned(),
                display: unmapped["display"].as_str().map(str::to_owned),
                system,
                ..CodeTarget::default()
            });
        }
        Some("other-map") => {
            let url = unmapped["url"].as_str();
            let url = url.ok_or_else(|| {
                error(&format!("{place}.unmapped"), "mode `other-map` needs a url")
            })?;
            let name = url
                .strip_prefix(TABLE)
                .or_else(|| url.split('|').next()?.rsplit('/').next())
                .unwrap_or(url);
            *rest = Some(name.to_owned());
        }
        Some(other) => {
            return Err(error(
                &format!("{place}.unmapped"),
                &format!("`{other}` is no mode: provided, fixed or other-map"),
            ));
        }
    }
    Ok(())
}

/// Nothing for a target that only says that there is none.
fn import_target(
    json: &Value,
    system: Option<&String>,
    place: &str,
) -> Result<Option<CodeTarget>, ConceptMapError> {
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let equivalence = text("equivalence");
    if let Some(odd) = equivalence
        .as_deref()
        .filter(|word| !EQUIVALENCES.contains(word))
    {
        return Err(error(
            place,
            &format!(
                "`{odd}` is no equivalence of FHIR R4: {}",
                EQUIVALENCES.join(", ")
            ),
        ));
    }
    let target = CodeTarget {
        code: text("code").unwrap_or_default(),
        display: text("display"),
        system: system.cloned(),
        equivalence: equivalence.filter(|word| word != "equivalent"),
        comment: text("comment"),
    };
    if target.code.is_empty() && target.is_target() {
        return Err(error(
            place,
            "a target needs a code, or the equivalence `unmatched`",
        ));
    }
    let says_nothing = target.code.is_empty()
        && target.comment.is_none()
        && target.equivalence.as_deref() == Some("unmatched");
    Ok(Some(target).filter(|_| !says_nothing))
}
