//! The verbs over HTTP against a small server: honest, damaged, hostile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use auditchain_cli::{AuditOptions, Client, HttpLog, LogSource as _, Rule, SourceError, audit};
use auditchain_log::{
    Entry, Hash, LeafIndex, NodeReader, Payload, TreeSize, inclusion_proof, leaf_hash,
};
use serde_json::Value;
use support::server::{Answer, read_api, serve, serve_with_head};
use support::*;

fn auditchain(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_auditchain"))
        .args(args)
        .env_remove("AUDITCHAIN_TOKEN")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn vkey() -> String {
    keys()[0].verifier().to_string()
}

/// All nodes of a log, from its leaves.
struct Nodes(Vec<Hash>);

impl NodeReader for Nodes {
    type Error = ();

    fn node(&self, level: u8, index: u64) -> Result<Hash, ()> {
        let first = usize::try_from(index << level).unwrap();
        Ok(auditchain_log::tree_root(
            &self.0[first..first + (1 << level)],
        ))
    }
}

fn with_proofs(log: &MemoryLog, path: &str) -> Answer {
    let Some(query) = path.strip_prefix("/api/v1/proof/inclusion?index=") else {
        return read_api(log, path);
    };
    let (index, size) = query.split_once("&size=").unwrap();
    let nodes = Nodes(log.entries.iter().map(|entry| leaf_hash(entry)).collect());
    let proof = inclusion_proof(
        LeafIndex(index.parse().unwrap()),
        TreeSize(size.parse().unwrap()),
        &nodes,
    )
    .unwrap()
    .unwrap();
    let hashes: Vec<String> = proof.iter().map(|hash| hash.to_base64()).collect();
    (
        200,
        String::new(),
        serde_json::to_vec(&serde_json::json!({ "hashes": hashes })).unwrap(),
    )
}

fn serve_log(log: MemoryLog) -> String {
    serve(move |_, path, _| with_proofs(&log, path))
}

#[test]
fn a_log_is_verified_over_http() {
    let url = serve_log(honest());
    let output = auditchain(&["verify", &url, "--key", &vkey()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    for expected in [
        "HOLDS",
        "The verified checkpoint:",
        "With --re-execute",
        "event",
        "602",
        "eu",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.ends_with(std::str::from_utf8(&honest().note.unwrap()).unwrap()));
    assert!(!text.contains('\u{1b}') && output.stderr.is_empty());
    let report = json(&auditchain(&["verify", &url, "--output", "json"]));
    assert_eq!(
        (report["holds"].as_bool(), report["entries"].as_u64()),
        (Some(true), Some(SIZE))
    );
    assert_eq!(report["tilesVerified"], 4);
    assert_eq!(report["bodiesVerified"], BLOCKS * 44);
    assert!(
        report["notChecked"][0]
            .as_str()
            .unwrap()
            .starts_with("WHOSE LOG THIS IS")
    );
}

#[test]
fn partial_tiles_that_were_removed_are_taken_from_the_full_ones() {
    let log = honest();
    let at = usize::try_from(seal_index(7)).unwrap();
    let Payload::Seal { seal, .. } = Entry::parse(&log.entries[at]).unwrap().payload else {
        panic!()
    };
    // The log has grown past the checkpoint that is verified; partial tiles are gone.
    let url = serve(move |_, path, _| match path {
        "/checkpoint" => (200, String::new(), seal.note.clone().into_bytes()),
        path if path.contains("/001.p/") => (404, String::new(), b"gone".to_vec()),
        path => with_proofs(&log, path),
    });
    let report = json(&auditchain(&[
        "verify",
        &url,
        "--key",
        &vkey(),
        "--output",
        "json",
    ]));
    assert_eq!(report["findings"]["total"], 0, "{report:#}");
    assert_eq!(report["entries"], seal_index(7));
}

#[test]
fn what_is_wrong_is_printed_with_its_place_and_exit_code_1() {
    let mut log = honest();
    let index = event_index(2, 3);
    log.bodies[usize::try_from(index).unwrap()]
        .as_mut()
        .unwrap()
        .1[3] ^= 1;
    let url = serve_log(log);
    let output = auditchain(&["verify", &url, "--key", &vkey()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(
        text.contains("FAILED") && text.contains(&format!("entry {index} (block 2): [body]")),
        "{text}"
    );
    assert!(!text.contains("verified checkpoint:"));
    let report = json(&auditchain(&[
        "verify",
        &url,
        "--output",
        "json",
        "--key",
        &vkey(),
    ]));
    assert_eq!(report["findings"]["kept"][0]["index"], index);
    assert_eq!(report["findings"]["kept"][0]["rule"], "body");
}

#[test]
fn since_is_read_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let since = dir.path().join("since");
    fs::write(&since, honest().note.unwrap()).unwrap();
    let since = since.to_str().unwrap();
    let url = serve_log(honest());
    let output = auditchain(&["verify", &url, "--key", &vkey(), "--since", since]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let url = serve_log(build_with(&mut |_, _| {}, 9, "list", keys()));
    let output = auditchain(&["verify", &url, "--key", &vkey(), "--since", since]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("HISTORY WAS REWRITTEN"));
    let output = auditchain(&["verify", &url, "--since", "/does/not/exist"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_server_that_can_not_be_asked_says_nothing_about_the_log() {
    let output = auditchain(&["verify", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("is auditchaind running there?")
    );
    let url = serve(|_, _, _| (503, String::new(), b"{\"detail\":\"stopping\"}".to_vec()));
    assert_eq!(auditchain(&["verify", &url]).status.code(), Some(2));
    for bad in ["https://127.0.0.1", "nonsense://x", "/does/not/exist"] {
        let output = auditchain(&["verify", bad, "--output", "json"]);
        assert_eq!(output.status.code(), Some(2), "{bad}");
        assert_eq!(json(&output)["exitCode"], 2);
    }
}

#[test]
fn a_server_that_answers_nonsense_fails_verification_in_bounded_memory() {
    let log = honest();
    type Bend = fn(&str, Answer) -> Answer;
    let bends: [(Bend, Rule); 6] = [
        (
            |path, a| {
                if path.starts_with("/tile/entries/001") {
                    (500, String::new(), vec![])
                } else {
                    a
                }
            },
            Rule::Unreadable,
        ),
        (
            |path, a| {
                if path.starts_with("/tile/entries/001") {
                    (200, String::new(), vec![0; 100])
                } else {
                    a
                }
            },
            Rule::Unreadable,
        ),
        (
            |path, a| {
                if path.starts_with("/api/v1/bodies?from=256") {
                    (200, String::new(), b"{\"next\":256}\n".to_vec())
                } else {
                    a
                }
            },
            Rule::Body,
        ),
        (
            |path, a| {
                if path.starts_with("/api/v1/blobs") {
                    (200, String::new(), vec![1; 10])
                } else {
                    a
                }
            },
            Rule::Value,
        ),
        (
            |path, a| {
                if path.starts_with("/tile/0/000") {
                    (200, String::new(), vec![0; 8193])
                } else {
                    a
                }
            },
            Rule::Tile,
        ),
        (
            |path, a| {
                if path == "/keys" {
                    (200, String::new(), vec![0xff])
                } else {
                    a
                }
            },
            Rule::Key,
        ),
    ];
    for (bend, rule) in bends {
        let served = log.clone();
        let url = serve(move |_, path, _| bend(path, read_api(&served, path)));
        let source = HttpLog::new(Client::new(&url).unwrap());
        let options = AuditOptions {
            keys: verifiers(&keys()),
            workers: 2,
            ..AuditOptions::default()
        };
        let report = audit(&source, &options, |_, _| {}).unwrap();
        assert!(
            !report.findings.is_empty() && report.findings.kept.iter().all(|f| f.rule == rule),
            "{rule:?}: {:#?}",
            report.findings.kept
        );
    }
    // More than any note, key list or bundle may have.
    let url = serve(|_, _, _| (200, String::new(), vec![b'x'; 20 << 20]));
    let source = HttpLog::new(Client::new(&url).unwrap());
    assert!(
        matches!(source.note(), Err(SourceError::Unavailable(why)) if why.contains("larger than"))
    );
    assert!(source.vkeys().is_err());
    assert!(source.run(0, 300).is_err());
}

#[test]
fn a_reader_s_token_is_sent_and_its_absence_is_no_verdict() {
    let log = honest();
    let url = serve_with_head(move |head, _, path, _| {
        let token = "authorization: bearer s3cret\r\n";
        if path.starts_with("/api/v1/bodies") && !head.to_lowercase().contains(token) {
            let detail = b"{\"detail\":\"bodies are for readers\"}".to_vec();
            return (401, String::new(), detail);
        }
        with_proofs(&log, path)
    });
    let index = event_index(2, 3).to_string();
    for args in [
        &["verify", &url, "--key", &vkey()][..],
        &["get", &url, &index, "--body"],
    ] {
        let with = |token: &str| {
            Command::new(env!("CARGO_BIN_EXE_auditchain"))
                .args(args)
                .env("AUDITCHAIN_TOKEN", token)
                .output()
                .unwrap()
        };
        assert_eq!(with("s3cret").status.code(), Some(0));
        for refused in [
            auditchain(args),
            with(""),
            with("other"),
            with("two words\n"),
        ] {
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            let why = String::from_utf8(refused.stderr).unwrap();
            assert!(why.contains("AUDITCHAIN_TOKEN") && !why.contains("two words"));
        }
    }
    for verb in ["verify", "get", "prove"] {
        assert!(stdout(&auditchain(&["help", verb])).contains("AUDITCHAIN_TOKEN"));
    }
}

#[test]
fn missing_bodies_are_found_over_http_too() {
    let mut log = honest();
    let index = event_index(2, 3);
    log.bodies[usize::try_from(index).unwrap()] = None;
    let url = serve_log(log);
    let output = auditchain(&["verify", &url]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(
        text.contains(&format!(
            "entry {index} (block 2): [body] the body is missing"
        )),
        "{text}"
    );
    let output = auditchain(&["verify", &url, "--bodies-may-be-missing"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_entry_is_shown_with_its_body() {
    let url = serve_log(honest());
    let index = event_index(2, 3).to_string();
    let output = auditchain(&["get", &url, &index, "--body"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(
        text.contains("\"kind\": \"event\"")
            && text.contains("\"auditID\": \"id-2003\"")
            && text.contains("salt"),
        "{text}"
    );
    let shown = json(&auditchain(&[
        "get", &url, &index, "--body", "--output", "json",
    ]));
    assert_eq!(shown["body"]["auditID"], "id-2003");
    assert_eq!(shown["entry"]["block"], 2);
    let raw = json(&auditchain(&[
        "get",
        &url,
        &(seal_index(3) - 1).to_string(),
        "--body",
        "--output",
        "json",
    ]));
    assert!(raw["bodyBase64"].is_string() && raw.get("body").is_none());
    assert_eq!(
        auditchain(&["get", &url, &SIZE.to_string()]).status.code(),
        Some(2)
    );
    let mut log = honest();
    log.bodies[usize::try_from(event_index(2, 3)).unwrap()]
        .as_mut()
        .unwrap()
        .0[0] ^= 1;
    let url = serve_log(log);
    assert_eq!(
        auditchain(&["get", &url, &index, "--body"]).status.code(),
        Some(1)
    );
    assert_eq!(auditchain(&["get", &url, &index]).status.code(), Some(0));
}

#[test]
fn a_proof_is_written_and_verified_offline() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (proof, entry) = (at("p"), at("e"));
    let url = serve_log(honest());
    for index in [0, 1, 255, 256, event_index(9, 9), SIZE - 1] {
        let output = auditchain(&[
            "prove",
            &url,
            "--index",
            &index.to_string(),
            "--key",
            &vkey(),
            "-o",
            &proof,
            "--entry-out",
            &entry,
        ]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let output = auditchain(&[
            "verify-proof",
            &proof,
            "--entry",
            &entry,
            "--key",
            &vkey(),
            "--output",
            "json",
        ]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(
            (
                json(&output)["index"].as_u64(),
                json(&output)["size"].as_u64()
            ),
            (Some(index), Some(SIZE))
        );
    }
    let stranger = stranger_keys()[0].verifier().to_string();
    assert_eq!(
        auditchain(&[
            "verify-proof",
            &proof,
            "--entry",
            &entry,
            "--key",
            &stranger
        ])
        .status
        .code(),
        Some(1)
    );
    assert_eq!(
        auditchain(&[
            "prove", &url, "--index", "3", "--key", &stranger, "-o", &proof
        ])
        .status
        .code(),
        Some(1)
    );
    assert_eq!(
        auditchain(&["prove", &url, "--index", &SIZE.to_string(), "-o", &proof])
            .status
            .code(),
        Some(2)
    );
    let mut bytes = fs::read(&entry).unwrap();
    bytes[20] ^= 1;
    fs::write(&entry, bytes).unwrap();
    assert_eq!(
        auditchain(&["verify-proof", &proof, "--entry", &entry, "--key", &vkey()])
            .status
            .code(),
        Some(1)
    );
    // Without a key it says so.
    let output = auditchain(&["prove", &url, "--index", "3", "-o", &proof]);
    assert!(stdout(&output).contains("WHOSE LOG THIS IS"));
    // A server whose entry is not the one in the tree.
    let mut log = honest();
    let honest = honest();
    log.entries[7] = log.entries[6].clone();
    let url = serve(move |_, path, _| {
        if path.starts_with("/api/") {
            with_proofs(&honest, path)
        } else {
            read_api(&log, path)
        }
    });
    let output = auditchain(&[
        "prove",
        &url,
        "--index",
        "7",
        "--key",
        &vkey(),
        "-o",
        &at("never"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!dir.path().join("never").exists());
}

#[test]
fn keys_are_shown() {
    let url = serve_log(honest());
    let shown = json(&auditchain(&["key", "show", &url, "--output", "json"]));
    let kinds: Vec<_> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["ECDSA P-256", "Ed25519"]);
    assert!(stdout(&auditchain(&["key", "show", &url])).starts_with(&vkey()));
}

#[test]
fn events_are_sent_retried_and_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.log");
    let event =
        |n: u32| format!("{{\"kind\":\"Event\",\"auditID\":\"{n}\",\"stage\":\"Panic\"}}\n");
    let text: String = (0..5).map(event).collect::<String>() + "cut off {\n";
    fs::write(&file, text).unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let url = serve(move |method, path, body| {
        assert_eq!((method, path), ("POST", "/audit/eu"));
        let items = auditchain_log::json::split_event_list(body)
            .unwrap()
            .items
            .len();
        match seen.fetch_add(1, Ordering::SeqCst) {
            0 => (
                503,
                "Retry-After: 1\r\n".into(),
                b"{\"detail\":\"full\"}".to_vec(),
            ),
            2 => (
                400,
                String::new(),
                b"{\"detail\":\"I don't like it\"}".to_vec(),
            ),
            _ => (
                200,
                String::new(),
                format!("{{\"accepted\":{items},\"rejected\":0,\"duplicates\":1,\"size\":9}}")
                    .into_bytes(),
            ),
        }
    });
    let output = auditchain(&[
        "ingest",
        &url,
        file.to_str().unwrap(),
        "--source",
        "eu",
        "--batch",
        "2",
        "--output",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let totals = json(&output);
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    for (name, expected) in [
        ("requests", 2),
        ("accepted", 3),
        ("duplicates", 2),
        ("refused", 1),
        ("skipped", 1),
        ("size", 9),
    ] {
        assert_eq!(totals[name], expected, "{name}: {totals}");
    }
    let warnings = String::from_utf8(output.stderr).unwrap();
    assert!(
        warnings.contains("lines 3 to 4 were refused: 400: I don't like it")
            && warnings.contains("line 6 was not sent"),
        "{warnings}"
    );
    assert_eq!(
        auditchain(&["ingest", &url, "/does/not/exist"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        auditchain(&["ingest", &url, file.to_str().unwrap(), "--source", "a/b"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn without_a_verb_it_says_what_to_do_next() {
    let output = auditchain(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("auditchain verify http"));
    assert!(stdout(&auditchain(&["--version"])).starts_with("auditchain "));
    assert_eq!(auditchain(&["nonsense"]).status.code(), Some(2));
}
