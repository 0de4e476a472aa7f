//! A recorded request body that can be sent again and again as other events: each time
//! with its own audit IDs and at its own time, of the same length, changed in place.

use std::ops::Range;

use auditchain_log::Timestamp;
use auditchain_log::json::{parse_micro_time, split_event_list};
use memchr::memmem::find_iter;

/// Digits at the end of an audit ID that say which repetition it is.
const ROUND_DIGITS: usize = 8;

/// A request body with the places that make its events new.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    events: usize,
    ids: Vec<Range<usize>>,
    times: Vec<(Range<usize>, i64)>,
}

impl Template {
    /// Takes up a body; none if it is no EventList or has no events.
    pub(crate) fn new(bytes: Vec<u8>) -> Option<Self> {
        let events = split_event_list(&bytes).ok()?.items.len();
        let ids = values(&bytes, b"\"auditID\":\"")
            .filter(|id| id.len() >= ROUND_DIGITS && bytes[id.clone()].is_ascii())
            .map(|id| id.end - ROUND_DIGITS..id.end)
            .collect();
        let stage = values(&bytes, b"\"stageTimestamp\":\"");
        let received = values(&bytes, b"\"requestReceivedTimestamp\":\"");
        let times = stage.chain(received).filter_map(|at| {
            let text = std::str::from_utf8(&bytes[at.clone()]).ok()?;
            let us = parse_micro_time(text)?;
            // Only what can be written again at the same length.
            (Timestamp::from_micros(us).to_string() == text).then_some((at, us))
        });
        let times = times.collect();
        (events > 0).then_some(Self {
            bytes,
            events,
            ids,
            times,
        })
    }

    /// Events of the body.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Oldest and newest time in it, microseconds.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        let times = || self.times.iter().map(|(_, us)| *us);
        Some((times().min()?, times().max()?))
    }

    /// The body as of another round, its times moved.
    pub(crate) fn at(&mut self, round: u32, move_us: i64) -> &[u8] {
        let digits = format!("{round:0width$x}", width = ROUND_DIGITS);
        for id in &self.ids {
            self.bytes[id.clone()].copy_from_slice(digits.as_bytes());
        }
        for (at, us) in &self.times {
            let time = Timestamp::from_micros(us.saturating_add(move_us)).to_string();
            self.bytes[at.clone()].copy_from_slice(time.as_bytes());
        }
        &self.bytes
    }
}

/// Where the string values behind `name` stand; up to the next quote.
fn values<'a>(bytes: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
    find_iter(bytes, name).filter_map(move |at| {
        let start = at + name.len();
        let length = memchr::memchr(b'"', &bytes[start..])?;
        Some(start..start + length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_is_other_events_of_the_same_shape() {
        let body = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"auditID":"f4cdbeb7-b1ff-4118-b82d-bf43944f099c","requestReceivedTimestamp":"2026-11-21T06:31:01.724580Z","stageTimestamp":"2026-11-21T06:31:02.000000Z"}]}"#;
        let mut template = Template::new(body.to_vec()).unwrap();
        assert_eq!(template.events(), 1);
        let (oldest, newest) = template.span().unwrap();
        assert_eq!(newest - oldest, 275_420);
        let again = template.at(0xabc, 60_000_000).to_vec();
        assert_eq!(again.len(), body.len());
        let text = String::from_utf8(again).unwrap();
        assert!(
            text.contains("\"f4cdbeb7-b1ff-4118-b82d-bf4300000abc\""),
            "{text}"
        );
        assert!(
            text.contains("06:32:01.724580Z") && text.contains("06:32:02.000000Z"),
            "{text}"
        );
        assert!(Template::new(b"{}".to_vec()).is_none());
    }
}
