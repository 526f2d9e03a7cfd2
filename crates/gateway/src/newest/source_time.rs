//! When the sender says that something happened, as exactly as it says so.

use hl7v2::{Message, dtm};
use jiff::{Timestamp, civil, tz::TimeZone};

/// How far two clocks can be apart when one of them does not say its zone.
const UNKNOWN_ZONE_MS: i64 = 14 * 3_600_000;
/// A sender's clock that is ahead of ours by more than this is not believed: nothing would ever be newer.
const AHEAD_MS: i64 = 5 * 60_000;

/// The times of what a message says of a resource, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceTime {
    event: Span,
    /// When the content was released.
    issued: Option<i64>,
}

/// From the first to the last moment that a time can mean: a date is a whole day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: i64,
    end: i64,
    /// Whether it says its zone; otherwise it is read as if it were UTC, and compared only with its like.
    zoned: bool,
}

impl SourceTime {
    pub(crate) fn new(event: Span, issued: Option<i64>) -> Self {
        Self { event, issued }
    }

    pub(super) fn stored(event: i64, zoned: bool, issued: Option<i64>) -> Self {
        let event = Span {
            start: event,
            end: event,
            zoned,
        };
        Self { event, issued }
    }

    pub(super) fn to_store(self) -> (i64, bool, Option<i64>) {
        (self.event.start, self.event.zoned, self.issued)
    }

    /// Whether this is certainly older than what was delivered.
    pub(crate) fn is_older_than(&self, delivered: &Self) -> bool {
        match (self.issued, delivered.issued) {
            (Some(own), Some(other)) if own != other => return own < other,
            _ => {}
        }
        let doubt = if self.event.zoned == delivered.event.zoned {
            0
        } else {
            UNKNOWN_ZONE_MS
        };
        self.event.end.saturating_add(doubt) < delivered.event.start
    }
}

/// The time of the event: EVN-2, else MSH-7; `None` when neither is a time. `received_ms` is when it arrived here.
pub(crate) fn event_time(
    message: &Message<'_>,
    zone: Option<&TimeZone>,
    received_ms: i64,
) -> Option<Span> {
    let field = |name: &str, number: usize| {
        let segment = message.segments().find(|segment| segment.name() == name)?;
        let text = segment.field(number).child(1).text();
        span(text.trim(), zone)
    };
    let mut found = field("EVN", 2).or_else(|| field("MSH", 7))?;
    let doubt = if found.zoned {
        AHEAD_MS
    } else {
        UNKNOWN_ZONE_MS
    };
    let latest = received_ms.saturating_add(doubt);
    found.start = found.start.min(latest);
    found.end = found.end.max(found.start);
    Some(found)
}

/// When a resource says its content was released: an `instant`.
pub(crate) fn release_time(issued: &str) -> Option<i64> {
    let time: Timestamp = issued.parse().ok()?;
    Some(time.as_millisecond())
}

