//! The checksum of a record: CRC-32C over all that was given, each part with its length.

/// What is checked: everything a lease hands out and the stored acknowledgement.
pub(crate) struct Parts<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) listener: &'a str,
    pub(crate) route: &'a str,
    pub(crate) keys: &'a str,
    pub(crate) attributes: &'a str,
    pub(crate) ack: Option<&'a [u8]>,
}

// === impl Parts ===

impl Parts<'_> {
    pub(crate) fn checksum(&self) -> i64 {
        let mut crc = crc32c::crc32c(self.payload);
        for part in [self.listener, self.route, self.keys, self.attributes] {
            crc = extend(crc, part.as_bytes());
        }
        if let Some(ack) = self.ack {
            crc = extend(crc, ack);
        }
        i64::from(crc)
    }
}

/// The length goes in as well, so that bytes cannot move from one part to the next unseen.
fn extend(crc: u32, part: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc, &(part.len() as u64).to_le_bytes());
    crc32c::crc32c_append(crc, part)
}
