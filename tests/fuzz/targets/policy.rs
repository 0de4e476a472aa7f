//! A policy's YAML, and a module that is none: refused in words.
#![no_main]

use std::sync::OnceLock;

use auditchain_sandbox::{Engine, EngineOptions, PolicySet, PolicySpec};
use libfuzzer_sys::fuzz_target;

static ENGINE: OnceLock<Engine> = OnceLock::new();

// The input is the YAML, a zero byte, and the module.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let Ok(yaml) = std::str::from_utf8(parts.next().unwrap_or_default()) else {
        return;
    };
    let module = parts.next().unwrap_or_default();
    let Ok(spec) = PolicySpec::from_yaml(yaml, |_| Ok(module.into())) else {
        return;
    };
    let options = EngineOptions::default();
    let engine = ENGINE.get_or_init(|| Engine::new(&options).expect("an engine"));
    let _ = PolicySet::load(engine, &[spec], &[]);
});
