//! date, dateTime, instant and time. Offsets reach 14:00, seconds 60 (a leap second), years from 0001.

use std::cmp::Ordering;

use super::PrimitiveError;

/// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Result<(), PrimitiveError> {
    let rest = partial_date(text.as_bytes())?;
    end(rest)
}

/// A date, or a whole date with time and zone.
pub(super) fn date_time(text: &str) -> Result<(), PrimitiveError> {
    // Only a whole date can have a time.
    match text.as_bytes().get(10) {
        Some(_) => instant(text),
        None => date(text),
    }
}

/// A whole date with time and zone.
pub(super) fn instant(text: &str) -> Result<(), PrimitiveError> {
    let bytes = text.as_bytes();
    let (day, rest) = bytes.split_at_checked(10).ok_or(PrimitiveError::Form)?;
    end(partial_date(day)?)?;
    let rest = clock(literal(rest, b'T')?)?;
    match rest.split_first() {
        Some((b'Z', rest)) => end(rest),
        Some((b'+' | b'-', rest)) => {
            let (hour, rest) = two(rest)?;
            let (minute, rest) = two(literal(rest, b':')?)?;
            end(rest)?;
            if hour > 14 || minute > 59 || (hour == 14 && minute > 0) {
                Err(PrimitiveError::Range)
            } else {
                Ok(())
            }
        }
        _ => Err(PrimitiveError::Form),
    }
}

/// `hh:mm:ss`, with or without fraction.
pub(super) fn time(text: &str) -> Result<(), PrimitiveError> {
    end(clock(text.as_bytes())?)
}

/// See [`super::compare`].
pub(super) fn compare(a: &str, b: &str) -> Option<Ordering> {
    date_time(a).and_then(|()| date_time(b)).ok()?;
    match (a.split_once('T'), b.split_once('T')) {
        (Some((a_day, a_time)), Some((b_day, b_time))) => {
            let (a_second, a_fraction) = seconds(a_day, a_time)?;
            let (b_second, b_fraction) = seconds(b_day, b_time)?;
            Some(
                a_second
                    .cmp(&b_second)
                    .then_with(|| a_fraction.cmp(b_fraction)),
            )
        }
        // The parts that both have are of fixed width.
        (None, None) => match a
            .get(..b.len())
            .unwrap_or(a)
            .cmp(b.get(..a.len()).unwrap_or(b))
        {
            Ordering::Equal if a.len() != b.len() => None,
            order => Some(order),
        },
        _ => None,
    }
}

/// Seconds of UTC from some beginning, and the digits of the fraction without trailing zeros, which compare as text.
fn seconds<'t>(day: &str, time: &'t str) -> Option<(i64, &'t str)> {
    let zone = time.find(['Z', '+', '-'])?;
    let (time, zone) = time.split_at_checked(zone)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let (year, month, day) = (
        number(day.get(..4))?,
        number(day.get(5..7))?,
        number(day.get(8..10))?,
    );
    let (hour, minute, second) = (
        number(clock.get(..2))?,
        number(clock.get(3..5))?,
        number(clock.get(6..8))?,
    );
    let offset = match zone.strip_prefix(['+', '-']) {
        Some(digits) => {
            let minutes = number(digits.get(..2))? * 60 + number(digits.get(3..5))?;
            if zone.starts_with('-') {
                -minutes
            } else {
                minutes
            }
        }
        None => 0,
    };
    // Years that begin in March put the leap day last.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day;
    Some((
        ((days * 24 + hour) * 60 + minute - offset) * 60 + second,
        fraction.trim_end_matches('0'),
    ))
}

fn partial_date(bytes: &[u8]) -> Result<&[u8], PrimitiveError> {
    let (century, rest) = two(bytes)?;
    let (year, rest) = two(rest)?;
    let year = century * 100 + year;
    if year == 0 {
        return Err(PrimitiveError::Range);
    }
    if rest.is_empty() {
        return Ok(rest);
    }
    let (month, rest) = two(literal(rest, b'-')?)?;
    if !(1..=12).contains(&month) {
        return Err(PrimitiveError::Range);
    }
    if rest.is_empty() {
        return Ok(rest);
    }
    let (day, rest) = two(literal(rest, b'-')?)?;
    if (1..=days_in(year, month)).contains(&day) {
        Ok(rest)
    } else {
        Err(PrimitiveError::Range)
    }
}

fn days_in(year: u16, month: u16) -> u16 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn clock(bytes: &[u8]) -> Result<&[u8], PrimitiveError> {
    let (hour, rest) = two(bytes)?;
    let (minute, rest) = two(literal(rest, b':')?)?;
    let (second, rest) = two(literal(rest, b':')?)?;
    if hour > 23 || minute > 59 || second > 60 {
        return Err(PrimitiveError::Range);
    }
    let Some(fraction) = rest.strip_prefix(b".") else {
        return Ok(rest);
    };
    let digits = fraction
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    match fraction.split_at_checked(digits) {
        Some((_, rest)) if digits > 0 => Ok(rest),
        _ => Err(PrimitiveError::Form),
    }
}

fn two(bytes: &[u8]) -> Result<(u16, &[u8]), PrimitiveError> {
    match bytes {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => {
            Ok((u16::from(tens - b'0') * 10 + u16::from(ones - b'0'), rest))
        }
        _ => Err(PrimitiveError::Form),
    }
}

fn literal(bytes: &[u8], expected: u8) -> Result<&[u8], PrimitiveError> {
    match bytes.split_first() {
        Some((byte, rest)) if *byte == expected => Ok(rest),
        _ => Err(PrimitiveError::Form),
    }
}

fn end(rest: &[u8]) -> Result<(), PrimitiveError> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(PrimitiveError::Form)
    }
}
