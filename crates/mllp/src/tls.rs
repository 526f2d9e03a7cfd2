//! TLS for both ends: PEM files in, rustls configurations out. One provider (aws-lc-rs), given
//! explicitly; TLS 1.2 is the floor.
//!
//! rustls does not renegotiate, so there is nothing to refuse. Attributes of a certificate that are
//! not known are no reason to reject it (IHE ITI TF-2, 3.19); only an unknown *critical* extension
//! is, as RFC 5280 demands.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, InvalidMessage, RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject},
    },
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    certificate::{CertificateFacts, ClientCertFacts},
    observer::TlsFailure,
};

/// Whether a listener asks clients for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// No.
    #[default]
    None,
    /// It asks, and takes connections without one too. A certificate that is shown must be valid.
    Want,
    /// Only clients with a valid certificate may connect.
    Need,
}

/// Files of a listener, all PEM.
#[derive(Clone, Debug, Default)]
pub struct ServerTlsFiles {
    /// The listener's certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// The key of the certificate: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
    /// The CAs that clients' certificates are verified against. Needed unless `client_auth` is
    /// [`ClientAuth::None`].
    pub client_ca: Option<PathBuf>,
    /// Revocation lists of those CAs. If there are any, a client certificate that no list covers is
    /// refused.
    pub client_crls: Vec<PathBuf>,
}

/// TLS of a listener. The files can be read again while it runs; connections that are open keep
/// what they have.
pub struct ServerTls {
    files: ServerTlsFiles,
    loaded: ArcSwap<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    not_after: Option<SystemTime>,
}

/// Files of a client, all PEM.
#[derive(Clone, Debug, Default)]
pub struct ClientTlsFiles {
    /// The CAs that the server's certificate is verified against. Without it, those of the
    /// operating system.
    pub ca: Option<PathBuf>,
    /// The certificate to show if the server asks for one, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must have, if it is not the host that is connected
    /// to.
    pub server_name: Option<String>,
}

/// TLS of a client.
pub struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server_name: Option<ServerName<'static>>,
}

/// Why TLS could not be set up. Each variant says which file is wrong and how.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not PEM.
    #[error("{} is not valid pem: {problem}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file has none of what it should hold.
    #[error("{} holds no {wanted}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The key is of a kind that cannot be used.
    #[error("the key in {} cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Key and certificate are not a pair.
    #[error(
        "the key in {} does not belong to the first certificate in {}",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
    /// A certificate in the file cannot be used.
    #[error("a certificate in {} cannot be used", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The revocation lists, or the CAs they belong to, cannot be used.
    #[error("the client ca or its revocation lists cannot be used")]
    ClientVerifier(#[source] rustls::server::VerifierBuilderError),
    /// Client certificates are wanted, and no CA is given to verify them.
    #[error("client certificates are asked for, but no client ca is given")]
    NoClientCa,
    /// Not a host name or address.
    #[error("{name:?} is not a server name")]
    ServerName {
        /// As given.
        name: String,
    },
    /// The operating system's CAs, or rustls itself, cannot be used.
    #[error("tls cannot be set up")]
    Setup(#[source] rustls::Error),
}

// === impl ServerTls ===

impl ServerTls {
    /// Reads the files. Blocks for as long as that takes.
    ///
    /// # Errors
    /// A file is missing or wrong, see [`TlsError`].
    pub fn load(files: ServerTlsFiles) -> Result<Arc<Self>, TlsError> {
        let loaded = ArcSwap::from_pointee(Loaded::read(&files)?);
        Ok(Arc::new(Self { files, loaded }))
    }

    /// Reads the files again. Connections accepted from now on get what was read.
    ///
    /// # Errors
    /// A file is missing or wrong; what was loaded before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.loaded.store(Arc::new(Loaded::read(&self.files)?));
        Ok(())
    }

    /// Last moment of validity of the listener's certificate, if it can be read.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.loaded.load().not_after
    }

    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> Result<(TlsStream<TcpStream>, Option<ClientCertFacts>), TlsFailure> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.loaded.load().config));
        let stream = timeout(limit, acceptor.accept(stream))
            .await
            .map_err(|_| TlsFailure::Timeout)?
            .map_err(|error| classify(&error))?;
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first);
        let facts = certificate.map(|der| client_facts(der));
        Ok((stream, facts))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

// === impl Loaded ===

