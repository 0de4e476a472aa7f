//! From the state of a finished pass to its report.

use super::auditor::Auditor;
use super::report::{CheckpointReport, KeysReport, Report};

impl Auditor<'_> {
    pub(super) fn report(mut self, signed_by: Vec<String>) -> Report {
        self.findings.sort();
        let (checked, not_checked) = self.statements();
        let checkpoint =
            self.note
                .filter(|_| !signed_by.is_empty())
                .map(|signed| CheckpointReport {
                    size: signed.checkpoint.size.0,
                    root: signed.checkpoint.root.to_base64(),
                    signed_by,
                    note: signed.text,
                });
        Report {
            holds: self.findings.is_empty(),
            target: self.source.name().to_owned(),
            origin: self.origin,
            checkpoint,
            keys: KeysReport {
                given: self.given.iter().map(ToString::to_string).collect(),
                in_force: self
                    .keys
                    .in_force()
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            },
            entries: self.index - self.counts.unreadable_entries,
            blocks: self.blocks.count,
            first_time: self.blocks.first_time,
            last_time: self.blocks.last_time,
            kinds: self.counts.kinds,
            sources: self.counts.sources,
            policies: self.counts.policies,
            bodies_verified: self.counts.bodies_verified,
            bodies_erased: self.counts.bodies_erased,
            bodies_missing: self.counts.bodies_missing,
            bodies_withheld: self.counts.bodies_withheld,
            bodies_unreadable: self.counts.bodies_unreadable,
            seals_verified: self.counts.seals_verified,
            tiles_verified: self.tiles.checked,
            values_verified: self.values.checked,
            batch_signatures_verified: self.batches.signatures_verified,
            batch_signatures_invalid: self.batches.signatures_invalid_and_sealed_so,
            batches_missing: self.batches.missing(),
            sender_keys: self.batches.keys_in_force() as u64,
            unreadable_entries: self.counts.unreadable_entries,
            reexecuted: self.reexecuted,
            log_holds: None,
            files: None,
            checked,
            not_checked,
            findings: self.findings,
        }
    }

    /// What was checked and what was not, in words.
    fn statements(&mut self) -> (Vec<String>, Vec<String>) {
        let mut checked = Vec::new();
        let mut not_checked = std::mem::take(&mut self.not_checked);
        if self.index > 0 {
            let counts = &self.counts;
            let index = self.index - counts.unreadable_entries;
            checked.push(format!(
                "{index} entries: canonical form, hash chain, block order and times"
            ));
            if self.checkpoint_compared {
                checked
                    .push("the Merkle root over all of them against the signed checkpoint".into());
            }
            checked.push(format!(
                "{} seals: signatures of the log's keys, size and root that the tree had there",
                counts.seals_verified
            ));
            if self.source.has_tiles() {
                checked.push(format!(
                    "{} tiles against those made from the entries",
                    self.tiles.checked
                ));
            }
            checked.push(format!(
                "{} bodies: salted commitment, canonical form, and that the leaf says the same",
                counts.bodies_verified
            ));
            checked.push(format!(
                "{} policy modules, settings and RBAC snapshots against their digests",
                self.values.checked
            ));
            if self.values.named > 0 {
                checked.push(format!(
                    "{} kept values: that they can be read",
                    self.values.named
                ));
            }
        }
        if self.batches.signatures_verified + self.batches.digests_verified > 0 {
            checked.push(format!(
                "{} senders' batch signatures, {} batches of events against what was signed",
                self.batches.signatures_verified, self.batches.digests_verified
            ));
            checked.push(
                "that senders' batches were signed with keys in force, and that none is missing without a gap entry that says so"
                    .into(),
            );
        }
        if self.batches.missing() > 0 {
            not_checked.push(format!(
                "{} batches that their senders numbered and that never came, as gap entries of the log say.",
                self.batches.missing()
            ));
        }
        if let Some(since) = self
            .since
            .as_ref()
            .filter(|since| since.checkpoint.size.0 <= self.size)
        {
            checked.push(format!(
                "that the log continues the earlier checkpoint of {} entries",
                since.checkpoint.size
            ));
        }
        if let Some((size, names)) = &self.cosigned {
            checked.push(format!(
                "the witnesses' quorum over the first {size} entries, cosigned by: {}",
                if names.is_empty() {
                    "none, which the policy allows".into()
                } else {
                    names.join(", ")
                }
            ));
        }
        if self.given.is_empty() {
            not_checked.push("WHOSE LOG THIS IS: no --key was given, so the keys were taken from the log itself. That proves that it is consistent, not who signed it.".into());
        }
        if self.options.witness_policy.is_none() {
            not_checked.push(
                "Whether others are shown the same log: no --witness-policy was given.".into(),
            );
        }
        self.key_statements(&mut checked, &mut not_checked);
        self.reexecution_statements(&mut checked, &mut not_checked);
        if self.options.since.is_none() {
            not_checked.push("Whether it continues what you saw before: no --since was given. Keep the checkpoint printed here for the next time.".into());
        }
        let counts = &self.counts;
        if counts.bodies_erased > 0 {
            not_checked.push(format!(
                "{} bodies that were erased, as entries of the log say: their entries hold, what the bodies said is gone.",
                counts.bodies_erased
            ));
        }
        if counts.bodies_missing > 0 {
            not_checked.push(format!(
                "{} bodies that are not there, though no erasure says so.",
                counts.bodies_missing
            ));
        }
        if counts.bodies_withheld > 0 {
            not_checked.push(format!(
                "{} bodies that this bundle withholds, or that were erased before it was written: their entries hold.",
                counts.bodies_withheld
            ));
        }
        if counts.bodies_unreadable > 0 {
            not_checked.push(format!(
                "{} bodies that can't be read.",
                counts.bodies_unreadable
            ));
        }
        if self.batches.digests_not_checked > 0 {
            not_checked.push(format!("The events of {} signed batches against the digest: some were in the log before, or their bodies are missing.", self.batches.digests_not_checked));
        }
        (checked, not_checked)
    }

    /// What came of making the verdicts again.
    fn reexecution_statements(&self, checked: &mut Vec<String>, not_checked: &mut Vec<String>) {
        let Some(done) = &self.reexecuted else {
            not_checked.push("Whether the policies' verdicts are right: they were read. With --re-execute they are made again.".into());
            return;
        };
        checked.push(format!(
            "{} verdicts, made again by the modules, settings and snapshots that the log names: {} came out as they were sealed",
            done.identical + done.different,
            done.identical
        ));
        if done.without_body > 0 {
            not_checked.push(format!(
                "The verdicts of {} events whose bodies are gone: they can't be made again.",
                done.without_body
            ));
        }
        if done.not_reproducible > 0 {
            not_checked.push(format!(
                "{} verdicts that came out otherwise and need not come out alike: a policy's guest had failed by the clock, on another engine, or beside an event that is erased.",
                done.not_reproducible
            ));
        }
        if let Some(index) = done.ended_at {
            not_checked.push(format!(
                "The verdicts from entry {index} on: what they were made with is lost before, or can't be loaded."
            ));
        }
        if !done.other_engines.is_empty() {
            not_checked.push(format!(
                "Whether fuel and memory ran out alike: the log names the engine {}, this one is {}.",
                done.other_engines.join(", "),
                auditchain_sandbox::ENGINE_ID
            ));
        }
    }

    /// What a rotation of keys means to who trusts the old or the new ones.
    fn key_statements(&self, checked: &mut Vec<String>, not_checked: &mut Vec<String>) {
        let in_force = self.keys.in_force();
        let retired = |key: &&auditchain_log::VerifierKey| !in_force.contains(key);
        for key in self.given.iter().filter(retired) {
            if self.keys.was_in_force(key) {
                checked.push(format!(
                    "that the given key {key}, retired since, signed the hand-over: trust the keys in force from now on"
                ));
            }
        }
        let before = self.keys.ever().iter().filter(retired).count();
        if before > 0 && !self.given.is_empty() && !self.given.iter().any(|key| retired(&key)) {
            not_checked.push(format!(
                "Whose the {before} earlier keys of the log were: the given keys vouch for all entries, the log itself for who signed the early ones at the time."
            ));
        }
    }
}
