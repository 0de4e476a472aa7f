//! What of the waiting requests is not in the log yet.
//!
//! Identity is source and bytes. An auditID is no identity: a client chooses it, and a
//! log that went by it would let an attacker suppress evidence.

use std::collections::HashMap;

use auditchain_log::RejectionRecord;
use auditchain_log::json::EventView;
use auditchain_store::{Chunk, Store, StoreError};

use crate::decode::{Batch, Event, Kind, TagKey};
use crate::dedup::Dedup;
use crate::sequencer::{Job, Work};

/// The new part of the requests of a block.
pub(crate) struct New<'j> {
    /// Requests with at least one new event, in the order of arrival.
    pub(crate) batches: Vec<NewBatch<'j>>,
    /// Refused requests that were not refused before.
    pub(crate) rejections: Vec<NewRejection<'j>>,
    /// Events of each request that are in the log, or earlier in this block.
    pub(crate) duplicates: Vec<u64>,
}

/// A request's new events.
pub(crate) struct NewBatch<'j> {
    /// Which request.
    pub(crate) job: usize,
    pub(crate) batch: &'j Batch,
    pub(crate) events: Vec<NewEvent<'j>>,
}

/// An event that is not in the log yet.
pub(crate) struct NewEvent<'j> {
    pub(crate) event: Event<'j>,
    pub(crate) view: EventView<'j>,
}

/// A refused request that is not in the log yet.
pub(crate) struct NewRejection<'j> {
    pub(crate) source: &'j str,
    pub(crate) record: &'j RejectionRecord,
    pub(crate) body: &'j [u8],
    pub(crate) tag: u64,
}

/// Why it can't be said what is new.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FreshError {
    /// The store fails or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It may be in the block that is being written: ask again when that is on disk.
    #[error("it may be in the block that is being written")]
    UnderWay,
}

/// Sorts the known from the new. Of the log, the first `stored` entries are on disk.
///
/// # Errors
/// See [`FreshError`].
pub(crate) fn find<'j>(
    jobs: &'j [Job],
    dedup: &Dedup,
    tags: &TagKey,
    store: &impl Store,
    stored: u64,
) -> Result<New<'j>, FreshError> {
    let mut in_block = InBlock::default();
    // A batch that comes again lies in few chunks, one behind the other.
    let mut last_read = None;
    let mut new = New {
        batches: vec![],
        rejections: vec![],
        duplicates: vec![0; jobs.len()],
    };
    for (job, waiting) in jobs.iter().enumerate() {
        match &waiting.work {
            Work::Batch(batch) => {
                let mut events = Vec::with_capacity(batch.len());
                for event in batch.events() {
                    let view = EventView::read(event.bytes);
                    if in_block.holds(event.tag, &batch.source, event.bytes)
                        || in_log(
                            event.tag,
                            view.stage_timestamp_us(),
                            event.bytes,
                            dedup,
                            &mut last_read,
                            store,
                            stored,
                        )?
                    {
                        new.duplicates[job] += 1;
                        continue;
                    }
                    in_block.add(event.tag, &batch.source, event.bytes);
                    events.push(NewEvent { event, view });
                }
                if !events.is_empty() {
                    new.batches.push(NewBatch { job, batch, events });
                }
            }
            // These need not be new: see `erase` and `in_force`.
            Work::Erasure(_) | Work::InForce(_) => {}
            Work::Rejection {
                source,
                record,
                body,
            } => {
                let tag = tags.tag(Kind::Rejection, source, body);
                if !in_block.holds(tag, source, body)
                    && !in_log(tag, None, body, dedup, &mut last_read, store, stored)?
                {
                    in_block.add(tag, source, body);
                    new.rejections.push(NewRejection {
                        source,
                        record,
                        body,
                        tag,
                    });
                }
            }
        }
    }
    Ok(new)
}

/// A tag that matches is confirmed against the body itself. An erased body is no
/// duplicate of anything: what is sent again after that is kept again, as evidence.
fn in_log(
    tag: u64,
    time_us: Option<i64>,
    bytes: &[u8],
    dedup: &Dedup,
    last_read: &mut Option<Chunk>,
    store: &impl Store,
    stored: u64,
) -> Result<bool, FreshError> {
    for index in dedup.candidates(tag, time_us) {
        if index >= stored {
            return Err(FreshError::UnderWay);
        }
        let is_of = |chunk: &Chunk| (chunk.first()..chunk.end()).contains(&index);
        if !last_read.as_ref().is_some_and(is_of) {
            *last_read = store.chunk_at(index)?;
        }
        let body = last_read.as_ref().and_then(|chunk| chunk.body(index));
        if body.is_some_and(|body| body.bytes == bytes) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What this block holds already.
#[derive(Default)]
struct InBlock<'j>(HashMap<u64, Vec<(&'j str, &'j [u8])>>);

impl<'j> InBlock<'j> {
    fn holds(&self, tag: u64, source: &str, bytes: &[u8]) -> bool {
        self.0
            .get(&tag)
            .is_some_and(|same| same.contains(&(source, bytes)))
    }

    fn add(&mut self, tag: u64, source: &'j str, bytes: &'j [u8]) {
        self.0.entry(tag).or_default().push((source, bytes));
    }
}
