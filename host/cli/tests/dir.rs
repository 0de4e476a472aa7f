//! The verifier over a data directory: the real store, whole and damaged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use auditchain_cli::{
    AuditOptions, DirLog, Finding, LogSource as _, Report, Rule, SourceError, audit,
};
use auditchain_log::Entry;
use auditchain_store::{HeadFile, SledStore};
use support::data_dir::{UNNAMED, files, write};
use support::*;

fn options() -> AuditOptions {
    AuditOptions {
        keys: verifiers(&keys()),
        workers: 2,
        ..AuditOptions::default()
    }
}

fn auditchain(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_auditchain"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn a_data_directory_is_verified_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &honest());
    let before = files(dir.path());
    let report = audit(&DirLog::open(dir.path()).unwrap(), &options(), |_, _| {}).unwrap();
    assert!(report.holds, "{:#?}", report.findings.kept);
    assert_eq!(
        (
            report.entries,
            report.tiles_verified,
            report.values_verified
        ),
        (SIZE, 2, 3)
    );
    assert_eq!(report.bodies_verified, BLOCKS * 44);
    let path = dir.path().to_str().unwrap();
    let output = auditchain(&["verify", path, "--key", &keys()[1].verifier().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = auditchain(&["key", "show", path]);
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(&keys()[1].verifier().to_string())
    );
    let output = auditchain(&["get", path, "5", "--body"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(files(dir.path()) == before, "the original was changed");
}

fn verify(dir: &Path) -> Report {
    audit(&DirLog::open(dir).unwrap(), &options(), |_, _| {}).unwrap()
}

fn sealed(log: &MemoryLog, block: u64) -> Vec<u8> {
    let bytes = &log.entries[usize::try_from(seal_index(block)).unwrap()];
    let auditchain_log::Payload::Seal { seal, .. } = Entry::parse(bytes).unwrap().payload else {
        panic!()
    };
    seal.note.into_bytes()
}

#[test]
fn entries_past_the_file_checkpoint_are_signed_in_the_head_or_found() {
    let dir = tempfile::tempdir().unwrap();
    let log = honest();
    write(dir.path(), &log);
    // The checkpoint of a block before, as a crash between commit and publication leaves
    // it: the head's own covers the rest.
    let older = sealed(&log, BLOCKS);
    HeadFile::new(dir.path()).write(&older).unwrap();
    let report = verify(dir.path());
    assert!(report.holds, "{:#?}", report.findings.kept);
    assert_eq!(report.checkpoint.unwrap().size, SIZE);
    // Whoever has the disk and no key appends a block: the best there is to sign it with
    // is an older note.
    let dir = tempfile::tempdir().unwrap();
    let mut log = log;
    log.note = Some(older);
    write(dir.path(), &log);
    let report = verify(dir.path());
    let found: Vec<_> = report
        .findings
        .kept
        .iter()
        .map(|f| (f.rule, f.index, f.last_index))
        .collect();
    let unsigned = (Some(seal_index(BLOCKS)), Some(SIZE - 1));
    assert_eq!(found, [(Rule::Checkpoint, unsigned.0, unsigned.1)]);
}

#[test]
fn a_log_that_was_cut_back_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let whole = honest();
    let mut genesis = whole.clone();
    genesis
        .entries
        .truncate(usize::try_from(GENESIS_ENTRIES).unwrap());
    genesis.bodies.truncate(genesis.entries.len());
    genesis.note = Some(sealed(&whole, 1));
    write(dir.path(), &genesis);
    assert!(verify(dir.path()).holds);
    let kept = whole.note.as_deref().unwrap();
    HeadFile::new(dir.path()).write(kept).unwrap();
    let report = verify(dir.path());
    assert!(report.findings.kept[0].detail.contains("ROLLBACK"));
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let report = verify(dir.path());
    assert!(!report.holds);
    let detail = &report.findings.kept[0].detail;
    assert!(
        detail.contains("the file checkpoint is missing"),
        "{detail}"
    );
}

#[test]
fn a_missing_body_is_found_unless_it_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = honest();
    let index = event_index(3, 1);
    log.bodies[usize::try_from(index).unwrap()] = None;
    write(dir.path(), &log);
    let path = dir.path().to_str().unwrap();
    let output = auditchain(&["verify", path]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!(
            "entry {index} (block 3): [body] the body is missing"
        )),
        "{text}"
    );
    let output = auditchain(&["verify", path, "--bodies-may-be-missing"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn damage_to_a_value_that_no_entry_names_is_found() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &honest());
    let log = DirLog::open(dir.path()).unwrap();
    let names = log.value_names().unwrap();
    // And the dictionary, which the store keeps by itself.
    assert_eq!(names.len(), 3 + UNNAMED.len() + 1);
    for (name, value) in UNNAMED {
        assert_eq!(log.named_value(name).unwrap().as_deref(), Some(value));
    }
    drop(log);
    // Changed through sled, which finds nothing wrong with it: the last byte is the
    // value's own, which its checksum covers.
    let sled = || {
        let config = sled::Config::new()
            .path(dir.path().join("store"))
            .segment_size(4 << 20);
        config.open().unwrap()
    };
    for (name, _) in UNNAMED {
        let db = sled();
        let is_of_value =
            |key: &[u8]| key[0] == b'x' && key.windows(name.len()).any(|w| w == name.as_bytes());
        let keys: Vec<_> = db.iter().keys().map(Result::unwrap).collect();
        let key = keys.iter().find(|key| is_of_value(key)).unwrap();
        let good = db.get(key).unwrap().unwrap();
        let mut bad = good.to_vec();
        *bad.last_mut().unwrap() ^= 1;
        db.insert(key, bad).unwrap();
        db.flush().unwrap();
        drop(db);
        let report = verify(dir.path());
        let found: Vec<_> = report
            .findings
            .kept
            .iter()
            .map(|f| (f.rule, f.detail.contains(name)))
            .collect();
        assert_eq!(found, [(Rule::Value, true)]);
        let db = sled();
        db.insert(key, good).unwrap();
        db.flush().unwrap();
    }
    assert!(verify(dir.path()).holds);
}

#[test]
fn a_store_in_use_and_none_at_all_are_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let error = DirLog::open(dir.path()).err().unwrap();
    assert!(
        matches!(&error, SourceError::Unavailable(why) if why.contains("holds no store")),
        "{error}"
    );
    write(dir.path(), &honest());
    let _store = SledStore::open(dir.path()).unwrap();
    let error = DirLog::open(dir.path()).err().unwrap();
    assert!(
        matches!(&error, SourceError::Unavailable(why) if why.contains("stop the auditchaind")),
        "{error}"
    );
    let output = auditchain(&["verify", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_consistent_forgery_in_the_store_is_named() {
    // All checksums of the store are right; only the signatures tell.
    let dir = tempfile::tempdir().unwrap();
    let index = event_index(5, 5);
    let mut log = build(&mut |at, entry| {
        if let (true, auditchain_log::Payload::Event { event, .. }) =
            (at == index, &mut entry.payload)
        {
            event.namespace = Some("other".into());
        }
    });
    let honest = honest();
    log.note = honest.note.clone();
    for block in 6..=BLOCKS {
        let at = usize::try_from(seal_index(block)).unwrap();
        assert_ne!(log.entries[at], honest.entries[at]);
    }
    write(dir.path(), &log);
    let report = audit(&DirLog::open(dir.path()).unwrap(), &options(), |_, _| {}).unwrap();
    let rules: Vec<_> = report
        .findings
        .kept
        .iter()
        .map(|f| (f.rule.name(), f.index))
        .collect();
    // Whoever has the log's keys can sign new seals, but not a new past checkpoint.
    assert!(
        rules.contains(&("fields", Some(index))) && rules.iter().any(|(rule, _)| *rule == "root"),
        "{rules:?}"
    );
}

#[test]
fn any_damage_to_the_files_is_a_verdict_and_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &honest());
    let db = dir.path().join("store").join("db");
    let good = fs::read(&db).unwrap();
    // Where there is something: sled's file is mostly zeros.
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let (mut failed, mut placed) = (0, 0);
    // Spread over the file; more of it if sled, which lays it out as its threads happen to
    // run, has put nothing but replaced pages there.
    let step = used.len() * 5 / 121;
    for round in 0..240 {
        if round >= 24 && failed > 0 && placed > 0 {
            break;
        }
        let at = &used[round * step % used.len()];
        let mut bad = good.clone();
        bad[*at] ^= 0x10;
        fs::write(&db, bad).unwrap();
        match DirLog::open(dir.path()) {
            Ok(log) => {
                let report = audit(&log, &options(), |_, _| {}).unwrap();
                failed += u32::from(!report.holds);
                let named = |finding: &Finding| finding.rule == Rule::Stored;
                placed += u32::from(report.findings.kept.iter().any(named));
            }
            Err(SourceError::Damaged { reason, .. }) => {
                failed += 1;
                placed += u32::from(reason.contains("entries "));
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    // What sled doesn't read (replaced pages) may change without harm; where a chunk or
    // a tile is hit, its entries are named.
    assert!(failed > 0 && placed > 0, "{failed} failed, {placed} placed");
}

/// `auditchain verify --output json`: the exit code and the report.
fn verified(dir: &Path) -> (Option<i32>, serde_json::Value) {
    let output = auditchain(&["verify", dir.to_str().unwrap(), "--output", "json"]);
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), report)
}

/// The keys, as the service writes them.
fn write_keys(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir(dir.join("keys")).unwrap();
    for (file, key) in ["log-p256.pem", "log-ed25519.pem"].iter().zip(keys()) {
        let path = dir.join("keys").join(file);
        fs::write(&path, key.to_pem().unwrap().as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn one_changed_byte_fails_the_directory_and_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &honest());
    write_keys(dir.path());
    let (code, report) = verified(dir.path());
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["logHolds"], true);
    // lock, checkpoint, two keys; db, conf and the snapshot of the opening.
    assert_eq!(report["files"]["files"], 7, "{report:#}");
    for (path, good) in files(dir.path()) {
        let file = path.strip_prefix(dir.path()).unwrap().to_str().unwrap();
        // The first, the last, some between; and a byte more, a byte less.
        let flips = (0..6).map(|part| part * (good.len().max(1) - 1) / 5);
        let mut spoilt: Vec<Vec<u8>> = flips
            .filter(|at| *at < good.len())
            .map(|at| {
                let mut bad = good.clone();
                bad[at] ^= 4;
                bad
            })
            .collect();
        spoilt.push([&good[..], b"x"].concat());
        if let Some((_, less)) = good.split_last() {
            spoilt.push(less.to_vec());
        }
        for (round, bad) in spoilt.into_iter().enumerate() {
            fs::write(&path, bad).unwrap();
            let (code, report) = verified(dir.path());
            let said = report.to_string();
            assert_eq!(code, Some(1), "{file}, {round}: {report:#}");
            assert!(said.contains(file), "{file}, {round}: {report:#}");
            fs::write(&path, &good).unwrap();
        }
        // Another file of that name, and the file gone.
        let copy = path.with_extension("copy");
        fs::write(&copy, &good).unwrap();
        assert_eq!(verified(dir.path()).0, Some(1), "a copy of {file}");
        fs::remove_file(&copy).unwrap();
        fs::remove_file(&path).unwrap();
        // Without its database it is no log; without its lock nobody ever had it open.
        let expected = match file {
            "store/db" => 2,
            "lock" => 0,
            _ => 1,
        };
        assert_eq!(verified(dir.path()).0, Some(expected), "without {file}");
        fs::write(&path, &good).unwrap();
        if file.starts_with("keys/") {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
            mode(0o644).unwrap();
            assert_eq!(verified(dir.path()).0, Some(1), "{file}, readable by all");
            mode(0o600).unwrap();
        }
    }
    let (code, report) = verified(dir.path());
    assert_eq!(code, Some(0), "{report:#}");
}

#[test]
fn damage_to_unused_space_leaves_the_log_standing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &honest());
    // An opening more: sled clears what lies behind its log.
    drop(SledStore::open(dir.path()).unwrap());
    drop(SledStore::open(dir.path()).unwrap());
    let path = dir.path().join("store/db");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    assert_eq!(bytes[last], 0);
    bytes[last] = 7;
    fs::write(&path, bytes).unwrap();
    let output = auditchain(&["verify", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!("store/db at byte {last}: [file]")),
        "{text}"
    );
    assert!(text.contains("The log itself holds"), "{text}");
}
