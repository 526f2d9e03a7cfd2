//! One HTTP/1.1 exchange by hyper: a pool of kept connections, the name resolved anew for each connection, an
//! answer read up to a limit. What goes wrong is told apart by one question: can the server have acted on it?

use std::error::Error as StdError;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;

use crate::answer::Answer;
use crate::auth::AuthError;
use crate::coding;
use crate::retry_after;

/// Shorter than what servers and load balancers usually keep idle connections for (60 s and more): fewer requests
/// meet a connection that is just being closed, and a changed address is noticed.
const IDLE: Duration = Duration::from_secs(20);
const USER_AGENT: &str = concat!("fhirway/", env!("CARGO_PKG_VERSION"));

/// A request as HTTP, without its credential until [`crate::auth::Authorize`] adds it.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

/// Why there is no answer. The text never holds anything of the request or response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Credential(#[from] AuthError),
    /// Certificates or protocol versions do not agree; nothing of the request was sent.
    #[error("tls: {0}")]
    Tls(String),
    /// No connection; nothing was sent.
    #[error("no connection: {0}")]
    NoConnection(&'static str),
    /// A kept connection closed before the request went out.
    #[error("connection closed before sending")]
    NotSent,
    /// The connection broke after sending began: stored or not, nobody knows.
    #[error("connection lost after sending")]
    Lost,
    /// The answer is not HTTP.
    #[error("answer is not http")]
    NotHttp,
    /// The answer is compressed in a way that was not asked for, or damaged.
    #[error("answer cannot be decompressed")]
    Coding,
}

/// The innermost service.
#[derive(Clone)]
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    max_response_bytes: usize,
}

// === impl HttpClient ===

impl HttpClient {
    pub(crate) fn new(
        tls: rustls::ClientConfig,
        connect_timeout: Duration,
        idle_connections: usize,
        max_response_bytes: usize,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle_connections)
            .build(connector);
        Self {
            client,
            max_response_bytes,
        }
    }
}

impl Service<Outgoing> for HttpClient {
    type Response = Answer;
    type Error = SendError;
    type Future = BoxFuture<'static, Result<Answer, SendError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        let mut request = http::Request::new(Full::new(outgoing.body));
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = outgoing.uri;
        *request.headers_mut() = outgoing.headers;
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if let Some(credential) = outgoing.authorization {
            headers.insert(header::AUTHORIZATION, credential);
        }
        let sending = self.client.request(request);
        let limit = self.max_response_bytes;
        Box::pin(async move {
            let response = sending.await.map_err(|error| SendError::of(&error))?;
            read(response, limit).await
        })
    }
}

/// Reads an answer up to `limit` bytes. The rest is left unread, and the connection is closed with it.
async fn read(response: http::Response<Incoming>, limit: usize) -> Result<Answer, SendError> {
    let (head, mut incoming) = response.into_parts();
    let mut body = BytesMut::new();
    let mut truncated = false;
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| SendError::Lost)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let room = limit.saturating_sub(body.len());
        body.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            truncated = true;
            break;
        }
    }
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let mut body = body.freeze();
    match text(header::CONTENT_ENCODING).map(str::trim) {
        None | Some("" | "identity") => {}
        // Cut off: nothing of it can be used.
        Some("gzip" | "x-gzip") if truncated => body = Bytes::new(),
        // The limit is for what it is unpacked, too: a few bytes must not become all memory.
        Some("gzip" | "x-gzip") if !body.is_empty() => {
            let (unpacked, more) = coding::gunzip(&body, limit).ok_or(SendError::Coding)?;
            truncated |= more;
            body = unpacked.into();
        }
        Some("gzip" | "x-gzip") => {}
        Some(_) => return Err(SendError::Coding),
    }
    let content_type = text(header::CONTENT_TYPE).map(str::to_owned);
    if !truncated
        && content_type
            .as_deref()
            .is_some_and(|found| found.to_ascii_lowercase().contains("xml"))
        && let Some(json) = coding::to_json(&body, limit)
    {
        body = json.into();
    }
    let retry_after = text(header::RETRY_AFTER)
        .and_then(|value| retry_after::parse(value, text(header::DATE), SystemTime::now()));
    Ok(Answer {
        status: head.status.as_u16(),
        retry_after,
        content_type,
        location: text(header::LOCATION)
            .or_else(|| text(header::CONTENT_LOCATION))
            .map(str::to_owned),
        etag: text(header::ETAG).map(str::to_owned),
        body,
        truncated,
    })
}

// === impl SendError ===

impl SendError {
    /// Whether the same question may be answered later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::NoConnection(_) | Self::NotSent | Self::Lost)
    }

    fn of(error: &ClientError) -> Self {
        if let Some(tls) = find::<rustls::Error>(error) {
            // A server that wants a client certificate says so only after the handshake (TLS 1.3), so this is
            // looked at before asking whether the connection stood.
            if error.is_connect() || is_certificate_alert(tls) {
                return Self::Tls(tls.to_string());
            }
        }
        if error.is_connect() {
            return Self::NoConnection(connect_reason(error));
        }
        match find::<hyper::Error>(error) {
            Some(cause) if cause.is_parse() => Self::NotHttp,
            Some(cause) if cause.is_canceled() || cause.is_closed() => Self::NotSent,
            _ => Self::Lost,
        }
    }
}

/// The first cause of type `E`, also inside an `io::Error`, which hides its cause from `source`.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<E>() {
            return Some(found);
        }
        next = match cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(hidden) => Some(hidden),
            None => cause.source(),
        };
    }
    None
}

fn is_certificate_alert(error: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        error,
        rustls::Error::AlertReceived(
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::HandshakeFailure
        )
    )
}

fn connect_reason(error: &ClientError) -> &'static str {
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "refused",
        Some(io::ErrorKind::TimedOut) => "timed out",
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted) => "reset",
        Some(io::ErrorKind::UnexpectedEof) => "closed in the tls handshake",
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => "unreachable",
        // hyper-util says "dns error" in a private type; its text is fixed.
        _ if chain_says(error, "dns error") => "name not resolved",
        _ => "failed",
    }
}

fn chain_says(error: &(dyn StdError + 'static), words: &str) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.to_string().starts_with(words) {
            return true;
        }
        next = cause.source();
    }
    false
}
