//! v2 times to FHIR times: precision and offset are kept, nothing is shifted to another zone.

use std::fmt::Write;

use fhir::primitive::{Primitive, check};
use hl7v2::dtm::{self, Dtm, DtmError, Tolerance};
use jiff::Span;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::span::Step;

/// What became of a time.
#[derive(Debug, PartialEq)]
pub(crate) enum Moment {
    Value(String),
    /// It had no zone, and the sender has none: only the date is sure.
    CutToDate(String),
    /// A date of zeros: the sender has no value.
    NoValue,
    Bad,
}

/// The last conversions: the same time stands in segment after segment.
#[derive(Default)]
pub(crate) struct Known {
    made: Vec<(Primitive, String, Moment)>,
    /// Which of them is replaced next.
    oldest: usize,
}

/// So many times a message has that are asked for in turn: of the observation, of the report, of the order, of the message.
const KEPT: usize = 4;

impl Known {
    pub fn clear(&mut self) {
        self.made.clear();
        self.oldest = 0;
    }

    /// As [`convert`]; all conversions since [`Known::clear`] are for the same zone.
    pub fn convert(
        &mut self,
        primitive: Primitive,
        text: &str,
        zone: Option<&TimeZone>,
    ) -> &Moment {
        let same = |(of, from, _): &(Primitive, String, Moment)| *of == primitive && from == text;
        let place = match self.made.iter().position(same) {
            Some(place) => place,
            None => {
                let made = (primitive, text.to_owned(), convert(primitive, text, zone));
                let place = self.oldest;
                self.oldest = (place + 1) % KEPT;
                match self.made.get_mut(place) {
                    Some(old) => *old = made,
                    None => self.made.push(made),
                }
                place
            }
        };
        self.made
            .get(place)
            .map_or(&Moment::Bad, |(_, _, made)| made)
    }
}

/// Converts to date, dateTime, instant or time.
pub(crate) fn convert(primitive: Primitive, text: &str, zone: Option<&TimeZone>) -> Moment {
    let text = text.trim();
    if primitive == Primitive::Time {
        return time(text);
    }
    let dtm = match dtm::parse(text, Tolerance::LENIENT) {
        Ok(dtm) => dtm,
        Err(DtmError::NoValue) => return Moment::NoValue,
        // What is written as FHIR already.
        Err(_) if check(primitive, text).is_ok() => return Moment::Value(text.to_owned()),
        Err(_) => return Moment::Bad,
    };
    let mut value = String::with_capacity(29);
    date(&mut value, &dtm);
    if primitive == Primitive::Date {
        return Moment::Value(value);
    }
    let (Some(day), Some(hour)) = (dtm.day, dtm.hour) else {
        return if primitive == Primitive::Instant {
            Moment::Bad
        } else {
            Moment::Value(value)
        };
    };
    let (minute, second) = (dtm.minute.unwrap_or(0), dtm.second.unwrap_or(0));
    let offset = dtm
        .offset_minutes
        .map(i32::from)
        .or_else(|| local_offset(&dtm, day, hour, minute, second, zone?));
    let Some(offset) = offset else {
        return if primitive == Primitive::Instant {
            Moment::Bad
        } else {
            Moment::CutToDate(value)
        };
    };
    clock(&mut value, 'T', [hour, minute, second], dtm.fraction);
    let minutes = offset.unsigned_abs();
    value.push(if offset < 0 { '-' } else { '+' });
    two(&mut value, minutes / 60);
    value.push(':');
    two(&mut value, minutes % 60);
    Moment::Value(value)
}

