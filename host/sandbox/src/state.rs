//! What the host keeps beside a running instance: its limits, its log lines, and
//! the bodies it may ask for.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::{engine::MAX_TABLE_ELEMENTS, failure::OverMemoryLimit};

/// Log lines of one instance; further ones are dropped and counted.
pub const MAX_LOG_LINES: u32 = 32;
/// A longer line is cut.
pub const MAX_LOG_LINE_BYTES: usize = 1_024;

/// Bodies of a slice, shared by the policies that ask for them.
pub(crate) type Bodies = Arc<[Arc<[u8]>]>;

/// The data of a store.
pub(crate) struct State {
    pub(crate) policy: Arc<str>,
    pub(crate) memory: MemoryLimiter,
    pub(crate) log: LogCount,
    /// Empty if the guest does not import `body`.
    pub(crate) bodies: Bodies,
}

/// What became of an instance's log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogCount {
    pub(crate) written: u32,
    pub(crate) dropped: u64,
}

impl LogCount {
    /// Whether one more line may be written; counts it either way.
    pub(crate) fn admit(&mut self) -> bool {
        let admitted = self.written < MAX_LOG_LINES;
        if admitted {
            self.written += 1;
        } else {
            self.dropped += 1;
        }
        admitted
    }
}

/// Ends an instance that wants more than it may have. Refusing would leave it to
/// the guest what to do; ending it tells us why it ended.
pub(crate) struct MemoryLimiter {
    pub(crate) memory_bytes: usize,
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        within(desired, self.memory_bytes, "bytes of memory")
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        within(desired, MAX_TABLE_ELEMENTS, "table elements")
    }
}

fn within(wanted: usize, limit: usize, unit: &'static str) -> wasmtime::Result<bool> {
    if wanted <= limit {
        return Ok(true);
    }
    Err(wasmtime::Error::new(OverMemoryLimit {
        wanted,
        limit,
        unit,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_may_grow_up_to_the_limit_and_no_further() {
        let mut limiter = MemoryLimiter { memory_bytes: 100 };
        assert!(
            limiter
                .memory_growing(0, 100, None)
                .is_ok_and(|grown| grown)
        );
        let error = limiter.memory_growing(100, 101, None).unwrap_err();
        let expected = OverMemoryLimit {
            wanted: 101,
            limit: 100,
            unit: "bytes of memory",
        };
        assert_eq!(error.downcast_ref(), Some(&expected));
    }

    #[test]
    fn log_lines_past_the_limit_are_counted() {
        let mut log = LogCount::default();
        let admitted = (0..MAX_LOG_LINES + 5).filter(|_| log.admit()).count();
        assert_eq!(admitted, MAX_LOG_LINES as usize);
        assert_eq!(log.dropped, 5);
    }
}
