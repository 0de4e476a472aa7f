//! Has the policies judge what arrived. The context is kept by [`History`], as an auditor
//! builds it again from the log.
//!
//! [`History`]: auditchain_sandbox::History

use auditchain_log::EventRecord;
use auditchain_sandbox::{
    BlockHeader, BlockVerdict, EventContent, PolicySet, PreviousSeal, SignedBatch, SubmittedBatch,
    SubmittedEvent,
};

use crate::block::Block;
use crate::decode::count;
use crate::fresh::NewBatch;
use crate::published::Published;

/// What all of a block's events are judged with.
pub(crate) struct Judge<'a> {
    pub(crate) policies: &'a PolicySet,
    /// The block before.
    pub(crate) seal: &'a Published,
    /// The log's keys before this block.
    pub(crate) vkeys: &'a [String],
}

impl Judge<'_> {
    /// Has the policies judge the last block's seal and the new events, each with what
    /// its leaf says of it. Once for every block: the window of stages follows.
    pub(crate) fn judge(
        &self,
        block: &mut Block<'_>,
        new: &[NewBatch<'_>],
        records: &[EventRecord],
    ) -> BlockVerdict {
        let mut records = records.iter();
        let batches: Vec<SubmittedBatch<'_>> = new
            .iter()
            .map(|new| SubmittedBatch {
                source: &new.batch.source,
                signed: new
                    .batch
                    .signed
                    .as_ref()
                    .map(|(signature, digest)| SignedBatch {
                        sequence: signature.sequence,
                        count: count(new.batch.len()),
                        digest: digest.0,
                        algorithm: signature.algorithm,
                        public_key: &signature.public_key,
                        signature: &signature.signature,
                    }),
                events: new
                    .events
                    .iter()
                    .zip(&mut records)
                    .map(|(new, record)| SubmittedEvent {
                        record,
                        content: Some(EventContent {
                            view: &new.view,
                            body: new.event.bytes,
                            undecodable: new.event.undecodable.is_some(),
                        }),
                    })
                    .collect(),
            })
            .collect();
        let previous_seal = (self.seal.size() > 0).then(|| PreviousSeal {
            note: &self.seal.note,
            keys: self.vkeys,
            size: self.seal.size(),
            root: self.seal.checkpoint.root.0,
        });
        let header = BlockHeader {
            origin: &self.seal.checkpoint.origin,
            number: block.number(),
            first_index: self.seal.size(),
            time_us: block.time_us(),
            previous_seal,
        };
        block
            .state()
            .history
            .judge(self.policies, &header, &batches)
    }
}
