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
            Ok(_) => None,
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
