//! FHIR R4 knowledge: documents as trees, element definitions, Bundles, validation. Pure: no files, clock or network.

mod names;
pub mod tree;

pub use names::NameId;
