//! Takes a policy out of service whose guest fails on everything: it would cost each
//! block all the fuel that it may use, for nothing.
//!
//! The decision depends on what this process saw; what follows from it does not: the
//! next block begins with a `policy` entry that says `suspended`, and its verdicts are
//! made accordingly, by whoever makes them. One event that gets an answer begins the
//! count anew, so that no single event suspends a policy. A block that is lost, and a
//! restart, begin it anew too.

use std::collections::BTreeMap;

use auditchain_log::PolicyRecord;
use auditchain_sandbox::{BlockVerdict, FailureKind, PoliciesInForce};

/// Events in a row that a policy must have failed on: more than one request has, so
/// that no single sender's request suspends it.
const FAILED_EVENTS_MIN: u64 = 1_024;
/// Blocks in a row that these must lie in.
const FAILED_BLOCKS_MIN: u64 = 4;

/// How the policies in force have failed since each last answered.
#[derive(Debug, Default)]
pub(crate) struct Suspension {
    failing: BTreeMap<String, Failing>,
    /// To be suspended by the next block.
    due: Vec<PolicyRecord>,
}

#[derive(Debug)]
struct Failing {
    /// A changed policy is another one.
    record: PolicyRecord,
    events: u64,
    blocks: u64,
}

impl Suspension {
    /// Notes a block that these policies judged.
    pub(crate) fn note(&mut self, policies: &PoliciesInForce, judged: &BlockVerdict, events: u64) {
        if events == 0 {
            return;
        }
        for record in &policies.policies {
            let of_policy = judged
                .failures
                .iter()
                .filter(|failure| *failure.policy == *record.name);
            let failed: u64 = of_policy
                .filter(|failure| counts(failure.failure.kind))
                .map(|failure| u64::from(failure.events.end - failure.events.start))
                .sum();
            if failed < events || record.suspended {
                self.failing.remove(&record.name);
                continue;
            }
            let anew = || Failing {
                record: record.clone(),
                events: 0,
                blocks: 0,
            };
            let failing = self.failing.entry(record.name.clone()).or_insert_with(anew);
            if failing.record != *record {
                *failing = anew();
            }
            failing.events = failing.events.saturating_add(events);
            failing.blocks += 1;
            if failing.events >= FAILED_EVENTS_MIN && failing.blocks >= FAILED_BLOCKS_MIN {
                self.due.push(record.clone());
            }
        }
        self.due
            .iter()
            .for_each(|due| drop(self.failing.remove(&due.name)));
    }

    /// What the block at hand suspends.
    pub(crate) fn take_due(&mut self) -> Vec<PolicyRecord> {
        std::mem::take(&mut self.due)
    }

    /// A block was lost: what was counted of it is void.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self::default();
    }
}

/// Whether the guest is to blame: what it did, not what the host could not do.
fn counts(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::OutOfFuel
            | FailureKind::MemoryLimit
            | FailureKind::StackOverflow
            | FailureKind::Trap
            | FailureKind::BadOutput
    )
}

/// Marks those policies that are suspended: a policy that was changed is not the one that
/// was, and is in service again.
pub(crate) fn mark(policies: &mut PoliciesInForce, suspended: &[PolicyRecord]) {
    for record in &mut policies.policies {
        record.suspended = suspended.iter().any(|other| other.is_same_policy(record));
    }
}

/// Those of the policies that are suspended.
pub(crate) fn suspended(policies: &PoliciesInForce) -> Vec<PolicyRecord> {
    let of = policies.policies.iter().filter(|record| record.suspended);
    of.cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use auditchain_log::{Hash, LimitsRecord, Mode};
    use auditchain_sandbox::{Failure, PolicyFailure};

    use super::*;

    fn record(name: &str) -> PolicyRecord {
        PolicyRecord {
            limits: LimitsRecord {
                fuel_base: 1,
                fuel_per_event: 1,
                memory_bytes: 1,
                output_bytes: 1,
                slice_events: 1,
            },
            mode: Mode::Observe,
            module: Hash([1; 32]),
            name: name.into(),
            settings: Hash([2; 32]),
            signer: None,
            suspended: false,
        }
    }

    fn in_force(policies: Vec<PolicyRecord>) -> PoliciesInForce {
        PoliciesInForce {
            engine: "e".into(),
            policies,
        }
    }

    fn failed(kind: FailureKind, events: u32) -> BlockVerdict {
        BlockVerdict {
            failures: vec![PolicyFailure {
                policy: Arc::from("bad"),
                events: 0..events,
                failure: Failure {
                    kind,
                    detail: String::new(),
                },
            }],
            ..BlockVerdict::default()
        }
    }

    fn due(blocks: &[(BlockVerdict, u64)]) -> Vec<String> {
        let policies = in_force(vec![record("good"), record("bad")]);
        let mut suspension = Suspension::default();
        for (judged, events) in blocks {
            suspension.note(&policies, judged, *events);
        }
        let due = suspension.take_due().into_iter();
        due.map(|record| record.name).collect()
    }

    #[test]
    fn enough_events_in_enough_blocks_suspend() {
        let block = |events: u32| (failed(FailureKind::OutOfFuel, events), u64::from(events));
        let none: [String; 0] = [];
        assert_eq!(due(&[block(8192), block(8192), block(8192)]), none);
        assert_eq!(due(&[block(255), block(256), block(256), block(256)]), none);
        let enough = [block(256), block(256), block(256), block(256)];
        assert_eq!(due(&enough), ["bad"]);
    }

    #[test]
    fn one_answer_begins_the_count_anew() {
        let kind = FailureKind::Trap;
        let block = || (failed(kind, 2000), 2000);
        let none: [String; 0] = [];
        let answered = (failed(kind, 1999), 2000);
        let mut blocks = vec![block(), block(), block(), answered];
        blocks.extend([block(), block(), block()]);
        assert_eq!(due(&blocks), none);
        blocks.push(block());
        assert_eq!(due(&blocks), ["bad"]);
        // A block without events says nothing.
        let empty = || (failed(kind, 0), 0);
        assert_eq!(due(&[block(), block(), block(), empty()]), none);
    }

    #[test]
    fn what_the_host_could_not_do_suspends_nobody() {
        for kind in [FailureKind::Host, FailureKind::Timeout] {
            let blocks: Vec<_> = (0..8).map(|_| (failed(kind, 2000), 2000)).collect();
            assert!(due(&blocks).is_empty());
        }
    }

    #[test]
    fn a_change_of_the_policy_lifts_its_suspension() {
        let marks = [record("bad")];
        let mut policies = in_force(vec![record("good"), record("bad")]);
        mark(&mut policies, &marks);
        let is_suspended = |policies: &PoliciesInForce| {
            let all = policies.policies.iter();
            all.map(|record| record.suspended).collect::<Vec<_>>()
        };
        assert_eq!(is_suspended(&policies), [false, true]);
        // A mark that was read from the log is itself marked.
        let marks = suspended(&policies);
        let changes: [fn(&mut PolicyRecord); 4] = [
            |record| record.mode = Mode::Enforce,
            |record| record.module = Hash([9; 32]),
            |record| record.settings = Hash([9; 32]),
            |record| record.limits.fuel_base = 2,
        ];
        for change in changes {
            let mut changed = in_force(vec![record("bad")]);
            change(&mut changed.policies[0]);
            mark(&mut changed, &marks);
            assert_eq!(is_suspended(&changed), [false]);
        }
        mark(&mut policies, &[]);
        assert_eq!(is_suspended(&policies), [false, false]);
    }
}
