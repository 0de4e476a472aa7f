//! What the default policies say of made-up and of signed events, through the whole
//! service: caught, sealed, alerted, and visible in entry, metrics and report.

#![allow(clippy::unwrap_used, reason = "test code")]

use auditchain_log::{BATCH_MESSAGE_HEADER, batch_digest, batch_message};
use auditchain_tests::{Programs, Service, bodies, data, programs, read};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};

const PROGRAMS: Programs = programs!();

fn event(id: &str, stage: &str, received: &str, at: &str) -> Value {
    json!({
        "level": "Metadata", "auditID": id, "stage": stage, "requestURI": "/api/v1/namespaces/a/pods",
        "verb": "list", "user": {"username": "jane", "groups": ["system:authenticated"]},
        "sourceIPs": ["10.0.0.1"], "requestReceivedTimestamp": received, "stageTimestamp": at,
    })
}

fn list(items: &[Value]) -> Vec<u8> {
    json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": items})
        .to_string()
        .into_bytes()
}

/// Rules of the findings in the last entry.
fn last_rules(service: &Service) -> (bool, Vec<String>) {
    let entry = service
        .get(&format!("/api/v1/entries/{}", service.size() - 1))
        .json();
    let verdict = &entry["entry"]["verdict"];
    let findings = verdict["findings"].as_array().cloned().unwrap_or_default();
    let rules = findings.iter().map(|f| {
        format!(
            "{}/{}",
            f["policy"].as_str().unwrap(),
            f["rule"].as_str().unwrap()
        )
    });
    (verdict["valid"].as_bool().unwrap(), rules.collect())
}

#[test]
fn reversals_futures_and_backdating_are_caught_and_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let t = |minute: u32, second: u32| format!("2026-11-21T06:{minute:02}:{second:02}.000000Z");
    let good = event("a", "RequestReceived", &t(30, 0), &t(30, 0));
    assert_eq!(service.send("eu", &list(&[good])).json()["accepted"], 1);
    // The response, in a later block, says it was before the request.
    let cases = [
        (
            event("a", "ResponseComplete", &t(30, 0), &t(29, 59)),
            "ordering/stage-before-received",
        ),
        (
            event("b", "RequestReceived", &t(30, 0), &t(30, 1)),
            "ordering/received-mismatch",
        ),
        (
            event(
                "c",
                "RequestReceived",
                "2126-01-01T00:00:00.000000Z",
                "2126-01-01T00:00:00.000000Z",
            ),
            "ordering/future",
        ),
        (
            event(
                "d",
                "RequestReceived",
                "2026-11-20T06:30:00.000000Z",
                "2026-11-20T06:30:00.000000Z",
            ),
            "ordering/backdated",
        ),
        (
            event("e", "Response", &t(30, 0), &t(30, 0)),
            "ordering/stage-unknown",
        ),
        (
            event("f", "RequestReceived", "yesterday", "today"),
            "ordering/timestamp-missing",
        ),
    ];
    for (event, rule) in &cases {
        let ack = service
            .send("eu", &list(std::slice::from_ref(event)))
            .json();
        assert_eq!(
            (&ack["accepted"], &ack["rejected"]),
            (&json!(0), &json!(1)),
            "{rule}"
        );
        let (valid, rules) = last_rules(&service);
        assert!(
            !valid && rules.contains(&(*rule).to_string()),
            "{rule}: {rules:?}"
        );
    }
    // A reversal over two blocks: complete before started, both after received.
    let started = event("g", "ResponseStarted", &t(31, 0), &t(31, 9));
    let complete = event("g", "ResponseComplete", &t(31, 0), &t(31, 5));
    assert_eq!(service.send("eu", &list(&[started])).json()["accepted"], 1);
    assert_eq!(
        service
            .send("eu", &list(std::slice::from_ref(&complete)))
            .json()["rejected"],
        1
    );
    assert!(
        last_rules(&service)
            .1
            .contains(&"ordering/stage-order".to_string())
    );
    // The same stage at the same time with other content.
    let mut other = complete;
    other["user"]["username"] = json!("mallory");
    assert_eq!(service.send("eu", &list(&[other])).json()["rejected"], 1);
    assert!(
        last_rules(&service)
            .1
            .contains(&"ordering/stage-conflict".to_string())
    );
    // A sender whose clock ran ahead does not make its later events backdated.
    let later = event("h", "RequestReceived", &t(32, 0), &t(32, 0));
    assert_eq!(service.send("eu", &list(&[later])).json()["accepted"], 1);

    let metrics = service.get("/metrics").text();
    assert!(
        metrics.contains(r#"auditchain_findings_total{policy="ordering",rule="future",severity=""#),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"auditchain_events_total{source="eu",outcome="rejected"} 8"#),
        "{metrics}"
    );
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let alerts = std::fs::read_to_string(log.with_extension("stderr")).unwrap();
    assert!(
        alerts.contains("auditchain::alert") && alerts.contains("rule=backdated"),
        "{alerts}"
    );
    // Rejected is evidence too: the log verifies.
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn a_forged_decision_is_found_by_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("rbac.json");
    std::fs::write(&snapshot, read(&data("rbac-dump.json.gz"))).unwrap();
    let service = PROGRAMS.start(
        &dir.path().join("log"),
        &["--rbac-snapshot", snapshot.to_str().unwrap()],
    );
    let mut event = event(
        "a",
        "ResponseComplete",
        "2026-11-21T08:00:00.000000Z",
        "2026-11-21T08:00:01.000000Z",
    );
    event["verb"] = json!("delete");
    event["requestURI"] = json!("/api/v1/namespaces/kube-system/secrets/x");
    event["objectRef"] =
        json!({"resource": "secrets", "namespace": "kube-system", "name": "x", "apiVersion": "v1"});
    event["responseStatus"] = json!({"code": 200});
    event["annotations"] = json!({
        "authorization.k8s.io/decision": "allow",
        "authorization.k8s.io/reason": "RBAC: allowed by ClusterRoleBinding \"system:discovery\" of ClusterRole \"system:discovery\" to Group \"system:authenticated\"",
    });
    let ack = service.send("eu", &list(&[event])).json();
    assert_eq!(ack["rejected"], 1, "{ack}");
    let (valid, rules) = last_rules(&service);
    assert!(
        !valid && rules.iter().any(|rule| rule.starts_with("rbac/")),
        "{rules:?}"
    );
}

