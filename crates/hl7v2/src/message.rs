//! One parsed message, and how it is parsed.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::atomic::{self, AtomicU8};

use encoding_rs::Encoding;

use crate::charset::{self, Charset, CharsetSource, DEFAULT_FALLBACK};
use crate::delimiters::{Delimiters, encoding_characters};
use crate::error::ParseError;
use crate::header::Header;
use crate::index::Index;
use crate::issue::{Issue, IssueCode};
use crate::leaves::Leaves;
use crate::node::Node;
use crate::path::Path;
use crate::place::Place;
use crate::scan::{LineEnds, Scan, is_blank, scan};
use crate::segment::Segment;
use crate::version::Version;

/// Inputs larger than this (1 GiB less one byte) are refused: offsets have 30 bits.
pub const MAX_BYTES: usize = (1 << 30) - 1;

/// What a sender's configuration may change about reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParseOptions {
    /// The character set when MSH-18 names none and the bytes are no UTF-8.
    /// `None` means windows-1252, which contains ISO 8859-1.
    pub fallback_charset: Option<&'static Encoding>,
    /// The character set whatever MSH-18 says, for senders that declare a wrong one.
    pub charset_override: Option<&'static Encoding>,
    /// Join a line that is no segment to the segment before it, because the
    /// sender writes raw line ends inside fields. Otherwise such a line is a
    /// segment called `???` with an issue.
    pub join_raw_cr: bool,
    /// In a message whose segments end in CR, let a LF end one too when a
    /// segment name and a field delimiter follow it, for senders that mix both.
    /// Otherwise such a LF is data, as every other, with an issue.
    pub split_line_feeds: bool,
}

/// Values of [`Message::plain`].
const UNKNOWN: u8 = 0;
const PLAIN: u8 = 1;
const MIXED: u8 = 2;

/// One HL7 v2 message: the bytes as they came, and an index of where things stand.
///
/// Nothing is copied; text is unescaped and decoded when it is asked for.
pub struct Message<'a> {
    bytes: &'a [u8],
    pub(crate) delimiters: Delimiters,
    version: Version,
    pub(crate) charset: Charset,
    pub(crate) index: Index,
    /// Whether every leaf means itself (printable ASCII, no escape character outside of MSH-2): `UNKNOWN` until a text
    /// is asked for, so that reading a header alone looks at no byte twice.
    plain: AtomicU8,
}

/// Parses one message. Lenient: what is odd is listed beside the message.
///
/// # Errors
/// When there is no MSH segment, or MSH-1 or MSH-2 cannot divide anything, or
/// the input has 1 GiB or more.
pub fn parse(bytes: &[u8]) -> Result<(Message<'_>, Vec<Issue>), ParseError> {
    parse_with(bytes, &ParseOptions::default(), Index::new())
}

/// The same as [`parse`], with options and a reused [`Index`].
///
/// # Errors
/// As [`parse`]. The index is lost then, which costs the next message a few allocations.
pub fn parse_with<'a>(
    bytes: &'a [u8],
    options: &ParseOptions,
    mut index: Index,
) -> Result<(Message<'a>, Vec<Issue>), ParseError> {
    if bytes.len() > MAX_BYTES {
        return Err(ParseError::TooLarge {
            length: bytes.len(),
            limit: MAX_BYTES,
        });
    }
    let mut issues = Vec::new();
    let start = find_header(bytes, &mut issues)?;
    let end = content_end(bytes);
    let content = bytes.get(start..end).unwrap_or_default();
    let delimiters = Delimiters::read(content)?;
    note_delimiters(content, &delimiters, start, &mut issues);

    let line_ends = line_ends(content, delimiters.field);
    if line_ends == LineEnds::LineFeed {
        issues.push(plain(IssueCode::LineFeedEnds, start));
    }
    let charset = decide_charset(content, &delimiters, start, options, &mut issues);
    index.prepare(content.len());
    let what = Scan {
        bytes,
        start,
        end,
        delimiters,
        line_ends,
        multi_byte: charset.multi_byte(),
        join: options.join_raw_cr,
        split_line_feeds: options.split_line_feeds,
    };
    scan(&what, &mut index, &mut issues);
    let mut message = Message {
        bytes,
        delimiters,
        version: Version::NEWEST,
        charset,
        index,
        plain: AtomicU8::new(UNKNOWN),
    };
    message.read_version(&mut issues);
    Ok((message, issues))
}

