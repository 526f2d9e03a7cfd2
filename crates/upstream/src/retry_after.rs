//! The Retry-After header (RFC 9110 section 10.2.3): seconds or an HTTP date; anything else is as if it were absent.

use std::time::{Duration, SystemTime};

/// The wait that a Retry-After asks for. `date` is the answer's own Date header: with a date form the difference of
/// the two is taken, so that a server's wrong clock does no harm; `now` stands in when there is none. A date that has
/// passed means no wait; the caller caps.
pub(crate) fn parse(value: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds is a very long wait, not garbage.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let then = httpdate::parse_http_date(value).ok()?;
    let from = date
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or(now);
    Some(then.duration_since(from).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 10:00:00 GMT").unwrap();
        let secs = |value, date| parse(value, date, now).map(|wait| wait.as_secs());
        for (value, date, expected) in [
            ("30", None, Some(30)),
            (" 0 ", None, Some(0)),
            ("99999999999999999999999", None, Some(u64::MAX)),
            ("Sat, 21 Nov 2026 10:00:45 GMT", None, Some(45)),
            ("Saturday, 21-Nov-26 10:00:45 GMT", None, Some(45)),
            // The server's clock is an hour behind: only the difference counts.
            (
                "Sat, 21 Nov 2026 09:00:45 GMT",
                Some("Sat, 21 Nov 2026 09:00:00 GMT"),
                Some(45),
            ),
            ("Sat, 21 Nov 2026 09:00:00 GMT", None, Some(0)),
            ("soon", None, None),
            ("", None, None),
            ("-5", None, None),
            ("1.5", None, None),
            ("2026-11-21T10:00:45Z", None, None),
        ] {
            assert_eq!(secs(value, date), expected, "{value}");
        }
    }
}
