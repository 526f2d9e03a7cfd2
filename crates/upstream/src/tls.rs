//! The rustls client configuration of a destination.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::config::{ConfigError, Tls};

/// Builds the configuration: TLS 1.2 or 1.3 by aws-lc-rs, the platform's roots or the file's, a client certificate
/// if there is one. Without `https` nothing is read and nothing is trusted.
pub(crate) fn client_config(tls: &Tls, https: bool) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    if !https {
        return Ok(builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth());
    }
    let builder = match &tls.ca_file {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_platform_verifier()?,
    };
    match &tls.client_certificate {
        Some(files) => {
            let chain = certificates(&files.chain_file)?;
            let key = PrivateKeyDer::from_pem_file(&files.key_file)
                .map_err(|source| unusable(&files.key_file, source))?;
            Ok(builder.with_client_auth_cert(chain, key)?)
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| unusable(path, source))?;
    if certificates.is_empty() {
        return Err(ConfigError::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}

fn unusable(path: &Path, source: rustls::pki_types::pem::Error) -> ConfigError {
    ConfigError::File {
        path: path.to_owned(),
        source,
    }
}
