//! What of a record is encrypted where keys are given.

use std::borrow::Cow;

use super::{
    checksum::Parts,
    ciphers::{Ciphers, Part},
    lane::lanes,
};
use crate::error::Result;

/// A record before it is encrypted.
pub(crate) struct Plain<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) ack: Option<&'a [u8]>,
    pub(crate) ordering_keys: &'a [String],
    /// `ordering_keys` as JSON.
    pub(crate) keys: &'a str,
    pub(crate) listener: &'a str,
    pub(crate) route: &'a str,
    /// As JSON.
    pub(crate) attributes: &'a str,
}

/// What of a record is encrypted where keys are given, as it goes into its row.
pub(crate) struct Stored<'a> {
    pub(crate) cipher: Option<i64>,
    pub(crate) keys: Cow<'a, str>,
    pub(crate) sealed_keys: Option<Vec<u8>>,
    pub(crate) ack: Option<Cow<'a, [u8]>>,
    pub(crate) payload: Cow<'a, [u8]>,
    pub(crate) checksum: i64,
}

impl<'a> Stored<'a> {
    /// As it is.
    pub(crate) fn plain(plain: &Plain<'a>, checksum: i64) -> Self {
        Self {
            cipher: None,
            keys: Cow::Borrowed(plain.keys),
            sealed_keys: None,
            ack: plain.ack.map(Cow::Borrowed),
            payload: Cow::Borrowed(plain.payload),
            checksum,
        }
    }

    /// Encrypts; without a key, everything stays as it is. The checksum is that of what is stored, so that damage
    /// is found without the key.
    pub(crate) fn sealed(ciphers: &Ciphers, id: i64, plain: &Plain<'a>) -> Result<Self> {
        let seal = |part, bytes: &'a [u8]| -> Result<Cow<'a, [u8]>> {
            Ok(match ciphers.seal(id, part, bytes)? {
                Some(sealed) => Cow::Owned(sealed),
                None => Cow::Borrowed(bytes),
            })
        };
        let payload = seal(Part::Payload, plain.payload)?;
        let ack = plain.ack.map(|ack| seal(Part::Ack, ack)).transpose()?;
        let sealed_keys = ciphers.seal(id, Part::Keys, plain.keys.as_bytes())?;
        let keys = if sealed_keys.is_some() {
            let lanes = serde_json::to_string(&lanes(plain.ordering_keys));
            Cow::Owned(lanes.unwrap_or_default())
        } else {
            Cow::Borrowed(plain.keys)
        };
        let checksum = Parts {
            payload: &payload,
            listener: plain.listener,
            route: plain.route,
            keys: &keys,
            attributes: plain.attributes,
            ack: ack.as_deref(),
        }
        .checksum();
        Ok(Self {
            cipher: ciphers.current(),
            keys,
            sealed_keys,
            ack,
            payload,
            checksum,
        })
    }
}
