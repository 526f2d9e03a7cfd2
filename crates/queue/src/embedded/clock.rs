//! The queue's own clock: milliseconds since 1970 that never go back and do not follow jumps of the wall clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall time when the queue was opened (or the newest time stored in it, if that is later), plus what has
/// passed since by the monotonic clock. So a wall clock that jumps disturbs neither retries nor windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base_ms: i64,
    started: Instant,
}

// === impl Clock ===

impl Clock {
    pub(crate) fn not_before(newest_ms: i64) -> Self {
        Self {
            base_ms: wall_ms().max(newest_ms),
            started: Instant::now(),
        }
    }

    pub(crate) fn now_ms(self) -> i64 {
        let passed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.base_ms.saturating_add(passed)
    }

    /// A time by the caller's wall clock, as a time of this clock: the distance from now is what counts.
    pub(crate) fn of_wall(self, at_ms: i64) -> i64 {
        self.now_ms()
            .saturating_add(at_ms.saturating_sub(wall_ms()))
    }
}

pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
