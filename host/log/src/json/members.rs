//! Walking over objects and arrays without judging what is in them.

use alloc::borrow::Cow;

use super::scan::{skip_space, string_end, value_end};
use super::string::decode;

/// The members of an object: the name's content (between the quotes, not unescaped)
/// and the value's bytes. Ends where the object does, or where it cannot be read on.
pub(super) struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Members<'a> {
    /// None: `bytes` is no object.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let at = skip_space(bytes, 0);
        (bytes.get(at) == Some(&b'{')).then_some(Self { bytes, at: at + 1 })
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.bytes;
        let mut at = skip_space(bytes, self.at);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        let name_end = string_end(bytes, at + 1)?;
        let name = &bytes[at + 1..name_end - 1];
        at = skip_space(bytes, name_end);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        let start = skip_space(bytes, at + 1);
        self.at = value_end(bytes, start).ok()?;
        Some((name, &bytes[start..self.at]))
    }
}

/// The elements of an array; ends as [`Members`] does.
pub(super) struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    /// None: `bytes` is no array.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let at = skip_space(bytes, 0);
        (bytes.get(at) == Some(&b'[')).then_some(Self { bytes, at: at + 1 })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let mut start = skip_space(self.bytes, self.at);
        if self.bytes.get(start) == Some(&b',') {
            start = skip_space(self.bytes, start + 1);
        }
        self.at = value_end(self.bytes, start).ok()?;
        Some(&self.bytes[start..self.at])
    }
}

/// The text of a value that is a string. None: it is none, or no text.
pub(super) fn string_value(value: &[u8]) -> Option<Cow<'_, str>> {
    decode(value.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
}
