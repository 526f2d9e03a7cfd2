//! Versions of one resource: vread and history (<https://hl7.org/fhir/R4/http.html#history>).

use std::fmt::Write as _;

use super::Repository;
use super::content::instant;
use super::fault::Fault;
use super::interaction::{Stored, known_type, stored};
use super::store;

// === impl Repository ===

impl Repository {
    /// One version of a resource, current or past.
    ///
    /// # Errors
    /// [`Fault::NotFound`], [`Fault::Gone`] for a version that is a deletion, [`Fault::UnknownType`], [`Fault::Storage`].
    pub fn read_version(&self, type_name: &str, id: &str, version: i64) -> Result<Stored, Fault> {
        known_type(type_name)?;
        let found = store::versions(&self.lock(), type_name, id)?
            .into_iter()
            .find(|found| found.version == version)
            .ok_or(Fault::NotFound)?;
        if found.deleted {
            return Err(Fault::Gone);
        }
        Ok(stored(type_name, found))
    }

    /// A Bundle of all versions, newest first.
    pub(super) fn history(&self, type_name: &str, id: &str, base: &str) -> Result<String, Fault> {
        known_type(type_name)?;
        let versions = store::versions(&self.lock(), type_name, id)?;
        if versions.is_empty() {
            return Err(Fault::NotFound);
        }
        let mut out = format!(
            r#"{{"resourceType":"Bundle","type":"history","total":{},"entry":["#,
            versions.len()
        );
        for (place, version) in versions.into_iter().enumerate() {
            let (number, updated) = (version.version, instant(version.updated_ms));
            let (method, status) = match (version.deleted, number) {
                (true, _) => ("DELETE", "204"),
                (false, 1) => ("PUT", "201"),
                (false, _) => ("PUT", "200"),
            };
            let comma = if place == 0 { "" } else { "," };
            // Writing to a String does not fail.
            let _ = write!(out, r#"{comma}{{"fullUrl":"{base}/{type_name}/{id}","#);
            if !version.deleted {
                let _ = write!(out, r#""resource":{},"#, stored(type_name, version).json);
            }
            let _ = write!(
                out,
                r#""request":{{"method":"{method}","url":"{type_name}/{id}"}},"response":{{"status":"{status}","etag":"W/\"{number}\"","lastModified":"{updated}"}}}}"#
            );
        }
        out.push_str("]}");
        Ok(out)
    }
}
