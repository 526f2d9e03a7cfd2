//! What is odd in a message that could be read all the same.

use std::fmt;

use crate::place::Place;

/// How much an issue matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Tolerated, nothing was lost or guessed.
    Information,
    /// Something was guessed, or a value may not read as its sender meant it.
    Warning,
    /// Content stands where no rule of the standard can place it.
    Error,
}

/// One oddity: what, where, and at which byte. Never holds text of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issue {
    /// What is odd.
    pub code: IssueCode,
    /// Where in the message, when it is inside one.
    pub place: Option<Place>,
    /// Offset in bytes from the start of the input.
    pub offset: usize,
}

macro_rules! issue_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $severity:ident;)*) => {
        /// What can be odd in a message. The text of a code never changes once released.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum IssueCode { $($(#[$doc])* $name,)* }

        impl IssueCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as text, `segment-name`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// How much it matters.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

issue_codes! {
    // the payload
    /// A UTF-8 byte order mark stands before the message; it is skipped.
    ByteOrderMark = "byte-order-mark", Information;
    /// Something else than blanks stands before the MSH segment; it is no part of the message.
    TextBeforeHeader = "text-before-header", Warning;
    /// Segments end in LF or CR LF instead of CR.
    LineFeedEnds = "line-feed-ends", Information;
    /// A segment seems to start after a LF in a message whose segments end in CR. It is data,
    /// unless an option lets it start a segment.
    LineFeedSegment = "line-feed-segment", Error;
    /// A second MSH in one message: a batch should have been split first.
    SecondHeader = "second-header", Error;
    /// A line does not start with a segment name of three letters or digits.
    SegmentName = "segment-name", Error;
    /// A line that is no segment was joined to the segment before it, as an option asked.
    CarriageReturnJoined = "carriage-return-joined", Warning;

    // the header
    /// MSH-2 names fewer than four delimiters; the others do not exist.
    DelimitersMissing = "delimiters-missing", Warning;
    /// MSH-2 has more than five characters; the further ones are ignored.
    DelimitersExtra = "delimiters-extra", Warning;
    /// MSH-12 is empty; the newest version is assumed.
    VersionMissing = "version-missing", Warning;
    /// MSH-12 is not in table 0104; the newest version is assumed.
    VersionUnknown = "version-unknown", Warning;

    // character sets
    /// MSH-18 is not in table 0211, or names a set that cannot be read; it is treated as missing.
    CharsetUnknown = "charset-unknown", Warning;
    /// The bytes contradict MSH-18, for example bytes over 127 in ASCII.
    CharsetMismatch = "charset-mismatch", Warning;
    /// MSH-18 names a set of single bytes, and all bytes over 127 form valid UTF-8: probably
    /// MSH-18 is wrong, which a configured set for this sender mends.
    CharsetDoubtful = "charset-doubtful", Warning;
    /// No MSH-18 and no valid UTF-8: the fallback was used.
    CharsetFallback = "charset-fallback", Warning;
    /// Bytes that the character set does not have became U+FFFD; the raw bytes are kept.
    UndecodableBytes = "undecodable-bytes", Warning;

    // escapes
    /// A lone escape character; it is kept as it is.
    EscapeLone = "escape-lone", Warning;
    /// An escape sequence that the standard does not have; it is kept as it is.
    EscapeUnknown = "escape-unknown", Warning;
    /// A locally defined escape (`\Z..\`); it is kept as it is.
    EscapeLocal = "escape-local", Information;

    // batches
    /// BTS-1 is not the number of messages in the batch.
    BatchCount = "batch-count", Warning;
    /// FTS-1 is not the number of batches in the file.
    FileCount = "file-count", Warning;
    /// A batch or file has no trailer, or is cut off before it.
    TrailerMissing = "trailer-missing", Warning;
    /// A trailer without its header.
    TrailerUnexpected = "trailer-unexpected", Warning;
    /// Text in the payload that belongs to no message.
    TextOutsideMessage = "text-outside-message", Error;

    // structures
    /// MSH-9.3 is empty; the structure was derived from MSH-9.1 and MSH-9.2.
    StructureDerived = "structure-derived", Information;
    /// The message structure is not known; segments are grouped as well as possible.
    StructureUnknown = "structure-unknown", Warning;
    /// A segment stands where its structure has no place for it; it is kept there.
    SegmentMisplaced = "segment-misplaced", Warning;
    /// A segment that the structure requires is missing.
    SegmentMissing = "segment-missing", Warning;
}

impl IssueCode {
    /// Whether it says that the bytes are not in the character set that the message names.
    #[must_use]
    pub fn is_about_charset(self) -> bool {
        matches!(
            self,
            Self::CharsetUnknown
                | Self::CharsetMismatch
                | Self::CharsetDoubtful
                | Self::CharsetFallback
                | Self::UndecodableBytes
        )
    }
}

impl Issue {
    /// How much it matters; the severity of its code.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

impl fmt::Display for IssueCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Issue {
    /// `escape-lone at OBX(3)-5 (byte 812)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_str())?;
        if let Some(place) = &self.place {
            write!(f, " at {place}")?;
        }
        write!(f, " (byte {})", self.offset)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_kebab_case() {
        let codes: BTreeSet<&str> = IssueCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), IssueCode::ALL.len());
        for code in codes {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
        }
    }

    #[test]
    fn display_has_code_place_and_offset_only() {
        let place = Place {
            segment_index: 4,
            segment: *b"OBX",
            occurrence: 3,
            field: Some(5),
            repetition: Some(1),
            component: Some(2),
            subcomponent: None,
        };
        let issue = Issue {
            code: IssueCode::EscapeLone,
            place: Some(place),
            offset: 812,
        };
        assert_eq!(issue.to_string(), "escape-lone at OBX(3)-5.2 (byte 812)");
        assert_eq!(issue.severity(), Severity::Warning);
    }
}
