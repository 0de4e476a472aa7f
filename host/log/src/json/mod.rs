//! From the bytes that an apiserver sent to the bytes that are evidence.
//!
//! Reading order: [`split_event_list`] (a request body into raw events, without a
//! look inside them), [`canonicalize`] (one raw event into RFC 8785 form) and
//! [`canonical_event`] (the bytes that are hashed and kept, or why there are none), [`EventView`] (the fields that rules and the leaf
//! ask for, from either form), [`parse_micro_time`] and [`write_string`].
//!
//! Input is hostile. Invariants of everything here:
//! - It never panics and never recurses: nesting costs heap, not stack.
//! - Time is linear in the input (times the logarithm of an object's size where its
//!   members have to be sorted). So is memory: about three times the size of an honest
//!   event, and at most some 40 times that of one made of nothing but tiny members.
//!   Callers cap the size of what they take in.
//! - The answer is a function of the bytes alone. Anyone who runs it again over kept
//!   bytes gets the same canonical form, the same error code and the same fields.
//!
//! Out of scope: what an event means, and JSON of any other shape (settings and
//! entries of the log go through serde).

mod annotation;
mod canonical;
mod error;
mod event;
mod members;
mod micro_time;
mod number;
mod order;
mod scan;
mod split;
mod string;
mod view;

pub use annotation::without_annotation;
pub use canonical::{MAX_DEPTH, canonicalize};
pub use error::{JsonError, SplitError};
pub use event::{CANONICAL_BYTES_MAX, CANONICAL_GROWTH_MAX, canonical_event};
pub use micro_time::parse_micro_time;
pub use number::MAX_NUMBER_BYTES;
pub use split::{EventList, MAX_ITEMS, split_event_list};
pub use string::write_string;
pub use view::{EventView, ObjectRefView, TimeView, UserView};
