//! Acknowledgements (HL7 v2 chapter 2.9): whether to answer, with which code, and the message itself.
//!
//! [`decide`] applies MSH-15 and MSH-16 to what became of a message; [`Profile`]
//! says which of error and reject a peer takes for "send again"; [`build`] writes
//! the answer with the delimiters, the character set and the routing of the
//! message that it answers.
//!
//! ```
//! use hl7v2::ack::{self, AckContext, AckOptions, Disposition};
//!
//! let (message, _) = hl7v2::parse(b"MSH|^~\\&|LAB|NORTH|FW|SOUTH|20250314||ORU^R01|42|P|2.5\r")?;
//! let header = message.header();
//! if let Some(code) = ack::decide(&header, Disposition::Accepted, &AckOptions::default()) {
//!     let context = AckContext { control_id: "A1", timestamp: "20250314080000+0100" };
//!     let answer = ack::build(&header, code, &[], &context);
//!     assert_eq!(
//!         answer,
//!         b"MSH|^~\\&|FW|SOUTH|LAB|NORTH|20250314080000+0100||ACK^R01^ACK|A1|P|2.5\rMSA|AA|42\r"
//!     );
//! }
//! # Ok::<(), hl7v2::ParseError>(())
//! ```

use std::fmt;

mod batch;
mod build;
mod decide;
mod error_code;
mod profile;
mod writer;

pub use batch::{Enclosed, build_batch};
pub use build::{AckContext, AckError, build, build_without_header};
pub use decide::{AckOptions, Answers, answers, decide, decide_later, is_acknowledgement};
pub use error_code::{ErrorCode, ErrorSeverity};
pub use profile::{Fault, Profile};

/// Acknowledgement code (MSA-1, table 0008).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckCode {
    /// Application accept; in original mode simply "accepted".
    AA,
    /// Application error.
    AE,
    /// Application reject.
    AR,
    /// Commit accept: stored, the rest follows (enhanced mode).
    CA,
    /// Commit error.
    CE,
    /// Commit reject.
    CR,
}

/// What became of a message, before MSH-15 and MSH-16 are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Stored durably.
    Accepted,
    /// Not taken, for a reason that AE or CE tells.
    Error,
    /// Not taken, for a reason that AR or CR tells.
    Reject,
}

// === impl AckCode ===

impl AckCode {
    /// All six codes.
    pub const ALL: [Self; 6] = [Self::AA, Self::AE, Self::AR, Self::CA, Self::CE, Self::CR];

    /// The code of the original mode, or of the application in enhanced mode.
    #[must_use]
    pub fn application(disposition: Disposition) -> Self {
        match disposition {
            Disposition::Accepted => Self::AA,
            Disposition::Error => Self::AE,
            Disposition::Reject => Self::AR,
        }
    }

    /// The code of the accept acknowledgement in enhanced mode.
    #[must_use]
    pub fn commit(disposition: Disposition) -> Self {
        match disposition {
            Disposition::Accepted => Self::CA,
            Disposition::Error => Self::CE,
            Disposition::Reject => Self::CR,
        }
    }

    /// Reads MSA-1; `None` for what table 0008 does not have.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == code.trim())
    }

    /// The code as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AA => "AA",
            Self::AE => "AE",
            Self::AR => "AR",
            Self::CA => "CA",
            Self::CE => "CE",
            Self::CR => "CR",
        }
    }

    /// Whether the sender may forget the message: AA or CA.
    #[must_use]
    pub fn is_positive(self) -> bool {
        matches!(self, Self::AA | Self::CA)
    }
}

impl fmt::Display for AckCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_and_written() {
        for code in AckCode::ALL {
            assert_eq!(AckCode::from_code(code.as_str()), Some(code));
            assert_eq!(code.is_positive(), code.to_string().ends_with('A'));
        }
        assert_eq!(AckCode::from_code(" AA "), Some(AckCode::AA));
        assert_eq!(AckCode::from_code("OK"), None);
    }
}
