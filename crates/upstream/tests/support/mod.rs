//! A FHIR server that does as it is told, on loopback, by hyper: one step of the script per request.
#![allow(dead_code)] // each test binary uses its own part

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const STORED: &str = r#"{"resourceType":"Bundle","type":"transaction-response","entry":[{"response":{"status":"201 Created","location":"Patient/1/_history/1","etag":"W/\"1\""}}]}"#;

/// What the server does with one request.
#[derive(Clone)]
pub enum Step {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// 200 with these bytes.
    Bytes {
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Reads the request and never answers.
    Hang,
    /// Answers 200 and then a byte now and then, without end.
    Trickle,
    /// Reads the request and closes the connection.
    Cut,
    /// Answers after a while.
    Slow(Duration),
}

pub struct Seen {
    pub method: String,
    pub path: String,
    /// Path and query.
    pub target: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

pub struct Server {
    pub address: SocketAddr,
    script: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

pub fn status(status: u16) -> Step {
    answer(status, &[], "")
}

pub fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Step {
    Step::Answer {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

impl Server {
    /// A server that goes through the script and then stores everything.
    pub async fn start(script: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, None, script)
    }

    pub fn on(
        listener: TcpListener,
        tls: Option<tokio_rustls::TlsAcceptor>,
        script: impl IntoIterator<Item = Step>,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn({
            let (script, seen, connections) = (
                Arc::clone(&script),
                Arc::clone(&seen),
                Arc::clone(&connections),
            );
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (script, seen, tls) = (Arc::clone(&script), Arc::clone(&seen), tls.clone());
                    let connection = tokio::spawn(async move {
                        match tls {
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    serve(stream, script, seen).await;
                                }
                            }
                            None => serve(stream, script, seen).await,
                        }
                    });
                    connections.lock().unwrap().push(connection);
                }
            }
        });
        Self {
            address,
            script,
            seen,
            task,
            connections,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/fhir", self.address)
    }

    pub fn then(&self, steps: impl IntoIterator<Item = Step>) {
        self.script.lock().unwrap().extend(steps);
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap()
    }

    /// Stops listening and cuts every connection.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}

async fn serve<S>(stream: S, script: Arc<Mutex<VecDeque<Step>>>, seen: Arc<Mutex<Vec<Seen>>>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| "unreadable")?.to_bytes();
            seen.lock().unwrap().push(Seen {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                target: head.uri.to_string(),
                headers: head.headers,
                body,
            });
            let step = script.lock().unwrap().pop_front();
            carry_out(step.unwrap_or_else(|| answer(200, &[], STORED))).await
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    drop(connection.await);
}

async fn carry_out(step: Step) -> Result<http::Response<Body>, &'static str> {
    match step {
        Step::Answer {
            status,
            headers,
            body,
        } => {
            let mut response = http::Response::builder().status(status);
            if headers.iter().all(|(name, _)| *name != "content-type") {
                response = response.header("content-type", "application/fhir+json");
            }
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response
                .body(Full::new(Bytes::from(body)).boxed_unsync())
                .unwrap())
        }
        Step::Bytes { headers, body } => {
            let mut response = http::Response::builder();
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response
                .body(Full::new(Bytes::from(body)).boxed_unsync())
                .unwrap())
        }
        Step::Hang => std::future::pending().await,
        Step::Cut => Err("cut"),
        Step::Slow(wait) => {
            tokio::time::sleep(wait).await;
            Ok(http::Response::new(Full::from(STORED).boxed_unsync()))
        }
        Step::Trickle => {
            let bytes = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some((Ok(Frame::data(Bytes::from_static(b" "))), ()))
            });
            Ok(http::Response::new(BodyExt::boxed_unsync(StreamBody::new(
                bytes,
            ))))
        }
    }
}
