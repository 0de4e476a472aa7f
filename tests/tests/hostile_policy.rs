//! A policy that fails on everything, in a real service: nothing is lost, the others
//! judge, it is suspended by an entry, stays so, and every verdict comes out again.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};

use auditchain_guest_builder::{GuestBuild, build};
use auditchain_tests::{Programs, Service, bodies, events_of, programs, renamed};
use serde_json::Value;

const PROGRAMS: Programs = programs!();

fn hostile_module() -> PathBuf {
    let built = build(&GuestBuild {
        workspace_root: Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        packages: &["auditchain-hostile-guest"],
        // The cache that build scripts use too.
        target_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guests"),
    });
    built.unwrap()[0].component.clone()
}

/// Ordering, and the hostile guest in this mode.
fn configure(dir: &Path, mode: &str, fuel: u64) -> String {
    let head = "apiVersion: auditchain.io/v1alpha1\nkind";
    let policy = |name: &str, spec: &str| {
        let text = format!("{head}: VerificationPolicy\nmetadata: {{name: {name}}}\nspec:\n{spec}");
        std::fs::write(dir.join(format!("{name}.yaml")), text).unwrap();
    };
    let module = hostile_module();
    policy(
        "hostile",
        &format!(
            "  module: {}\n  mode: {mode}\n  settings: {{do: spin}}\n  limits: {{fuelBase: {fuel}, fuelPerEvent: 1000}}\n",
            module.display()
        ),
    );
    for name in ["ordering", "rbac"] {
        policy(
            name,
            &format!("  module: builtin:{name}\n  mode: enforce\n"),
        );
    }
    let config = dir.join("config.yaml");
    let text =
        format!("{head}: ServiceConfig\npolicies: [ordering.yaml, hostile.yaml, rbac.yaml]\n");
    std::fs::write(&config, text).unwrap();
    config.to_str().unwrap().into()
}

/// Sends recorded requests one by one, a block each. Accepted, rejected.
fn send(service: &Service, number: u32, count: usize) -> (u64, u64) {
    let (mut accepted, mut rejected, mut events) = (0, 0, 0);
    for body in bodies("bodies").iter().cycle().take(count).zip(0..) {
        let body = renamed(body.0, number + body.1);
        let answer = service.send("eu", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        accepted += json["accepted"].as_u64().unwrap();
        rejected += json["rejected"].as_u64().unwrap();
        events += events_of(&body);
    }
    assert_eq!(accepted + rejected, events);
    (accepted, rejected)
}

/// By the status.
fn suspended(service: &Service) -> Vec<String> {
    let status = service.get("/api/v1/status").json();
    let policies = status["policies"].as_array().unwrap().iter();
    let suspended = policies.filter(|policy| policy["suspended"] == true);
    suspended
        .map(|policy| policy["name"].as_str().unwrap().to_string())
        .collect()
}

fn entries(service: &Service) -> Vec<Value> {
    let entry = |index| service.get(&format!("/api/v1/entries/{index}")).json();
    (0..service.size()).map(entry).collect()
}

/// `policy` entries, as the log has them: how many policies each suspends.
fn policy_entries(entries: &[Value]) -> Vec<usize> {
    let of_kind = entries
        .iter()
        .map(|entry| entry.get("entry").unwrap_or(entry));
    let of_kind = of_kind.filter(|entry| entry["kind"] == "policy");
    of_kind
        .map(|entry| {
            let policies = entry["policies"].as_array().unwrap();
            policies.iter().filter(|p| p["suspended"] == true).count()
        })
        .collect()
}

#[test]
fn an_observing_policy_that_spins_is_suspended_and_costs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let config = configure(dir.path(), "observe", 1_000_000);
    let service = PROGRAMS.start(&log, &["--config", &config]);
    let (_, rejected) = send(&service, 1, 3);
    assert_eq!((rejected, suspended(&service)), (0, vec![]));
    let (_, rejected) = send(&service, 10, 5);
    assert_eq!(rejected, 0);
    assert_eq!(suspended(&service), ["hostile"]);
    let all = entries(&service);
    assert_eq!(policy_entries(&all), [0, 1]);
    let text = serde_json::to_string(&all).unwrap();
    assert!(text.contains("policy-error/out-of-fuel") && text.contains("policy-error/suspended"));
    let metrics = service.get("/metrics").text();
    assert!(
        metrics.contains("auditchain_policies_suspended 1"),
        "{metrics}"
    );
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let stderr = std::fs::read_to_string(log.with_extension("stderr")).unwrap();
    assert!(
        stderr.contains("policy suspended") && stderr.contains("critical"),
        "{stderr}"
    );

    // A restart keeps it, and writes nothing to say so again.
    let service = PROGRAMS.start(&log, &["--config", &config]);
    assert_eq!(suspended(&service), ["hostile"]);
    send(&service, 100, 2);
    assert_eq!(policy_entries(&entries(&service)), [0, 1]);
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify_with(&["--re-execute"], log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["reexecuted"]["different"], 0, "{report:#}");
    assert_eq!(report["reexecuted"]["notReproducible"], 0, "{report:#}");

    // Another limit is another policy.
    let config = configure(dir.path(), "observe", 2_000_000);
    let service = PROGRAMS.start(&log, &["--config", &config]);
    assert_eq!(suspended(&service), [""; 0]);
    assert_eq!(policy_entries(&entries(&service)), [0, 1, 0]);
    assert!(service.stop().success());
}

#[test]
fn an_enforcing_policy_that_spins_fails_closed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let config = configure(dir.path(), "enforce", 1_000_000);
    let service = PROGRAMS.start(&log, &["--config", &config]);
    let (accepted, _) = send(&service, 1, 8);
    assert_eq!(accepted, 0);
    assert_eq!(suspended(&service), ["hostile"]);
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify_with(&["--re-execute"], log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["reexecuted"]["different"], 0, "{report:#}");
}
