//! The plugin kit, as a policy's author uses it: a new crate, built for real, checked,
//! tested on recorded traffic, shown in a log.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use auditchain_tests::{Programs, data, programs};
use serde_json::{Value, json};

const PROGRAMS: Programs = programs!();

/// What the crate needs was fetched when this workspace was built.
fn cli(args: &[&str]) -> Output {
    Command::new(PROGRAMS.cli)
        .args(args)
        .env("CARGO_NET_OFFLINE", "true")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn json_of(args: &[&str], code: i32) -> Value {
    let output = cli(&[args, &["--output", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn from_a_new_crate_to_a_verdict_in_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let kit = dir.path().join("my-policy");
    json_of(&["policy", "new", text(&kit)], 0);
    // Never over something.
    assert_eq!(cli(&["policy", "new", text(&kit)]).status.code(), Some(2));
    let policy = kit.join("policy.yaml");
    // There is no module yet.
    assert_eq!(
        json_of(&["policy", "check", text(&policy)], 1)["exitCode"],
        1
    );

    let built = json_of(&["policy", "build", text(&kit)], 0);
    let checked = json_of(&["policy", "check", text(&policy)], 0);
    assert_eq!(checked["module"]["digest"], built["digest"]);
    assert_eq!(checked["guest"]["name"], "my-policy");
    assert_eq!(checked["guest"]["rules"][0]["id"], "foreign-write");
    let imports = checked["module"]["imports"].as_array().unwrap();
    let ours = |import: &Value| import["name"].as_str().unwrap().starts_with("auditchain:");
    assert!(imports.iter().all(ours), "{imports:?}");
    // A bare module that wants settings is no worse for it.
    let bare = json_of(&["policy", "check", text(&kit.join("my-policy.wasm"))], 0);
    assert!(bare["note"].as_str().unwrap().contains("name at least one"));

    // Recorded traffic: kube-system is changed by others than the three of the template.
    let recorded: Vec<_> = fs::read_dir(data("bodies"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".json"))
        .collect();
    let mut args = vec!["policy", "test", text(&policy), "--events"];
    args.extend(recorded.iter().map(|path| text(path)));
    let tested = json_of(&args, 0);
    let outcome = &tested["outcome"];
    let events = outcome["events"].as_u64().unwrap();
    assert!(
        events > 100 && outcome["failures"] == json!({}),
        "{outcome:#}"
    );
    assert_eq!(
        outcome["invalid"], 0,
        "a policy that observes refuses nothing"
    );
    assert!(outcome["cost"]["fuelPerEvent"].as_u64().unwrap() > 0);
    let found = outcome["rules"]["foreign-write"]["findings"]
        .as_u64()
        .unwrap_or(0);
    let expect = dir.path().join("expected.yaml");
    args.extend(["--expect", text(&expect)]);
    fs::write(&expect, format!("foreign-write: {found}\n")).unwrap();
    assert_eq!(json_of(&args, 0)["differences"], json!([]));
    fs::write(&expect, format!("foreign-write: {}\n", found + 1)).unwrap();
    assert_eq!(
        json_of(&args, 1)["differences"].as_array().unwrap().len(),
        1
    );
    assert!(String::from_utf8_lossy(&cli(&args).stdout).contains("DIFFERS"));

    // In a service, and shown.
    let config = dir.path().join("config.yaml");
    let head = "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\n";
    fs::write(
        &config,
        format!("{head}policies: [my-policy/policy.yaml]\n"),
    )
    .unwrap();
    let log = dir.path().join("log");
    let service = PROGRAMS.start(&log, &["--config", text(&config)]);
    let shown = json_of(&["policy", "show", &service.url], 0);
    let change = &shown["changes"][0];
    assert_eq!(change["policies"][0]["record"]["module"], built["digest"]);
    assert_eq!(
        change["policies"][0]["settings"]["namespaces"],
        json!(["kube-system"])
    );
    assert!(service.stop().success());
    let shown = String::from_utf8(cli(&["policy", "show", text(&log)]).stdout).unwrap();
    assert!(
        shown.contains("my-policy (observe)") && shown.contains("+ my-policy"),
        "{shown}"
    );
}

#[test]
fn what_a_service_refuses_is_refused_with_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    let write = |spec: &str| {
        fs::write(
            &file,
            format!("apiVersion: auditchain.io/v1alpha1\nkind: VerificationPolicy\nmetadata: {{name: a}}\nspec: {spec}\n"),
        )
        .unwrap();
    };
    write("{module: 'builtin:ordering', mode: enforce, settings: {skewSecond: 1}}");
    let checked = json_of(&["policy", "check", text(&file)], 1);
    assert!(
        checked["refused"].as_str().unwrap().contains("skewSecond"),
        "{checked:#}"
    );
    assert_eq!(checked["guest"]["name"], "ordering");
    write("{module: a.wasm, mode: enforce}");
    fs::write(dir.path().join("a.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let checked = json_of(&["policy", "check", text(&file)], 1);
    assert!(
        checked["refused"]
            .as_str()
            .unwrap()
            .contains("core WebAssembly module")
    );
    write("{module: 'builtin:ordering', mode: off}");
    assert!(
        json_of(&["policy", "check", text(&file)], 1)["error"]
            .as_str()
            .unwrap()
            .contains("off")
    );
    assert_eq!(
        cli(&["policy", "check", "/nowhere.yaml"]).status.code(),
        Some(2)
    );
}
