//! The Fhirway gateway: HL7 v2 messages in, FHIR Bundles out, nothing lost, doubled or silently dropped.
//!
//! Two screens tell the whole story: [`receive`] (a frame becomes a stored record and an ACK) and [`deliver`]
//! (a record becomes a Bundle at a FHIR server). They share only the queue. Around them stand the
//! configuration, the listeners, what can be observed, and the commands of the `fhirway` binary.
//!
//! Architecture invariant: this is the only crate that sees all others. What it adds is wiring; protocol,
//! mapping, storage and HTTP live in their own crates and know nothing of each other.

pub mod amqp;
pub mod announce;
pub mod cli;
pub mod config;
pub mod control;
pub mod convert;
pub mod deliver;
pub mod events;
pub mod gateway;
pub mod health;
pub mod keys;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod misses;
pub mod newest;
pub mod packages;
pub mod pages;
pub mod receive;
pub mod reload;
pub mod repository;
pub mod routes;
pub mod shutdown;
pub mod terminology;
pub mod traffic;
pub mod watch;
