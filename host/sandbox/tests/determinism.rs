//! The same block and policies give the same verdict: on engines with other
//! options, however often, and however the block is cut.

#![allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "test code"
)]

mod common;

use std::{borrow::Cow, num::NonZeroUsize, time::Duration};

use auditchain_sandbox::{
    BlockVerdict, EarlierStage, Engine, EngineOptions, EventInput, EventView, Limits,
    ObjectRefView, PolicySet, PolicySpec, Stage, TimeView, UserView,
};
use common::{
    block, engine, hostile, load,
    raw::{REASON, Raw},
    recorded,
};

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
        pooled: false,
        workers: NonZeroUsize::MIN,
        backstop: Duration::from_secs(600),
    })
    .expect("an engine");
    let one = load(&all()).expect("loads");
    let two = PolicySet::load(&other, &all(), &[]).expect("loads");
    for count in [0, 1, 2, 40] {
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

/// Those, and what fails or looks for a difference in its own way.
fn all() -> Vec<PolicySpec> {
    let mut all = policies();
    all.extend([
        hostile("recurse", "recurse"),
        hostile("grow", "grow"),
        hostile("log", "log-flood"),
        PolicySpec {
            module: looking_around().component().into(),
            ..hostile("raw", "")
        },
        hostile("look-around", "look-around"),
    ]);
    all
}

/// Writes what relaxed SIMD, NaNs, `memory.grow` and memory that nobody wrote give, in
/// letters; then leaves its memory full of ones for whoever comes next.
fn looking_around() -> Raw {
    const AT: i32 = 4_096;
    const BYTES: i32 = 16 * 6;
    Raw {
        reason: [REASON as u32, 2 * BYTES as u32],
        verify: |i| {
            let at = |offset| wasm_encoder::MemArg {
                offset,
                align: 0,
                memory_index: 0,
            };
            // NaNs, infinities, and lanes whose result the specification leaves open.
            let odd = 0x7fc1_2345_ffa0_0001_ff80_0000_4f80_0000_u128 as i128;
            let other = 0x3f80_0001_bf80_0000_7f7f_ffff_0000_0080_u128 as i128;
            i.i32_const(AT)
                .v128_const(odd)
                .v128_const(other)
                .i8x16_relaxed_swizzle();
            i.v128_store(at(0));
            i.i32_const(AT)
                .v128_const(odd)
                .i32x4_relaxed_trunc_f32x4_s()
                .v128_store(at(16));
            i.i32_const(AT)
                .v128_const(odd)
                .v128_const(other)
                .v128_const(other);
            i.f32x4_relaxed_madd().v128_store(at(32));
            i.i32_const(AT)
                .v128_const(odd)
                .v128_const(other)
                .f32x4_relaxed_min();
            i.v128_store(at(48));
            i.i32_const(AT)
                .v128_const(odd)
                .v128_const(other)
                .i16x8_relaxed_q15mulr_s();
            i.v128_store(at(64));
            i.i32_const(AT)
                .i32_const(2)
                .memory_grow(0)
                .i32_store(at(80));
            // Past what anybody wrote: the last page.
            i.i32_const(AT)
                .i32_const(65 << 16)
                .i64_load(at(8))
                .i64_store(at(84));
            i.i32_const(1 << 20)
                .i32_const(1)
                .i32_const(3 << 20)
                .memory_fill(0);
            i.loop_(wasm_encoder::BlockType::Empty);
            for shift in [4, 0] {
                i.local_get(1).i32_const(1).i32_shl();
                i.local_get(1)
                    .i32_load8_u(at(AT as u64))
                    .i32_const(shift)
                    .i32_shr_u();
                i.i32_const(15).i32_and().i32_const(97).i32_add();
                i.i32_store8(at(REASON as u64 + u64::from(shift == 0)));
            }
            i.local_get(1)
                .i32_const(1)
                .i32_add()
                .local_tee(1)
                .i32_const(BYTES);
            i.i32_lt_u().br_if(0).end();
        },
        ..Raw::default()
    }
}

#[test]
fn what_a_guest_can_see_is_the_same_in_every_instance() {
    let set = load(&all()).expect("loads");
    let reason = |name: &str| {
        let verdict = judge(&set, 3);
        let mut found = verdict.events.iter().filter(|(_, f)| &*f.policy == name);
        found.next().expect("a finding").1.reason.clone()
    };
    for name in ["raw", "look-around"] {
        assert_eq!(reason(name), reason(name), "{name}");
    }
    let raw = reason("raw");
    assert_eq!(raw.len(), 192, "{raw}");
    // memory.grow says 64 pages, little-endian; and fresh memory is zero.
    assert_eq!(&raw[160..184], "eaaaaaaaaaaaaaaaaaaaaaaa", "{raw}");
    // A NaN has one form.
    let around = reason("look-around");
    assert!(
        around.starts_with("[7ff8000000000000, 7ff8000000000000, 7ff8000000000000"),
        "{around}"
    );
}

#[test]
fn default_guests_agree_on_recorded_traffic() {
    let pooled = engine();
    let other = Engine::new(&EngineOptions {
        workers: NonZeroUsize::MIN,
        pooled: false,
        ..EngineOptions::default()
    })
    .expect("an engine");
    let json = recorded::rbac_snapshot();
    let specs = auditchain_sandbox::default_policies();
    let sets = [pooled, &other].map(|engine| {
        PolicySet::load(engine, &specs, &[recorded::snapshot(&json)]).expect("loads")
    });
    let seal = recorded::Seal::new();
    let mut window = recorded::Window::default();
    for request in ["bodies", "edge"].map(recorded::recorded).iter().flatten() {
        let sources = [auditchain_sandbox::SourceInput {
            name: "a-cluster",
            watermark_us: window.newest_us,
        }];
        let views = request.views();
        let earlier = window.take(request, &views);
        let events = recorded::inputs(request, &views, &earlier);
        let time_us = window.newest_us.unwrap_or(0);
        let block = recorded::block(&seal, &sources, &[], &events, time_us);
        let [one, two] = [&sets[0], &sets[1]].map(|set| set.judge(&block));
        assert!(one.same_findings(&two));
        let fuel =
            |verdict: &BlockVerdict| verdict.costs.iter().map(|c| c.fuel).collect::<Vec<_>>();
        assert_eq!(fuel(&one), fuel(&two));
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
