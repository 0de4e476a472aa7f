//! A disk for tests: what a process writes below one directory is recorded, can be
//! made to fail at any call, and is replayed as a power cut would have left it.
//!
//! - [`watch`]: from here on this process's file calls below a directory are recorded,
//!   and one of them fails if asked to ([`Fault`]).
//! - [`Record`]: what was recorded, call by call.
//! - [`Disk`]: the record replayed up to a point. It knows what a sync has made durable
//!   and what was still under way, and writes out what a power cut at that point may
//!   leave ([`Cut`]): later writes dropped, torn at sectors, reordered; names that were
//!   never synced missing.
//!
//! It works in the process, without root, by defining the libc functions that write
//! (`interpose`); so only a program that links this crate is affected, and it must never
//! be a dependency of anything but tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a harness fails by panicking"
)]

mod fault;
mod interpose;
mod record;
mod replay;
mod rng;
mod watch;

pub use fault::{Fault, When};
pub use record::{Op, Record};
pub use replay::{Cut, Disk};
pub use rng::Rng;
pub use watch::{Watch, skip_other_syncs, watch, watch_as_environment_says};
