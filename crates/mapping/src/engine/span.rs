//! Lengths of time: an amount and a unit as senders write them.

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Months(i64),
    Days(i64),
    Seconds(i64),
}

/// The largest amount that is read; more is no appointment and no course of treatment.
const MAX: i64 = 10_000_000;

/// Reads an amount and its unit: ISO+, UCUM and the words that people write. `M` alone is minutes, as in the timing of orders (TQ.3).
pub(crate) fn read(amount: &str, unit: &str) -> Option<Step> {
    let (units, scale) = decimal(amount.trim())?;
    let seconds = |each: i64| {
        let all = units.checked_mul(each)?;
        (all % scale == 0).then_some(Step::Seconds(all / scale))
    };
    let count = |each: i64, step: fn(i64) -> Step| {
        let all = units.checked_mul(each)?;
        (all % scale == 0).then_some(step(all / scale))
    };
    match unit.trim().to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => seconds(1),
        "m" | "mn" | "min" | "mins" | "minute" | "minutes" => seconds(60),
        "h" | "hr" | "hrs" | "hour" | "hours" => seconds(3600),
        "d" | "day" | "days" => count(1, Step::Days).or_else(|| seconds(86_400)),
        "w" | "wk" | "wks" | "week" | "weeks" => count(7, Step::Days),
        "l" | "mo" | "mon" | "month" | "months" => count(1, Step::Months),
        "a" | "y" | "yr" | "yrs" | "year" | "years" | "ann" => count(12, Step::Months),
        _ => None,
    }
}

/// The length in whole minutes.
pub(crate) fn minutes(step: Step) -> Option<i64> {
    let seconds = match step {
        Step::Seconds(seconds) => seconds,
        Step::Days(days) => days.checked_mul(86_400)?,
        Step::Months(_) => return None,
    };
    (seconds % 60 == 0).then_some(seconds / 60)
}

/// `1.50` as 150 of 100.
fn decimal(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let scale = 10_i64.pow(u32::try_from(fraction.len()).ok()?);
    let units = format!("{whole}{fraction}").parse::<i64>().ok()?;
    (units / scale <= MAX).then_some((units, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_units() {
        for (amount, unit, step) in [
            ("30", "min", Step::Seconds(1800)),
            ("30", "MINUTES", Step::Seconds(1800)),
            ("1.5", "hr", Step::Seconds(5400)),
            ("0.5", "d", Step::Seconds(43_200)),
            ("2", "wk", Step::Days(14)),
            ("1", "mo", Step::Months(1)),
            ("2", "a", Step::Months(24)),
        ] {
            assert_eq!(read(amount, unit), Some(step), "{amount} {unit}");
        }
        for (amount, unit) in [
            ("", "min"),
            ("-5", "min"),
            ("5", ""),
            ("5", "fortnight"),
            ("0.1", "s"),
            ("1.5", "mo"),
            ("99999999999999999999", "s"),
            ("99999999999", "d"),
        ] {
            assert_eq!(read(amount, unit), None, "{amount} {unit}");
        }
        assert_eq!(minutes(Step::Seconds(90)), None);
        assert_eq!(minutes(Step::Days(1)), Some(1440));
        assert_eq!(minutes(Step::Months(1)), None);
    }
}
