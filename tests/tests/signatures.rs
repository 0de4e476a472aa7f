//! Senders that sign, through the whole service: what is signed well is accepted, whatever
//! is missing, wrong, expired, replayed, swapped or out of order is sealed as such, and the
//! auditor's program finds all of it consistent.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;

use auditchain_log::{
    EventSignature, SIGNATURE_ANNOTATION, SM2_DEFAULT_ID, SenderAlgorithm, SignerRef, batch_digest,
    batch_message, event_message, json::canonicalize, sha256,
};
use auditchain_tests::{Programs, Service, programs};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};

const PROGRAMS: Programs = programs!();

/// A sender's key: its algorithm and what its secret is made of.
#[derive(Clone, Copy)]
struct Sender(SenderAlgorithm, u8);

const P256: Sender = Sender(SenderAlgorithm::EcdsaP256Sha256, 1);
const OLD: Sender = Sender(SenderAlgorithm::EcdsaP256Sha256, 2);
const NEXT: Sender = Sender(SenderAlgorithm::EcdsaP256Sha256, 3);
const STRANGER: Sender = Sender(SenderAlgorithm::EcdsaP256Sha256, 4);
const SM2: Sender = Sender(SenderAlgorithm::Sm2Sm3, 5);

impl Sender {
    fn spki(self) -> Vec<u8> {
        let spki = match self.0 {
            SenderAlgorithm::Sm2Sm3 => sm2::SecretKey::from_slice(&[self.1; 32])
                .unwrap()
                .public_key()
                .to_public_key_der(),
            _ => p256::SecretKey::from_slice(&[self.1; 32])
                .unwrap()
                .public_key()
                .to_public_key_der(),
        };
        spki.unwrap().into_vec()
    }

    fn sign(self, message: &[u8]) -> Vec<u8> {
        if self.0 == SenderAlgorithm::Sm2Sm3 {
            let key = sm2::SecretKey::from_slice(&[self.1; 32]).unwrap();
            let key = sm2::dsa::SigningKey::new(SM2_DEFAULT_ID, &key).unwrap();
            let signature: sm2::dsa::Signature = key.sign(message);
            return signature.to_der().to_vec();
        }
        let key = p256::ecdsa::SigningKey::from_slice(&[self.1; 32]).unwrap();
        let signature: p256::ecdsa::Signature = key.sign(message);
        signature.to_der().as_bytes().to_vec()
    }
}

fn event(id: &str) -> Value {
    json!({
        "level": "Metadata", "auditID": id, "stage": "ResponseComplete", "verb": "list",
        "requestURI": "/api/v1/namespaces/a/pods", "user": {"username": "jane"},
        "requestReceivedTimestamp": "2026-11-21T06:30:00.000000Z",
        "stageTimestamp": "2026-11-21T06:30:01.000000Z",
    })
}

fn list(items: &[Value]) -> Vec<u8> {
    json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": items})
        .to_string()
        .into_bytes()
}

fn canonical(event: &Value) -> Vec<u8> {
    let mut out = vec![];
    canonicalize(event.to_string().as_bytes(), &mut out).unwrap();
    out
}

/// The signature of a batch of a source.
fn sign(sender: Sender, source: &str, sequence: u64, items: &[Value]) -> Vec<u8> {
    let bodies: Vec<Vec<u8>> = items.iter().map(canonical).collect();
    let digest = batch_digest(bodies.iter().map(Vec::as_slice));
    let count = u32::try_from(items.len()).unwrap();
    sender.sign(&batch_message(source, sequence, count, &digest))
}

/// Sends a batch with a signature, whatever it signs. Accepted, rejected, duplicates.
fn send_with(
    service: &Service,
    source: &str,
    sender: Sender,
    sequence: u64,
    items: &[Value],
    signature: &[u8],
) -> [u64; 3] {
    let headers = [
        ("content-type", "application/json"),
        ("auditchain-batch-sequence", &sequence.to_string()),
        ("auditchain-batch-algorithm", sender.0.name()),
        ("auditchain-batch-key", &STANDARD.encode(sender.spki())),
        ("auditchain-batch-signature", &STANDARD.encode(signature)),
    ];
    let answer = service.post(&format!("/audit/{source}"), &headers, &list(items));
    outcome(&answer.json())
}

fn outcome(ack: &Value) -> [u64; 3] {
    ["accepted", "rejected", "duplicates"].map(|member| ack[member].as_u64().unwrap())
}

fn send(service: &Service, source: &str, sender: Sender, sequence: u64, id: &str) -> [u64; 3] {
    let items = [event(id), event(&format!("{id}-2"))];
    let signature = sign(sender, source, sequence, &items);
    send_with(service, source, sender, sequence, &items, &signature)
}

