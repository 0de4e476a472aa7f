//! The organisation's rules: every one catches what it should, and nothing beside it.
#![allow(clippy::unwrap_used)]

mod families;
mod selectors;
mod settings;
mod support;