/// The v2 time that lies a step after (or before) that one, with its precision and offset. Steps shorter than a day need a
/// time of day. Without an offset it stays local time, or that of the zone when clocks change in between.
pub(crate) fn moved(text: &str, step: Step, back: bool, zone: Option<&TimeZone>) -> Option<String> {
    let dtm = dtm::parse(text.trim(), Tolerance::LENIENT).ok()?;
    let (month, day) = (dtm.month?, dtm.day?);
    let (hour, minute) = (dtm.hour.unwrap_or(0), dtm.minute.unwrap_or(0));
    let second = dtm.second.unwrap_or(0).min(59);
    let start = civil(&dtm, month, day, [hour, minute, second])?;
    let sign = if back { -1 } else { 1 };
    let span = match step {
        Step::Months(months) => Span::new().try_months(sign * months),
        Step::Days(days) => Span::new().try_days(sign * days),
        Step::Seconds(seconds) if dtm.hour.is_some() => Span::new().try_seconds(sign * seconds),
        Step::Seconds(_) => return None,
    };
    let span = span.ok()?;
    let end = match (dtm.offset_minutes, zone, step) {
        (None, Some(zone), Step::Seconds(_)) => {
            let start = zone.to_ambiguous_zoned(start).compatible().ok()?;
            start.checked_add(span).ok()?.datetime()
        }
        _ => start.checked_add(span).ok()?,
    };
    let year = u32::try_from(end.year()).ok()?;
    let mut out = String::with_capacity(19);
    two(&mut out, year / 100);
    two(&mut out, year % 100);
    let (month, day) = (end.month().unsigned_abs(), end.day().unsigned_abs());
    two(&mut out, month);
    two(&mut out, day);
    if dtm.hour.is_none() {
        return Some(out);
    }
    two(&mut out, end.hour().unsigned_abs());
    two(&mut out, end.minute().unsigned_abs());
    if dtm.second.is_some() || end.second() != 0 {
        two(&mut out, end.second().unsigned_abs());
    }
    if let Some(offset) = dtm.offset_minutes {
        out.push(if offset < 0 { '-' } else { '+' });
        two(&mut out, u32::from(offset.unsigned_abs()) / 60);
        two(&mut out, u32::from(offset.unsigned_abs()) % 60);
    }
    Some(out)
}

/// Two digits.
fn two(out: &mut String, number: impl Into<u32>) {
    let number = number.into();
    for digit in [number / 10 % 10, number % 10] {
        out.push(char::from_digit(digit, 10).unwrap_or('0'));
    }
}

/// A sign, then hours, minutes and seconds with as many digits of a second as there were.
fn clock(
    out: &mut String,
    sign: char,
    [hour, minute, second]: [u8; 3],
    fraction: Option<(u32, u8)>,
) {
    out.push(sign);
    two(out, hour);
    out.push(':');
    two(out, minute);
    out.push(':');
    two(out, second);
    if let Some((digits, count)) = fraction.filter(|(_, count)| *count > 0) {
        // Writing to a String can't fail.
        let _ = write!(out, ".{digits:0width$}", width = usize::from(count));
    }
}

fn date(out: &mut String, dtm: &Dtm) {
    two(out, dtm.year / 100);
    two(out, dtm.year % 100);
    for part in [dtm.month, dtm.day].into_iter().map_while(|part| part) {
        out.push('-');
        two(out, part);
    }
}

/// The sender's offset at that local time, in minutes. A time that a clock change skips or repeats takes the offset
/// before the change.
fn local_offset(
    dtm: &Dtm,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    zone: &TimeZone,
) -> Option<i32> {
    let civil = civil(dtm, dtm.month?, day, [hour, minute, second.min(59)])?;
    let offset = match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Gap { before, .. } | AmbiguousOffset::Fold { before, .. } => before,
    };
    Some(offset.seconds() / 60)
}

fn civil(dtm: &Dtm, month: u8, day: u8, [hour, minute, second]: [u8; 3]) -> Option<DateTime> {
    let narrow = |n: u8| i8::try_from(n).ok();
    DateTime::new(
        i16::try_from(dtm.year).ok()?,
        narrow(month)?,
        narrow(day)?,
        narrow(hour)?,
        narrow(minute)?,
        narrow(second)?,
        0,
    )
    .ok()
}

