//! The context in which the policies judge a block: built from the log and from what
//! arrived, from nothing else, so that anyone can build it again.

use auditchain_log::EventRecord;
use auditchain_log::json::parse_micro_time;
use auditchain_sandbox::{
    BatchInput, BlockInput, BlockVerdict, EarlierStage, EventInput, PolicySet, PreviousSeal,
    SourceInput, Stage,
};

use crate::block::Block;
use crate::decode::count;
use crate::fresh::NewBatch;
use crate::published::Published;
use crate::stages::Seen;

/// What all of a block's events are judged with.
pub(crate) struct Context<'a> {
    pub(crate) policies: &'a PolicySet,
    /// The block before.
    pub(crate) seal: &'a Published,
    pub(crate) vkeys: &'a [String],
    pub(crate) rbac_snapshot: Option<&'a str>,
}

impl Context<'_> {
    /// Has the policies judge the new events; the leaf's record of each comes along.
    pub(crate) fn judge(
        &self,
        block: &mut Block<'_>,
        new: &[NewBatch<'_>],
    ) -> (BlockVerdict, Vec<EventRecord>) {
        let (number, time_us) = (block.number(), block.time_us());
        let state = block.state();
        let mut sources: Vec<&str> = new.iter().map(|new| new.batch.source.as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        let source_of = |name: &str| count(sources.binary_search(&name).unwrap_or_default());

        let (mut records, mut earlier, mut batches) = (vec![], vec![], vec![]);
        // The seal comes first.
        let mut index = state.size + 1;
        for NewBatch { batch, events, .. } in new {
            if let Some((signature, digest)) = &batch.signed {
                batches.push(BatchInput {
                    source: source_of(&batch.source),
                    first_event: count(records.len()),
                    sequence: signature.sequence,
                    count: count(batch.len()),
                    digest: digest.0,
                    algorithm: signature.algorithm,
                    public_key: &signature.public_key,
                    signature: &signature.signature,
                });
                index += 1;
            }
            for new in events {
                let record = EventRecord::from_view(&new.view);
                earlier.push(stages(
                    &record,
                    &state.stages.note(index, &batch.source, &record),
                ));
                records.push(record);
                index += 1;
            }
        }
        let of_source = new.iter().flat_map(|new| {
            new.events
                .iter()
                .map(|event| (source_of(&new.batch.source), event))
        });
        let events: Vec<EventInput<'_>> = of_source
            .zip(&earlier)
            .map(|((source, new), earlier)| EventInput {
                source,
                view: &new.view,
                body: new.event.bytes,
                undecodable: new.event.undecodable.is_some(),
                earlier,
            })
            .collect();
        let sources: Vec<SourceInput<'_>> = sources
            .iter()
            .map(|name| SourceInput {
                name,
                watermark_us: state.watermarks.get(*name).copied(),
            })
            .collect();
        let judged = self.policies.judge(&BlockInput {
            sources: &sources,
            batches: &batches,
            events: &events,
            ..self.block_input(number, time_us)
        });
        (judged, records)
    }

    /// Has the policies judge the last block's seal alone.
    pub(crate) fn judge_seal(&self, number: u64, time_us: i64) -> BlockVerdict {
        self.policies.judge(&self.block_input(number, time_us))
    }

    fn block_input(&self, number: u64, time_us: i64) -> BlockInput<'_> {
        BlockInput {
            origin: &self.seal.checkpoint.origin,
            block: number,
            time_us,
            previous_seal: Some(PreviousSeal {
                note: &self.seal.note,
                keys: self.vkeys,
                size: self.seal.size(),
                root: self.seal.checkpoint.root.0,
            }),
            sources: &[],
            batches: &[],
            events: &[],
            rbac_snapshot: self.rbac_snapshot,
        }
    }
}

/// The other stages of an event's request, as guests take them.
fn stages(record: &EventRecord, earlier: &[Seen]) -> Vec<EarlierStage> {
    let micros = |time: &Option<String>| time.as_deref().and_then(parse_micro_time);
    let same = |seen: &Seen| {
        (&seen.stage, &seen.stage_timestamp) == (&record.stage, &record.stage_timestamp)
    };
    let stage = |seen: &Seen| EarlierStage {
        stage: Stage::from_name(seen.stage.as_deref()),
        stage_timestamp_us: micros(&seen.stage_timestamp),
        conflicting: same(seen),
    };
    earlier.iter().map(stage).collect()
}
