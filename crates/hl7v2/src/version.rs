//! Versions of the standard, 2.1 to 2.9 (MSH-12, table 0104).

use std::fmt;

/// A published version of HL7 v2, in the order of publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 2.1 (1990)
    V2_1,
    /// 2.2 (1994)
    V2_2,
    /// 2.3 (1997)
    V2_3,
    /// 2.3.1 (1999)
    V2_3_1,
    /// 2.4 (2000)
    V2_4,
    /// 2.5 (2003)
    V2_5,
    /// 2.5.1 (2007)
    V2_5_1,
    /// 2.6 (2007)
    V2_6,
    /// 2.7 (2011)
    V2_7,
    /// 2.7.1 (2012)
    V2_7_1,
    /// 2.8 (2014)
    V2_8,
    /// 2.8.1 (2014)
    V2_8_1,
    /// 2.8.2 (2015)
    V2_8_2,
    /// 2.9 (2019)
    V2_9,
}

impl Version {
    /// The version that an unknown MSH-12 is read as.
    pub const NEWEST: Self = Self::V2_9;

    /// Every version, oldest first.
    pub const ALL: [Self; 14] = [
        Self::V2_1,
        Self::V2_2,
        Self::V2_3,
        Self::V2_3_1,
        Self::V2_4,
        Self::V2_5,
        Self::V2_5_1,
        Self::V2_6,
        Self::V2_7,
        Self::V2_7_1,
        Self::V2_8,
        Self::V2_8_1,
        Self::V2_8_2,
        Self::V2_9,
    ];

    /// Reads the text of MSH-12.1. Blanks around it are ignored; `None` for
    /// what table 0104 does not know.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        let id = id.trim();
        Self::ALL.into_iter().find(|version| version.as_str() == id)
    }

    /// The version as table 0104 writes it, `2.5.1`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2_1 => "2.1",
            Self::V2_2 => "2.2",
            Self::V2_3 => "2.3",
            Self::V2_3_1 => "2.3.1",
            Self::V2_4 => "2.4",
            Self::V2_5 => "2.5",
            Self::V2_5_1 => "2.5.1",
            Self::V2_6 => "2.6",
            Self::V2_7 => "2.7",
            Self::V2_7_1 => "2.7.1",
            Self::V2_8 => "2.8",
            Self::V2_8_1 => "2.8.1",
            Self::V2_8_2 => "2.8.2",
            Self::V2_9 => "2.9",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_found_by_its_own_text() {
        for version in Version::ALL {
            assert_eq!(Version::from_id(version.as_str()), Some(version));
        }
        assert!(Version::ALL.is_sorted());
        assert_eq!(Version::ALL.last(), Some(&Version::NEWEST));
    }

    #[test]
    fn unknown_or_missing_versions_are_none() {
        for id in ["", "2", "2.10", "3.0", "v2.5"] {
            assert_eq!(Version::from_id(id), None);
        }
        assert_eq!(Version::from_id(" 2.3 "), Some(Version::V2_3));
    }
}
