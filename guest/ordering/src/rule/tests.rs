use auditchain_guest_sdk::testing::Fixture;
use auditchain_guest_sdk::types::{EventFlags, Source};
use auditchain_guest_sdk::{Guest as _, Subject};

use super::*;
use crate::Ordering;

/// 2026-11-21T06:31:01.724580Z
const T: i64 = 1_795_242_661_724_580;

fn event(stage: &str, received: &str, staged: &str) -> String {
    format!(
        r#"{{"auditID":"a","stage":"{stage}","requestReceivedTimestamp":"{received}",
            "stageTimestamp":"{staged}"}}"#
    )
}

fn complete() -> String {
    event(
        "ResponseComplete",
        "2026-11-21T06:31:01.724580Z",
        "2026-11-21T06:31:01.724590Z",
    )
}

fn received() -> String {
    event(
        "RequestReceived",
        "2026-11-21T06:31:01.724580Z",
        "2026-11-21T06:31:01.724580Z",
    )
}

fn fixture(events: &[String]) -> Fixture {
    let mut fixture = Fixture::new(T + MICROS_PER_SECOND);
    for event in events {
        fixture.push(event.as_bytes());
    }
    fixture
}

fn judge_with(settings: &str, fixture: &Fixture) -> Vec<(u32, &'static str)> {
    let prepared = Ordering::prepare(settings, &[]).unwrap();
    let verdicts = fixture.run(&Ordering::configure(prepared).unwrap());
    verdicts
        .into_iter()
        .map(|verdict| {
            let rule = &RULES[verdict.rule as usize];
            let observes = [LATE.id, STAGE_MISSING.id].contains(&rule.id);
            assert!(verdict.valid == observes && !verdict.reason.is_empty());
            let Subject::Event(event) = verdict.subject else {
                panic!("{verdict:?}")
            };
            (event, RULES[verdict.rule as usize].id)
        })
        .collect()
}

fn judge(fixture: &Fixture) -> Vec<(u32, &'static str)> {
    judge_with("{}", fixture)
}

#[test]
fn a_request_in_order_is_silent() {
    assert!(judge(&fixture(&[received(), complete()])).is_empty());
}

#[test]
fn what_is_missing() {
    let no_stage = complete().replace("ResponseComplete", "ResponseSent");
    let no_received = complete().replace("requestReceivedTimestamp", "requestReceived");
    let no_staged = complete().replace("stageTimestamp", "stagedAt");
    let given = judge(&fixture(&[no_stage, no_received, no_staged, "{".into()]));
    assert_eq!(
        given,
        [
            (0, "stage-unknown"),
            (1, "timestamp-missing"),
            (2, "timestamp-missing"),
            (3, "stage-unknown"),
            (3, "timestamp-missing"),
        ]
    );
}

#[test]
fn an_undecodable_event_is_judged_as_any_other() {
    let mut fixture = fixture(&[complete(), complete()]);
    for event in &mut fixture.slice.events {
        event.flags |= EventFlags::UNDECODABLE;
    }
    fixture.slice.events[0].stage_timestamp = None;
    fixture.slice.events[1].stage_timestamp = Some(T - 1);
    let expected = [(0, "timestamp-missing"), (1, "stage-before-received")];
    assert_eq!(judge(&fixture), expected);
}

