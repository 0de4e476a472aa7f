//! Settings: what is refused, and that the shipped policy and the documentation are
//! about the rules that there are.

use auditchain_guest_rbac::Rbac;
use auditchain_guest_rbac::organisation::{
    MAX_BODY_CONDITIONS, MAX_CUSTOM_RULES, Organisation, RULES,
};
use auditchain_guest_rbac::settings::Settings;
use auditchain_guest_sdk::Guest as _;
use serde_json::Value;

use super::support::refused;

const POLICY: &str = include_str!("../../../../policies/rbac.yaml");
const DOCUMENTATION: &str = include_str!("../../../../docs/rules.md");

fn policy_settings() -> String {
    let policy: Value = serde_saphyr::from_str(POLICY).unwrap();
    policy["spec"]["settings"].to_string()
}

#[test]
fn the_shipped_policy_is_the_default() {
    let settings = policy_settings();
    Rbac::prepare(&settings, &[]).unwrap();
    let settings: Settings = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.organisation, Organisation::default());
}

#[test]
fn the_examples_in_the_documentation_are_settings() {
    let blocks = DOCUMENTATION.split("```yaml\n").skip(1);
    let mut count = 0;
    for block in blocks {
        let (yaml, _) = block.split_once("```").unwrap();
        let settings: Value = serde_saphyr::from_str(yaml).unwrap();
        Rbac::prepare(&settings.to_string(), &[]).unwrap_or_else(|error| panic!("{error}: {yaml}"));
        count += 1;
    }
    assert!(count >= 3, "{count}");
}

#[test]
fn every_rule_is_documented() {
    for rule in RULES {
        let row = format!("| `{}` | ", rule.id);
        let severity = format!("| {:?} |", rule.severity).to_lowercase();
        let line = DOCUMENTATION.lines().find(|line| line.starts_with(&row));
        let line = line.unwrap_or_else(|| panic!("{} is not in docs/rules.md", rule.id));
        let severity = severity.replace("severity::", "");
        assert!(line.contains(&severity), "{line}: {severity}");
    }
}

#[test]
fn ids_are_those_that_a_log_can_hold() {
    let ids: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
    for id in &ids {
        let is_id = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        assert!(
            !id.is_empty() && id.len() <= 64 && id.bytes().all(is_id),
            "{id}"
        );
        assert_eq!(ids.iter().filter(|other| other == &id).count(), 1, "{id}");
    }
    // What was in logs before there were more.
    for id in [
        "exec-into-pod",
        "secret-read",
        "cluster-admin-binding",
        "impersonation",
        "anonymous-allowed",
    ] {
        assert!(ids.contains(&id), "{id}");
    }
}

#[test]
fn mistakes_are_refused_and_named() {
    let custom = |rest: &str| format!(r#"{{"custom":[{{"name":"x","severity":"low",{rest}}}]}}"#);
    let rule = |id: &str, rest: &str| format!(r#"{{"rules":{{"{id}":{{{rest}}}}}}}"#);
    for (settings, named) in [
        (r#"{"workHours":{}}"#.into(), vec!["workHours"]),
        (rule("exec", ""), vec!["organisation.rules", "\"exec\"", "exec-into-pod"]),
        (rule("secret-read", r#""severity":"high""#), vec!["severity"]),
        (rule("secret-read", r#""only":{"user":["a"]}"#), vec!["`user`"]),
        (rule("secret-read", r#""only":{}"#), vec!["rules.secret-read", "only", "every event"]),
        (rule("secret-read", r#""except":[{}]"#), vec!["rules.secret-read", "except", "every event"]),
        (rule("secret-read", r#""only":{"verbs":["create"]}"#), vec!["rules.secret-read", "verbs"]),
        (rule("secret-read", r#""words":["a"]"#), vec!["rules.secret-read", "words"]),
        (rule("configmap-credentials", r#""hostPaths":["a"]"#), vec!["hostPaths"]),
        (rule("configmap-credentials", r#""words":[""]"#), vec!["empty word"]),
        (rule("disallowed-user", ""), vec!["rules.disallowed-user", "except"]),
        (rule("disallowed-image", ""), vec!["rules.disallowed-image", "except"]),
        (rule("untrusted-node", ""), vec!["rules.untrusted-node", "except"]),
        (rule("outside-working-hours", ""), vec!["organisation.workingHours"]),
        (r#"{"workingHours":{"from":"9","to":"18:00"}}"#.into(), vec!["\"9\""]),
        (r#"{"workingHours":{"from":"09:00","to":"09:00"}}"#.into(), vec!["organisation.workingHours", "equal"]),
        (custom(r#""match":{"verb":["get"]}"#), vec!["`verb`"]),
        (custom(r#""match":{}"#), vec!["custom \"x\"", "match", "every event"]),
        (custom(r#""match":{"sourceIPs":["10.0.0/8"]}"#), vec!["10.0.0/8"]),
        (custom(r#""match":{"codes":["9xx"]}"#), vec!["9xx"]),
        (custom(r#""match":{"serviceAccounts":["bot"]}"#), vec!["serviceAccounts", "\"bot\""]),
        (custom(r#""match":{"serviceAccounts":["*/bot"]}"#), vec!["serviceAccounts"]),
        (custom(r#""match":{"workingHours":"inside"}"#), vec!["custom \"x\"", "workingHours"]),
        (custom(r#""match":{"resources":["a"],"paths":["/b"]}"#), vec!["resources and paths"]),
        (custom(r#""match":{"body":[{"at":"spec"}]}"#), vec!["custom \"x\"", "body.at", "\"spec\""]),
        (custom(r#""match":{"verbs":["get"]},"enable":false"#), vec!["`enable`"]),
        (r#"{"custom":[{"name":"x","match":{"verbs":["get"]}}]}"#.into(), vec!["severity"]),
        (r#"{"custom":[{"name":"X","severity":"low","match":{"verbs":["get"]}}]}"#.into(), vec!["a-z"]),
        (r#"{"custom":[{"name":"x","severity":"low","match":{"verbs":["get"]}},{"name":"x","severity":"low","match":{"verbs":["get"]}}]}"#.into(), vec!["custom \"x\"", "twice"]),
    ] {
        let error = refused(&settings);
        for named in named {
            assert!(error.contains(named), "{settings}: {error}");
        }
    }
    let walks = vec![r#"{"at":"/a"}"#; MAX_BODY_CONDITIONS + 1].join(",");
    let error = refused(&custom(&format!(r#""match":{{"body":[{walks}]}}"#)));
    assert!(error.contains("33 conditions on bodies"), "{error}");
    let many: Vec<_> = (0..=MAX_CUSTOM_RULES)
        .map(|number| {
            format!(r#"{{"name":"r{number}","severity":"low","match":{{"verbs":["get"]}}}}"#)
        })
        .collect();
    let error = refused(&format!(r#"{{"custom":[{}]}}"#, many.join(",")));
    assert!(error.contains("129") && error.contains("128"), "{error}");
}
