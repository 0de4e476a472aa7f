//! A block as the log has it, made ready to be judged again.

use std::iter::Peekable;

use auditchain_log::json::{EventView, parse_micro_time};
use auditchain_log::{BatchRecord, Entry, EventRecord, Hash, KeyRole, Payload, Verdict};
use auditchain_sandbox::{
    BlockHeader, BlockVerdict, EventContent, History, InOrder, PolicySet, PreviousSeal,
    SignatureAlgorithm, SignedBatch, SubmittedBatch, SubmittedEvent, record,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Reexecuted;
use super::compare::{Again, Comparison};
use crate::audit::finding::Findings;

/// What the log was before a block.
pub(super) struct Seal {
    pub(super) root: Hash,
    pub(super) vkeys: Vec<String>,
}

/// A block that is being read.
pub(super) struct Block {
    number: u64,
    first_index: u64,
    time_us: i64,
    before: Seal,
    /// Index, note and verdict.
    seal: Option<(u64, String, Verdict)>,
    in_force: Vec<Payload>,
    items: Vec<Item>,
}

enum Item {
    Batch(Box<Batch>),
    Event(Box<Event>),
}

struct Batch {
    index: u64,
    source: String,
    record: BatchRecord,
    public_key: Vec<u8>,
    signature: Vec<u8>,
    verdict: Verdict,
}

struct Event {
    index: u64,
    source: String,
    record: EventRecord,
    body: Option<Vec<u8>>,
    undecodable: bool,
    verdict: Verdict,
}

impl Block {
    pub(super) fn new(first_index: u64, entry: &Entry, before: Seal) -> Self {
        Self {
            number: entry.block,
            first_index,
            time_us: entry.time.as_micros(),
            before,
            seal: None,
            in_force: Vec::new(),
            items: Vec::new(),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn first_index(&self) -> u64 {
        self.first_index
    }

    /// What it puts in force.
    pub(super) fn in_force(&self) -> impl Iterator<Item = &Payload> {
        self.in_force.iter()
    }

    pub(super) fn entry(&mut self, index: u64, entry: &Entry, body: Option<&[u8]>) {
        match &entry.payload {
            Payload::Seal { seal, verdict } => {
                self.seal = Some((index, seal.note.clone(), verdict.clone()));
            }
            Payload::Batch {
                source,
                batch,
                verdict,
            } => {
                // What is no base64 verifies as nothing, and was not sealed so by the
                // service.
                let decode = |text: &str| STANDARD.decode(text).unwrap_or_default();
                self.items.push(Item::Batch(Box::new(Batch {
                    index,
                    source: source.clone(),
                    public_key: decode(&batch.key),
                    signature: decode(&batch.signature),
                    record: batch.clone(),
                    verdict: verdict.clone(),
                })));
            }
            Payload::Event {
                source,
                event,
                undecodable,
                verdict,
                ..
            } => self.items.push(Item::Event(Box::new(Event {
                index,
                source: source.clone(),
                record: event.clone(),
                body: body.map(<[u8]>::to_vec),
                undecodable: undecodable.is_some(),
                verdict: verdict.clone(),
            }))),
            Payload::Policy { .. } | Payload::Rbac(_) => self.in_force.push(entry.payload.clone()),
            Payload::Key(key) if key.role == KeyRole::Sender => {
                self.in_force.push(entry.payload.clone());
            }
            _ => {}
        }
    }

    /// Judges it by the policies in force.
    pub(super) fn judge(
        &self,
        origin: &str,
        history: &mut History,
        policies: &PolicySet,
    ) -> BlockVerdict {
        let views: Vec<Option<EventView<'_>>> = self
            .events()
            .map(|event| event.body.as_deref().map(EventView::read))
            .collect();
        let batches = self.submitted(&views);
        let previous_seal = self.seal.as_ref().map(|(_, note, _)| PreviousSeal {
            note,
            keys: &self.before.vkeys,
            size: self.first_index,
            root: self.before.root.0,
        });
        let header = BlockHeader {
            origin,
            number: self.number,
            first_index: self.first_index,
            time_us: self.time_us,
            previous_seal,
        };
        history.judge(policies, &header, &batches)
    }

    /// Compares what came out with what was sealed.
    pub(super) fn compare(
        &self,
        judged: &BlockVerdict,
        same_engine: bool,
        done: &mut Reexecuted,
        findings: &mut Findings,
    ) {
        let mut comparison = Comparison {
            block: self.number,
            same_engine,
            whole: self.events().all(|event| event.body.is_some()),
            reproducible: judged.is_reproducible(),
            done,
            findings,
        };
        if let Some((index, _, sealed)) = &self.seal {
            let again = Again::of(&judged.block);
            comparison.compare(*index, sealed, &record(&judged.block), &again);
        }
        let mut of_batches = InOrder::new(&judged.batches);
        let mut of_events = InOrder::new(&judged.events);
        for item in &self.items {
            let (index, sealed, found) = match item {
                Item::Batch(batch) => (batch.index, &batch.verdict, of_batches.next_subject()),
                Item::Event(event) => {
                    let found = of_events.next_subject();
                    if event.body.is_none() {
                        comparison.done.without_body += 1;
                        continue;
                    }
                    (event.index, &event.verdict, found)
                }
            };
            let again = Again::of(found.clone());
            comparison.compare(index, sealed, &record(found), &again);
        }
    }

    /// Takes up what the log says of it: what later verdicts were made with.
    pub(super) fn accept(&self, history: &mut History) {
        for item in &self.items {
            match item {
                Item::Batch(batch) => {
                    let (sequence, valid) = (batch.record.sequence, batch.verdict.valid);
                    history.accept_batch(&batch.source, &batch.public_key, sequence, valid);
                }
                Item::Event(event) => {
                    let time = event.record.stage_timestamp.as_deref();
                    let time_us = time.and_then(parse_micro_time);
                    let valid = event.verdict.valid;
                    history.accept_event(&event.source, time_us, self.time_us, valid);
                }
            }
        }
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.items.iter().filter_map(|item| match item {
            Item::Event(event) => Some(&**event),
            Item::Batch(_) => None,
        })
    }

    /// The requests that the block was made of, as far as that matters.
    fn submitted<'b>(&'b self, views: &'b [Option<EventView<'b>>]) -> Vec<SubmittedBatch<'b>> {
        let mut batches = Vec::new();
        let mut items = self.items.iter().peekable();
        let mut views = views.iter();
        while let Some(item) = items.peek() {
            let (source, signed, count) = match item {
                Item::Batch(batch) => {
                    items.next();
                    let count = usize::try_from(batch.record.events).unwrap_or(usize::MAX);
                    (batch.source.as_str(), Some(batch.signed()), count)
                }
                Item::Event(event) => (event.source.as_str(), None, usize::MAX),
            };
            batches.push(SubmittedBatch {
                source,
                signed,
                events: take(source, count, &mut items, &mut views),
            });
        }
        batches
    }
}

/// The next events of a source, up to a number.
fn take<'b>(
    source: &str,
    count: usize,
    items: &mut Peekable<std::slice::Iter<'b, Item>>,
    views: &mut std::slice::Iter<'b, Option<EventView<'b>>>,
) -> Vec<SubmittedEvent<'b>> {
    let mut events = Vec::new();
    while events.len() < count
        && let Some(Item::Event(event)) = items.peek()
        && event.source == source
    {
        items.next();
        let view = views.next().and_then(Option::as_ref);
        events.push(SubmittedEvent {
            record: &event.record,
            content: view
                .zip(event.body.as_deref())
                .map(|(view, body)| EventContent {
                    view,
                    body,
                    undecodable: event.undecodable,
                }),
        });
    }
    events
}

impl Batch {
    fn signed(&self) -> SignedBatch<'_> {
        SignedBatch {
            sequence: self.record.sequence,
            count: self.record.count,
            digest: self.record.digest.0,
            algorithm: SignatureAlgorithm::from_name(&self.record.algorithm)
                .unwrap_or(SignatureAlgorithm::EcdsaP256Sha256),
            public_key: &self.public_key,
            signature: &self.signature,
        }
    }
}
