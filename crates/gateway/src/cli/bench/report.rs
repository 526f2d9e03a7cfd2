//! What a run came to, for people and for machines.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{
    latencies::Percentiles,
    metrics::Look,
    samples::{Point, Samples},
};

/// Share of what was acknowledged while messages came in that must be delivered by then, to have kept pace.
const PACE: f64 = 0.95;

/// Everything that was measured.
pub(super) struct Results {
    pub(super) target: String,
    pub(super) connections: usize,
    /// While messages came in.
    pub(super) took: Duration,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) bytes: u64,
    pub(super) latency: Percentiles,
    /// Durable appends per second without the rest of the gateway.
    pub(super) bare: Option<f64>,
    /// Before the first message, when the last was acknowledged, and at the end.
    pub(super) looks: Option<[Look; 3]>,
    /// From the last acknowledgement until nothing waited any more; none when that was not waited for.
    pub(super) drained: Option<Duration>,
    /// The destination was down on purpose.
    pub(super) down: bool,
    pub(super) samples: Samples,
}

impl Results {
    /// Acknowledged messages per second.
    pub(super) fn per_second(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // a rate for people
        let count = self.acknowledged as f64;
        count / self.took.as_secs_f64().max(1e-9)
    }

    /// That, as a share of what durability alone allows.
    pub(super) fn ratio(&self) -> Option<f64> {
        let bare = self.bare.filter(|bare| *bare > 0.0)?;
        Some(self.per_second() / bare)
    }

    /// Messages delivered: while others came in, and in all.
    pub(super) fn delivered(&self) -> Option<(u64, u64)> {
        let [before, behind, end] = self.looks?;
        let since = |look: Look| look.delivered.saturating_sub(before.delivered);
        Some((since(behind), since(end)))
    }

    /// Whether delivery kept pace with what came in.
    pub(super) fn keeps_pace(&self) -> Option<bool> {
        let (meanwhile, _) = self.delivered().filter(|_| !self.down)?;
        #[allow(clippy::cast_precision_loss)] // a share
        let share = meanwhile as f64 / (self.acknowledged.max(1)) as f64;
        Some(share >= PACE)
    }

    /// Whether everything was acknowledged, and what was acknowledged delivered.
    pub(super) fn is_whole(&self) -> bool {
        let delivered = match (self.drained, self.delivered()) {
            (Some(_), Some((_, delivered))) => delivered >= self.acknowledged,
            _ => true,
        };
        self.refused == 0 && self.acknowledged > 0 && delivered
    }

    /// The largest of what the samples say.
    pub(super) fn most(&self, value: impl Fn(&Point) -> Option<u64>) -> Option<u64> {
        self.samples.points().iter().filter_map(value).max()
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |what: &str, value: String| {
            let _ = writeln!(out, "{what:<14}{value}");
        };
        line(
            "load",
            format!(
                "{} connections to {} for {:.1} s",
                self.connections,
                self.target,
                self.took.as_secs_f64()
            ),
        );
        line(
            "acknowledged",
            format!(
                "{} messages, {} per second; {} negative or missing",
                whole(self.acknowledged),
                rounded(self.per_second()),
                whole(self.refused)
            ),
        );
        let Percentiles { p50, p90, p99, max } = self.latency;
        line(
            "ACK after",
            format!("p50 {p50} ms, p90 {p90} ms, p99 {p99} ms, longest {max} ms"),
        );
        if let (Some(bare), Some(ratio)) = (self.bare, self.ratio()) {
            line(
                "bare append",
                format!(
                    "{} per second with as many writers; the gateway reaches {ratio:.2} of it",
                    rounded(bare)
                ),
            );
        }
        if let Some((meanwhile, delivered)) = self.delivered() {
            let pace = match self.keeps_pace() {
                Some(true) => "keeps pace",
                Some(false) => "does not keep pace",
                None => "the destination is down",
            };
            line(
                "delivered",
                format!(
                    "{} while messages came in, {} in all: {pace}",
                    whole(meanwhile),
                    whole(delivered)
                ),
            );
        }
        if let Some(most) = self.most(|point| point.backlog) {
            let drained = match self.drained {
                Some(took) => format!(
                    "; delivered {:.1} s after the last message",
                    took.as_secs_f64()
                ),
                None => String::new(),
            };
            line("waiting", format!("at most {}{drained}", whole(most)));
        }
        if let (Some([before, ..]), Some(most)) = (self.looks, self.most(|point| point.memory)) {
            line(
                "memory",
                format!(
                    "{} MB before, {} MB at most",
                    megabytes(before.memory.unwrap_or_default()),
                    megabytes(most)
                ),
            );
        }
        if let Some([before, _, end]) = self.looks
            && let (Some(before), Some(end)) = (before.cpu, end.cpu)
        {
            #[allow(clippy::cast_precision_loss)] // a mean
            let each = (end - before) * 1e6 / self.acknowledged.max(1) as f64;
            line("processor", format!("{each:.0} us for one message"));
        }
        out
    }

