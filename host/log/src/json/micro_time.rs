//! The timestamps of audit events: RFC 3339, microseconds.

const SECOND_US: i64 = 1_000_000;

/// Microseconds since 1970-01-01T00:00:00Z of an RFC 3339 timestamp: proleptic
/// Gregorian calendar, years 0000 to 9999, up to nine digits of fraction of which
/// those past the microsecond are dropped, `Z` or an offset.
///
/// None: it is none. As for the apiserver (Go), there are no leap seconds: `:60` is
/// none.
#[must_use]
pub fn parse_micro_time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (date_time, rest) = bytes.split_at_checked("2026-11-21T06:31:02".len())?;
    let separators = [
        date_time[4],
        date_time[7],
        date_time[10],
        date_time[13],
        date_time[16],
    ];
    if !matches!(separators, [b'-', b'-', b'T' | b't', b':', b':']) {
        return None;
    }
    let (year, month, day) = (
        number(&date_time[..4])?,
        number(&date_time[5..7])?,
        number(&date_time[8..10])?,
    );
    let (hour, minute, second) = (
        number(&date_time[11..13])?,
        number(&date_time[14..16])?,
        number(&date_time[17..])?,
    );
    if !(1..=12).contains(&month)
        || !(1..=days_in_month(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let (fraction_us, zone) = fraction(rest)?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
        - offset_s(zone)?;
    Some(seconds * SECOND_US + fraction_us)
}

/// The microseconds of a fraction, if there is one, and what follows it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    const MAX_DIGITS: usize = 9;
    let Some(rest) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let len = rest
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(rest.len());
    if !(1..=MAX_DIGITS).contains(&len) {
        return None;
    }
    let (digits, rest) = rest.split_at(len);
    let micros = (0..6).fold(0, |n, i| {
        n * 10 + digits.get(i).map_or(0, |d| i64::from(d - b'0'))
    });
    Some((micros, rest))
}

/// Seconds east of UTC.
fn offset_s(zone: &[u8]) -> Option<i64> {
    let (sign, time) = match zone {
        b"Z" | b"z" => return Some(0),
        [b'+', time @ ..] => (1, time),
        [b'-', time @ ..] => (-1, time),
        _ => return None,
    };
    let [h1, h2, b':', m1, m2] = *time else {
        return None;
    };
    let (hours, minutes) = (number(&[h1, h2])?, number(&[m1, m2])?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// A few decimal digits.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, d| {
        d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0'))
    })
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, with years that start in March, so that the leap day is the
/// last one of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let days_of_years =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    // 719,468 days from 0000-03-01 to 1970-01-01.
    days_of_years + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000001Z", 1),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("2026-11-21T06:31:02.800164Z", 1_795_242_662_800_164),
            ("2026-11-21T08:31:02.800164+02:00", 1_795_242_662_800_164),
            ("2026-11-21T00:01:02.800164-06:30", 1_795_242_662_800_164),
            ("2026-11-21t06:31:02.800164z", 1_795_242_662_800_164),
            ("2000-02-29T12:00:00.5Z", 951_825_600_500_000),
            ("2024-02-29T00:00:00.123456789Z", 1_709_164_800_123_456),
            ("1969-12-31T23:59:59.9999999Z", -1),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999),
            ("1900-03-01T00:00:00Z", -2_203_891_200_000_000),
        ] {
            assert_eq!(parse_micro_time(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn no_times() {
        for text in [
            "",
            "null",
            "2026-11-21",
            "2026-11-21T06:31:02",
            "2026-11-21 06:31:02Z",
            "2026-11-21T06:31:02.Z",
            "2026-11-21T06:31:02.1234567890Z",
            "2026-11-21T06:31:02,5Z",
            "2026-11-21T06:31:02Zx",
            "2026-11-21T06:31:02ZZ",
            "2026-11-21T06:31:02+24:00",
            "2026-11-21T06:31:02+00:60",
            "2026-11-21T06:31:02+0000",
            "2026-11-21T06:31:02+00",
            "2026-11-21T24:00:00Z",
            "2026-11-21T06:60:00Z",
            "2026-12-31T23:59:60Z",
            "2026-00-21T06:31:02Z",
            "2026-13-21T06:31:02Z",
            "2026-11-00T06:31:02Z",
            "2026-11-31T06:31:02Z",
            "2026-02-29T06:31:02Z",
            "1900-02-29T00:00:00Z",
            "+026-11-21T06:31:02Z",
            "2026-11-2١T06:31:02Z",
            "-2026-11-21T06:31:02Z",
            " 2026-11-21T06:31:02Z",
        ] {
            assert_eq!(parse_micro_time(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_all_years_follows_the_one_before() {
        let mut expected = -719_528; // 0000-01-01
        for year in 0..=9999 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    assert_eq!(
                        days_from_civil(year, month, day),
                        expected,
                        "{year}-{month}-{day}"
                    );
                    expected += 1;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_the_log_writes_is_read_back(us in -62_167_219_200_000_000_i64..=253_402_300_799_999_999) {
            let written = format!("{}", crate::Timestamp::from_micros(us));
            prop_assert_eq!(parse_micro_time(&written), Some(us));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,40}|[0-9TZ:.+-]{15,35}") {
            let _ = parse_micro_time(&text);
        }
    }
}
