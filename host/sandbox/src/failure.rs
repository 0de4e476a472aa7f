//! When a guest does not answer, or not as the contract says.

use std::fmt;

use wasmtime::Trap;

/// How a guest failed. Each has a rule id of its own, under which the failure is
/// a finding like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FailureKind {
    /// It used up its fuel.
    OutOfFuel,
    /// It wanted more memory than its limit.
    MemoryLimit,
    /// Its calls went too deep.
    StackOverflow,
    /// It trapped otherwise: a panic, an access out of bounds, a division by zero.
    Trap,
    /// Its answer breaks the contract, or is larger than its limit.
    BadOutput,
    /// `configure` refused what `prepare` made.
    ConfigureRefused,
    /// The service's backstop ended it. Not reproducible.
    Timeout,
    /// It was not run: its policy is suspended, as the log says.
    Suspended,
    /// The host could not run it. Not reproducible.
    Host,
}

impl FailureKind {
    /// The rule id of the finding. No guest can declare it: theirs have no slash.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::OutOfFuel => "policy-error/out-of-fuel",
            Self::MemoryLimit => "policy-error/memory-limit",
            Self::StackOverflow => "policy-error/stack-overflow",
            Self::Trap => "policy-error/trap",
            Self::BadOutput => "policy-error/bad-output",
            Self::ConfigureRefused => "policy-error/configure-refused",
            Self::Timeout => "policy-error/timeout",
            Self::Suspended => "policy-error/suspended",
            Self::Host => "policy-error/host",
        }
    }

    /// Whether running it again, anywhere, fails in the same way.
    #[must_use]
    pub const fn is_reproducible(self) -> bool {
        !matches!(self, Self::Timeout | Self::Host)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfFuel => "out of fuel",
            Self::MemoryLimit => "over its memory limit",
            Self::StackOverflow => "stack overflow",
            Self::Trap => "trap",
            Self::BadOutput => "bad output",
            Self::ConfigureRefused => "configuration refused",
            Self::Timeout => "ended by the service's backstop",
            Self::Suspended => "suspended",
            Self::Host => "the host could not run it",
        })
    }
}

/// How a guest failed, with what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Failure {
    /// How.
    pub kind: FailureKind,
    /// In words.
    pub detail: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// In place of a guest that is not run.
    pub(crate) fn suspended() -> Self {
        Self::new(
            FailureKind::Suspended,
            "its guest failed on everything and is not run any more",
        )
    }

    pub(crate) fn bad_output(detail: impl Into<String>) -> Self {
        Self::new(FailureKind::BadOutput, detail)
    }

    /// From an error while making an instance.
    pub(crate) fn of_start(error: &wasmtime::Error) -> Self {
        Self::of(error, FailureKind::Host)
    }

    /// From an error of a call. What is neither a trap nor a limit came up while
    /// values were passed, so the guest's values are to blame.
    pub(crate) fn of_call(error: &wasmtime::Error) -> Self {
        Self::of(error, FailureKind::BadOutput)
    }

    fn of(error: &wasmtime::Error, otherwise: FailureKind) -> Self {
        if let Some(limit) = error.downcast_ref::<OverMemoryLimit>() {
            return Self::new(FailureKind::MemoryLimit, limit.to_string());
        }
        let Some(trap) = error.downcast_ref::<Trap>() else {
            return Self::new(otherwise, error.root_cause().to_string());
        };
        let kind = match trap {
            Trap::OutOfFuel => FailureKind::OutOfFuel,
            Trap::StackOverflow => FailureKind::StackOverflow,
            Trap::Interrupt => FailureKind::Timeout,
            _ => FailureKind::Trap,
        };
        Self::new(kind, trap.to_string())
    }
}

/// Raised by the limiter, found again in the error that wasmtime hands back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it asked for {wanted} {unit}, the limit is {limit}")]
pub(crate) struct OverMemoryLimit {
    pub(crate) wanted: usize,
    pub(crate) limit: usize,
    pub(crate) unit: &'static str,
}
