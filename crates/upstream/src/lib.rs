//! Delivers FHIR Bundles to a FHIR server over HTTP, and says what became of each one.
//!
//! The crate is one tower stack in front of one FHIR base URL (see [`stack()`], in `stack.rs`, where
//! every layer says why it sits where it does). It knows no HL7 v2 and no queue: bytes of a Bundle go
//! in, and either a [`Delivered`] or a [`Failure`] comes out. A failure names its [`Class`] and the
//! [`Action`] that the caller is to take, so nobody else needs to read status codes.
//!
//! Who waits: the stack itself only retries what is likely to succeed in well under a second (a
//! connection that was reset, an edit conflict, throttled entries of a batch). Anything longer comes
//! back as [`Action::Retry`] and belongs to the queue: a slot towards the server is never held by a
//! sleeping request.
//!
//! Who pauses: when the server is down, throttles, refuses the credential or fails TLS, the circuit
//! opens. [`Stack::state`] is a watch channel and [`Stack::ready`] a future for the dispatcher, which
//! leases nothing while the circuit is open. An open circuit pauses; it does not fail messages.
//!
//! What it does not do: it follows no redirect (a credential must not wander), it keeps no state on
//! disk, and no response text ever reaches a log, a `Debug` or a `Display`.

mod answer;
mod auth;
mod backoff;
mod breaker;
mod bundle;
mod capability;
mod classify;
mod coding;
mod config;
mod deadline;
mod entries;
mod exchange;
mod failure;
mod http_client;
mod limit;
mod needs;
mod oauth;
mod observe;
mod parts;
mod request;
mod retry;
mod retry_after;
mod stack;
mod tls;

pub use answer::{Code, IssueSummary, Severity, Summary};
pub use auth::{AuthError, Authenticator};
pub use breaker::{Reason, State};
pub use capability::{Capability, CapabilityError, ResourceCapability};
pub use config::{
    Auth, Breaker, ClientCertificate, Compression, Config, ConfigError, Format, Prefer, Retry,
    Split, Tls,
};
pub use failure::{Action, Class, EntryFailure, Failure};
pub use needs::{Finding, Interaction, Needs, TypeNeeds, Verdict};
pub use oauth::{OAuth2, Proof, SigningKey, SigningKeys, TokenEndpoint};
pub use observe::{Attempt, Observer};
pub use request::{Call, Delivered, Entry, Kind, Request};
pub use stack::{Stack, stack, stack_with};

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