fn span(text: &str, zone: Option<&TimeZone>) -> Option<Span> {
    let time = dtm::parse(text, dtm::Tolerance::LENIENT).ok()?;
    let part =
        |part: Option<u8>, least: i8| part.map_or(Some(least), |part| i8::try_from(part).ok());
    let day = civil::Date::new(
        i16::try_from(time.year).ok()?,
        part(time.month, 1)?,
        part(time.day, 1)?,
    )
    .ok()?;
    let second = part(time.second, 0)?.min(59);
    let start = day.at(part(time.hour, 0)?, part(time.minute, 0)?, second, 0);
    let (length, fraction) = match (time.month, time.day, time.hour, time.minute, time.second) {
        (None, ..) => (i64::from(day.days_in_year()) * 86_400_000, 0),
        (_, None, ..) => (i64::from(day.days_in_month()) * 86_400_000, 0),
        (_, _, None, ..) => (86_400_000, 0),
        (_, _, _, None, _) => (3_600_000, 0),
        (_, _, _, _, None) => (60_000, 0),
        _ => match time.fraction {
            None => (1_000, 0),
            Some((digits, count)) => {
                let scale = 10_i64.checked_pow(u32::from(count))?;
                ((1_000 / scale).max(1), i64::from(digits) * 1_000 / scale)
            }
        },
    };
    let utc = start
        .to_zoned(TimeZone::UTC)
        .ok()?
        .timestamp()
        .as_millisecond();
    let (start, zoned) = match (time.offset_minutes, zone) {
        (Some(minutes), _) => (utc - i64::from(minutes) * 60_000, true),
        (None, Some(zone)) => (
            start
                .to_zoned(zone.clone())
                .ok()?
                .timestamp()
                .as_millisecond(),
            true,
        ),
        (None, None) => (utc, false),
    };
    let start = start + fraction;
    Some(Span {
        start,
        end: start + length - 1,
        zoned,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SourceTime {
        SourceTime::new(span(text, None).unwrap(), None)
    }

    #[test]
    fn only_what_is_certainly_older_is_older() {
        for (new, delivered, older) in [
            ("20260101100000+0000", "20260101100001+0000", true),
            ("20260101100000+0000", "20260101100000+0000", false),
            ("20260101100001+0000", "20260101100000+0000", false),
            ("20260101100000.100+0000", "20260101100000.200+0000", true),
            // The same second, minute, day: nobody knows.
            ("20260101100000+0000", "20260101100000.200+0000", false),
            ("202601011000+0000", "20260101100030+0000", false),
            ("20260101", "20260101235959", false),
            ("20260101", "20260102", true),
            ("2025", "2026", true),
            ("2024", "20241231235959", false),
            ("202602", "20260301", true),
            // An hour is an hour, whatever the zone says.
            ("20260101100000+0100", "20260101093000+0000", true),
            ("20260101100000+0000", "20260101103000+0100", false),
            // One of them says no zone.
            ("20260101100000", "20260101110000+0000", false),
            ("20260101100000", "20260102110000+0000", true),
        ] {
            assert_eq!(
                at(new).is_older_than(&at(delivered)),
                older,
                "{new} {delivered}"
            );
        }
    }

    #[test]
    fn the_release_counts_before_the_event() {
        let time = |event: &str, issued| SourceTime {
            issued,
            ..at(event)
        };
        let delivered = time("20260101100500+0000", Some(1_000));
        // Sent later, but an earlier release.
        assert!(time("20260101110000+0000", Some(500)).is_older_than(&delivered));
        assert!(!time("20260101090000+0000", Some(2_000)).is_older_than(&delivered));
        // The same release, or none: the message's time decides.
        assert!(time("20260101090000+0000", Some(1_000)).is_older_than(&delivered));
        assert!(time("20260101090000+0000", None).is_older_than(&delivered));
        assert!(!time("20260101110000+0000", None).is_older_than(&delivered));
    }

    #[test]
    fn the_time_of_a_message() {
        let time = |text: &str, received_ms| {
            let (message, _) = hl7v2::parse(text.as_bytes()).unwrap();
            event_time(&message, None, received_ms).map(|span| span.start)
        };
        let adt =
            "MSH|^~\\&|A|B|||20260101120000+0000||ADT^A08|1|P|2.5\rEVN||20260101110000+0000\r";
        let hour = 3_600_000;
        let noon = 1_767_268_800_000;
        assert_eq!(time(adt, noon), Some(noon - hour));
        let oru = "MSH|^~\\&|A|B|||20260101120000+0000||ORU^R01|1|P|2.5\r";
        assert_eq!(time(oru, noon), Some(noon));
        // A clock that is a year ahead.
        assert_eq!(
            time(oru, noon - 365 * 24 * hour),
            Some(noon - 365 * 24 * hour + AHEAD_MS)
        );
        assert_eq!(time("MSH|^~\\&|A|B|||soon||ORU^R01|1|P|2.5\r", noon), None);
    }
}
