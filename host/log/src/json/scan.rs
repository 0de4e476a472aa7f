//! Finding ends: of white space, of strings, of values. Nothing here judges what it
//! passes over, so bytes that make an event undecodable do not hide where it ends.

use alloc::vec::Vec;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// What a byte outside strings does to the nesting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Quote,
    OpenObject,
    OpenArray,
    CloseObject,
    CloseArray,
}

static CLASSES: [Class; 256] = {
    let mut table = [Class::Plain; 256];
    table[b'"' as usize] = Class::Quote;
    table[b'{' as usize] = Class::OpenObject;
    table[b'[' as usize] = Class::OpenArray;
    table[b'}' as usize] = Class::CloseObject;
    table[b']' as usize] = Class::CloseArray;
    table
};

/// Why a value has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScanError {
    /// The input ends inside it.
    End,
    /// The byte at this offset closes a bracket of the other kind, or none.
    Mismatch(usize),
    /// No value starts at this offset.
    NoValue(usize),
}

/// The first offset from `at` on that is no JSON white space.
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The offset of the first quote, backslash or control character from `at` on.
#[inline]
pub(super) fn plain_run(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word_at(bytes, at) {
        let found = zero_bytes(word ^ (LOW_BITS * b'"' as u64))
            | zero_bytes(word ^ (LOW_BITS * b'\\' as u64))
            | below_space(word);
        if found != 0 {
            return at + first_byte(found);
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < b' ' {
            break;
        }
        at += 1;
    }
    at
}

/// The offset past the closing quote of the string whose content starts at `at`.
#[inline]
pub(super) fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = quote_or_backslash(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Some(at + 1),
            // Whatever is escaped, it is not the end.
            Some(_) => at += 2,
            None => return None,
        }
    }
}

#[inline]
fn quote_or_backslash(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word_at(bytes, at) {
        let found = zero_bytes(word ^ (LOW_BITS * b'"' as u64))
            | zero_bytes(word ^ (LOW_BITS * b'\\' as u64));
        if found != 0 {
            return at + first_byte(found);
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' {
            break;
        }
        at += 1;
    }
    at
}

/// The offset past the value that starts at `at`: a string, brackets with all that is
/// in them, or a run of bytes up to the next delimiter.
pub(super) fn value_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    match bytes.get(at) {
        None => Err(ScanError::End),
        Some(b'"') => string_end(bytes, at + 1).ok_or(ScanError::End),
        Some(b'{' | b'[') => brackets_end(bytes, at),
        Some(_) => {
            let len = bytes[at..]
                .iter()
                .position(|b| {
                    matches!(
                        b,
                        b',' | b':'
                            | b'"'
                            | b'{'
                            | b'}'
                            | b'['
                            | b']'
                            | b' '
                            | b'\n'
                            | b'\r'
                            | b'\t'
                    )
                })
                .unwrap_or(bytes.len() - at);
            if len == 0 {
                Err(ScanError::NoValue(at))
            } else {
                Ok(at + len)
            }
        }
    }
}

/// As [`value_end`], from an opening bracket.
fn brackets_end(bytes: &[u8], mut at: usize) -> Result<usize, ScanError> {
    let mut open = Brackets::default();
    while let Some(&byte) = bytes.get(at) {
        let is_object = match CLASSES[usize::from(byte)] {
            Class::Plain => {
                at += 1;
                continue;
            }
            Class::Quote => {
                at = string_end(bytes, at + 1).ok_or(ScanError::End)?;
                continue;
            }
            Class::OpenObject => {
                open.push(true);
                at += 1;
                continue;
            }
            Class::OpenArray => {
                open.push(false);
                at += 1;
                continue;
            }
            Class::CloseObject => true,
            Class::CloseArray => false,
        };
        if open.pop() != Some(is_object) {
            return Err(ScanError::Mismatch(at));
        }
        at += 1;
        if open.depth == 0 {
            return Ok(at);
        }
    }
    Err(ScanError::End)
}

