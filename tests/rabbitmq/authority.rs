//! A certificate authority of one test's own.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Signs certificates for the broker and its clients.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

// === impl Authority ===

impl Authority {
    /// A new one that nobody knows yet.
    pub fn new() -> Self {
        let mut params = params("Fhirway test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("it can sign itself"))
    }

    /// Writes its own certificate.
    pub fn write(&self, file: &Path) {
        fs::write(file, self.0.pem()).expect("the certificate can be written");
    }

    /// Writes `NAME.pem` and `NAME.key` into `folder`: a certificate for `host`.
    pub fn issue(&self, host: &str, folder: &Path, name: &str) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = params(host);
        let host = host.try_into().expect("a host name");
        params.subject_alt_names = vec![rcgen::SanType::DnsName(host)];
        let certificate = params.signed_by(&key, &self.0).expect("it signs");
        fs::write(folder.join(format!("{name}.pem")), certificate.pem())
            .expect("it can be written");
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem())
            .expect("it can be written");
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
