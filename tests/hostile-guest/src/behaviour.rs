//! What the guest does, by name. A name is for one call; the other calls behave.
#![allow(
    clippy::cast_possible_truncation,
    reason = "a length fits 32 bits where this runs"
)]

use std::{
    cell::{Cell, RefCell},
    hint::black_box,
};

use crate::bindings::auditchain::verifier::{
    host,
    types::{Context, LogLevel, RbacSnapshot, Slice, Span, Subject, UserInfo, Verdict},
};

/// Rules, by their index in the description.
const RULE_SEEN: u32 = 0;
const RULE_BAD: u32 = 1;

thread_local! {
    static BEHAVIOUR: RefCell<String> = const { RefCell::new(String::new()) };
    /// Must be 1 in every `verify`: instances are fresh.
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

pub(crate) fn prepare(settings: &str, snapshots: &[RbacSnapshot]) -> Result<Vec<u8>, String> {
    let behaviour = settings
        .strip_prefix(r#"{"do":""#)
        .and_then(|rest| rest.strip_suffix(r#""}"#))
        .unwrap_or("");
    match behaviour {
        "prepare-spin" => spin(),
        "prepare-trap" => std::process::abort(),
        "prepare-refuse" => return Err("I will not".into()),
        "prepare-refuse-at-length" => return Err("no ".repeat(1 << 16)),
        "prepare-grow" => grow(),
        "prepare-flood" => return Ok(vec![0; 20 << 20]),
        "prepare-snapshot" if !snapshots.is_empty() => {
            return Err("a snapshot that was not asked for".into());
        }
        _ => {}
    }
    Ok(behaviour.into())
}

pub(crate) fn configure(prepared: Vec<u8>) -> Result<(), String> {
    let behaviour = String::from_utf8(prepared).map_err(|error| error.to_string())?;
    match behaviour.as_str() {
        "configure-refuse" => return Err("not today".into()),
        "configure-spin" => spin(),
        "configure-trap" => std::process::abort(),
        _ => {}
    }
    BEHAVIOUR.set(behaviour);
    Ok(())
}

pub(crate) fn verify(context: &Context, slice: &Slice) -> Vec<Verdict> {
    CALLS.set(CALLS.get() + 1);
    match BEHAVIOUR.take().as_str() {
        "spin" => spin(),
        "grow" => grow(),
        "fill" => fill(),
        "trap" => std::process::abort(),
        "panic" => panic!("on purpose"),
        "recurse" => {
            black_box(recurse(1));
        }
        "recurse-with-large-frames" => {
            black_box(recurse_with_large_frames(1));
        }
        "out-of-bounds" => return vec![on_event(black_box(&slice.events)[usize::MAX / 2].source)],
        "trap-on-bad" if slice.strings.iter().any(|string| string == "bad") => {
            std::process::abort();
        }
        "flood" => return vec![on_event(0); 200_000],
        "flood-one-event" => return vec![on_event(0); 9],
        "huge-reason" => return vec![with_reason("x".repeat(16 << 20))],
        // Two bytes a character, after one: the limit falls inside a character.
        "long-reason" => return vec![with_reason(format!("x{}", "é".repeat(4_000)))],
        "log-flood" => {
            for line in 0..10_000 {
                host::log(LogLevel::Info, &format!("line {line}"));
            }
        }
        "log-huge" => host::log(LogLevel::Error, &"x".repeat(32 << 20)),
        "log-long" => host::log(LogLevel::Error, &format!("a\nb{}", "é".repeat(40_000))),
        "log-spin" => loop {
            host::log(LogLevel::Debug, "x");
        },
        "wrong-event" => return vec![on_event(slice.events.len() as u32)],
        "wrong-batch" => {
            return vec![Verdict {
                subject: Subject::Batch(context.batches.len() as u32),
                ..on_event(0)
            }];
        }
        "wrong-rule" => {
            return vec![Verdict {
                rule: 2,
                ..on_event(0)
            }];
        }
        "bad-sig" => return vec![with_sig("p256:not hex")],
        "long-sig" => return vec![with_sig(&format!("p256:{}", "a".repeat(4_096)))],
        "good-sig" => return vec![with_sig("ecdsa-p256-sha256:00ff")],
        "every-subject" => return every_subject(context, slice),
        "bodies" => return bodies(slice),
        "body-past-the-end" => {
            let past = [slice.events.len() as u32, u32::MAX].map(host::body);
            assert!(past.iter().all(Option::is_none), "a body past the end");
        }
        "body-spin" => loop {
            black_box(host::body(0));
        },
        "state" => {
            assert_eq!(CALLS.get(), 1, "an instance that was used before");
        }
        "look-around" => return vec![with_reason(look_around())],
        "echo-context" => return vec![with_reason(echo_context(context))],
        "echo-events" => return echo_events(context, slice),
        _ => {}
    }
    (0..slice.events.len() as u32)
        .map(|event| Verdict {
            valid: true,
            rule: RULE_SEEN,
            ..on_event(event)
        })
        .collect()
}

fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

fn grow() {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(black_box(vec![1; 1 << 20]));
    }
}

/// One instruction that works for long, again and again.
fn fill() {
    let mut memory = vec![0_u8; 16 << 20];
    loop {
        black_box(&mut memory).fill(7);
    }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1))) + depth
}

