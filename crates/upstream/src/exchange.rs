//! Turns a request into HTTP and the answer into [`Delivered`] or [`Failure`]: below this layer there are statuses,
//! above it classes.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tower::Service;

use crate::answer::{Answer, Summary};
use crate::classify;
use crate::config::{Config, ConfigError};
use crate::entries;
use crate::failure::{Class, EntryFailure, Failure};
use crate::http_client::{Outgoing, SendError};
use crate::request::{Delivered, Kind, Request};

pub(crate) const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The layer's service.
#[derive(Clone)]
pub(crate) struct Exchange<S> {
    inner: S,
    target: Arc<Target>,
}

/// Where to post, with the headers that every request has.
pub(crate) struct Target {
    pub(crate) base: Uri,
    pub(crate) headers: HeaderMap,
    prefer: Option<HeaderValue>,
}

// === impl Target ===

impl Target {
    pub(crate) fn new(base: Uri, config: &Config) -> Result<Self, ConfigError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, FHIR_JSON);
        headers.extend(config.extra_headers()?);
        Ok(Self {
            base,
            headers,
            prefer: config.prefer.value(),
        })
    }

    fn post(&self, request: &Request) -> Outgoing {
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, FHIR_JSON);
        if let Some(prefer) = &self.prefer {
            headers.insert(PREFER, prefer.clone());
        }
        if let Some(id) = request.request_id_header() {
            headers.insert(REQUEST_ID, id);
        }
        Outgoing {
            method: Method::POST,
            uri: self.base.clone(),
            headers,
            authorization: None,
            body: request.body.clone(),
        }
    }
}

// === impl Exchange ===

impl<S> Exchange<S> {
    pub(crate) fn new(inner: S, target: Arc<Target>) -> Self {
        Self { inner, target }
    }
}

impl<S> Service<Request> for Exchange<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError>,
    S::Future: Send + 'static,
{
    type Response = Delivered;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Delivered, Failure>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner
            .poll_ready(context)
            .map_err(|error| classify::unanswered(&error))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (outgoing, sent) = match self.prepare(&request) {
            Ok(prepared) => prepared,
            Err(failure) => return Box::pin(std::future::ready(Err(failure))),
        };
        let answer = self.inner.call(outgoing);
        Box::pin(async move {
            let result = match answer.await {
                Ok(answer) => classify::answered(request.kind, sent, &answer),
                Err(error) => Err(classify::unanswered(&error)),
            };
            widen(request, result)
        })
    }
}

impl<S> Exchange<S> {
    /// The HTTP request, and for a batch the number of entries in it.
    fn prepare(&self, request: &Request) -> Result<(Outgoing, Option<usize>), Failure> {
        let mut outgoing = self.target.post(request);
        if request.kind == Kind::Transaction {
            return Ok((outgoing, None));
        }
        let unusable = |_| Failure::new(Class::Permanent, "batch is not readable as a Bundle");
        let sent = match &request.entries {
            Some(places) => {
                let (body, count) = entries::select(&request.body, places).map_err(unusable)?;
                outgoing.body = body;
                count
            }
            None => entries::count(&request.body).map_err(unusable)?,
        };
        Ok((outgoing, Some(sent)))
    }
}

/// Gives failed entries their places in the whole Bundle again, and adds those refused in an earlier try.
fn widen(request: Request, result: Result<Delivered, Failure>) -> Result<Delivered, Failure> {
    let place = |index: usize| match &request.entries {
        Some(places) => places.get(index).copied().unwrap_or(index),
        None => index,
    };
    match result {
        Ok(delivered) if request.refused.is_empty() => Ok(delivered),
        Ok(delivered) => Err(Failure {
            status: Some(delivered.status),
            entries: request.refused,
            body: delivered.body,
            ..Failure::new(Class::Mixed, "")
        }),
        Err(mut failure) if failure.class == Class::Mixed => {
            for entry in &mut failure.entries {
                entry.index = place(entry.index);
            }
            failure.entries.extend(request.refused);
            failure
                .entries
                .sort_by_key(|entry: &EntryFailure| entry.index);
            Err(failure)
        }
        // Some entries are refused for good, and what became of the others is not known: the others again.
        Err(failure) if !request.refused.is_empty() && failure.class.is_retryable() => {
            let class = failure.class;
            let mut failed = request.refused;
            failed.extend(
                request
                    .entries
                    .into_iter()
                    .flatten()
                    .map(|index| EntryFailure {
                        index,
                        status: failure.status.unwrap_or(0),
                        class,
                        summary: Summary::clone(&failure.summary),
                    }),
            );
            failed.sort_by_key(|entry| entry.index);
            Err(Failure {
                class: Class::Mixed,
                entries: failed,
                ..failure
            })
        }
        Err(failure) => Err(failure),
    }
}
