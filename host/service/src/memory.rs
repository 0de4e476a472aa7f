//! Memory that requests hold while they wait: set aside as their bytes arrive, given
//! back when they are answered. Bounded for all together and for each source, so that
//! no source can take the room of all others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::MAX_SOURCES;

/// What requests may hold.
#[derive(Debug)]
pub(crate) struct Memory {
    all_kib: Arc<Semaphore>,
    all_kib_max: usize,
    source_kib_max: usize,
    sources: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

/// What one request holds; dropped when the request is answered.
#[derive(Debug)]
pub(crate) struct Held {
    all: OwnedSemaphorePermit,
    source: OwnedSemaphorePermit,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MemoryError {
    /// For anyone.
    #[error("requests hold as much memory as they may (limits.inflightBytes)")]
    Full,
    /// For this source.
    #[error("requests of this source hold as much memory as one source may")]
    SourceFull,
}

impl Memory {
    /// Room for `bytes_max` in all. One source may hold three quarters of it, but always
    /// one request of `request_bytes_max`.
    pub(crate) fn new(bytes_max: usize, request_bytes_max: usize) -> Self {
        let all_kib_max = bytes_max >> 10;
        let source_kib_max = (all_kib_max / 4 * 3).max(request_bytes_max.div_ceil(1 << 10));
        Self {
            all_kib: Arc::new(Semaphore::new(all_kib_max)),
            all_kib_max,
            source_kib_max: source_kib_max.min(all_kib_max),
            sources: Mutex::default(),
        }
    }

    /// Sets so many KiB aside for a request of the source.
    ///
    /// # Errors
    /// There is no room; nothing waits.
    pub(crate) fn set_aside(&self, source: &str, kib: usize) -> Result<Held, MemoryError> {
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let of_source = self.of_source(source).try_acquire_many_owned(kib);
        Ok(Held {
            source: of_source.map_err(|_| MemoryError::SourceFull)?,
            all: Arc::clone(&self.all_kib)
                .try_acquire_many_owned(kib)
                .map_err(|_| MemoryError::Full)?,
        })
    }

    /// Bytes held by all.
    pub(crate) fn held_bytes(&self) -> usize {
        let free = self.all_kib.available_permits();
        self.all_kib_max.saturating_sub(free) << 10
    }

    fn of_source(&self, source: &str) -> Arc<Semaphore> {
        // No code panics while it holds the lock.
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.get(source) {
            return Arc::clone(known);
        }
        if sources.len() >= MAX_SOURCES {
            // Names of sources that hold nothing.
            sources.retain(|_, held| held.available_permits() < self.source_kib_max);
        }
        let new = Arc::new(Semaphore::new(self.source_kib_max));
        sources.insert(source.to_owned(), Arc::clone(&new));
        new
    }
}

impl Held {
    /// KiB.
    pub(crate) fn kib(&self) -> usize {
        self.all.num_permits()
    }

    /// Takes what `more` holds.
    pub(crate) fn merge(&mut self, more: Self) {
        self.all.merge(more.all);
        self.source.merge(more.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_leaves_room_for_others() {
        let memory = Memory::new(100 << 10, 1 << 10);
        let mut flood = memory.set_aside("flood", 70).unwrap();
        flood.merge(memory.set_aside("flood", 5).unwrap());
        assert_eq!(flood.kib(), 75);
        let refused = memory.set_aside("flood", 1).unwrap_err();
        assert_eq!(refused, MemoryError::SourceFull);
        let quiet = memory.set_aside("quiet", 25).unwrap();
        assert_eq!(memory.set_aside("third", 1).unwrap_err(), MemoryError::Full);
        assert_eq!(memory.held_bytes(), 100 << 10);
        drop((flood, quiet));
        assert_eq!(memory.held_bytes(), 0);
        memory.set_aside("third", 75).unwrap();
    }

    #[test]
    fn the_largest_request_always_fits_and_names_do_not_pile_up() {
        let memory = Memory::new(64 << 10, 64 << 10);
        drop(memory.set_aside("a", 64).unwrap());
        for i in 0..3 * MAX_SOURCES {
            drop(memory.set_aside(&i.to_string(), 1).unwrap());
        }
        assert!(memory.sources.lock().unwrap().len() <= MAX_SOURCES);
    }
}
