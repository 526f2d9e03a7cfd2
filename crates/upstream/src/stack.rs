//! The stack in front of one FHIR server, inner to outer, with the reason for each layer's place.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method};
use tokio::sync::watch;
use tower::retry::Retry;
use tower::{Service, ServiceExt};

use crate::answer::Answer;
use crate::auth::{Authenticator, Authorize, Static};
use crate::backoff;
use crate::breaker::{CircuitBreaker, Gate, State};
use crate::capability::{Capability, CapabilityError};
use crate::classify;
use crate::config::{self, Auth, Config, ConfigError};
use crate::deadline::Deadline;
use crate::exchange::{Exchange, Target};
use crate::failure::{Class, Failure};
use crate::http_client::{HttpClient, Outgoing};
use crate::limit::AdaptiveLimit;
use crate::oauth;
use crate::observe::{Observe, Observer};
use crate::parts;
use crate::request::{Delivered, Request};
use crate::retry::ShortRetry;
use crate::tls;

/// Everything below HTTP statuses: connections and credentials.
type Wire = Authorize<HttpClient>;
/// One attempt, classified.
type Attempts = Observe<Exchange<Wire>>;
/// One call, from the circuit to the socket.
type Calls = Observe<CircuitBreaker<AdaptiveLimit<Deadline<Retry<ShortRetry, Attempts>>>>>;

/// A destination ready for requests. Clones share the connections, the limit and the circuit.
///
/// Use [`Stack::deliver`], or the [`tower::Service`] that it is.
#[derive(Clone)]
pub struct Stack {
    calls: Calls,
    wire: Wire,
    target: Arc<Target>,
    gate: Gate,
    settings: Arc<Config>,
}

/// Builds the stack of a destination. Opens no connection.
///
/// # Errors
/// [`ConfigError`] when the destination cannot be used as configured; see there.
pub fn stack(config: &Config, observer: Arc<dyn Observer>) -> Result<Stack, ConfigError> {
    let authenticator: Arc<dyn Authenticator> = match &config.auth {
        Auth::OAuth2(oauth) => Arc::new(oauth::Client::new(config, oauth, Arc::clone(&observer))?),
        other => Arc::new(Static::new(other)?),
    };
    let credential = !matches!(config.auth, Auth::None);
    build(config, authenticator, credential, observer)
}

/// The same with an authenticator of the caller's; `config.auth` is not looked at.
///
/// # Errors
/// [`ConfigError`] when the destination cannot be used as configured; see there.
pub fn stack_with(
    config: &Config,
    authenticator: Arc<dyn Authenticator>,
    observer: Arc<dyn Observer>,
) -> Result<Stack, ConfigError> {
    build(config, authenticator, true, observer)
}

fn build(
    config: &Config,
    authenticator: Arc<dyn Authenticator>,
    credential: bool,
    observer: Arc<dyn Observer>,
) -> Result<Stack, ConfigError> {
    let base = config.base()?;
    // Before anything else, so that a credential never gets near a clear-text connection.
    config.check_plaintext(&base, credential)?;
    let tls = tls::client_config(&config.tls, base.scheme_str() == Some("https"))?;
    let target = Arc::new(Target::new(base, config)?);
    let retry = config.retry.clone();
    let gate = Gate::new(
        config.breaker.clone(),
        retry.longest_retry_after,
        Arc::clone(&observer),
    );

    // HTTP/1.1 over a pool. Innermost: the only layer that touches a socket. As many idle connections as there may
    // be requests, or each burst would pay for new handshakes.
    let wire = HttpClient::new(
        tls,
        config.connect_timeout,
        config.concurrency,
        config.max_response_bytes,
    );

    // The credential, per attempt rather than per call: a retry after a pause must not carry a token that has
    // ended since. Below classification, because it needs the bare 401 to refresh and repeat once.
    let wire = Authorize::new(wire, authenticator);

    // Statuses become classes here, so that every layer above decides by class and none reads a status.
    let calls = Exchange::new(wire.clone(), Arc::clone(&target));

    // Inside of retry, so that each attempt is told with its own duration and class.
    let calls = Observe::attempts(calls, Arc::clone(&observer));

    // Short retries. Inside of the deadline, which bounds them all together; inside of the limit, so that a retry
    // keeps its slot instead of queueing behind fresh work (its waits add up to under a second). Inside of the
    // breaker, so that one unlucky call is one verdict.
    let calls = Retry::new(ShortRetry::new(retry), calls);

    // Outside of retry: total. Inside of the breaker, or the breaker would see a hang as a cancelled call, which is
    // no verdict, and would never open for a server that accepts and never answers.
    let calls = Deadline::new(calls, config.deadline);

    // Outside of the deadline, so that waiting for a slot does not use up the time to answer.
    let calls = AdaptiveLimit::new(calls, config.concurrency, Arc::clone(&observer));

    // Outside of the limit: an open circuit answers at once, instead of after a wait for a slot.
    let calls = CircuitBreaker::new(calls, gate.clone());

    // Outermost: calls that the circuit refused or the deadline cut are told as well.
    let calls = Observe::calls(calls, observer);

    Ok(Stack {
        calls,
        wire,
        target,
        gate,
        settings: Arc::new(config.clone()),
    })
}

