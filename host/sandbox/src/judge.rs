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
//!
//! **A guest that fails on everything must not cost the block.** All slices are judged
//! once; then each policy halves its failed slices, in their order, as long as its
//! budget for the block lasts.

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
    answer::{Answer, Subjects},
    instance::{Instance, Used},
    slice::{Cut, SliceTables},
    state::Bodies,
};

/// Halvings for one policy and block, two calls each: four events that a guest fails on,
/// each alone in a slice of default size, are found.
const MAX_HALVINGS: u32 = 32;
/// Of these, such of which both halves failed: as many as lead down to one event of the
/// largest slice. A guest that fails on everything ends here.
const MAX_FRUITLESS_HALVINGS: u32 = crate::MAX_SLICE_EVENTS.ilog2();

/// Judges the block.
pub(crate) fn judge(
    engine: &Engine,
    policies: &[LoadedPolicy],
    block: &BlockInput<'_>,
) -> BlockVerdict {
    let plan = Plan::new(policies, block);
    let mut results = in_parallel(engine, &plan.jobs, |job| plan.run(engine, job));
    // Whose failures halving can narrow down, each policy's in the order of the slices.
    let mut failed: Vec<Vec<(usize, Failed)>> = policies.iter().map(|_| Vec::new()).collect();
    for (index, (job, result)) in plan.jobs.iter().zip(&mut results).enumerate() {
        if let Some(failure) = result.failed.take() {
            failed[job.policy_index].push((index, failure));
        }
    }
    failed.retain(|of_policy| !of_policy.is_empty());
    let narrowed = in_parallel(engine, &failed, |failed| plan.narrow_down(engine, failed));
    for (index, more) in narrowed.into_iter().flatten() {
        results[index].add(more);
    }
    put_together(policies, plan.jobs.iter().zip(results))
}

/// Runs jobs on the engine's workers; the results are in the order of the jobs.
fn in_parallel<J: Sync, R: Send + Sync>(
    engine: &Engine,
    jobs: &[J],
    run: impl Fn(&J) -> R + Sync,
) -> Vec<R> {
    let results: Vec<OnceLock<R>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    engine.spread(jobs.len(), &|| {
        loop {
            let taken = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(taken) else {
                return;
            };
            // Each index is taken once, so the cell is empty.
            let _ = results[taken].set(run(job));
        }
    });
    results
        .into_iter()
        .filter_map(OnceLock::into_inner)
        .collect()
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
    /// None: the policy is suspended, and says so about the whole block.
    slice_index: Option<usize>,
}

/// A failure, and whether it can have to do with the events.
type Failed = (Failure, bool);

#[derive(Default)]
struct JobResult {
    answer: Answer,
    failures: Vec<PolicyFailure>,
    /// The whole slice: nothing else is in here then.
    failed: Option<Failed>,
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
            let job = |slice_index| Job {
                policy,
                policy_index,
                slice_index,
            };
            if policy.suspended {
                plan.jobs.push(job(None));
                continue;
            }
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
            let slices = slices.filter(|(_, slice)| slice.cut == cut);
            plan.jobs.extend(slices.map(|(index, _)| job(Some(index))));
        }
        plan
    }

    fn tables(&self, slice_index: usize) -> &SliceTables<'a> {
        let slice = &self.slices[slice_index];
        slice
            .tables
            .get_or_init(|| SliceTables::new(self.block, slice.range.clone()))
    }

    fn run(&self, engine: &Engine, job: &Job<'_>) -> JobResult {
        let started = Instant::now();
        let mut run = PolicyRun::new(engine, job.policy, self.block);
        match job.slice_index {
            None => run.fail(&Subjects::of_block(self.block), Failure::suspended()),
            Some(slice_index) => match run.call(self.tables(slice_index)) {
                Ok(answer) => run.result.answer = answer,
                Err(failed) => run.result.failed = Some(failed),
            },
        }
        run.result.time = started.elapsed();
        run.result
    }

    /// Halves slices that one policy failed on; for each, by the index of its job, what
    /// is said about it.
    fn narrow_down(&self, engine: &Engine, failed: &[(usize, Failed)]) -> Vec<(usize, JobResult)> {
        let mut budget = Budget::default();
        let narrow = |(index, failed): &(usize, Failed)| {
            let started = Instant::now();
            let job = &self.jobs[*index];
            let mut run = PolicyRun::new(engine, job.policy, self.block);
            // A suspended policy did not fail on a slice.
            if let Some(slice_index) = job.slice_index {
                run.halve(self.tables(slice_index), failed.clone(), &mut budget);
            }
            run.result.time = started.elapsed();
            (*index, run.result)
        };
        failed.iter().map(narrow).collect()
    }
}

/// What a policy has left for halving the slices of a block that it fails on.
struct Budget {
    halvings: u32,
    fruitless: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            halvings: MAX_HALVINGS,
            fruitless: MAX_FRUITLESS_HALVINGS,
        }
    }
}

impl Budget {
    fn take(&mut self) -> bool {
        let left = self.halvings > 0 && self.fruitless > 0;
        self.halvings -= u32::from(left);
        left
    }
}

/// One policy at work on one slice, or on parts of it.
struct PolicyRun<'a> {
    engine: &'a Engine,
    policy: &'a LoadedPolicy,
    block: &'a BlockInput<'a>,
    result: JobResult,
}

impl<'a> PolicyRun<'a> {
    fn new(engine: &'a Engine, policy: &'a LoadedPolicy, block: &'a BlockInput<'a>) -> Self {
        Self {
            engine,
            policy,
            block,
            result: JobResult::default(),
        }
    }

    /// Judges the halves of what it failed on, and theirs where it fails again. Both
    /// halves before theirs, so that the budget knows whether it helped.
    fn halve(&mut self, tables: &SliceTables<'_>, failed: Failed, budget: &mut Budget) {
        let (failure, halving_helps) = failed;
        let range = tables.range.clone();
        let may_help = halving_helps && range.len() > 1 && failure.kind.is_reproducible();
        if !(may_help && budget.take()) {
            return self.fail(&Subjects::of_slice(tables), failure);
        }
        let middle = range.start + range.len() / 2;
        let halves = [range.start..middle, middle..range.end];
        let judged = halves.map(|half| {
            let tables = SliceTables::new(self.block, half);
            let answer = self.call(&tables);
            (tables, answer)
        });
        if judged.iter().all(|(_, answer)| answer.is_err()) {
            budget.fruitless -= 1;
        }
        for (tables, answer) in judged {
            match answer {
                Ok(answer) => self.result.answer.append(answer),
                Err(failed) => self.halve(&tables, failed, budget),
            }
        }
    }

    fn fail(&mut self, subjects: &Subjects<'_>, failure: Failure) {
        let answer = Answer::of_failure(self.policy, subjects, &failure);
        self.result.answer.append(answer);
        self.result.failures.push(PolicyFailure {
            policy: self.policy.name.clone(),
            events: subjects.events.clone(),
            failure,
        });
    }

    fn call(&mut self, tables: &SliceTables<'_>) -> Result<Answer, Failed> {
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

impl JobResult {
    /// Adds what came of halving the slice.
    fn add(&mut self, more: Self) {
        self.answer.append(more.answer);
        self.failures.extend(more.failures);
        self.instances += more.instances;
        self.fuel += more.fuel;
        self.log_lines_dropped += more.log_lines_dropped;
        self.time += more.time;
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
