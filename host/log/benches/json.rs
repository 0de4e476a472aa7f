//! What an event costs before it is evidence, over the recorded traffic:
//! `cargo bench -p auditchain-log`. A bare SHA-256 and serde_json stand beside it as
//! the measure.

use std::hint::black_box;

use auditchain_log::json::{EventView, canonicalize, split_event_list};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use sha2::{Digest, Sha256};

#[path = "../tests/recorded/mod.rs"]
mod recorded;

fn json(c: &mut Criterion) {
    let bodies = recorded::bodies("bodies");
    let events: Vec<&[u8]> = bodies
        .iter()
        .flat_map(|(_, body)| split_event_list(body).expect("recorded").items)
        .collect();
    let canonical: Vec<Vec<u8>> = events
        .iter()
        .map(|event| {
            let mut out = Vec::new();
            // A few have no canonical form; they are read as they came.
            if canonicalize(event, &mut out).is_err() {
                out.extend_from_slice(event);
            }
            out
        })
        .collect();
    let bytes: usize = events.iter().map(|event| event.len()).sum();

    let mut group = c.benchmark_group("recorded events");
    group
        .sample_size(20)
        .throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("split", |b| {
        b.iter(|| {
            for (_, body) in &bodies {
                black_box(split_event_list(black_box(body))).ok();
            }
        });
    });
    let mut out = Vec::new();
    group.bench_function("canonicalize", |b| {
        b.iter(|| {
            for event in &events {
                out.clear();
                black_box(canonicalize(black_box(event), &mut out)).ok();
            }
        });
    });
    group.bench_function("canonicalize canonical", |b| {
        b.iter(|| {
            for event in &canonical {
                out.clear();
                black_box(canonicalize(black_box(event), &mut out)).ok();
            }
        });
    });
    group.bench_function("view", |b| {
        b.iter(|| {
            for event in &canonical {
                black_box(EventView::read(black_box(event)));
            }
        });
    });
    group.bench_function("split, canonicalize, view", |b| {
        b.iter(|| {
            for (_, body) in &bodies {
                for event in split_event_list(body).expect("recorded").items {
                    out.clear();
                    let bytes = if canonicalize(event, &mut out).is_ok() {
                        &out
                    } else {
                        event
                    };
                    black_box(EventView::read(black_box(bytes)));
                }
            }
        });
    });
    group.bench_function("serde_json::Value", |b| {
        b.iter(|| {
            for event in &events {
                black_box(serde_json::from_slice::<Value>(black_box(event))).ok();
            }
        });
    });
    group.bench_function("SHA-256", |b| {
        b.iter(|| {
            for event in &canonical {
                black_box(Sha256::digest(black_box(event)));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, json);
criterion_main!(benches);
