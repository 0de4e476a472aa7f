//! What judging costs: a full batch of recorded events, a single event, the same rules
//! natively, loading.

#[path = "../tests/common/mod.rs"]
mod common;

use std::{hint::black_box, num::NonZeroUsize};

use auditchain_guest_ordering::Ordering;
use auditchain_guest_rbac::Rbac;
use auditchain_guest_sdk::testing::Fixture;
use auditchain_guest_sdk::{Guest, types};
use auditchain_guest_signature::Signature;
use auditchain_sandbox::{
    Engine, EngineOptions, PolicySet, PolicySpec, SourceInput, default_policies,
};
use common::recorded::{Seal, Window, block, inputs, rbac_snapshot, recorded, snapshot};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn engine(workers: usize) -> Engine {
    Engine::new(&EngineOptions {
        workers: NonZeroUsize::new(workers).expect("not 0"),
        ..EngineOptions::default()
    })
    .expect("an engine")
}

fn load(engine: &Engine, specs: &[PolicySpec]) -> PolicySet {
    PolicySet::load(engine, specs, &[snapshot(&rbac_snapshot())]).expect("loads")
}

fn judge(criterion: &mut Criterion) {
    let (one, two) = (engine(1), engine(2));
    let mut sets: Vec<(String, PolicySet)> = default_policies()
        .into_iter()
        .map(|spec| (format!("{}, 1 worker", spec.name), load(&one, &[spec])))
        .collect();
    sets.push(("all, 1 worker".into(), load(&one, &default_policies())));
    sets.push(("all, 2 workers".into(), load(&two, &default_policies())));

    let requests = recorded("bodies");
    let request = requests
        .iter()
        .find(|request| request.bodies.len() == 400)
        .expect("a full batch");
    let views = request.views();
    let earlier = Window::default().take(request, &views);
    let events = inputs(request, &views, &earlier);
    let time_us = views
        .iter()
        .filter_map(|view| view.stage_timestamp_us())
        .max()
        .unwrap_or(0);
    let sources = [SourceInput {
        name: "a-cluster",
        watermark_us: Some(time_us),
    }];
    let seal = Seal::new();

    for count in [1, 400] {
        let mut group = criterion.benchmark_group(format!("judge {count}"));
        group.throughput(Throughput::Elements(count as u64));
        for (name, set) in &sets {
            let block = block(&seal, &sources, &[], &events[..count], time_us);
            let verdict = set.judge(&block);
            assert_eq!(verdict.failures, []);
            for cost in &verdict.costs {
                println!("{name}: {} used {} fuel", cost.policy, cost.fuel);
            }
            group.bench_function(name, |bencher| {
                bencher.iter(|| black_box(set.judge(&block)));
            });
        }
    }
}

fn loading(criterion: &mut Criterion) {
    let engine = engine(2);
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    for spec in default_policies() {
        let name = spec.name.clone();
        let spec = [spec];
        group.bench_function(name, |bencher| bencher.iter(|| load(&engine, &spec)));
    }
}

/// The same rules on the same events, natively: what the sandbox costs on top.
fn native(criterion: &mut Criterion) {
    let requests = recorded("bodies");
    let request = requests
        .iter()
        .find(|request| request.bodies.len() == 400)
        .expect("a full batch");
    let seal = Seal::new();
    let slices: Vec<Fixture> = request
        .bodies
        .chunks(256)
        .enumerate()
        .map(|(n, bodies)| {
            let mut fixture = Fixture::new(0);
            for body in bodies {
                fixture.push(body);
            }
            let newest = fixture.call().events().filter_map(|event| event.stage_at());
            fixture.context.time = newest.max().unwrap_or(0);
            fixture.context.origin = common::recorded::ORIGIN.into();
            fixture.context.previous_seal = (n == 0).then(|| types::Seal {
                note: seal.note.clone(),
                keys: seal.keys.clone(),
                size: seal.size,
                root: seal.root.to_vec(),
            });
            fixture
        })
        .collect();
    let snapshot = auditchain_guest_sdk::testing::snapshot(rbac_snapshot());
    let of = |name: &str| {
        let specs = default_policies();
        let spec = specs.iter().find(|spec| spec.name == name);
        spec.expect("a default policy").settings.to_string()
    };
    let signature = Signature::prepare(&of("signature"), &[]).expect("settings");
    let ordering = Ordering::prepare(&of("ordering"), &[]).expect("settings");
    let rbac = Rbac::prepare(&of("rbac"), &[snapshot]).expect("settings");

    let mut group = criterion.benchmark_group("native 400");
    group.throughput(Throughput::Elements(400));
    group.bench_function("signature", |bencher| {
        bencher.iter(|| run_all::<Signature>(&signature, &slices));
    });
    group.bench_function("ordering", |bencher| {
        bencher.iter(|| run_all::<Ordering>(&ordering, &slices));
    });
    group.bench_function("rbac", |bencher| {
        bencher.iter(|| run_all::<Rbac>(&rbac, &slices));
    });
}

fn run_all<G: Guest>(prepared: &[u8], slices: &[Fixture]) {
    for slice in slices {
        let guest = G::configure(prepared.to_vec()).expect("prepared for itself");
        black_box(slice.run(&guest));
    }
}

criterion_group!(benches, judge, native, loading);
criterion_main!(benches);
