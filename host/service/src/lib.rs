//! The chain service.
