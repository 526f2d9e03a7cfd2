//! Lanes: ordering keys as numbers.
//!
//! A lane is the 64-bit hash of an ordering key. Two keys with one hash share a lane: they are then kept in
//! order with each other, which is slower but never wrong. The hash is stored, so it must not change.

use std::borrow::Cow;

/// Distinct lanes of a record's ordering keys, sorted.
pub(crate) fn lanes<S: AsRef<str>>(keys: &[S]) -> Vec<i64> {
    let mut lanes: Vec<i64> = keys.iter().map(|key| lane(key.as_ref())).collect();
    lanes.sort_unstable();
    lanes.dedup();
    lanes
}

/// Lanes of ordering keys as they are stored: the keys, or their lanes where the keys are encrypted. Keys that
/// cannot be read (a damaged row) make one lane of their own text: the record is then found damaged when it is
/// leased.
pub(crate) fn stored_lanes(keys: &str) -> Vec<i64> {
    if let Ok(keys) = serde_json::from_str::<Vec<Cow<'_, str>>>(keys) {
        return lanes(&keys);
    }
    serde_json::from_str(keys).unwrap_or_else(|_| lanes(&[keys]))
}

/// FNV-1a, finished with the mixer of SplitMix64 because FNV spreads short keys poorly.
fn lane(key: &str) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ (hash >> 31)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_hashes_never_change() {
        assert_eq!(lane(""), -780_787_492_076_525_413);
        assert_eq!(lane("LAB|4711"), -1_696_035_551_024_097_534);
    }

    #[test]
    fn lanes_are_read_from_keys_and_from_lanes() {
        let keys = ["LAB|1", "LAB|2"];
        let stored = serde_json::to_string(&lanes(&keys)).unwrap();
        assert_eq!(stored_lanes(&stored), lanes(&keys));
        assert_eq!(stored_lanes(r#"["LAB|1","LAB|2"]"#), lanes(&keys));
        assert_eq!(stored_lanes("[\"LAB").len(), 1);
    }

    #[test]
    fn a_key_named_twice_is_one_lane() {
        assert_eq!(lanes(&["a", "b", "a"]).len(), 2);
        assert_eq!(lanes(&["a", "b"]), lanes(&["b", "a"]));
    }
}
