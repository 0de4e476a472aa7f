//! The WebAssembly engine: configuration, workers, and the backstop.
//!
//! Everything that could make two machines disagree about a verdict is fixed here
//! and not an option: NaN bits, relaxed SIMD, the wasm features, the size of a
//! stack. Options change only how fast and on how many threads.
//! Where a stack overflows depends on the machine code besides, so the
//! processor's architecture is part of [`ENGINE_ID`].
//!
//! **Fuel decides, time does not.** A guest is cut off when its fuel is used up,
//! which is the same everywhere. The epoch deadline only keeps a service alive if
//! fuel did not count something (it should not happen); a verdict made by it is
//! marked as not reproducible.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::{limits::MAX_MEMORY_BYTES, load::Compiled};

/// Most threads that judge at once: more does not help one block.
const MAX_WORKERS: usize = 64;
/// Stack of WebAssembly code; part of what a verdict can depend on.
const WASM_STACK_BYTES: usize = 512 << 10;
/// What a verdict can depend on besides module, settings and input: where fuel, memory
/// and stack run out, which another version of the engine counts otherwise. It is in the
/// log, so that who runs it again knows whether to expect the same of guests that ran
/// out. Changes with wasmtime's version, with `config` below, and with how often a guest
/// that fails is run again.
pub const ENGINE_ID: &str = if cfg!(target_arch = "x86_64") {
    "wasmtime-48/2-x86_64"
} else if cfg!(target_arch = "aarch64") {
    "wasmtime-48/2-aarch64"
} else {
    "wasmtime-48/2-other"
};

/// A worker's stack: the guest's and the host's below and above it.
const WORKER_STACK_BYTES: usize = 4 << 20;
/// How often deadlines are looked at.
const EPOCH_TICK: Duration = Duration::from_millis(20);
/// Entries of a guest's function table; a guest of 1 MB has some hundreds.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 20_000;
/// A component that wit-component made has three core instances: the module, and
/// two small ones that connect its imports.
const MAX_CORE_INSTANCES: u32 = 8;
/// And their tables: the module's, and the one of the connecting modules.
const MAX_TABLES: u32 = 8;
/// Memory that a slot keeps between uses: what a slice of default size touches.
/// Past it, pages go back to the system.
const KEEP_RESIDENT_BYTES: usize = 4 << 20;

/// Compiled modules that are kept, by digest: of some sets of policies. Past it, all
/// are forgotten and compiled again when they are asked for.
const MAX_COMPILED: usize = 128;

/// What can be chosen about an [`Engine`]; nothing of it changes a verdict.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Threads that judge a block, the caller's included.
    pub workers: NonZeroUsize,
    /// When a call of a guest is ended whatever its fuel says.
    pub backstop: Duration,
    /// Whether instances come from a pool that is set up once: quick to start. Without
    /// it each gets memory of its own from the system, for a program that runs few.
    pub pooled: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            // Several times what MAX_FUEL takes on a slow machine.
            backstop: Duration::from_secs(60),
            pooled: true,
        }
    }
}

/// The engine could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The machine lacks what the configuration needs: address space, or a
    /// supported processor.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Setup(String),
    /// A thread could not be started.
    #[error("cannot start a thread for the sandbox: {0}")]
    Thread(String),
}

/// Compiles and runs guests. Cheap to clone: clones share all.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    wasmtime: wasmtime::Engine,
    /// None: the caller's thread does all.
    helpers: Option<rayon::ThreadPool>,
    workers: usize,
    backstop_ticks: u64,
    slots: Slots,
    compiled: Mutex<HashMap<[u8; 32], Compiled>>,
}

impl Engine {
    /// # Errors
    /// The machine lacks address space or threads.
    pub fn new(options: &EngineOptions) -> Result<Self, EngineError> {
        let workers = options.workers.get().min(MAX_WORKERS);
        // One more, so that loading a policy set does not wait for a block.
        let slots = workers + 1;
        let wasmtime = wasmtime::Engine::new(&config(options.pooled.then_some(slots)))
            .map_err(|error| EngineError::Setup(format!("{error:#}")))?;
        let helpers = match workers - 1 {
            0 => None,
            helpers => Some(
                rayon::ThreadPoolBuilder::new()
                    .num_threads(helpers)
                    .thread_name(|index| format!("sandbox-{index}"))
                    .stack_size(WORKER_STACK_BYTES)
                    .build()
                    .map_err(|error| EngineError::Thread(error.to_string()))?,
            ),
        };
        start_ticker(&wasmtime)?;
        let ticks = options
            .backstop
            .as_millis()
            .div_ceil(EPOCH_TICK.as_millis());
        Ok(Self {
            shared: Arc::new(Shared {
                wasmtime,
                helpers,
                workers,
                // A tick may come at once: one more, so that it is never early.
                backstop_ticks: u64::try_from(ticks).unwrap_or(u64::MAX / 2) + 1,
                slots: Slots::new(slots),
                compiled: Mutex::default(),
            }),
        })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.shared.wasmtime
    }