/// Offset of the MSH: at the start, but for a byte order mark, blanks and a
/// left-on MLLP start byte; else the first line that starts with it.
fn find_header(bytes: &[u8], issues: &mut Vec<Issue>) -> Result<usize, ParseError> {
    let mut start = 0;
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        issues.push(plain(IssueCode::ByteOrderMark, 0));
        start = 3;
    }
    let rest = bytes.get(start..).unwrap_or_default();
    let skipped = |byte: &u8| is_blank(*byte) || *byte == 0x0B;
    start += rest.iter().take_while(|byte| skipped(byte)).count();
    let rest = bytes.get(start..).unwrap_or_default();
    if rest.starts_with(b"MSH") {
        return Ok(start);
    }
    let line = memchr::memmem::find_iter(rest, b"MSH")
        .find(|at| {
            let before = at.checked_sub(1).and_then(|before| rest.get(before));
            matches!(before, Some(b'\r' | b'\n' | 0x0B))
        })
        .ok_or(ParseError::NoHeader)?;
    issues.push(plain(IssueCode::TextBeforeHeader, start));
    Ok(start + line)
}

/// Where the message ends: before the last line end, and before an MLLP end
/// byte that was left on.
fn content_end(bytes: &[u8]) -> usize {
    let trailing = |byte: &u8| is_blank(*byte) || *byte == 0x1C;
    let tail = bytes.iter().rev().take_while(|byte| trailing(byte)).count();
    let text = bytes.len() - tail;
    let after = bytes.get(text..).unwrap_or_default();
    // Blanks before the line end belong to the last field.
    let end = after.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    end.map_or(bytes.len(), |at| text + at)
}

/// CR ends segments. LF does where there is no CR at all, and where one stands
/// in the header before a further segment, since no field of an MSH can hold a
/// line end: such a file was converted by a tool that missed some.
fn line_ends(content: &[u8], field: u8) -> LineEnds {
    match memchr::memchr2(b'\r', b'\n', content) {
        Some(at) if content.get(at) == Some(&b'\n') => {
            let after = content.get(at + 1..).unwrap_or_default();
            let next = crate::scan::segment_name(after, field).is_some();
            if next || memchr::memchr(b'\r', after).is_none() {
                LineEnds::LineFeed
            } else {
                LineEnds::CarriageReturn
            }
        }
        _ => LineEnds::CarriageReturn,
    }
}

fn note_delimiters(content: &[u8], delimiters: &Delimiters, start: usize, issues: &mut Vec<Issue>) {
    let written = encoding_characters(content, delimiters.field).len();
    let code = match written.cmp(&delimiters.encoding_characters().count()) {
        Ordering::Equal if written < 4 => IssueCode::DelimitersMissing,
        Ordering::Equal => return,
        _ => IssueCode::DelimitersExtra,
    };
    issues.push(Issue {
        code,
        place: Some(header_place(2)),
        offset: start + 4,
    });
}

fn decide_charset(
    content: &[u8],
    delimiters: &Delimiters,
    start: usize,
    options: &ParseOptions,
    issues: &mut Vec<Issue>,
) -> Charset {
    if let Some(encoding) = options.charset_override {
        let source = CharsetSource::Override;
        return Charset { encoding, source };
    }
    let fallback = options.fallback_charset.unwrap_or(DEFAULT_FALLBACK);
    let (offset, field) = raw_header_field(content, delimiters.field, 18);
    let mut codes = field.split(|byte| Some(*byte) == delimiters.repetition);
    let (charset, issue) = charset::decide(&mut codes, content, fallback);
    if let Some(code) = issue {
        issues.push(Issue {
            code,
            place: Some(header_place(18)),
            offset: start + offset,
        });
    }
    charset
}

/// A field of the header before there is an index. `content` starts at `MSH`.
fn raw_header_field(content: &[u8], delimiter: u8, number: usize) -> (usize, &[u8]) {
    let line = memchr::memchr2(b'\r', b'\n', content).unwrap_or(content.len());
    let line = content.get(..line).unwrap_or_default();
    // The name is before the first delimiter, which is field 1 itself.
    let Some(before) = memchr::memchr_iter(delimiter, line).nth(number - 2) else {
        return (line.len(), &[]);
    };
    let rest = line.get(before + 1..).unwrap_or_default();
    let end = memchr::memchr(delimiter, rest).unwrap_or(rest.len());
    (before + 1, rest.get(..end).unwrap_or_default())
}

fn plain(code: IssueCode, offset: usize) -> Issue {
    Issue {
        code,
        place: None,
        offset,
    }
}

fn header_place(field: u32) -> Place {
    Place {
        segment_index: 0,
        segment: *b"MSH",
        occurrence: 1,
        field: Some(field),
        repetition: None,
        component: None,
        subcomponent: None,
    }
}

