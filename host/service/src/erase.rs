//! Which bodies an erasure concerns. The erasure is an entry, and the bodies go with its
//! block, in the same atomic write; their entries and all proofs stay.

use std::collections::BTreeSet;

use auditchain_log::ErasureRecord;
use auditchain_store::{Store, StoreError};

use crate::sequencer::{Job, Work};

/// Entries that one request may name: each may lie in a chunk of its own, and the store
/// rewrites at most this many chunks with a block.
pub(crate) const ERASURE_ENTRIES_MAX: u64 = auditchain_store::limits::BLOCK_ERASE_CHUNKS_MAX as u64;

/// Bodies to erase.
pub(crate) struct Erasure<'j> {
    /// Which request.
    pub(crate) job: usize,
    /// What it says of itself.
    pub(crate) record: &'j ErasureRecord,
    /// Entries that have a body now.
    pub(crate) bodies: Vec<u64>,
}

/// The erasures among the requests that have something to erase.
///
/// # Errors
/// The store fails or is damaged.
pub(crate) fn find<'j>(
    jobs: &'j [Job],
    store: &impl Store,
) -> Result<Vec<Erasure<'j>>, StoreError> {
    let mut erased = BTreeSet::new();
    let mut found = Vec::new();
    for (job, waiting) in jobs.iter().enumerate() {
        let Work::Erasure(record) = &waiting.work else {
            continue;
        };
        let mut bodies = Vec::new();
        for [first, last] in &record.entries {
            let mut index = *first;
            while index <= *last {
                let Some(chunk) = store.chunk_at(index)? else {
                    break;
                };
                let here = (index..chunk.end()).take_while(|i| i <= last);
                bodies.extend(here.filter(|i| chunk.body(*i).is_some() && erased.insert(*i)));
                index = chunk.end();
            }
        }
        if !bodies.is_empty() {
            found.push(Erasure {
                job,
                record,
                bodies,
            });
        }
    }
    Ok(found)
}
