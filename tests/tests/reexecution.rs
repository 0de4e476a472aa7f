//! `verify --re-execute`: every verdict of a real log comes out again, from its directory
//! and over HTTP; and what the log's operator, who has its keys, changes about a verdict is
//! named, though nothing else about the log is wrong.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::path::Path;

use auditchain_cli::{
    AuditOptions, BodyRef, DirLog, HeadClaim, LogSource, Report, Rule, Run, SourceError, audit,
};
use auditchain_log::{
    ChainHash, Checkpoint, Entry, Finding, Hash, Payload, SealRecord, Severity, SignerKey, TileId,
    TreeEdge, Verdict, leaf_hash, sign_note,
};
use auditchain_tests::{Programs, bodies, data, programs, read, renamed};
use serde_json::Value;

const PROGRAMS: Programs = programs!();

/// Another set than the default one: ordering alone, and it minds a late event early.
const STRICT: &str = "apiVersion: auditchain.io/v1alpha1
kind: VerificationPolicy
metadata: {name: strict}
spec:
  module: builtin:ordering
  mode: observe
  settings: {windowSeconds: 1, skewSeconds: 1}
";

/// A log with recorded and hostile events, findings, erased bodies and a change of
/// policies. Returns how many bodies were erased.
fn make(log: &Path, aside: &Path) -> (Vec<String>, u64) {
    let snapshot = aside.join("rbac.json");
    std::fs::write(&snapshot, read(&data("rbac-dump.json.gz"))).unwrap();
    let snapshot = snapshot.to_str().unwrap();
    let service = PROGRAMS.start(log, &["--rbac-snapshot", snapshot]);
    for body in bodies("bodies").into_iter().take(5) {
        assert_eq!(service.send("eu", &body).status, 200);
    }
    for body in bodies("edge") {
        assert_eq!(service.send("edge", &body).status, 200);
    }
    // One that is refused: a response before its request.
    let event = serde_json::json!({
        "level": "Metadata", "auditID": "x", "stage": "ResponseComplete", "verb": "list",
        "requestURI": "/api/v1/pods", "user": {"username": "jane"},
        "requestReceivedTimestamp": "2026-11-21T06:30:02.000000Z",
        "stageTimestamp": "2026-11-21T06:30:01.000000Z",
    });
    let list = serde_json::json!({
        "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [event],
    });
    let answer = service.send("eu", list.to_string().as_bytes());
    assert_eq!(answer.json()["rejected"], 1);
    let request = serde_json::json!({ "entries": [[100, 140]], "by": "dpo", "reason": "17" });
    let json = [("content-type", "application/json")];
    let answer = service.post("/api/v1/erasures", &json, request.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let erased = answer.json()["erased"].as_u64().unwrap();
    let keys = service.keys.clone();
    assert!(service.stop().success());

    std::fs::write(aside.join("strict.yaml"), STRICT).unwrap();
    let config = aside.join("config.yaml");
    let text = "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\npolicies: [strict.yaml]\n";
    std::fs::write(&config, text).unwrap();
    let service = PROGRAMS.start(log, &["--config", config.to_str().unwrap()]);
    for body in bodies("truncated") {
        assert_eq!(service.send("eu", &body).status, 200);
    }
    let late = renamed(&bodies("bodies")[2], 7);
    assert_eq!(service.send("eu", &late).status, 200);
    let target = service.url.clone();
    let (code, report) = PROGRAMS.verify_with(&["--re-execute"], &target, &keys);
    assert_reexecuted(code, &report, erased);
    assert!(service.stop().success());
    (keys, erased)
}

fn assert_reexecuted(code: i32, report: &Value, erased: u64) {
    assert_eq!(code, 0, "{report:#}");
    let done = &report["reexecuted"];
    assert_eq!(done["different"], 0, "{done}");
    assert_eq!(done["notReproducible"], 0, "{done}");
    assert_eq!(done["withoutBody"], erased, "{done}");
    let kinds = &report["kinds"];
    let of = |kind: &str| kinds[kind].as_u64().unwrap_or_default();
    let all = of("event") + of("batch") + of("seal");
    assert_eq!(done["identical"], all - erased, "{done}");
    // Not all verdicts are plain, or this would show little.
    let rules = report["policies"].as_object().unwrap();
    assert!(rules.len() > 4, "{rules:?}");
    assert!(rules.contains_key("strict/backdated"), "{rules:?}");
}

#[test]
fn every_verdict_comes_out_again_and_a_changed_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let (keys, erased) = make(&log, dir.path());
    let (code, report) = PROGRAMS.verify_with(&["--re-execute"], log.to_str().unwrap(), &keys);
    assert_reexecuted(code, &report, erased);
    // Without the option nothing of it is said.
    let (_, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert!(report.get("reexecuted").is_none());

    let honest = DirLog::open(&log).unwrap();
    let signers = signers(&log);
    // As it is, rewritten: the forger's tools change nothing by themselves.
    assert!(verify(&Forged::new(&honest, &signers, |_, _| {})).holds);

    // Two plain events, two with findings and the one that is refused.
    let (mut plain, mut found, mut refused) = (vec![], vec![], vec![]);
    let _ = Forged::new(&honest, &signers, |index, entry| {
        let Payload::Event { verdict, .. } = &entry.payload else {
            return;
        };
        match (verdict.valid, verdict.findings.is_empty()) {
            (true, true) if index > 200 => plain.push(index),
            (true, false) if index > 200 => found.push(index),
            (false, _) => refused.push(index),
            _ => {}
        }
    });
    let changes: [(u64, Change); 5] = [
        (plain[0], |verdict| verdict.valid = false),
        (plain[1], |verdict| {
            verdict.findings.push(Finding {
                policy: "rbac".into(),
                rule: "secret-read".into(),
                severity: Severity::Medium,
                sig: None,
            });
        }),
        (found[0], |verdict| verdict.findings.clear()),
        (found[1], |verdict| {
            verdict.findings[0].severity = Severity::Critical;
        }),
        (refused[0], |verdict| verdict.valid = true),
    ];
    let forged = Forged::new(&honest, &signers, |index, entry| {
        let change = changes.iter().find(|(at, _)| *at == index);
        if let Payload::Event { verdict, .. } = &mut entry.payload
            && let Some((_, change)) = change
        {
            change(verdict);
        }
    });
    // All the rest follows from what was changed: only re-execution finds it.
    let options = AuditOptions {
        re_execute: false,
        ..options(&forged)
    };
    assert!(audit(&forged, &options, |_, _| {}).unwrap().holds);
    let report = verify(&forged);
    let mut expected: Vec<_> = changes
        .iter()
        .map(|(index, _)| (Rule::Verdict, Some(*index)))
        .collect();
    expected.sort_unstable();
    let named: Vec<_> = report
        .findings
        .kept
        .iter()
        .map(|finding| (finding.rule, finding.index))
        .collect();
    assert_eq!(named, expected, "{:?}", report.findings);
    for finding in &report.findings.kept {
        let detail = &finding.detail;
        assert!(detail.contains("sealed verdict is") && detail.contains("re-executed it is"));
    }
}

type Change = fn(&mut Verdict);

fn options(forged: &Forged<'_>) -> AuditOptions {
    AuditOptions {
        keys: forged.vkeys.clone(),
        re_execute: true,
        workers: 2,
        ..AuditOptions::default()
    }
}

fn verify(forged: &Forged<'_>) -> Report {
    audit(forged, &options(forged), |_, _| {}).unwrap()
}

fn signers(log: &Path) -> Vec<SignerKey> {
    let note = std::fs::read_to_string(log.join("checkpoint")).unwrap();
    let origin = note.lines().next().unwrap();
    ["log-p256.pem", "log-ed25519.pem"]
        .map(|file| {
            let pem = std::fs::read_to_string(log.join("keys").join(file)).unwrap();
            SignerKey::from_pem(origin, &pem).unwrap()
        })
        .into()
}

/// A log rewritten by whoever has its keys.
struct Forged<'a> {
    honest: &'a DirLog,
    vkeys: Vec<auditchain_log::VerifierKey>,
    entries: Vec<Vec<u8>>,
    bodies: Vec<Option<([u8; 32], Vec<u8>)>>,
    tiles: BTreeMap<TileId, Vec<u8>>,
    note: String,
}