// === impl Message ===

impl<'a> Message<'a> {
    /// All bytes of the input, also those before the MSH.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The delimiters that MSH-1 and MSH-2 declare.
    #[must_use]
    pub fn delimiters(&self) -> Delimiters {
        self.delimiters
    }

    /// The version of MSH-12, or the newest when it is missing or unknown (with an issue).
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The character set that text is decoded with.
    #[must_use]
    pub fn charset(&self) -> Charset {
        self.charset
    }

    /// The MSH segment with names for its fields.
    #[must_use]
    pub fn header(&self) -> Header<'_> {
        Header::new(Segment::new(self, 0))
    }

    /// How many segments there are, blank lines not counted.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.index.segments.len()
    }

    /// The segment at this position, counted from 0 (always the MSH).
    #[must_use]
    pub fn segment(&self, index: usize) -> Option<Segment<'_>> {
        (index < self.segment_count()).then(|| Segment::new(self, index))
    }

    /// All segments in their order.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = Segment<'_>> + DoubleEndedIterator {
        (0..self.segment_count()).map(|index| Segment::new(self, index))
    }

    /// The segments of this name in their order.
    pub fn segments_named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = Segment<'s>> {
        self.segments()
            .filter(move |segment| segment.name() == name)
    }

    /// The node at a path, in the first segment of that name unless the path
    /// says which. `None` when there is no such segment or the path names no
    /// field; an absent node when the segment is there and the value is not.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<Node<'_>> {
        let field = path.field?;
        let occurrence = path.occurrence.unwrap_or(1);
        let position = self
            .index
            .segments
            .iter()
            .position(|span| span.name == path.segment && span.occurrence == occurrence)?;
        let mut node = Segment::new(self, position).field(usize::from(field));
        if let Some(repetition) = path.repetition {
            node = node.repetition(usize::from(repetition));
        }
        if let Some(component) = path.component {
            node = node.child(usize::from(component));
        }
        if let Some(subcomponent) = path.subcomponent {
            node = node.child(usize::from(subcomponent));
        }
        Some(node)
    }

    /// How many leaves (subcomponents, empty ones too) the message has.
    #[must_use]
    pub fn leaf_count(&self) -> usize {
        self.index.leaves.len()
    }

    /// Where a leaf stands, down to its subcomponent.
    ///
    /// The cost grows with the number of leaves before it in the same field;
    /// [`Segment::leaf_places`] gives many places at once in linear time.
    #[must_use]
    pub fn leaf_place(&self, leaf: usize) -> Option<Place> {
        let segment = self.index.segment_of_leaf(leaf)?;
        let field = self.index.field_of_leaf(segment, leaf)?;
        let number = field - self.index.fields_of(segment).start + 1;
        let node = Segment::new(self, segment).field(number);
        let leaves = node.leaf_places(node.leaves().start..leaf + 1);
        leaves.last()
    }

    /// Whether a leaf has no bytes. A leaf that does not exist is empty.
    #[must_use]
    pub fn leaf_is_empty(&self, leaf: usize) -> bool {
        let leaf = self.index.leaves.get(leaf);
        leaf.is_none_or(|leaf| leaf.range().is_empty())
    }

    /// Whether any leaf is exactly `""`, so that the sender asks to delete something.
    #[must_use]
    pub fn has_nulls(&self) -> bool {
        let is_null = |leaf: &crate::index::Leaf| {
            leaf.end() - leaf.start == 2 && self.bytes.get(leaf.range()) == Some(b"\"\"")
        };
        self.index.leaves.iter().any(is_null)
    }

    /// The bytes of a range of leaves, with the delimiters between them.
    #[inline]
    pub(crate) fn raw_leaves(&self, leaves: Range<usize>) -> &'a [u8] {
        let last = leaves.end.checked_sub(1);
        let first = self.index.leaves.get(leaves.start);
        let last = last.and_then(|last| self.index.leaves.get(last));
        match (first, last) {
            (Some(first), Some(last)) if !leaves.is_empty() => self
                .bytes
                .get(first.range().start..last.range().end)
                .unwrap_or_default(),
            _ => &[],
        }
    }

    /// The whole message as text, when every leaf of it means itself, so that there is nothing to unescape or decode: the
    /// text of a leaf is then what stands at its [`Message::leaf_bytes`]. Looks at every byte.
    #[must_use]
    pub fn plain_text(&self) -> Option<&'a str> {
        let plain = self.is_plain();
        plain
            .then(|| std::str::from_utf8(self.bytes).ok())
            .flatten()
    }

    /// The bytes of all these leaves with the delimiters between them, as [`Node::raw`].
    #[must_use]
    #[inline]
    pub fn raw(&self, leaves: Leaves) -> &'a [u8] {
        self.raw_leaves(leaves.range())
    }

    /// Where the bytes of the first of these leaves stand in the input; an empty range when there is no leaf.
    #[must_use]
    #[inline]
    pub fn leaf_bytes(&self, leaves: Leaves) -> Range<usize> {
        match self.index.leaves.get(leaves.first as usize) {
            Some(leaf) if !leaves.is_empty() => leaf.range(),
            _ => 0..0,
        }
    }

    /// The text of the first of these leaves, when the message is plain.
    #[inline]
    pub(crate) fn plain_leaf(&self, first: u32, end: u32) -> Option<&'a str> {
        if !self.is_plain() {
            return None;
        }
        if first >= end {
            return Some("");
        }
        let leaf = self.index.leaves.get(first as usize)?;
        std::str::from_utf8(self.bytes.get(leaf.range())?).ok()
    }

    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        // Two threads that look at once find the same.
        match self.plain.load(atomic::Ordering::Relaxed) {
            UNKNOWN => {
                let plain = self.find_plain().is_some();
                self.plain
                    .store(if plain { PLAIN } else { MIXED }, atomic::Ordering::Relaxed);
                plain
            }
            known => known == PLAIN,
        }
    }

    /// Whether any of the leaves has bytes, as [`Node::is_present`].
    #[must_use]
    #[inline]
    pub fn is_present(&self, leaves: Leaves) -> bool {
        self.index.has_bytes(leaves.first, leaves.end)
    }

    /// Whether there are bytes, and other ones than the deletion `""`, as [`Node::is_valued`].
    #[must_use]
    #[inline]
    pub fn is_valued(&self, leaves: Leaves) -> bool {
        self.is_present(leaves) && self.raw_leaves(leaves.range()) != b"\"\""
    }

    /// One look at every byte, so that reading a leaf later needs no search for escapes; `None` when it is not plain.
    fn find_plain(&self) -> Option<()> {
        if !self.charset.encoding.is_ascii_compatible() {
            return None;
        }
        // MSH-2 names the escape character and is read verbatim.
        let header_end = self.segment(0)?.field(2).leaves().end;
        let from = self.index.leaves.get(header_end.checked_sub(1)?)?.end() as usize;
        // A delimiter that there is not can't be met.
        let escape = self.delimiters.escape.unwrap_or(0);
        let odd = |bytes: &[u8]| {
            // No early end: this is a vector operation over the whole.
            bytes.iter().fold(false, |odd, byte| {
                odd | !(b' '..0x7F).contains(byte) | (*byte == escape)
            })
        };
        let plain = self.index.segments.iter().all(|span| {
            let start = (span.start as usize).max(from);
            let bytes = self.bytes.get(start..(span.end as usize).max(start));
            bytes.is_some_and(|bytes| !odd(bytes))
        });
        (plain && self.bytes.get(..from)?.is_ascii()).then_some(())
    }

    /// The first leaf with bytes that the character set does not have, for
    /// senders whose messages should be refused then. Decodes the whole message.
    #[must_use]
    pub fn undecodable(&self) -> Option<Issue> {
        let mut leaves = self.index.leaves.iter();
        let at = leaves.position(|leaf| {
            let raw = self.bytes.get(leaf.range()).unwrap_or_default();
            self.charset.decode(raw).1
        })?;
        Some(Issue {
            code: IssueCode::UndecodableBytes,
            place: self.leaf_place(at),
            offset: self.index.leaves.get(at)?.range().start,
        })
    }

    /// Gives the index back for the next message.
    #[must_use]
    pub fn into_index(self) -> Index {
        self.index
    }

    fn read_version(&mut self, issues: &mut Vec<Issue>) {
        let header = self.header();
        let id = header.version_id().child(1);
        let known = std::str::from_utf8(id.child(1).raw()).ok();
        let known = known.and_then(Version::from_id);
        let code = if id.raw().trim_ascii().is_empty() {
            IssueCode::VersionMissing
        } else {
            IssueCode::VersionUnknown
        };
        let (place, offset) = (header_place(12), id.offset());
        self.version = known.unwrap_or_else(|| {
            issues.push(Issue {
                code,
                place: Some(place),
                offset,
            });
            Version::NEWEST
        });
    }
}

impl std::fmt::Debug for Message<'_> {
    /// Structure only: a message never shows its text in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("bytes", &self.bytes.len())
            .field("version", &self.version)
            .field("charset", &self.charset.encoding.name())
            .field("index", &self.index)
            .finish()
    }
}
