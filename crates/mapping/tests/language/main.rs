//! The mapping language, construct by construct: small packages in memory, invented messages, and what comes out.
//! The files follow the sections of `mappings/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared by two test programs")]
mod support;

mod checks;
mod conditions;
mod coverage;
mod diagnostics;
mod diff;
mod explain;
mod fixture;
mod identity;
mod kept;
mod limits;
mod messages;
mod overlays;
mod pages;
mod parts;
mod profiles;
mod reach;
mod reports;
mod rules;
mod table_files;
mod tables;
mod templates;
mod translations;
