//! Precision, offsets, the calendar, and each tolerance on and off.

use super::*;

/// The parts as `YYYY-MM-DD HH:MM:SS.f(n) offset`, as far as they were sent.
fn shown(text: &str, tolerance: Tolerance) -> Result<String, DtmError> {
    let dtm = parse(text, tolerance)?;
    let mut out = dtm.year.to_string();
    for part in [dtm.month, dtm.day, dtm.hour, dtm.minute, dtm.second]
        .into_iter()
        .flatten()
    {
        out += &format!(" {part}");
    }
    if let Some((digits, count)) = dtm.fraction {
        out += &format!(" {digits}/{count}");
    }
    if let Some(offset) = dtm.offset_minutes {
        out += &format!(" {offset:+}");
    }
    Ok(out)
}

fn strict(text: &str) -> Result<String, DtmError> {
    shown(text, Tolerance::STRICT)
}

fn lenient(text: &str) -> Result<String, DtmError> {
    shown(text, Tolerance::LENIENT)
}

fn range(part: &'static str) -> Result<String, DtmError> {
    Err(DtmError::Range { part })
}

#[test]
fn precision_and_offset_are_kept() {
    for (text, expected) in [
        ("2025", "2025"),
        ("202502", "2025 2"),
        ("20250228", "2025 2 28"),
        ("2025022813", "2025 2 28 13"),
        ("202502281305", "2025 2 28 13 5"),
        ("20250228130509", "2025 2 28 13 5 9"),
        ("20250228130509.0", "2025 2 28 13 5 9 0/1"),
        ("20250228130509.0500", "2025 2 28 13 5 9 500/4"),
        ("20250228130509+0530", "2025 2 28 13 5 9 +330"),
        ("20250228130509.12-0800", "2025 2 28 13 5 9 12/2 -480"),
        ("202502281305-0000", "2025 2 28 13 5 +0"),
        ("2025-0500", "2025 -300"),
        (" 2025 ", "2025"),
    ] {
        assert_eq!(strict(text).as_deref(), Ok(expected), "{text}");
        assert_eq!(lenient(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn the_calendar_is_checked() {
    assert_eq!(strict("20240229").as_deref(), Ok("2024 2 29"));
    for text in ["20230229", "19000229", "20250431", "20251232", "20250200"] {
        assert_eq!(strict(text), range("day"), "{text}");
    }
    assert_eq!(strict("20251301"), range("month"));
    assert_eq!(strict("20250001"), range("month"));
    assert_eq!(strict("0000"), range("year"));
    assert_eq!(strict("2025010124"), range("hour"));
    assert_eq!(strict("202501011260"), range("minute"));
    assert_eq!(strict("20250101120060"), range("second"));
    assert_eq!(strict("2025010112+1500"), range("offset"));
    assert_eq!(strict("2025010112-1230"), range("offset"));
    assert_eq!(lenient("20230230"), range("day"));
}

#[test]
fn what_is_no_date_is_an_error_with_a_column() {
    for (text, column) in [
        ("20x5", 3),
        ("202", 4),
        ("20251", 6),
        ("20250228T", 9),
        ("20250228130509.", 16),
        ("20250228130509.12345", 20),
        ("20250228130509+05", 18),
        ("  2025y", 7),
        ("2025\u{e9}", 5),
    ] {
        assert_eq!(strict(text), Err(DtmError::Syntax { column }), "{text}");
    }
    assert_eq!(strict("  "), Err(DtmError::NoValue));
    assert_eq!(strict(""), Err(DtmError::NoValue));
}

#[test]
fn zeros_are_no_value_or_less_precision() {
    assert_eq!(lenient("00000000"), Err(DtmError::NoValue));
    assert_eq!(lenient("0000"), Err(DtmError::NoValue));
    assert_eq!(lenient("19890400").as_deref(), Ok("1989 4"));
    assert_eq!(lenient("19890000").as_deref(), Ok("1989"));
    assert_eq!(lenient("19890012"), range("month"));
    assert_eq!(lenient("1989040012"), range("day"));
    assert_eq!(strict("00000000"), range("year"));
}

#[test]
fn hour_24_is_midnight_of_the_next_day() {
    assert_eq!(lenient("2025022824").as_deref(), Ok("2025 3 1 0"));
    assert_eq!(lenient("20241231240000").as_deref(), Ok("2025 1 1 0 0 0"));
    assert_eq!(
        lenient("20240228240000.0").as_deref(),
        Ok("2024 2 29 0 0 0 0/1")
    );
    assert_eq!(lenient("202502282401"), range("hour"));
    assert_eq!(lenient("9999123124"), range("year"));
}

#[test]
fn separators_of_other_notations_are_tolerated() {
    for text in ["1989-04-29", "1989/04/29"] {
        assert_eq!(lenient(text).as_deref(), Ok("1989 4 29"));
        assert!(strict(text).is_err());
    }
    for text in [
        "1989-04-29T12:30:05",
        "1989-04-29 12:30:05",
        "19890429 123005",
    ] {
        assert_eq!(lenient(text).as_deref(), Ok("1989 4 29 12 30 5"), "{text}");
    }
    assert_eq!(lenient("1989-04").as_deref(), Ok("1989 4"));
    assert_eq!(lenient("1989-0430").as_deref(), Ok("1989 -270"));
    assert!(lenient("1989-").is_err() && lenient("19890429T").is_err());
}

#[test]
fn loose_offsets_and_fractions_are_tolerated() {
    for text in ["2025022813+01", "2025022813+01:00", "2025022813+0100"] {
        assert_eq!(lenient(text).as_deref(), Ok("2025 2 28 13 +60"), "{text}");
    }
    assert_eq!(lenient("2025022813Z").as_deref(), Ok("2025 2 28 13 +0"));
    let long = "20250228130509.123456789";
    assert_eq!(lenient(long).as_deref(), Ok("2025 2 28 13 5 9 123456789/9"));
    assert!(lenient("20250228130509.1234567890").is_err());
    assert_eq!(
        lenient("20161231235960").as_deref(),
        Ok("2016 12 31 23 59 60")
    );
}

#[test]
fn times_of_day_stand_alone() {
    let tm = parse_tm("1305", Tolerance::STRICT).unwrap();
    assert_eq!((tm.hour, tm.minute, tm.second), (13, Some(5), None));
    let tm = parse_tm("130509.25+0100", Tolerance::STRICT).unwrap();
    assert_eq!((tm.second, tm.fraction), (Some(9), Some((25, 2))));
    assert_eq!(tm.offset_minutes, Some(60));
    let tm = parse_tm("13:05:09", Tolerance::LENIENT).unwrap();
    assert_eq!(tm.second, Some(9));
    assert_eq!(parse_tm("2400", Tolerance::LENIENT).unwrap().hour, 0);
    assert!(parse_tm("2400", Tolerance::STRICT).is_err());
    assert!(parse_tm("x", Tolerance::LENIENT).is_err());
    assert_eq!(parse_tm("", Tolerance::LENIENT), Err(DtmError::NoValue));
}