    pub(crate) fn backstop_ticks(&self) -> u64 {
        self.shared.backstop_ticks
    }

    /// The module of that digest, compiled now unless it was before.
    pub(crate) fn compiled<E>(
        &self,
        digest: [u8; 32],
        compile: impl FnOnce() -> Result<Compiled, E>,
    ) -> Result<Compiled, E> {
        // Only whole entries are inserted, so a poisoned map is as good as any.
        let kept = || {
            let kept = self.shared.compiled.lock();
            kept.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(compiled) = kept().get(&digest) {
            return Ok(compiled.clone());
        }
        // Unlocked: compiling takes long, and twice gives the same.
        let compiled = compile()?;
        let mut kept = kept();
        if kept.len() >= MAX_COMPILED {
            kept.clear();
        }
        kept.insert(digest, compiled.clone());
        Ok(compiled)
    }

    /// Waits until an instance may be made, so that the pool is never found full.
    pub(crate) fn slot(&self) -> Slot<'_> {
        self.shared.slots.take()
    }

    /// Runs `work` on this thread and, for up to `jobs - 1` more jobs, on helpers at
    /// the same time. `work` must take its jobs from a shared queue.
    pub(crate) fn spread(&self, jobs: usize, work: &(impl Fn() + Sync)) {
        let helpers = self.shared.workers.min(jobs).saturating_sub(1);
        match &self.shared.helpers {
            Some(pool) if helpers > 0 => pool.in_place_scope(|scope| {
                for _ in 0..helpers {
                    scope.spawn(|_| work());
                }
                work();
            }),
            _ => work(),
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("workers", &self.shared.workers)
            .finish_non_exhaustive()
    }
}

fn config(pooled_slots: Option<usize>) -> Config {
    let mut config = Config::new();
    config
        // Of what is on by default, guests need neither; each would ask for limits of
        // its own.
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        // Part of what fuel counts: without it a guest pays for its data segments.
        .memory_init_cow(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_wide_arithmetic(true)
        .concurrency_support(false)
        // Guests are stripped: a trace would cost time and name nothing.
        .wasm_backtrace_max_frames(None);
    match pooled_slots {
        Some(slots) => config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots))),
        None => config.allocation_strategy(InstanceAllocationStrategy::OnDemand),
    };
    config
}

fn pool(slots: usize) -> PoolingAllocationConfig {
    // Bounded by MAX_WORKERS + 1.
    let slots = u32::try_from(slots).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots * MAX_CORE_INSTANCES)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .total_memories(slots)
        .max_memories_per_component(1)
        .max_memories_per_module(1)
        .total_tables(slots * MAX_TABLES)
        .max_tables_per_component(MAX_TABLES)
        .max_tables_per_module(1)
        .table_elements(MAX_TABLE_ELEMENTS)
        // Fits every target that wasmtime supports: 256 MiB.
        .max_memory_size(usize::try_from(MAX_MEMORY_BYTES).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(MAX_TABLE_ELEMENTS * size_of::<usize>())
        .max_unused_warm_slots(slots)
        .pagemap_scan(wasmtime::Enabled::Auto);
    pool
}

/// Advances the epoch until the engine is gone.
fn start_ticker(engine: &wasmtime::Engine) -> Result<(), EngineError> {
    let engine = engine.weak();
    thread::Builder::new()
        .name("sandbox-epoch".into())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(EPOCH_TICK);
            }
        })
        .map(drop)
        .map_err(|error| EngineError::Thread(error.to_string()))
}

/// Counts the pool's slots.
struct Slots {
    free: Mutex<usize>,
    returned: Condvar,
}

/// The right to one instance.
pub(crate) struct Slot<'a>(&'a Slots);

impl Slots {
    fn new(free: usize) -> Self {
        Self {
            free: Mutex::new(free),
            returned: Condvar::new(),
        }
    }

    fn take(&self) -> Slot<'_> {
        // A panic cannot leave a count half changed, so poison means nothing here.
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .returned
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}
