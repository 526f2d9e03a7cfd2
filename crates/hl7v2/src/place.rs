//! Where something stands in one message.

use std::fmt;

use crate::path::Path;

/// One spot in one message: `OBX(3)-5(2).2.1`. Built by the parser, unlike a
/// [`Path`], which is what somebody asks for.
///
/// All numbers count from 1 except `segment_index`. The display leaves out
/// every `(1)`, so it reads back as a [`Path`] to the same spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Position of the segment in the message, counted from 0.
    pub segment_index: u32,
    /// Name of the segment, `???` for one without a usable name.
    pub segment: [u8; 3],
    /// Which of the segments of that name in the message.
    pub occurrence: u32,
    /// Field number; `None` when the whole segment is meant.
    pub field: Option<u32>,
    /// Repetition of the field; `None` when the whole field is meant.
    pub repetition: Option<u32>,
    /// Component of the repetition.
    pub component: Option<u32>,
    /// Subcomponent of the component.
    pub subcomponent: Option<u32>,
}

impl Place {
    /// Name of the segment as text.
    #[must_use]
    pub fn segment_name(&self) -> &str {
        std::str::from_utf8(&self.segment).unwrap_or("???")
    }

    /// The path that leads to this place, `None` when a number is too large
    /// for a path (more than 65,535 of something in one segment).
    #[must_use]
    pub fn to_path(&self) -> Option<Path> {
        let narrow = |number: Option<u32>| number.map(u16::try_from).transpose().ok();
        Some(Path {
            segment: self.segment,
            occurrence: Some(self.occurrence),
            field: narrow(self.field)?,
            repetition: narrow(self.repetition)?,
            component: narrow(self.component)?,
            subcomponent: narrow(self.subcomponent)?,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.segment_name())?;
        if self.occurrence > 1 {
            write!(f, "({})", self.occurrence)?;
        }
        let Some(field) = self.field else {
            return Ok(());
        };
        write!(f, "-{field}")?;
        match self.repetition {
            Some(repetition) if repetition > 1 => write!(f, "({repetition})")?,
            _ => {}
        }
        if let Some(component) = self.component {
            write!(f, ".{component}")?;
        }
        if let Some(subcomponent) = self.subcomponent {
            write!(f, ".{subcomponent}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(occurrence: u32, numbers: [Option<u32>; 4]) -> Place {
        let [field, repetition, component, subcomponent] = numbers;
        Place {
            segment_index: 7,
            segment: *b"OBX",
            occurrence,
            field,
            repetition,
            component,
            subcomponent,
        }
    }

    #[test]
    fn display_omits_ones_and_absent_levels() {
        let whole = place(1, [None; 4]);
        assert_eq!(whole.to_string(), "OBX");
        let all = place(3, [Some(5), Some(2), Some(2), Some(1)]);
        assert_eq!(all.to_string(), "OBX(3)-5(2).2.1");
        let first = place(1, [Some(5), Some(1), Some(2), None]);
        assert_eq!(first.to_string(), "OBX-5.2");
    }

    #[test]
    fn a_place_leads_back_as_a_path() {
        let all = place(3, [Some(5), Some(2), Some(2), Some(1)]);
        assert_eq!(all.to_path().unwrap().to_string(), "OBX(3)-5(2).2.1");
        let far = place(1, [Some(70_000), None, None, None]);
        assert_eq!(far.to_path(), None);
    }
}
