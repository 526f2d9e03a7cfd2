//! Waits with full jitter: drawn evenly between zero and a limit that doubles, so that many clients do not come
//! back together.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// The shortest long wait: full jitter may draw nearly nothing, and a queue must not spin.
const FLOOR: Duration = Duration::from_millis(50);

/// `first * 2^doublings`, at most `longest`.
pub(crate) fn ceiling(first: Duration, longest: Duration, doublings: u32) -> Duration {
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    first.checked_mul(factor).unwrap_or(longest).min(longest)
}

/// A wait between zero and `limit`; `draw` is between 0 and 1.
pub(crate) fn jittered(limit: Duration, draw: f64) -> Duration {
    limit.mul_f64(draw.clamp(0.0, 1.0))
}

/// A long wait, for the queue: full jitter with a small floor.
pub(crate) fn long(first: Duration, longest: Duration, attempt: u32, draw: f64) -> Duration {
    let limit = ceiling(first, longest, attempt);
    jittered(limit, draw).max(FLOOR.min(limit))
}

/// A number between 0 and 1, good enough to spread load. The standard library seeds each `RandomState` anew.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit a float")]
pub(crate) fn draw() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(300);

    #[test]
    fn the_limit_doubles_to_its_cap() {
        let limits: Vec<u64> = [0, 1, 2, 8, 9, 31, 32, u32::MAX]
            .into_iter()
            .map(|attempt| ceiling(SECOND, LONGEST, attempt).as_secs())
            .collect();
        assert_eq!(limits, [1, 2, 4, 256, 300, 300, 300, 300]);
    }

    #[test]
    fn full_jitter_with_a_floor() {
        assert_eq!(long(SECOND, LONGEST, 3, 0.0), FLOOR);
        assert_eq!(long(SECOND, LONGEST, 3, 0.5), 4 * SECOND);
        assert_eq!(long(SECOND, LONGEST, 3, 1.0), 8 * SECOND);
    }

    #[test]
    fn draws_are_spread() {
        let draws: Vec<f64> = (0..1000).map(|_| draw()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let low = draws.iter().filter(|draw| **draw < 0.5).count();
        assert!((350..650).contains(&low), "{low} of 1000 below the middle");
    }
}
