//! A certificate authority of one test's own.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// Signs certificates for servers and their clients.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

// === impl Authority ===

impl Authority {
    /// A new one that nobody knows yet.
    pub fn new() -> Self {
        let mut params = params("Fhirway test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("it can sign itself"))
    }

    /// Writes its own certificate.
    pub fn write(&self, file: &Path) {
        fs::write(file, self.0.pem()).expect("the certificate can be written");
    }

    /// Writes `NAME.pem` and `NAME.key` into `folder`: a certificate for `host`.
    pub fn issue(&self, host: &str, folder: &Path, name: &str) {
        self.issue_numbered(host, folder, name, 1);
    }

    /// The same with a serial number of its own.
    pub fn issue_numbered(&self, host: &str, folder: &Path, name: &str, serial: u64) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = params(host);
        let host = host.try_into().expect("a host name");
        params.subject_alt_names = vec![rcgen::SanType::DnsName(host)];
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.0).expect("it signs");
        for (suffix, text) in [("pem", certificate.pem()), ("key", key.serialize_pem())] {
            // In one step, as whoever renews a certificate should.
            let (path, new) = (
                folder.join(format!("{name}.{suffix}")),
                folder.join(format!("{name}.new")),
            );
            fs::write(&new, text).expect("it can be written");
            fs::rename(new, path).expect("it can be renamed");
        }
    }

    /// Writes a list that revokes one certificate.
    pub fn revoke(&self, serial: u64, file: &Path) {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).expect("it signs");
        fs::write(file, list.pem().expect("it is PEM")).expect("it can be written");
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
