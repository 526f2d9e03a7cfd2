//! What the configuration says of a destination, in the words of the stack.

use std::{net::SocketAddr, path::PathBuf};

use upstream::{ConfigError, Proof, SigningKey, SigningKeys, TokenEndpoint};

use crate::config::destination::{
    Address, Auth, ClientProof, ClientTls, Compression, Destination, Format, Gone, OAuth2, Prefer,
    TokenUrl, Versions, Writing,
};

/// The stack's configuration of `destination`; `repository` is where the embedded one listens.
///
/// # Errors
/// [`ConfigError`]: a signing key that cannot be used.
pub(crate) fn stack_config(
    destination: &Destination,
    repository: Option<SocketAddr>,
) -> Result<upstream::Config, ConfigError> {
    let base_url = match (&destination.address, repository) {
        (Address::Url(url), _) => url.clone(),
        (Address::Embedded, Some(address)) => format!("http://{address}/fhir"),
        (Address::Embedded, None) | (Address::Exchange(_), _) => String::new(),
    };
    let mut config = upstream::Config::new(base_url);
    config.auth = credential(&destination.auth)?;
    config.allow_plaintext_credentials = destination.allow_plaintext_credentials;
    config.tls = client_tls(&destination.tls);
    config.connect_timeout = destination.connect_timeout;
    config.deadline = destination.timeout;
    config.concurrency = destination.concurrency;
    config.retry.first_wait = destination.retry.initial;
    config.retry.longest_wait = destination.retry.max;
    config.retry.conflict_attempts = destination.retry.conflicts;
    config.breaker.failures = destination.breaker.failures;
    config.breaker.first_pause = destination.breaker.first_pause;
    config.breaker.longest_pause = destination.breaker.longest_pause;
    write_as(&mut config, &destination.writing);
    config.headers = destination
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().into()))
        .collect();
    Ok(config)
}

/// What a server wants to see from us.
///
/// # Errors
/// [`ConfigError`]: a signing key that cannot be used.
pub(crate) fn credential(auth: &Auth) -> Result<upstream::Auth, ConfigError> {
    Ok(match auth {
        Auth::None => upstream::Auth::None,
        Auth::Bearer(secret) => upstream::Auth::Bearer {
            secret: secret.expose().into(),
        },
        Auth::Basic { user, password } => upstream::Auth::Basic {
            user: user.clone(),
            secret: password.expose().into(),
        },
        Auth::OAuth2(auth) => upstream::Auth::OAuth2(Box::new(oauth2(auth)?)),
    })
}

fn write_as(config: &mut upstream::Config, writing: &Writing) {
    config.prefer = match writing.prefer {
        Prefer::Minimal => upstream::Prefer::Minimal,
        Prefer::Representation => upstream::Prefer::Representation,
        Prefer::OperationOutcome => upstream::Prefer::OperationOutcome,
        Prefer::Unset => upstream::Prefer::Unset,
    };
    config.format = format(writing.format);
    config.compression = match writing.compression {
        Compression::None => upstream::Compression::None,
        Compression::Gzip => upstream::Compression::Gzip,
    };
    config.split = upstream::Split {
        max_entries: writing.split.max_entries,
        max_bytes: writing
            .split
            .max_bytes
            .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
    };
    config.versions = writing.versions == Versions::IfMatch;
    config.recreate = writing.gone == Gone::Recreate;
}

/// The format in the words of the stack.
pub(crate) fn format(format: Format) -> upstream::Format {
    match format {
        Format::Json => upstream::Format::Json,
        Format::Xml => upstream::Format::Xml,
    }
}

/// The keys that sign for `destination`; `None` where nothing is signed.
///
/// # Errors
/// [`ConfigError::Key`].
pub(crate) fn signing_keys(destination: &Destination) -> Result<Option<SigningKeys>, ConfigError> {
    let Auth::OAuth2(auth) = &destination.auth else {
        return Ok(None);
    };
    match &auth.proof {
        ClientProof::PrivateKeyJwt {
            signing_keys,
            jwks_url,
        } => load(signing_keys, jwks_url).map(Some),
        _ => Ok(None),
    }
}

fn oauth2(auth: &OAuth2) -> Result<upstream::OAuth2, ConfigError> {
    let proof = match &auth.proof {
        ClientProof::SecretInHeader(secret) => Proof::SecretBasic(secret.expose().into()),
        ClientProof::SecretInForm(secret) => Proof::SecretPost(secret.expose().into()),
        ClientProof::PrivateKeyJwt {
            signing_keys,
            jwks_url,
        } => Proof::PrivateKeyJwt(load(signing_keys, jwks_url)?),
    };
    Ok(upstream::OAuth2 {
        endpoint: match &auth.token_url {
            TokenUrl::Discover => TokenEndpoint::Discover,
            TokenUrl::Url(url) => TokenEndpoint::Url(url.clone()),
        },
        client_id: auth.client_id.clone(),
        proof,
        scope: auth.scope.clone(),
        parameters: auth.parameters.clone(),
        tls: auth.tls.as_ref().map(client_tls),
    })
}

fn load(files: &[PathBuf], jwks_url: &Option<String>) -> Result<SigningKeys, ConfigError> {
    let keys: Vec<_> = files
        .iter()
        .map(|file| SigningKey {
            file: file.clone(),
            kid: None,
        })
        .collect();
    SigningKeys::load(&keys, jwks_url.clone())
}

/// Trust and certificate of a client.
pub(crate) fn client_tls(tls: &ClientTls) -> upstream::Tls {
    upstream::Tls {
        ca_file: tls.ca.clone(),
        client_certificate: match (&tls.certificate, &tls.key) {
            (Some(chain), Some(key)) => Some(upstream::ClientCertificate {
                chain_file: chain.clone(),
                key_file: key.clone(),
            }),
            _ => None,
        },
    }
}
