//! Load for a service, in the shape of recorded events, and a baseline to hold its
//! answer against.

mod baseline;
mod dump;
mod load;
mod template;

pub(crate) use baseline::{Baseline, baseline};
pub(crate) use dump::dump;
pub(crate) use load::{Load, Measured, load};
pub(crate) use template::Template;
