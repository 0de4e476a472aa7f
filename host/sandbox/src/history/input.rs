//! From what arrived, or what the log holds, to the input that policies judge.

use std::collections::BTreeMap;

use auditchain_log::EventRecord;

use super::senders::Senders;
use crate::{
    BatchInput, BlockInput, BlockVerdict, EarlierStage, EventInput, EventView, Finding, PolicySet,
    PreviousSeal, SignatureAlgorithm, SourceInput,
};

/// A block, its batches apart.
#[derive(Debug, Clone, Copy)]
pub struct BlockHeader<'a> {
    /// The log's origin.
    pub origin: &'a str,
    /// Number of the block.
    pub number: u64,
    /// Index of its first entry.
    pub first_index: u64,
    /// Its time, microseconds since 1970.
    pub time_us: i64,
    /// The signed checkpoint of the block before; none for the first block.
    pub previous_seal: Option<PreviousSeal<'a>>,
}

/// The events of one request, or events that stand alone in the log.
#[derive(Debug)]
pub struct SubmittedBatch<'a> {
    /// Who sent it.
    pub source: &'a str,
    /// What the sender signed.
    pub signed: Option<SignedBatch<'a>>,
    /// In the order of the log.
    pub events: Vec<SubmittedEvent<'a>>,
}

/// A sender's signature over a batch.
#[derive(Debug, Clone, Copy)]
pub struct SignedBatch<'a> {
    /// The sender's number.
    pub sequence: u64,
    /// How many events the sender signed.
    pub count: u32,
    /// SHA-256 over the events' digests.
    pub digest: [u8; 32],
    /// How it is signed.
    pub algorithm: SignatureAlgorithm,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// An event.
#[derive(Debug, Clone, Copy)]
pub struct SubmittedEvent<'a> {
    /// What is in its leaf.
    pub record: &'a EventRecord,
    /// None: it is erased.
    pub content: Option<EventContent<'a>>,
}

/// What is judged of an event.
#[derive(Debug, Clone, Copy)]
pub struct EventContent<'a> {
    /// Its fields.
    pub view: &'a EventView<'a>,
    /// Canonical JSON, or the bytes that arrived.
    pub body: &'a [u8],
    /// True: the body is the bytes that arrived.
    pub undecodable: bool,
}

/// What the log knew before the block.
pub(super) struct Known<'a> {
    pub(super) watermarks: &'a BTreeMap<String, i64>,
    pub(super) senders: &'a Senders,
    pub(super) window_start_us: Option<i64>,
}

pub(super) fn judge(
    policies: &PolicySet,
    header: &BlockHeader<'_>,
    batches: &[SubmittedBatch<'_>],
    earlier: &[Vec<EarlierStage>],
    known: &Known<'_>,
) -> BlockVerdict {
    let mut names: Vec<&str> = batches.iter().map(|batch| batch.source).collect();
    names.sort_unstable();
    names.dedup();
    let source_of = |name: &str| index(names.binary_search(&name).unwrap_or_default());

    let mut events = Vec::new();
    // Of each event that is judged, its place among all.
    let mut places = Vec::new();
    let mut signed = Vec::new();
    let mut earlier = earlier.iter();
    let mut place = 0;
    for batch in batches {
        let source = source_of(batch.source);
        if let Some(of_batch) = &batch.signed {
            let first_event = index(events.len());
            signed.push(known.batch(batch.source, source, of_batch, first_event, &signed));
        }
        for (event, earlier) in batch.events.iter().zip(&mut earlier) {
            if let Some(content) = event.content {
                places.push(place);
                events.push(EventInput {
                    source,
                    view: content.view,
                    body: content.body,
                    undecodable: content.undecodable,
                    in_signed_batch: batch.signed.is_some(),
                    earlier,
                });
            }
            place += 1;
        }
    }
    let sources: Vec<SourceInput<'_>> = names
        .iter()
        .map(|name| SourceInput {
            name,
            watermark_us: known.watermarks.get(*name).copied(),
        })
        .collect();
    let sender_keys = known.senders.inputs(&names);
    let mut verdict = policies.judge(&BlockInput {
        origin: header.origin,
        block: header.number,
        time_us: header.time_us,
        previous_seal: header.previous_seal,
        sources: &sources,
        batches: &signed,
        sender_keys: &sender_keys,
        events: &events,
        window_start_us: known.window_start_us,
    });
    for (event, _) in &mut verdict.events {
        // Guests have named events that were given to them, no others.
        *event = places.get(*event as usize).copied().unwrap_or(*event);
    }
    refuse_with_batch(&mut verdict, batches);
    verdict
}

impl Known<'_> {
    fn batch<'b>(
        &self,
        name: &str,
        source: u32,
        batch: &SignedBatch<'b>,
        first_event: u32,
        before: &[BatchInput<'_>],
    ) -> BatchInput<'b> {
        let repeated = before.iter().any(|other| {
            (other.source, other.sequence, other.public_key)
                == (source, batch.sequence, batch.public_key)
        });
        BatchInput {
            source,
            first_event,
            sequence: batch.sequence,
            count: batch.count,
            digest: batch.digest,
            algorithm: batch.algorithm,
            public_key: batch.public_key,
            signature: batch.signature,
            last_sequence: self.senders.last_sequence(name, batch.public_key),
            repeated,
        }
    }
}

/// What a policy refuses a batch for, it refuses the batch's events for.
fn refuse_with_batch(verdict: &mut BlockVerdict, batches: &[SubmittedBatch<'_>]) {
    if verdict.batches.iter().all(|(_, finding)| finding.valid) {
        return;
    }
    let (mut signed, mut place) = (0, 0);
    let mut refused: Vec<(u32, Finding)> = Vec::new();
    for batch in batches {
        let end = place + index(batch.events.len());
        if batch.signed.is_some() {
            let of_batch = verdict.batches.iter().filter(|(at, _)| *at == signed);
            for (_, finding) in of_batch.filter(|(_, finding)| !finding.valid) {
                refused.extend((place..end).map(|event| (event, finding.clone())));
            }
            signed += 1;
        }
        place = end;
    }
    verdict.events.append(&mut refused);
    // Stable: an event's own findings come first.
    verdict.events.sort_by_key(|(event, _)| *event);
}

/// A block's events are bounded far below 2^32.
fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
