//! Selectors, by way of rules that the organisation writes itself.

use serde_json::json;

use super::support::{Event, judge};

/// Whether a rule with this `match` (and what else is given) catches the event.
fn catches(selector: &str, more: &str, event: &Event) -> bool {
    let settings = format!(
        r#"{{"workingHours":{{"from":"08:00","to":"18:00"}},
            "custom":[{{"name":"own","severity":"critical","match":{selector}{more}}}]}}"#
    );
    let given = judge(&settings, event);
    given
        .iter()
        .any(|given| given.rule == "organisation-critical")
}

#[test]
fn every_member_selects_and_lets_pass() {
    let get = || Event::new("get", "/api/v1/namespaces/n/pods/p");
    let log = Event::new("get", "/api/v1/namespaces/n/pods/p/log");
    let list = |uri| Event::new("list", uri);
    let path = Event::new("get", "/metrics/slis?x=1");
    let bot = get().by("system:serviceaccount:ci:bot");
    let pod = |image: &str| {
        Event::new("create", "/api/v1/namespaces/n/pods")
            .request(json!({"spec": {"containers": [{"image": image}]}}))
    };
    let scale = Event::new("patch", "/apis/apps/v1/namespaces/n/deployments/d/scale");
    let replicas = |replicas: u32| {
        scale
            .clone()
            .request(json!({"spec": {"replicas": replicas}}))
    };
    for (selector, caught, passed) in [
        (r#"{"users":["ali*"]}"#, get(), get().by("bob")),
        (
            r#"{"groups":["team-*"]}"#,
            get(),
            get().in_groups(&["other"]),
        ),
        (
            r#"{"users":["bob"],"groups":["team-red"]}"#,
            get(),
            get().by("zoe"),
        ),
        (r#"{"serviceAccounts":["ci/bot"]}"#, bot.clone(), get()),
        (
            r#"{"serviceAccounts":["ci/*"]}"#,
            bot,
            get().by("system:serviceaccount:cicd:bot"),
        ),
        (r#"{"verbs":["list","get"]}"#, get(), scale.clone()),
        (
            r#"{"verbs":["delete*"]}"#,
            Event::new("deletecollection", "/api/v1/namespaces/n/pods"),
            get(),
        ),
        (
            r#"{"verbs":["use"]}"#,
            Event::new("use", "/api/v1/namespaces/n/pods/p"),
            get(),
        ),
        (
            r#"{"verbs":["*"],"names":["p"]}"#,
            get(),
            Event::new("get", "/api/v1/namespaces/n/pods/q"),
        ),
        (r#"{"apiGroups":[""]}"#, get(), scale.clone()),
        (
            r#"{"apiGroups":["apps"],"resources":["*"]}"#,
            scale.clone(),
            get(),
        ),
        (r#"{"resources":["pods"]}"#, get(), log.clone()),
        (r#"{"resources":["pods/*"]}"#, log.clone(), get()),
        (r#"{"resources":["*/scale"]}"#, scale.clone(), log),
        (r#"{"resources":["nodes","pods"]}"#, get(), scale.clone()),
        (r#"{"paths":["/metrics/*"]}"#, path.clone(), get()),
        (
            r#"{"paths":["/metrics/*"]}"#,
            path,
            Event::new("get", "/metrics"),
        ),
        (
            r#"{"namespaces":["n"]}"#,
            get(),
            Event::new("get", "/api/v1/namespaces/m/pods/p"),
        ),
        (
            r#"{"namespaces":[""]}"#,
            Event::new("get", "/api/v1/nodes/w"),
            get(),
        ),
        (
            r#"{"namespaces":["n"]}"#,
            list("/api/v1/namespaces/n/pods"),
            list("/api/v1/nodes"),
        ),
        (
            r#"{"names":["p"]}"#,
            get(),
            Event::new("get", "/api/v1/namespaces/n/pods/q"),
        ),
        (
            r#"{"names":["p"]}"#,
            list("/api/v1/pods?fieldSelector=metadata.name%3Dp"),
            list("/api/v1/pods?fieldSelector=metadata.name%3Dq"),
        ),
        (
            r#"{"names":["q"],"verbs":["create"]}"#,
            pod("x").named("q"),
            pod("x").named("r"),
        ),
        (r#"{"decisions":["forbid"]}"#, get().forbidden(), get()),
        (
            r#"{"decisions":["none"]}"#,
            get().decided(None).code(401),
            get(),
        ),
        (r#"{"codes":["4xx"]}"#, get().code(404), get()),
        (r#"{"codes":[404]}"#, get().code(404), get().code(403)),
        (
            r#"{"userAgents":["kubectl/*"]}"#,
            get(),
            get().agent("curl/8"),
        ),
        // The last address counts, not the first.
        (
            r#"{"sourceIPs":["192.0.2.0/24"]}"#,
            get(),
            get().from("198.51.100.7"),
        ),
        (
            r#"{"sourceIPs":["192.0.2.0/24"]}"#,
            get().from("::ffff:192.0.2.9"),
            get().from("2001:db8::1"),
        ),
        (
            r#"{"impersonated":true}"#,
            get().impersonating("bob"),
            get(),
        ),
        (
            r#"{"impersonated":false}"#,
            get(),
            get().impersonating("bob"),
        ),
        (r#"{"anonymous":true}"#, get().by("system:anonymous"), get()),
        (
            r#"{"workingHours":"outside"}"#,
            get().at("2026-11-21T12:00:00Z"),
            get(),
        ),
        (
            r#"{"workingHours":"inside"}"#,
            get(),
            get().at("2026-11-20T18:00:00Z"),
        ),
        (r#"{"images":["evil/*"]}"#, pod("evil/x"), pod("good/x")),
        (
            r#"{"body":[{"at":"/requestObject/spec/replicas","values":["0"]}]}"#,
            replicas(0),
            replicas(1),
        ),
        (
            r#"{"body":[{"at":"/requestObject/spec/replicas"}]}"#,
            replicas(0),
            scale.clone(),
        ),
        (
            r#"{"body":[{"at":"/requestObject/spec/replicas","absent":true}]}"#,
            scale.clone(),
            replicas(0),
        ),
        (
            r#"{"body":[{"at":"/annotations/authorization.k8s.io~1reason","values":["RBAC*"],"absent":true}]}"#,
            get(),
            get().because("RBAC: allowed"),
        ),
        (
            r#"{"users":["alice"],"verbs":["get"],"namespaces":["n"]}"#,
            get(),
            get().by("bob"),
        ),
    ] {
        assert!(
            catches(selector, "", &caught),
            "{selector} {}",
            caught.json()
        );
        assert!(
            !catches(selector, "", &passed),
            "{selector} {}",
            passed.json()
        );
        // The same selector as an exception.
        let except = format!(r#","except":[{{"names":["none"]}},{selector}]"#);
        let any = r#"{"verbs":["*"]}"#;
        assert!(!catches(any, &except, &caught), "except {selector}");
        assert!(catches(any, &except, &passed), "except {selector}");
    }
}

#[test]
fn what_cannot_be_told_selects_and_exempts_nobody() {
    let list = Event::new("list", "/api/v1/secrets");
    let no_address = Event::new("get", "/api/v1/nodes/w").from("no address");
    let as_bob = Event::new("get", "/api/v1/nodes/w").impersonating("bob");
    let no_time = Event::new("get", "/api/v1/nodes/w").at("then");
    for (selector, event) in [
        (r#"{"namespaces":["n"]}"#, &list),
        (r#"{"names":["s"]}"#, &list),
        (r#"{"sourceIPs":["192.0.2.0/24"]}"#, &no_address),
        // Either of the two selects, and only both exempt.
        (r#"{"users":["alice"]}"#, &as_bob),
        (r#"{"users":["bob"]}"#, &as_bob),
    ] {
        assert!(catches(selector, "", event), "{selector}");
        let except = format!(r#","except":[{selector}]"#);
        assert!(
            catches(r#"{"verbs":["*"]}"#, &except, event),
            "except {selector}"
        );
    }
    // The stage's time stands in for that of the receipt.
    assert!(catches(r#"{"workingHours":"inside"}"#, "", &no_time));
    let both = r#","except":[{"users":["alice","bob"]}]"#;
    assert!(!catches(r#"{"verbs":["*"]}"#, both, &as_bob));
}

#[test]
fn a_custom_rule_reports_under_its_severity_with_its_name_first() {
    for severity in ["info", "low", "medium", "high", "critical"] {
        let settings = format!(
            r#"{{"custom":[{{"name":"no-nodes","severity":"{severity}","match":{{"resources":["nodes"]}}}}]}}"#
        );
        let given = judge(&settings, &Event::new("get", "/api/v1/nodes/w"));
        let [given] = given.as_slice() else {
            panic!("{given:?}")
        };
        assert_eq!(given.rule, format!("organisation-{severity}"));
        assert!(given.valid);
        assert_eq!(given.reason, "no-nodes: alice: get nodes /w");
        assert!(judge(&settings, &Event::new("get", "/api/v1/pods/w")).is_empty());
    }
}

#[test]
fn a_rule_that_denies_makes_the_event_invalid() {
    let exec = Event::new("create", "/api/v1/namespaces/prod/pods/p/exec");
    let deny = r#"{"rules":{"exec-into-pod":{"deny":true,"except":[{"groups":["break-glass"]}]}}}"#;
    let given = judge(deny, &exec);
    assert_eq!((given[0].rule, given[0].valid), ("exec-into-pod", false));
    assert!(judge(deny, &exec.clone().in_groups(&["break-glass"])).is_empty());
    assert!(judge("{}", &exec)[0].valid);
    let custom =
        r#"{"custom":[{"name":"x","severity":"low","match":{"namespaces":["prod"]},"deny":true}]}"#;
    let given = judge(custom, &exec);
    assert_eq!(
        given.iter().map(|given| given.valid).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn a_condition_on_a_body_that_is_not_read_is_reported_as_such() {
    let settings = r#"{"custom":[{"name":"x","severity":"low","match":
        {"resources":["widgets"],"body":[{"at":"/requestObject/a"}]}}]}"#;
    let widget = Event::new("update", "/apis/example.test/v1/namespaces/n/widgets/w");
    assert!(judge(settings, &widget).is_empty());
    for event in [widget.clone().padded(), widget.clone().truncated()] {
        let given = judge(settings, &event);
        assert_eq!(given[0].rule, "body-not-examined");
        assert!(given[0].reason.ends_with(": x"), "{given:?}");
    }
    // It is there, though the rest was cut off.
    let given = judge(settings, &widget.request(json!({"a": 1})).truncated());
    assert_eq!(given[0].rule, "organisation-low");
}

#[test]
fn of_more_than_eight_findings_those_that_weigh_most_are_reported() {
    let custom: Vec<String> = (0..12)
        .map(|number| {
            let severity = ["info", "low", "high"][number % 3];
            let deny = number == 3;
            format!(
                r#"{{"name":"r{number}","severity":"{severity}","match":{{"verbs":["get"]}},"deny":{deny}}}"#
            )
        })
        .collect();
    let settings = format!(r#"{{"custom":[{}]}}"#, custom.join(","));
    let long = "x".repeat(2_000);
    let given = judge(
        &settings,
        &Event::new("get", &format!("/api/v1/nodes/{long}")),
    );
    let rules: Vec<_> = given.iter().map(|given| given.rule).collect();
    assert_eq!(given.len(), 8);
    assert_eq!(
        rules[0], "organisation-info",
        "the one that denies is first"
    );
    assert!(!given[0].valid && given[0].reason.starts_with("r3: "));
    assert_eq!(rules[1..5], ["organisation-high"; 4]);
    assert_eq!(rules[5..], ["organisation-low"; 3]);
    assert!(given[7].reason.ends_with("(and 4 more that weigh no more)"));
    assert!(given.iter().all(|given| given.reason.len() < 1_024));
}