fn time(text: &str) -> Moment {
    match dtm::parse_tm(text, Tolerance::LENIENT) {
        Ok(tm) => {
            let (minute, second) = (tm.minute.unwrap_or(0), tm.second.unwrap_or(0));
            let mut value = String::with_capacity(16);
            clock(&mut value, 'T', [tm.hour, minute, second], tm.fraction);
            value.remove(0);
            Moment::Value(value)
        }
        Err(DtmError::NoValue) => Moment::NoValue,
        Err(_) if check(Primitive::Time, text).is_ok() => Moment::Value(text.to_owned()),
        Err(_) => Moment::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_keeps_precision_and_offset() {
        let later = |text: &str, step| moved(text, step, false, None);
        assert_eq!(
            later("202403011030+0100", Step::Seconds(1800)).as_deref(),
            Some("202403011100+0100")
        );
        assert_eq!(
            later("20240301233000", Step::Seconds(3600)).as_deref(),
            Some("20240302003000")
        );
        assert_eq!(
            later("20240131", Step::Months(1)).as_deref(),
            Some("20240229")
        );
        assert_eq!(
            later("20240228", Step::Days(2)).as_deref(),
            Some("20240301")
        );
        assert_eq!(
            moved("202403010000-0500", Step::Days(1), true, None).as_deref(),
            Some("202402290000-0500")
        );
        assert_eq!(later("20240301", Step::Seconds(60)), None);
        assert_eq!(later("soon", Step::Days(1)), None);
        assert_eq!(later("99991231", Step::Days(1)), None);
        // Clocks go forward at 02:00 on that day.
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(
            moved("202403310130", Step::Seconds(3600), false, Some(&zone)).as_deref(),
            Some("202403310330")
        );
    }

    fn value(primitive: Primitive, text: &str, zone: Option<&str>) -> Moment {
        let zone = zone.map(|name| TimeZone::get(name).unwrap());
        convert(primitive, text, zone.as_ref())
    }

    #[test]
    fn precision_and_offset_are_kept() {
        for (text, expected) in [
            ("1985", "1985"),
            ("198504", "1985-04"),
            ("19850412", "1985-04-12"),
            ("20240301101530-0500", "2024-03-01T10:15:30-05:00"),
            ("20240301101530.0250+0100", "2024-03-01T10:15:30.0250+01:00"),
            ("202403011015+0000", "2024-03-01T10:15:00+00:00"),
        ] {
            assert_eq!(
                value(Primitive::DateTime, text, None),
                Moment::Value(expected.into()),
                "{text}"
            );
        }
        assert_eq!(
            value(Primitive::Date, "20240301101530", None),
            Moment::Value("2024-03-01".into())
        );
    }

    #[test]
    fn a_time_without_a_zone_takes_the_senders_or_is_cut() {
        assert_eq!(
            value(Primitive::DateTime, "20240301101530", None),
            Moment::CutToDate("2024-03-01".into())
        );
        assert_eq!(
            value(Primitive::Instant, "20240301101530", None),
            Moment::Bad
        );
        assert_eq!(
            value(
                Primitive::DateTime,
                "20240301101530",
                Some("America/New_York")
            ),
            Moment::Value("2024-03-01T10:15:30-05:00".into())
        );
        assert_eq!(
            value(
                Primitive::DateTime,
                "20240701101530",
                Some("America/New_York")
            ),
            Moment::Value("2024-07-01T10:15:30-04:00".into())
        );
        // The hour that the clock change skips, and the one it repeats.
        assert_eq!(
            value(Primitive::DateTime, "202403310230", Some("Europe/Berlin")),
            Moment::Value("2024-03-31T02:30:00+01:00".into())
        );
        assert_eq!(
            value(Primitive::DateTime, "202410270230", Some("Europe/Berlin")),
            Moment::Value("2024-10-27T02:30:00+02:00".into())
        );
    }

    #[test]
    fn known_times_are_the_same_times() {
        let mut known = Known::default();
        let texts = ["2024", "202403", "20240301", "x", "2023", "00000000"];
        for text in texts
            .iter()
            .chain(&texts)
            .chain(["2024", "x", "2024"].iter())
        {
            for primitive in [Primitive::Date, Primitive::Instant] {
                assert_eq!(
                    *known.convert(primitive, text, None),
                    convert(primitive, text, None)
                );
            }
        }
        assert_eq!(known.made.len(), KEPT);
    }

    #[test]
    fn what_is_no_date_is_bad_and_zeros_are_none() {
        for text in ["19600230", "20241301", "yesterday", "2024030125"] {
            assert_eq!(
                value(Primitive::DateTime, text, None),
                Moment::Bad,
                "{text}"
            );
        }
        assert_eq!(
            value(Primitive::DateTime, "00000000", None),
            Moment::NoValue
        );
        assert_eq!(
            value(Primitive::Time, "1015", None),
            Moment::Value("10:15:00".into())
        );
    }
}