#[test]
fn an_event_against_itself() {
    let before = event(
        "ResponseComplete",
        "2026-11-21T06:31:01.724580Z",
        "2026-11-21T06:31:01.724579Z",
    );
    let off = event(
        "RequestReceived",
        "2026-11-21T06:31:01.724580Z",
        "2026-11-21T06:31:01.724581Z",
    );
    let fixture = fixture(&[before, off]);
    assert_eq!(
        judge(&fixture),
        [(0, "stage-before-received"), (1, "received-mismatch")]
    );
    // A tolerance is for clocks that step between two readings: here there is one.
    assert_eq!(
        judge_with(r#"{"toleranceMicros":1}"#, &fixture),
        [(1, "received-mismatch")]
    );
}

#[test]
fn a_received_event_knows_no_outcome() {
    for what in [
        r#""responseStatus":{"code":200}"#,
        r#""annotations":{"authorization.k8s.io/decision":"allow"}"#,
        r#""impersonatedUser":{"username":"x"}"#,
    ] {
        let with = |event: String| event.replacen('{', &format!("{{{what},"), 1);
        let given = judge(&fixture(&[with(received()), with(complete())]));
        assert_eq!(given, [(0, "stage-illegal")], "{what}");
    }
}

#[test]
fn future_is_judged_against_the_block() {
    let mut fixture = fixture(&[received()]);
    fixture.context.time = T - 10 * MICROS_PER_SECOND;
    assert!(judge(&fixture).is_empty());
    fixture.context.time -= 1;
    assert_eq!(judge(&fixture), [(0, "future")]);
    assert!(judge_with(r#"{"skewSeconds":11}"#, &fixture).is_empty());
    // Years later is a replay, not an alarm.
    fixture.context.time = T + 10 * 366 * 86_400 * MICROS_PER_SECOND;
    assert!(judge(&fixture).is_empty());
}

#[test]
fn backdated_is_judged_against_the_source() {
    let mut fixture = fixture(&[received()]);
    fixture.context.sources.push(Source {
        name: "other".into(),
        watermark: Some(i64::MAX),
    });
    fixture.context.sources[0].watermark = Some(T + 300 * MICROS_PER_SECOND);
    assert!(judge(&fixture).is_empty());
    for late in [300 * MICROS_PER_SECOND + 1, 600 * MICROS_PER_SECOND] {
        fixture.context.sources[0].watermark = Some(T + late);
        assert_eq!(judge(&fixture), [(0, "late")]);
        assert!(judge_with(r#"{"lateSeconds":600}"#, &fixture).is_empty());
    }
    fixture.context.sources[0].watermark = Some(T + 600 * MICROS_PER_SECOND + 1);
    assert_eq!(judge(&fixture), [(0, "backdated")]);
    assert!(judge_with(r#"{"windowSeconds":601,"lateSeconds":601}"#, &fixture).is_empty());
}

fn earlier(event: u32, stage: Stage, at: i64) -> EarlierStage {
    EarlierStage {
        event,
        stage,
        stage_timestamp: Some(at),
        conflicting: false,
    }
}

#[test]
fn stages_are_compared_by_time_whichever_came_first() {
    // The event is a ResponseComplete at T + 10.
    let mut fixture = fixture(&[complete()]);
    for (stage, at, wrong) in [
        (Stage::RequestReceived, T, false),
        (Stage::ResponseStarted, T + 10, false),
        (Stage::ResponseStarted, T + 11, true),
        (Stage::Panic, T + 99, false),
        (Stage::Unknown, T + 99, false),
    ] {
        fixture.context.earlier = vec![earlier(0, stage, at)];
        let expected: &[_] = if wrong { &[(0, "stage-order")] } else { &[] };
        assert_eq!(judge(&fixture), expected, "{stage:?}");
    }
    // A RequestReceived that comes after its ResponseStarted: fine, unless it is later.
    let mut fixture = self::fixture(&[received()]);
    fixture.context.earlier = vec![earlier(0, Stage::ResponseStarted, T)];
    assert!(judge(&fixture).is_empty());
    fixture.context.earlier = vec![earlier(0, Stage::ResponseStarted, T - 1)];
    assert_eq!(judge(&fixture), [(0, "stage-order")]);
    assert!(judge_with(r#"{"toleranceMicros":1}"#, &fixture).is_empty());
}

#[test]
fn conflicts_are_said_once_and_bad_indexes_ignored() {
    let mut fixture = fixture(&[received(), complete()]);
    let conflict = EarlierStage {
        conflicting: true,
        ..earlier(1, Stage::ResponseComplete, T + 10)
    };
    fixture.context.earlier = vec![conflict, conflict, earlier(7, Stage::Panic, T)];
    assert_eq!(judge(&fixture), [(1, "stage-conflict")]);
}

#[test]
fn extreme_times_do_not_overflow() {
    let mut fixture = fixture(&[complete(), complete()]);
    let extremes = [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN)];
    for (event, (received, staged)) in fixture.slice.events.iter_mut().zip(extremes) {
        event.request_received_timestamp = Some(received);
        event.stage_timestamp = Some(staged);
    }
    fixture.context.time = i64::MIN;
    fixture.context.sources[0].watermark = Some(i64::MAX);
    fixture.context.earlier = vec![
        earlier(0, Stage::RequestReceived, i64::MAX),
        earlier(1, Stage::RequestReceived, i64::MAX),
    ];
    assert_eq!(
        judge(&fixture),
        [
            (0, "future"),
            (1, "stage-before-received"),
            (1, "backdated"),
            (1, "stage-order")
        ]
    );
}

#[test]
fn a_missing_stage_is_said_only_when_it_can_no_longer_come() {
    const EXPECT: &str = r#"{"expectedStages":["RequestReceived"]}"#;
    let mut fixture = fixture(&[complete()]);
    let at = |fixture: &mut Fixture, seconds: i64| {
        fixture.context.time = T + seconds * MICROS_PER_SECOND;
        judge_with(EXPECT, fixture)
    };
    assert!(at(&mut fixture, 299).is_empty());
    assert_eq!(at(&mut fixture, 300), [(0, "stage-missing")]);
    // The window may not reach back to it.
    fixture.context.window_start = Some(T - 10 * MICROS_PER_SECOND);
    assert!(at(&mut fixture, 300).is_empty());
    fixture.context.window_start = Some(T - 10 * MICROS_PER_SECOND - 1);
    assert_eq!(at(&mut fixture, 300), [(0, "stage-missing")]);
    // It is there.
    fixture.context.earlier = vec![earlier(0, Stage::RequestReceived, T)];
    assert!(at(&mut fixture, 300).is_empty());
    // A failed authentication has none.
    fixture.context.earlier.clear();
    fixture.slice.events[0].code = UNAUTHORIZED;
    assert!(at(&mut fixture, 300).is_empty());
    assert!(judge(&fixture).is_empty(), "nothing is expected by default");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, name) in [
        (r#"{"skew":1}"#, "skew"),
        (r#"{"windowSeconds":-1}"#, "-1"),
        (r#"{"lateSeconds":31622401}"#, "lateSeconds"),
        (r#"{"expectedStages":["Panic"]}"#, "Panic"),
        (r#"{"windowSeconds":31622401}"#, "windowSeconds"),
    ] {
        let error = Ordering::prepare(settings, &[]).unwrap_err();
        assert!(error.contains(name), "{error}");
    }
}