// === impl Stack ===

impl Stack {
    /// Delivers one Bundle, in as many requests as that takes: see [`Config::split`] and [`Kind::Single`](crate::Kind).
    ///
    /// Dropping the future cancels the request; if it was the circuit's probe, the next request becomes the probe.
    ///
    /// # Errors
    /// [`Failure`] with its class and what to do.
    pub async fn deliver(&self, request: Request) -> Result<Delivered, Failure> {
        let attempt = request.attempt;
        let result = if parts::is_needed(self, &request) {
            parts::deliver(self, &request, None).await
        } else {
            match self.once(request.clone()).await {
                Err(failure) if parts::may_help(self, &request, &failure) => {
                    parts::deliver(self, &request, Some(failure)).await
                }
                result => return result,
            }
        };
        result.map_err(|failure| self.planned(failure, attempt))
    }

    /// One request.
    pub(crate) async fn once(&self, request: Request) -> Result<Delivered, Failure> {
        self.clone().oneshot(request).await
    }

    /// The destination as configured.
    pub(crate) fn settings(&self) -> &Config {
        &self.settings
    }

    /// The circuit's state now and from now on. While it is [`State::Open`], lease nothing: wait for
    /// [`Stack::ready`].
    pub fn state(&self) -> watch::Receiver<State> {
        self.gate.watch()
    }

    /// Waits until a request would be sent: at once when the circuit is closed, else until a probe is due.
    pub async fn ready(&self) {
        self.gate.ready().await;
    }

    /// Asks the server what it can do (`GET {base}/metadata`), past the circuit and the limit: it is a question of an
    /// operator or a start, not a delivery.
    ///
    /// # Errors
    /// [`CapabilityError`]: no 2xx answer, or not a CapabilityStatement.
    pub async fn metadata(&self) -> Result<Capability, CapabilityError> {
        let failed = |failure: Failure| CapabilityError::Failure(Box::new(failure));
        let answer = self.ask(Method::GET, "metadata", None, Bytes::new());
        let answer = answer.await.map_err(failed)?;
        if !(200..300).contains(&answer.status) {
            return Err(failed(classify::refused(&answer)));
        }
        Capability::read(&answer.body)
    }

    /// A question that changes nothing, past the circuit and the limit.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let uri = self
            .target
            .below(path)
            .ok_or_else(|| Failure::new(Class::Permanent, "not an address"))?;
        let mut headers = self.target.headers.clone();
        headers.extend(header);
        let outgoing = Outgoing {
            method,
            uri,
            headers,
            authorization: None,
            body,
        };
        let sending = self.wire.clone().oneshot(outgoing);
        tokio::time::timeout(self.settings.deadline, sending)
            .await
            .map_err(|_| Failure::new(Class::Ambiguous, "deadline passed"))?
            .map_err(|error| classify::unanswered(&error))
    }

    fn planned(&self, mut failure: Failure, attempt: u32) -> Failure {
        plan(
            &mut failure,
            attempt,
            &self.settings.retry,
            self.gate.pause_left(),
            backoff::draw(),
        );
        failure
    }
}

impl Service<Request> for Stack {
    type Response = Delivered;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Delivered, Failure>>;

    /// Always ready. How many requests to start is the dispatcher's choice; more than `concurrency` wait inside.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.calls.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let attempt = request.attempt;
        let stack = self.clone();
        let calling = self.calls.call(request);
        Box::pin(async move {
            calling
                .await
                .map_err(|failure| stack.planned(failure, attempt))
        })
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("base", &self.target.base)
            .field("state", &*self.gate.watch().borrow())
            .finish_non_exhaustive()
    }
}

/// Sets how long the caller waits, and whether it still does. Never less than the circuit's pause: a retry that
/// meets an open circuit would only come back.
fn plan(failure: &mut Failure, attempt: u32, retry: &config::Retry, pause: Duration, draw: f64) {
    failure.park =
        failure.class == Class::Conflict && attempt.saturating_add(1) >= retry.conflict_attempts;
    let usual = backoff::long(retry.first_wait, retry.longest_wait, attempt, draw);
    failure.wait = match failure.class {
        Class::Throttled {
            retry_after: Some(told),
        } => told.min(retry.longest_retry_after).max(pause),
        Class::Auth | Class::Config => pause,
        // Half-open and somebody else is the probe: a moment later all is known.
        Class::Paused { .. } => pause.max(backoff::jittered(retry.first_wait, draw)),
        _ => usual.max(pause),
    };
}
