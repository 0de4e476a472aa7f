//! The recomputed log against its marks, the store's head and the keys.

use auditchain_log::VerifierKey;

use super::auditor::Auditor;
use super::finding::{Place, Rule};
use super::marks::{Mark, MarkOf};
use crate::source::SourceError;

impl Auditor<'_> {
    /// Compares the tree with what it must be at this size.
    pub(super) fn compare_marks(&mut self) {
        while let Some(mark) = self.marks.pop_if(|mark| mark.size == self.index) {
            if !self.tree_known {
                self.not_checked.push(not_compared(&mark));
                continue;
            }
            self.checkpoint_compared |= mark.of == MarkOf::Checkpoint && mark.size == self.size;
            if mark.of == MarkOf::Kept {
                self.check_kept_signatures();
            }
            let root = self.edge.root();
            if root == mark.root {
                continue;
            }
            // Seals tell where a log departs from what it signed itself, not where
            // from another history.
            let place = if mark.of != MarkOf::Since && mark.size > self.signed_size {
                Place::entries(self.signed_size, mark.size - 1)
            } else {
                Place::log()
            };
            let what = mark.of.name();
            let detail = match mark.of {
                MarkOf::Since => format!(
                    "HISTORY WAS REWRITTEN: the first {} entries have the root {root}, {what} had {}",
                    mark.size, mark.root
                ),
                _ => format!(
                    "the first {} entries have the root {root}, {what} says {}",
                    mark.size, mark.root
                ),
            };
            self.findings.add(mark.of.rule(), place, detail);
        }
    }

    /// Who signed the checkpoint beside the store: at its size, so that the keys are those
    /// that were in force there.
    fn check_kept_signatures(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let origin = self.origin.as_deref().unwrap_or_default();
        if let Err(error) = self.keys.signed(&kept.note, &kept.checkpoint, origin) {
            let detail = format!("the file checkpoint: {error}");
            self.findings.add(Rule::Checkpoint, Place::log(), detail);
        }
    }

    /// The store's head beyond root and chain.
    pub(super) fn check_head(&mut self) {
        let Some(head) = self
            .head
            .as_ref()
            .filter(|_| self.counts.unreadable_entries == 0)
        else {
            return;
        };
        if self.index == 0 || self.counts.kinds.values().sum::<u64>() != self.index {
            return;
        }
        if head.blocks != self.blocks.count {
            let detail = format!(
                "the store's head counts {} blocks, the entries {}",
                head.blocks, self.blocks.count
            );
            self.findings.add(Rule::Head, Place::log(), detail);
        }
        if self
            .blocks
            .last_time
            .is_some_and(|time| time.as_micros() != head.time_us)
        {
            self.findings.add(
                Rule::Head,
                Place::log(),
                "the store's head has another time than the last block",
            );
        }
    }

    /// Who signed the checkpoint, and whether that is this log.
    pub(super) fn check_signatures(&mut self) -> Vec<String> {
        self.keys.end();
        let in_force = self.keys.in_force();
        let given = &self.given;
        let led = |key: &&VerifierKey| self.keys.was_in_force(key);
        if self.given_must_lead_here && !given.is_empty() && !given.iter().any(|k| led(&k)) {
            let detail = "the checkpoint is not signed by the keys that were given, and no block of the log hands over from them to the keys that did sign it";
            self.findings.add(Rule::Checkpoint, Place::log(), detail);
            return Vec::new();
        }
        if self.index > 0 {
            for key in given.iter().filter(|key| !led(key)) {
                let detail =
                    format!("the log's own entries don't name the given key {key} as in force");
                self.findings.add(Rule::Key, Place::log(), detail);
            }
            if in_force.is_empty() {
                let detail = "no key of the log is in force at its end";
                self.findings.add(Rule::Key, Place::log(), detail);
            }
        }
        if let Some(since) = &self.since {
            let trusted: Vec<VerifierKey> = given.iter().chain(self.keys.ever()).cloned().collect();
            if let Err(error) = since.note.verify(&trusted) {
                let detail = format!("the earlier checkpoint was not signed by this log: {error}");
                self.findings.add(Rule::History, Place::log(), detail);
            }
        }
        let Some(signed) = self.note.as_ref().filter(|_| self.index > 0) else {
            return Vec::new();
        };
        let origin = &signed.checkpoint.origin;
        match self.keys.signed(&signed.note, &signed.checkpoint, origin) {
            Ok(signed_by) => signed_by,
            Err(error) => {
                self.findings.add(
                    Rule::Checkpoint,
                    Place::log(),
                    format!("the checkpoint: {error}"),
                );
                Vec::new()
            }
        }
    }

    pub(super) fn compare_served_keys(&mut self) -> Result<(), SourceError> {
        let served = match self.source.vkeys() {
            Ok(Some(served)) if self.index > 0 => served,
            Ok(_) => return Ok(()),
            Err(SourceError::Damaged { reason, .. }) => {
                self.findings.add(
                    Rule::Key,
                    Place::log(),
                    format!("the served list of keys can't be read: {reason}"),
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut served: Vec<&str> = served.lines().collect();
        let own: Vec<String> = self
            .keys
            .in_force()
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut own: Vec<&str> = own.iter().map(String::as_str).collect();
        served.sort_unstable();
        own.sort_unstable();
        // A log that rotates its keys while we read serves the newer ones.
        if served != own {
            self.findings.add(
                Rule::Key,
                Place::log(),
                "/keys names other keys than the log's entries do",
            );
        }
        Ok(())
    }
}

pub(super) fn not_compared(mark: &Mark) -> String {
    format!(
        "The root of {} was not compared: entries before it can't be read.",
        mark.of.name()
    )
}
