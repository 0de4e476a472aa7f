//! The forwarder against the real service: rotation, restarts, kills of either side, a
//! service that is down, a full spool, refusals. Each line is in the log exactly once.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use auditchain_log::{EntryBundle, TILE_WIDTH};
use auditchain_test_disk::Rng;
use auditchain_tests::{Programs, Service, data, programs, read};
use serde_json::Value;

const PROGRAMS: Programs = programs!();
/// Kills of the forwarder, and of the service. `AUDITCHAIN_CRASH_ROUNDS` makes a long run
/// of it, `AUDITCHAIN_CRASH_SEED` another one.
const ROUNDS: u64 = 12;
/// A machine under load needs this long to do what takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";
/// So small batches that there are many of them.
const SMALL: &[&str] = &["--batch", "5"];

/// A node: its log file, the forwarder's key and state.
struct Node {
    dir: tempfile::TempDir,
    rotations: u32,
}

/// A running forwarder.
struct Forwarder {
    child: Child,
    stderr: PathBuf,
}

impl Node {
    fn new(algorithm: &str) -> Self {
        let node = Self {
            dir: tempfile::tempdir().unwrap(),
            rotations: 0,
        };
        fs::create_dir(node.path("log")).unwrap();
        let key = node.path("key.pem");
        let made = PROGRAMS.cli(&[
            "key",
            "new",
            "--sender",
            "--algorithm",
            algorithm,
            "-o",
            &key,
        ]);
        assert!(made.status.success(), "{made:?}");
        node
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn append(&self, lines: &[&[u8]]) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log/audit.log"))
            .unwrap();
        let text: Vec<u8> = lines
            .iter()
            .flat_map(|line| [line, &b"\n"[..]].concat())
            .collect();
        file.write_all(&text).unwrap();
    }

    /// As an apiserver does it.
    fn rotate(&mut self) -> String {
        self.rotations += 1;
        let name = format!("log/audit-2026-11-21T06-31-01.{:03}.log", self.rotations);
        let rotated = self.path(&name);
        fs::rename(self.path("log/audit.log"), &rotated).unwrap();
        self.append(&[]);
        rotated
    }

    fn command(&self, url: &str, more: &[&str]) -> Command {
        let mut command = Command::new(PROGRAMS.cli);
        command
            .args(["forward", "--source", "node-1", "--to", url])
            .args(["--file", &self.path("log/audit.log")])
            .args(["--key", &self.path("key.pem")])
            .args(["--state", &self.path("state")])
            .args([
                "--linger-ms",
                "20",
                "--retry-max-s",
                "1",
                "--breaker-failures",
                "3",
            ])
            .args(more)
            .stdin(Stdio::null());
        command
    }

    fn start(&self, url: &str, more: &[&str]) -> Forwarder {
        let stderr = self.dir.path().join("forward.stderr");
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&stderr)
            .unwrap();
        let child = self.command(url, more).stderr(file).spawn().unwrap();
        Forwarder { child, stderr }
    }

    fn once(&self, url: &str, more: &[&str]) -> Output {
        let mut command = self.command(url, more);
        command.arg("--once").output().unwrap()
    }

    fn status(&self) -> Value {
        let output = PROGRAMS.cli(&[
            "forward",
            "--status",
            "--output",
            "json",
            "--state",
            &self.path("state"),
        ]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Waits until the status is as wanted.
    fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what}: {status:#}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for_events(&self, events: usize) -> Value {
        self.wait_for("events", |status| status["totals"]["events"] == events)
    }
}

impl Forwarder {
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; what it said in its life and before.
    fn stop(mut self) -> String {
        let status = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        let status = self.child.wait().unwrap();
        let said = fs::read_to_string(&self.stderr).unwrap();
        assert_eq!(status.code(), Some(0), "{said}");
        said
    }
}

