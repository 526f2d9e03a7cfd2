//! MLLP on tokio: a frame codec, a server generic over a [`tower::Service`] of frames, and a
//! client. Knows no HL7.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use mllp::{Frame, Reply, Server};
//!
//! # async fn example() -> std::io::Result<()> {
//! let service = tower::service_fn(|frame: Frame| async move {
//!     let reply = match frame.must_refuse() {
//!         None => Reply::Frame(Bytes::from(format!("{} bytes", frame.payload.len()))),
//!         Some(_) => Reply::FrameThenClose(Bytes::from_static(b"not a whole frame")),
//!     };
//!     Ok::<_, Infallible>(reply)
//! });
//! let server = Server::builder().bind("127.0.0.1:2575").await?;
//! server.serve(service, async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
//! # Ok(())
//! # }
//! ```
//!
//! The promises:
//! - A frame reaches the service only when it was read to its end, or marked as one that [must be
//!   refused](Frame::must_refuse).
//! - Answers are written in the order of the frames, each frame in one write.
//! - Reading forgives what real senders do, each [`Tolerance`] by name, counted, and switchable per
//!   listener. Writing is strict.
//! - A sender can use up only its own [`Limits`]; what ends its connection ends no other.
//! - Nothing of a payload is ever in an error, an event or a `Debug` output.

mod certificate;
mod client;
pub mod codec;
mod connection;
mod error;
mod frame;
mod limits;
mod observer;
mod outgoing;
mod server;
mod slots;
mod tls;
mod tolerance;

pub use certificate::ClientCertFacts;
pub use client::{Client, ClientError, ClientOptions};
pub use codec::{Codec, Commit, RawFrame};
pub use error::{Foreign, FrameError};
pub use frame::{Frame, OVERSIZE_PREFIX, Peer, Refusal, Reply};
pub use limits::Limits;
pub use observer::{
    CloseReason, ConnectionTotals, NoObserver, Observer, RejectReason, TlsFailure, Undelivered,
};
pub use server::{Drained, Server, ServerBuilder};
pub use tls::{ClientAuth, ClientTls, ClientTlsFiles, ServerTls, ServerTlsFiles, TlsError};
pub use tolerance::{FrameWarning, Tolerance, Tolerances};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
