use std::borrow::Cow;

use auditchain_log::{KeyState, Timestamp, sha256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::{
    Engine, EngineOptions, EventView, Mode, PolicySpec, SignatureAlgorithm, builtin_module,
};

fn history(payloads: &[Payload]) -> History {
    let mut history = History::default();
    for payload in payloads {
        history.put_in_force(payload);
    }
    history
}

fn snapshot(n: u8, size: u64) -> Payload {
    Payload::Rbac(RbacRecord {
        digest: sha256(&[&[n]]),
        from: Timestamp::from_micros(i64::from(n)),
        size,
    })
}

fn key(source: &str, key: &[u8], state: KeyState, not_after: Option<i64>) -> Payload {
    Payload::Key(KeyRecord {
        key: STANDARD.encode(key),
        not_after: not_after.map(Timestamp::from_micros),
        not_before: None,
        role: KeyRole::Sender,
        source: Some(source.into()),
        state,
    })
}

#[test]
fn the_newest_snapshots_are_kept_by_number_and_size() {
    let many: Vec<Payload> = (0..12).map(|n| snapshot(n, 1)).collect();
    let kept = history(&many);
    let from: Vec<i64> = kept
        .snapshots()
        .iter()
        .map(|snapshot| snapshot.from.as_micros())
        .collect();
    assert_eq!(from, [4, 5, 6, 7, 8, 9, 10, 11]);
    let half = MAX_RBAC_SNAPSHOT_BYTES as u64 / 2;
    let kept = history(&[snapshot(1, half), snapshot(2, half), snapshot(3, 1)]);
    assert_eq!(kept.snapshots().len(), 2);
    let kept = history(&[snapshot(1, 1), snapshot(2, 4 * half)]);
    assert_eq!(kept.snapshots().len(), 1);
}

#[test]
fn keys_begin_end_and_change_their_times() {
    let kept = history(&[
        key("eu", b"one", KeyState::Begin, None),
        key("us", b"one", KeyState::Begin, None),
        key("eu", b"two", KeyState::Begin, None),
        key("eu", b"one", KeyState::Begin, Some(9)),
        key("eu", b"two", KeyState::End, None),
    ]);
    let inputs = input::sender_keys(&kept.senders, &["eu"]);
    assert_eq!(inputs.len(), 1);
    assert_eq!(
        (inputs[0].source, inputs[0].public_key.as_slice()),
        (0, &b"one"[..])
    );
    assert_eq!(inputs[0].not_after_us, Some(9));
    assert_eq!(
        input::sender_keys(&kept.senders, &["de", "eu", "us"])[0].source,
        2
    );
}

#[test]
fn only_what_was_accepted_moves_a_number() {
    let mut history = History::default();
    let first_missing = |history: &History| history.gap("eu", b"k", 3).map(|gap| gap.first);
    history.accept_batch("eu", b"k", 7, false);
    assert_eq!(first_missing(&history), Some(1));
    assert!(history.is_new_batch("eu", b"k", 7));
    history.accept_batch("eu", b"k", 7, true);
    assert_eq!(first_missing(&history), None);
    assert!(!history.is_new_batch("eu", b"k", 7) && history.is_new_batch("eu", b"k", 8));
}

#[test]
fn only_what_was_accepted_moves_a_watermark_and_never_past_the_block() {
    let mut history = History::default();
    history.accept_event("eu", Some(5), 10, true);
    history.accept_event("eu", Some(9), 10, false);
    history.accept_event("eu", None, 10, true);
    assert_eq!(history.watermarks["eu"], 5);
    history.accept_event("eu", Some(99), 10, true);
    history.accept_event("eu", Some(3), 10, true);
    assert_eq!(history.watermarks["eu"], 10);
}

/// A batch whose signature is nonsense takes its events along, and no others; and what is
/// erased keeps its place.
#[test]
fn events_are_refused_with_their_batch() {
    let engine = Engine::new(&EngineOptions::default()).unwrap();
    let module = crate::ModuleRef::Builtin("signature".into());
    let spec = PolicySpec {
        name: "signature".into(),
        module: builtin_module(&module).unwrap(),
        mode: Mode::Enforce,
        settings: serde_json::json!({}),
        limits: crate::Limits::default(),
    };
    let policies = PolicySet::load(&engine, &[spec], &[]).unwrap();
    let (record, view) = (
        EventRecord::default(),
        EventView {
            audit_id: Some(Cow::Borrowed("a")),
            ..EventView::default()
        },
    );
    let content = EventContent {
        view: &view,
        body: b"{}",
        undecodable: false,
    };
    let event = |content| SubmittedEvent {
        record: &record,
        content,
    };
    let signed = SignedBatch {
        sequence: 1,
        count: 2,
        digest: [0; 32],
        algorithm: SignatureAlgorithm::EcdsaP256Sha256,
        public_key: b"none",
        signature: b"none",
    };
    let batches = [
        SubmittedBatch {
            source: "us",
            signed: None,
            events: vec![event(Some(content)), event(None)],
        },
        SubmittedBatch {
            source: "eu",
            signed: Some(signed),
            events: vec![event(Some(content)), event(Some(content))],
        },
        SubmittedBatch {
            source: "eu",
            signed: None,
            events: vec![event(Some(content))],
        },
    ];
    let header = BlockHeader {
        origin: "example.com/log",
        number: 1,
        first_index: 4,
        time_us: 0,
        previous_seal: None,
    };
    let mut history = History::default();
    let verdict = history.judge(&policies, &header, &batches);
    assert_eq!(verdict.batches.len(), 1);
    let refused: Vec<u32> = verdict.events.iter().map(|(event, _)| *event).collect();
    assert_eq!(refused, [2, 3]);
    assert!(verdict.events.iter().all(|(_, finding)| !finding.valid));
    assert_eq!(history.window_start(), Some(4));
}
