//! The guests that are built in load, and judge what a real apiserver sent.

mod common;

use auditchain_log::json::CANONICAL_BYTES_MAX;
use auditchain_log::{
    EventSignature, Hash, SIGNATURE_ANNOTATION, SM2_DEFAULT_ID, SenderAlgorithm, SignerKey,
    SignerRef, batch_digest, batch_message, event_message, sha256,
};
use auditchain_sandbox::{
    BatchInput, BlockInput, BlockVerdict, Engine, EngineOptions, EventInput, EventView, Finding,
    PolicySet, PolicySpec, SenderKeyInput, SignatureAlgorithm, SourceInput, default_policies,
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

/// A sender of each algorithm: signs what it is given.
fn sm2_sender() -> (Vec<u8>, impl Fn(&[u8]) -> Vec<u8>) {
    use p256::ecdsa::signature::Signer as _;
    let secret = sm2::SecretKey::from_slice(&[5; 32]).expect("a key");
    let spki = secret.public_key().to_public_key_der().expect("DER");
    let key = sm2::dsa::SigningKey::new(SM2_DEFAULT_ID, &secret).expect("a key");
    let sign = move |message: &[u8]| {
        let signature: sm2::dsa::Signature = key.sign(message);
        signature.to_der().to_vec()
    };
    (spki.into_vec(), sign)
}

/// A slice full of events that are signed by themselves and by a batch each, by SM2, and
/// more batches without events: the default policy's fuel is enough.
#[test]
fn a_slice_full_of_sm2_signatures_stays_within_its_fuel() {
    let set = defaults();
    let seal = Seal::new();
    let (spki, sign) = sm2_sender();
    let signed = |n: usize| {
        let bare = format!(r#"{{"auditID":"{n}","verb":"get"}}"#);
        let signature = EventSignature {
            algorithm: SenderAlgorithm::Sm2Sm3,
            signer: SignerRef::Id(sha256(&[&spki])),
            signature: sign(&event_message(bare.as_bytes())),
        };
        format!(
            r#"{{"annotations":{{"{SIGNATURE_ANNOTATION}":"{signature}"}},"auditID":"{n}","verb":"get"}}"#
        )
    };
    let bodies: Vec<String> = (0..256).map(signed).collect();
    let views: Vec<EventView<'_>> = bodies
        .iter()
        .map(|body| EventView::read(body.as_bytes()))
        .collect();
    let events: Vec<EventInput<'_>> = views
        .iter()
        .zip(&bodies)
        .map(|(view, body)| EventInput {
            source: 0,
            view,
            body: body.as_bytes(),
            undecodable: false,
            in_signed_batch: true,
            earlier: &[],
        })
        .collect();
    let digest = batch_digest([b"{}".as_slice()]);
    let signature = sign(&batch_message("a-cluster", 3, 1, &digest));
    let batches: Vec<BatchInput<'_>> = (0..600)
        .map(|n| BatchInput {
            source: 0,
            first_event: n,
            sequence: 3,
            count: 1,
            digest: digest.0,
            algorithm: SignatureAlgorithm::Sm2Sm3,
            public_key: &spki,
            signature: &signature,
            last_sequence: Some(2),
            repeated: false,
        })
        .collect();
    let sources = [SourceInput {
        name: "a-cluster",
        watermark_us: None,
    }];
    let keys = [SenderKeyInput {
        source: 0,
        public_key: spki.clone(),
        not_before_us: None,
        not_after_us: None,
    }];
    let block = BlockInput {
        sender_keys: &keys,
        ..block(&seal, &sources, &batches, &events, SECOND_US)
    };
    let verdict = set.judge(&block);
    assert_eq!(verdict.failures, []);
    for cost in &verdict.costs {
        println!("{}: {} fuel", cost.policy, cost.fuel);
    }
    let verified = |rule: &str, findings: &[(u32, Finding)]| {
        let of_rule = findings
            .iter()
            .filter(|(_, finding)| &*finding.rule == rule);
        of_rule.filter(|(_, finding)| finding.valid).count()
    };
    assert_eq!(verified("batch-signature-verified", &verdict.batches), 600);
    assert_eq!(verified("event-signature-verified", &verdict.events), 256);
}

/// The largest event that is brought into canonical form, signed by itself.
#[test]
fn the_largest_event_can_be_signed() {
    let set = defaults();
    let seal = Seal::new();
    let (spki, sign) = sm2_sender();
    let padding = "x".repeat(CANONICAL_BYTES_MAX - 1024);
    let bare = format!(r#"{{"padding":"{padding}"}}"#);
    let signature = EventSignature {
        algorithm: SenderAlgorithm::Sm2Sm3,
        signer: SignerRef::Key(spki),
        signature: sign(&event_message(bare.as_bytes())),
    };
    let body = format!(
        r#"{{"annotations":{{"{SIGNATURE_ANNOTATION}":"{signature}"}},"padding":"{padding}"}}"#
    );
    let view = EventView::read(body.as_bytes());
    let events = [EventInput {
        source: 0,
        view: &view,
        body: body.as_bytes(),
        undecodable: false,
        in_signed_batch: false,
        earlier: &[],
    }];
    let sources = [SourceInput {
        name: "a-cluster",
        watermark_us: None,
    }];
    let verdict = set.judge(&block(&seal, &sources, &[], &events, SECOND_US));
    for cost in &verdict.costs {
        println!("{}: {} fuel", cost.policy, cost.fuel);
    }
    assert!(
        verdict
            .failures
            .iter()
            .all(|failure| &*failure.policy != "signature"),
        "{:?}",
        verdict.failures
    );
    let rules: Vec<&str> = verdict.events.iter().map(|(_, f)| &*f.rule).collect();
    assert!(rules.contains(&"event-signature-verified"), "{rules:?}");
}
