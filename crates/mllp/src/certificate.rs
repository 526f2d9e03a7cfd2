//! Facts of an X.509 certificate, as far as a gateway wants them: who it names, until when it is
//! valid, its fingerprint.
//!
//! The certificate was verified by the TLS handshake. What is read here decides nothing about
//! trust, so a part that cannot be read is left out.

use std::time::{Duration, SystemTime};

/// What the client's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertFacts {
    /// SHA-256 of the certificate, as lower case hex.
    pub fingerprint_sha256: String,
    /// Common name of the subject (the first one), if it has one.
    pub common_name: Option<String>,
    /// DNS names of the subject alternative name extension.
    pub dns_names: Vec<String>,
    /// Last moment of validity.
    pub not_after: Option<SystemTime>,
}

/// What can be read from a certificate in DER (RFC 5280, 4.1).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    pub(crate) common_name: Option<String>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) not_after: Option<SystemTime>,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]` of the version, `[3]` of the extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `[2]` in GeneralName: dNSName.
const DNS_NAME: u8 = 0x82;
const ID_AT_COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ID_CE_SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

// === impl CertificateFacts ===

impl CertificateFacts {
    pub(crate) fn read(der: &[u8]) -> Self {
        Self::try_read(der).unwrap_or_default()
    }

    fn try_read(der: &[u8]) -> Option<Self> {
        let mut outer = Der(der).enter(SEQUENCE)?;
        let mut tbs = outer.enter(SEQUENCE)?;
        if tbs.next_tag() == Some(VERSION) {
            tbs.next()?;
        }
        // Serial number, signature algorithm, issuer.
        tbs.next()?;
        tbs.next()?;
        tbs.next()?;
        let mut validity = tbs.enter(SEQUENCE)?;
        validity.next()?;
        let not_after = validity.next().and_then(|(tag, text)| read_time(tag, text));
        let common_name = tbs.enter(SEQUENCE).and_then(common_name);
        let dns_names = tbs
            .find(|(tag, _)| *tag == EXTENSIONS)
            .and_then(|(_, extensions)| Der(extensions).enter(SEQUENCE))
            .and_then(dns_names)
            .unwrap_or_default();
        Some(Self {
            common_name,
            dns_names,
            not_after,
        })
    }
}

fn common_name(name: Der<'_>) -> Option<String> {
    name.filter(|(tag, _)| *tag == SET)
        .flat_map(|(_, set)| Der(set))
        .find_map(|(_, attribute)| {
            let mut attribute = Der(attribute);
            let (_, value) =
                (attribute.next()? == (OID, ID_AT_COMMON_NAME)).then(|| attribute.next())??;
            text(value)
        })
}

fn dns_names(mut extensions: Der<'_>) -> Option<Vec<String>> {
    let names = extensions.find_map(|(_, extension)| {
        let mut extension = Der(extension);
        let is_names = extension.next()? == (OID, ID_CE_SUBJECT_ALT_NAME);
        let (_, value) = is_names.then(|| extension.find(|(tag, _)| *tag == OCTET_STRING))??;
        Der(value).enter(SEQUENCE)
    })?;
    Some(
        names
            .filter(|(tag, _)| *tag == DNS_NAME)
            .filter_map(|(_, name)| text(name))
            .collect(),
    )
}

fn text(value: &[u8]) -> Option<String> {
    std::str::from_utf8(value).ok().map(str::to_owned)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5).
fn read_time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: u64 = text.get(..2)?.parse().ok()?;
            (
                if year < 50 {
                    year.checked_add(2000)?
                } else {
                    year.checked_add(1900)?
                },
                text.get(2..)?,
            )
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at.checked_add(2)?)?.parse::<u64>().ok();
    let (month, day) = (two(0)?, two(2)?);
    let days = days_since_1970(year, month, day)?;
    let seconds = (two(4)?.checked_mul(3600)?)
        .checked_add(two(6)?.checked_mul(60)?)?
        .checked_add(two(8)?)?;
    let since = Duration::from_secs(days.checked_mul(86_400)?.checked_add(seconds)?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// Days in the proleptic Gregorian calendar; years begin in March so that the leap day comes last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    let year = if month <= 2 {
        year.checked_sub(1)?
    } else {
        year
    };
    let month_from_march = month.checked_add(9)? % 12;
    let day_of_year = (month_from_march.checked_mul(153)?.checked_add(2)? / 5)
        .checked_add(day)?
        .checked_sub(1)?;
    let leap_days = (year / 4)
        .checked_sub(year / 100)?
        .checked_add(year / 400)?;
    let days = year
        .checked_mul(365)?
        .checked_add(leap_days)?
        .checked_add(day_of_year)?;
    // 1 March of year 0 to 1 January 1970.
    days.checked_sub(719_468)
}

/// Elements of DER, one after the other.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

// === impl Der ===

impl<'a> Der<'a> {
    fn next_tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next element, if it has that tag.
    fn enter(&mut self, tag: u8) -> Option<Der<'a>> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, content)| Der(content))
    }
}

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // The long form: the low bits say how many bytes the length has.
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = (bytes.len() <= 4).then(|| {
                bytes
                    .iter()
                    .fold(0, |sum: usize, byte| sum << 8 | usize::from(*byte))
            })?;
            (length, rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_names_and_validity() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![
            "lab.example.org".to_owned(),
            "lab2.example.org".to_owned(),
        ])
        .unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "Example Laboratory");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Labor Süd");
        params.not_after = rcgen::date_time_ymd(2031, 3, 1);
        let certificate = params.self_signed(&key).unwrap();
        let facts = CertificateFacts::read(certificate.der());
        assert_eq!(facts.common_name.as_deref(), Some("Labor Süd"));
        assert_eq!(facts.dns_names, ["lab.example.org", "lab2.example.org"]);
        assert_eq!(
            facts.not_after,
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_930_089_600))
        );
    }

    #[test]
    fn reads_both_forms_of_time() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(read_time(UTC_TIME, b"700101000000Z"), at(0));
        assert_eq!(read_time(UTC_TIME, b"240229235959Z"), at(1_709_251_199));
        assert_eq!(
            read_time(GENERALIZED_TIME, b"20500101000000Z"),
            at(2_524_608_000)
        );
        assert_eq!(read_time(UTC_TIME, b"241301000000Z"), None);
        assert_eq!(read_time(UTC_TIME, b"2401"), None);
        assert_eq!(read_time(OID, b"700101000000Z"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_left_out(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            CertificateFacts::read(&bytes);
        }
    }
}
