//! The same block and policies give the same verdict: on engines with other
//! options, however often, and however the block is cut.

mod common;

use std::{borrow::Cow, num::NonZeroUsize, time::Duration};

use auditchain_sandbox::{
    BlockVerdict, EarlierStage, Engine, EngineOptions, EventInput, EventView, Limits,
    ObjectRefView, PolicySet, PolicySpec, Stage, TimeView, UserView,
};
use common::{block, engine, hostile, load};

/// A view with something in every field.
fn full<'a>(id: &'a str, groups: &[&'a str]) -> EventView<'a> {
    let text = |text: &'a str| Some(Cow::Borrowed(text));
    let time = |micros| {
        Some(TimeView {
            text: Cow::Borrowed("as it stands there"),
            micros: Some(micros),
        })
    };
    EventView {
        audit_id: text(id),
        stage: text("ResponseStarted"),
        level: text("Request"),
        verb: text("create"),
        request_uri: text("/api/v1/namespaces/ns/pods/p/exec"),
        user: UserView {
            username: text("alice"),
            uid: text(""),
            groups: groups.iter().copied().map(Cow::Borrowed).collect(),
        },
        impersonated_user: Some(UserView {
            username: text("bob"),
            uid: None,
            groups: vec![],
        }),
        source_ips: vec![Cow::Borrowed("10.0.0.1"), Cow::Borrowed("::1")],
        user_agent: text("kubectl"),
        object_ref: Some(ObjectRefView {
            api_group: None,
            api_version: text("v1"),
            resource: text("pods"),
            subresource: text("exec"),
            namespace: text("ns"),
            name: text("p"),
        }),
        code: Some(101),
        request_received_timestamp: time(1),
        stage_timestamp: time(-2),
        decision: text("allow"),
        reason: text("RBAC: allowed"),
        signature: None,
        truncated: true,
        ambiguous: false,
    }
}

const EARLIER: &[EarlierStage] = &[EarlierStage {
    stage: Stage::RequestReceived,
    stage_timestamp_us: Some(1),
    conflicting: true,
}];

/// Events that share strings, some with nothing in them.
fn with_events<T>(count: usize, judge: impl FnOnce(&[EventInput<'_>]) -> T) -> T {
    let ids: Vec<String> = (0..count)
        .map(|index| format!("id-{}", index % 7))
        .collect();
    let views: Vec<EventView<'_>> = ids
        .iter()
        .enumerate()
        .map(|(index, id)| match index % 3 {
            0 => EventView::default(),
            1 => full(id, &["system:authenticated", id]),
            _ => full(id, &[]),
        })
        .collect();
    let events: Vec<EventInput<'_>> = views
        .iter()
        .enumerate()
        .map(|(index, view)| EventInput {
            source: 0,
            view,
            body: b"{}",
            undecodable: index % 5 == 0,
            in_signed_batch: false,
            earlier: if index % 4 == 1 { EARLIER } else { &[] },
        })
        .collect();
    judge(&events)
}

fn policies() -> Vec<PolicySpec> {
    let echo = hostile("echo", "echo-events");
    let sliced = |name: &str, slice_events| PolicySpec {
        limits: Limits {
            slice_events,
            ..echo.limits
        },
        name: name.into(),
        ..echo.clone()
    };
    vec![
        echo.clone(),
        sliced("echo-17", 17),
        sliced("echo-1", 1),
        hostile("spin", "spin"),
        hostile("every", "every-subject"),
    ]
}

fn judge(set: &PolicySet, count: usize) -> BlockVerdict {
    with_events(count, |events| set.judge(&block(events)))
}

#[test]
fn every_field_crosses_the_boundary() {
    let set = load(&[hostile("echo", "echo-events")]).expect("loads");
    let verdict = judge(&set, 6);
    let said: Vec<_> = verdict
        .events
        .iter()
        .map(|(_, finding)| finding.reason.as_str())
        .collect();
    assert_eq!(
        said[0],
        "0 - - - - - - - - - - - - user=- - [] impersonated=- - [] ips=[] Stage::Unknown \
         Level::Unknown None None 0 2 EventFlags { bits: 1 } earlier=[]"
    );
    assert_eq!(
        said[1],
        "0 \"id-1\" \"create\" \"/api/v1/namespaces/ns/pods/p/exec\" \"kubectl\" - \"v1\" \
         \"pods\" \"exec\" \"ns\" \"p\" \"allow\" \"RBAC: allowed\" user=\"alice\" \"\" \
         [\"system:authenticated\",\"id-1\"] impersonated=\"bob\" - [] \
         ips=[\"10.0.0.1\",\"::1\"] Stage::ResponseStarted Level::Request Some(1) Some(-2) \
         101 2 EventFlags { bits: 14 } \
         earlier=[\"Stage::RequestReceived Some(1) true\"]"
    );
}

#[test]
fn engines_with_other_options_agree() {
    let other = Engine::new(&EngineOptions {
        workers: NonZeroUsize::MIN,
        backstop: Duration::from_secs(600),
        pooled: false,
    })
    .expect("an engine");
    let one = load(&policies()).expect("loads");
    let two = PolicySet::load(&other, &policies(), &[]).expect("loads");
    for count in [0, 1, 2, 300] {
        let (one, two) = (judge(&one, count), judge(&two, count));
        assert!(one.same_findings(&two), "{count} events");
        assert_eq!(one.failures, two.failures);
        let fuel = |verdict: &BlockVerdict| {
            verdict
                .costs
                .iter()
                .map(|cost| cost.fuel)
                .collect::<Vec<_>>()
        };
        assert_eq!(fuel(&one), fuel(&two), "{count} events");
        assert!(one.is_reproducible());
    }
}

#[test]
fn judging_again_agrees() {
    let set = load(&policies()).expect("loads");
    let first = judge(&set, 100);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert!(judge(&set, 100).same_findings(&first));
                }
            });
        }
    });
}

#[test]
fn verdicts_do_not_depend_on_the_cut() {
    let set = load(&policies()[..3]).expect("loads");
    let verdict = judge(&set, 100);
    assert_eq!(
        verdict
            .costs
            .iter()
            .map(|cost| cost.instances)
            .collect::<Vec<_>>(),
        [1, 6, 100]
    );
    for event in 0..100 {
        let said: Vec<_> = verdict
            .events
            .iter()
            .filter(|(of, _)| *of == event)
            .map(|(_, finding)| finding.reason.as_str())
            .collect();
        assert_eq!(said.len(), 3);
        assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{said:?}");
    }
}

#[test]
fn findings_come_by_event_then_by_policy() {
    let set = load(&policies()).expect("loads");
    let verdict = judge(&set, 20);
    let order: Vec<_> = verdict
        .events
        .iter()
        .map(|(event, finding)| {
            (
                *event,
                policies().iter().position(|p| p.name == *finding.policy),
            )
        })
        .collect();
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(order, sorted);
    assert_eq!(order.len(), 20 * policies().len());
    let _ = engine();
}
