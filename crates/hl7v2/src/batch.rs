//! Payloads of several messages (HL7 v2 chapter 2.10.3): files and batches with
//! `FHS`, `BHS`, `BTS` and `FTS`, and messages that just follow each other.
//!
//! [`split`] finds where each message stands; it does not parse them. The
//! counts that trailers declare are checked, and text that belongs to no
//! message is reported, so nothing disappears between two messages.

use std::ops::Range;

use crate::delimiters::Delimiters;
use crate::issue::{Issue, IssueCode};
use crate::scan::is_blank;

/// What a payload consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    payload: &'a [u8],
    /// The messages in their order, each from its `MSH` to before the next header or trailer.
    pub messages: Vec<Member>,
    /// The batches (`BHS` to `BTS`) in their order.
    pub batches: Vec<Envelope>,
    /// The files (`FHS` to `FTS`), at most one in a sound payload.
    pub files: Vec<Envelope>,
    /// Wrong counts, missing trailers, text outside of messages.
    pub issues: Vec<Issue>,
}

/// One message of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its bytes in the payload.
    pub range: Range<usize>,
    /// Which of [`Split::batches`] it is in.
    pub batch: Option<usize>,
}

/// The header and the trailer around a batch or a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Bytes of the `BHS` or `FHS` segment, without its line end.
    pub header: Option<Range<usize>>,
    /// Bytes of the `BTS` or `FTS` segment, without its line end.
    pub trailer: Option<Range<usize>>,
    /// BTS-1 or FTS-1 when it is a number.
    pub declared: Option<u64>,
    /// How many messages (of a batch) or batches (of a file) there are.
    pub found: u64,
}

/// Finds the messages of a payload.
///
/// A header counts at the start of a line (after CR or LF, blanks, a byte order
/// mark or a left-on MLLP start byte) and only with usable delimiters.
#[must_use]
pub fn split(payload: &[u8]) -> Split<'_> {
    let mut splitter = Splitter {
        split: Split {
            payload,
            messages: Vec::new(),
            batches: Vec::new(),
            files: Vec::new(),
            issues: Vec::new(),
        },
        batch_open: false,
        file_open: false,
        state: State::Outside,
    };
    let mut at = 0;
    while at < payload.len() {
        let rest = payload.get(at..).unwrap_or_default();
        let length = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        splitter.line(at, rest.get(..length).unwrap_or_default());
        at += length + 1;
    }
    splitter.finish()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first message, or after a trailer.
    Outside,
    /// The same, and stray text was reported already.
    Stray,
    /// The last of `messages` is still open.
    Message,
}

struct Splitter<'a> {
    split: Split<'a>,
    batch_open: bool,
    file_open: bool,
    state: State,
}

// === impl Split ===

impl<'a> Split<'a> {
    /// Whether this is anything but one plain message.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        self.messages.len() != 1 || !self.batches.is_empty() || !self.files.is_empty()
    }

    /// The bytes of every message.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + '_ {
        let payload = self.payload;
        self.messages
            .iter()
            .map(move |member| payload.get(member.range.clone()).unwrap_or_default())
    }
}

// === impl Splitter ===

impl<'a> Splitter<'a> {
    fn line(&mut self, start: usize, line: &'a [u8]) {
        let before = |byte: &u8| is_blank(*byte) || matches!(byte, 0x0B | 0x1C);
        let mark = if line.starts_with(b"\xEF\xBB\xBF") {
            3
        } else {
            0
        };
        let text = line.get(mark..).unwrap_or_default();
        let skipped = mark + text.iter().take_while(|byte| before(byte)).count();
        let text = line.get(skipped..).unwrap_or_default();
        let start = start + skipped;
        let range = start..start + text.len();
        let usable = || Delimiters::read(text).is_ok();
        match text.get(..3) {
            Some(b"MSH") if usable() => self.message(start),
            Some(b"BHS") if usable() => self.open_batch(range),
            Some(b"FHS") if usable() => self.open_file(range),
            Some(b"BTS") if is_trailer(text) => self.close_batch(range, text),
            Some(b"FTS") if is_trailer(text) => self.close_file(range, text),
            _ => self.other(start, text),
        }
    }

    fn message(&mut self, start: usize) {
        self.end_message(start);
        self.state = State::Message;
        let batch = self.batch_open.then(|| self.split.batches.len() - 1);
        if let Some(envelope) = batch.and_then(|batch| self.split.batches.get_mut(batch)) {
            envelope.found += 1;
        }
        self.split.messages.push(Member {
            range: start..self.split.payload.len(),
            batch,
        });
    }

