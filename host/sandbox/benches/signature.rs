//! What one signature costs, in the guest and natively: batches of one sender, by ECDSA
//! P-256 and by SM2. A slice's fixed cost (fresh instance, context) is in `0 batches`; the
//! cost of one verification is (64 batches - 0 batches) / 64.

#[path = "../tests/common/mod.rs"]
mod common;

use std::{hint::black_box, num::NonZeroUsize};

use auditchain_log::{
    SM2_DEFAULT_ID, SenderAlgorithm, SenderPublicKey, batch_digest, batch_message,
};
use auditchain_sandbox::{
    BatchInput, BlockInput, Engine, EngineOptions, PolicySet, SenderKeyInput, SignatureAlgorithm,
    SourceInput, default_policies,
};
use common::recorded::{Seal, block};
use criterion::{Criterion, criterion_group, criterion_main};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

const COUNTS: [usize; 3] = [0, 1, 64];
const SOURCE: &str = "a-cluster";

/// SubjectPublicKeyInfo, and the signature over a message.
fn signed(algorithm: SenderAlgorithm, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let spki;
    let signature = if algorithm == SenderAlgorithm::Sm2Sm3 {
        let secret = sm2::SecretKey::from_slice(&[5; 32]).expect("a key");
        spki = secret.public_key().to_public_key_der();
        let key = sm2::dsa::SigningKey::new(SM2_DEFAULT_ID, &secret).expect("a key");
        let signature: sm2::dsa::Signature = key.sign(message);
        signature.to_der().to_vec()
    } else {
        let key = p256::ecdsa::SigningKey::from_slice(&[5; 32]).expect("a key");
        spki = key.verifying_key().to_public_key_der();
        let signature: p256::ecdsa::Signature = key.sign(message);
        signature.to_der().as_bytes().to_vec()
    };
    (spki.expect("DER").into_vec(), signature)
}

fn signatures(criterion: &mut Criterion) {
    let engine = Engine::new(&EngineOptions {
        workers: NonZeroUsize::MIN,
        ..EngineOptions::default()
    })
    .expect("an engine");
    let policies: Vec<_> = default_policies()
        .into_iter()
        .filter(|spec| spec.name == "signature")
        .collect();
    let set = PolicySet::load(&engine, &policies, &[]).expect("loads");
    let seal = Seal::new();
    let sources = [SourceInput {
        name: SOURCE,
        watermark_us: None,
    }];
    let digest = batch_digest([b"{}".as_slice()]);
    let message = batch_message(SOURCE, 1, 1, &digest);
    for (algorithm, in_block) in [
        (
            SenderAlgorithm::EcdsaP256Sha256,
            SignatureAlgorithm::EcdsaP256Sha256,
        ),
        (SenderAlgorithm::Sm2Sm3, SignatureAlgorithm::Sm2Sm3),
    ] {
        let (spki, signature) = signed(algorithm, &message);
        let mut group = criterion.benchmark_group(algorithm.name());
        let key = SenderPublicKey::from_spki(&spki).expect("a key");
        group.bench_function("native, verify", |bencher| {
            bencher.iter(|| key.verify(black_box(&message), &signature).expect("holds"));
        });
        group.bench_function("native, parse the key", |bencher| {
            bencher.iter(|| SenderPublicKey::from_spki(black_box(&spki)).expect("a key"));
        });
        let keys = [SenderKeyInput {
            source: 0,
            public_key: spki.clone(),
            not_before_us: None,
            not_after_us: None,
        }];
        for count in COUNTS {
            let batch = BatchInput {
                source: 0,
                first_event: 0,
                sequence: 1,
                count: 1,
                digest: digest.0,
                algorithm: in_block,
                public_key: &spki,
                signature: &signature,
                last_sequence: None,
                repeated: false,
            };
            let batches = vec![batch; count];
            let block = BlockInput {
                previous_seal: None,
                sender_keys: &keys,
                ..block(&seal, &sources, &batches, &[], 0)
            };
            let verdict = set.judge(&block);
            assert_eq!((verdict.failures.len(), verdict.batches.len()), (0, count));
            assert!(verdict.batches.iter().all(|(_, finding)| finding.valid));
            println!("{count} batches used {} fuel", verdict.costs[0].fuel);
            group.bench_function(format!("guest, {count} batches"), |bencher| {
                bencher.iter(|| black_box(set.judge(&block)));
            });
        }
    }
}

criterion_group!(benches, signatures);
criterion_main!(benches);
