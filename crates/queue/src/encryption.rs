//! Keys that records are encrypted with.

use std::{fmt, fmt::Write as _, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    digest,
};

use crate::error::{QueueError, Result};

const NONCE: usize = 12;
const TAG: usize = 16;

/// A key of AES-256-GCM. It has a name that is derived from it, so a key can never stand under a wrong name.
#[derive(Clone)]
pub struct EncryptionKey {
    name: String,
    key: Arc<RandomizedNonceKey>,
}

// === impl EncryptionKey ===

impl EncryptionKey {
    /// A key of these bytes.
    ///
    /// # Errors
    /// `Invalid` when the cryptography refuses it.
    pub fn new(bytes: &[u8; 32]) -> Result<Self> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes)
            .map_err(|_| QueueError::Invalid("the encryption key cannot be used"))?;
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"fhirway queue key name\0");
        hash.update(bytes);
        let mut name = String::with_capacity(16);
        for byte in hash.finish().as_ref().iter().take(8) {
            let _ = write!(name, "{byte:02x}");
        }
        Ok(Self {
            name,
            key: Arc::new(key),
        })
    }

    /// A key as text: 64 hexadecimal digits, or 44 characters of base64.
    ///
    /// # Errors
    /// `Invalid` when it is neither.
    pub fn from_text(text: &str) -> Result<Self> {
        let text = text.trim();
        let bytes = match text.len() {
            64 => hex(text),
            43 | 44 => base64(text),
            _ => None,
        };
        let bytes = bytes.ok_or(QueueError::Invalid(
            "an encryption key is 32 bytes: 64 hexadecimal digits, or base64 as of `openssl rand -base64 32`",
        ))?;
        Self::new(&bytes)
    }

    /// Its name: 16 hexadecimal digits of a hash. It says nothing about the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Nonce, encrypted bytes and tag. Opening needs the same `context`.
    pub(crate) fn seal(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>> {
        let mut body = Vec::with_capacity(plain.len() + TAG);
        body.extend_from_slice(plain);
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(context), &mut body)
            .map_err(|_| QueueError::Invalid("a record cannot be encrypted"))?;
        let mut sealed = Vec::with_capacity(NONCE + body.len());
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// What was sealed; `None` when it was changed, is of another place, or of another key.
    pub(crate) fn open(&self, sealed: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_at_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(context), &mut body)
            .ok()?
            .len();
        body.truncate(length);
        Some(body)
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", self.name)
    }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    let (pairs, _) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok()
}

/// Base64 of 32 bytes, with or without its `=`.
fn base64(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_suffix('=').unwrap_or(text);
    let mut bits = 0_u32;
    let mut count = 0;
    let mut bytes = Vec::with_capacity(32);
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> EncryptionKey {
        EncryptionKey::new(&[7; 32]).unwrap()
    }

    #[test]
    fn a_key_has_one_name_however_it_is_written() {
        let hex = EncryptionKey::from_text(&"07".repeat(32)).unwrap();
        let base64 =
            EncryptionKey::from_text("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n").unwrap();
        assert_eq!((hex.name(), base64.name()), (key().name(), key().name()));
        assert_ne!(key().name(), EncryptionKey::new(&[8; 32]).unwrap().name());
        for wrong in ["", "secret", &"0g".repeat(32), &"a".repeat(63)] {
            assert!(EncryptionKey::from_text(wrong).is_err());
        }
        assert!(!format!("{:?}", key()).contains("0707"));
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only_and_never_looks_the_same_twice() {
        let sealed = key().seal(b"MSH", b"record 1").unwrap();
        assert_ne!(sealed, key().seal(b"MSH", b"record 1").unwrap());
        assert_eq!(key().open(&sealed, b"record 1").unwrap(), b"MSH");
        assert!(key().open(&sealed, b"record 2").is_none());
        let other = EncryptionKey::new(&[8; 32]).unwrap();
        assert!(other.open(&sealed, b"record 1").is_none());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(key().open(&changed, b"record 1").is_none(), "byte {index}");
            assert!(key().open(&sealed[..index], b"record 1").is_none());
        }
    }
}
