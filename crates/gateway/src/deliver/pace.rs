//! How many messages a destination gets at a time: a token bucket, filled at the configured rate.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::config::takes::Rate;

/// A bucket that holds a tenth of a second's tokens, so that no second gets more than a tenth above the rate.
pub(super) struct Pace {
    per_second: f64,
    capacity: f64,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        let per_second = f64::from(rate.count) / rate.per.as_secs_f64();
        let capacity = (per_second / 10.0).max(1.0);
        Self {
            per_second,
            capacity,
            bucket: Mutex::new(Bucket {
                tokens: capacity,
                filled_at: Instant::now(),
            }),
        }
    }

    /// Waits until there is a token, and takes as many as there are, up to `most`.
    pub(super) async fn take(&self, most: usize) -> usize {
        loop {
            let taken = self.lock().take(most, self, Instant::now());
            match taken {
                Ok(taken) => return taken,
                Err(wait) => tokio::time::sleep(wait.max(Duration::from_millis(1))).await,
            }
        }
    }

    /// Gives back what was not needed.
    pub(super) fn give_back(&self, tokens: usize) {
        let mut bucket = self.lock();
        bucket.tokens = (bucket.tokens + number(tokens)).min(self.capacity);
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// Up to `most` tokens, or how long until there is one.
    fn take(&mut self, most: usize, pace: &Pace, now: Instant) -> Result<usize, Duration> {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * pace.per_second).min(pace.capacity);
        self.filled_at = now;
        let whole = self.tokens.floor();
        if whole < 1.0 {
            return Err(Duration::from_secs_f64(
                (1.0 - self.tokens) / pace.per_second,
            ));
        }
        let taken = most.min(count(whole));
        self.tokens -= number(taken);
        Ok(taken)
    }
}

#[allow(clippy::cast_precision_loss)] // a handful
fn number(tokens: usize) -> f64 {
    tokens as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole, not negative, and saturating
fn count(tokens: f64) -> usize {
    tokens as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_in(seconds: u64, rate: Rate) -> usize {
        let pace = Pace::new(rate);
        let mut bucket = pace.lock();
        let mut now = bucket.filled_at;
        let end = now + Duration::from_secs(seconds);
        let mut taken = 0;
        while now < end {
            match bucket.take(7, &pace, now) {
                Ok(more) => taken += more,
                Err(wait) => now += wait.max(Duration::from_millis(1)),
            }
        }
        taken
    }

    #[test]
    fn no_more_than_the_rate_and_no_less() {
        for (count, per, seconds) in [(50, 1, 10), (3, 1, 10), (30, 60, 120)] {
            let rate = Rate {
                count,
                per: Duration::from_secs(per),
            };
            let taken = taken_in(seconds, rate);
            let expected = usize::try_from(u64::from(count) * seconds / per).unwrap();
            assert!(
                (expected - expected / 20 - 1..=expected + expected / 20 + 1).contains(&taken),
                "{taken} of {expected}"
            );
        }
    }

    #[test]
    fn what_was_not_needed_is_there_for_the_next() {
        let pace = Pace::new(Rate {
            count: 100,
            per: Duration::from_secs(1),
        });
        let now = pace.lock().filled_at;
        assert_eq!(pace.lock().take(20, &pace, now), Ok(10));
        assert!(pace.lock().take(20, &pace, now).is_err());
        pace.give_back(9);
        assert_eq!(pace.lock().take(20, &pace, now), Ok(9), "without a wait");
    }
}
