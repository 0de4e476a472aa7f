//! Names of sources: who checks one, the service or a client of it, asks here.

/// Longest name of a source: a DNS label, so that it fits paths and metric labels.
pub const MAX_SOURCE_NAME_BYTES: usize = 63;

/// Whether a text can name a source: a DNS label, so that it needs no quoting in
/// paths, labels, signed messages and file names.
///
/// # Errors
/// What is expected.
pub fn check_source_name(name: &str) -> Result<(), &'static str> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ok = (1..=MAX_SOURCE_NAME_BYTES).contains(&name.len())
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if ok {
        Ok(())
    } else {
        Err("a source's name is 1 to 63 of a-z, 0-9 and '-', not at either end")
    }
}
