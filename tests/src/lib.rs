//! Starts the real service and the real CLI on recorded traffic. The tests are in
//! `tests/tests`, a file a subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a harness fails by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The service and the CLI, as cargo built them for these tests.
#[derive(Debug, Clone, Copy)]
pub struct Programs {
    /// auditchaind
    pub service: &'static str,
    /// auditchain
    pub cli: &'static str,
}

/// The programs under test: cargo tells only integration tests where they are.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::Programs {
            service: env!("CARGO_BIN_EXE_auditchaind-under-test"),
            cli: env!("CARGO_BIN_EXE_auditchain-under-test"),
        }
    };
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    child: Child,
    /// `http://127.0.0.1:PORT`, or https with TLS.
    pub url: String,
    /// The same of the admin listener, if there is one.
    pub admin: Option<String>,
    /// The log's public keys.
    pub keys: Vec<String>,
}

/// What HTTP answered.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers that tests look at.
    pub content_type: String,
    /// Retry-After.
    pub retry_after: Option<String>,
    /// Body.
    pub bytes: Vec<u8>,
}

impl Programs {
    /// Starts the service on a free port and waits until it serves.
    #[must_use]
    pub fn start(&self, data: &Path, more: &[&str]) -> Service {
        self.try_start(data, more)
            .unwrap_or_else(|(status, stderr)| panic!("auditchaind ended with {status}:\n{stderr}"))
    }

    /// Starts the service; if it ends by itself: its status and what it said.
    ///
    /// # Errors
    /// It ended.
    pub fn try_start(&self, data: &Path, more: &[&str]) -> Result<Service, (ExitStatus, String)> {
        self.try_start_logging("info", data, more)
    }

    /// The same with this filter of the service's own log.
    ///
    /// # Errors
    /// It ended.
    pub fn try_start_logging(
        &self,
        filter: &str,
        data: &Path,
        more: &[&str],
    ) -> Result<Service, (ExitStatus, String)> {
        let mut command = Command::new(self.service);
        command.env("RUST_LOG", filter);
        self.try_start_by(command, data, more)
    }

    /// The same by a command that ends in the service's program.
    ///
    /// # Errors
    /// It ended.
    pub fn try_start_by(
        &self,
        command: Command,
        data: &Path,
        more: &[&str],
    ) -> Result<Service, (ExitStatus, String)> {
        let log = data.with_extension("stderr");
        let mut child = spawn(command, data, more);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut url, mut admin, mut keys) = (None, None, vec![]);
        while keys.len() < 2 {
            let Some(line) = lines.next() else {
                let status = child.wait().unwrap();
                return Err((status, std::fs::read_to_string(log).unwrap()));
            };
            let line = line.unwrap();
            if let Some(at) = line.strip_prefix("auditchaind: serving ") {
                url = Some(at.to_string());
            }
            if let Some(at) = line.strip_prefix("auditchaind: admin ") {
                admin = Some(at.to_string());
            }
            keys.extend(line.strip_prefix("auditchaind: key ").map(String::from));
        }
        Ok(Service {
            child,
            url: url.expect("the address comes before the keys"),
            admin,
            keys,
        })
    }

    /// Starts the service and kills it after a while, whatever it does by then.
    pub fn start_and_kill(&self, data: &Path, after: Duration) {
        let mut command = Command::new(self.service);
        command.env("RUST_LOG", "info");
        let mut child = spawn(command, data, &[]);
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Runs the CLI.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> Output {
        Command::new(self.cli)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs `verify --output json` on a URL or directory: exit code and report.
    #[must_use]
    pub fn verify(&self, target: &str, keys: &[String]) -> (i32, Value) {
        self.verify_with(&[], target, keys)
    }

    /// The same with more arguments.
    #[must_use]
    pub fn verify_with(&self, more: &[&str], target: &str, keys: &[String]) -> (i32, Value) {
        let mut args = vec!["verify", target, "--output", "json"];
        args.extend(more);
        for key in keys {
            args.extend(["--key", key]);
        }
        let output = self.cli(&args);
        let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (
            output.status.code().expect("the CLI was not killed"),
            report,
        )
    }
}

impl Service {
    /// POSTs an EventList.
    #[must_use]
    pub fn send(&self, source: &str, body: &[u8]) -> Answer {
        self.post(
            &format!("/audit/{source}"),
            &[("content-type", "application/json")],
            body,
        )
    }

    /// POSTs anything; panics if the connection fails.
    #[must_use]
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_post(path, headers, body).unwrap()
    }

    /// POSTs anything.
    ///
    /// # Errors
    /// The connection failed.
    pub fn try_post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, ureq::Error> {
        try_post(&format!("{}{path}", self.url), headers, body)
    }

    /// GETs a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        answer(agent().get(format!("{}{path}", self.url)).call().unwrap()).unwrap()
    }

    /// The service's size by its status.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.get("/api/v1/status").json()["size"].as_u64().unwrap()
    }

    /// SIGTERM, and waits for the end.
    #[must_use]
    pub fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it ends by itself.
    #[must_use]
    pub fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "auditchaind did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal and returns at once.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Asserts problem details of this status and returns their `detail`.
    #[expect(clippy::must_use_candidate, reason = "asserts first")]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(
            (self.status, self.content_type.as_str()),
            (status, "application/problem+json"),
            "{}",
            self.text()
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(
            problem["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
        problem["detail"].as_str().unwrap().to_string()
    }
}

