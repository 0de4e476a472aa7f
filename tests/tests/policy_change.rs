//! Policies, RBAC snapshot and signatures that change while events come in: no event is
//! lost, twice or judged by another set than the log says, and what can't be used changes
//! nothing.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use auditchain_log::{Entry, Payload, PolicySignature};
use auditchain_tests::{Answer, Programs, Service, data, programs, read, try_put};
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use serde_json::{Value, json};

const PROGRAMS: Programs = programs!();
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
/// Two looks at the files, and what a busy machine adds.
const LOOKS: Duration = Duration::from_secs(60);

/// `ordering` flags every event that is sent here, `signature` none.
fn write_policy(path: &Path, module: &str) {
    let text = format!(
        "apiVersion: auditchain.io/v1alpha1\nkind: VerificationPolicy\nmetadata: {{name: the-policy}}\nspec: {{module: 'builtin:{module}', mode: enforce}}\n"
    );
    // Renamed into place, as an editor does it.
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(more: &str) -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        files.configure(more);
        write_policy(&files.policy(), "ordering");
        files
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\npolicies: [policy.yaml]\n{more}"
        );
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    fn policy(&self) -> PathBuf {
        self.dir.path().join("policy.yaml")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn start(&self) -> Service {
        PROGRAMS.start(&self.log(), &["--config", self.config().to_str().unwrap()])
    }
}

fn event(id: u64) -> Vec<u8> {
    json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [{
        "auditID": id.to_string(), "level": "Metadata", "stage": "Unheard", "verb": "get",
        "requestReceivedTimestamp": "2026-11-21T06:30:00.000000Z",
        "stageTimestamp": "2026-11-21T06:30:00.000000Z",
    }]})
    .to_string()
    .into_bytes()
}

fn reload(service: &Service) -> Answer {
    service.post("/api/v1/policies/reload", JSON, b"")
}

fn wait_for(service: &Service, what: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + LOOKS;
    loop {
        let status = service.get("/api/v1/status").json();
        if what(&status) {
            return status;
        }
        assert!(Instant::now() < until, "{status:#}");
        sleep(Duration::from_millis(50));
    }
}

fn module_of(status: &Value) -> String {
    status["policies"][0]["module"].as_str().unwrap().to_owned()
}

/// Every block's events have the verdict of the policy that the log has in force for
/// it; how many events there are of each verdict, and how many policy entries.
fn judged_as_the_log_says(service: &Service, flagging_module: &str) -> (u64, u64, u64) {
    let (mut blocks, mut policies) = (Vec::<(Option<bool>, Vec<bool>)>::new(), 0);
    let mut ids = std::collections::BTreeSet::new();
    for index in 0..service.size() {
        let entry = service.get(&format!("/api/v1/entries/{index}")).json();
        let entry = serde_json::to_vec(&entry["entry"]).unwrap();
        let entry = Entry::parse(&entry).unwrap();
        let block = usize::try_from(entry.block).unwrap();
        blocks.resize_with(blocks.len().max(block + 1), Default::default);
        match entry.payload {
            Payload::Policy { policies: set, .. } => {
                policies += 1;
                assert!(blocks[block].1.is_empty(), "a change behind an event");
                blocks[block].0 = Some(set[0].module.to_string() == flagging_module);
            }
            Payload::Event { event, verdict, .. } => {
                assert!(ids.insert(event.audit_id.unwrap()), "an event twice");
                blocks[block].1.push(verdict.valid);
            }
            _ => {}
        }
    }
    let (mut flags, mut valid, mut invalid) = (false, 0, 0);
    for (block, (change, events)) in blocks.iter().enumerate() {
        flags = change.unwrap_or(flags);
        for event in events {
            assert_eq!(*event, !flags, "an event of block {block}");
            *(if *event { &mut valid } else { &mut invalid }) += 1;
        }
    }
    (valid, invalid, policies)
}

