//! Who may do what: client certificates, bearer tokens, roles; and that no secret is
//! ever written.

use std::io::Write as _;

use crate::support::{
    Ca, EMPTY, PROGRAMS, Site, answer, ask, ask_as, ended, hash, tcp, text, until,
};

#[test]
fn client_certificates_are_mapped_to_sources_and_roles() {
    let more = format!(
        "sources:\n- name: eu\n  clientCertificate: {{commonName: kube-eu}}\n- name: us\n  clientCertificate: {{dnsName: us.example}}\n- name: both\n  clientCertificate: {{commonName: kube-eu}}\n  tokenSha256: {0}\n- name: either\n  clientCertificate: {{commonName: kube-eu}}\n  tokenSha256: {0}\n  require: either\nreaders:\n- name: al\n  clientCertificate: {{commonName: al}}\nadmins:\n- name: eve\n  clientCertificate: {{commonName: eve}}\n",
        hash("token")
    );
    let site = Site::new(&more);
    let service = site.start();
    let eu = site.clients.issue("kube-eu", &[], 2099);
    let us = site.clients.issue("kube-us", &["us.example"], 2099);
    let send = |stream: &mut _, source: &str| ask(stream, &format!("POST /audit/{source}"), EMPTY);

    let mut stream = site.connect(&service, Some(&eu));
    assert_eq!(send(&mut stream, "eu").0, 200);
    let (status, problem) = send(&mut stream, "us");
    assert_eq!(status, 403);
    assert!(
        problem.contains("kube-eu") && problem.contains("sha256"),
        "{problem}"
    );
    assert_eq!(send(&mut stream, "nobody").0, 403);
    assert_eq!(send(&mut stream, "both").0, 401);
    assert_eq!(
        ask_as(&mut stream, "POST /audit/both", "token", EMPTY).0,
        200
    );
    assert_eq!(
        ask_as(&mut stream, "POST /audit/both", "wrong", EMPTY).0,
        401
    );
    assert_eq!(send(&mut stream, "either").0, 200);
    assert_eq!(send(&mut site.connect(&service, Some(&us)), "us").0, 200);

    // None: who is asked for one is told; who isn't, is served.
    let mut stream = site.connect(&service, None);
    let (status, problem) = send(&mut stream, "eu");
    assert_eq!(status, 401);
    assert!(problem.contains("client certificate"), "{problem}");
    assert_eq!(
        ask_as(&mut stream, "POST /audit/both", "token", EMPTY).0,
        401
    );
    assert_eq!(
        ask_as(&mut stream, "POST /audit/either", "token", EMPTY).0,
        200
    );
    assert_eq!(ask(&mut stream, "GET /checkpoint", "").0, 200);

    // Readers and admins; neither is the other.
    for (name, bodies, metrics) in [("al", 200, 403), ("eve", 403, 200), ("kube-eu", 403, 403)] {
        let pair = site.clients.issue(name, &[], 2099);
        let mut stream = site.connect(&service, Some(&pair));
        assert_eq!(
            ask(&mut stream, "GET /api/v1/bodies?from=0&to=1", "").0,
            bodies,
            "{name}"
        );
        assert_eq!(ask(&mut stream, "GET /metrics", "").0, metrics, "{name}");
    }

    // Expired, or of another CA with the right name: no handshake.
    let expired = site.clients.issue("kube-eu", &[], 2021);
    let foreign = Ca::new("clients").issue("kube-eu", &[], 2099);
    for bad in [&expired, &foreign] {
        // TLS 1.3 tells of it after the client's part of the handshake is done.
        if let Ok(mut stream) = site.try_connect(&service, Some(bad)) {
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(ended(&mut stream).is_empty(), "it was answered");
        }
    }
    until("the log says why", || {
        site.stderr().contains("certificate expired")
    });
}

#[test]
fn tokens_of_a_file_have_roles_and_are_replaced_without_a_restart() {
    let site = Site::new("tokensFile: tokens\nsources:\n- name: eu\n- name: us\n");
    let line = |token: &str, rest: &str| format!("{} {rest}\n", hash(token));
    let file = line("i", "ingest eu") + &line("r", "read al") + &line("a", "admin eve");
    site.write("tokens", &file);
    let service = site.start();
    let mut stream = site.connect(&service, None);
    let paths = [
        "POST /audit/eu",
        "POST /audit/us",
        "GET /api/v1/bodies?from=0&to=1",
        "GET /metrics",
    ];
    let mut may = |token: &str| {
        paths.map(|path| {
            let body = if path.starts_with("POST") { EMPTY } else { "" };
            ask_as(&mut stream, path, token, body).0
        })
    };
    assert_eq!(may("i"), [200, 401, 401, 401]);
    assert_eq!(may("r"), [401, 401, 200, 401]);
    assert_eq!(may("a"), [401, 401, 401, 200]);
    assert_eq!(may("x"), [401; 4]);
    // A second token for a source, then the first one goes.
    site.write("tokens", &(line("i2", "ingest eu") + &file));
    until("the new token is not taken", || may("i2")[0] == 200);
    assert_eq!(may("i")[0], 200);
    site.write("tokens", &file.replace(&hash("i"), &hash("i2")));
    until("the old token is still taken", || may("i")[0] == 401);
    assert_eq!(may("i2")[0], 200);
    // A file that can't be used changes nothing, and is not repeated in the log.
    site.write("tokens", "hunter2 ingest eu\n");
    until("the bad file is not told of", || {
        site.stderr().contains("no SHA-256")
    });
    assert!(!site.stderr().contains("hunter2"));
    assert_eq!(may("i2"), [200, 401, 401, 401]);
}

