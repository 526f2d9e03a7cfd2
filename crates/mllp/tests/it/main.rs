//! Tests of the crate over real sockets. Waiting is bounded only so that a failure does not hang:
//! no test depends on speed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

mod certificates;
mod client;
mod codec;
mod drain;
mod emfile;
mod framing;
mod isolation;
mod limits;
mod pipelining;
mod replies;
mod tls;
