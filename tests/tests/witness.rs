//! Real witnesses and a real log: quorum met and not met, a witness that is down, lags,
//! was put back or sees a fork, and answers of hostile ones.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use auditchain_log::{AddCheckpoint, Checkpoint, CosignerKey, Note, WitnessPolicy};
use auditchain_tests::{Answer, Programs, Service, bodies, programs};

const PROGRAMS: Programs = programs!();
/// Far more than a round takes.
const DEADLINE: Duration = Duration::from_secs(90);

/// A running `auditchain witness`.
struct WitnessProcess {
    child: Child,
    url: String,
    vkey: String,
    address: SocketAddr,
}

impl WitnessProcess {
    /// On a free port, or again on the one it had.
    fn start(dir: &Path, listen: &str, logs: &[String]) -> Self {
        let key = dir.join("witness.key");
        if !key.exists() {
            std::fs::create_dir_all(dir).unwrap();
            let name = format!(
                "witness.example/{}",
                dir.file_name().unwrap().to_str().unwrap()
            );
            let made = PROGRAMS.cli(&[
                "key",
                "new",
                "--witness",
                &name,
                "-o",
                key.to_str().unwrap(),
            ]);
            assert!(made.status.success());
        }
        let mut command = Command::new(PROGRAMS.cli);
        command
            .args(["witness", "--listen", listen, "--state"])
            .arg(dir);
        for log in logs {
            command.args(["--log", log]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = |prefix: &str| {
            let line = lines.next().expect("the witness starts").unwrap();
            line.strip_prefix(prefix).unwrap().to_string()
        };
        let url = line("auditchain witness: serving ");
        let vkey = line("auditchain witness: key ");
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        Self {
            child,
            url,
            vkey,
            address,
        }
    }

    fn kill(mut self) -> SocketAddr {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.address
    }
}

impl Drop for WitnessProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The keys of a log that is started once for them.
fn first_start(data: &Path) -> Vec<String> {
    let service = PROGRAMS.start(data, &["--origin", "example.com/witnessed"]);
    let keys = service.keys.clone();
    // It serves, and with that it takes a signal.
    assert!(service.size() > 0);
    assert!(service.stop().success());
    keys
}

fn policy(dir: &Path, witnesses: &[(&str, &str, &str)], quorum: &str) -> PathBuf {
    let mut text = String::new();
    let mut names = String::new();
    for (name, vkey, url) in witnesses {
        text += &format!("witness {name} {vkey} {url}\n");
        names += &format!(" {name}");
    }
    text += &format!("group all-of-them {quorum}{names}\nquorum all-of-them\n");
    let path = dir.join(format!("policy-{quorum}-{}", witnesses.len()));
    std::fs::write(&path, text).unwrap();
    path
}

/// With a round a second.
fn config(dir: &Path, policy: &Path) -> PathBuf {
    let path = dir.join("config.yaml");
    let text = format!(
        "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\nwitnesses:\n  policyFile: {}\n  intervalSeconds: 1\n",
        policy.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn start(data: &Path, config: &Path) -> Service {
    PROGRAMS.start(data, &["--config", config.to_str().unwrap()])
}

fn send(service: &Service, n: usize) {
    assert_eq!(service.send("eu", &bodies("bodies")[n]).status, 200);
}

fn checkpoint(service: &Service, path: &str) -> (Checkpoint, Note) {
    let answer = service.get(path);
    assert_eq!(answer.content_type, "text/plain; charset=utf-8");
    let note = Note::parse(&answer.bytes).unwrap();
    (Checkpoint::parse(note.text()).unwrap(), note)
}

/// Waits until `/checkpoint` is cosigned and as wanted.
fn wait(service: &Service, what: &str, wanted: impl Fn(&Checkpoint, &Note) -> bool) -> Note {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let (checkpoint, note) = checkpoint(service, "/checkpoint");
        if note.signatures().len() > 2 && wanted(&checkpoint, &note) {
            return note;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: {note}\n{}",
            service.get("/api/v1/status").text()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the status says something of a witness.
fn wait_failure(service: &Service, part: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status = service.get("/api/v1/status").json();
        let each = status["witnesses"]["each"].to_string();
        if each.contains(part) {
            return;
        }
        assert!(Instant::now() < deadline, "{part}: {each}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn verify(target: &str, keys: &[String], policy: &Path) -> (i32, String) {
    let mut args = vec![
        "verify",
        target,
        "--witness-policy",
        policy.to_str().unwrap(),
    ];
    for key in keys {
        args.extend(["--key", key]);
    }
    let output = PROGRAMS.cli(&args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

#[test]
fn a_quorum_of_real_witnesses_is_served_kept_and_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    let keys = first_start(&data);
    let one = WitnessProcess::start(&dir.path().join("w1"), "127.0.0.1:0", &keys);
    let two = WitnessProcess::start(&dir.path().join("w2"), "127.0.0.1:0", &keys);
    let known = [
        ("w1", one.vkey.as_str(), one.url.as_str()),
        ("w2", two.vkey.as_str(), two.url.as_str()),
    ];
    let both = policy(dir.path(), &known, "all");
    let parsed = WitnessPolicy::parse(&std::fs::read(&both).unwrap()).unwrap();
    let service = start(&data, &config(dir.path(), &both));
    send(&service, 0);
    let size = service.size();
    let note = wait(&service, "quorum", |c, _| c.size.0 == size);
    assert_eq!(parsed.check(&note).map(|by| by.len()), Ok(2));
    let (code, text) = verify(&service.url, &keys, &both);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("cosigned by: w1, w2"), "{text}");

    // A proof carries the cosignatures.
    let (proof, entry) = (dir.path().join("p"), dir.path().join("e"));
    let (proof, entry) = (proof.to_str().unwrap(), entry.to_str().unwrap());
    let both_text = both.to_str().unwrap();
    let made = PROGRAMS.cli(&[
        "prove",
        &service.url,
        "--index",
        "3",
        "-o",
        proof,
        "--entry-out",
        entry,
        "--key",
        &keys[0],
        "--witness-policy",
        both_text,
    ]);
    assert!(made.status.success(), "{made:?}");
    let check = |policy: &str| {
        PROGRAMS.cli(&[
            "verify-proof",
            proof,
            "--entry",
            entry,
            "--key",
            &keys[0],
            "--witness-policy",
            policy,
        ])
    };
    assert!(check(both_text).status.success());
    let stranger = CosignerKey::from_seed("witness.example/w3", &[3; 32]).unwrap();
    let vkey = stranger.verifier().to_string();
    let three = policy(dir.path(), &[known[0], known[1], ("w3", &vkey, "")], "all");
    let refused = check(three.to_str().unwrap());
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("quorum is not met: 2 of its 3"), "{said}");
    let (code, text) = verify(&service.url, &keys, &three);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("quorum is not met"), "{text}");

    // One is down: what is served stays a quorum's, acks don't wait, the newest is to be had.
    let address = two.kill();
    send(&service, 1);
    let (newest, plain) = checkpoint(&service, "/checkpoint/latest");
    assert!(newest.size.0 > size && plain.signatures().len() == 2);
    wait_failure(&service, "no answer");
    let (served, note) = checkpoint(&service, "/checkpoint");
    assert_eq!(served.size.0, size);
    assert!(parsed.check(&note).is_ok());
    assert_eq!(verify(&service.url, &keys, &both).0, 0);
    assert!(
        service
            .get("/metrics")
            .text()
            .contains("witness_failures_total{witness=\"w2\",reason=\"unreachable\"}")
    );

    // A restart serves it again at once.
    assert!(service.stop().success());
    let service = start(&data, &config(dir.path(), &both));
    let (served, note) = checkpoint(&service, "/checkpoint");
    assert!(parsed.check(&note).is_ok() && served.size.0 == size);
    // The witness is back, with its memory.
    let two = WitnessProcess::start(&dir.path().join("w2"), &address.to_string(), &keys);
    wait(&service, "caught up", |c, _| c.size.0 >= newest.size.0);

    // What a witness shows to monitors.
    let hash = auditchain_log::sha256(&[b"example.com/witnessed"]);
    let shown = get(&format!("{}/{hash}/checkpoint", two.url));
    assert_eq!(Note::parse(&shown.bytes).unwrap().signatures().len(), 3);
    assert_eq!(
        get(&format!("{}/{}/checkpoint", two.url, "0".repeat(64))).status,
        404
    );
    assert!(service.stop().success());
    let (code, text) = verify(data.to_str().unwrap(), &keys, &both);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_fork_and_a_rollback_are_refused_by_the_witness() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    let keys = first_start(&data);
    let copy = dir.path().join("copy");
    copy_dir(&data, &copy);
    let witness = WitnessProcess::start(&dir.path().join("w1"), "127.0.0.1:0", &keys);
    let policy = policy(dir.path(), &[("w1", &witness.vkey, &witness.url)], "any");
    let config = config(dir.path(), &policy);
    let service = start(&data, &config);
    send(&service, 0);
    let size = service.size();
    let good = wait(&service, "cosigned", |c, _| c.size.0 == size);

    // The statuses of the standard.
    let ask = |old: u64, proof: &[auditchain_log::Hash], note: &str| {
        let request = AddCheckpoint {
            old: auditchain_log::TreeSize(old),
            proof: proof.into(),
            note: note.into(),
        };
        post(
            &format!("{}/add-checkpoint", witness.url),
            request.to_text().as_bytes(),
        )
    };
    let note = good.to_string();
    let again = ask(size, &[], &note);
    assert_eq!(again.status, 200, "{}", again.text());
    let conflict = ask(0, &[], &note);
    assert_eq!(
        (conflict.status, conflict.content_type.as_str()),
        (409, "text/x.tlog.size")
    );
    assert_eq!(conflict.text(), format!("{size}\n"));
    assert_eq!(ask(size + 1, &[], &note).status, 400);
    assert_eq!(ask(size, &[auditchain_log::sha256(&[])], &note).status, 422);
    assert_eq!(
        ask(
            size,
            &[],
            &note.replacen(&format!("\n{size}\n"), "\n1\n", 1)
        )
        .status,
        403
    );
    assert_eq!(
        ask(
            0,
            &[],
            &note.replace("example.com/witnessed", "example.com/x")
        )
        .status,
        404
    );
    assert_eq!(
        post(&format!("{}/add-checkpoint", witness.url), b"nonsense").status,
        400
    );
    // It answers before it has read what is too large: the answer may be lost.
    let large = agent()
        .post(format!("{}/add-checkpoint", witness.url))
        .send(vec![b'a'; 1 << 20].as_slice());
    assert!(large.map_or(true, |answer| answer.status() == 413));
    assert_eq!(get(&format!("{}/add-checkpoint", witness.url)).status, 405);
    assert!(service.stop().success());

    // The older copy goes on with other events: another history of the same keys.
    let forked = start(&copy, &config);
    wait_failure(&forked, "more than the log has");
    let mut n = 1;
    while forked.size() <= size {
        send(&forked, n);
        n += 1;
    }
    wait_failure(&forked, "422");
    // Nobody cosigned it: who asks for the quorum refuses it.
    let (code, text) = verify(&forked.url, &keys, &policy);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("quorum is not met"), "{text}");
}

#[test]
fn hostile_answers_cost_nothing_but_the_cosignature() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    first_start(&data);
    let key = CosignerKey::from_seed("witness.example/evil", &[5; 32]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (answers, queue) = std::sync::mpsc::channel::<Vec<u8>>();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // Headers and body: whatever comes in the first half second.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let mut buffer = [0; 65536];
            while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
            let Ok(answer) = queue.recv() else { return };
            let _ = stream.write_all(&answer);
        }
    });
    let answer = |status: &str, kind: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let policy = policy(
        dir.path(),
        &[("evil", &key.verifier().to_string(), &url)],
        "any",
    );
    let config = config(dir.path(), &policy);
    let mut service = start(&data, &config);
    let (before, _) = checkpoint(&service, "/checkpoint");
    let other = key.cosign("example.com/witnessed\n1\nAAAA\n", 1);
    let foreign = CosignerKey::from_seed("witness.example/other", &[6; 32]).unwrap();
    let foreign = foreign.cosign(&before.to_text(), 1);
    let timeless = key.cosign(&before.to_text(), 0);
    for (bytes, part) in [
        (
            answer("200", "text/plain", &vec![b'a'; 1 << 20]),
            "too large",
        ),
        (answer("200", "text/plain", b"\xff\xfe\n"), "no text"),
        (answer("200", "text/plain", b""), "no signature lines"),
        (
            answer("200", "text/plain", format!("{other}\n").as_bytes()),
            "doesn't verify",
        ),
        (
            answer("200", "text/plain", format!("{foreign}\n").as_bytes()),
            "no cosignature of the witness",
        ),
        (
            answer("200", "text/plain", format!("{timeless}\n").as_bytes()),
            "has no time",
        ),
        (answer("409", "text/plain", b"1\n"), "without the size"),
        (
            answer("409", "text/x.tlog.size", b"999999999\n"),
            "more than the log has",
        ),
    ] {
        answers.send(bytes).unwrap();
        wait_failure(&service, part);
        // The next try would come after a longer pause each time; a restart asks at once.
        assert!(service.stop().success());
        service = start(&data, &config);
    }
    send(&service, 0);
    let (after, note) = checkpoint(&service, "/checkpoint");
    assert!(after.size > before.size && note.signatures().len() == 2);
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn get(url: &str) -> Answer {
    read(agent().get(url).call().unwrap())
}

fn post(url: &str, body: &[u8]) -> Answer {
    read(agent().post(url).send(body).unwrap())
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.build().into()
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let kind = response.headers().get("content-type");
    Answer {
        status: response.status().as_u16(),
        content_type: kind.unwrap().to_str().unwrap().into(),
        retry_after: None,
        bytes: response.body_mut().read_to_vec().unwrap(),
    }
}
