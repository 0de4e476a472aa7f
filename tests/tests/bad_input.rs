//! Bad input gets a clear answer, costs no neighbour, and what can be kept is kept.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::io::{Read as _, Write as _};

use auditchain_tests::{Programs, bodies, data, events_of, programs, read};
use serde_json::{Value, json};

const PROGRAMS: Programs = programs!();

fn list(items: &str) -> Vec<u8> {
    format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{items}]}}"#
    )
    .into_bytes()
}

#[test]
fn requests_that_make_no_sense_get_problem_json() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    std::fs::write(
        &config,
        "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\nlimits:\n  bodyBytes: 65536\n",
    )
    .unwrap();
    let service = PROGRAMS.start(
        &dir.path().join("log"),
        &["--config", config.to_str().unwrap()],
    );
    let json = [("content-type", "application/json")];

    assert!(
        service
            .post("/audit/eu", &[("content-type", "text/plain")], b"{}")
            .problem(415)
            .contains("text/plain")
    );
    assert!(
        service
            .post("/audit/eu", &[], b"{}")
            .problem(415)
            .contains("application/json")
    );
    let encoded = |encoding| [json[0], ("content-encoding", encoding)];
    assert!(
        service
            .post("/audit/eu", &encoded("br"), b"{}")
            .problem(415)
            .contains("zstd, gzip")
    );
    assert!(
        service
            .post("/audit/EU", &json, &list(""))
            .problem(400)
            .contains("a-z")
    );
    assert!(
        service
            .post("/audit/eu", &json, &vec![b' '; 65_537])
            .problem(413)
            .contains("65536")
    );
    service.get("/audit/eu").problem(405);
    service.get("/nothing").problem(404);
    service.get("/tile/0/999").problem(404);
    service.get("/tile/zero/000").problem(400);
    service.get("/api/v1/entries/999999").problem(404);
    service
        .get("/api/v1/proof/inclusion?index=5&size=5")
        .problem(404);
    service.get("/api/v1/proof/consistency?from=0").problem(404);
    service.get("/api/v1/blobs/sha256/00").problem(400);
    // What the router itself can't parse.
    for path in [
        "/api/v1/entries/abc",
        "/api/v1/bodies",
        "/api/v1/bodies?from=x&to=1",
        "/tile/%ff",
    ] {
        service.get(path).problem(400);
    }
    let half = [json[0], ("auditchain-batch-sequence", "1")];
    assert!(
        service
            .post("/audit/eu", &half, &list(""))
            .problem(400)
            .contains("auditchain-batch-")
    );

    // Nothing of this is in the log, and it goes on.
    assert_eq!(service.get("/readyz").status, 200);
    let size = service.size();
    assert_eq!(service.send("eu", &list("")).json()["accepted"], 0);
    assert_eq!(service.size(), size, "an empty list writes no block");
}

#[test]
fn a_body_that_is_no_event_list_is_refused_and_sealed_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let whole = bodies("bodies").swap_remove(0);
    let cut = &whole[..whole.len() / 2];
    let size = service.size();
    for _ in 0..5 {
        assert!(!service.send("eu", cut).problem(400).is_empty());
    }
    // Seal and rejection: five tries of an apiserver are one entry.
    assert_eq!(service.size(), size + 2);
    let entry = service
        .get(&format!("/api/v1/entries/{}?body=1", size + 1))
        .json();
    assert_eq!(entry["entry"]["kind"], "rejection");
    assert_eq!(entry["entry"]["rejection"]["status"], 400);
    assert_eq!(entry["entry"]["body"]["size"], cut.len());
    let bytes = service
        .get(&format!("/api/v1/bodies?from={}&to={}", size + 1, size + 2))
        .text();
    let line: Value = serde_json::from_str(bytes.lines().next().unwrap()).unwrap();
    assert_eq!(line["index"], size + 1);
    assert!(entry["bodyBase64"].as_str() == line["body"].as_str() && line["body"].is_string());
    for bad in [
        "",
        "null",
        "[]",
        "{",
        "{}",
        r#"{"kind":"Event"}"#,
        "\u{0}",
        "{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1beta1\",\"items\":[]}",
    ] {
        service.send("eu", bad.as_bytes()).problem(400);
    }
    assert_eq!(
        service.send("eu", &whole).json()["accepted"],
        events_of(&whole)
    );
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["kinds"]["rejection"], 9, "{report:#}");
}

