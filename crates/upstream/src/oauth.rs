//! OAuth2 client credentials (RFC 6749 section 4.4) and SMART Backend Services
//! (SMART App Launch, client-confidential-asymmetric).
//!
//! One token per destination. It is renewed when four fifths of its life are over, so that no request waits for a
//! token in the usual case and a short outage of the token endpoint costs nothing. Only one request for a token
//! runs at a time, and those who waited for it share its outcome, the good and the bad one.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri};
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::auth::{AuthError, Authenticator};
use crate::config::{Config, ConfigError, Tls, is_loopback};
use crate::http_client::HttpClient;
use crate::observe::Observer;
use crate::tls;

mod discovery;
mod grant;
mod keys;

pub use keys::{SigningKey, SigningKeys};

use grant::Grant;

/// Time for one request to the token endpoint or the discovery document.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer of a token endpoint is small; a larger one is no token.
const MAX_ANSWER: usize = 64 * 1024;

/// How to get access tokens.
#[derive(Debug, Clone)]
pub struct OAuth2 {
    /// Where tokens are asked for.
    pub endpoint: TokenEndpoint,
    /// The name under which this client is registered.
    pub client_id: String,
    /// How the client proves that it is the one.
    pub proof: Proof,
    /// The scopes asked for, separated by blanks, such as `system/*.cruds`. `None` leaves them to the server.
    pub scope: Option<String>,
    /// Further form parameters, such as `audience` or `resource`.
    pub parameters: Vec<(String, String)>,
    /// Trust and client certificate towards the token endpoint. `None`: those of the destination.
    pub tls: Option<Tls>,
}

/// Where tokens are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenEndpoint {
    /// This URL.
    Url(String),
    /// `token_endpoint` of `{base}/.well-known/smart-configuration` (SMART App Launch, conformance).
    Discover,
}

/// How a client proves who it is.
#[derive(Debug, Clone)]
pub enum Proof {
    /// Client id and secret in `Authorization: Basic` (RFC 6749 section 2.3.1).
    SecretBasic(SecretString),
    /// Client id and secret in the form.
    SecretPost(SecretString),
    /// A signed assertion (RFC 7523), as SMART Backend Services ask for.
    PrivateKeyJwt(SigningKeys),
}

/// The authenticator.
pub(crate) struct Client {
    config: OAuth2,
    base: Uri,
    http: HttpClient,
    plaintext: bool,
    observer: Arc<dyn Observer>,
    /// Read by every request; written by the one that asked for a token.
    token: RwLock<Option<Token>>,
    asking: Mutex<Asking>,
}

/// A token in use.
#[derive(Clone)]
struct Token {
    header: HeaderValue,
    renew: Instant,
    end: Instant,
}

/// What the one who asks knows of earlier questions.
#[derive(Default)]
struct Asking {
    /// The discovered endpoint.
    endpoint: Option<Uri>,
    /// When the last question failed, and how.
    failed: Option<(Instant, String, bool)>,
}

// === impl Client ===