#[test]
fn under_load_each_event_is_judged_once_by_what_is_in_force() {
    let files = Files::new("");
    let mut service = files.start();
    let flagging = module_of(&service.get("/api/v1/status").json());
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let send = |service: &Service, from: u64| {
        let mut id = from;
        while !stop.load(Ordering::Relaxed) {
            let answer = service.send("eu", &event(id));
            assert_eq!(answer.status, 200, "{}", answer.text());
            sent.fetch_add(1, Ordering::Relaxed);
            id += 1;
        }
    };
    for round in 0_u64..2 {
        stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for sender in 1..=3 {
                let (send, service) = (&send, &service);
                scope.spawn(move || send(service, (round * 10 + sender) << 32));
            }
            // By the API, at once.
            for module in ["signature", "ordering", "signature"] {
                let before = sent.load(Ordering::Relaxed);
                write_policy(&files.policy(), module);
                let answer = reload(&service);
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert!(
                    answer.json()["entries"].as_u64() <= Some(1),
                    "{}",
                    answer.text()
                );
                while sent.load(Ordering::Relaxed) < before + 20 {
                    sleep(Duration::from_millis(5));
                }
            }
            // By the file alone.
            write_policy(&files.policy(), "ordering");
            wait_for(&service, |status| module_of(status) == flagging);
            let before = sent.load(Ordering::Relaxed);
            while sent.load(Ordering::Relaxed) < before + 20 {
                sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::Relaxed);
        });
        if round == 0 {
            assert!(service.stop().success());
            service = files.start();
        }
    }
    let (valid, invalid, policies) = judged_as_the_log_says(&service, &flagging);
    assert_eq!(valid + invalid, sent.load(Ordering::Relaxed));
    assert!(valid > 40 && invalid > 40, "{valid} {invalid}");
    // One at genesis; the watch may take up a change before the API is asked to.
    assert_eq!(policies, 1 + 2 * 4);
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(files.log().to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn what_can_not_be_used_changes_nothing_and_is_told() {
    let files = Files::new("");
    let service = files.start();
    let before = service.get("/api/v1/status").json();
    assert_eq!(before["policyError"], Value::Null);
    fs::write(files.policy(), "spec: {module: x, mode: off}\n").unwrap();
    let status = wait_for(&service, |status| !status["policyError"].is_null());
    assert_eq!(status["policies"], before["policies"]);
    assert_eq!(status["size"], before["size"]);
    let reason = status["policyError"]["reason"].as_str().unwrap();
    assert!(reason.contains("policy.yaml"), "{reason}");
    assert!(reload(&service).problem(422).contains("policy.yaml"));
    let metrics = service.get("/metrics").text();
    let failed = r#"auditchain_file_reloads_total{file="policies",outcome="failed"} 2"#;
    assert!(metrics.contains(failed), "{metrics}");
    assert_eq!(service.send("eu", &event(1)).json()["rejected"], 1);
    // The file as it was: nothing to write, and nothing to complain of.
    write_policy(&files.policy(), "ordering");
    let status = wait_for(&service, |status| status["policyError"].is_null());
    assert_eq!(status["policies"], before["policies"]);
    // A policy more, in the configuration.
    fs::copy(files.policy(), files.dir.path().join("other.yaml")).unwrap();
    files.configure("");
    let text = fs::read_to_string(files.config()).unwrap();
    fs::write(
        files.config(),
        text.replace("policy.yaml", "policy.yaml, other.yaml"),
    )
    .unwrap();
    let problem = reload(&service).problem(422);
    assert!(problem.contains("another policy of the set"), "{problem}");
    let other = fs::read_to_string(files.policy()).unwrap();
    let other = other.replace("the-policy", "other");
    fs::write(files.dir.path().join("other.yaml"), other).unwrap();
    let answer = reload(&service).json();
    assert_eq!(
        answer["policies"].as_array().map(Vec::len),
        Some(2),
        "{answer}"
    );
}

#[test]
fn an_rbac_snapshot_that_is_put_in_force_stays() {
    let files = Files::new("");
    let text = fs::read_to_string(files.policy()).unwrap();
    fs::write(files.policy(), text.replace("ordering", "rbac")).unwrap();
    let service = files.start();
    let snapshot = read(&data("rbac-dump.json.gz"));
    let put = |service: &Service, json: &[u8]| {
        try_put(&format!("{}/api/v1/rbac-snapshot", service.url), JSON, json).unwrap()
    };
    put(&service, b"{\"items\":").problem(400);
    put(&service, b"[]").problem(400);
    // The guest reads further than the service.
    let refused = put(&service, br#"{"items":[{"kind":"ClusterRole","rules":7}]}"#);
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(
        service.get("/api/v1/status").json()["rbacSnapshot"],
        Value::Null
    );
    let answer = put(&service, &snapshot);
    assert_eq!(
        (answer.status, &answer.json()["entries"]),
        (200, &json!(1)),
        "{}",
        answer.text()
    );
    assert_eq!(put(&service, &snapshot).json()["entries"], 0);
    let in_force = service.get("/api/v1/status").json()["rbacSnapshot"].clone();
    let digest = in_force["digest"].as_str().unwrap();
    assert_eq!(
        service.get(&format!("/api/v1/blobs/sha256/{digest}")).bytes,
        snapshot
    );
    assert!(service.stop().success());
    let service = files.start();
    assert_eq!(
        service.get("/api/v1/status").json()["rbacSnapshot"],
        in_force
    );
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(files.log().to_str().unwrap(), &keys);
    assert_eq!(
        (code, &report["kinds"]["rbac"]),
        (0, &json!(1)),
        "{report:#}"
    );
    // Where a file says which one is in force, nothing else does.
    fs::write(files.dir.path().join("rbac.json"), &snapshot).unwrap();
    files.configure("rbacSnapshot: rbac.json\n");
    let service = files.start();
    assert!(put(&service, &snapshot).problem(409).contains("rbac.json"));
}

#[test]
fn policies_must_be_signed_where_signers_are_named() {
    let key = |seed: u8| {
        let key = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
        let public = key.public_key().to_public_key_pem(LineEnding::LF).unwrap();
        (
            key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string(),
            public,
        )
    };
    let ((signer, public), (other, _)) = (key(7), key(8));
    let files = Files::new("policySigners: [signer.pub]\n");
    fs::write(files.dir.path().join("signer.pub"), public).unwrap();
    let keys = ["signer.pem", "other.pem"].map(|name| files.dir.path().join(name));
    for (path, pem) in keys.iter().zip([&signer, &other]) {
        fs::write(path, pem).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let sign = |key: &Path| {
        let (policy, key) = (files.policy(), key.to_str().unwrap());
        let output = PROGRAMS.cli(&["policy", "sign", policy.to_str().unwrap(), "--key", key]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let refused = || {
        let config = files.config();
        let start = PROGRAMS.try_start(&files.log(), &["--config", config.to_str().unwrap()]);
        let (status, said) = start.unwrap_err();
        assert!(!status.success());
        said
    };
    assert!(
        refused().contains("it is not signed: there is no"),
        "{}",
        refused()
    );
    sign(&keys[1]);
    assert!(
        refused().contains("not among the policy signers"),
        "{}",
        refused()
    );
    sign(&keys[0]);
    let service = files.start();
    let text = fs::read_to_string(files.policy().with_extension("yaml.sig")).unwrap();
    let digest = PolicySignature::parse(&text).unwrap().signer().digest();
    let status = service.get("/api/v1/status").json();
    assert_eq!(status["policies"][0]["signer"], digest.to_string());
    // Changed, and not signed again.
    write_policy(&files.policy(), "signature");
    assert!(
        reload(&service)
            .problem(422)
            .contains("changed after they were signed")
    );
    assert_eq!(
        service.get("/api/v1/status").json()["policies"],
        status["policies"]
    );
    sign(&keys[0]);
    assert_eq!(reload(&service).json()["entries"], 1);
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(files.log().to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    // The built-in set has no signature.
    let text = fs::read_to_string(files.config()).unwrap();
    fs::write(
        files.config(),
        text.replace("policies: [policy.yaml]\n", ""),
    )
    .unwrap();
    assert!(refused_usage(&files).contains("requireSignedPolicies"));
}

fn refused_usage(files: &Files) -> String {
    let output = std::process::Command::new(PROGRAMS.service)
        .arg("--data")
        .arg(files.log())
        .arg("--config")
        .arg(files.config())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}
