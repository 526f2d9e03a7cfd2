//! Why a message was not accepted: message error condition codes (table 0357).

use std::fmt;

use crate::version::Version;

/// Message error condition (ERR-3 from 2.5 on, ERR-1.4 before; table 0357).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    /// 0: no error.
    MessageAccepted,
    /// 100: segments are not in the order of the structure, or a required one is missing.
    SegmentSequenceError,
    /// 101
    RequiredFieldMissing,
    /// 102: a value does not fit its data type.
    DataTypeError,
    /// 103: a code is not in its table.
    TableValueNotFound,
    /// 104: since 2.7; written as 102 for older versions.
    ValueTooLong,
    /// 200: MSH-9.1 is not supported.
    UnsupportedMessageType,
    /// 201: MSH-9.2 is not supported.
    UnsupportedEventCode,
    /// 202: MSH-11 is not supported.
    UnsupportedProcessingId,
    /// 203: MSH-12 is not supported.
    UnsupportedVersionId,
    /// 204: a patient, order or visit is not known.
    UnknownKeyIdentifier,
    /// 205: the message or record exists already.
    DuplicateKeyIdentifier,
    /// 206: a record is locked.
    ApplicationRecordLocked,
    /// 207: any failure that is not the message's fault.
    ApplicationInternalError,
}

/// How grave an error is (ERR-4, table 0516).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorSeverity {
    /// `I`: nothing is wrong.
    Information,
    /// `W`: taken, with something to look at.
    Warning,
    /// `E`: not taken.
    Error,
    /// `F`: not taken, and not for anything in the message.
    Fatal,
}

// === impl ErrorCode ===

impl ErrorCode {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::MessageAccepted,
        Self::SegmentSequenceError,
        Self::RequiredFieldMissing,
        Self::DataTypeError,
        Self::TableValueNotFound,
        Self::ValueTooLong,
        Self::UnsupportedMessageType,
        Self::UnsupportedEventCode,
        Self::UnsupportedProcessingId,
        Self::UnsupportedVersionId,
        Self::UnknownKeyIdentifier,
        Self::DuplicateKeyIdentifier,
        Self::ApplicationRecordLocked,
        Self::ApplicationInternalError,
    ];

    /// The number as it is written, `101`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The text of the table, `Required field missing`.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.row().1
    }

    /// The code that the table of that version has for it.
    #[must_use]
    pub fn in_version(self, version: Version) -> Self {
        match self {
            Self::ValueTooLong if version < Version::V2_7 => Self::DataTypeError,
            other => other,
        }
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::MessageAccepted => ("0", "Message accepted"),
            Self::SegmentSequenceError => ("100", "Segment sequence error"),
            Self::RequiredFieldMissing => ("101", "Required field missing"),
            Self::DataTypeError => ("102", "Data type error"),
            Self::TableValueNotFound => ("103", "Table value not found"),
            Self::ValueTooLong => ("104", "Value too long"),
            Self::UnsupportedMessageType => ("200", "Unsupported message type"),
            Self::UnsupportedEventCode => ("201", "Unsupported event code"),
            Self::UnsupportedProcessingId => ("202", "Unsupported processing id"),
            Self::UnsupportedVersionId => ("203", "Unsupported version id"),
            Self::UnknownKeyIdentifier => ("204", "Unknown key identifier"),
            Self::DuplicateKeyIdentifier => ("205", "Duplicate key identifier"),
            Self::ApplicationRecordLocked => ("206", "Application record locked"),
            Self::ApplicationInternalError => ("207", "Application internal error"),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl ErrorSeverity ===

impl ErrorSeverity {
    /// The letter of table 0516.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Information => "I",
            Self::Warning => "W",
            Self::Error => "E",
            Self::Fatal => "F",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_table() {
        let numbers = ErrorCode::ALL.map(ErrorCode::as_str);
        assert_eq!(
            numbers,
            [
                "0", "100", "101", "102", "103", "104", "200", "201", "202", "203", "204", "205",
                "206", "207"
            ]
        );
        assert!(ErrorCode::ALL.iter().all(|code| !code.text().is_empty()));
    }

    #[test]
    fn too_long_is_new_in_2_7() {
        assert_eq!(
            ErrorCode::ValueTooLong.in_version(Version::V2_6),
            ErrorCode::DataTypeError
        );
        assert_eq!(
            ErrorCode::ValueTooLong.in_version(Version::V2_7),
            ErrorCode::ValueTooLong
        );
        assert_eq!(
            ErrorCode::DataTypeError.in_version(Version::V2_3),
            ErrorCode::DataTypeError
        );
    }
}
