//! The section `mapping`: when packages are read again, and what one message may cost.

use std::time::Duration;

use mapping::Limits;
use serde::Serialize;

use super::{
    defaults,
    section::Section,
    show::{as_bytes, as_duration},
};

/// How the mapping runs.
#[derive(Clone, Debug, Serialize)]
pub struct Mapping {
    /// Whether changed package folders are loaded while the gateway runs.
    pub watch: bool,
    /// What one message may cost.
    pub limits: MessageLimits,
}

/// What one message may cost; beyond it the message is a dead letter that names limit and rule.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MessageLimits {
    /// Rules applied.
    pub steps: u32,
    /// Elements made.
    pub elements: usize,
    /// Text in all elements.
    #[serde(serialize_with = "as_bytes")]
    pub bytes: u64,
    /// Maps inside each other.
    pub depth: u8,
    /// How long it may take.
    #[serde(serialize_with = "as_duration")]
    pub time: Duration,
}

impl MessageLimits {
    /// As the mapping engine takes them.
    pub fn engine(&self) -> Limits {
        Limits {
            steps: self.steps,
            elements: self.elements,
            bytes: usize::try_from(self.bytes).unwrap_or(usize::MAX),
            depth: self.depth,
        }
    }
}

pub(super) fn read(root: &Section<'_>) -> Mapping {
    let section = root.section_or_empty("mapping");
    let mapping = Mapping {
        watch: section.boolean("watch").unwrap_or(false),
        limits: limits(&section),
    };
    section.finish();
    mapping
}

fn limits(mapping: &Section<'_>) -> MessageLimits {
    let section = mapping.section_or_empty("limits");
    let known = Limits::default();
    let limits = MessageLimits {
        steps: section.number("steps", 1).unwrap_or(known.steps),
        elements: section.number("elements", 1).unwrap_or(known.elements),
        bytes: section.bytes("bytes").unwrap_or(known.bytes as u64),
        depth: section.number("depth", 1).unwrap_or(known.depth),
        time: section.duration("time").unwrap_or(defaults::MAPPING_TIME),
    };
    if limits.depth > known.depth {
        section.error(
            &section.origin_of("depth"),
            format!("{} is at most {}", section.path_of("depth"), known.depth),
        );
    }
    section.finish();
    limits
}