    /// Ends the open message before `end`, without framing that stands there.
    fn end_message(&mut self, end: usize) {
        if self.state != State::Message {
            return;
        }
        self.state = State::Outside;
        let payload = self.split.payload;
        if let Some(member) = self.split.messages.last_mut() {
            let bytes = payload.get(member.range.start..end).unwrap_or_default();
            member.range.end = member.range.start + unframed(bytes);
        }
    }

    fn open_batch(&mut self, header: Range<usize>) {
        self.end_message(header.start);
        self.end_batch(None);
        self.batch_open = true;
        self.split.batches.push(Envelope {
            header: Some(header),
            ..Envelope::default()
        });
        if let Some(file) = self.split.files.last_mut().filter(|_| self.file_open) {
            file.found += 1;
        }
    }

    fn close_batch(&mut self, trailer: Range<usize>, text: &[u8]) {
        self.end_message(trailer.start);
        if !self.batch_open {
            return self.issue(IssueCode::TrailerUnexpected, trailer.start);
        }
        self.end_batch(Some((trailer, declared(text))));
    }

    fn end_batch(&mut self, trailer: Option<(Range<usize>, Count)>) {
        if std::mem::take(&mut self.batch_open)
            && let Some(envelope) = self.split.batches.last_mut()
        {
            let issue = envelope.close(trailer, IssueCode::BatchCount);
            self.split.issues.extend(issue);
        }
    }

    fn open_file(&mut self, header: Range<usize>) {
        self.end_message(header.start);
        self.end_batch(None);
        self.end_file(None);
        self.file_open = true;
        self.split.files.push(Envelope {
            header: Some(header),
            ..Envelope::default()
        });
    }

    fn close_file(&mut self, trailer: Range<usize>, text: &[u8]) {
        self.end_message(trailer.start);
        self.end_batch(None);
        if !self.file_open {
            return self.issue(IssueCode::TrailerUnexpected, trailer.start);
        }
        self.end_file(Some((trailer, declared(text))));
    }

    fn end_file(&mut self, trailer: Option<(Range<usize>, Count)>) {
        if std::mem::take(&mut self.file_open)
            && let Some(envelope) = self.split.files.last_mut()
        {
            // Messages without a BHS around them are one batch, says 2.10.3.1.
            if envelope.found == 0 && !self.split.messages.is_empty() {
                envelope.found = 1;
            }
            let issue = envelope.close(trailer, IssueCode::FileCount);
            self.split.issues.extend(issue);
        }
    }

    fn other(&mut self, start: usize, text: &[u8]) {
        if self.state == State::Outside && !text.is_empty() {
            self.state = State::Stray;
            self.issue(IssueCode::TextOutsideMessage, start);
        }
    }

    fn finish(mut self) -> Split<'a> {
        self.end_message(self.split.payload.len());
        self.end_batch(None);
        self.end_file(None);
        self.split
    }

    fn issue(&mut self, code: IssueCode, offset: usize) {
        self.split.issues.push(issue(code, offset));
    }
}

// === impl Envelope ===

impl Envelope {
    /// Sets the trailer and says what is wrong with it.
    fn close(&mut self, trailer: Option<(Range<usize>, Count)>, wrong: IssueCode) -> Option<Issue> {
        let Some((trailer, count)) = trailer else {
            let start = self.header.as_ref().map_or(0, |header| header.start);
            return Some(issue(IssueCode::TrailerMissing, start));
        };
        let start = trailer.start;
        self.trailer = Some(trailer);
        match count {
            Count::Missing => None,
            Count::Number(number) => {
                self.declared = Some(number);
                (number != self.found).then(|| issue(wrong, start))
            }
            Count::Unreadable => Some(issue(wrong, start)),
        }
    }
}

enum Count {
    Missing,
    Number(u64),
    Unreadable,
}

/// BTS-1 or FTS-1.
fn declared(trailer: &[u8]) -> Count {
    let delimiter = trailer.get(3);
    let mut fields = trailer.split(|byte| Some(byte) == delimiter);
    let count = fields.nth(1).unwrap_or_default().trim_ascii();
    if count.is_empty() {
        return Count::Missing;
    }
    let number = std::str::from_utf8(count).ok();
    match number.and_then(|text| text.parse().ok()) {
        Some(number) => Count::Number(number),
        None => Count::Unreadable,
    }
}

fn is_trailer(text: &[u8]) -> bool {
    text.get(3)
        .is_none_or(|byte| byte.is_ascii_punctuation() || *byte == b' ')
}

