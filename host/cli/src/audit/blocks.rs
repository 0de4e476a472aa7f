//! Block numbers, times, and which kind may stand where.

use auditchain_log::{Entry, KeyRole, KeyState, Payload, Timestamp};

use super::finding::{Findings, Place, Rule};

/// The block that is being read.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Its number and time; none before the first entry and after a gap.
    current: Option<(u64, Timestamp)>,
    /// Blocks begun.
    pub(super) count: u64,
    pub(super) first_time: Option<Timestamp>,
    pub(super) last_time: Option<Timestamp>,
    /// Entries may be missing: what they held can't be asked for.
    gaps: bool,
    genesis: Genesis,
}

/// What the first block must hold: log keys, then one policy set, then at most one
/// RBAC snapshot.
#[derive(Debug, Default)]
struct Genesis {
    log_keys: u64,
    policies: u64,
    snapshots: u64,
    told: bool,
}

impl Blocks {
    /// Takes up an entry; true if a new block begins with it.
    pub(super) fn entry(&mut self, index: u64, entry: &Entry, findings: &mut Findings) -> bool {
        let is_seal = matches!(entry.payload, Payload::Seal { .. });
        let place = Place::entry(index).in_block(entry.block);
        let begins = match self.current {
            Some((number, time)) if entry.block == number => {
                if entry.time != time {
                    let detail = format!("its time is {}, that of its block {time}", entry.time);
                    findings.add(Rule::Block, place, detail);
                }
                if is_seal {
                    findings.add(
                        Rule::Block,
                        place,
                        "a seal stands inside a block, not at its beginning",
                    );
                }
                false
            }
            Some((number, time)) => {
                if Some(entry.block) != number.checked_add(1) {
                    let detail = format!("block {number} is followed by block {}", entry.block);
                    findings.add(Rule::Block, place, detail);
                } else if !is_seal {
                    let detail = format!(
                        "the block begins with kind {}, not with the seal of the block before",
                        entry.kind()
                    );
                    findings.add(Rule::Block, place, detail);
                }
                if entry.time < time {
                    let detail = format!("time goes back from {time} to {}", entry.time);
                    findings.add(Rule::Block, place, detail);
                }
                true
            }
            None if index == 0 => {
                if entry.block != 0 {
                    findings.add(
                        Rule::Block,
                        place,
                        format!("the log begins with block {}, not 0", entry.block),
                    );
                }
                true
            }
            None => true,
        };
        if begins {
            self.end_block(index, findings);
            self.count += 1;
        }
        self.current = Some((entry.block, entry.time));
        self.first_time.get_or_insert(entry.time);
        self.last_time = self.last_time.max(Some(entry.time));
        if entry.block == 0 {
            self.genesis.entry(index, entry, findings);
        }
        begins
    }

    /// Number of the block that is being read.
    pub(super) fn number(&self) -> Option<u64> {
        self.current.map(|(number, _)| number)
    }

    /// What comes next is not known.
    pub(super) fn lose(&mut self) {
        self.current = None;
        self.gaps = true;
    }

    /// The log ends before `index`.
    pub(super) fn end(&mut self, index: u64, findings: &mut Findings) {
        self.end_block(index, findings);
    }

    fn end_block(&mut self, index: u64, findings: &mut Findings) {
        if self.number() == Some(0)
            && !self.gaps
            && !std::mem::replace(&mut self.genesis.told, true)
        {
            self.genesis.end(index, findings);
        }
    }
}

impl Genesis {
    fn entry(&mut self, index: u64, entry: &Entry, findings: &mut Findings) {
        let place = Place::entry(index).in_block(0);
        let wrong = match &entry.payload {
            Payload::Key(key) => {
                self.log_keys +=
                    u64::from(key.role == KeyRole::Log && key.state == KeyState::Begin);
                (self.policies + self.snapshots > 0)
                    .then_some("in the first block a key stands after the policies")
            }
            Payload::Policy { .. } => {
                self.policies += 1;
                (self.snapshots > 0)
                    .then_some("in the first block the policies stand after the RBAC snapshot")
            }
            Payload::Rbac(_) => {
                self.snapshots += 1;
                if self.policies == 0 {
                    Some("in the first block an RBAC snapshot stands before the policies")
                } else {
                    (self.snapshots > 1).then_some("the first block has a second RBAC snapshot")
                }
            }
            _ => {
                let detail = format!(
                    "kind {} stands in the first block, which holds keys and policies only",
                    entry.kind()
                );
                findings.add(Rule::Block, place, detail);
                None
            }
        };
        if let Some(wrong) = wrong {
            findings.add(Rule::Block, place, wrong);
        }
    }

    fn end(&self, index: u64, findings: &mut Findings) {
        let place = Place::entries(0, index.saturating_sub(1)).in_block(0);
        if self.log_keys == 0 {
            findings.add(Rule::Key, place, "the first block names no log key");
        }
        if self.policies != 1 {
            findings.add(
                Rule::Block,
                place,
                format!(
                    "the first block has {} policy entries, not one",
                    self.policies
                ),
            );
        }
    }
}
