//! Lengths of time and sizes as people write them, and back.

use std::time::Duration;

const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZES: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Reads `250ms`, `30s`, `5m`, `12h`, `7d`. A bare number is refused: nobody can tell its unit.
///
/// # Errors
/// A sentence for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    let why = || format!("`{text}` is not a length of time such as 250ms, 30s, 5m, 12h or 7d");
    let (number, unit) = split(text).ok_or_else(why)?;
    let (_, factor) = TIMES
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(why)?;
    number
        .checked_mul(*factor)
        .map(Duration::from_millis)
        .ok_or_else(why)
}

/// Reads `64KiB`, `16MiB`, `2GB` or a bare number of bytes.
///
/// # Errors
/// A sentence for the user.
pub fn bytes(text: &str) -> Result<u64, String> {
    let why = || format!("`{text}` is not a size such as 64KiB, 16MiB or 2GB");
    let (number, unit) = split(text).ok_or_else(why)?;
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, factor) = SIZES
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(why)?;
    number.checked_mul(*factor).ok_or_else(why)
}

/// Writes a length of time the way [`duration`] reads it, in the largest unit that is exact.
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(millis, TIMES.iter().rev().copied(), "0s")
}

/// Writes a size the way [`bytes()`] reads it, in the largest binary unit that is exact.
pub fn show_bytes(bytes: u64) -> String {
    show(
        bytes,
        [
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
            ("B", 1),
        ]
        .into_iter(),
        "0B",
    )
}

fn show(number: u64, units: impl Iterator<Item = (&'static str, u64)>, zero: &str) -> String {
    if number == 0 {
        return zero.to_owned();
    }
    for (name, factor) in units {
        if number.is_multiple_of(factor) {
            return format!("{}{name}", number / factor);
        }
    }
    zero.to_owned()
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.replace('_', "").parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_round_trip() {
        for text in ["250ms", "30s", "5m", "12h", "7d"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["16MiB", "64KiB", "1GiB", "17B"] {
            assert_eq!(show_bytes(bytes(text).unwrap()), text);
        }
        assert_eq!(bytes("1_000").unwrap(), 1000);
    }

    #[test]
    fn what_has_no_clear_unit_is_refused() {
        for text in ["30", "", "s", "-5s", "5 weeks", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "MiB", "5 apples"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