impl Loaded {
    fn read(files: &ServerTlsFiles) -> Result<Self, TlsError> {
        let chain = certificates(&files.certificate)?;
        let key = private_key(&files.key)?;
        let not_after = chain
            .first()
            .and_then(|der| CertificateFacts::read(der).not_after);
        let provider = provider();
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TlsError::Setup)?
            .with_client_cert_verifier(client_verifier(files, provider)?)
            .with_single_cert(chain, key)
            .map_err(|source| pair_error(source, &files.certificate, &files.key))?;
        Ok(Self {
            config: Arc::new(config),
            not_after,
        })
    }
}

fn client_verifier(
    files: &ServerTlsFiles,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if files.client_auth == ClientAuth::None {
        return Ok(Arc::new(NoClientAuth));
    }
    let roots = roots(files.client_ca.as_deref().ok_or(TlsError::NoClientCa)?)?;
    let mut crls = Vec::new();
    for path in &files.client_crls {
        crls.extend(pem_items::<CertificateRevocationListDer<'static>>(
            path,
            "revocation list",
        )?);
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(crls)
        .only_check_end_entity_revocation();
    if files.client_auth == ClientAuth::Want {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(TlsError::ClientVerifier)
}

/// Sorts a failed handshake for the metrics.
fn classify(error: &io::Error) -> TlsFailure {
    let Some(error) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return TlsFailure::Disconnected;
    };
    match error {
        rustls::Error::NoCertificatesPresented => TlsFailure::NoClientCertificate,
        rustls::Error::InvalidCertificate(_) => TlsFailure::BadClientCertificate,
        rustls::Error::AlertReceived(_) => TlsFailure::RefusedByPeer,
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsFailure::NotTls,
        _ => TlsFailure::Protocol,
    }
}

fn client_facts(der: &[u8]) -> ClientCertFacts {
    let CertificateFacts {
        common_name,
        dns_names,
        not_after,
    } = CertificateFacts::read(der);
    ClientCertFacts {
        fingerprint_sha256: sha256_hex(der),
        common_name,
        dns_names,
        not_after,
    }
}

/// The hash that TLS has in hand already.
fn sha256_hex(bytes: &[u8]) -> String {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let SupportedCipherSuite::Tls13(suite) = suite else {
        return String::new();
    };
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

// === impl ClientTls ===

impl ClientTls {
    /// Reads the files. Blocks for as long as that takes.
    ///
    /// # Errors
    /// A file is missing or wrong, see [`TlsError`].
    pub fn load(files: &ClientTlsFiles) -> Result<Arc<Self>, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TlsError::Setup)?;
        let builder = match &files.ca {
            Some(path) => builder.with_root_certificates(roots(path)?),
            None => builder.with_platform_verifier().map_err(TlsError::Setup)?,
        };
        let config = match &files.certificate {
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|source| pair_error(source, certificate, key))?,
            None => builder.with_no_client_auth(),
        };
        let server_name = files.server_name.as_deref().map(server_name).transpose()?;
        Ok(Arc::new(Self {
            config: Arc::new(config),
            server_name,
        }))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName {
        name: name.to_owned(),
    })
}

// --- files ---

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem_items(path, "certificate")
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wanted = "private key that is not encrypted";
    pem_items(path, wanted)?
        .into_iter()
        .next()
        .ok_or_else(|| TlsError::Missing {
            path: path.to_owned(),
            wanted,
        })
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|source| TlsError::Certificate {
                path: path.to_owned(),
                source,
            })?;
    }
    Ok(roots)
}

/// All items of one kind in a file, at least one.
fn pem_items<T: PemObject>(path: &Path, wanted: &'static str) -> Result<Vec<T>, TlsError> {
    let bytes = std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })?;
    // The reader's own errors quote the file, which may be a key.
    let items: Vec<T> = T::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Pem {
            path: path.to_owned(),
            problem: match error {
                pem::Error::MissingSectionEnd { .. } => "a section has no end line",
                pem::Error::IllegalSectionStart { .. } => "a section has a bad start line",
                pem::Error::Base64Decode(_) => "a section is not base64",
                _ => "a section cannot be read",
            },
        })?;
    if items.is_empty() {
        return Err(TlsError::Missing {
            path: path.to_owned(),
            wanted,
        });
    }
    Ok(items)
}

/// Says which of the two files a refused pair is about.
fn pair_error(source: rustls::Error, certificate: &Path, key: &Path) -> TlsError {
    match source {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        },
        source @ rustls::Error::InvalidCertificate(_) => TlsError::Certificate {
            path: certificate.to_owned(),
            source,
        },
        source => TlsError::Key {
            path: key.to_owned(),
            source,
        },
    }
}
