//! The token pass: one walk over the bytes that fills the [`Index`].
//!
//! A token is a run of plain bytes and the delimiter that ends it; a nom
//! parser takes one at a time, and what kind of delimiter it was decides what
//! is pushed. Nothing is unescaped or decoded here, so `\T\` or `\X7C\` can
//! never split a field.

use nom::bytes::complete::{take, take_while};
use nom::{IResult, Parser};

use crate::charset::MultiByte;
use crate::delimiters::Delimiters;
use crate::index::{Divider, Index, Leaf, SegmentSpan};
use crate::issue::{Issue, IssueCode};
use crate::place::Place;

/// How the segments of a payload end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineEnds {
    /// CR, and a LF directly after it. Any other LF is data.
    CarriageReturn,
    /// LF or CR LF: for payloads that were stored as text.
    LineFeed,
}

/// What to scan and how.
pub(crate) struct Scan<'a> {
    pub(crate) bytes: &'a [u8],
    /// Offset of the `M` of MSH.
    pub(crate) start: usize,
    /// Where the message ends, before any framing that was left on.
    pub(crate) end: usize,
    pub(crate) delimiters: Delimiters,
    pub(crate) line_ends: LineEnds,
    pub(crate) multi_byte: MultiByte,
    /// Join lines that are no segment to the one before.
    pub(crate) join: bool,
    /// Let a LF before a segment end the one before, where CR does otherwise.
    pub(crate) split_line_feeds: bool,
}

/// What ends a token. The values index nothing; they are small so that the
/// class table of 256 bytes stays in the cache.
const PLAIN: u8 = 0;
const SUBCOMPONENT: u8 = 1;
const COMPONENT: u8 = 2;
const REPETITION: u8 = 3;
const FIELD: u8 = 4;
const LINE_END: u8 = 5;
/// Two-byte characters start here, whose second byte could look like a delimiter.
const LEAD: u8 = 6;
/// A LF that is data, unless a segment follows it.
const LINE_FEED: u8 = 7;
/// No byte at all.
const INPUT_END: u8 = 8;

/// A delimiter's class is its [`Divider`] and one more.
const FIELD_DIVIDER: u8 = FIELD - SUBCOMPONENT;
const _: () = assert!(FIELD_DIVIDER == Divider::Field as u8);

type Table = [u8; 256];
type Input<'a, O> = IResult<&'a [u8], O, ()>;

/// Fills `index` with the message and `issues` with what is odd about its lines.
pub(crate) fn scan(scan: &Scan<'_>, index: &mut Index, issues: &mut Vec<Issue>) {
    let table = class_table(scan);
    let mut pass = Pass {
        scan,
        table: &table,
        index,
        issues,
    };
    let mut at = scan.start;
    while let Some(line) = pass.next_line(at) {
        at = pass.segment(line);
    }
}

fn class_table(scan: &Scan<'_>) -> Table {
    let mut table = [PLAIN; 256];
    let mut set = |byte: u8, class: u8| {
        if let Some(slot) = table.get_mut(usize::from(byte)) {
            *slot = class;
        }
    };
    if scan.multi_byte != MultiByte::None {
        let leads = (0..=u8::MAX).filter(|byte| scan.multi_byte.is_lead(*byte));
        leads.for_each(|byte| set(byte, LEAD));
    }
    let delimiters = &scan.delimiters;
    set(delimiters.field, FIELD);
    set(delimiters.component, COMPONENT);
    if let Some(byte) = delimiters.repetition {
        set(byte, REPETITION);
    }
    if let Some(byte) = delimiters.subcomponent {
        set(byte, SUBCOMPONENT);
    }
    set(b'\r', LINE_END);
    set(
        b'\n',
        match scan.line_ends {
            LineEnds::CarriageReturn => LINE_FEED,
            LineEnds::LineFeed => LINE_END,
        },
    );
    table
}

/// Takes one token and says which class of delimiter ended it.
#[inline]
fn token<'a>(table: &Table, multi_byte: MultiByte, input: &'a [u8]) -> Input<'a, u8> {
    let class_of = |byte: u8| table.get(usize::from(byte)).copied().unwrap_or(PLAIN);
    let mut rest = input;
    loop {
        let (stop, _) = take_while(|byte| class_of(byte) == PLAIN).parse(rest)?;
        let Some((byte, after)) = stop.split_first() else {
            return Ok((stop, INPUT_END));
        };
        match class_of(*byte) {
            LEAD => (rest, _) = take(multi_byte.skip(stop)).parse(stop)?,
            class => return Ok((after, class)),
        }
    }
}

