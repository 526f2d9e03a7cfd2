//! Bodies on the wire: gzip, and FHIR as XML. Everything above this works with plain JSON.

use std::io::{Read, Write};

use fhir::tree::{self, Limits, WriteOptions};
use fhir::xml;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// Compresses; writing to memory does not fail.
pub(crate) fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// Decompresses up to `limit` bytes, and says whether there were more. `None` when it is not gzip.
pub(crate) fn gunzip(body: &[u8], limit: usize) -> Option<(Vec<u8>, bool)> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut out = Vec::new();
    MultiGzDecoder::new(body)
        .take(most)
        .read_to_end(&mut out)
        .ok()?;
    let more = out.len() > limit;
    out.truncate(limit);
    Some((out, more))
}

/// A FHIR resource in JSON as XML, or why it cannot be: element and rule, no value.
pub(crate) fn to_xml(json: &[u8]) -> Result<String, String> {
    let limits = Limits {
        bytes: usize::MAX,
        ..Limits::default()
    };
    let (tree, root) = tree::read(json, &limits).map_err(|why| why.to_string())?;
    let mut out = String::with_capacity(json.len());
    xml::write(&tree, root, &mut out).map_err(|why| format!("cannot be written as xml: {why}"))?;
    Ok(out)
}

/// A FHIR resource in XML as JSON; `None` when it is something else, such as a page for people.
pub(crate) fn to_json(xml: &[u8], limit: usize) -> Option<Vec<u8>> {
    let limits = Limits {
        bytes: limit,
        ..Limits::default()
    };
    let (tree, root) = xml::read(xml, &limits).ok()?;
    let mut out = Vec::with_capacity(xml.len());
    tree.write(root, &mut out, &WriteOptions::default());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_and_back() {
        let body = b"{\"a\":1}".repeat(1000);
        let small = gzip(&body).unwrap();
        assert!(small.len() < body.len() / 20);
        assert_eq!(gunzip(&small, body.len()), Some((body.clone(), false)));
        assert_eq!(gunzip(&small, 8), Some((body[..8].to_vec(), true)));
        assert_eq!(gunzip(b"not gzip", 8), None);
        assert_eq!(
            gunzip(&small[..small.len() - 9], body.len()),
            None,
            "cut off"
        );
    }

    #[test]
    fn a_bomb_stays_small() {
        let bomb = gzip(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 512 << 10);
        let (out, more) = gunzip(&bomb, 1 << 20).unwrap();
        assert_eq!((out.len(), more), (1 << 20, true));
    }
}
