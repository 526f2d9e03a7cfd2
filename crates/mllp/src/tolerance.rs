//! What the reader forgives, by name: each tolerance can be switched per listener and is counted
//! each time it is used.

use std::fmt;

/// One deviation from strict MLLP that a listener may forgive.
///
/// The names are those of metric labels and of the configuration ([`Tolerance::as_str`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tolerance {
    /// FS is not followed by CR: the frame ends when the next byte is VT or LF, when the stream
    /// ends, or when nothing follows for a short while
    /// ([`Limits::end_grace`](crate::Limits::end_grace)).
    FsWithoutCr,
    /// LF after FS, or after FS CR.
    LfAfterFs,
    /// Blanks (space, tab, CR, LF, NUL) before the first frame of a connection.
    LeadingWhitespace,
    /// Blanks (space, tab, CR, LF, NUL) between two frames.
    NoiseBetweenFrames,
    /// The payload starts with no VT before it. Off by default: with it on, any talk that is not
    /// MLLP looks like the start of a frame.
    MissingLeadingVt,
    /// A second VT inside a frame: what stood before it was cut off by the sender and must be
    /// refused, see [`Frame::truncated`](crate::Frame::truncated).
    SecondVt,
    /// VT FS CR with nothing between: skipped, since there is nothing to answer.
    EmptyPayload,
}

impl Tolerance {
    /// All of them, in the order of the table in the crate's README.
    pub const ALL: [Self; 7] = [
        Self::FsWithoutCr,
        Self::LfAfterFs,
        Self::LeadingWhitespace,
        Self::NoiseBetweenFrames,
        Self::MissingLeadingVt,
        Self::SecondVt,
        Self::EmptyPayload,
    ];

    /// The name in metrics, logs and configuration: `fs_without_cr`, …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FsWithoutCr => "fs_without_cr",
            Self::LfAfterFs => "lf_after_fs",
            Self::LeadingWhitespace => "leading_whitespace",
            Self::NoiseBetweenFrames => "noise_between_frames",
            Self::MissingLeadingVt => "missing_leading_vt",
            Self::SecondVt => "second_vt",
            Self::EmptyPayload => "empty_payload",
        }
    }

    /// The tolerance of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|tolerance| tolerance.as_str() == name)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The set of tolerances of one listener. The default is all but [`Tolerance::MissingLeadingVt`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tolerances(u8);

impl Tolerances {
    /// Nothing forgiven: every deviation ends the connection.
    pub const fn strict() -> Self {
        Self(0)
    }

    /// This set with `tolerance` switched on.
    #[must_use]
    pub const fn with(self, tolerance: Tolerance) -> Self {
        Self(self.0 | tolerance.bit())
    }

    /// This set with `tolerance` switched off.
    #[must_use]
    pub const fn without(self, tolerance: Tolerance) -> Self {
        Self(self.0 & !tolerance.bit())
    }

    /// Whether `tolerance` is on.
    pub const fn allow(self, tolerance: Tolerance) -> bool {
        self.0 & tolerance.bit() != 0
    }
}

impl Default for Tolerances {
    fn default() -> Self {
        Tolerance::ALL
            .into_iter()
            .fold(Self::strict(), Self::with)
            .without(Tolerance::MissingLeadingVt)
    }
}

impl fmt::Debug for Tolerances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(
                Tolerance::ALL
                    .into_iter()
                    .filter(|tolerance| self.allow(*tolerance)),
            )
            .finish()
    }
}

/// A tolerance that was used while reading, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameWarning {
    /// What was forgiven.
    pub tolerance: Tolerance,
    /// The offending byte, counted from 0 at the first byte of the connection.
    pub offset: u64,
}

impl FrameWarning {
    /// The name of the tolerance, as in [`Tolerance::as_str`].
    pub const fn as_str(&self) -> &'static str {
        self.tolerance.as_str()
    }
}

impl fmt::Display for FrameWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.tolerance, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_all_but_missing_leading_vt() {
        let tolerances = Tolerances::default();
        for tolerance in Tolerance::ALL {
            assert_eq!(
                tolerances.allow(tolerance),
                tolerance != Tolerance::MissingLeadingVt,
                "{tolerance}"
            );
        }
    }

    #[test]
    fn names_are_unique_and_can_be_read_back() {
        for tolerance in Tolerance::ALL {
            assert_eq!(Tolerance::from_name(tolerance.as_str()), Some(tolerance));
        }
        assert_eq!(Tolerance::from_name("resync"), None);
    }

    #[test]
    fn each_can_be_switched_alone() {
        for tolerance in Tolerance::ALL {
            let only = Tolerances::strict().with(tolerance);
            for other in Tolerance::ALL {
                assert_eq!(only.allow(other), other == tolerance);
            }
            assert_eq!(only.without(tolerance), Tolerances::strict());
        }
    }
}
