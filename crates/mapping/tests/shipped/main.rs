//! The shipped maps through the library: golden pairs, the walk-through of the reference, and input that nobody meant.

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

mod explain;
mod golden;
mod robust;
mod walkthrough;
