//! The answer to a batch: its acknowledgements in a batch (chapter 2.10.3.3).

use super::AckContext;
use super::writer::{UTF_8, Writer};
use crate::delimiters::{Delimiters, encoding_characters};

/// The headers around the messages that are answered, each without its line end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enclosed<'a> {
    /// The `FHS` segment, when there was one.
    pub file: Option<&'a [u8]>,
    /// The `BHS` segment, when there was one.
    pub batch: Option<&'a [u8]>,
}

/// Puts acknowledgements into a batch that answers a batch.
///
/// Each header of the batch (and of the file around it) is answered by one with
/// sender and receiver changed, its own id from `context`, and the id of the
/// one that it answers (BHS-12, FHS-12). The trailers count. `acks` are written
/// as they are: one for each message, as `build` made them, or none at all
/// when nothing was wrong and the sender wants to hear of errors only.
#[must_use]
pub fn build_batch(enclosed: &Enclosed<'_>, acks: &[Vec<u8>], context: &AckContext<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + acks.iter().map(Vec::len).sum::<usize>());
    let file = enclosed
        .file
        .map(|header| Lines::new("FHS", "FTS", header, context));
    let batch = enclosed
        .batch
        .map(|header| Lines::new("BHS", "BTS", header, context));
    out.extend(file.iter().flat_map(|lines| &lines.header));
    out.extend(batch.iter().flat_map(|lines| &lines.header));
    out.extend(acks.iter().flatten());
    out.extend(batch.iter().flat_map(|lines| lines.trailer(acks.len())));
    out.extend(
        file.iter()
            .flat_map(|lines| lines.trailer(usize::from(batch.is_some()))),
    );
    out
}

/// The header that answers one, and what its trailer needs.
struct Lines {
    header: Vec<u8>,
    trailer: &'static str,
    field: u8,
}

// === impl Lines ===

impl Lines {
    fn new(name: &str, trailer: &'static str, inbound: &[u8], context: &AckContext<'_>) -> Self {
        let delimiters = Delimiters::read(inbound).unwrap_or(Delimiters::STANDARD);
        let mut writer = Writer {
            out: Vec::with_capacity(128),
            delimiters,
            charset: UTF_8,
        };
        // field n of a header segment stands after n - 1 delimiters, the first one being field 1
        let fields: Vec<_> = inbound.split(|byte| *byte == delimiters.field).collect();
        let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
        let encoding = encoding_characters(inbound, delimiters.field);
        writer.start(name);
        writer.raw_field(if encoding.is_empty() {
            b"^~\\&"
        } else {
            encoding
        });
        for number in [5, 6, 3, 4] {
            writer.raw_field(field(number));
        }
        writer.field(context.timestamp);
        writer.raw_field(b"");
        writer.raw_field(b"");
        writer.raw_field(b"");
        writer.field(context.control_id);
        writer.raw_field(field(11));
        writer.end();
        Self {
            header: writer.out,
            trailer,
            field: delimiters.field,
        }
    }

    fn trailer(&self, count: usize) -> Vec<u8> {
        let mut out = self.trailer.as_bytes().to_vec();
        out.push(self.field);
        out.extend_from_slice(count.to_string().as_bytes());
        out.push(b'\r');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: AckContext<'static> = AckContext {
        control_id: "FW-9",
        timestamp: "20260102030405+0000",
    };

    #[test]
    fn a_batch_is_answered_by_a_batch() {
        let acks = [
            b"MSH|^~\\&|1\rMSA|AA|1\r".to_vec(),
            b"MSH|^~\\&|2\rMSA|AE|2\r".to_vec(),
        ];
        let enclosed = Enclosed {
            file: Some(b"FHS|^~\\&|LAB|H|FW^1^ISO|N|20260101||||file-3"),
            batch: Some(b"BHS|^~\\&|LAB|H|FW^1^ISO|N|20260101||||batch-7"),
        };
        let answer = String::from_utf8(build_batch(&enclosed, &acks, &CONTEXT)).unwrap();
        assert_eq!(
            answer,
            "FHS|^~\\&|FW^1^ISO|N|LAB|H|20260102030405+0000||||FW-9|file-3\r\
             BHS|^~\\&|FW^1^ISO|N|LAB|H|20260102030405+0000||||FW-9|batch-7\r\
             MSH|^~\\&|1\rMSA|AA|1\rMSH|^~\\&|2\rMSA|AE|2\r\
             BTS|2\rFTS|1\r"
        );
        let split = crate::batch::split(answer.as_bytes());
        assert_eq!((split.messages.len(), split.issues.len()), (2, 0));
    }

    #[test]
    fn the_delimiters_are_those_of_the_batch() {
        let enclosed = Enclosed {
            file: None,
            batch: Some(b"BHS!*=?%!LAB!H!FW!N!!!!!7"),
        };
        let answer = String::from_utf8(build_batch(&enclosed, &[], &CONTEXT)).unwrap();
        assert_eq!(
            answer,
            "BHS!*=?%!FW!N!LAB!H!20260102030405+0000!!!!FW-9!7\rBTS!0\r"
        );
    }

    #[test]
    fn without_headers_the_answers_just_follow_each_other() {
        let acks = [b"MSH|^~\\&|1\r".to_vec(), b"MSH|^~\\&|2\r".to_vec()];
        assert_eq!(
            build_batch(&Enclosed::default(), &acks, &CONTEXT),
            b"MSH|^~\\&|1\rMSH|^~\\&|2\r"
        );
    }
}
