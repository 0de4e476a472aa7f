use super::*;

fn load(text: &str, more: &[&str]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let mut args = vec![
        "auditchaind",
        "--data",
        "d",
        "--config",
        path.to_str().unwrap(),
    ];
    args.extend_from_slice(more);
    Config::load(&Args::try_parse_from(args).unwrap())
}

const HEAD: &str = "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\n";

#[test]
fn the_command_line_wins_over_the_file() {
    let text = format!("{HEAD}listen: 127.0.0.1:1\norigin: a.example/log\nsources:\n- name: eu\n");
    let config = load(&text, &["--listen", "127.0.0.1:2"]).unwrap();
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.origin.as_deref(), Some("a.example/log"));
    assert_eq!(config.sources[0].name, "eu");
}

#[test]
fn all_mistakes_are_named_at_once() {
    let text = format!(
        "{HEAD}listen: 0.0.0.0:8443\norigin: a b\nsources:\n- name: EU\n- name: eu\n- name: eu\nlimits:\n  bodyBytes: 7\n"
    );
    let ConfigError(mistakes) = load(&text, &[]).unwrap_err();
    let all = mistakes.join("\n");
    for part in [
        "\"EU\"",
        "twice",
        "origin",
        "bodyBytes",
        "TLS",
        "tokenSha256",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
}

#[test]
fn with_tls_other_addresses_are_served_to_known_sources() {
    let tls = "listen: 0.0.0.0:8443\ntls:\n  certFile: a\n  keyFile: b\n  clientCaFile: c\n";
    let source = "sources:\n- name: eu\n  clientCertificate:\n    commonName: kube\n";
    let config = load(&format!("{HEAD}{tls}{source}"), &["--tls-key", "/k"]).unwrap();
    let files = config.tls.unwrap();
    assert_eq!(files.key, Path::new("/k"));
    assert!(files.certificate.is_absolute(), "relative to the file");
    for (text, part) in [
        (format!("{tls}sources:\n- name: eu\n"), "every source needs"),
        (tls.to_string(), "every source needs"),
        (source.to_string(), "clientCaFile"),
        ("tls:\n  certFile: a\n".into(), "both needed"),
        ("adminListen: 0.0.0.0:1\n".into(), "adminListen"),
        (
            "sources:\n- name: eu\n  require: token\n".into(),
            "tokensFile",
        ),
        ("readers:\n- name: al\n".into(), "needs a tokenSha256"),
        ("limits:\n  idleTimeout: 9 parsecs\n".into(), "idleTimeout"),
        ("limits:\n  idleTimeout: 0s\n".into(), "idleTimeout"),
        ("limits:\n  connections: 0\n".into(), "connections"),
    ] {
        let error = load(&format!("{HEAD}{text}"), &[]).unwrap_err().to_string();
        assert!(error.contains(part), "{part} in {error}");
    }
    let text = format!("{HEAD}limits:\n  headerTimeout: 300ms\n  connectionAge: 2h\n");
    let limits = load(&text, &[]).unwrap().limits;
    assert_eq!(limits.header_timeout, Duration::from_millis(300));
    assert_eq!(limits.connection_age_max, Duration::from_secs(7200));
}

#[test]
fn unknown_members_and_kinds_are_refused() {
    assert!(
        load(&format!("{HEAD}lissten: x\n"), &[])
            .unwrap_err()
            .to_string()
            .contains("lissten")
    );
    assert!(
        load("kind: Pod\n", &[])
            .unwrap_err()
            .to_string()
            .contains("ServiceConfig")
    );
}