#[test]
fn batch_signatures_are_verified_and_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let spki = key.verifying_key().to_public_key_der().unwrap();
    let body = bodies("bodies").swap_remove(2);
    let canonical: Vec<Vec<u8>> = auditchain_log::json::split_event_list(&body)
        .unwrap()
        .items
        .iter()
        .map(|item| {
            let mut out = vec![];
            auditchain_log::json::canonicalize(item, &mut out).unwrap();
            out
        })
        .collect();
    let digest = batch_digest(canonical.iter().map(Vec::as_slice));
    let count = u32::try_from(canonical.len()).unwrap();
    let send = |source: &str, sequence: &str, signed_sequence: u64| {
        let message = batch_message("eu", signed_sequence, count, &digest);
        assert!(message.starts_with(BATCH_MESSAGE_HEADER.as_bytes()));
        let signature: p256::ecdsa::Signature = key.sign(&message);
        let signature = STANDARD.encode(signature.to_der().as_bytes());
        let headers = [
            ("content-type", "application/json"),
            ("auditchain-batch-sequence", sequence),
            ("auditchain-batch-algorithm", "ecdsa-p256-sha256"),
            ("auditchain-batch-key", &STANDARD.encode(spki.as_bytes())),
            ("auditchain-batch-signature", &signature),
        ];
        service.post(&format!("/audit/{source}"), &headers, &body)
    };
    let batch_entry =
        |index: u64| service.get(&format!("/api/v1/entries/{index}")).json()["entry"].clone();

    let at = service.size();
    assert_eq!(send("eu", "1", 1).json()["accepted"], u64::from(count));
    let entry = batch_entry(at + 1);
    assert_eq!(
        (&entry["kind"], &entry["verdict"]["valid"]),
        (&json!("batch"), &json!(true))
    );
    assert_eq!(entry["batch"]["events"], u64::from(count));
    let finding = &entry["verdict"]["findings"][0];
    assert_eq!(finding["rule"], "batch-signature-verified");
    assert!(
        finding["sig"]
            .as_str()
            .unwrap()
            .starts_with("ecdsa-p256-sha256:")
    );

    // Signed for another source, and with another number: sealed as invalid.
    for (source, sequence, signed) in [("us", "1", 1), ("asia", "3", 2)] {
        let at = service.size();
        assert_eq!(send(source, sequence, signed).status, 200);
        let entry = batch_entry(at + 1);
        assert_eq!(entry["verdict"]["valid"], false, "{entry}");
        assert_eq!(
            entry["verdict"]["findings"][0]["rule"],
            "batch-signature-invalid"
        );
    }
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(
        code, 0,
        "the verdict says what the signature is worth: {report:#}"
    );
    assert_eq!(report["kinds"]["batch"], 3, "{report:#}");
}

/// What the log holds is compared with what comes after a restart, too.
#[test]
fn the_window_of_stages_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let t = |second: u32| format!("2026-11-21T06:30:{second:02}.000000Z");
    let service = PROGRAMS.start(&log, &[]);
    let started = event("a", "ResponseStarted", &t(0), &t(9));
    assert_eq!(service.send("eu", &list(&[started])).json()["accepted"], 1);
    assert!(service.stop().success());
    let service = PROGRAMS.start(&log, &[]);
    // Complete before it started; and another version of what is there.
    let complete = event("a", "ResponseComplete", &t(0), &t(8));
    assert_eq!(service.send("eu", &list(&[complete])).json()["rejected"], 1);
    assert_eq!(last_rules(&service).1, ["ordering/stage-order"]);
    let mut other = event("a", "ResponseStarted", &t(0), &t(9));
    other["user"]["username"] = json!("mallory");
    assert_eq!(service.send("eu", &list(&[other])).json()["rejected"], 1);
    let rules = last_rules(&service).1;
    assert!(
        rules.contains(&"ordering/stage-conflict".into()),
        "{rules:?}"
    );
    let keys = service.keys.clone();
    let (code, report) = PROGRAMS.verify_with(&["--re-execute"], &service.url, &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["reexecuted"]["different"], 0);
}