#[allow(unconditional_recursion)]
fn recurse_with_large_frames(depth: u64) -> u64 {
    let frame = black_box([depth; 1_024]);
    black_box(recurse_with_large_frames(depth + 1)) + frame[(depth % 1_024) as usize]
}

fn on_event(event: u32) -> Verdict {
    Verdict {
        subject: Subject::Event(event),
        valid: false,
        rule: RULE_BAD,
        reason: String::new(),
        sig: None,
    }
}

fn with_reason(reason: String) -> Verdict {
    Verdict {
        reason,
        ..on_event(0)
    }
}

fn with_sig(sig: &str) -> Verdict {
    Verdict {
        sig: Some(sig.into()),
        ..on_event(0)
    }
}

fn every_subject(context: &Context, slice: &Slice) -> Vec<Verdict> {
    let batches = (0..context.batches.len() as u32).map(Subject::Batch);
    let events = (0..slice.events.len() as u32).map(Subject::Event);
    // Last first: the host sorts.
    let mut subjects: Vec<Subject> = std::iter::once(Subject::Block)
        .chain(batches)
        .chain(events)
        .collect();
    subjects.reverse();
    subjects
        .into_iter()
        .map(|subject| Verdict {
            subject,
            ..on_event(0)
        })
        .collect()
}

fn echo_context(context: &Context) -> String {
    let seal = context.previous_seal.as_ref().map_or_else(
        || "none".into(),
        |seal| format!("{},{},{}", seal.note, seal.keys.join(","), seal.size),
    );
    let sources: Vec<_> = context.sources.iter().map(|s| s.name.as_str()).collect();
    let batches: Vec<_> = context
        .batches
        .iter()
        .map(|b| b.sequence.to_string())
        .collect();
    format!(
        "{} {} {} seal={seal} sources={} batches={}",
        context.origin,
        context.block,
        context.time,
        sources.join(","),
        batches.join(","),
    )
}

/// All that could differ from one machine or run to another.
fn look_around() -> String {
    use std::hash::BuildHasher as _;
    let zero = black_box(0.0_f64);
    let nan = black_box(f64::from_bits(0xfff4_dead_beef_0001));
    let single = black_box(f32::from_bits(0xffa0_1234));
    let nans = [
        zero / black_box(zero),
        (-1.0 - zero).sqrt(),
        nan + 1.0,
        nan * 2.0,
        nan.min(1.0),
    ];
    let nans = nans.map(f64::to_bits);
    let single = (single + 1.0).to_bits();
    let seed = std::hash::RandomState::new().hash_one(1_u8);
    let kept = [1_usize, 4_000, 1 << 20].map(|size| black_box(vec![0_u8; size]));
    let heap: Vec<_> = kept.iter().map(|kept| kept.as_ptr() as usize).collect();
    let stack = black_box(&zero) as *const f64 as usize;
    let sum: u64 = vec![0_u8; 3 << 20]
        .iter()
        .map(|byte| u64::from(*byte))
        .sum();
    let depth = black_box(descend(1_000));
    format!("{nans:x?} {single:x} {seed:x} {heap:x?} {stack:x} {sum} {depth}")
}

fn descend(depth: u64) -> u64 {
    if black_box(depth) == 0 {
        return 0;
    }
    1 + black_box(descend(depth - 1))
}

/// Every field of each event, strings looked up.
fn echo_events(context: &Context, slice: &Slice) -> Vec<Verdict> {
    let string = |index: u32| match index {
        0 => "-".into(),
        index => format!("{:?}", slice.strings[index as usize]),
    };
    let list = |span: Span| {
        slice.lists[span.start as usize..][..span.len as usize]
            .iter()
            .map(|index| string(*index))
            .collect::<Vec<_>>()
            .join(",")
    };
    let user = |user: UserInfo| {
        let (name, uid) = (string(user.username), string(user.uid));
        format!("{name} {uid} [{}]", list(user.groups))
    };
    (0..)
        .zip(&slice.events)
        .map(|(index, event)| {
            let earlier: Vec<_> = context
                .earlier
                .iter()
                .filter(|earlier| earlier.event == index)
                .map(|e| format!("{:?} {:?} {}", e.stage, e.stage_timestamp, e.conflicting))
                .collect();
            let strings = [
                event.audit_id,
                event.verb,
                event.request_uri,
                event.user_agent,
                event.api_group,
                event.api_version,
                event.resource,
                event.subresource,
                event.namespace,
                event.name,
                event.decision,
                event.reason,
            ]
            .map(string)
            .join(" ");
            Verdict {
                reason: format!(
                    "{} {strings} user={} impersonated={} ips=[{}] {:?} {:?} {:?} {:?} {} {} {:?} earlier={earlier:?}",
                    event.source,
                    user(event.user),
                    user(event.impersonated_user),
                    list(event.source_ips),
                    event.stage,
                    event.level,
                    event.request_received_timestamp,
                    event.stage_timestamp,
                    event.code,
                    event.body_size,
                    event.flags,
                ),
                ..on_event(index)
            }
        })
        .collect()
}

/// Says the first bytes of each body.
fn bodies(slice: &Slice) -> Vec<Verdict> {
    (0..slice.events.len() as u32)
        .map(|event| {
            let body = host::body(event).unwrap_or_default();
            Verdict {
                reason: String::from_utf8_lossy(&body).chars().take(40).collect(),
                ..on_event(event)
            }
        })
        .collect()
}
