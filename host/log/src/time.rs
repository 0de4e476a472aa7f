//! Timestamps of the log: microseconds since 1970, written as RFC 3339 in UTC.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::json::parse_micro_time;

/// A point in time, in microseconds since 1970-01-01T00:00:00Z. Written
/// `2026-11-21T06:31:01.724580Z`, always with six digits of fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// 0000-01-01T00:00:00Z
const MIN_US: i64 = -62_167_219_200_000_000;
/// 9999-12-31T23:59:59.999999Z, the last that RFC 3339 can write.
const MAX_US: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// A timestamp from microseconds; a value past the years 0 to 9999 is brought
    /// to the nearest that RFC 3339 can write.
    #[must_use]
    pub fn from_micros(us: i64) -> Self {
        Self(us.clamp(MIN_US, MAX_US))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY_US: i64 = 86_400_000_000;
        let (days, us) = (self.0.div_euclid(DAY_US), self.0.rem_euclid(DAY_US));
        let (year, month, day) = civil_from_days(days);
        let (s, us) = (us / 1_000_000, us % 1_000_000);
        let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{us:06}Z"
        )
    }
}

/// Days since 1970 to the proleptic Gregorian date; eras of 400 years that start
/// on March 1st.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The text is no timestamp of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time is RFC 3339 in UTC with six digits of fraction, as 2026-11-21T06:31:01.724580Z")]
pub struct TimestampError;

impl core::str::FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let us = parse_micro_time(text).ok_or(TimestampError)?;
        Ok(Self::from_micros(us))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn known_times_are_written_and_read_back() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_795_243_861_724_580, "2026-11-21T06:51:01.724580Z"),
            (MAX_US, "9999-12-31T23:59:59.999999Z"),
            (MIN_US, "0000-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Timestamp::from_micros(us).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp::from_micros(us)));
        }
        assert_eq!(Timestamp::from_micros(i64::MAX).as_micros(), MAX_US);
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
