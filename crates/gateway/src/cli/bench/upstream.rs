//! A FHIR server that says yes to every transaction at once, or that is down.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::super::Failure;

/// What a server says that has carried out a transaction and does not tell more.
const DONE: &str = r#"{"resourceType":"Bundle","type":"transaction-response"}"#;

/// Starts the server; it lives as long as the runtime.
pub(super) async fn start(down: bool) -> Result<SocketAddr, Failure> {
    let failed = |error: std::io::Error| Failure::run(&error);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| answer(request, down)),
            );
            tokio::spawn(connection);
        }
    });
    Ok(address)
}

async fn answer(
    request: Request<Incoming>,
    down: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // The whole request is read, as a server would.
    let read = request.into_body().collect().await.is_ok();
    let mut response = Response::new(Full::new(Bytes::from_static(DONE.as_bytes())));
    if down || !read {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        *response.body_mut() = Full::default();
    }
    let json = http::HeaderValue::from_static("application/fhir+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}
