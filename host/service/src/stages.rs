//! Which stages of a request the log holds already: context for the ordering policy.
//!
//! A request is (source, auditID, requestReceivedTimestamp), all of it in the leaf,
//! so the window can be rebuilt from the log alone even where bodies are erased:
//! it covers the [`WINDOW_EVENTS`] event entries before the one that is judged.

use std::collections::{HashMap, VecDeque};

use auditchain_log::EventRecord;

/// Event entries that the window reaches back: 3 MB of memory; some seconds of a
/// large cluster's traffic, an hour of a quiet one's.
pub(crate) const WINDOW_EVENTS: usize = 16_384;
/// Stages of one request that are handed out, the newest first; a request has three.
const MAX_STAGES: usize = 8;

/// A stage seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// As it stands in the leaf.
    pub(crate) stage: Option<String>,
    /// As it stands in the leaf.
    pub(crate) stage_timestamp: Option<String>,
}

/// The window. Owned by the sequencer.
#[derive(Debug, Default)]
pub(crate) struct StageWindow {
    requests: HashMap<String, VecDeque<Seen>>,
    /// Index of each event in the window, with its request's key.
    order: VecDeque<(u64, Option<String>)>,
}

impl StageWindow {
    /// Notes the event at `index` and returns the other stages of its request in the
    /// window before it, the newest first.
    pub(crate) fn note(&mut self, index: u64, source: &str, event: &EventRecord) -> Vec<Seen> {
        if self.order.len() == WINDOW_EVENTS {
            self.forget_oldest();
        }
        let key = key(source, event);
        let mut earlier = Vec::new();
        if let Some(key) = &key {
            let seen = Seen {
                stage: event.stage.clone(),
                stage_timestamp: event.stage_timestamp.clone(),
            };
            match self.requests.get_mut(key) {
                Some(stages) => {
                    earlier.extend(stages.iter().rev().take(MAX_STAGES).cloned());
                    stages.push_back(seen);
                }
                None => {
                    self.requests.insert(key.clone(), VecDeque::from([seen]));
                }
            }
        }
        self.order.push_back((index, key));
        earlier
    }

    /// The index from which the window can be rebuilt, for a log of `size`.
    #[must_use]
    pub(crate) fn start(&self, size: u64) -> u64 {
        self.order.front().map_or(size, |(index, _)| *index)
    }

    fn forget_oldest(&mut self) {
        let Some((_, Some(key))) = self.order.pop_front() else {
            return;
        };
        if let Some(stages) = self.requests.get_mut(&key) {
            stages.pop_front();
            if stages.is_empty() {
                self.requests.remove(&key);
            }
        }
    }
}

/// None where a part is missing: such events belong to no request.
fn key(source: &str, event: &EventRecord) -> Option<String> {
    let received = event.request_received_timestamp.as_deref()?;
    Some(format!(
        "{source}\n{received}\n{}",
        event.audit_id.as_deref()?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, stage: &str) -> EventRecord {
        EventRecord {
            audit_id: Some(id.into()),
            stage: Some(stage.into()),
            request_received_timestamp: Some("t".into()),
            ..EventRecord::default()
        }
    }

    #[test]
    fn stages_of_the_same_request_are_found_and_forgotten() {
        let mut window = StageWindow::default();
        assert!(
            window
                .note(0, "eu", &event("a", "RequestReceived"))
                .is_empty()
        );
        assert!(
            window
                .note(1, "us", &event("a", "RequestReceived"))
                .is_empty()
        );
        assert!(window.note(2, "eu", &EventRecord::default()).is_empty());
        let earlier = window.note(3, "eu", &event("a", "ResponseComplete"));
        assert_eq!(earlier.len(), 1);
        assert_eq!(earlier[0].stage.as_deref(), Some("RequestReceived"));
        assert_eq!(window.start(4), 0);
        for i in 4..WINDOW_EVENTS as u64 + 1 {
            window.note(i, "eu", &event(&i.to_string(), "RequestReceived"));
        }
        assert_eq!(window.start(0), 1);
        let earlier = window.note(90_000, "eu", &event("a", "Panic"));
        assert_eq!(earlier.len(), 1, "{earlier:?}");
        assert_eq!(earlier[0].stage.as_deref(), Some("ResponseComplete"));
        for i in 90_001..90_001 + WINDOW_EVENTS as u64 {
            window.note(i, "eu", &event(&i.to_string(), "RequestReceived"));
        }
        assert!(window.note(200_000, "eu", &event("a", "Panic")).is_empty());
        assert_eq!(window.requests.len(), WINDOW_EVENTS);
    }
}