impl Drop for Forwarder {
    /// SIGKILL.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn recorded() -> Vec<Vec<u8>> {
    let all = read(&data("log/audit-log.jsonl.gz"));
    all.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

fn slices(lines: &[Vec<u8>]) -> Vec<&[u8]> {
    lines.iter().map(Vec::as_slice).collect()
}

/// The batch entries of a log.
fn batches(service: &Service) -> Vec<Value> {
    let size = usize::try_from(service.size()).unwrap();
    let mut batches = Vec::new();
    for (n, first) in (0..size).step_by(TILE_WIDTH).enumerate() {
        let width = TILE_WIDTH.min(size - first);
        let path = match width {
            TILE_WIDTH => format!("/tile/entries/{n:03}"),
            _ => format!("/tile/entries/{n:03}.p/{width}"),
        };
        let bundle = service.get(&path).bytes;
        let entries = EntryBundle::split(&bundle, width).unwrap().into_iter();
        batches.extend(
            entries
                .map(|entry| serde_json::from_slice::<Value>(entry).unwrap())
                .filter(|entry| entry["kind"] == "batch"),
        );
    }
    batches
}

/// The log has each of these lines once and nothing else, its batches are numbered from
/// 1 without a hole, and it verifies.
fn check(service: Service, log: &Path, lines: &[Vec<u8>]) {
    let sequences: Vec<u64> = batches(&service)
        .iter()
        .map(|entry| entry["batch"]["sequence"].as_u64().unwrap())
        .collect();
    let expected: Vec<u64> = (1..=sequences.len() as u64).collect();
    assert_eq!(sequences, expected);
    // By the other way they are the same events.
    let size = service.size();
    let file = log.with_extension("all.log");
    fs::write(&file, lines.join(&b'\n')).unwrap();
    let output = PROGRAMS.cli(&[
        "ingest",
        &service.url,
        file.to_str().unwrap(),
        "--source",
        "node-1",
        "--output",
        "json",
    ]);
    let totals: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(totals["duplicates"], lines.len(), "{totals:#}");
    assert_eq!(service.size(), size);
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["kinds"]["event"], lines.len(), "{report:#}");
}

