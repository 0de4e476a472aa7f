//! What a guest may ask of its host: the two imports, and their native stand-ins.
//!
//! Natively, lines are kept for [`testing`](crate::testing) and bodies come from
//! there; both belong to the thread.

use crate::LogLevel;

/// A line for the operator. Lines past the host's limit are dropped and counted.
pub fn log(level: LogLevel, message: &str) {
    imports::log(level, message);
}

/// The body of an event of the slice: canonical JSON, or for an undecodable event
/// the bytes that arrived. None past the end of the slice. It costs a copy: ask
/// only where the slice doesn't say enough.
#[must_use]
pub fn body(event: u32) -> Option<Vec<u8>> {
    imports::body(event)
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::auditchain::verifier::host as imports;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::imports;
