//! Dates and times (HL7 v2 chapter 2A, DTM, DT and TM).
//!
//! The precision that was sent is kept, and so is the offset; nothing is
//! shifted to UTC. The calendar is checked. What senders write against the
//! standard is accepted only as far as a [`Tolerance`] says.

/// `YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]`
///
/// A part that was not sent is `None`, and then so are all finer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dtm {
    /// 1 to 9999
    pub year: u16,
    /// 1 to 12
    pub month: Option<u8>,
    /// 1 to the last day of the month
    pub day: Option<u8>,
    /// 0 to 23
    pub hour: Option<u8>,
    /// 0 to 59
    pub minute: Option<u8>,
    /// 0 to 59, or 60 with [`Tolerance::leap_second`]
    pub second: Option<u8>,
    /// The digits after the point as a number, and how many there were: `.05` is `(5, 2)`.
    pub fraction: Option<(u32, u8)>,
    /// Minutes east of UTC, -720 to 840. `-0000` is 0.
    pub offset_minutes: Option<i16>,
}

/// A time of day, `HH[MM[SS[.S[S[S[S]]]]]][+/-ZZZZ]`, with the same ranges as [`Dtm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tm {
    /// 0 to 23
    pub hour: u8,
    /// 0 to 59
    pub minute: Option<u8>,
    /// 0 to 59, or 60 with [`Tolerance::leap_second`]
    pub second: Option<u8>,
    /// As in [`Dtm::fraction`].
    pub fraction: Option<(u32, u8)>,
    /// As in [`Dtm::offset_minutes`].
    pub offset_minutes: Option<i16>,
}

/// What is accepted although the standard does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// `24`, `2400` or `240000` is midnight at the end of the day; of a [`Dtm`]
    /// it becomes 00 of the next day.
    pub hour_24: bool,
    /// A date of zeros is no value ([`DtmError::NoValue`]); a zero month or day
    /// ends the precision before it.
    pub zeros: bool,
    /// `1989-04-29`, `1989/04/29`, `12:30:00`, a `T` or a blank between date and time.
    pub separators: bool,
    /// An offset of two digits (`+01`), with a colon (`+01:00`), or `Z`.
    pub loose_offset: bool,
    /// Second 60.
    pub leap_second: bool,
    /// More than four digits of a second, up to nine.
    pub long_fraction: bool,
}

/// Why text is no date or time. No variant holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DtmError {
    /// Empty, or all zeros where that is tolerated: there is no value.
    #[error("no value")]
    NoValue,
    /// A character that has no place there, or a part cut off in the middle.
    #[error("unexpected character at column {column}")]
    Syntax {
        /// Where, counted from 1.
        column: usize,
    },
    /// A part outside its range, such as month 13 or 30 February.
    #[error("{part} out of range")]
    Range {
        /// Which part.
        part: &'static str,
    },
}

// === impl Tolerance ===

impl Tolerance {
    /// The standard, nothing else.
    pub const STRICT: Self = Self {
        hour_24: false,
        zeros: false,
        separators: false,
        loose_offset: false,
        leap_second: false,
        long_fraction: false,
    };

    /// Everything that has one meaning only.
    pub const LENIENT: Self = Self {
        hour_24: true,
        zeros: true,
        separators: true,
        loose_offset: true,
        leap_second: true,
        long_fraction: true,
    };
}

impl Default for Tolerance {
    fn default() -> Self {
        Self::LENIENT
    }
}

