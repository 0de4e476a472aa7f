//! The guests that are built in load, and judge what a real apiserver sent.

mod common;

use auditchain_log::{Hash, SignerKey, batch_digest, batch_message};
use auditchain_sandbox::{
    BatchInput, BlockVerdict, Engine, EngineOptions, PolicySet, PolicySpec, SignatureAlgorithm,
    SourceInput, default_policies,
};
use common::recorded::{
    RecordedBody, Seal, Window, block, inputs, rbac_snapshot, recorded, snapshot,
};
use p256::pkcs8::EncodePublicKey as _;

const SECOND_US: i64 = 1_000_000;

fn load(engine: &Engine, specs: &[PolicySpec]) -> PolicySet {
    PolicySet::load(engine, specs, &[snapshot(&rbac_snapshot())])
        .expect("the default policies load")
}

fn defaults() -> PolicySet {
    load(common::engine(), &default_policies())
}

/// Judges the recorded requests as a log would, one a block.
fn judge_all(set: &PolicySet, requests: &[RecordedBody]) -> Vec<BlockVerdict> {
    let seal = Seal::new();
    let mut window = Window::default();
    requests
        .iter()
        .map(|request| {
            let sources = [SourceInput {
                name: "a-cluster",
                watermark_us: window.newest_us,
            }];
            let views = request.views();
            let earlier = window.take(request, &views);
            let events = inputs(request, &views, &earlier);
            // Received a second after the newest of its events.
            let time_us = window.newest_us.unwrap_or(0) + SECOND_US;
            set.judge(&block(&seal, &sources, &[], &events, time_us))
        })
        .collect()
}

#[test]
fn the_defaults_say_what_they_are() {
    let set = defaults();
    let names: Vec<_> = set
        .policies()
        .iter()
        .map(|policy| (policy.name(), policy.description().name.as_str()))
        .collect();
    let expected = ["signature", "ordering", "rbac"].map(|name| (name, name));
    assert_eq!(names, expected);
}

#[test]
fn recorded_traffic_is_judged_without_a_failure_or_a_false_alarm() {
    let requests = recorded("bodies");
    let verdicts = judge_all(&defaults(), &requests);
    let count: usize = requests.iter().map(|request| request.bodies.len()).sum();
    assert_eq!(count, 6_353);
    for verdict in &verdicts {
        assert_eq!(verdict.failures, []);
        assert!(
            verdict.block.iter().all(|finding| finding.valid),
            "{:?}",
            verdict.block
        );
        for (event, finding) in &verdict.events {
            assert!(finding.valid, "event {event}: {finding:?}");
        }
    }
}

#[test]
fn hostile_bytes_cost_no_neighbour() {
    let requests = recorded("edge");
    assert!(
        requests
            .iter()
            .any(|request| request.undecodable.contains(&true))
    );
    for verdict in judge_all(&defaults(), &requests) {
        assert_eq!(verdict.failures, []);
    }
}

#[test]
fn two_engines_agree_on_recorded_traffic() {
    let other = Engine::new(&EngineOptions {
        workers: std::num::NonZeroUsize::MIN,
        ..EngineOptions::default()
    })
    .expect("an engine");
    let requests = recorded("bodies");
    let requests = &requests[..4];
    let one = judge_all(&defaults(), requests);
    let two = judge_all(&load(&other, &default_policies()), requests);
    assert!(
        one.iter()
            .zip(&two)
            .all(|(one, two)| one.same_findings(two))
    );
}

#[test]
fn a_forged_seal_is_found() {
    let set = defaults();
    let sources = [];
    let good = Seal::new();
    let is_valid = |seal: &Seal| {
        let verdict = set.judge(&block(seal, &sources, &[], &[], SECOND_US));
        assert_eq!(verdict.failures, []);
        verdict.block.iter().all(|finding| finding.valid)
    };
    assert!(is_valid(&good));
    let other_size = Seal {
        size: 401,
        ..Seal::new()
    };
    let other_root = Seal {
        root: [0; 32],
        ..Seal::new()
    };
    let unsigned = Seal {
        keys: vec![],
        ..Seal::new()
    };
    let altered = Seal {
        note: good.note.replacen("400", "300", 1),
        ..Seal::new()
    };
    for bad in [other_size, other_root, unsigned, altered] {
        assert!(!is_valid(&bad), "{:?} {}", bad.note, bad.size);
    }
}

#[test]
fn a_batch_signature_is_checked() {
    let set = defaults();
    let seal = Seal::new();
    let events: [&[u8]; 2] = [b"{}", b"[]"];
    let digest = batch_digest(events);
    let secret = [5; 32];
    let sender = SignerKey::ecdsa_p256("sender", &secret).expect("a key");
    let signature = sender.sign(&batch_message("a-cluster", 3, 2, &digest));
    let public_key = p256::SecretKey::from_slice(&secret)
        .expect("a key")
        .public_key()
        .to_public_key_der()
        .expect("DER");
    let sources = [SourceInput {
        name: "a-cluster",
        watermark_us: None,
    }];
    let is_valid = |sequence, digest: Hash| {
        let batches = [BatchInput {
            source: 0,
            first_event: 0,
            sequence,
            count: 2,
            digest: digest.0,
            algorithm: SignatureAlgorithm::EcdsaP256Sha256,
            public_key: public_key.as_bytes(),
            signature: &signature,
            last_sequence: None,
            repeated: false,
        }];
        let verdict = set.judge(&block(&seal, &sources, &batches, &[], SECOND_US));
        assert_eq!(verdict.failures, []);
        assert!(!verdict.batches.is_empty());
        verdict.batches.iter().all(|(_, finding)| finding.valid)
    };
    assert!(is_valid(3, digest));
    assert!(!is_valid(4, digest));
    assert!(!is_valid(3, Hash([0; 32])));
}
