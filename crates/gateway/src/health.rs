//! `/livez`, `/readyz` and `/metrics`.
//!
//! Ready means: what comes in can be stored (the queue acknowledges) and the ports are bound. Whether a
//! FHIR server answers does not matter here, since messages wait for it; see `fhirway_destination_state`.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use queue::Queue;

use crate::metrics::Metrics;

/// In which part of its life the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Ports are not all bound yet.
    Starting,
    /// Taking messages.
    Serving,
    /// Finishing what is in flight.
    Draining,
}

/// What the endpoints need.
#[derive(Clone)]
pub struct Health {
    phase: Arc<AtomicU8>,
    queue: Arc<dyn Queue>,
    metrics: Arc<Metrics>,
}

impl Health {
    /// Of a process that is starting.
    pub fn new(queue: Arc<dyn Queue>, metrics: Arc<Metrics>) -> Self {
        Self {
            phase: Arc::new(AtomicU8::new(Phase::Starting as u8)),
            queue,
            metrics,
        }
    }

    /// Moves to another part of life.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The endpoints.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }

    /// Why the process is not ready, if it is not.
    async fn obstacle(&self) -> Option<String> {
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == Phase::Starting as u8 {
            return Some("starting".to_owned());
        }
        if phase == Phase::Draining as u8 {
            return Some("draining".to_owned());
        }
        match self.queue.status().await {
            Ok(status) if status.stopped => {
                Some("the queue has stopped after a storage failure".to_owned())
            }
            Ok(_) => match self.queue.reachable().await {
                Ok(()) => None,
                Err(error) => Some(format!("the queue cannot store: {error}")),
            },
            Err(error) => Some(format!("the queue does not answer: {error}")),
        }
    }
}

async fn ready(State(health): State<Health>) -> Response {
    match health.obstacle().await {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    if let Ok(status) = health.queue.status().await {
        health.metrics.show_queue(&status);
    }
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        health.metrics.render(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use queue::{EmbeddedQueue, Options};
    use tower::ServiceExt;

    use super::*;

    async fn get(health: &Health, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = health.clone().router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_between_start_and_drain_and_alive_always() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Arc::new(EmbeddedQueue::open(folder.path(), Options::default()).unwrap());
        let health = Health::new(queue, Arc::new(Metrics::new(&[]).unwrap()));
        assert_eq!(get(&health, "/readyz").await, (503, "starting\n".into()));
        health.enter(Phase::Serving);
        assert_eq!(get(&health, "/readyz").await, (200, "ok\n".into()));
        health.enter(Phase::Draining);
        assert_eq!(get(&health, "/readyz").await, (503, "draining\n".into()));
        assert_eq!(get(&health, "/livez").await.0, 200);
        let (status, text) = get(&health, "/metrics").await;
        assert!(
            status == 200 && text.contains("fhirway_accounting_mismatch 0"),
            "{text}"
        );
    }
}
