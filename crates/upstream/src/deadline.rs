//! The total deadline of one request. A server that hangs, or answers a byte per second, meets it.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tower::Service;

use crate::failure::{Class, Failure};
use crate::request::{Delivered, Request};

/// The layer's service. tower's own timeout boxes its errors; this one answers with a [`Failure`].
#[derive(Clone)]
pub(crate) struct Deadline<S> {
    inner: S,
    limit: Duration,
}

impl<S> Deadline<S> {
    pub(crate) fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl<S> Service<Request> for Deadline<S>
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
        let answer = tokio::time::timeout(self.limit, self.inner.call(request));
        Box::pin(async move {
            // Dropping the exchange closes its connection, so a late answer meets nobody.
            answer
                .await
                .unwrap_or_else(|_| Err(Failure::new(Class::Ambiguous, "deadline passed")))
        })
    }
}
