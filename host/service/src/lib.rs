//! auditchaind, the chain service: audit events in, a verified, signed and durable
//! log out.
//!
//! One event's way, in reading order: `serve::ingest` (authenticate, bound, receive),
//! `decode` (split, canonicalise), `sequencer` (one block: `fresh` finds what is new,
//! `judge` asks the policies, `block` chains and appends; then sign and answer) with
//! `state`, then `published` and the rest
//! of `serve` (read). `witness` has others cosign what is published. `open` makes a running log of a data directory,
//! `app` a service of it.

mod alert;
mod app;
mod block;
mod config;
mod decode;
mod dedup;
mod fresh;
mod judge;
mod keys;
mod metrics;
mod open;
mod policies;
mod problem;
mod published;
mod sequencer;
mod serve;
mod stages;
mod state;
mod verdict;
mod witness;

pub use app::main;
