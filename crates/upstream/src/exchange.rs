//! Turns a request into HTTP and the answer into [`Delivered`] or [`Failure`]: below this layer there are statuses,
//! above it classes.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tower::{Service, ServiceExt};

use crate::answer::{Answer, Summary};
use crate::classify;
use crate::coding;
use crate::config::{Compression, Config, ConfigError, Format};
use crate::entries;
use crate::failure::{Class, EntryFailure, Failure};
use crate::http_client::{Outgoing, SendError};
use crate::request::{Call, Delivered, Kind, Request};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");
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
    format: Format,
    compression: Compression,
}

/// Bytes of a body that are worth compressing.
const WORTH_COMPRESSING: usize = 1024;
/// Bytes of a body whose encoding may take longer than a request may hold up others.
const LARGE: usize = 256 * 1024;

// === impl Target ===

impl Target {
    pub(crate) fn new(base: Uri, config: &Config) -> Result<Self, ConfigError> {
        let mut headers = HeaderMap::new();
        let media_type = HeaderValue::from_static(config.format.media_type());
        headers.insert(ACCEPT, media_type);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.extend(config.extra_headers()?);
        Ok(Self {
            base,
            headers,
            prefer: config.prefer.value(),
            format: config.format,
            compression: config.compression,
        })
    }

    fn post(&self, request: &Request) -> Outgoing {
        let mut headers = self.headers.clone();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(self.format.media_type()),
        );
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

    /// An address below the base.
    pub(crate) fn below(&self, path: &str) -> Option<Uri> {
        let mut parts = self.base.clone().into_parts();
        let path = format!("{}/{path}", self.base.path().trim_end_matches('/'));
        parts.path_and_query = Some(path.parse().ok()?);
        Uri::from_parts(parts).ok()
    }

    /// The request for one resource.
    fn call(&self, request: &Request, call: &Call) -> Option<Outgoing> {
        let mut outgoing = self.post(request);
        outgoing.method = call.method.clone();
        outgoing.uri = self.below(&call.path)?;
        for (name, value) in [
            (CONTENT_TYPE, &call.content_type),
            (IF_NONE_EXIST, &call.if_none_exist),
            (IF_NONE_MATCH, &call.if_none_match),
            (IF_MATCH, &call.if_match),
        ] {
            if let Some(value) = value {
                outgoing.headers.insert(name, value.parse().ok()?);
            }
        }
        Some(outgoing)
    }
}

/// The body in the format and the coding that the destination wants.
async fn encode(
    outgoing: Outgoing,
    format: Format,
    compression: Compression,
) -> Result<Outgoing, Failure> {
    let is_fhir = outgoing
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|found| found == format.media_type());
    let to_xml = format == Format::Xml && is_fhir && !outgoing.body.is_empty();
    let to_gzip = compression == Compression::Gzip && outgoing.body.len() >= WORTH_COMPRESSING;
    if !to_xml && !to_gzip {
        return Ok(outgoing);
    }
    if outgoing.body.len() < LARGE {
        return encode_now(outgoing, to_xml, to_gzip);
    }
    tokio::task::spawn_blocking(move || encode_now(outgoing, to_xml, to_gzip))
        .await
        .unwrap_or_else(|_| Err(Failure::new(Class::Permanent, "body cannot be encoded")))
}

fn encode_now(mut outgoing: Outgoing, to_xml: bool, to_gzip: bool) -> Result<Outgoing, Failure> {
    if to_xml {
        let xml = coding::to_xml(&outgoing.body);
        let xml = xml.map_err(|why| Failure::new(Class::Permanent, why))?;
        outgoing.body = Bytes::from(xml);
    }
    if to_gzip && let Some(small) = coding::gzip(&outgoing.body) {
        outgoing.body = Bytes::from(small);
        let coding = HeaderValue::from_static("gzip");
        outgoing.headers.insert(CONTENT_ENCODING, coding);
    }
    Ok(outgoing)
}

// === impl Exchange ===

impl<S> Exchange<S> {
    pub(crate) fn new(inner: S, target: Arc<Target>) -> Self {
        Self { inner, target }
    }
}

impl<S> Service<Request> for Exchange<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone + Send + 'static,
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
        let (format, compression) = (self.target.format, self.target.compression);
        let inner = self.inner.clone();
        Box::pin(async move {
            let outgoing = encode(outgoing, format, compression).await?;
            let result = match (inner.oneshot(outgoing).await, &request.call) {
                (Ok(answer), Some(call)) => {
                    classify::answered_single(call.if_none_match.is_some(), &answer)
                }
                (Ok(answer), None) => classify::answered(request.kind, sent, &answer),
                (Err(error), _) => Err(classify::unanswered(&error)),
            };
            widen(request, result)
        })
    }
}

impl<S> Exchange<S> {
    /// The HTTP request, and for a batch the number of entries in it.
    fn prepare(&self, request: &Request) -> Result<(Outgoing, Option<usize>), Failure> {
        if let Some(call) = &request.call {
            let call = self.target.call(request, call);
            let unusable = || Failure::new(Class::Permanent, "entry cannot be an address");
            return Ok((call.ok_or_else(unusable)?, None));
        }
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
