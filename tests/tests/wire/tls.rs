//! Handshakes, files that change, HTTP/2 and HTTP/1.1, and the CLI over https.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;

use auditchain_tests::{Service, data};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::support::{PROGRAMS, Site, answer, ask, client_config, hash, tcp, text, until};

#[test]
fn http_1_and_2_are_spoken_over_tls_1_2_and_1_3() {
    let site = Site::new("");
    let service = site.start();
    assert!(service.url.starts_with("https://127.0.0.1:"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for protocol in ["h2", "http/1.1"] {
            let (status, http) = ask_by(&site, &service, version, protocol, &[]);
            let http2 = protocol == "h2";
            assert_eq!(status, 200);
            assert_eq!(http == hyper::Version::HTTP_2, http2, "{protocol}");
        }
    }
    // Without ALPN it is HTTP/1.1, as curl --no-alpn speaks it.
    let (status, _) = ask(&mut site.connect(&service, None), "GET /livez", "");
    assert_eq!(status, 200);
    // HTTP where TLS is spoken is told so.
    let mut plain = tcp(&service.url);
    plain
        .write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let (status, problem) = answer(&mut plain);
    assert_eq!(status, 400);
    assert!(problem.contains("https"), "{problem}");
    // Bytes that are neither cost nothing.
    for bytes in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16"] {
        let mut hostile = tcp(&service.url);
        hostile.write_all(bytes).unwrap();
        hostile.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = hostile.read_to_end(&mut vec![]);
    }
    assert!(service.stop().success());
}

#[test]
fn a_head_with_too_many_headers_is_refused_over_http_2() {
    let site = Site::new("");
    let service = site.start();
    let names: Vec<String> = (0..65).map(|n| format!("x-{n}")).collect();
    let version = &rustls::version::TLS13;
    assert_eq!(ask_by(&site, &service, version, "h2", &names).0, 431);
    assert_eq!(ask_by(&site, &service, version, "h2", &names[..40]).0, 200);
}

