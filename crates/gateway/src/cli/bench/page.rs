//! The report as one page: figures, and curves over time as pictures in it. It needs nothing from anywhere else.

use std::fmt::Write as _;

use super::{
    report::{Results, megabytes, rounded, whole},
    samples::Point,
};

/// Size of a picture, and of the margin for its numbers.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;
/// Lines across a picture.
const TICKS: u32 = 4;

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1c2733;--faint:#667788;--line:#d7dee6;--page:#fff;--a:#0b6bcb;--b:#c2410c;--c:#15803d;--d:#7c3aed}\
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--faint:#9aa7b4;--line:#33404d;--page:#11171d;--a:#58a6ff;--b:#fb923c;--c:#4ade80;--d:#a78bfa}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);max-width:900px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .3rem}\
pre{overflow-x:auto;padding:1rem;border:1px solid var(--line);border-radius:6px}\
svg{width:100%;height:auto}svg text{fill:var(--faint);font:12px system-ui,sans-serif}\
.grid{stroke:var(--line)}.curve{fill:none;stroke-width:1.8;stroke-linejoin:round}\
.a{stroke:var(--a)}.b{stroke:var(--b)}.c{stroke:var(--c)}.d{stroke:var(--d)}\
.legend{color:var(--faint);margin:0}.legend b{display:inline-block;width:1.2em;height:.25em;vertical-align:middle;margin:0 .4em 0 1em}\
b.a{background:var(--a)}b.b{background:var(--b)}b.c{background:var(--c)}b.d{background:var(--d)}";

/// One curve: its name, and its value at each point, where there is one.
struct Curve {
    name: &'static str,
    values: Vec<Option<f64>>,
}

/// The whole page.
pub(super) fn page(results: &Results) -> String {
    let points = results.samples.points();
    let mut out = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>fhirway bench</title>",
    );
    let _ = write!(
        out,
        "<style>{STYLE}</style></head><body>\n<h1>fhirway bench</h1>\n<pre>{}</pre>\n",
        escaped(&results.text())
    );
    let curve = |name, value: &dyn Fn(&Point) -> Option<f64>| Curve {
        name,
        values: points.iter().map(value).collect(),
    };
    #[allow(clippy::cast_precision_loss)] // for a picture
    let number = |value: Option<u64>| value.map(|value| value as f64);
    let latency = |pick: fn(&Point) -> f64| {
        move |point: &Point| (point.acknowledged > 0.0).then(|| pick(point))
    };
    let pictures = [
        (
            "Messages per second",
            vec![
                curve("acknowledged", &|point| Some(point.acknowledged)),
                curve("delivered", &|point| point.delivered),
            ],
            rounded as fn(f64) -> String,
        ),
        (
            "Time to the acknowledgement, ms",
            vec![
                curve("p50", &latency(|point| point.latency.p50)),
                curve("p90", &latency(|point| point.latency.p90)),
                curve("p99", &latency(|point| point.latency.p99)),
            ],
            short as fn(f64) -> String,
        ),
        (
            "Messages that wait for the destination",
            vec![curve("waiting", &|point| number(point.backlog))],
            rounded as fn(f64) -> String,
        ),
        (
            "Resident memory of the gateway, MB",
            vec![curve("memory", &|point| {
                number(point.memory).map(|bytes| bytes / 1e6)
            })],
            short as fn(f64) -> String,
        ),
    ];
    let seconds: Vec<f64> = points.iter().map(|point| point.seconds).collect();
    for (title, curves, shown) in pictures {
        picture(&mut out, title, &seconds, &curves, shown);
    }
    let _ = write!(
        out,
        "<p class=\"legend\">{} messages acknowledged{}. Times are seconds since the first message.</p>\n</body></html>\n",
        whole(results.acknowledged),
        match results.most(|point| point.memory) {
            Some(most) => format!(", {} MB of memory at most", megabytes(most)),
            None => String::new(),
        }
    );
    out
}

/// Nothing where none of the curves has two values.
fn picture(
    out: &mut String,
    title: &str,
    seconds: &[f64],
    curves: &[Curve],
    shown: fn(f64) -> String,
) {
    let known = |curve: &&Curve| curve.values.iter().flatten().count() > 1;
    let curves: Vec<&Curve> = curves.iter().filter(known).collect();
    let (Some(end), false) = (seconds.last().copied(), curves.is_empty()) else {
        return;
    };
    let values = curves.iter().flat_map(|curve| &curve.values).flatten();
    let most = ceiling(values.copied().fold(0.0, f64::max));
    let x = |second: f64| LEFT + (WIDTH - LEFT - RIGHT) * second / end.max(1e-9);
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most;
    let _ = write!(
        out,
        "<h2>{title}</h2>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    );
    for tick in 0..=TICKS {
        let share = f64::from(tick) / f64::from(TICKS);
        let (value, second) = (most * share, end * share);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(value) + 4.0,
            shown(value),
            x(second).min(WIDTH - RIGHT - 8.0),
            HEIGHT - 10.0,
            short(second),
            at = y(value),
        );
    }
    let classes = ["a", "b", "c", "d"];
    for (curve, class) in curves.iter().zip(classes) {
        let _ = write!(out, "<polyline class=\"curve {class}\" points=\"");
        for (second, value) in seconds.iter().zip(&curve.values) {
            if let Some(value) = value {
                let _ = write!(out, "{:.1},{:.1} ", x(*second), y(*value));
            }
        }
        out.push_str("\"/>");
    }
    out.push_str("</svg>\n<p class=\"legend\">");
    for (curve, class) in curves.iter().zip(classes) {
        let _ = write!(out, "<b class=\"{class}\"></b>{}", curve.name);
    }
    out.push_str("</p>\n");
}

/// The next 1, 2, 2.5 or 5 times a power of ten.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let fits = steps
        .iter()
        .map(|step| step * power)
        .find(|step| *step >= value * 0.999);
    fits.unwrap_or(10.0 * power)
}

/// Two digits at least.
fn short(value: f64) -> String {
    match value {
        value if value >= 10.0 || value.fract().abs() < 1e-9 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        for (value, end) in [
            (0.0, 1.0),
            (0.3, 0.5),
            (1.0, 1.0),
            (1.2, 2.0),
            (2.2, 2.5),
            (73.0, 100.0),
            (4_100.0, 5_000.0),
        ] {
            assert!((ceiling(value) - end).abs() < 1e-9, "{value}");
        }
        assert_eq!(short(12.4), "12");
        assert_eq!(short(2.0), "2");
        assert_eq!(short(2.5), "2.5");
        assert_eq!(short(0.25), "0.25");
    }

    #[test]
    fn a_curve_that_is_not_known_has_no_picture() {
        let mut out = String::new();
        let curve = Curve {
            name: "x",
            values: vec![None, Some(1.0), None],
        };
        picture(&mut out, "X", &[1.0, 2.0, 3.0], &[curve], short);
        assert!(out.is_empty());
        let curve = Curve {
            name: "x",
            values: vec![Some(1.0), None, Some(2.0)],
        };
        picture(&mut out, "X", &[1.0, 2.0, 4.0], &[curve], short);
        assert!(out.contains("<polyline"), "{out}");
        assert!(out.contains(" 846.0,12.0 "), "the last, at the top: {out}");
    }
}