#[test]
fn the_admin_listener_has_health_and_metrics_for_itself() {
    let more = format!(
        "adminListen: 127.0.0.1:0\nadmins:\n- name: eve\n  tokenSha256: {}\n",
        hash("a")
    );
    let site = Site::new(&more);
    let mut service = site.start();
    let admin = service.admin.clone().unwrap();
    let mut stream = site.connect(&service, None);
    for path in ["GET /livez", "GET /readyz", "GET /metrics"] {
        assert_eq!(ask(&mut stream, path, "").0, 404, "{path}");
    }
    service.url = admin;
    let mut stream = site.connect(&service, None);
    for path in ["GET /livez", "GET /readyz", "GET /metrics"] {
        assert_eq!(ask(&mut stream, path, "").0, 200, "{path}");
    }
    for path in ["GET /checkpoint", "POST /audit/eu"] {
        assert_eq!(ask(&mut stream, path, "").0, 404, "{path}");
    }
    assert!(service.stop().success());
}

#[test]
fn no_secret_is_ever_written() {
    const SECRETS: [&str; 4] = [
        "s3cret-right",
        "s3cret-wrong",
        "s3cret-basic",
        "s3cret-cookie",
    ];
    let more = format!(
        "tokensFile: tokens\nsources:\n- name: eu\n  tokenSha256: {}\n- name: us\n  clientCertificate: {{commonName: us}}\n  require: both\n",
        hash(SECRETS[0])
    );
    let site = Site::new(&more);
    site.write("tokens", &format!("{} admin eve\n", hash(SECRETS[0])));
    let config = site.path("config.yaml");
    // All that any library would say.
    let started =
        PROGRAMS.try_start_logging("trace", &site.path("log"), &["--config", text(&config)]);
    let service = started.unwrap();
    let mut stream = site.connect(&service, None);
    let mut said = String::new();
    for token in [SECRETS[0], SECRETS[1]] {
        for (head, body) in [
            ("POST /audit/eu", EMPTY),
            ("POST /audit/eu", "not json"),
            ("POST /audit/us", EMPTY),
            ("POST /audit/EU", EMPTY),
            ("GET /api/v1/bodies?from=0&to=1", ""),
            ("GET /api/v1/entries/0?body=1", ""),
            ("GET /metrics", ""),
            ("GET /nothing", ""),
            ("DELETE /audit/eu", ""),
        ] {
            let (status, answer) = ask_as(&mut stream, head, token, body);
            said += &format!("{status} {answer}\n");
        }
    }
    let mut other = site.connect(&service, None);
    let head = format!(
        "POST /audit/eu HTTP/1.1\r\nAuthorization: Basic {}\r\nCookie: {}\r\nX-Rest:",
        SECRETS[2], SECRETS[3]
    );
    said += &ask(&mut other, &head, EMPTY).1;
    // A head that breaks off or can't be parsed.
    let mut broken = site.connect(&service, None);
    let head = format!(
        "POST /audit/eu HTTP/1.1\r\nAuthorization: Bearer {}\r\nbad header\r\n\r\n",
        SECRETS[0]
    );
    broken.write_all(head.as_bytes()).unwrap();
    said += &String::from_utf8_lossy(&ended(&mut broken));
    // To the TLS port in clear.
    let mut plain = tcp(&service.url);
    plain.write_all(head.as_bytes()).unwrap();
    said += &answer(&mut plain).1;
    let (status, metrics) = ask_as(&mut stream, "GET /metrics", SECRETS[0], "");
    assert_eq!(status, 200);
    assert!(service.stop().success());
    let log = site.stderr();
    assert!(log.contains("stopping"), "{log}");
    for (name, text) in [("answers", &said), ("metrics", &metrics), ("log", &log)] {
        assert!(!text.contains("s3cret"), "a secret in the {name}: {text}");
    }
}
