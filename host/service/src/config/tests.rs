use std::time::Duration;

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

/// A P-256 key and the SM2 key of GM/T 0003.5, annex A.2.
const P256_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==";
const SM2_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAECfnfMR5UIaFQ3X0WHkvFxnIXn60YM/wHa7CP81bzUCDM6kkM4md1pS3G6nGMwapgCu0F+/NeCEpmMvYHLamtEw==";

#[test]
fn signing_keys_become_what_the_log_says_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("eu.pem");
    std::fs::write(
        &pem,
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n",
            &P256_KEY[..64],
            &P256_KEY[64..]
        ),
    )
    .unwrap();
    let text = format!(
        "{HEAD}sources:\n- name: eu\n  signingKeys:\n  - file: {}\n    notBefore: 2026-01-01T00:00:00+08:00\n    notAfter: 2027-01-01T00:00:00Z\n  - key: {SM2_KEY}\n- name: us\n  signingKeys:\n  - key: {SM2_KEY}\n- name: none\n",
        pem.display()
    );
    let keys = load(&text, &[]).unwrap().sender_keys;
    let told: Vec<_> = keys
        .iter()
        .map(|key| (key.source.as_deref().unwrap(), key.key.as_str()))
        .collect();
    assert_eq!(told, [("eu", P256_KEY), ("eu", SM2_KEY), ("us", SM2_KEY)]);
    let times = (keys[0].not_before.unwrap(), keys[0].not_after.unwrap());
    assert_eq!(times.0.to_string(), "2025-12-31T16:00:00.000000Z");
    assert_eq!(times.1.to_string(), "2027-01-01T00:00:00.000000Z");
    assert_eq!((keys[1].not_before, keys[1].not_after), (None, None));
}

#[test]
fn all_mistakes_in_signing_keys_are_named() {
    let text = format!(
        "{HEAD}sources:\n- name: eu\n  signingKeys:\n  - key: {SM2_KEY}\n  - key: {SM2_KEY}\n  - {{}}\n  - key: AAAA\n  - key: '?'\n  - file: /nonexistent.pem\n    notAfter: tomorrow\n  - key: {P256_KEY}\n    notBefore: 2027-01-01T00:00:00Z\n    notAfter: 2026-01-01T00:00:00Z\n"
    );
    let ConfigError(mistakes) = load(&text, &[]).unwrap_err();
    let all = mistakes.join("\n");
    for part in [
        "twice",
        "a file or a key",
        "no P-256 or SM2",
        "no base64",
        "can't read /nonexistent.pem",
        "tomorrow",
        "never be valid",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    assert_eq!(mistakes.len(), 7, "{all}");
    let many = "  - key: AAAA\n".repeat(9);
    let text = format!("{HEAD}sources:\n- name: eu\n  signingKeys:\n{many}");
    let error = load(&text, &[]).unwrap_err().to_string();
    assert!(error.contains("over the limit"), "{error}");
}
