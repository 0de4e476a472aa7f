//! Whether an event is kept in canonical form, and if not, why. Both who writes the log
//! and who verifies it ask here.

use alloc::vec::Vec;

use super::canonicalize;

/// Largest event that is brought into canonical form; a larger one is kept as it
/// arrived. An apiserver takes requests of 3 MiB, and an event holds a request and an
/// answer. Hostile members can take forty times an event's size while it is done.
pub const CANONICAL_BYTES_MAX: usize = 8 << 20;
/// How many times longer than what arrived a canonical form may be: `1e20` becomes 21
/// digits, and a block has room for so many bytes only.
pub const CANONICAL_GROWTH_MAX: usize = 2;
/// The code of an event over these limits, beside those of
/// [`JsonError`](super::JsonError); frozen as they are.
const TOO_LARGE: &str = "too-large";

/// Puts the canonical form of an event behind `out`.
///
/// # Errors
/// It has none, or is over the limits: the code that goes into the log. `out` is as it
/// was.
pub fn canonical_event(event: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    if event.len() > CANONICAL_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    let start = out.len();
    canonicalize(event, out).map_err(|error| error.code())?;
    if out.len() - start > event.len() * CANONICAL_GROWTH_MAX {
        out.truncate(start);
        return Err(TOO_LARGE);
    }
    Ok(())
}
