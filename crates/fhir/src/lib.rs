//! FHIR R4 knowledge: documents as trees, element definitions, Bundles, validation. Pure: no files, clock or network.

pub mod bundle;
pub mod definitions;
mod names;
pub mod outcome;
pub mod primitive;
pub mod tree;
pub mod validate;

pub use names::NameId;
