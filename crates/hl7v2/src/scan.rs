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
/// No byte at all.
const INPUT_END: u8 = 7;

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

/// Counts the tokens of a payload and notes where each ends, nothing else: the
/// floor that the benchmark compares the index with.
#[doc(hidden)]
pub fn tokens_only(bytes: &[u8], delimiters: Delimiters, out: &mut Vec<(u32, u8)>) {
    let table = class_table(&Scan {
        bytes,
        start: 0,
        end: bytes.len(),
        delimiters,
        line_ends: LineEnds::CarriageReturn,
        multi_byte: MultiByte::None,
        join: false,
    });
    let mut rest = bytes;
    while let Ok((after, class)) = token(&table, MultiByte::None, rest) {
        rest = after;
        out.push((narrow(bytes.len() - rest.len()), class));
        if class == INPUT_END {
            break;
        }
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
    if scan.line_ends == LineEnds::LineFeed {
        set(b'\n', LINE_END);
    }
    table
}

/// Takes one token and says which class of delimiter ended it.
#[inline]
fn token<'a>(table: &Table, multi_byte: MultiByte, input: &'a [u8]) -> Input<'a, u8> {
    let class_of = |byte: u8| table.get(usize::from(byte)).copied().unwrap_or(PLAIN);
    let mut rest = input;
    loop {
        let (stop, _) = take_while(|byte| class_of(byte) == PLAIN).parse(rest)?;
        let Some(&byte) = stop.first() else {
            return Ok((stop, INPUT_END));
        };
        match class_of(byte) {
            LEAD => (rest, _) = take(multi_byte.skip(stop)).parse(stop)?,
            class => {
                let (after, _) = take(1_usize).parse(stop)?;
                return Ok((after, class));
            }
        }
    }
}

/// Offsets fit in 32 bits: larger inputs were refused before.
#[inline]
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// Whether a line is a segment: a name of three letters or digits, and then the
/// field delimiter or nothing more. Returns the name.
pub(crate) fn segment_name(line: &[u8], field: u8) -> Option<[u8; 3]> {
    let name = *line.first_chunk::<3>()?;
    if !name.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let mut after = line.iter().skip(3);
    let ends = match after.find(|byte| **byte != b' ') {
        None => true,
        Some(byte) if *byte == field => line.get(3) == Some(&field),
        Some(byte) => matches!(byte, b'\r' | b'\n'),
    };
    ends.then_some(name)
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
        self.push_leaf(start + 3, start + 4, Divider::Field);
        let rest = self.from(start + 4);
        let length = memchr::memchr3(field, b'\r', b'\n', rest).unwrap_or(rest.len());
        let end = start + 4 + length;
        self.push_field();
        self.push_leaf(start + 4, end, Divider::Field);
        if self.scan.bytes.get(end) == Some(&field) && end < self.scan.end {
            self.fields(end + 1)
        } else {
            (end, end)
        }
    }

    /// Reads fields from `start` to the end of the segment. Returns that end
    /// and where the next line starts.
    fn fields(&mut self, start: usize) -> (usize, usize) {
        let mut rest = self.from(start);
        let mut divider = Divider::Field;
        let mut leaf = start;
        self.push_field();
        while let Ok((after, class)) = token(self.table, self.scan.multi_byte, rest) {
            let next = self.scan.end - after.len();
            if class == INPUT_END {
                self.push_leaf(leaf, next, divider);
                return (next, next);
            }
            let end = next - 1;
            if class == LINE_END
                && let Some(resume) = self.joined(next)
            {
                // The line end was data: the leaf goes on behind it.
                self.issue(IssueCode::CarriageReturnJoined, end);
                rest = self.from(resume);
                continue;
            }
            self.push_leaf(leaf, end, divider);
            match class {
                SUBCOMPONENT => divider = Divider::Subcomponent,
                COMPONENT => divider = Divider::Component,
                REPETITION => divider = Divider::Repetition,
                FIELD => {
                    divider = Divider::Field;
                    self.push_field();
                }
                _ => return (end, next),
            }
            leaf = next;
            rest = after;
        }
        (self.scan.end, self.scan.end)
    }

    /// Where the text goes on when the line end before `at` is data: the next
    /// line that is not blank is no segment, and joining was asked for.
    ///
    /// Stricter than [`segment_name`], because joined text may look like
    /// anything: a segment here is upper case and has a field delimiter.
    fn joined(&self, at: usize) -> Option<usize> {
        if !self.scan.join {
            return None;
        }
        let Line { start, name } = self.next_line(at)?;
        let is_segment = name.is_some_and(|name| {
            !name.iter().any(u8::is_ascii_lowercase)
                && self.scan.bytes.get(start + 3) == Some(&self.scan.delimiters.field)
        });
        (!is_segment).then_some(start)
    }

    #[inline]
    fn push_field(&mut self) {
        let first = narrow(self.index.leaves.len());
        self.index.fields.push(first);
    }

    #[inline]
    fn push_leaf(&mut self, start: usize, end: usize, divider: Divider) {
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