impl Client {
    /// Checks the configuration. Opens no connection.
    pub(crate) fn new(
        config: &Config,
        oauth: &OAuth2,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ConfigError> {
        let base = config.base()?;
        let plaintext = config.allow_plaintext_credentials;
        if let TokenEndpoint::Url(url) = &oauth.endpoint {
            endpoint(url, plaintext).map_err(ConfigError::TokenUrl)?;
        }
        let tls = oauth.tls.as_ref().unwrap_or(&config.tls);
        let http = HttpClient::new(
            tls::client_config(tls, true)?,
            config.connect_timeout.min(PATIENCE),
            1,
            MAX_ANSWER,
        );
        Ok(Self {
            config: oauth.clone(),
            base,
            http,
            plaintext,
            observer,
            token: RwLock::new(None),
            asking: Mutex::new(Asking::default()),
        })
    }

    fn token(&self) -> Option<Token> {
        self.token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, token: Option<Token>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// The token to send now.
    async fn current(&self) -> Result<HeaderValue, AuthError> {
        let came = Instant::now();
        let Some(token) = self.token() else {
            return self.renew(came, None).await;
        };
        if came < token.renew {
            return Ok(token.header);
        }
        if came >= token.end {
            return self.renew(came, None).await;
        }
        // It still serves: one asks for the next, nobody waits, and a failure is no failure yet.
        let Ok(mut asking) = self.asking.try_lock() else {
            return Ok(token.header);
        };
        if self.token().is_some_and(|newer| came < newer.renew) {
            return Ok(self.token().unwrap_or(token).header);
        }
        if asking
            .failed
            .as_ref()
            .is_some_and(|(when, ..)| when.elapsed() < PATIENCE)
        {
            return Ok(token.header);
        }
        Ok(self.ask(&mut asking).await.unwrap_or(token.header))
    }

    /// A token other than `refused`, asked for unless somebody else got one since `came`.
    async fn renew(
        &self,
        came: Instant,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, AuthError> {
        let mut asking = self.asking.lock().await;
        if let Some(token) = self.token()
            && Instant::now() < token.end
            && refused != Some(&token.header)
        {
            return Ok(token.header);
        }
        if let Some((when, reason, transient)) = &asking.failed
            && *when >= came
        {
            return Err(AuthError {
                reason: reason.clone(),
                transient: *transient,
            });
        }
        self.ask(&mut asking).await
    }

    async fn ask(&self, asking: &mut Asking) -> Result<HeaderValue, AuthError> {
        let asked = tokio::time::timeout(PATIENCE, self.fetch(&mut asking.endpoint)).await;
        let granted = asked.unwrap_or_else(|_| {
            Err(AuthError {
                reason: "no answer of the token endpoint in time".to_owned(),
                transient: true,
            })
        });
        match granted {
            Ok(grant) => {
                let now = Instant::now();
                let end = now + grant.life;
                self.observer.token(Some(SystemTime::now() + grant.life));
                asking.failed = None;
                self.set(Some(Token {
                    header: grant.header.clone(),
                    renew: now + grant.life * 4 / 5,
                    end,
                }));
                Ok(grant.header)
            }
            Err(error) => {
                self.observer.token(None);
                // The endpoint may have moved.
                asking.endpoint = None;
                asking.failed = Some((Instant::now(), error.reason.clone(), error.transient));
                Err(error)
            }
        }
    }

    async fn fetch(&self, known: &mut Option<Uri>) -> Result<Grant, AuthError> {
        let uri = match (&self.config.endpoint, &known) {
            (_, Some(uri)) => uri.clone(),
            (TokenEndpoint::Url(url), None) => endpoint(url, self.plaintext).map_err(refused)?,
            (TokenEndpoint::Discover, None) => {
                let found = discovery::token_endpoint(&self.http, &self.base).await?;
                endpoint(&found, self.plaintext).map_err(refused)?
            }
        };
        *known = Some(uri.clone());
        grant::ask(&self.http, &uri, &self.config).await
    }
}

impl Authenticator for Client {
    fn authorization(&self) -> BoxFuture<'_, Result<Option<HeaderValue>, AuthError>> {
        Box::pin(async { self.current().await.map(Some) })
    }

    fn refresh(&self, refused: Option<&HeaderValue>) -> BoxFuture<'_, Result<bool, AuthError>> {
        let refused = refused.cloned();
        Box::pin(async move {
            let came = Instant::now();
            let next = self.renew(came, refused.as_ref()).await?;
            Ok(Some(&next) != refused.as_ref())
        })
    }
}

/// A token endpoint that a secret may be sent to.
fn endpoint(url: &str, plaintext: bool) -> Result<Uri, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "it is not a url")?;
    let host = uri.host().ok_or("it has no host")?;
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err("it has user info");
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if plaintext || is_loopback(host) => Ok(uri),
        Some("http") => Err("a secret would be sent over plain http"),
        _ => Err("it has no http or https scheme"),
    }
}

fn refused(why: &'static str) -> AuthError {
    AuthError {
        reason: format!("the token endpoint cannot be used: {why}"),
        transient: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_to_https_or_to_this_machine() {
        for url in ["https://id.example/token", "http://127.0.0.1:9/token"] {
            assert!(endpoint(url, false).is_ok(), "{url}");
        }
        for url in [
            "http://id.example/token",
            "id.example",
            "ftp://id.example/",
            "https://user:word@id.example/token",
        ] {
            assert!(endpoint(url, false).is_err(), "{url}");
        }
        assert!(endpoint("http://id.example/token", true).is_ok());
    }
}
