//! Short retries: what is likely to succeed within a fraction of a second, as a policy for tower's retry layer.
//!
//! Everything that needs longer goes back to the queue with a wait; see [`crate::Failure::action`].

use std::future::Future;
use std::pin::Pin;

use tower::retry::Policy;

use crate::backoff;
use crate::config;
use crate::failure::{Class, Failure};
use crate::request::{Delivered, Request};

/// The policy of one call; tower clones it per call, so the count starts anew.
#[derive(Clone)]
pub(crate) struct ShortRetry {
    settings: config::Retry,
    done: u32,
}

// === impl ShortRetry ===

impl ShortRetry {
    pub(crate) fn new(settings: config::Retry) -> Self {
        Self { settings, done: 1 }
    }
}

impl Policy<Request, Delivered, Failure> for ShortRetry {
    type Future = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn retry(
        &mut self,
        request: &mut Request,
        result: &mut Result<Delivered, Failure>,
    ) -> Option<Self::Future> {
        let failure = result.as_ref().err()?;
        if self.done >= self.settings.short_attempts || !is_short(failure) {
            return None;
        }
        if failure.class == Class::Mixed {
            narrow(request, failure);
        }
        let limit = backoff::ceiling(
            self.settings.short_wait,
            self.settings.short_wait.saturating_mul(4),
            self.done - 1,
        );
        self.done += 1;
        Some(Box::pin(tokio::time::sleep(backoff::jittered(
            limit,
            backoff::draw(),
        ))))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}

/// Whether a failure tends to be over in no time. 5xx and refused connections are not: an ailing server needs
/// fewer requests, not more.
fn is_short(failure: &Failure) -> bool {
    match failure.class {
        Class::Conflict => true,
        // A request cut off by a reset; the deadline is outside of this layer and never seen here.
        Class::Ambiguous => true,
        Class::Transient => failure.status.is_none() && failure.detail.contains("before sending"),
        Class::Mixed => failure
            .entries
            .iter()
            .any(|entry| entry.class.is_retryable()),
        _ => false,
    }
}

/// Sends only the retryable entries of a batch again, and remembers those that are refused for good.
fn narrow(request: &mut Request, failure: &Failure) {
    let (again, refused): (Vec<_>, Vec<_>) = failure
        .entries
        .iter()
        .partition(|entry| entry.class.is_retryable());
    request.entries = Some(again.into_iter().map(|entry| entry.index).collect());
    request.refused = refused.into_iter().cloned().collect();
}
