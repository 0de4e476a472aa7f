use auditchain_guest_sdk::testing::snapshot;

use super::*;
use crate::tables::ABSENT;

const LIST: &str = r#"{"items":[
    {"kind":"ClusterRole","metadata":{"name":"r","creationTimestamp":"1969-12-31T23:59:59Z"},
     "rules":[{"verbs":["get","list"],"apiGroups":[""],"resources":["pods"],"resourceNames":null},
              {"verbs":["get"],"nonResourceURLs":["/x"]}]},
    {"kind":"Role","metadata":{"name":"r","namespace":"n"},"rules":[]},
    {"kind":"ClusterRoleBinding","metadata":{"name":"z"},"roleRef":{"kind":"ClusterRole","name":"r"},
     "subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s"},
                 {"kind":"ServiceAccount","name":"s","namespace":"n"},{"kind":"Robot","name":"u"}]},
    {"kind":"RoleBinding","metadata":{"name":"a","namespace":"n"},"roleRef":{"kind":"Role","name":"r"},
     "subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s"}]},
    {"kind":"RoleBinding","metadata":{"name":"b","namespace":"n"},"roleRef":{"kind":"Role","name":"gone"}}
]}"#;

fn with_tables(check: impl FnOnce(Tables<'_>)) {
    let bytes = prepare("{}", &[snapshot(LIST)]).unwrap();
    check(Prepared::read(&bytes).unwrap().snapshots[0].tables);
}

#[test]
fn tables_hold_what_the_snapshot_says() {
    with_tables(|tables| {
        let find = |text: &str| tables.find(text.as_bytes());
        for text in ["", "get", "pods", "/x", "system:serviceaccount:n:s"] {
            assert_eq!(tables.string(find(text)), text.as_bytes());
        }
        assert_eq!(find(""), 0);
        assert_eq!(find("Robot"), ABSENT);
        assert_eq!(tables.string(ABSENT), b"");

        let z = tables.find_binding(0, find("z")).unwrap();
        assert_eq!(z.role_name, find("r"));
        assert_eq!(z.changed, i64::MIN);
        let role = z.role.unwrap();
        assert_eq!(tables.role_changed(role), -1_000_000);
        let rules: Vec<_> = tables.rules_of(role).collect();
        assert_eq!(rules.len(), 2);
        assert!(rules[0].verbs.contains(find("list")) && !rules[1].verbs.contains(find("list")));
        assert!(rules[0].resource_names.is_empty() && rules[0].api_groups.contains(0));

        let a = tables.find_binding(find("n"), find("a")).unwrap();
        assert_ne!(a.role, z.role);
        assert_eq!(
            tables.find_binding(find("n"), find("b")).unwrap().role,
            None
        );
        assert_eq!(tables.find_binding(0, find("a")), None);

        let of = |kind, name| tables.bindings_of(kind, find(name)).iter().count();
        assert_eq!(of(KIND_USER, "u"), 2);
        assert_eq!(of(KIND_SERVICE_ACCOUNT, "system:serviceaccount:n:s"), 2);
        assert_eq!(of(KIND_GROUP, "u"), 0);
    });
}

#[test]
fn mistakes_refuse_the_policy() {
    let refused = |settings: &str, from: &str, to: &str| {
        prepare(settings, &[snapshot(LIST.replacen(from, to, 1))]).unwrap_err()
    };
    assert!(refused(r#"{"lag":1}"#, "", "").contains("lag"));
    assert!(refused(r#"{"organisation":{"exec":true}}"#, "", "").contains("exec"));
    assert!(refused("{}", r#""name":"b""#, r#""name":"a""#).contains("twice"));
    assert!(
        refused(
            "{}",
            r#"{"kind":"Role","name":"gone"}"#,
            r#"{"kind":"User","name":"x"}"#
        )
        .contains("User")
    );
    assert!(Prepared::read(b"").is_err());
}

#[test]
fn altered_tables_never_panic() {
    let bytes = prepare("{}", &[snapshot(LIST)]).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            let Ok(prepared) = Prepared::read(&altered) else {
                continue;
            };
            let Some(Dated { tables, .. }) = prepared.snapshots.first().copied() else {
                continue;
            };
            for index in 0..8 {
                let _ = tables.string(index);
                let _ = tables.find_binding(index, index);
                let _ = tables.bindings_of(KIND_USER, index).iter().count();
                for rule in tables.rules_of(index) {
                    let _ = rule.verbs.contains(index);
                }
            }
        }
    }
}