/// Offsets fit in 32 bits: larger inputs were refused before.
#[inline]
fn narrow(offset: usize) -> u32 {
    debug_assert!(offset <= crate::MAX_BYTES);
    offset as u32
}

/// Whether a line is a segment: a name of three letters or digits, and then the
/// field delimiter or nothing more. Returns the name.
pub(crate) fn segment_name(line: &[u8], field: u8) -> Option<[u8; 3]> {
    let name = *line.first_chunk::<3>()?;
    if !name.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    if line.get(3) == Some(&field) {
        return Some(name);
    }
    // A name alone, perhaps with blanks after it.
    let after = line.iter().skip(3).find(|byte| **byte != b' ');
    after
        .is_none_or(|byte| matches!(byte, b'\r' | b'\n'))
        .then_some(name)
}

pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0)
}

struct Pass<'s, 'a> {
    scan: &'s Scan<'a>,
    table: &'s Table,
    index: &'s mut Index,
    issues: &'s mut Vec<Issue>,
}

/// The leaf that is being read.
#[derive(Clone, Copy)]
struct Open {
    start: usize,
    divider: u8,
}

/// What a line end turned out to be.
enum LineEnd {
    /// A part of the leaf, which goes on at `resume`.
    Data { resume: usize },
    /// The end of the segment.
    Segment { end: usize },
}

/// A segment to be read: where it starts and what it is called.
struct Line {
    start: usize,
    name: Option<[u8; 3]>,
}

