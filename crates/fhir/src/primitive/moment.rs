//! date, dateTime, instant and time. Offsets reach 14:00, seconds 60 (a leap second), years from 0001.

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
