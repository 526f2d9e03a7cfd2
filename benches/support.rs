//! Timing for the benchmarks: candidates take turns, medians and ratios are printed.
//!
//! A benchmark here always compares: with a peer, or with the least that the
//! job can cost. Absolute times of a shared machine say little; the ratio of
//! two candidates that ran a millisecond apart says a lot. So every round runs
//! each candidate once, and the ratio is the median over the rounds of the
//! ratio inside a round.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long one candidate runs in one round, about: less than the slice that a
/// busy machine gives a process, so that most turns are not interrupted.
const TURN: Duration = Duration::from_micros(300);
/// How long a candidate warms up.
const WARM_UP: Duration = Duration::from_millis(20);
/// Rounds, unless `BENCH_ROUNDS` says otherwise.
const ROUNDS: usize = 200;

/// Candidates that do the same job.
pub struct Race<'a> {
    title: String,
    items: usize,
    bytes: usize,
    candidates: Vec<Candidate<'a>>,
}

struct Candidate<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> usize + 'a>,
}

/// What one candidate took.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// The candidate.
    pub name: &'static str,
    /// Median nanoseconds for one item.
    pub nanoseconds: f64,
    /// The least nanoseconds for one item, in the round that nothing disturbed.
    pub best: f64,
    /// Median over the rounds of its time divided by the first candidate's.
    pub ratio: f64,
}

impl<'a> Race<'a> {
    /// A race in which every run of a candidate handles `items` items of
    /// `bytes` bytes together.
    #[must_use]
    pub fn new(title: impl Into<String>, items: usize, bytes: usize) -> Self {
        Self {
            title: title.into(),
            items,
            bytes,
            candidates: Vec::new(),
        }
    }

    /// Adds a candidate; the first one is what the ratios refer to. What `run`
    /// returns keeps its work from being optimised away.
    #[must_use]
    pub fn candidate(mut self, name: &'static str, run: impl FnMut() -> usize + 'a) -> Self {
        let run = Box::new(run);
        self.candidates.push(Candidate { name, run });
        self
    }

    /// Runs all rounds, prints a table and returns its rows.
    pub fn run(mut self) -> Vec<Figure> {
        let rounds = std::env::var("BENCH_ROUNDS").ok();
        let rounds = rounds.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
        let repeats: Vec<u32> = self.candidates.iter_mut().map(calibrate).collect();
        let mut times = vec![Vec::with_capacity(rounds); self.candidates.len()];
        for _ in 0..rounds {
            for ((candidate, repeat), times) in
                self.candidates.iter_mut().zip(&repeats).zip(&mut times)
            {
                let start = Instant::now();
                for _ in 0..*repeat {
                    black_box((candidate.run)());
                }
                let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(*repeat);
                times.push(each / self.items as f64);
            }
        }
        let first = times.first().cloned().unwrap_or_default();
        let figures: Vec<Figure> = self
            .candidates
            .iter()
            .zip(times)
            .map(|(candidate, times)| Figure {
                name: candidate.name,
                ratio: median(times.iter().zip(&first).map(|(a, b)| a / b).collect()),
                best: times.iter().copied().fold(f64::INFINITY, f64::min),
                nanoseconds: median(times),
            })
            .collect();
        print!("{}", self.table(&figures, rounds));
        figures
    }

    fn table(&self, figures: &[Figure], rounds: usize) -> String {
        let each = self.bytes as f64 / self.items.max(1) as f64;
        let mut out = format!(
            "\n{} ({each:.0} bytes on average, {rounds} rounds)\n",
            self.title
        );
        let width = figures.iter().map(|figure| figure.name.len()).max();
        let width = width.unwrap_or(0);
        let _ = writeln!(
            out,
            "  {:width$}  {:>12}  {:>12}  {:>11}  {:>8}",
            "", "median ns", "best ns", "MB/s", "ratio"
        );
        for figure in figures {
            let Figure {
                name,
                nanoseconds,
                best,
                ratio,
            } = figure;
            let rate = each / nanoseconds * 1e3;
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "  {name:width$}  {nanoseconds:>12.0}  {best:>12.0}  {rate:>11.1}  {ratio:>8.2}"
            );
        }
        out
    }
}

/// How many runs fill a turn; warms the candidate up on the way.
fn calibrate(candidate: &mut Candidate<'_>) -> u32 {
    let start = Instant::now();
    let mut runs = 0_u32;
    while start.elapsed() < WARM_UP {
        black_box((candidate.run)());
        runs += 1;
    }
    let each = start.elapsed() / runs.max(1);
    let runs = TURN.as_nanos() / each.as_nanos().max(1);
    u32::try_from(runs).unwrap_or(u32::MAX).max(1)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slower_candidates_have_larger_ratios() {
        let work = |rounds: u64| move || (0..rounds).map(black_box).sum::<u64>() as usize;
        let figures = Race::new("sums", 1, 8)
            .candidate("short", work(1_000))
            .candidate("long", work(50_000))
            .run();
        assert!(figures[0].ratio > 0.99 && figures[0].ratio < 1.01);
        assert!(figures[1].ratio > 5.0);
    }
}
