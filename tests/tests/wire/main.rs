//! The wire: real TLS to the real service, right and wrong certificates and tokens, slow
//! and greedy peers.

#![allow(clippy::unwrap_used, reason = "test code")]

mod limits;
mod rights;
mod support;
mod tls;
