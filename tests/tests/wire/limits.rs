//! Slow, silent and greedy peers lose their connection, and nobody else does.

use std::io::Write as _;
use std::time::Instant;

use crate::support::{EMPTY, Site, answer, ask, ended, hash, until};

/// Small time-outs, so that the tests are quick; what they test is that there is one.
const QUICK: &str = "limits:\n  headerTimeout: 500ms\n  idleTimeout: 2s\n  bodyGrace: 500ms\n  bodyTimeout: 20s\n  handshakeTimeout: 2s\n";

#[test]
fn slow_peers_are_cut_off_and_others_are_served() {
    let site = Site::new(QUICK);
    let service = site.start();
    // A TLS handshake that doesn't come, and one that doesn't end.
    let mut silent = crate::support::tcp(&service.url);
    assert!(ended(&mut silent).is_empty());
    let mut half = crate::support::tcp(&service.url);
    half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    ended(&mut half);
    // A head that never ends, though bytes keep coming.
    let mut slow = site.connect(&service, None);
    slow.write_all(b"POST /audit/eu HTTP/1.1\r\nHost: a\r\n")
        .unwrap();
    slow.flush().unwrap();
    slow.sock
        .set_read_timeout(Some(std::time::Duration::from_millis(20)))
        .unwrap();
    let deadline = Instant::now() + std::time::Duration::from_secs(60);
    while slow.write_all(b"X").and_then(|()| slow.flush()).is_ok() && !is_closed(&mut slow) {
        assert!(Instant::now() < deadline, "the head goes on for ever");
    }
    // A body that trickles.
    let mut trickle = site.connect(&service, None);
    let head = "POST /audit/eu HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    trickle.write_all(head.as_bytes()).unwrap();
    let (status, problem) = answer(&mut trickle);
    assert_eq!(status, 408);
    assert!(problem.contains("bytes a second"), "{problem}");
    ended(&mut trickle);
    // One that is merely silent.
    let mut idle = site.connect(&service, None);
    assert_eq!(ask(&mut idle, "GET /livez", "").0, 200);
    assert!(ended(&mut idle).is_empty());
    // The reasons are counted.
    let mut stream = site.connect(&service, None);
    let (_, metrics) = ask(&mut stream, "GET /metrics", "");
    for (reason, count) in [("handshake_timeout", 2), ("header_timeout", 1), ("idle", 1)] {
        let line = format!("auditchain_connections_closed_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

#[test]
fn connections_are_limited_and_free_again() {
    let site = Site::new("limits:\n  connectionsPerPeer: 2\n");
    let service = site.start();
    let mut first = site.connect(&service, None);
    let mut second = site.connect(&service, None);
    assert!(site.try_connect(&service, None).is_err(), "a third one");
    for stream in [&mut first, &mut second] {
        assert_eq!(ask(stream, "GET /livez", "").0, 200);
    }
    let (_, metrics) = ask(&mut first, "GET /metrics", "");
    for line in [
        "auditchain_connections 2\n",
        "auditchain_connections_closed_total{reason=\"peer_limit\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    drop(second);
    until("the place is not free again", || {
        site.try_connect(&service, None).is_ok()
    });
}

#[test]
fn heads_are_limited() {
    let site = Site::new("");
    let service = site.start();
    let long = format!(
        "GET /livez HTTP/1.1\r\nX-Long: {}\r\nX-Rest:",
        "x".repeat(17 << 10)
    );
    let many: String = (0..70).map(|n| format!("X-{n}: 1\r\n")).collect();
    let many = format!("GET /livez HTTP/1.1\r\n{many}X-Rest:");
    for head in [long, many] {
        let mut stream = site.connect(&service, None);
        assert_eq!(ask(&mut stream, &head, "").0, 431);
        ended(&mut stream);
    }
}

#[test]
fn a_half_sent_request_does_not_hold_the_end_and_a_whole_one_is_answered() {
    let more = format!(
        "limits:\n  drainGrace: 2s\nsources:\n- name: eu\n  tokenSha256: {}\n",
        hash("t")
    );
    let site = Site::new(&more);
    let service = site.start();
    let head = format!(
        "POST /audit/eu HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        EMPTY.len()
    );
    let (first, rest) = EMPTY.split_at(10);
    let mut half = site.connect(&service, None);
    half.write_all((head.clone() + first).as_bytes()).unwrap();
    let mut whole = site.connect(&service, None);
    whole.write_all((head.clone() + first).as_bytes()).unwrap();
    let mut half_head = site.connect(&service, None);
    half_head.write_all(b"POST /audit/eu HT").unwrap();
    let mut idle = site.connect(&service, None);
    assert_eq!(ask(&mut idle, "GET /livez", "").0, 200);
    service.signal("TERM");
    // The idle one is closed at once: then we know that it stops.
    assert!(ended(&mut idle).is_empty());
    whole.write_all(rest.as_bytes()).unwrap();
    assert_eq!(answer(&mut whole).0, 200);
    let (status, problem) = answer(&mut half);
    assert_eq!(status, 503);
    assert!(problem.contains("stopping"), "{problem}");
    ended(&mut half_head);
    assert!(service.stop().success());
    assert!(
        !site.stderr().contains("did not end in time"),
        "{}",
        site.stderr()
    );
}

fn is_closed(stream: &mut crate::support::Tls) -> bool {
    use std::io::Read as _;
    match stream.read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
    }
}
