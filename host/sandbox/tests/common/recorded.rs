//! Recorded traffic of tests/data as blocks: one a request of the apiserver.

use std::{collections::HashMap, fs, io::Read as _, path::PathBuf};

use auditchain_log::{
    Checkpoint, Hash, SignerKey, TreeSize,
    json::{canonicalize, split_event_list},
    sign_note,
};
use auditchain_sandbox::{
    BatchInput, BlockInput, EarlierStage, EventInput, EventView, PreviousSeal, RbacSnapshot,
    SourceInput, Stage,
};

pub const ORIGIN: &str = "example.com/log";

/// A request's events: canonical, or as they came.
pub struct RecordedBody {
    pub bodies: Vec<Vec<u8>>,
    pub undecodable: Vec<bool>,
}

fn data(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data")).join(path)
}

fn gunzip(path: PathBuf) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(path).expect("recorded data"))
        .read_to_end(&mut bytes)
        .expect("gzip");
    bytes
}

/// In force at all times.
pub fn snapshot(json: &[u8]) -> RbacSnapshot<'_> {
    RbacSnapshot {
        in_force_from_us: 0,
        json,
    }
}

pub fn rbac_snapshot() -> Vec<u8> {
    gunzip(data("rbac-dump.json.gz"))
}

/// The requests of a directory, in their order.
pub fn recorded(directory: &str) -> Vec<RecordedBody> {
    let mut paths: Vec<_> = fs::read_dir(data(directory))
        .expect("recorded data")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with('0') && name.contains(".json")
        })
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let body = match path.extension() {
                Some(extension) if extension == "gz" => gunzip(path),
                _ => fs::read(path).expect("recorded data"),
            };
            RecordedBody::of(&body)
        })
        .collect()
}

impl RecordedBody {
    fn of(body: &[u8]) -> Self {
        let list = split_event_list(body).expect("an EventList");
        let (bodies, undecodable) = list
            .items
            .iter()
            .map(|item| {
                let mut canonical = Vec::new();
                match canonicalize(item, &mut canonical) {
                    Ok(()) => (canonical, false),
                    Err(_) => (item.to_vec(), true),
                }
            })
            .unzip();
        Self {
            bodies,
            undecodable,
        }
    }

    pub fn views(&self) -> Vec<EventView<'_>> {
        self.bodies
            .iter()
            .map(|body| EventView::read(body))
            .collect()
    }
}

/// auditID and requestReceivedTimestamp; there is but one source.
type Request = (String, Option<i64>);
/// A stage, and the bytes of its event.
type Seen = (EarlierStage, Vec<u8>);

/// What a log knows besides the events: a short version of the service's window.
#[derive(Default)]
pub struct Window {
    stages: HashMap<Request, Vec<Seen>>,
    pub newest_us: Option<i64>,
}

impl Window {
    /// What was there before each event; the events are there after.
    pub fn take(&mut self, body: &RecordedBody, views: &[EventView<'_>]) -> Vec<Vec<EarlierStage>> {
        views
            .iter()
            .zip(&body.bodies)
            .map(|(view, bytes)| {
                let request = (
                    view.audit_id.as_deref().unwrap_or_default().to_owned(),
                    view.request_received_timestamp_us(),
                );
                let seen = self.stages.entry(request).or_default();
                let this = EarlierStage {
                    stage: Stage::from_name(view.stage.as_deref()),
                    stage_timestamp_us: view.stage_timestamp_us(),
                    conflicting: false,
                };
                let earlier = seen
                    .iter()
                    .map(|(earlier, other)| EarlierStage {
                        conflicting: *earlier == this && other != bytes,
                        ..*earlier
                    })
                    .collect();
                seen.push((this, bytes.clone()));
                self.newest_us = self.newest_us.max(this.stage_timestamp_us);
                earlier
            })
            .collect()
    }
}

pub fn inputs<'a>(
    body: &'a RecordedBody,
    views: &'a [EventView<'a>],
    earlier: &'a [Vec<EarlierStage>],
) -> Vec<EventInput<'a>> {
    views
        .iter()
        .enumerate()
        .map(|(index, view)| EventInput {
            source: 0,
            view,
            body: &body.bodies[index],
            undecodable: body.undecodable[index],
            in_signed_batch: false,
            earlier: &earlier[index],
        })
        .collect()
}

/// A log's seal of a block, and its keys.
pub struct Seal {
    pub note: String,
    pub keys: Vec<String>,
    pub size: u64,
    pub root: [u8; 32],
}

impl Seal {
    pub fn new() -> Self {
        let signers = [
            SignerKey::ecdsa_p256(ORIGIN, &[7; 32]).expect("a key"),
            SignerKey::ed25519(ORIGIN, &[8; 32]).expect("a key"),
        ];
        let (size, root) = (400, [9; 32]);
        let checkpoint = Checkpoint {
            origin: ORIGIN.into(),
            size: TreeSize(size),
            root: Hash(root),
        };
        Self {
            note: sign_note(&checkpoint.to_text(), &signers),
            keys: signers
                .iter()
                .map(|key| key.verifier().to_string())
                .collect(),
            size,
            root,
        }
    }

    pub fn input(&self) -> PreviousSeal<'_> {
        PreviousSeal {
            note: &self.note,
            keys: &self.keys,
            size: self.size,
            root: self.root,
        }
    }
}

pub fn block<'a>(
    seal: &'a Seal,
    sources: &'a [SourceInput<'a>],
    batches: &'a [BatchInput<'a>],
    events: &'a [EventInput<'a>],
    time_us: i64,
) -> BlockInput<'a> {
    BlockInput {
        origin: ORIGIN,
        block: 1,
        time_us,
        previous_seal: Some(seal.input()),
        sources,
        batches,
        sender_keys: &[],
        events,
        window_start_us: None,
    }
}