impl<'a> Pass<'_, 'a> {
    fn from(&self, at: usize) -> &'a [u8] {
        self.scan.bytes.get(at..self.scan.end).unwrap_or_default()
    }

    /// Skips blank lines, and blanks before a segment name.
    fn next_line(&self, at: usize) -> Option<Line> {
        let rest = self.from(at);
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        let after = rest.get(blanks..).unwrap_or_default();
        if after.is_empty() {
            return None;
        }
        let name = segment_name(after, self.scan.delimiters.field);
        let start = at + blanks;
        Some(Line { start, name })
    }

    /// Reads one segment and returns where the next line starts.
    fn segment(&mut self, line: Line) -> usize {
        let name = line.name.unwrap_or(*b"???");
        let occurrence = self.index.occurrence(name);
        let position = self.index.segments.len();
        self.index.segments.push(SegmentSpan {
            name,
            occurrence,
            start: narrow(line.start),
            end: narrow(line.start),
            first_field: narrow(self.index.fields.len()),
            first_leaf: narrow(self.index.leaves.len()),
        });
        match line.name {
            None => self.issue(IssueCode::SegmentName, line.start),
            Some(name) if name == *b"MSH" && position > 0 => {
                self.issue(IssueCode::SecondHeader, line.start);
            }
            Some(_) => {}
        }
        let (end, next) = match line.name {
            Some(_) if self.scan.bytes.get(line.start + 3) == Some(&self.scan.delimiters.field) => {
                match &name {
                    b"MSH" | b"BHS" | b"FHS" => self.header_fields(line.start),
                    _ => self.fields(line.start + 4),
                }
            }
            // A name alone, perhaps with blanks after it.
            Some(_) => {
                let rest = self.from(line.start);
                let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                (line.start + end, line.start + end)
            }
            // Without a name the whole line is content, so that none of it is lost.
            None => self.fields(line.start),
        };
        if let Some(span) = self.index.segments.get_mut(position) {
            span.end = narrow(end);
        }
        next
    }

    /// MSH-1 is the delimiter itself and MSH-2 is verbatim; then as usual.
    fn header_fields(&mut self, start: usize) -> (usize, usize) {
        let field = self.scan.delimiters.field;
        self.push_field();
        self.push_leaf(start + 3, start + 4, FIELD_DIVIDER);
        let rest = self.from(start + 4);
        let length = memchr::memchr3(field, b'\r', b'\n', rest).unwrap_or(rest.len());
        let end = start + 4 + length;
        self.push_field();
        self.push_leaf(start + 4, end, FIELD_DIVIDER);
        if self.scan.bytes.get(end) == Some(&field) && end < self.scan.end {
            self.fields(end + 1)
        } else {
            (end, end)
        }
    }

    /// Reads fields from `start` to the end of the segment. Returns that end
    /// and where the next line starts.
    fn fields(&mut self, start: usize) -> (usize, usize) {
        let mut leaf = Open {
            start,
            divider: FIELD_DIVIDER,
        };
        let mut from = start;
        self.push_field();
        loop {
            let (class, next) = self.delimited(from, &mut leaf);
            match self.line_end(class, next) {
                LineEnd::Data { resume } => from = resume,
                LineEnd::Segment { end } => {
                    self.push_leaf(leaf.start, end, leaf.divider);
                    return (end, next);
                }
            }
        }
    }

    /// Takes tokens as long as delimiters end them. Returns the class of the
    /// first that something else ended, and where the one after it starts.
    ///
    /// This is where the time goes: nothing but the loop, so that all it needs
    /// stays in registers.
    #[inline(never)]
    fn delimited(&mut self, from: usize, leaf: &mut Open) -> (u8, usize) {
        let Index { leaves, fields, .. } = &mut *self.index;
        let (table, multi_byte, end) = (self.table, self.scan.multi_byte, self.scan.end);
        let mut rest = self.scan.bytes.get(from..end).unwrap_or_default();
        let Open {
            mut start,
            mut divider,
        } = *leaf;
        while let Ok((after, class)) = token(table, multi_byte, rest) {
            let next = end - after.len();
            if class > FIELD {
                *leaf = Open { start, divider };
                return (class, next);
            }
            leaves.push(Leaf::new(narrow(start), narrow(next - 1), divider));
            if class == FIELD {
                fields.push(narrow(leaves.len()));
            }
            divider = class - SUBCOMPONENT;
            start = next;
            rest = after;
        }
        (INPUT_END, end)
    }

    /// What a token that no delimiter ended means; `next` is behind it.
    #[inline]
    fn line_end(&mut self, class: u8, next: usize) -> LineEnd {
        let end = next.saturating_sub(usize::from(class != INPUT_END));
        match class {
            LINE_FEED if !self.line_feed_ends(next) => return LineEnd::Data { resume: next },
            LINE_END => {
                if let Some(resume) = self.joined(next) {
                    self.issue(IssueCode::CarriageReturnJoined, end);
                    return LineEnd::Data { resume };
                }
            }
            _ => {}
        }
        LineEnd::Segment { end }
    }

    /// Where the text goes on when the line end before `at` is data: the next
    /// line that is not blank is no segment, and joining was asked for.
    fn joined(&self, at: usize) -> Option<usize> {
        if !self.scan.join {
            return None;
        }
        let line = self.next_line(at)?;
        (!self.is_sure(&line)).then_some(line.start)
    }

    /// Whether a LF before `at` ends a segment although CR does in this message.
    fn line_feed_ends(&mut self, at: usize) -> bool {
        let line = Line {
            start: at,
            name: segment_name(self.from(at), self.scan.delimiters.field),
        };
        let segment = self.is_sure(&line);
        if segment {
            self.issue(IssueCode::LineFeedSegment, at);
        }
        segment && self.scan.split_line_feeds
    }

    /// Stricter than [`segment_name`], because text may look like anything: a
    /// segment here is in upper case and has a field delimiter.
    fn is_sure(&self, line: &Line) -> bool {
        let delimited = self.scan.bytes.get(line.start + 3) == Some(&self.scan.delimiters.field);
        let upper = |name: [u8; 3]| !name.iter().any(u8::is_ascii_lowercase);
        delimited && line.name.is_some_and(upper)
    }

    #[inline]
    fn push_field(&mut self) {
        let first = narrow(self.index.leaves.len());
        self.index.fields.push(first);
    }

    #[inline]
    fn push_leaf(&mut self, start: usize, end: usize, divider: u8) {
        let leaf = Leaf::new(narrow(start), narrow(end), divider);
        self.index.leaves.push(leaf);
    }

    /// Notes an issue about the segment that is being read.
    fn issue(&mut self, code: IssueCode, offset: usize) {
        let position = self.index.segments.len().saturating_sub(1);
        let place = self.index.segments.get(position).map(|span| Place {
            segment_index: narrow(position),
            segment: span.name,
            occurrence: span.occurrence,
            field: None,
            repetition: None,
            component: None,
            subcomponent: None,
        });
        self.issues.push(Issue {
            code,
            place,
            offset,
        });
    }
}