#[test]
fn a_log_file_is_forwarded_through_rotations_and_restarts_in_signed_batches() {
    let lines = recorded();
    for (algorithm, name, compression) in [
        ("p256", "ecdsa-p256-sha256", "zstd"),
        ("sm2", "sm2-sm3", "gzip"),
    ] {
        {
            let mut node = Node::new(algorithm);
            let log = node.dir.path().join("service");
            let service = PROGRAMS.start(&log, &[]);
            let more = ["--compression", compression, "--batch", "150"];
            // Written before it starts, rotated while it runs and while it doesn't.
            node.append(&slices(&lines[..100]));
            let forwarder = node.start(&service.url, &more);
            node.append(&slices(&lines[100..500]));
            node.wait_for_events(500);
            node.append(&slices(&lines[500..700]));
            node.rotate();
            node.append(&slices(&lines[700..900]));
            node.wait_for_events(900);
            let said = forwarder.stop();
            assert!(said.contains("audit.log from byte 0"), "{said}");
            node.append(&slices(&lines[900..1000]));
            node.rotate();
            node.append(&slices(&lines[1000..1100]));
            node.rotate();
            node.append(&slices(&lines[1100..1200]));
            let output = node.once(&service.url, &more);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let status = node.wait_for_events(1200);
            assert_eq!(status["lagBytes"], 0, "{status:#}");
            assert_eq!(status["spool"]["batches"], 0, "{status:#}");
            assert_eq!(status["running"], false, "{status:#}");
            assert_eq!(status["totals"]["duplicates"], 0, "{status:#}");
            let batches = batches(&service);
            assert!(batches.len() >= 8);
            for entry in &batches {
                assert_eq!(entry["batch"]["algorithm"], name);
                assert_eq!(entry["source"], "node-1");
                if algorithm == "p256" {
                    assert_eq!(entry["verdict"]["valid"], true, "{entry:#}");
                }
            }
            check(service, &log, &lines[..1200]);
        }
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn every_line_is_there_once_whenever_forwarder_and_service_are_killed() {
    let rounds = from_environment("AUDITCHAIN_CRASH_ROUNDS", ROUNDS);
    let mut rng = Rng::new(from_environment("AUDITCHAIN_CRASH_SEED", 1));
    let recorded = recorded();
    let mut node = Node::new("p256");
    let log = node.dir.path().join("service");
    let mut service = Some(PROGRAMS.start(&log, &[]));
    let mut lines: Vec<Vec<u8>> = Vec::new();
    // What is rotated before the first start has begun is not asked for.
    let mut forwarder = Some(node.start(NOWHERE, SMALL));
    node.wait_for("begun", |status| status["running"] == true);
    drop(forwarder.take());
    for round in 0..rounds {
        if service.is_none() && rng.chance(70) {
            service = Some(PROGRAMS.start(&log, &[]));
        }
        let url = service.as_ref().map_or(NOWHERE, |service| &service.url);
        forwarder = forwarder.or_else(|| Some(node.start(url, SMALL)));
        for _ in 0..rng.below(4) {
            // Each line once, however many rounds: a number makes it another event.
            let count = usize::try_from(rng.below(100)).unwrap();
            let new: Vec<Vec<u8>> = (lines.len()..lines.len() + count)
                .map(|n| numbered(&recorded[n % recorded.len()], n))
                .collect();
            node.append(&slices(&new));
            lines.extend(new);
            if rng.chance(25) {
                node.rotate();
            }
        }
        // Most of it is under way.
        thread::sleep(Duration::from_millis(rng.below(700)));
        if rng.chance(40)
            && let Some(service) = service.take()
        {
            service.kill();
            thread::sleep(Duration::from_millis(rng.below(100)));
        }
        // A service that comes back has another port.
        if rng.chance(80) || service.is_none() {
            drop(forwarder.take());
        }
        let status = node.status();
        println!(
            "round {round}: {} lines, {} sent, {} in the spool",
            lines.len(),
            status["totals"]["events"],
            status["spool"]["batches"]
        );
    }
    drop(forwarder.take());
    let service = service.unwrap_or_else(|| PROGRAMS.start(&log, &[]));
    let output = node.once(&service.url, SMALL);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let status = node.status();
    assert_eq!(status["lost"], 0, "{status:#}");
    println!("{}", status["totals"]);
    check(service, &log, &lines);
}

#[test]
fn killed_between_acknowledgement_and_position_it_sends_the_same_again() {
    let lines = recorded();
    let node = Node::new("p256");
    let log = node.dir.path().join("service");
    let forwarder = node.start(NOWHERE, &["--batch", "30"]);
    node.append(&slices(&lines[..100]));
    node.wait_for("spooled", |status| {
        status["spool"]["batches"].as_u64() >= Some(4)
    });
    thread::sleep(Duration::from_millis(500));
    forwarder.kill();
    let (state, before) = (node.path("state"), node.path("before"));
    copy_dir(&state, &before);
    let service = PROGRAMS.start(&log, &[]);
    assert_eq!(node.once(&service.url, &[]).status.code(), Some(0));
    let (size, sent) = (service.size(), batches(&service));
    let count = sent.len();
    assert!(count >= 4);
    // What is on disk as if no answer had ever come; the lines are cut anew only where
    // they were not spooled yet.
    fs::remove_dir_all(&state).unwrap();
    copy_dir(&before, &state);
    node.append(&slices(&lines[100..120]));
    assert_eq!(node.once(&service.url, &[]).status.code(), Some(0));
    assert_eq!(node.status()["totals"]["duplicates"], 100);
    let again = batches(&service);
    assert_eq!(
        again[..4],
        sent,
        "nothing was added for what was sent again"
    );
    assert_eq!(again[count]["batch"]["sequence"], count + 1);
    // Seal, batch, and the new events.
    assert_eq!(service.size(), size + 22);
    check(service, &log, &lines[..120]);
}

fn copy_dir(from: &str, to: &str) {
    let status = Command::new("cp").args(["-r", from, to]).status().unwrap();
    assert!(status.success());
}

/// The event with another audit ID.
fn numbered(line: &[u8], n: usize) -> Vec<u8> {
    let text = String::from_utf8(line.to_vec()).unwrap();
    text.replacen("\"auditID\":\"", &format!("\"auditID\":\"{n}-"), 1)
        .into_bytes()
}

#[test]
fn while_the_service_is_down_it_spools_and_the_breaker_opens() {
    let lines = recorded();
    let node = Node::new("p256");
    let log = node.dir.path().join("service");
    let forwarder = node.start(NOWHERE, &["--batch", "100"]);
    node.append(&slices(&lines[..1000]));
    let size = fs::metadata(node.path("log/audit.log")).unwrap().len();
    let status = node.wait_for("spooled", |status| {
        status["process"]["reading"][1] == size && status["process"]["breaker"] == "open"
    });
    assert!(status["spool"]["batches"].as_u64() >= Some(9), "{status:#}");
    assert_eq!(status["running"], true);
    assert!(
        status["lagBytes"].as_u64().unwrap() > 1_000_000,
        "{status:#}"
    );
    // One that runs is not disturbed by another.
    let second = node.once(NOWHERE, &[]);
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another forwarder"));
    let said = forwarder.stop();
    assert!(said.contains("the circuit breaker is open"), "{said}");
    // What is spooled needs the log file no more.
    fs::remove_file(node.path("log/audit.log")).unwrap();
    node.append(&slices(&lines[1000..1100]));
    let service = PROGRAMS.start(&log, &[]);
    let output = node.once(&service.url, &[]);
    // That a file is gone is told all the same: nobody knows what more it had.
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("LOST"));
    assert_eq!(node.status()["spool"]["batches"], 0);
    check(service, &log, &lines[..1100]);
}

#[test]
fn a_full_spool_stops_reading_and_what_rotation_removes_is_told() {
    let lines = recorded();
    let mut node = Node::new("p256");
    let log = node.dir.path().join("service");
    let more = ["--batch", "50", "--spool-bytes", "30000"];
    let forwarder = node.start(NOWHERE, &more);
    node.append(&slices(&lines[..600]));
    let status = node.wait_for("stalled", |status| status["process"]["stalled"] == true);
    assert!(
        status["spool"]["bytes"].as_u64().unwrap() <= 30_000,
        "{status:#}"
    );
    node.rotate();
    node.append(&slices(&lines[600..800]));
    let unread = node.rotate();
    node.append(&slices(&lines[800..900]));
    thread::sleep(Duration::from_millis(2500));
    fs::remove_file(unread).unwrap();
    let status = node.wait_for("lost", |status| status["lost"] == 1);
    let lost = &status["lastLosses"][0];
    let bytes: usize = lines[600..800].iter().map(|line| line.len() + 1).sum();
    assert_eq!(lost["bytes"], bytes, "{status:#}");
    let said = forwarder.stop();
    assert!(said.contains("the spool is full: reading stops"), "{said}");
    assert!(said.contains("LOST: rotation removed"), "{said}");
    let text = PROGRAMS.cli(&["forward", "--status", "--state", &node.path("state")]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("LOST: 1 times") && text.contains("NOT RUNNING"),
        "{text}"
    );
    // The rest is forwarded, and the loss is told once.
    let service = PROGRAMS.start(&log, &[]);
    let output = node.once(&service.url, &more);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let there = [&lines[..600], &lines[800..900]].concat();
    check(service, &log, &there);
}

#[test]
fn truncation_and_noise_cost_no_event() {
    let lines = recorded();
    let node = Node::new("p256");
    let log = node.dir.path().join("service");
    let service = PROGRAMS.start(&log, &[]);
    let forwarder = node.start(&service.url, &[]);
    let cut = &lines[100][..lines[100].len() / 2];
    let first = [&slices(&lines[..100])[..], &[b"noise", b"", cut]].concat();
    node.append(&first);
    node.append(&slices(&lines[101..200]));
    node.wait_for_events(199);
    let file = node.path("log/audit.log");
    fs::copy(&file, node.path("log/audit.log.1")).unwrap();
    let live = fs::OpenOptions::new().write(true).open(&file).unwrap();
    live.set_len(0).unwrap();
    node.append(&slices(&lines[200..400]));
    let status = node.wait_for_events(399);
    assert_eq!(status["quarantined"], 2, "{status:#}");
    assert_eq!(status["lost"], 1, "{status:#}");
    let said = forwarder.stop();
    assert!(said.contains("truncated in place"), "{said}");
    let mut kept: Vec<Vec<u8>> = fs::read_dir(node.path("state/quarantine"))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    kept.sort_by_key(Vec::len);
    assert_eq!(kept, [b"noise".to_vec(), cut.to_vec()]);
    check(service, &log, &[&lines[..100], &lines[101..400]].concat());
}

#[test]
fn what_is_too_large_is_halved_and_what_is_refused_for_good_stops_nothing() {
    let lines = recorded();
    let node = Node::new("p256");
    let log = node.dir.path().join("service");
    let config = node.path("config.yaml");
    fs::write(
        &config,
        "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\nlimits: {bodyBytes: 65536}\n",
    )
    .unwrap();
    let service = PROGRAMS.start(&log, &["--config", &config]);
    let large = numbered(&lines[0], 7);
    let large = String::from_utf8(large).unwrap().replacen(
        "\"userAgent\":\"",
        &format!("\"userAgent\":\"{}", "x".repeat(70_000)),
        1,
    );
    node.append(&slices(&lines[..300]));
    node.append(&[large.as_bytes()]);
    node.append(&slices(&lines[300..600]));
    let output = node.once(&service.url, &["--batch", "400", "--compression", "none"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("too large for the service, sending halves"),
        "{said}"
    );
    assert!(said.contains("IS REFUSED FOR GOOD (1 events)"), "{said}");
    let status = node.status();
    assert_eq!(status["totals"]["events"], 600, "{status:#}");
    assert_eq!(status["refused"]["batches"], 1, "{status:#}");
    assert_eq!(status["spool"]["batches"], 0, "{status:#}");
    // Its number is missing, and only that.
    let sequences: Vec<u64> = batches(&service)
        .iter()
        .map(|entry| entry["batch"]["sequence"].as_u64().unwrap())
        .collect();
    let refused = fs::read_dir(node.path("state/refused")).unwrap();
    let refused: Vec<String> = refused
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".batch"))
        .collect();
    let number: u64 = refused[0][..16].parse().unwrap();
    let expected: Vec<u64> = (1..=sequences.len() as u64 + 1)
        .filter(|sequence| *sequence != number)
        .collect();
    assert_eq!(sequences, expected);
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["kinds"]["event"], 600);
}

