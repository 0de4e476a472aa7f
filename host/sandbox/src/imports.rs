//! What a guest can call: `log` and `body`, and nothing else.
//!
//! Both cost fuel on top of the guest's own instructions, so that a guest cannot
//! make the host work for nothing.

use std::sync::Arc;

use wasmtime::{
    AsContext, StoreContextMut, Trap,
    component::{Linker, WasmStr},
};

use crate::{
    bindings::auditchain::verifier::types::LogLevel,
    state::{MAX_LOG_LINE_BYTES, State},
};

/// What the interfaces' names begin with, of whatever version.
pub(crate) const PACKAGE: &str = "auditchain:verifier/";
/// The interface that [`link`] offers.
pub(crate) const HOST_INTERFACE: &str = "auditchain:verifier/host@1.0.0";
/// The interface of types only; it needs nothing from the host.
pub(crate) const TYPES_INTERFACE: &str = "auditchain:verifier/types@1.0.0";
/// The function whose import makes the host copy bodies.
pub(crate) const BODY_FUNCTION: &str = "body";

/// Fuel of any call of the host: about what it costs, in instructions.
const CALL_FUEL: u64 = 200;
/// Bytes of a body that cost one fuel, as much as copying costs inside a guest is
/// counted generously: one a byte there.
const BODY_BYTES_PER_FUEL: u64 = 4;

/// Offers the imports to guests.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut host = linker.instance(HOST_INTERFACE)?;
    host.func_wrap("log", |store, (level, message): (LogLevel, WasmStr)| {
        log(store, level, &message)
    })?;
    host.func_wrap(BODY_FUNCTION, |store, (event,): (u32,)| {
        body(store, event).map(|body| (body,))
    })
}

fn log(
    mut store: StoreContextMut<'_, State>,
    level: LogLevel,
    message: &WasmStr,
) -> wasmtime::Result<()> {
    burn(&mut store, CALL_FUEL)?;
    if !store.data_mut().log.admit() {
        return Ok(());
    }
    let message = message.to_str(store.as_context())?;
    let line = &message[..message.floor_char_boundary(MAX_LOG_LINE_BYTES)];
    let policy = &*store.data().policy;
    // `?line`: a guest's control characters must not reach a terminal.
    match level {
        LogLevel::Debug => tracing::debug!(policy, ?line, "guest"),
        LogLevel::Info => tracing::info!(policy, ?line, "guest"),
        LogLevel::Warn => tracing::warn!(policy, ?line, "guest"),
        LogLevel::Error => tracing::error!(policy, ?line, "guest"),
    }
    Ok(())
}

fn body(mut store: StoreContextMut<'_, State>, event: u32) -> wasmtime::Result<Option<Arc<[u8]>>> {
    let body = usize::try_from(event)
        .ok()
        .and_then(|event| store.data().bodies.get(event).cloned());
    let bytes = body.as_ref().map_or(0, |body| body.len() as u64);
    burn(&mut store, CALL_FUEL + bytes / BODY_BYTES_PER_FUEL)?;
    Ok(body)
}

/// Takes fuel, or ends the guest as its own instructions would.
fn burn(store: &mut StoreContextMut<'_, State>, fuel: u64) -> wasmtime::Result<()> {
    match store.get_fuel()?.checked_sub(fuel) {
        Some(left) => store.set_fuel(left),
        None => {
            store.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}