#[test]
fn hostile_bodies_cost_no_neighbour() {
    let dir = tempfile::tempdir().unwrap();
    let service = PROGRAMS.start(&dir.path().join("log"), &[]);
    let mut undecodable = std::collections::BTreeMap::new();
    let mut at = service.size();
    for body in bodies("edge") {
        let events = events_of(&body);
        let ack = service.send("edge", &body).json();
        assert_eq!(ack["accepted"], events);
        let size = service.size();
        // One seal, then each event in its order.
        assert_eq!(size, at + 1 + events);
        for index in at + 1..size {
            let entry = service.get(&format!("/api/v1/entries/{index}")).json();
            assert!(entry["entry"]["event"]["auditID"].is_string(), "{entry}");
            assert!(entry["entry"]["event"]["stage"].is_string(), "{entry}");
            if let Some(reason) = entry["entry"]["undecodable"].as_str() {
                *undecodable.entry(reason.to_string()).or_insert(0) += 1;
            }
        }
        at = size;
    }
    let cases: Value = serde_json::from_slice(&read(&data("edge/cases.json"))).unwrap();
    assert!(cases.as_array().unwrap().len() > 10);
    let found: Vec<(&str, i32)> = undecodable
        .iter()
        .map(|(reason, n)| (reason.as_str(), *n))
        .collect();
    assert_eq!(found, UNDECODABLE);
}

/// Why events of the recorded hostile requests have no canonical form.
const UNDECODABLE: [(&str, i32); 5] = [
    ("duplicate-key", 1),
    ("invalid-utf8", 1),
    ("lone-surrogate", 2),
    ("number-precision", 1),
    ("number-range", 1),
];

#[test]
fn made_up_events_of_any_shape_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let long = format!("\"{}\"", "x".repeat(100_000));
    let items = [
        "null",
        "1",
        "\"text\"",
        "[]",
        "{}",
        "1e999",
        "{\"a\":1,\"a\":2}",
        "\"\\ud800\"",
        "12345678901234567890",
        &deep,
        &long,
        "{\"auditID\":[],\"stage\":7,\"user\":null,\"objectRef\":\"x\",\"responseStatus\":{\"code\":\"x\"}}",
    ];
    let mut body = list(&items.join(","));
    // And one with bytes that are no UTF-8.
    let at = body.len() - 2;
    body.splice(at..at, *b",\"\xff\xfe\"");
    let ack = service.send("eu", &body).json();
    let sum = ack["accepted"].as_u64().unwrap() + ack["rejected"].as_u64().unwrap();
    assert_eq!(sum, items.len() as u64 + 1, "{ack}");
    // They lack all that an event has, which the ordering policy says.
    assert_eq!(ack["rejected"], sum);
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn only_configured_sources_with_their_token_may_send() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    // printf %s secret-eu | sha256sum
    let hash = auditchain_log::sha256(&[b"secret-eu"]);
    let text = format!(
        "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\nsources:\n- name: eu\n  tokenSha256: {hash}\n- name: lab\n"
    );
    std::fs::write(&config, text).unwrap();
    let service = PROGRAMS.start(
        &dir.path().join("log"),
        &["--config", config.to_str().unwrap()],
    );
    let send = |source: &str, token: Option<&str>| {
        let mut headers = vec![("content-type", "application/json")];
        let bearer = token.map(|token| format!("Bearer {token}"));
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        service.post(&format!("/audit/{source}"), &headers, &list("{}"))
    };
    assert!(
        send("us", Some("secret-eu"))
            .problem(403)
            .contains("not configured")
    );
    assert!(send("eu", None).problem(401).contains("Bearer"));
    assert!(
        !send("eu", Some("secret-us"))
            .problem(401)
            .contains("secret-us")
    );
    assert_eq!(send("eu", Some("secret-eu")).status, 200);
    assert_eq!(send("lab", None).status, 200);
}

#[test]
fn wrong_configuration_ends_with_code_2_and_all_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\nlisten: 0.0.0.0:0\nsources:\n- name: Bad\n").unwrap();
    let run = std::process::Command::new(PROGRAMS.service)
        .args(["--data", "unused", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(2), "{said}");
    for part in ["\"Bad\"", "TLS", "tokenSha256"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_second_service_on_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let (status, said) = PROGRAMS.try_start(&log, &[]).unwrap_err();
    assert_eq!(status.code(), Some(1));
    assert!(
        said.contains("in use by another process") || !said.is_empty(),
        "{said}"
    );
    assert_eq!(service.get("/livez").status, 200);
}

#[test]
fn garbage_on_the_wire_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let service = PROGRAMS.start(&dir.path().join("log"), &[]);
    let address = service.url.strip_prefix("http://").unwrap();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"POST /audit/eu HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n",
        b"POST /audit/eu HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nffffffffffffffff\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    let event = json!({"auditID": "a"}).to_string();
    assert_eq!(service.send("eu", &list(&event)).status, 200);
}