#[test]
fn a_service_that_refuses_us_is_told_loudly_and_nothing_is_given_up() {
    let lines = recorded();
    let node = Node::new("p256");
    let log = node.dir.path().join("service");
    let config = node.path("config.yaml");
    // The SHA-256 of "abc".
    fs::write(
        &config,
        "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\nsources:\n- name: node-1\n  tokenSha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
    )
    .unwrap();
    let service = PROGRAMS.start(&log, &["--config", &config]);
    let token = node.path("token");
    fs::write(&token, "wrong").unwrap();
    node.append(&slices(&lines[..50]));
    let forwarder = node.start(&service.url, &["--token-file", &token]);
    node.wait_for("refused", |status| {
        status["process"]["lastError"]
            .as_str()
            .is_some_and(|error| error.starts_with("401"))
    });
    // A token that is replaced is taken up.
    fs::write(&token, "abc").unwrap();
    let status = node.wait_for_events(50);
    assert_eq!(status["refused"]["batches"], 0);
    let said = forwarder.stop();
    assert!(said.contains("THE SERVICE REFUSES US"), "{said}");
    assert!(!said.contains("wrong"), "{said}");
    check_signed_once(service, &log);
}

fn check_signed_once(service: Service, log: &Path) {
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["kinds"]["batch"], 1, "{report:#}");
}

#[test]
fn a_key_that_others_can_read_and_another_source_are_refused() {
    let node = Node::new("sm2");
    node.append(&[]);
    let key = node.path("key.pem");
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    mode(0o644);
    let output = node.once(NOWHERE, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("chmod 600"));
    mode(0o400);
    // Nothing to send: it needs no service.
    let output = node.once(NOWHERE, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = fs::read_to_string(node.path("state/position")).unwrap();
    fs::write(
        node.path("state/position"),
        text.replace("node-1", "node-2"),
    )
    .unwrap();
    let output = node.once(NOWHERE, &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("its own --state"));
}
