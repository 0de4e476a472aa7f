//! A change of what is in force, and blocks that are lost around it. Set A flags every
//! event that is sent here (a stage that there is none of), set B flags none.

use std::path::Path;

use auditchain_log::{Entry, Hash};
use auditchain_store::limits::BLOB_BYTES_MAX;
use clap::Parser as _;

use super::*;
use crate::config::{Args, Config};
use crate::in_force::InForce;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::open::{Opened, open};
use crate::wanted::Wanted;

type Answer = oneshot::Receiver<Result<Ack, Refusal>>;

struct Log {
    opened: Opened,
    number: u32,
}

fn wanted(dir: &Path, policy: &str) -> (Config, Wanted) {
    let (yaml, file) = (dir.join(format!("{policy}.yaml")), dir.join("config.yaml"));
    let text = format!(
        "apiVersion: auditchain.io/v1alpha1\nkind: VerificationPolicy\nmetadata: {{name: {policy}}}\nspec: {{module: 'builtin:{policy}', mode: enforce}}\n"
    );
    std::fs::write(&yaml, text).unwrap();
    let text = format!(
        "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\npolicies: [{policy}.yaml]\n"
    );
    std::fs::write(&file, text).unwrap();
    let data = dir.join("log");
    let args = ["auditchaind", "--data", data.to_str().unwrap(), "--config"];
    let args = args.into_iter().chain([file.to_str().unwrap()]);
    let config = Config::load(&Args::try_parse_from(args).unwrap()).unwrap();
    let wanted = Wanted::read(&config).unwrap();
    (config, wanted)
}

impl Log {
    /// In force: A.
    fn open(dir: &Path) -> Self {
        let (config, _) = wanted(dir, "ordering");
        let opened = open(&config, false, Arc::new(Metrics::new())).unwrap();
        Self { opened, number: 0 }
    }

    fn job(work: Work) -> (Job, Answer) {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            work,
            arrived: Instant::now(),
            held: Memory::new(1 << 20, 1 << 20).set_aside("", 1).unwrap(),
            reply,
        };
        (job, answer)
    }

    fn event(&mut self) -> (Job, Answer) {
        self.number += 1;
        let list = format!(
            r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{{"auditID":"{}","stage":"Unheard"}}]}}"#,
            self.number
        );
        let batch = Batch::decode("eu", list.as_bytes(), None, &self.opened.tags).unwrap();
        Self::job(Work::Batch(batch))
    }

    fn compile(&self, wanted: &Wanted) -> InForce {
        let base = &self.opened.latest.load_full().snapshots;
        let engine = &self.opened.engine;
        InForce::compile(wanted, engine, base, &*self.opened.store, 0).unwrap()
    }

    /// A change to B; with a value that no store takes, so that its block is lost.
    fn change(&self, dir: &Path, too_large: bool) -> (Job, Answer) {
        let mut in_force = self.compile(&wanted(dir, "signature").1);
        if too_large {
            in_force
                .kept
                .push((Hash([1; 32]), vec![0; BLOB_BYTES_MAX + 1]));
        }
        Self::job(Work::InForce(Box::new(in_force)))
    }

    fn sequencer(&mut self) -> &mut Sequencer {
        &mut self.opened.sequencer
    }

    /// Per block: what it puts in force, and whether each of its events is valid. What
    /// the log says is held against itself: in force is what the last policy entry says.
    fn blocks(&self) -> Vec<(Option<String>, Vec<bool>)> {
        let mut blocks = Vec::<(Option<String>, Vec<bool>)>::new();
        for index in 0..self.opened.latest.load().size() {
            let chunk = self.opened.store.chunk_at(index).unwrap().unwrap();
            let entry = Entry::parse(chunk.entry(index).unwrap()).unwrap();
            let block = usize::try_from(entry.block).unwrap();
            blocks.resize_with(blocks.len().max(block + 1), Default::default);
            match entry.payload {
                Payload::Policy { policies, .. } => {
                    blocks[block].0 = Some(policies[0].name.clone());
                }
                Payload::Event { verdict, .. } => blocks[block].1.push(verdict.valid),
                _ => {}
            }
        }
        let mut in_force = None;
        for (policy, events) in &blocks {
            in_force = policy.as_deref().or(in_force);
            let flagged = in_force == Some("ordering");
            assert!(events.iter().all(|valid| *valid != flagged), "{blocks:?}");
        }
        blocks
    }
}

