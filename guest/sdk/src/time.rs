//! Timestamps of audit events and of Kubernetes objects.

/// Microseconds since 1970 of `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`, the form in which an
/// apiserver writes them. None for any other.
#[must_use]
pub fn timestamp(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (date, clock) = whole.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    if fraction.len() > 6 {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    // Days since 1970 in the proleptic Gregorian calendar, with years from March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| part.parse().ok());
    let found = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn known_instants() {
        assert_eq!(timestamp("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            timestamp("2000-02-29T12:00:00.5Z"),
            Some(951_825_600_500_000)
        );
        assert_eq!(
            timestamp("2026-11-21T06:31:01.724580Z"),
            Some(1_795_242_661_724_580)
        );
        assert_eq!(timestamp("2026-11-21 06:31:01Z"), None);
        assert_eq!(timestamp("2026-11-21T06:31:01+00:00"), None);
    }
}
