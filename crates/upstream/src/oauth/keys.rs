//! Keys that sign client assertions, and their public halves.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::config::ConfigError;

/// Seconds that an assertion is good for; the limit is five minutes (SMART, section "Authentication JWTs").
const LIFE: u64 = 240;

/// The keys of a client: the first one signs, all are published. To change keys, put the new one behind the old one
/// until every server has read the published keys again, then in front, and remove the old one after a while.
#[derive(Clone)]
pub struct SigningKeys {
    keys: Vec<Loaded>,
    jku: Option<String>,
}

/// A key as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// A PEM file with an RSA key (2,048 bits or more; signs RS384) or an EC key on P-384 (signs ES384), PKCS#8.
    pub file: PathBuf,
    /// The key's id. `None`: its thumbprint (RFC 7638, SHA-256).
    pub kid: Option<String>,
}

#[derive(Clone)]
struct Loaded {
    algorithm: Algorithm,
    key: EncodingKey,
    public: Jwk,
    kid: String,
}

/// Claims of an assertion.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: u64,
    iat: u64,
    jti: String,
}

// === impl SigningKeys ===

impl SigningKeys {
    /// Reads the key files. `jku` is the URL at which the server finds the published keys, if it is to be told.
    ///
    /// # Errors
    /// [`ConfigError::Key`]: no key, a file that cannot be read, a key of another kind, two keys with one id.
    pub fn load(keys: &[SigningKey], jku: Option<String>) -> Result<Self, ConfigError> {
        let mut loaded: Vec<Loaded> = Vec::new();
        for key in keys {
            let next = Loaded::read(key)?;
            if loaded.iter().any(|other| other.kid == next.kid) {
                return Err(unusable(&key.file, "another key has the same id"));
            }
            loaded.push(next);
        }
        if loaded.is_empty() {
            return Err(unusable(Path::new(""), "there is no signing key"));
        }
        Ok(Self { keys: loaded, jku })
    }

    /// The public keys as a JSON Web Key Set (RFC 7517), for the server that is to trust them.
    pub fn public(&self) -> JwkSet {
        JwkSet {
            keys: self.keys.iter().map(|key| key.public.clone()).collect(),
        }
    }

    /// A new assertion for the token endpoint `audience`. An error is in words fit for a log.
    pub(super) fn assertion(&self, client: &str, audience: &str) -> Result<String, String> {
        let key = self.keys.first().ok_or("there is no signing key")?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let claims = Claims {
            iss: client,
            sub: client,
            aud: audience,
            exp: now + LIFE,
            iat: now,
            jti: uuid::Uuid::new_v4().to_string(),
        };
        let mut header = Header::new(key.algorithm);
        header.kid = Some(key.kid.clone());
        header.jku.clone_from(&self.jku);
        jsonwebtoken::encode(&header, &claims, &key.key)
            .map_err(|error| format!("the assertion cannot be signed: {error}"))
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.kid))
            .finish()
    }
}

// === impl Loaded ===

impl Loaded {
    fn read(config: &SigningKey) -> Result<Self, ConfigError> {
        let failed = |why: &str| unusable(&config.file, why);
        let pem = std::fs::read(&config.file).map_err(|error| failed(&error.to_string()))?;
        let (algorithm, key) = match (
            EncodingKey::from_rsa_pem(&pem),
            EncodingKey::from_ec_pem(&pem),
        ) {
            (Ok(key), _) => (Algorithm::RS384, key),
            (_, Ok(key)) => (Algorithm::ES384, key),
            _ => return Err(failed("it holds no RSA or EC private key in PEM (PKCS#8)")),
        };
        let mut public = Jwk::from_encoding_key(&key, algorithm).map_err(|_| {
            failed("an RSA key of 2,048 bits or more, or an EC key on P-384 is needed")
        })?;
        let thumbprint = public
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|_| failed("the key has no thumbprint"))?;
        let kid = config.kid.clone().unwrap_or(thumbprint);
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            algorithm,
            key,
            public,
            kid,
        })
    }
}

fn unusable(path: &Path, why: &str) -> ConfigError {
    ConfigError::Key {
        path: path.to_owned(),
        reason: why.to_owned(),
    }
}