fn spawn(mut command: Command, data: &Path, more: &[&str]) -> Child {
    let stderr = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.with_extension("stderr"))
        .unwrap();
    command
        .arg("--data")
        .arg(data)
        .args(["--listen", "127.0.0.1:0"])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .into()
}

/// POSTs anything to a whole URL.
///
/// # Errors
/// The connection failed.
pub fn try_post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, ureq::Error> {
    let mut request = agent().post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send(body)?)
}

/// PUTs anything to a whole URL.
///
/// # Errors
/// The connection failed.
pub fn try_put(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, ureq::Error> {
    let mut request = agent().put(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send(body)?)
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let header = |name| {
        response
            .headers()
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(String::from)
    };
    let (content_type, retry_after) = (
        header("content-type").unwrap_or_default(),
        header("retry-after"),
    );
    let bytes = response
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_vec()?;
    Ok(Answer {
        status: response.status().as_u16(),
        content_type,
        retry_after,
        bytes,
    })
}

/// A file below `tests/data`.
#[must_use]
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(path)
}

/// Reads a recorded file, unpacked if it is gzipped.
#[must_use]
pub fn read(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut plain = vec![];
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

/// The request bodies of a folder of recorded traffic, in the order of arrival.
#[must_use]
pub fn bodies(folder: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(data(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| n.as_encoded_bytes()[0].is_ascii_digit())
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no recorded bodies in {folder}");
    paths.iter().map(|path| read(path)).collect()
}

/// The recorded requests of `--audit-webhook-mode=blocking`, one event each.
#[must_use]
pub fn blocking_bodies() -> Vec<Vec<u8>> {
    let all = read(&data("blocking/bodies.jsonl.gz"));
    all.split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// How many events a body has.
#[must_use]
pub fn events_of(body: &[u8]) -> u64 {
    auditchain_log::json::split_event_list(body)
        .unwrap()
        .items
        .len() as u64
}

/// A recorded body as other events: the first four characters of every audit ID are
/// replaced by a number (below 36^4, about 1.7 million). One recorded ID has but seven.
#[must_use]
pub fn renamed(body: &[u8], number: u32) -> Vec<u8> {
    const NAME: &[u8] = b"\"auditID\":\"";
    let digit =
        |power: u32| b"0123456789abcdefghijklmnopqrstuvwxyz"[(number / power % 36) as usize];
    let digits = [36_u32.pow(3), 36_u32.pow(2), 36, 1].map(digit);
    let mut body = body.to_vec();
    let mut at = 0;
    while let Some(found) = body[at..].windows(NAME.len()).position(|w| w == NAME) {
        at += found + NAME.len();
        body[at..at + digits.len()].copy_from_slice(&digits);
    }
    body
}
