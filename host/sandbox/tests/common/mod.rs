//! The hostile guest, and blocks to judge.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::cast_sign_loss,
    reason = "each test binary uses a part of it"
)]

pub mod raw;
pub mod recorded;

use std::{
    borrow::Cow,
    path::Path,
    sync::{Arc, OnceLock},
};

use auditchain_guest_builder::{GuestBuild, build};
use auditchain_sandbox::{
    BlockInput, Engine, EngineOptions, EventInput, EventView, Limits, LoadError, Mode, PolicySet,
    PolicySpec, SourceInput,
};

pub const SOURCES: &[SourceInput<'static>] = &[SourceInput {
    name: "a-cluster",
    watermark_us: Some(1_700_000_000_000_000),
}];

/// One engine for all tests of a binary, as in a service.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineOptions::default()).expect("an engine"))
}

/// The component of tests/hostile-guest.
pub fn hostile_module() -> Arc<[u8]> {
    static MODULE: OnceLock<Arc<[u8]>> = OnceLock::new();
    MODULE
        .get_or_init(|| {
            let built = build(&GuestBuild {
                workspace_root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
                packages: &["auditchain-hostile-guest"],
                // The cache that build scripts use too.
                target_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guests"),
            })
            .expect("the hostile guest builds");
            std::fs::read(&built[0].component)
                .expect("its component")
                .into()
        })
        .clone()
}

/// A policy whose guest behaves as told; with fuel for about 0.1 s.
pub fn hostile(name: &str, behaviour: &str) -> PolicySpec {
    PolicySpec {
        name: name.into(),
        module: hostile_module(),
        mode: Mode::Enforce,
        settings: serde_json::json!({ "do": behaviour }),
        limits: Limits {
            fuel_base: 200_000_000,
            fuel_per_event: 100_000,
            ..Limits::default()
        },
    }
}

pub fn load(specs: &[PolicySpec]) -> Result<PolicySet, LoadError> {
    PolicySet::load(engine(), specs, &[])
}

pub fn view(audit_id: &str) -> EventView<'_> {
    EventView {
        audit_id: Some(Cow::Borrowed(audit_id)),
        stage: Some(Cow::Borrowed("ResponseComplete")),
        verb: Some(Cow::Borrowed("get")),
        ..EventView::default()
    }
}

pub fn events<'a>(views: &'a [EventView<'a>]) -> Vec<EventInput<'a>> {
    views
        .iter()
        .map(|view| EventInput {
            source: 0,
            view,
            body: b"{\"a\":1}",
            undecodable: false,
            in_signed_batch: false,
            earlier: &[],
        })
        .collect()
}

pub fn block<'a>(events: &'a [EventInput<'a>]) -> BlockInput<'a> {
    BlockInput {
        origin: "example.com/log",
        block: 7,
        time_us: 1_700_000_000_000_000,
        previous_seal: None,
        sources: SOURCES,
        batches: &[],
        sender_keys: &[],
        events,
        window_start_us: None,
    }
}
