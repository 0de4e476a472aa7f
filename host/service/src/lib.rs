//! auditchaind, the chain service: audit events in, a verified, signed and durable
//! log out.
//!
//! One event's way, in reading order: `serve::ingest` (authenticate, bound, receive),
//! `decode` (split, canonicalise), `queue` (wait, fair between sources), `sequencer`
//! (one block: `fresh` finds what is new, `judge` asks the policies, `block` chains and
//! seals) with `state`, `storer` (write, publish, answer), then `published` and the rest
//! of `serve` (read). `witness` has others cosign what is published. `open` makes a running log of a data directory,
//! `app` a service of it. Around it: `listener` (connections and their limits), `tls`,
//! `auth` and `tokens` (who may do what), `reload` (files that change), `wanted`,
//! `policy_reload` and `in_force` (what verdicts are made with, and how it changes).

mod alert;
mod app;
mod auth;
mod block;
mod config;
mod decode;
mod dedup;
mod erase;
mod fresh;
mod in_force;
mod judge;
mod keys;
mod listener;
mod memory;
mod metrics;
mod open;
mod policy_reload;
mod problem;
mod published;
mod queue;
mod rate;
mod reload;
mod retention;
mod sequencer;
mod serve;
mod state;
mod storer;
mod suspension;
mod tls;
mod tokens;
mod wanted;
mod witness;

pub use app::main;