    pub(super) fn json(&self) -> Value {
        let Percentiles { p50, p90, p99, max } = self.latency;
        let seconds = |time: Duration| (time.as_secs_f64() * 1e3).round() / 1e3;
        let points: Vec<Value> = self.samples.points().iter().map(point).collect();
        json!({
            "target": self.target,
            "connections": self.connections,
            "seconds": seconds(self.took),
            "acknowledged": self.acknowledged,
            "negative_or_missing": self.refused,
            "bytes": self.bytes,
            "acknowledged_per_second": self.per_second(),
            "ack_ms": { "p50": p50, "p90": p90, "p99": p99, "max": max },
            "bare_appends_per_second": self.bare,
            "ratio_to_bare": self.ratio(),
            "delivered_meanwhile": self.delivered().map(|(meanwhile, _)| meanwhile),
            "delivered": self.delivered().map(|(_, delivered)| delivered),
            "keeps_pace": self.keeps_pace(),
            "backlog_at_most": self.most(|point| point.backlog),
            "drain_seconds": self.drained.map(seconds),
            "memory_before_bytes": self.looks.and_then(|[before, ..]| before.memory),
            "memory_at_most_bytes": self.most(|point| point.memory),
            "destination_down": self.down,
            "samples": points,
        })
    }
}

fn point(point: &Point) -> Value {
    let Percentiles { p50, p90, p99, max } = point.latency;
    json!({
        "seconds": point.seconds,
        "acknowledged_per_second": point.acknowledged,
        "delivered_per_second": point.delivered,
        "ack_ms": { "p50": p50, "p90": p90, "p99": p99, "max": max },
        "backlog": point.backlog,
        "memory_bytes": point.memory,
    })
}

/// `1,234,567`
pub(super) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(super) fn rounded(number: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // rates are not negative
    whole(number.round() as u64)
}

pub(super) fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let look = |delivered, backlog| Look {
            delivered,
            backlog,
            memory: Some(50_000_000),
            cpu: Some(1.0),
            dead: 0,
        };
        Results {
            target: "127.0.0.1:2575".to_owned(),
            connections: 64,
            took: Duration::from_secs(10),
            acknowledged: 10_000,
            refused: 0,
            bytes: 1,
            latency: Percentiles::default(),
            bare: Some(1_600.0),
            looks: Some([look(5, 0), look(9_605, 400), look(10_005, 0)]),
            drained: Some(Duration::from_millis(400)),
            down: false,
            samples: Samples::default(),
        }
    }

    #[test]
    fn ratios_and_pace_are_of_what_was_counted_in_this_run() {
        let mut results = results();
        assert!((results.ratio().unwrap() - 0.625).abs() < 1e-9);
        assert_eq!(results.delivered(), Some((9_600, 10_000)));
        assert_eq!(results.keeps_pace(), Some(true));
        assert!(results.is_whole());
        results.acknowledged = 10_200;
        assert_eq!(results.keeps_pace(), Some(false));
        assert!(!results.is_whole(), "200 are missing");
        results.drained = None;
        assert!(results.is_whole(), "nobody waited for them");
        results.refused = 1;
        assert!(!results.is_whole());
        assert!(results.text().contains("0.64 of it"), "{}", results.text());
        assert_eq!(results.json()["delivered"], 10_000);
        assert_eq!(whole(1_234_567), "1,234,567");
    }
}