/// Length of a message without MLLP end and start bytes behind it.
fn unframed(bytes: &[u8]) -> usize {
    let trailing = |byte: &u8| is_blank(*byte) || matches!(byte, 0x0B | 0x1C);
    let tail = bytes.iter().rev().take_while(|byte| trailing(byte)).count();
    let text = bytes.len() - tail;
    let after = bytes.get(text..).unwrap_or_default();
    memchr::memchr2(0x0B, 0x1C, after).map_or(bytes.len(), |at| text + at)
}

fn issue(code: IssueCode, offset: usize) -> Issue {
    Issue {
        code,
        place: None,
        offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(split: &Split<'a>) -> Vec<&'a str> {
        let texts = split.messages().map(std::str::from_utf8);
        texts.collect::<Result<_, _>>().unwrap()
    }

    fn codes(split: &Split<'_>) -> Vec<&'static str> {
        split
            .issues
            .iter()
            .map(|issue| issue.code.as_str())
            .collect()
    }

    #[test]
    fn one_message_is_no_batch() {
        let split = split(b"MSH|^~\\&|A\rPID|1\r");
        assert!(!split.is_batch());
        assert_eq!(texts(&split), ["MSH|^~\\&|A\rPID|1\r"]);
        assert!(split.issues.is_empty());
    }

    #[test]
    fn a_file_with_two_batches_is_counted() {
        let payload = "FHS|^~\\&|F\rBHS|^~\\&|B1\rMSH|^~\\&|A\rPID|1\rMSH|^~\\&|B\rBTS|2|x\r\
                       BHS|^~\\&|B2\rMSH|^~\\&|C\rBTS|1\rFTS|2\r";
        let split = split(payload.as_bytes());
        assert!(split.is_batch());
        let expected = ["MSH|^~\\&|A\rPID|1\r", "MSH|^~\\&|B\r", "MSH|^~\\&|C\r"];
        assert_eq!(texts(&split), expected);
        let batches: Vec<_> = split.messages.iter().map(|member| member.batch).collect();
        assert_eq!(batches, [Some(0), Some(0), Some(1)]);
        assert_eq!(split.batches[0].declared, Some(2));
        assert_eq!(split.files[0].found, 2);
        let header = split.batches[1].header.clone().unwrap();
        assert_eq!(&payload[header], "BHS|^~\\&|B2");
        assert!(codes(&split).is_empty());
    }

    #[test]
    fn wrong_counts_and_missing_trailers_are_reported() {
        let wrong = split(b"FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|A\rBTS|2\rFTS|x\r");
        assert_eq!(codes(&wrong), ["batch-count", "file-count"]);
        assert_eq!(wrong.issues[0].offset, 29);
        let cut = split(b"FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|A\r");
        assert_eq!(codes(&cut), ["trailer-missing", "trailer-missing"]);
        let extra = split(b"MSH|^~\\&|A\rBTS|1\rFTS|1\r");
        assert_eq!(codes(&extra), ["trailer-unexpected", "trailer-unexpected"]);
        let silent = split(b"FHS|^~\\&\rMSH|^~\\&|A\rFTS|1\r");
        assert!(codes(&silent).is_empty());
    }

    #[test]
    fn bare_messages_follow_each_other() {
        let payload =
            "\u{feff}MSH|^~\\&|A\nPID|1\n\n  MSH|^~\\&|B\r\nPID|2\r\n\x0bMSH$%~\\&$C\rPID$3\x1c\r";
        let split = split(payload.as_bytes());
        assert!(split.is_batch());
        let expected = [
            "MSH|^~\\&|A\nPID|1\n\n  ",
            "MSH|^~\\&|B\r\nPID|2\r\n",
            "MSH$%~\\&$C\rPID$3",
        ];
        assert_eq!(texts(&split), expected);
        assert!(codes(&split).is_empty());
    }

    #[test]
    fn text_that_belongs_to_no_message_is_reported_once() {
        let split = split(b"hello\rworld\rMSH|^~\\&|A\rMSHX\rBTSX|1\rBTS|1\rrest\rmore\r");
        assert_eq!(texts(&split), ["MSH|^~\\&|A\rMSHX\rBTSX|1\r"]);
        let expected = [
            "text-outside-message",
            "trailer-unexpected",
            "text-outside-message",
        ];
        assert_eq!(codes(&split), expected);
    }

    #[test]
    fn nothing_is_no_message() {
        assert!(split(b"").messages.is_empty());
        assert!(split(b"\r\n\x0b\x1c\r").issues.is_empty());
    }
}
