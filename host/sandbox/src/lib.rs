//! Runs verification guests within limits, and says what they found.
//!
//! A guest is a WebAssembly component of the world in `wit/verifier.wit`. It gets
//! the events of a block and what the log knew before it, and answers with
//! verdicts. It cannot reach anything else, keeps nothing from call to call, and is
//! cut off by limits that count alike on every machine; so whoever has the log can
//! run it again and must get the same.
//!
//! Reading order: [`PolicySpec`] (what an author writes), [`PolicySet::load`] (what
//! is checked), [`BlockInput`] (what is judged), [`PolicySet::judge`] (how), and
//! [`BlockVerdict`] (what comes out). [`History`] keeps what the log knew before a
//! block, alike for who writes the log and who re-executes it. [`Engine`] fixes what could make two machines
//! disagree.
//!
//! Invariants:
//! - Judging does not fail: a guest that traps, loops, floods or lies is a finding
//!   about the events it should have judged ([`FailureKind`]), and the next slice
//!   gets a fresh instance.
//! - A verdict does not depend on the number of workers, on how a block was cut, or
//!   on the clock.
//!
//! Out of scope: where blocks come from and what is done about a finding.

mod answer;
mod bindings;
mod block;
mod builtin;
mod description;
mod engine;
mod failure;
mod history;
mod imports;
mod inspect;
mod instance;
mod judge;
mod limits;
mod load;
mod policy_set;
mod slice;
mod spec;
mod state;
mod verdict;

pub use auditchain_log::{
    Mode, Severity,
    json::{EventView, ObjectRefView, TimeView, UserView},
};

pub use answer::{MAX_SIG_BYTES, MAX_VERDICTS_PER_SUBJECT};
pub use block::{
    BatchInput, BlockInput, EarlierStage, EventInput, PreviousSeal, RbacSnapshot, SenderKeyInput,
    SignatureAlgorithm, SourceInput, Stage,
};
pub use builtin::{builtin_module, default_policies};
pub use description::{
    Description, DescriptionError, MAX_GUEST_NAME_BYTES, MAX_RULE_ID_BYTES, MAX_RULES,
    MAX_TITLE_BYTES, Rule,
};
pub use engine::{ENGINE_ID, Engine, EngineError, EngineOptions};
pub use failure::{Failure, FailureKind};
pub use history::{
    BlockHeader, EventContent, History, MAX_RBAC_SNAPSHOTS, PoliciesInForce, SignedBatch,
    SubmittedBatch, SubmittedEvent, WINDOW_EVENTS_MAX, WINDOW_SECONDS_MAX,
};
pub use inspect::{Interface, Item, describe_module};
pub use instance::MAX_TEXT_BYTES;
pub use limits::{
    Limits, LimitsError, MAX_FUEL, MAX_MEMORY_BYTES, MAX_OUTPUT_BYTES, MAX_SLICE_EVENTS,
    MIN_MEMORY_BYTES,
};
pub use load::{
    LoadError, LoadProblem, MAX_MODULE_BYTES, MAX_PARTS, MAX_PREPARED_BYTES,
    MAX_RBAC_SNAPSHOT_BYTES, MAX_SETTINGS_BYTES,
};
pub use policy_set::{LoadedPolicy, MAX_POLICIES, PolicySet};
pub use spec::{
    MAX_POLICY_NAME_BYTES, MAX_POLICY_YAML_BYTES, ModuleRef, POLICY_API_VERSION, POLICY_KIND,
    PolicySpec, SpecError,
};
pub use state::{MAX_LOG_LINE_BYTES, MAX_LOG_LINES};
pub use verdict::{BlockVerdict, Finding, InOrder, PolicyCost, PolicyFailure, record};