fn accepted(answer: Answer) -> u64 {
    answer.blocking_recv().unwrap().unwrap().accepted
}

#[test]
fn a_change_judges_its_own_block_and_what_waits_alike_is_answered_alike() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path());
    let (before, _) = log.event();
    log.sequencer().sequence(vec![before]).unwrap();
    let (event, answer) = log.event();
    let ((first, of_first), (second, of_second)) =
        (log.change(dir.path(), false), log.change(dir.path(), false));
    log.sequencer()
        .sequence(vec![event, first, second])
        .unwrap();
    log.sequencer().settle().unwrap();
    assert_eq!((accepted(of_first), accepted(of_second)), (1, 1));
    assert_eq!(accepted(answer), 1);
    // Once more adds nothing.
    let (again, of_again) = log.change(dir.path(), false);
    log.sequencer().sequence(vec![again]).unwrap();
    assert_eq!(accepted(of_again), 0);
    let b = Some("signature".to_owned());
    let blocks = log.blocks();
    assert_eq!(blocks[1..], [(None, vec![false]), (b, vec![true])]);
    assert_eq!(log.opened.latest.load().policies[0].name, "signature");
}

#[test]
fn a_change_for_another_state_of_the_log_is_sent_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path());
    let (_, mut with_snapshot) = wanted(dir.path(), "ordering");
    with_snapshot.snapshot = Some(br#"{"items":[]}"#.to_vec());
    let first = Log::job(Work::InForce(Box::new(log.compile(&with_snapshot))));
    let stale = log.change(dir.path(), false);
    log.sequencer().sequence(vec![first.0]).unwrap();
    log.sequencer().sequence(vec![stale.0]).unwrap();
    assert_eq!(accepted(first.1), 1);
    assert!(stale.1.blocking_recv().unwrap().unwrap().outdated);
    assert_eq!(log.opened.latest.load().snapshots.len(), 1);
    assert_eq!(log.blocks().len(), 2);
}

#[test]
fn what_was_built_on_a_lost_change_is_judged_again_by_what_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path());
    let (change, of_change) = log.change(dir.path(), true);
    let (ahead, of_ahead) = log.event();
    // The change's block is on its way when the event's is built on top of it.
    log.sequencer().sequence(vec![change]).unwrap();
    log.sequencer().sequence(vec![ahead]).unwrap();
    log.sequencer().settle().unwrap();
    let refused = of_change.blocking_recv().unwrap();
    assert!(matches!(refused, Err(Refusal::TooLarge(_))), "{refused:?}");
    assert_eq!(accepted(of_ahead), 0, "judged by the set that was lost");
    assert_eq!(log.blocks()[1..], [(None, vec![false])]);
    assert_eq!(log.opened.latest.load().policies[0].name, "ordering");
}

#[test]
fn a_lost_change_costs_its_neighbours_nothing_and_the_next_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path());
    let (lost, _refused) = log.change(dir.path(), true);
    let (event, of_event) = log.event();
    log.sequencer().sequence(vec![lost, event]).unwrap();
    log.sequencer().settle().unwrap();
    assert_eq!(accepted(of_event), 0);
    // A good change, then one that is lost, then events: the good one stays.
    let (good, of_good) = log.change(dir.path(), false);
    log.sequencer().sequence(vec![good]).unwrap();
    let (_, mut back) = wanted(dir.path(), "ordering");
    back.snapshot = None;
    let mut back = log.compile(&back);
    back.kept.push((Hash([1; 32]), vec![0; BLOB_BYTES_MAX + 1]));
    let (back, _refused) = Log::job(Work::InForce(Box::new(back)));
    log.sequencer().sequence(vec![back]).unwrap();
    let (event, of_event) = log.event();
    log.sequencer().sequence(vec![event]).unwrap();
    log.sequencer().settle().unwrap();
    assert_eq!(accepted(of_good), 1);
    assert_eq!(accepted(of_event), 1);
    let b = Some("signature".to_owned());
    let expected = [(None, vec![false]), (b, vec![]), (None, vec![true])];
    assert_eq!(log.blocks()[1..], expected);
}
