//! From files to the requests that are sent: what `auditchain ingest` reads.

mod input;
mod requests;

pub use input::Input;
pub(crate) use input::{LIST_HEAD, LIST_TAIL};
pub use requests::{Request, Requests};
