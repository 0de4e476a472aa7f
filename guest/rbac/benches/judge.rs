//! What judging costs natively: `configure`, once a slice, and `verify`, over the
//! recorded traffic. The WebAssembly figures are in `host/sandbox/benches`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use auditchain_guest_rbac::Rbac;
use auditchain_guest_sdk::Guest as _;
use auditchain_guest_sdk::testing::Fixture;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[path = "../../testdata.rs"]
#[expect(dead_code, reason = "one run is enough")]
mod testdata;

fn judge(criterion: &mut Criterion) {
    let mut fixture = Fixture::new(0);
    for event in testdata::requests("bodies").iter().flatten() {
        fixture.push(event);
    }
    let snapshot = testdata::read("rbac-dump.json.gz");
    let prepared =
        Rbac::prepare("{}", &[auditchain_guest_sdk::testing::snapshot(snapshot)]).unwrap();
    let alone = Rbac::prepare("{}", &[]).unwrap();

    let mut group = criterion.benchmark_group("configure");
    group.bench_function("with a snapshot", |bencher| {
        bencher.iter(|| Rbac::configure(black_box(prepared.clone())).unwrap());
    });
    group.finish();

    let mut group = criterion.benchmark_group("verify");
    group.throughput(Throughput::Elements(fixture.slice.events.len() as u64));
    for (name, prepared) in [("with a snapshot", prepared), ("rules alone", alone)] {
        let guest = Rbac::configure(prepared).unwrap();
        // Sets the bodies that the import answers with.
        let found = fixture.run(&guest).len();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verdicts =
                    auditchain_guest_sdk::run(&guest, &fixture.context, black_box(&fixture.slice));
                assert_eq!(verdicts.len(), found);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, judge);
criterion_main!(benches);
