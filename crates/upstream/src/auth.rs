//! Credentials: a trait that gives the `Authorization` value and may refresh it, the static ones, and the layer.
//!
//! The layer asks for the value per attempt. On 401 it lets the authenticator refresh once and repeats the request
//! once: a request refused with 401 was not carried out, so repeating it is safe. A second 401 is the answer.

use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use secrecy::ExposeSecret;
use tower::{Service, ServiceExt};

use crate::answer::Answer;
use crate::config::{Auth, ConfigError};
use crate::http_client::{Outgoing, SendError};

/// Where the `Authorization` header comes from.
///
/// Implementations that fetch tokens keep the token, renew it before it ends, and let only one fetch run at a time:
/// `refresh` gets the value that was refused, so that all but the first caller see that it has been replaced already.
pub trait Authenticator: Send + Sync + 'static {
    /// The value to send now, or `None` to send no credential. Mark it as sensitive.
    ///
    /// # Errors
    /// The credential cannot be had; nothing is sent, and the destination pauses.
    fn authorization(&self) -> BoxFuture<'_, Result<Option<HeaderValue>, AuthError>>;

    /// The server refused `refused` with 401. True: there is another value now, try once more.
    ///
    /// # Errors
    /// A new credential cannot be had; the destination pauses.
    fn refresh(&self, refused: Option<&HeaderValue>) -> BoxFuture<'_, Result<bool, AuthError>>;
}

/// A credential that cannot be had. The text must not hold the credential.
#[derive(Debug, thiserror::Error)]
#[error("no credential: {reason}")]
pub struct AuthError {
    /// Why, in words fit for a log.
    pub reason: String,
    /// Whether waiting may help (the token endpoint is down), or someone must change something.
    pub transient: bool,
}

/// A credential that does not change.
pub(crate) struct Static(Option<HeaderValue>);

/// Puts the credential on each request.
#[derive(Clone)]
pub(crate) struct Authorize<S> {
    inner: S,
    authenticator: Arc<dyn Authenticator>,
}

// === impl Static ===

impl Static {
    pub(crate) fn new(auth: &Auth) -> Result<Self, ConfigError> {
        let text = match auth {
            // Tokens are another authenticator's.
            Auth::None | Auth::OAuth2(_) => return Ok(Self(None)),
            Auth::Bearer { secret } => format!("Bearer {}", secret.expose_secret()),
            Auth::Basic { user, .. } if user.contains(':') => return Err(ConfigError::Credential),
            Auth::Basic { user, secret } => {
                let pair = format!("{user}:{}", secret.expose_secret());
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
                format!("Basic {encoded}")
            }
        };
        let mut value: HeaderValue = text.parse().map_err(|_| ConfigError::Credential)?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Authenticator for Static {
    fn authorization(&self) -> BoxFuture<'_, Result<Option<HeaderValue>, AuthError>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }

    fn refresh(&self, _refused: Option<&HeaderValue>) -> BoxFuture<'_, Result<bool, AuthError>> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

// === impl Authorize ===

impl<S> Authorize<S> {
    pub(crate) fn new(inner: S, authenticator: Arc<dyn Authenticator>) -> Self {
        Self {
            inner,
            authenticator,
        }
    }
}

impl<S> Service<Outgoing> for Authorize<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answer;
    type Error = SendError;
    type Future = BoxFuture<'static, Result<Answer, SendError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        let inner = self.inner.clone();
        let authenticator = Arc::clone(&self.authenticator);
        Box::pin(async move {
            let credential = authenticator.authorization().await?;
            let mut outgoing = outgoing;
            outgoing.authorization.clone_from(&credential);
            let answer = inner.clone().oneshot(outgoing.clone()).await?;
            if answer.status != 401 || !authenticator.refresh(credential.as_ref()).await? {
                return Ok(answer);
            }
            outgoing.authorization = authenticator.authorization().await?;
            inner.oneshot(outgoing).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(auth: &Auth) -> Option<HeaderValue> {
        Static::new(auth).unwrap().0
    }

    #[test]
    fn static_credentials() {
        assert_eq!(value(&Auth::None), None);
        let bearer = value(&Auth::Bearer {
            secret: "abc".into(),
        })
        .unwrap();
        assert_eq!(bearer.as_bytes(), b"Bearer abc");
        // The example of RFC 7617 section 2.
        let basic = value(&Auth::Basic {
            user: "Aladdin".into(),
            secret: "open sesame".into(),
        })
        .unwrap();
        assert_eq!(basic.as_bytes(), b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(format!("{bearer:?} {basic:?}"), "Sensitive Sensitive");
    }

    #[test]
    fn unusable_credentials() {
        for auth in [
            Auth::Bearer {
                secret: "a\nb".into(),
            },
            Auth::Basic {
                user: "a:b".into(),
                secret: "c".into(),
            },
        ] {
            assert!(matches!(Static::new(&auth), Err(ConfigError::Credential)));
        }
    }
}
