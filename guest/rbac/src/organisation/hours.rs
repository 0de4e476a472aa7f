//! Working hours: which days of the week, from when to when, in a zone of a fixed
//! offset. There is no daylight saving time: a verdict must come out the same on a
//! machine with other tables of time zones.

use serde::{Deserialize, Serialize};

const MINUTES_PER_DAY: i64 = 24 * 60;
const MICROS_PER_MINUTE: i64 = 60_000_000;
/// Of UTC-12 and UTC+14, the furthest there are.
const OFFSET_MINUTES: std::ops::RangeInclusive<i16> = -12 * 60..=14 * 60;

/// When people work, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkingHours {
    /// How far local time is ahead of UTC, in minutes; -720 to 840.
    #[serde(default)]
    pub utc_offset_minutes: i16,
    /// Days on which they begin; Monday to Friday where it isn't stated.
    #[serde(default = "weekdays")]
    pub days: Vec<Day>,
    /// Beginning, `HH:MM`.
    pub from: ClockTime,
    /// End, `HH:MM`, not included, to 24:00. Before the beginning: the next day.
    pub to: ClockTime,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "they are the days")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Minutes since midnight, 0 to 1440.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ClockTime(u16);

impl TryFrom<String> for ClockTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |digits: &str| match digits.as_bytes() {
            [a @ b'0'..=b'9', b @ b'0'..=b'9'] => {
                Some(u16::from(a - b'0') * 10 + u16::from(b - b'0'))
            }
            _ => None,
        };
        let minutes = text.split_once(':').and_then(|(hours, minutes)| {
            let minutes = number(minutes).filter(|minutes| *minutes < 60)?;
            Some(number(hours)? * 60 + minutes)
        });
        minutes
            .filter(|minutes| i64::from(*minutes) <= MINUTES_PER_DAY)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no time of day such as 08:30"))
    }
}

/// When people work, as it is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hours {
    utc_offset_minutes: i16,
    /// Bit 0 is Monday.
    days: u8,
    from: u16,
    to: u16,
}

impl Hours {
    /// # Errors
    /// In words that name the member.
    pub(crate) fn new(written: &WorkingHours) -> Result<Self, String> {
        if !OFFSET_MINUTES.contains(&written.utc_offset_minutes) {
            return Err(format!(
                "utcOffsetMinutes is {}; -720 to 840 are time zones",
                written.utc_offset_minutes
            ));
        }
        if written.days.is_empty() {
            return Err("days is empty: nobody works".into());
        }
        if written.from == written.to {
            return Err("from and to are equal; 00:00 to 24:00 is the whole day".into());
        }
        Ok(Self {
            utc_offset_minutes: written.utc_offset_minutes,
            days: written
                .days
                .iter()
                .fold(0, |set, day| set | 1 << *day as u8),
            from: written.from.0,
            to: written.to.0,
        })
    }

    /// True if a time (microseconds since 1970) is within them.
    pub(crate) fn contains(self, time: i64) -> bool {
        let local = time.div_euclid(MICROS_PER_MINUTE) + i64::from(self.utc_offset_minutes);
        let day = local.div_euclid(MINUTES_PER_DAY);
        let minute = local.rem_euclid(MINUTES_PER_DAY);
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        if from < to {
            self.on(day) && (from..to).contains(&minute)
        } else {
            // Over midnight: they belong to the day on which they begin.
            (self.on(day) && minute >= from) || (self.on(day - 1) && minute < to)
        }
    }

    fn on(self, day: i64) -> bool {
        // 1970-01-01 was a Thursday.
        let weekday = (day + 3).rem_euclid(7);
        self.days >> weekday & 1 == 1
    }
}

fn weekdays() -> Vec<Day> {
    vec![Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri]
}

#[cfg(test)]
mod tests {
    use auditchain_guest_sdk::timestamp;

    use super::*;

    fn hours(json: &str) -> Result<Hours, String> {
        let written = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Hours::new(&written)
    }

    #[test]
    fn by_day() {
        let hours = hours(r#"{"utcOffsetMinutes":60,"from":"08:00","to":"18:30"}"#).unwrap();
        // 2026-11-20 is a Friday.
        for (time, expected) in [
            ("2026-11-20T07:00:00.000000Z", true),
            ("2026-11-20T06:59:59.999999Z", false),
            ("2026-11-20T17:29:59.999999Z", true),
            ("2026-11-20T17:30:00.000000Z", false),
            ("2026-11-21T12:00:00.000000Z", false),
            ("2026-11-22T12:00:00.000000Z", false),
            ("2026-11-23T12:00:00.000000Z", true),
            ("1969-12-31T12:00:00.000000Z", true),
        ] {
            assert_eq!(hours.contains(timestamp(time).unwrap()), expected, "{time}");
        }
    }

    #[test]
    fn over_midnight() {
        let hours = hours(r#"{"days":["fri"],"from":"22:00","to":"06:00"}"#).unwrap();
        for (time, expected) in [
            ("2026-11-20T22:00:00Z", true),
            ("2026-11-21T05:59:00Z", true),
            ("2026-11-21T06:00:00Z", false),
            ("2026-11-20T05:00:00Z", false),
            ("2026-11-21T22:00:00Z", false),
        ] {
            assert_eq!(hours.contains(timestamp(time).unwrap()), expected, "{time}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (json, named) in [
            (r#"{"from":"8:00","to":"18:00"}"#, "8:00"),
            (r#"{"from":"08:60","to":"18:00"}"#, "08:60"),
            (r#"{"from":"08:00","to":"24:01"}"#, "24:01"),
            (r#"{"from":"08:00"}"#, "to"),
            (r#"{"from":"08:00","to":"08:00"}"#, "equal"),
            (r#"{"days":[],"from":"08:00","to":"09:00"}"#, "days"),
            (r#"{"days":["Mon"],"from":"08:00","to":"09:00"}"#, "Mon"),
            (
                r#"{"utcOffsetMinutes":900,"from":"08:00","to":"09:00"}"#,
                "utcOffsetMinutes",
            ),
            (r#"{"zone":"UTC","from":"08:00","to":"09:00"}"#, "zone"),
        ] {
            let error = hours(json).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
