//! The Fhirway gateway: HL7 v2 messages in, FHIR Bundles out, nothing lost, doubled or silently dropped.
//!
//! Two screens tell the whole story: [`receive`] (a frame becomes a stored record and an ACK) and [`deliver`]
//! (a record becomes a Bundle at a FHIR server). They share only the queue. Around them stand the
//! configuration, the listeners, what can be observed, and the commands of the `fhirway` binary.

pub mod config;
pub mod logging;
pub mod predicate;
pub mod repository;
pub mod traffic;