#[test]
fn changed_files_serve_new_connections_and_old_ones_live() {
    let site = Site::new("");
    // As a Secret is mounted: the files are symlinks into a directory that is swapped.
    let mount = |name: &str, pair: &crate::support::Pair| {
        std::fs::create_dir(site.path(name)).unwrap();
        site.put(&format!("{name}/tls"), pair);
        symlink(name, site.path("..tmp")).unwrap();
        std::fs::rename(site.path("..tmp"), site.path("..data")).unwrap();
    };
    mount("..1", &site.server("first"));
    for (from, to) in [("server.key", "tls.key"), ("server.pem", "tls.pem")] {
        std::fs::remove_file(site.path(from)).unwrap();
        symlink(format!("..data/{to}"), site.path(from)).unwrap();
    }
    let service = site.start();
    let mut old = site.connect(&service, None);
    assert_eq!(ask(&mut old, "GET /livez", "").0, 200);
    let first = leaf(&old);

    mount("..2", &site.server("second"));
    until("the new certificate is not served", || {
        leaf(&site.connect(&service, None)) != first
    });
    let second = leaf(&site.connect(&service, None));
    assert_eq!(ask(&mut old, "GET /livez", "").0, 200, "the old one lives");

    // A key of another certificate, no certificate at all, a key that everyone can
    // read, an expired certificate: each is told, and none is taken.
    let other = crate::support::Pair {
        certificate: site.server("third").certificate,
        ..site.server("fourth")
    };
    let junk = crate::support::Pair {
        certificate: "junk".into(),
        ..site.server("fifth")
    };
    let expired = site.ca.issue("sixth", &["127.0.0.1"], 2021);
    for (name, pair, part) in [
        ("..3", other, "must belong together"),
        ("..4", junk, "no certificate"),
        ("..5", expired, "expired"),
    ] {
        mount(name, &pair);
        until(part, || site.stderr().contains(part));
    }
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(site.path("..5/tls.key"), open).unwrap();
    until("mode", || site.stderr().contains("mode 644"));
    assert_eq!(leaf(&site.connect(&service, None)), second);
    let (_, metrics) = ask(&mut old, "GET /metrics", "");
    for line in [
        "auditchain_file_reloads_total{file=\"tls\",outcome=\"ok\"} 1\n",
        "auditchain_file_reloads_total{file=\"tls\",outcome=\"failed\"} 4\n",
        "auditchain_tls_certificate_expiry_timestamp_seconds 4070908800\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // And a good one is taken again.
    mount("..6", &site.server("seventh"));
    until("a good certificate is not taken", || {
        leaf(&site.connect(&service, None)) != second
    });
}

#[test]
fn files_that_can_not_be_used_stop_the_start() {
    let site = Site::new("");
    let good = site.server("good");
    let start = || {
        let config = site.path("config.yaml");
        let started = PROGRAMS.try_start(&site.path("log"), &["--config", text(&config)]);
        let (status, stderr) = started.expect_err("it started");
        assert_eq!(status.code(), Some(1));
        stderr
    };
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(site.path("server.key"), open).unwrap();
    assert!(start().contains("defaultMode: 0440"));
    site.put("server", &site.ca.issue("old", &["127.0.0.1"], 2021));
    assert!(start().contains("expired at 2021-01-01"));
    site.write("server.pem", &good.certificate);
    assert!(start().contains("must belong together"));
    std::fs::remove_file(site.path("server.pem")).unwrap();
    assert!(start().contains("can't read"));
    assert!(!site.path("log").exists(), "the log was not touched");
    site.put("server", &good);
    assert!(site.start().stop().success());
}

#[test]
fn the_cli_speaks_https_with_a_ca_a_token_and_a_client_certificate() {
    let more = format!(
        "sources:\n- name: eu\n  tokenSha256: {}\n- name: us\n  clientCertificate:\n    commonName: us\nreaders:\n- name: al\n  tokenSha256: {}\n",
        hash("eu-token"),
        hash("al-token")
    );
    let site = Site::new(&more);
    site.put("us", &site.clients.issue("us", &[], 2099));
    site.write("eu-token", "eu-token\n");
    site.write("al-token", "al-token\n");
    let service = site.start();
    let path = |name: &str| text(&site.path(name)).to_owned();
    let (ca, eu, al) = (path("ca.pem"), path("eu-token"), path("al-token"));
    let (cert, key) = (path("us.pem"), path("us.key"));
    let body = std::fs::read_dir(data("bodies")).unwrap().next();
    let body = body.unwrap().unwrap().path();
    let body = text(&body).to_owned();
    let url = service.url.as_str();
    let run = |args: &[&str], code: i32, part: &str| {
        let output = PROGRAMS.cli(args);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(part), "{part} in {said}");
    };
    let by_token = ["--ca", &ca, "--token-file", &eu];
    run(
        &[&["ingest", url, &body, "--source", "eu"][..], &by_token].concat(),
        0,
        "accepted",
    );
    let by_certificate = ["--ca", &ca, "--client-cert", &cert, "--client-key", &key];
    run(
        &[
            &["ingest", url, &body, "--source", "us"][..],
            &by_certificate,
        ]
        .concat(),
        0,
        "accepted",
    );
    run(
        &[
            &["ingest", url, &body, "--source", "eu"][..],
            &by_certificate,
        ]
        .concat(),
        1,
        "401",
    );
    run(
        &[
            &["bench", url, &body, "--events", "10", "--source", "eu"][..],
            &by_token,
        ]
        .concat(),
        0,
        "events/s",
    );
    let reader = ["--ca", &ca, "--token-file", &al];
    run(&[&["verify", url][..], &reader].concat(), 0, "HOLDS");
    run(&[&["get", url, "0"][..], &reader].concat(), 0, "entry 0");
    let out = path("0.tlog-proof");
    run(
        &[&["prove", url, "--index", "0", "-o", &out][..], &reader].concat(),
        0,
        "HOLDS",
    );
    run(&[&["key", "show", url][..], &reader].concat(), 0, "+");
    // The service's certificate is checked.
    let wrong = path("clients.pem");
    run(&["verify", url, "--ca", &wrong], 2, "--ca");
    run(&["verify", url, "--ca", &key], 2, "no certificate");
    run(
        &["verify", url, "--ca", &ca, "--client-cert", &cert],
        2,
        "--client-key",
    );
}

fn leaf(stream: &crate::support::Tls) -> Vec<u8> {
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

/// GET /livez by a real client of either version, with more headers.
fn ask_by(
    site: &Site,
    service: &Service,
    version: &'static rustls::SupportedProtocolVersion,
    protocol: &str,
    headers: &[String],
) -> (u16, hyper::Version) {
    let mut config = client_config(&site.ca, None, &[version]);
    config.alpn_protocols = vec![protocol.into()];
    let address = service.url.split_once("://").unwrap().1.to_owned();
    let mut request = hyper::Request::get(format!("{}/livez", service.url)).header("host", "a");
    for name in headers {
        request = request.header(name, "1");
    }
    let request = request.body(Full::new(Bytes::from_static(b""))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            Some(protocol.as_bytes())
        );
        let io = TokioIo::new(stream);
        let response = if protocol == "h2" {
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (mut sender, connection) = builder.handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let builder = hyper::client::conn::http1::Builder::new();
            let (mut sender, connection) = builder.handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        let (status, version) = (response.status().as_u16(), response.version());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(status != 200 || body == "ok\n");
        (status, version)
    })
}