/// Parses a DTM, TS.1 or DT. Blanks around it are ignored.
///
/// # Errors
/// [`DtmError`]: no value, a character out of place, or a part out of range.
pub fn parse(text: &str, tolerance: Tolerance) -> Result<Dtm, DtmError> {
    let mut reader = Reader::new(text, tolerance)?;
    if reader.is_zeros() {
        return Err(DtmError::NoValue);
    }
    let mut dtm = Dtm {
        year: reader.year()?,
        month: None,
        day: None,
        hour: None,
        minute: None,
        second: None,
        fraction: None,
        offset_minutes: None,
    };
    reader.separator(b"-/");
    dtm.month = reader.part("month", 0, 12)?;
    if dtm.month.is_some() {
        reader.separator(b"-/");
        dtm.day = reader.part("day", 0, 31)?;
    }
    if dtm.day.is_some() {
        reader.separator(b"T ");
        let time = reader.time()?;
        (dtm.hour, dtm.minute) = (time.hour, time.minute);
        (dtm.second, dtm.fraction) = (time.second, time.fraction);
    }
    dtm.offset_minutes = reader.offset()?;
    reader.finish()?;
    dtm.checked(tolerance)
}

/// Parses a TM.
///
/// # Errors
/// As [`parse`].
pub fn parse_tm(text: &str, tolerance: Tolerance) -> Result<Tm, DtmError> {
    let mut reader = Reader::new(text, tolerance)?;
    let time = reader.time()?;
    let offset_minutes = reader.offset()?;
    reader.finish()?;
    let hour = time.hour.ok_or(DtmError::Syntax { column: 1 })?;
    Ok(Tm {
        hour: if hour == 24 { 0 } else { hour },
        minute: time.minute,
        second: time.second,
        fraction: time.fraction,
        offset_minutes,
    })
}

