//! What a server says it can do: the parts of its CapabilityStatement that delivery depends on.

use serde::Deserialize;

use crate::config::Format;

/// The parts of `GET {base}/metadata` (FHIR R4 capabilitystatement.html) that delivery depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capability {
    /// `4.0.1` for R4.
    pub fhir_version: String,
    /// Name and version of the software, if told.
    pub software: Option<String>,
    /// The formats as told: `json`, `application/fhir+json`, …
    pub formats: Vec<String>,
    /// Whether the server takes transactions.
    pub transaction: bool,
    /// Whether the server takes batches.
    pub batch: bool,
    /// The resource types in the order told.
    pub resources: Vec<ResourceCapability>,
}

/// What a server says of one resource type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceCapability {
    /// `Patient`.
    pub type_name: String,
    /// The interactions: `create`, `update`, `read`, …
    pub interactions: Vec<String>,
    /// `PUT Type/id` may make a new resource: needed for client-made ids.
    pub update_create: bool,
    /// `ifNoneExist` is obeyed.
    pub conditional_create: bool,
    /// `PUT Type?…` is obeyed.
    pub conditional_update: bool,
    /// `versioning` is `versioned-update`: an update must name the version that it replaces.
    pub insists_on_versions: bool,
    /// The search parameters: `identifier`, …
    pub search_parameters: Vec<String>,
}

/// Why capabilities are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// The server did not answer with 2xx.
    #[error(transparent)]
    Failure(Box<crate::Failure>),
    /// The answer is not a CapabilityStatement.
    #[error("answer of /metadata is not a CapabilityStatement")]
    NotCapability,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    resource_type: String,
    #[serde(default)]
    fhir_version: String,
    software: Option<Software>,
    #[serde(default)]
    format: Vec<String>,
    #[serde(default)]
    rest: Vec<Rest>,
}

#[derive(Deserialize)]
struct Software {
    #[serde(default)]
    name: String,
    version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rest {
    #[serde(default)]
    mode: String,
    #[serde(default)]
    interaction: Vec<Coded>,
    #[serde(default)]
    resource: Vec<Resource>,
}

#[derive(Deserialize)]
struct Coded {
    #[serde(default)]
    code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    #[serde(rename = "type", default)]
    type_name: String,
    #[serde(default)]
    interaction: Vec<Coded>,
    #[serde(default)]
    update_create: bool,
    #[serde(default)]
    conditional_create: bool,
    #[serde(default)]
    conditional_update: bool,
    #[serde(default)]
    versioning: String,
    #[serde(default)]
    search_param: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

// === impl Capability ===

impl Capability {
    /// Reads a CapabilityStatement as JSON.
    ///
    /// # Errors
    /// [`CapabilityError::NotCapability`] when it is something else.
    pub fn read(json: &[u8]) -> Result<Self, CapabilityError> {
        let statement: Statement =
            serde_json::from_slice(json).map_err(|_| CapabilityError::NotCapability)?;
        if statement.resource_type != "CapabilityStatement" {
            return Err(CapabilityError::NotCapability);
        }
        let rest = statement
            .rest
            .into_iter()
            .find(|rest| rest.mode == "server");
        let (interactions, resources) = rest
            .map(|rest| (codes(rest.interaction), rest.resource))
            .unwrap_or_default();
        Ok(Self {
            fhir_version: statement.fhir_version,
            software: statement.software.map(|software| match software.version {
                Some(version) => format!("{} {version}", software.name),
                None => software.name,
            }),
            formats: statement.format,
            transaction: interactions.iter().any(|code| code == "transaction"),
            batch: interactions.iter().any(|code| code == "batch"),
            resources: resources.into_iter().map(ResourceCapability::of).collect(),
        })
    }

    /// What is said of one resource type.
    pub fn resource(&self, type_name: &str) -> Option<&ResourceCapability> {
        self.resources
            .iter()
            .find(|resource| resource.type_name == type_name)
    }

    /// Whether requests and answers may be in this format. A server that names none is believed to know the usual one.
    pub fn takes(&self, format: Format) -> bool {
        let word = format.as_str();
        match self.formats.as_slice() {
            [] => format == Format::Json,
            formats => formats
                .iter()
                .any(|told| told.to_ascii_lowercase().contains(word)),
        }
    }

    /// Whether it is an R4 server.
    pub fn is_r4(&self) -> bool {
        self.fhir_version == "4.0" || self.fhir_version.starts_with("4.0.")
    }
}

// === impl ResourceCapability ===

impl ResourceCapability {
    fn of(resource: Resource) -> Self {
        Self {
            type_name: resource.type_name,
            interactions: codes(resource.interaction),
            update_create: resource.update_create,
            conditional_create: resource.conditional_create,
            conditional_update: resource.conditional_update,
            insists_on_versions: resource.versioning == "versioned-update",
            search_parameters: resource
                .search_param
                .into_iter()
                .map(|parameter| parameter.name)
                .collect(),
        }
    }
}

fn codes(coded: Vec<Coded>) -> Vec<String> {
    coded.into_iter().map(|coded| coded.code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement() {
        let json = br#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","software":{"name":"Repo","version":"1"},
            "format":["json"],"rest":[{"mode":"client"},{"mode":"server","interaction":[{"code":"transaction"}],
            "resource":[{"type":"Patient","interaction":[{"code":"read"}],"updateCreate":true,"searchParam":[{"name":"identifier","type":"token"}]}]}]}"#;
        let capability = Capability::read(json).unwrap();
        assert!(capability.is_r4() && capability.transaction && !capability.batch);
        assert_eq!(capability.software.as_deref(), Some("Repo 1"));
        let patient = capability.resource("Patient").unwrap();
        assert!(patient.update_create && !patient.conditional_update);
        assert_eq!(patient.search_parameters, ["identifier"]);
        assert!(capability.resource("Observation").is_none());
    }

    #[test]
    fn something_else() {
        for json in [&b"<html>"[..], br#"{"resourceType":"Patient"}"#, b"{}"] {
            assert!(Capability::read(json).is_err());
        }
    }
}
