//! What the tests share: the built `fhirway` as a process, a scripted FHIR server, an MLLP client that is not
//! ours, and invented messages. See `tests/README.md`.
#![allow(dead_code, unused_imports)] // each test binary uses its own part

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

mod command;
mod feed;
mod fhir_server;
mod messages;
mod mllp_client;
mod process;
mod random;

pub use command::{Command, Ran};
pub use feed::Feed;
pub use fhir_server::{Answer, FhirServer, Request, statement};
pub use messages::{admit, message_of, results, update};
pub use mllp_client::{Ack, MllpClient, frame};
pub use process::{FhirwayTest, Gateway};
pub use random::Random;

/// A guard against hanging, nothing else: no test passes or fails by how fast the machine is.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How often a condition is looked at again.
const LOOK: Duration = Duration::from_millis(15);

/// Waits until `look` has something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The same for a future that may hang.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