impl<'a> Forged<'a> {
    fn new(
        honest: &'a DirLog,
        signers: &[SignerKey],
        mut change: impl FnMut(u64, &mut Entry),
    ) -> Self {
        let head = honest.head().unwrap().unwrap();
        let origin = signers[0].verifier().name().to_string();
        let mut chain = ChainHash::genesis(&origin);
        let mut edge = TreeEdge::default();
        let (mut entries, mut bodies, mut tiles) = (vec![], vec![], vec![]);
        let sign = |edge: &TreeEdge| {
            let checkpoint = Checkpoint {
                origin: origin.clone(),
                size: edge.size(),
                root: edge.root(),
            };
            sign_note(&checkpoint.to_text(), signers)
        };
        while (entries.len() as u64) < head.size {
            let run = honest.run(entries.len() as u64, head.size).unwrap();
            for (bytes, body) in run.iter() {
                let mut entry = Entry::parse(bytes).unwrap();
                entry.prev = chain.hash();
                if let Payload::Seal { seal, .. } = &mut entry.payload {
                    *seal = SealRecord { note: sign(&edge) };
                }
                change(entries.len() as u64, &mut entry);
                let bytes = entry.encode().unwrap();
                chain = chain.next(&bytes);
                edge.push(leaf_hash(&bytes), &mut tiles);
                entries.push(bytes);
                bodies.push(body.map(|body| (*body.salt, body.bytes.to_vec())));
            }
        }
        Self {
            honest,
            vkeys: signers.iter().map(|key| key.verifier().clone()).collect(),
            note: sign(&edge),
            entries,
            bodies,
            tiles: tiles.into_iter().collect(),
        }
    }
}

impl LogSource for Forged<'_> {
    fn name(&self) -> &str {
        "forged"
    }

    fn note(&self) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(Some(self.note.clone().into_bytes()))
    }

    fn vkeys(&self) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    fn head(&self) -> Result<Option<HeadClaim>, SourceError> {
        Ok(None)
    }

    fn run(&self, from: u64, to: u64) -> Result<Run, SourceError> {
        let mut run = Run::new(from);
        for index in from..to.min(from + 64) {
            let at = usize::try_from(index).unwrap();
            let body = self.bodies[at].as_ref();
            let body = body.map(|(salt, bytes)| BodyRef { salt, bytes });
            run.push(&self.entries[at], body);
        }
        Ok(run)
    }

    fn tile(&self, id: TileId, width: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let tile = self.tiles.get(&id);
        Ok(tile.map(|tile| tile[..tile.len().min(width * Hash::LEN)].to_vec()))
    }

    fn has_partial_tiles(&self) -> bool {
        false
    }

    fn blob(&self, digest: &Hash) -> Result<Option<Vec<u8>>, SourceError> {
        self.honest.blob(digest)
    }
}
