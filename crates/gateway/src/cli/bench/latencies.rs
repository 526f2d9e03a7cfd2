//! Latencies counted in buckets: a run of any length needs the same few kilobytes.

use std::time::Duration;

/// Buckets for each doubling: a percentile is told to 3 %.
const PER_DOUBLING: u32 = 32;
/// log2 of [`PER_DOUBLING`].
const BITS: u32 = 5;
/// Enough doublings for 64 bits of microseconds.
const BUCKETS: usize = (PER_DOUBLING * (64 - BITS + 1)) as usize;

/// How often each latency was seen.
#[derive(Clone)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
}

/// The percentiles that are told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            count: 0,
            longest: Duration::ZERO,
        }
    }

    pub(super) fn add(&mut self, latency: Duration) {
        if let Some(count) = self.counts.get_mut(bucket(latency)) {
            *count += 1;
        }
        self.count += 1;
        self.longest = self.longest.max(latency);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// How many there were.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// In milliseconds; all 0 when nothing was measured.
    pub(super) fn percentiles(&self) -> Percentiles {
        let at = |share| millis(self.percentile(share));
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: millis(self.longest),
        }
    }

    /// What `share` of all are not above, never more than the longest.
    fn percentile(&self, share: f64) -> Duration {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper_end(bucket).min(self.longest);
            }
        }
        self.longest
    }
}

/// Bucket of a latency: exact below 32 microseconds, then 32 buckets for each doubling.
fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let doubling = micros.max(1).ilog2().saturating_sub(BITS - 1);
    let within = (micros >> doubling.saturating_sub(1)) as usize;
    match doubling {
        0 => within,
        _ => (doubling - 1) as usize * PER_DOUBLING as usize + within,
    }
}

/// The longest latency of a bucket.
fn upper_end(bucket: usize) -> Duration {
    let per_doubling = PER_DOUBLING as usize;
    let doubling = (bucket / per_doubling).saturating_sub(1);
    let within = (bucket - doubling * per_doubling) as u64;
    let shift = u32::try_from(doubling).unwrap_or(u32::MAX);
    let next = (within + 1).checked_shl(shift).unwrap_or(u64::MAX);
    Duration::from_micros(next.saturating_sub(1))
}

fn millis(latency: Duration) -> f64 {
    (latency.as_secs_f64() * 1e5).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_a_bucket_that_ends_at_most_3_percent_above_it() {
        let mut before = 0;
        for micros in (0..5_000).chain([10_000, 123_456, 60_000_000, 86_400_000_000]) {
            let latency = Duration::from_micros(micros);
            let found = bucket(latency);
            assert!(found >= before, "{micros}");
            before = found;
            let end = upper_end(found);
            assert!(end >= latency, "{micros}: {end:?}");
            assert!(
                end.as_secs_f64() <= latency.as_secs_f64() * 1.04,
                "{micros}: {end:?}"
            );
        }
        assert!(bucket(Duration::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let mut one = Latencies::new();
        let mut other = Latencies::new();
        for millis in 1..=100 {
            let half = if millis % 2 == 0 {
                &mut one
            } else {
                &mut other
            };
            half.add(Duration::from_millis(millis));
        }
        one.merge(&other);
        assert_eq!(one.count(), 100);
        let told = one.percentiles();
        let near = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 0.04;
        assert!(near(told.p50, 50.0), "{told:?}");
        assert!(near(told.p90, 90.0), "{told:?}");
        assert!(near(told.p99, 99.0), "{told:?}");
        assert!((told.max - 100.0).abs() < f64::EPSILON, "{told:?}");
        assert_eq!(Latencies::new().percentiles(), Percentiles::default());
    }
}