#[test]
fn events_too_large_for_their_canonical_form_are_kept_and_verify() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &[]);
    let grows = format!("[{}0]", "1e20,".repeat(1000));
    let large = format!("{{\"requestObject\":\"{}\"}}", "x".repeat(9 << 20));
    let nearly = format!("{{\"requestObject\":[{}0]}}", "1e9,".repeat((7 << 20) / 4));
    let ack = service
        .send("eu", &list(&[grows, large, nearly].join(",")))
        .json();
    assert_eq!(ack["rejected"], 3, "{ack}");
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["sources"]["eu"]["undecodable"], 3, "{report:#}");
}

#[test]
fn idle_uploads_and_refused_senders_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let service = PROGRAMS.start(&dir.path().join("log"), &[]);
    let address = service.url.strip_prefix("http://").unwrap();
    // Each announces the largest body and sends nothing.
    let idle: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let head = "POST /audit/eu HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 67108864\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // Sources that never sent an EventList take no place.
    for i in 0..300 {
        service
            .post(
                &format!("/audit/s{i}"),
                &[("content-type", "text/plain")],
                b"x",
            )
            .problem(415);
    }
    assert_eq!(service.send("eu", &list("{}")).status, 200);
    drop(idle);
}

#[test]
fn bodies_are_for_readers_once_readers_are_configured() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    let hash = auditchain_log::sha256(&[b"auditor-token"]);
    let text = format!(
        "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\nreaders:\n- name: auditor\n  tokenSha256: {hash}\n"
    );
    std::fs::write(&config, text).unwrap();
    let service = PROGRAMS.start(
        &dir.path().join("log"),
        &["--config", config.to_str().unwrap()],
    );
    assert_eq!(service.send("eu", &list("{}")).status, 200);
    for path in ["/api/v1/bodies?from=0&to=9", "/api/v1/entries/4?body=1"] {
        assert!(service.get(path).problem(401).contains("reader"), "{path}");
    }
    // What names nobody is open: the log can be verified but for its bodies.
    for path in ["/checkpoint", "/tile/entries/000.p/3", "/api/v1/entries/4"] {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
    let verify = |token: &str| {
        let keys = ["verify", &service.url, "--key", &service.keys[0]];
        std::process::Command::new(PROGRAMS.cli)
            .args(keys)
            .env("AUDITCHAIN_TOKEN", token)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(verify("auditor-token"), Some(0));
    assert_ne!(verify("guessed"), Some(0));
}

#[test]
fn packed_bodies_are_taken_within_the_bound_of_a_body() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    std::fs::write(
        &config,
        "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\nlimits: {bodyBytes: 8388608, inflightBytes: 8388608}\n",
    )
    .unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &["--config", config.to_str().unwrap()]);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let send = |encoding: &str, body: &[u8]| {
        let json = ("content-type", "application/json");
        service.post("/audit/eu", &[json, ("content-encoding", encoding)], body)
    };
    let body = bodies("bodies").swap_remove(0);
    let events = events_of(&body);
    assert_eq!(send("zstd", &zstd(&body)).json()["accepted"], events);
    assert_eq!(send("gzip", &gzip(&body)).json()["duplicates"], events);
    assert_eq!(service.send("eu", &body).json()["duplicates"], events);

    // Much in little; memory is given back.
    let bomb = vec![b' '; 256 << 20];
    for (encoding, bomb) in [("gzip", gzip(&bomb)), ("zstd", zstd(&bomb))] {
        assert!(bomb.len() < 8 << 20);
        for _ in 0..3 {
            assert!(send(encoding, &bomb).problem(413).contains("8388608"));
        }
        // What is none is sealed as it arrived, like any other body.
        let size = service.size();
        let none = encoding.as_bytes();
        assert!(
            send(encoding, none)
                .problem(400)
                .contains("does not unpack")
        );
        assert_eq!(service.size(), size + 2);
    }
    let mut half = zstd(&body);
    half.truncate(half.len() / 2);
    assert!(send("zstd", &half).problem(400).contains("does not unpack"));
    assert_eq!(send("zstd", &zstd(&body)).json()["duplicates"], events);
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
}
