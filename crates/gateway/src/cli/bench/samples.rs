//! What is seen over time: looks at regular times, thinned out when there are too many.

use std::time::Duration;

use super::{
    latencies::{Latencies, Percentiles},
    metrics::Look,
};

/// More points than that are not seen in a plot.
const MOST: usize = 600;

/// One stretch of time.
#[derive(Clone)]
pub(super) struct Sample {
    /// Its end, since the first message.
    pub(super) at: Duration,
    /// Acknowledged until then.
    pub(super) acknowledged: u64,
    /// Of the acknowledgements in it.
    pub(super) latencies: Latencies,
    /// What the gateway said at its end, where it can be asked.
    pub(super) look: Option<Look>,
}

/// All of them, evenly spaced.
#[derive(Default)]
pub(super) struct Samples {
    all: Vec<Sample>,
    /// How many looks are one sample.
    each: usize,
    pending: usize,
}

/// One point of the curves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) seconds: f64,
    /// Per second, since the point before.
    pub(super) acknowledged: f64,
    pub(super) delivered: Option<f64>,
    pub(super) latency: Percentiles,
    pub(super) backlog: Option<u64>,
    pub(super) memory: Option<u64>,
}

impl Samples {
    /// Adds a look; several are joined to one sample in a long run.
    pub(super) fn add(&mut self, sample: Sample) {
        self.each = self.each.max(1);
        match self.all.last_mut() {
            Some(last) if self.pending > 0 => join(last, sample),
            _ => self.all.push(sample),
        }
        self.pending = (self.pending + 1) % self.each;
        if self.all.len() >= MOST && self.pending == 0 {
            self.thin();
        }
    }

    fn thin(&mut self) {
        self.each *= 2;
        let mut pairs = std::mem::take(&mut self.all).into_iter();
        while let Some(mut first) = pairs.next() {
            if let Some(second) = pairs.next() {
                join(&mut first, second);
            }
            self.all.push(first);
        }
    }

    /// The curves.
    pub(super) fn points(&self) -> Vec<Point> {
        let mut points = Vec::with_capacity(self.all.len());
        let mut before: Option<&Sample> = None;
        for sample in &self.all {
            let from = before.map_or(Duration::ZERO, |before| before.at);
            let seconds = (sample.at.saturating_sub(from)).as_secs_f64().max(1e-9);
            #[allow(clippy::cast_precision_loss)] // rates for people
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
            let earlier = before.and_then(|before| before.look);
            points.push(Point {
                seconds: sample.at.as_secs_f64(),
                acknowledged: rate(
                    sample.acknowledged,
                    before.map_or(0, |before| before.acknowledged),
                ),
                // What it delivered before the first look is not of this run.
                delivered: sample.look.map(|look| {
                    let before = earlier.map_or(look.delivered, |look| look.delivered);
                    rate(look.delivered, before)
                }),
                latency: sample.latencies.percentiles(),
                backlog: sample.look.map(|look| look.backlog),
                memory: sample.look.and_then(|look| look.memory),
            });
            before = Some(sample);
        }
        points
    }
}

fn join(first: &mut Sample, second: Sample) {
    first.latencies.merge(&second.latencies);
    first.at = second.at;
    first.acknowledged = second.acknowledged;
    first.look = second.look;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_as_many_points_as_a_plot_can_show() {
        let mut samples = Samples::default();
        for second in 1..=5_000_u64 {
            let mut latencies = Latencies::new();
            latencies.add(Duration::from_millis(second));
            let look = Look {
                delivered: second * 9,
                backlog: second,
                memory: Some(7),
                ..Look::default()
            };
            samples.add(Sample {
                at: Duration::from_secs(second),
                acknowledged: second * 10,
                latencies,
                look: Some(look),
            });
        }
        let points = samples.points();
        assert!(
            (MOST / 2..=MOST).contains(&points.len()),
            "{}",
            points.len()
        );
        let last = points.last().unwrap();
        assert!((last.seconds - 5_000.0).abs() < 1e-9);
        assert_eq!(last.backlog, Some(5_000));
        for point in &points {
            assert!((point.acknowledged - 10.0).abs() < 1e-6, "{point:?}");
        }
        for point in points.iter().skip(1) {
            assert!((point.delivered.unwrap() - 9.0).abs() < 1e-6, "{point:?}");
        }
        let counted: u64 = samples.all.iter().map(|s| s.latencies.count()).sum();
        assert_eq!(counted, 5_000);
    }
}