/// The kinds of the brackets that are open, a bit each: a body full of `[` costs an
/// eighth of its size, so nesting needs no limit here and a deep event costs no
/// neighbour.
#[derive(Default)]
struct Brackets {
    /// The innermost ones, the innermost in bit 0.
    word: u64,
    depth: usize,
    /// Full words further out.
    outer: Vec<u64>,
}

impl Brackets {
    fn push(&mut self, is_object: bool) {
        if self.depth.is_multiple_of(64) && self.depth > 0 {
            self.outer.push(self.word);
        }
        self.word = (self.word << 1) | u64::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) -> Option<bool> {
        self.depth = self.depth.checked_sub(1)?;
        let is_object = self.word & 1 == 1;
        self.word >>= 1;
        if self.depth.is_multiple_of(64) {
            self.word = self.outer.pop().unwrap_or(0);
        }
        Some(is_object)
    }
}

#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk::<8>()
        .map(|chunk| u64::from_le_bytes(*chunk))
}

/// The high bit of every zero byte. A borrow can mark bytes above a zero one too, so
/// only the lowest mark is exact; it is the only one that is used.
#[inline]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS
}

/// The high bit of every byte below 0x20, exact as [`zero_bytes`] is.
#[inline]
const fn below_space(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS * b' ' as u64) & !word & HIGH_BITS
}

#[inline]
const fn first_byte(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn brackets_of_both_kinds_at_any_depth() {
        for depth in [1, 63, 64, 65, 128, 129, 1000] {
            let mut text: Vec<u8> = (0..depth)
                .map(|i| if i % 3 == 0 { b'{' } else { b'[' })
                .collect();
            let closing: Vec<u8> = text
                .iter()
                .rev()
                .map(|b| if *b == b'{' { b'}' } else { b']' })
                .collect();
            text.extend(&closing);
            assert_eq!(value_end(&text, 0), Ok(text.len()), "{depth}");
            for i in depth..text.len() {
                let mut wrong = text.clone();
                wrong[i] = if wrong[i] == b'}' { b']' } else { b'}' };
                assert_eq!(value_end(&wrong, 0), Err(ScanError::Mismatch(i)));
            }
            text.pop();
            assert_eq!(value_end(&text, 0), Err(ScanError::End));
        }
    }

    #[test]
    fn escapes_do_not_end_a_string() {
        for (text, end) in [
            (r#""a\"b" "#, Some(6)),
            (r#""\\" "#, Some(4)),
            (r#""\\\"" "#, Some(6)),
            (r#""12345678\"90" "#, Some(14)),
            (r#""abc\"#, None),
            (r#""abc\""#, None),
        ] {
            assert_eq!(string_end(text.as_bytes(), 1), end, "{text}");
        }
    }

    #[test]
    fn scalars_end_at_delimiters() {
        assert_eq!(value_end(b"1e999,", 0), Ok(5));
        assert_eq!(value_end(b"nul\xff", 0), Ok(4));
        assert_eq!(value_end(b",", 0), Err(ScanError::NoValue(0)));
        assert_eq!(value_end(b"]", 0), Err(ScanError::NoValue(0)));
        assert_eq!(value_end(b"", 0), Err(ScanError::End));
    }

    proptest! {
        #[test]
        fn words_find_what_a_byte_loop_finds(bytes in proptest::collection::vec(
            prop_oneof![4 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 20 => Just(b'a'), 1 => Just(0x1f), 1 => Just(b'!'), 1 => Just(0x9f)],
            0..64,
        )) {
            for at in 0..=bytes.len() {
                let expected = at + bytes[at..].iter().position(|b| *b == b'"' || *b == b'\\' || *b < 0x20).unwrap_or(bytes.len() - at);
                prop_assert_eq!(plain_run(&bytes, at), expected);
                let expected = at + bytes[at..].iter().position(|b| *b == b'"' || *b == b'\\').unwrap_or(bytes.len() - at);
                prop_assert_eq!(quote_or_backslash(&bytes, at), expected);
            }
        }
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = vec![b'['; 10_000_000];
        assert_eq!(value_end(&deep, 0), Err(ScanError::End));
    }
}