/// The entries written since `from`: kind, valid (if judged), rules of the findings.
fn since(service: &Service, from: u64) -> Vec<(String, Option<bool>, Vec<String>)> {
    (from..service.size())
        .map(|index| {
            let entry = service.get(&format!("/api/v1/entries/{index}")).json()["entry"].clone();
            let verdict = &entry["verdict"];
            let findings = verdict["findings"].as_array().cloned().unwrap_or_default();
            let rules = findings
                .iter()
                .map(|f| f["rule"].as_str().unwrap().to_string());
            (
                entry["kind"].as_str().unwrap().to_string(),
                verdict["valid"].as_bool(),
                rules.collect(),
            )
        })
        .collect()
}

/// Sends a signed batch of two events that must be refused by this rule.
#[track_caller]
fn assert_refused(service: &Service, rule: &str, send: impl FnOnce() -> [u64; 3]) {
    let from = service.size();
    assert_eq!(send(), [0, 2, 0], "{rule}");
    let entries = since(service, from);
    let kinds: Vec<&str> = entries.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(kinds, ["seal", "batch", "event", "event"], "{rule}");
    for (kind, valid, rules) in &entries[1..] {
        assert_eq!(*valid, Some(false), "{kind}");
        assert!(rules.iter().any(|found| found == rule), "{rule}: {rules:?}");
    }
}

/// Writes the policy and the configuration: the keys of the source eu are given.
fn configure(dir: &Path, eu: &[(Sender, &str)]) -> String {
    let policy = include_str!("../../policies/signature.yaml");
    let policy = policy.replace("required: []", "required: [eu, cn-*]");
    assert!(policy.contains("[eu, cn-*]"));
    std::fs::write(dir.join("signature.yaml"), policy).unwrap();
    let keys = |keys: &[(Sender, &str)]| -> String {
        keys.iter()
            .map(|(sender, times)| format!("  - key: {}\n{times}", STANDARD.encode(sender.spki())))
            .collect()
    };
    let text = format!(
        "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\npolicies: [signature.yaml]\nsources:\n- name: eu\n  signingKeys:\n{}- name: cn-1\n  signingKeys:\n{}- name: free\n",
        keys(eu),
        keys(&[(SM2, "")]),
    );
    let path = dir.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

const OVER: &str = "    notAfter: 2026-01-01T00:00:00Z\n";
const TO_COME: &str = "    notBefore: 2200-01-01T00:00:00Z\n";

#[test]
fn signed_well_is_accepted_and_all_else_is_sealed_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    let all = [(P256, ""), (OLD, OVER), (NEXT, TO_COME)];
    let config = configure(dir.path(), &all);
    let service = PROGRAMS.start(&data, &["--config", &config]);
    let keys_at = |service: &Service| {
        let entries = since(service, 0);
        entries.iter().filter(|(kind, ..)| kind == "key").count()
    };
    assert_eq!(keys_at(&service), 2 + 4, "the log's, and the senders'");

    // Both algorithms, each with its own numbers.
    assert_eq!(send(&service, "eu", P256, 1, "a"), [2, 0, 0]);
    let from = service.size();
    assert_eq!(send(&service, "cn-1", SM2, 1, "b"), [2, 0, 0]);
    let entries = since(&service, from);
    assert_eq!(entries[1].0, "batch");
    assert_eq!(entries[1].2, ["batch-signature-verified"]);

    // Missing.
    let from = service.size();
    let unsigned = service.send("eu", &list(&[event("c")])).json();
    assert_eq!(outcome(&unsigned), [0, 1, 0]);
    assert_eq!(since(&service, from)[1].2, ["signature-missing"]);
    // Of a stranger, expired, not yet valid, of another source.
    for (sender, rule) in [
        (STRANGER, "batch-key-unknown"),
        (OLD, "batch-key-expired"),
        (NEXT, "batch-key-expired"),
        (SM2, "batch-key-unknown"),
    ] {
        assert_refused(&service, rule, || {
            send(&service, "eu", sender, 2, &format!("d{}", sender.1))
        });
    }
    // Wrong: another batch's signature, and events that were changed.
    let swapped = sign(P256, "eu", 2, &[event("e"), event("e-2")]);
    let others = [event("f"), event("f-2")];
    assert_refused(&service, "batch-signature-invalid", || {
        send_with(&service, "eu", P256, 2, &others, &swapped)
    });
    // Reordered within.
    let turned = [event("e-2"), event("e")];
    assert_refused(&service, "batch-signature-invalid", || {
        send_with(&service, "eu", P256, 2, &turned, &swapped)
    });
    // A number that was used.
    assert_refused(&service, "batch-sequence-replayed", || {
        send(&service, "eu", P256, 1, "g")
    });
    // What was refused has used no number, and a retry adds nothing.
    assert_eq!(send(&service, "eu", P256, 2, "h"), [2, 0, 0]);
    let size = service.size();
    assert_eq!(send(&service, "eu", P256, 2, "h"), [0, 0, 2]);
    assert_eq!(service.size(), size);

    // Numbers left out: a gap, once; and what comes late is too late.
    let from = service.size();
    assert_eq!(send(&service, "eu", P256, 5, "i"), [2, 0, 0]);
    assert_eq!(since(&service, from)[1].0, "gap");
    let gap = service.get(&format!("/api/v1/entries/{}", from + 1)).json()["entry"].clone();
    let key = sha256(&[&P256.spki()]).to_string();
    assert_eq!(gap["gap"], json!({"first": 3, "key": key, "last": 4}));
    assert_refused(&service, "batch-sequence-replayed", || {
        send(&service, "eu", P256, 4, "j")
    });
    // Events that are known, under a new number: only the number is new.
    let from = service.size();
    assert_eq!(send(&service, "eu", P256, 6, "i"), [0, 0, 2]);
    let entries = since(&service, from);
    assert_eq!((entries.len(), entries[1].0.as_str()), (2, "batch"));

    single_events(&service);

    // No key is in force for this source: the signature proves itself only.
    let from = service.size();
    assert_eq!(send(&service, "free", STRANGER, 1, "k"), [2, 0, 0]);
    let rules = &since(&service, from)[1].2;
    assert!(
        rules.contains(&"batch-key-unbound".to_string()),
        "{rules:?}"
    );

    let log_keys = service.keys.clone();
    assert!(service.stop().success());
    after_a_restart(dir.path(), &data, &config, &log_keys);
}

