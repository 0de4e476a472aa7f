//! A witness: remembers the last checkpoint of each log that it knows, and cosigns the
//! next one if that is shown to continue it.
//! Protocol: [c2sp.org/tlog-witness](https://c2sp.org/tlog-witness).
//!
//! `state` decides and keeps, `server` speaks HTTP, `key_file` has the key.

mod key_file;
mod server;
mod state;

pub(crate) use key_file::{create_key, read_key};
pub(crate) use server::serve;
pub(crate) use state::Witness;
