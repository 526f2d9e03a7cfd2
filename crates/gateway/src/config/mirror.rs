//! `mirror` of a route: a share of its messages goes to a test server as well.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, Serializer};

use super::{defaults, section::Section, show::as_duration, source::Origin};

/// A share of a route's messages for a test server. Nothing that happens there concerns anybody else.
#[derive(Clone, Debug, Serialize)]
pub struct Mirror {
    /// The destination, which must be one of no route.
    pub to: String,
    /// How many patients; all messages about a patient go, or none.
    pub share: Share,
    /// Layers instead of the route's; empty is the same as the route.
    pub packages: Vec<String>,
    /// Policy switches instead of the route's.
    pub policies: BTreeMap<String, String>,
    /// Older messages are not sent any more, so that a server that is away does not fill the queue.
    #[serde(serialize_with = "as_duration")]
    pub max_age: Duration,
    /// Where `to` stands, and each of `packages`.
    #[serde(skip)]
    pub(super) places: (Origin, Vec<Origin>),
}

/// A share in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

/// Millionths in all.
const ALL: u32 = 1_000_000;

/// Reads it from the section of a route.
pub(super) fn read(route: &Section<'_>) -> Option<Mirror> {
    let section = route.section("mirror")?;
    let (packages, package_places) = section
        .texts("packages")
        .unwrap_or_default()
        .into_iter()
        .unzip();
    let mirror = Mirror {
        to: section.required_text("to"),
        share: section.parsed("share", Share::parse).unwrap_or(Share(ALL)),
        packages,
        policies: section
            .text_map("policies")
            .into_iter()
            .map(|(key, value, _)| (key, value))
            .collect(),
        max_age: section
            .duration("max_age")
            .unwrap_or(defaults::MIRROR_MAX_AGE),
        places: (section.origin_of("to"), package_places),
    };
    section.finish();
    Some(mirror)
}

impl Share {
    /// Reads `5%` or `0.5%`.
    fn parse(text: &str) -> Result<Self, String> {
        let why = || format!("`{text}` is not a share such as 5% or 0.5%");
        let number = text.strip_suffix('%').ok_or_else(why)?.trim_end();
        let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || rest.len() > 4 || !digits(whole) || !digits(rest) {
            return Err(why());
        }
        let millionths: u32 = format!("{whole}{rest:0<4}").parse().map_err(|_| why())?;
        if millionths > ALL {
            return Err(why());
        }
        Ok(Self(millionths))
    }

    /// Whether a hash is among the share; the same one always is, and of a larger share too.
    pub fn takes(self, hash: u64) -> bool {
        hash % u64::from(ALL) < u64::from(self.0)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        let text = format!("{whole}.{rest:04}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        serializer.serialize_str(&format!("{text}%"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_written() {
        for text in ["5%", "0.5%", "100%", "0%", "12.3456%"] {
            let share = Share::parse(text).unwrap();
            assert_eq!(serde_json::to_value(share).unwrap(), text);
        }
        for text in ["5", "101%", "%", "-1%", "1.23456%", "1e1%", "five%"] {
            assert!(Share::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_that_much_and_grows_by_adding() {
        let (small, large) = (Share::parse("5%").unwrap(), Share::parse("20%").unwrap());
        let hashes = (0..100_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let count = hashes.clone().filter(|hash| small.takes(*hash)).count();
        assert!((4_500..5_500).contains(&count), "{count}");
        assert!(
            hashes
                .filter(|hash| small.takes(*hash))
                .all(|hash| large.takes(hash))
        );
    }
}
