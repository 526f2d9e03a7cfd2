//! An attachment that is taken out of its resource and becomes a Binary, sent as the bytes that it is: a quarter less than
//! in a Bundle, and past limits that servers have for Bundles.

use base64::Engine as _;
use bytes::Bytes;
use http::Method;
use uuid::Uuid;

use crate::request::Call;

/// Characters of base64 that are worth a request of their own.
const WORTH: usize = 8 * 1024;
const DATA: &str = r#""data":""#;
const CONTENT_TYPE: &str = r#""contentType":""#;

/// Bytes with their media type, and the id that the Binary gets.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) bytes: Bytes,
    media_type: String,
    id: Uuid,
}

/// Takes the largest attachment out of a resource; the rest of the resource refers to the Binary. The id is made of the
/// resource's name and the bytes, so that the same one is written when the delivery is made again.
pub(super) fn take(resource: &str, full_url: &str) -> Option<(Attachment, String)> {
    let (start, end) = resource
        .match_indices(DATA)
        .filter_map(|(at, _)| {
            let start = at + DATA.len();
            let end = start + resource.get(start..)?.find('"')?;
            Some((start, end))
        })
        .max_by_key(|(start, end)| end - start)
        .filter(|(start, end)| end - start >= WORTH)?;
    let before = resource.get(..start - DATA.len())?;
    let after = resource.get(end + 1..)?;
    // `contentType` stands before `data` in the same object, which has no objects inside up to there.
    let own = before.get(before.rfind('{')?..)?;
    let media_type = own
        .split_once(CONTENT_TYPE)
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("application/octet-stream", |(found, _)| found)
        .replace("\\/", "/");
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(resource.get(start..end)?)
        .ok()?;
    let name = [full_url.as_bytes(), &bytes].concat();
    let attachment = Attachment {
        bytes: bytes.into(),
        media_type,
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &name),
    };
    let rest = format!(r#"{before}"url":"{}"{after}"#, attachment.reference());
    Some((attachment, rest))
}

impl Attachment {
    /// How others refer to it.
    pub(super) fn reference(&self) -> String {
        format!("Binary/{}", self.id)
    }

    /// What it would be called in a Bundle.
    pub(super) fn full_url(&self) -> String {
        format!("urn:uuid:{}", self.id)
    }

    /// The request that stores it.
    pub(super) fn call(&self) -> Box<Call> {
        Box::new(Call {
            content_type: Some(self.media_type.clone()),
            ..Call::new(Method::PUT, self.reference())
        })
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment")
            .field("bytes", &self.bytes.len())
            .field("media_type", &self.media_type)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_taken() {
        let small = "QUJD".repeat(10);
        let large = "QUJD".repeat(4000);
        let resource = format!(
            r#"{{"resourceType":"DiagnosticReport","presentedForm":[{{"contentType":"text/plain","data":"{small}"}},{{"contentType":"application/pdf","data":"{large}","title":"x"}}]}}"#
        );
        let (attachment, rest) = take(&resource, "urn:uuid:1").unwrap();
        assert_eq!(attachment.bytes, "ABC".repeat(4000));
        assert_eq!(attachment.media_type, "application/pdf");
        let url = format!(
            r#"{{"contentType":"application/pdf","url":"{}","title":"x"}}"#,
            attachment.reference()
        );
        assert!(rest.contains(&url) && rest.contains(&small), "{rest}");
        assert_eq!(
            take(&resource, "urn:uuid:1").unwrap().0,
            attachment,
            "the same id again"
        );
        assert_ne!(take(&resource, "urn:uuid:2").unwrap().0.id, attachment.id);
        assert!(take(&rest, "urn:uuid:1").is_none(), "what is left is small");
        let broken = resource.replace("QUJDQUJD", "Q!JDQUJD");
        assert!(take(&broken, "urn:uuid:1").is_none());
    }
}
