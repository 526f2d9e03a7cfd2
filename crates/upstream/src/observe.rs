//! What others may see of a destination at work: attempts with their duration, circuit changes, concurrency.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tower::Service;

use crate::breaker::State;
use crate::failure::{Class, Failure};
use crate::request::{Delivered, Request};

/// Told of everything that metrics and logs are made of. Called on the path of requests: be quick, never block.
/// Nothing that is passed can hold PHI.
pub trait Observer: Send + Sync + 'static {
    /// One HTTP exchange is over, short retries included one by one. (A 401 that a refreshed credential repaired
    /// counts as part of one attempt.) Not called for an attempt that the deadline cut off: see [`Observer::finished`].
    fn attempt(&self, attempt: &Attempt) {
        let _ = attempt;
    }

    /// One call is over: short retries, deadline and an open circuit included.
    fn finished(&self, call: &Attempt) {
        let _ = call;
    }

    /// The circuit changed.
    fn circuit(&self, from: State, to: State) {
        let _ = (from, to);
    }

    /// A token was asked for: when the new one ends, or `None` when there is none.
    fn token(&self, ends: Option<std::time::SystemTime>) {
        let _ = ends;
    }

    /// The concurrency limit changed.
    fn concurrency(&self, limit: usize) {
        let _ = limit;
    }
}

/// One attempt or one call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Attempt {
    /// How long it took, to the last byte of the answer.
    pub duration: Duration,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// `None` when all went well.
    pub class: Option<Class>,
    /// Bytes of the Bundle.
    pub bytes: usize,
}

/// Measures the calls that pass and tells one of the observer's methods.
#[derive(Clone)]
pub(crate) struct Observe<S> {
    inner: S,
    observer: Arc<dyn Observer>,
    tell: fn(&dyn Observer, &Attempt),
}

impl Observer for () {}

// === impl Observe ===

impl<S> Observe<S> {
    /// Tells [`Observer::attempt`].
    pub(crate) fn attempts(inner: S, observer: Arc<dyn Observer>) -> Self {
        Self {
            inner,
            observer,
            tell: |observer, attempt| observer.attempt(attempt),
        }
    }

    /// Tells [`Observer::finished`].
    pub(crate) fn calls(inner: S, observer: Arc<dyn Observer>) -> Self {
        Self {
            inner,
            observer,
            tell: |observer, call| observer.finished(call),
        }
    }
}

impl<S> Service<Request> for Observe<S>
where
    S: Service<Request, Response = Delivered, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Delivered;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Delivered, Failure>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (observer, tell) = (Arc::clone(&self.observer), self.tell);
        let bytes = request.body.len();
        let started = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let result = answer.await;
            let (status, class) = match &result {
                Ok(delivered) => (Some(delivered.status), None),
                Err(failure) => (failure.status, Some(failure.class)),
            };
            let attempt = Attempt {
                duration: started.elapsed(),
                status,
                class,
                bytes,
            };
            tell(&*observer, &attempt);
            result
        })
    }
}