/// Events that carry their own signature, in requests that carry none.
fn single_events(service: &Service) {
    let signed = |sender: Sender, bare: &Value, sent: &Value| {
        let signature = EventSignature {
            algorithm: sender.0,
            signer: SignerRef::Id(sha256(&[&sender.spki()])),
            signature: sender.sign(&event_message(&canonical(bare))),
        };
        let mut sent = sent.clone();
        sent["annotations"] = json!({SIGNATURE_ANNOTATION: signature.to_string()});
        sent
    };
    let bare = event("single");
    let mut altered = bare.clone();
    altered["verb"] = json!("delete");
    for (event, accepted, rule) in [
        (signed(SM2, &bare, &bare), 1, "event-signature-verified"),
        (signed(SM2, &bare, &altered), 0, "event-signature-invalid"),
        (signed(P256, &bare, &bare), 0, "event-key-unknown"),
    ] {
        let from = service.size();
        let ack = service.send("cn-1", &list(&[event])).json();
        assert_eq!(outcome(&ack), [accepted, 1 - accepted, 0], "{rule}");
        assert_eq!(since(service, from)[1].2, [rule]);
    }
}

/// Numbers and keys are known after a restart; a changed configuration ends and begins keys.
fn after_a_restart(dir: &Path, data: &Path, config: &str, log_keys: &[String]) {
    let service = PROGRAMS.start(data, &["--config", config]);
    let size = service.size();
    assert_refused(&service, "batch-sequence-replayed", || {
        send(&service, "eu", P256, 6, "l")
    });
    let from = service.size();
    assert_eq!(send(&service, "eu", P256, 9, "m"), [2, 0, 0]);
    assert_eq!(since(&service, from)[1].0, "gap");
    assert!(since(&service, size).iter().all(|(kind, ..)| kind != "key"));
    let (code, report) = PROGRAMS.verify(&service.url, log_keys);
    assert_eq!(code, 0, "{report:#}");
    assert!(service.stop().success());

    // The first key ends, the next one begins now.
    configure(dir, &[(NEXT, "")]);
    let service = PROGRAMS.start(data, &["--config", config]);
    assert_refused(&service, "batch-key-unknown", || {
        send(&service, "eu", P256, 10, "n")
    });
    assert_eq!(send(&service, "eu", NEXT, 1, "o"), [2, 0, 0]);
    assert!(service.stop().success());

    let (code, report) = PROGRAMS.verify(data.to_str().unwrap(), log_keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["batchesMissing"], 2 + 2, "{report:#}");
    assert_eq!(report["kinds"]["gap"], 2);
    assert_eq!(report["senderKeys"], 2);
    assert!(report["batchSignaturesInvalid"].as_u64().unwrap() >= 2);
}