/// Days of a month in the Gregorian calendar.
#[must_use]
pub fn days_in_month(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// === impl Dtm ===

impl Dtm {
    /// Checks the calendar and settles what was tolerated.
    fn checked(mut self, tolerance: Tolerance) -> Result<Self, DtmError> {
        if self.month == Some(0) || self.day == Some(0) {
            // `19890400` says April, `19890000` says 1989; a time of an unknown
            // day, or a day of an unknown month, says nothing.
            let cut = self.hour.is_none() && (self.month != Some(0) || self.day.unwrap_or(0) == 0);
            let part = if self.month == Some(0) {
                "month"
            } else {
                "day"
            };
            if !tolerance.zeros || !cut {
                return Err(DtmError::Range { part });
            }
            self.month = self.month.filter(|month| *month > 0);
            self.day = None;
        }
        let (Some(month), Some(day)) = (self.month, self.day) else {
            return Ok(self);
        };
        if day > days_in_month(self.year, month) {
            return Err(DtmError::Range { part: "day" });
        }
        if self.hour == Some(24) {
            self.hour = Some(0);
            (self.year, self.month, self.day) = if day < days_in_month(self.year, month) {
                (self.year, Some(month), Some(day + 1))
            } else if month < 12 {
                (self.year, Some(month + 1), Some(1))
            } else {
                (self.year + 1, Some(1), Some(1))
            };
            if self.year > 9999 {
                return Err(DtmError::Range { part: "year" });
            }
        }
        Ok(self)
    }
}

#[derive(Default)]
struct Time {
    hour: Option<u8>,
    minute: Option<u8>,
    second: Option<u8>,
    fraction: Option<(u32, u8)>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Blanks before the value, for the column of an error.
    skipped: usize,
    tolerance: Tolerance,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn new(text: &'a str, tolerance: Tolerance) -> Result<Self, DtmError> {
        let bytes = text.as_bytes().trim_ascii_start();
        let skipped = text.len() - bytes.len();
        let bytes = bytes.trim_ascii_end();
        if bytes.is_empty() {
            return Err(DtmError::NoValue);
        }
        Ok(Self {
            bytes,
            at: 0,
            skipped,
            tolerance,
        })
    }

    fn is_zeros(&self) -> bool {
        self.tolerance.zeros && self.bytes.len() >= 4 && self.bytes.iter().all(|b| *b == b'0')
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn separator(&mut self, any: &[u8]) {
        let more = self.at + 1 < self.bytes.len();
        if self.tolerance.separators && more && self.peek().is_some_and(|byte| any.contains(&byte))
        {
            // A minus before four last digits is an offset: `1989-0500`.
            let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
            let offset =
                self.peek() == Some(b'-') && rest.len() == 4 && rest.iter().all(u8::is_ascii_digit);
            self.at += usize::from(!offset);
        }
    }

    fn syntax(&self) -> DtmError {
        DtmError::Syntax {
            column: self.skipped + self.at + 1,
        }
    }

    fn digit(&mut self) -> Option<u8> {
        let digit = self.peek().filter(u8::is_ascii_digit)?;
        self.at += 1;
        Some(digit - b'0')
    }

    fn year(&mut self) -> Result<u16, DtmError> {
        let mut year = 0;
        for _ in 0..4 {
            year = year * 10 + u16::from(self.digit().ok_or_else(|| self.syntax())?);
        }
        if year == 0 {
            return Err(DtmError::Range { part: "year" });
        }
        Ok(year)
    }

    /// Two digits, or `None` when there is no first one.
    fn part(&mut self, part: &'static str, low: u8, high: u8) -> Result<Option<u8>, DtmError> {
        let Some(tens) = self.digit() else {
            return Ok(None);
        };
        let ones = self.digit().ok_or_else(|| self.syntax())?;
        let number = tens * 10 + ones;
        if number < low || number > high {
            return Err(DtmError::Range { part });
        }
        Ok(Some(number))
    }

    fn time(&mut self) -> Result<Time, DtmError> {
        let mut time = Time::default();
        let last_hour = if self.tolerance.hour_24 { 24 } else { 23 };
        let last_second = if self.tolerance.leap_second { 60 } else { 59 };
        time.hour = self.part("hour", 0, last_hour)?;
        if time.hour.is_some() {
            self.separator(b":");
            time.minute = self.part("minute", 0, 59)?;
        }
        if time.minute.is_some() {
            self.separator(b":");
            time.second = self.part("second", 0, last_second)?;
        }
        if time.second.is_some() && self.accept(b'.') {
            time.fraction = self.fraction()?;
        }
        let midnight = time.minute.unwrap_or(0) == 0
            && time.second.unwrap_or(0) == 0
            && time.fraction.is_none_or(|(digits, _)| digits == 0);
        if time.hour == Some(24) && !midnight {
            return Err(DtmError::Range { part: "hour" });
        }
        Ok(time)
    }

    fn fraction(&mut self) -> Result<Option<(u32, u8)>, DtmError> {
        let most = if self.tolerance.long_fraction { 9 } else { 4 };
        let (mut digits, mut count) = (0_u32, 0_u8);
        while count < most
            && let Some(digit) = self.digit()
        {
            digits = digits * 10 + u32::from(digit);
            count += 1;
        }
        if count == 0 {
            return Err(self.syntax());
        }
        Ok(Some((digits, count)))
    }

    fn offset(&mut self) -> Result<Option<i16>, DtmError> {
        let loose = self.tolerance.loose_offset;
        if loose && self.accept(b' ') && self.peek().is_none() {
            return Err(self.syntax());
        }
        if loose && self.accept(b'Z') {
            return Ok(Some(0));
        }
        let sign = match self.peek() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Ok(None),
        };
        self.at += 1;
        let hours = self.part("offset", 0, 14)?.ok_or_else(|| self.syntax())?;
        if loose {
            self.accept(b':');
        }
        let minutes = match self.part("offset", 0, 59)? {
            Some(minutes) => minutes,
            None if loose => 0,
            None => return Err(self.syntax()),
        };
        let offset = sign * (i16::from(hours) * 60 + i16::from(minutes));
        if !(-720..=840).contains(&offset) {
            return Err(DtmError::Range { part: "offset" });
        }
        Ok(Some(offset))
    }

    fn finish(&self) -> Result<(), DtmError> {
        if self.at < self.bytes.len() {
            return Err(self.syntax());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
