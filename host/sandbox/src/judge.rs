//! Judges a block with every policy of a set.
//!
//! ```text
//! block --cut--> slices x policies = jobs --workers--> answers --in order--> verdict
//! ```
//! The verdict depends on the block and the policies, not on how many workers
//! there are or which was faster: answers are put together in the order of the
//! jobs.
//!
//! **One event must not cost its neighbours.** Where a guest fails on a slice, the
//! slice is halved and judged again, so that the failure ends up with the events
//! that cause it. It fails the same way everywhere, so this too is reproducible.

use std::{
    ops::Range,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    BlockInput, BlockVerdict, Engine, Failure, LoadedPolicy, PolicyCost, PolicyFailure,
    answer::Answer,
    instance::{Instance, Used},
    slice::{Cut, SliceTables},
    state::Bodies,
};

/// Calls more, for one slice and policy, to find the events that a guest fails on:
/// two halves a level down to one event of the largest slice. A guest that fails on
/// everything costs that much more.
const MAX_RERUNS: u32 = 2 * crate::MAX_SLICE_EVENTS.ilog2();

/// Judges the block.
pub(crate) fn judge(
    engine: &Engine,
    policies: &[LoadedPolicy],
    block: &BlockInput<'_>,
) -> BlockVerdict {
    let plan = Plan::new(policies, block);
    let results: Vec<OnceLock<JobResult>> = plan.jobs.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    engine.spread(plan.jobs.len(), &|| {
        loop {
            let taken = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = plan.jobs.get(taken) else {
                return;
            };
            let result = plan.run(engine, job);
            // Each index is taken once, so the cell is empty.
            let _ = results[taken].set(result);
        }
    });
    let results = results.into_iter().filter_map(OnceLock::into_inner);
    put_together(policies, plan.jobs.iter().zip(results))
}

/// What is to be run.
struct Plan<'a> {
    block: &'a BlockInput<'a>,
    slices: Vec<PlannedSlice<'a>>,
    /// By policy, then by slice.
    jobs: Vec<Job<'a>>,
}

struct PlannedSlice<'a> {
    cut: Cut,
    range: Range<usize>,
    /// Filled in by the first job that needs it, so that workers share this too.
    tables: OnceLock<SliceTables<'a>>,
}

struct Job<'a> {
    policy: &'a LoadedPolicy,
    policy_index: usize,
    slice_index: usize,
}

#[derive(Default)]
struct JobResult {
    answer: Answer,
    failures: Vec<PolicyFailure>,
    instances: u32,
    fuel: u64,
    log_lines_dropped: u64,
    time: Duration,
}

impl<'a> Plan<'a> {
    fn new(policies: &'a [LoadedPolicy], block: &'a BlockInput<'a>) -> Self {
        let mut plan = Self {
            block,
            slices: Vec::new(),
            jobs: Vec::new(),
        };
        for (policy_index, policy) in policies.iter().enumerate() {
            let cut = Cut::of(&policy.limits);
            if !plan.slices.iter().any(|slice| slice.cut == cut) {
                let slices = cut.slices(block.events).into_iter();
                plan.slices.extend(slices.map(|range| PlannedSlice {
                    cut,
                    range,
                    tables: OnceLock::new(),
                }));
            }
            let slices = plan.slices.iter().enumerate();
            plan.jobs
                .extend(
                    slices
                        .filter(|(_, slice)| slice.cut == cut)
                        .map(|(slice_index, _)| Job {
                            policy,
                            policy_index,
                            slice_index,
                        }),
                );
        }
        plan
    }

    fn run(&self, engine: &Engine, job: &Job<'_>) -> JobResult {
        let started = Instant::now();
        let slice = &self.slices[job.slice_index];
        let tables = slice
            .tables
            .get_or_init(|| SliceTables::new(self.block, slice.range.clone()));
        let mut run = SliceRun {
            engine,
            policy: job.policy,
            block: self.block,
            reruns_left: MAX_RERUNS,
            result: JobResult::default(),
        };
        run.judge(tables);
        run.result.time = started.elapsed();
        run.result
    }
}

/// One policy at work on one slice, and on parts of it where it fails.
struct SliceRun<'a> {
    engine: &'a Engine,
    policy: &'a LoadedPolicy,
    block: &'a BlockInput<'a>,
    reruns_left: u32,
    result: JobResult,
}

impl SliceRun<'_> {
    fn judge(&mut self, tables: &SliceTables<'_>) {
        let (failure, halving_helps) = match self.call(tables) {
            Ok(answer) => return self.result.answer.append(answer),
            Err(failed) => failed,
        };
        let range = tables.range.clone();
        if halving_helps
            && range.len() > 1
            && failure.kind.is_reproducible()
            && self.reruns_left >= 2
        {
            self.reruns_left -= 2;
            let middle = range.start + range.len() / 2;
            self.judge(&SliceTables::new(self.block, range.start..middle));
            self.judge(&SliceTables::new(self.block, middle..range.end));
            return;
        }
        let answer = Answer::of_failure(self.policy, tables, &failure);
        self.result.answer.append(answer);
        self.result.failures.push(PolicyFailure {
            policy: self.policy.name.clone(),
            events: tables.event_indexes(),
            failure,
        });
    }

    /// A failure comes with whether it can have to do with the events.
    fn call(&mut self, tables: &SliceTables<'_>) -> Result<Answer, (Failure, bool)> {
        let policy = self.policy;
        let grant = policy.grant(tables.range.len(), tables.batches.len());
        let bodies = if policy.reads_bodies {
            tables.bodies(self.block)
        } else {
            Bodies::default()
        };
        self.result.instances += 1;
        let mut instance = Instance::start(self.engine, &policy.guest, &policy.name, grant, bodies)
            .map_err(|failure| (failure, false))?;
        let configured = instance.configure(&policy.prepared);
        let answered = configured
            .map_err(|failure| (failure, false))
            .and_then(|()| {
                let verdicts = instance.verify(tables.context(self.block), tables.slice());
                verdicts
                    .and_then(|verdicts| Answer::check(policy, tables, verdicts))
                    .map_err(|failure| (failure, true))
            });
        self.count(instance.used());
        answered
    }

    fn count(&mut self, used: Used) {
        self.result.fuel += used.fuel;
        self.result.log_lines_dropped += used.log.dropped;
    }
}

/// The order of the jobs, by policy and then by slice, is that of the verdict but
/// for the events, which come first by event.
fn put_together<'a>(
    policies: &[LoadedPolicy],
    results: impl Iterator<Item = (&'a Job<'a>, JobResult)>,
) -> BlockVerdict {
    let mut verdict = BlockVerdict {
        costs: policies.iter().map(PolicyCost::none).collect(),
        ..BlockVerdict::default()
    };
    let mut answer = Answer::default();
    for (job, result) in results {
        answer.append(result.answer);
        verdict.failures.extend(result.failures);
        let cost = &mut verdict.costs[job.policy_index];
        cost.instances += result.instances;
        cost.fuel += result.fuel;
        cost.time += result.time;
        cost.log_lines_dropped += result.log_lines_dropped;
    }
    // Stable: what a policy said about a subject stays in its order.
    answer.batches.sort_by_key(|(batch, _)| *batch);
    answer.events.sort_by_key(|(event, _)| *event);
    verdict.block = answer.block;
    verdict.batches = answer.batches;
    verdict.events = answer.events;
    verdict
}

impl PolicyCost {
    fn none(policy: &LoadedPolicy) -> Self {
        Self {
            policy: policy.name.clone(),
            instances: 0,
            fuel: 0,
            time: Duration::ZERO,
            log_lines_dropped: 0,
        }
    }
}
