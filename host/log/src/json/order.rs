//! The order of members: RFC 8785 section 3.2.3 sorts them by the UTF-16 code units of
//! their names.
//!
//! Text is written in the order of the input first. Objects that turn out to be in
//! another order are noted in a [`Plan`] and moved once, at the end: every byte is
//! moved at most once however deep it lies, where sorting each object as it closes
//! would copy the innermost bytes once a level.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::JsonError;

/// A member of an object, as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// The name's first eight bytes, padded with zeros, the first one most significant.
    pub(super) prefix: u64,
    /// The name, unescaped, in the text, or in [`Names`] where it has escapes.
    pub(super) name_start: usize,
    pub(super) name_end: usize,
    pub(super) name_is_escaped: bool,
    /// The whole member in the text, without the comma after it.
    pub(super) start: usize,
    pub(super) end: usize,
    /// The objects of the plan that lie in this member.
    pub(super) first_object: usize,
    pub(super) last_object: usize,
    /// Where the name's quote stands in the input.
    pub(super) offset: usize,
}

/// Where names are to be found.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) text: &'a [u8],
    /// Names that have escapes, unescaped.
    pub(super) unescaped: &'a [u8],
}

impl<'a> Names<'a> {
    fn get(self, member: &Member) -> &'a [u8] {
        let from = if member.name_is_escaped {
            self.unescaped
        } else {
            self.text
        };
        &from[member.name_start..member.name_end]
    }

    /// Compares two names.
    #[inline]
    pub(super) fn compare(self, a: &Member, b: &Member) -> Ordering {
        if a.prefix != b.prefix && (a.prefix | b.prefix) & 0x8080_8080_8080_8080 == 0 {
            return a.prefix.cmp(&b.prefix);
        }
        compare_utf16(self.get(a), self.get(b))
    }
}

/// Orders UTF-8 as its UTF-16 code units would be.
///
/// UTF-8 orders by code point. UTF-16 differs in one thing: characters past U+FFFF
/// (lead bytes F0 to F4) are written with surrogates, which are below U+E000 to U+FFFF
/// (lead bytes EE and EF).
fn compare_utf16(a: &[u8], b: &[u8]) -> Ordering {
    match a.iter().zip(b).find(|(x, y)| x != y) {
        None => a.len().cmp(&b.len()),
        // Bytes from EE on are always lead bytes, so that both start a character here.
        Some((&x, &y)) if x >= 0xee && y >= 0xee && (x >= 0xf0) != (y >= 0xf0) => y.cmp(&x),
        Some((x, y)) => x.cmp(y),
    }
}

/// Sorts the members of one object.
pub(super) fn sort(members: &mut [Member], names: Names<'_>) -> Result<(), JsonError> {
    members.sort_unstable_by(|a, b| names.compare(a, b).then(a.offset.cmp(&b.offset)));
    let repeated = members
        .windows(2)
        .filter(|pair| names.compare(&pair[0], &pair[1]).is_eq());
    match repeated.map(|pair| pair[1].offset).min() {
        None => Ok(()),
        Some(offset) => Err(JsonError::DuplicateKey { offset }),
    }
}

/// The objects that have to be put in order, inner ones before the outer one they lie
/// in, and their members, sorted.
#[derive(Default)]
pub(super) struct Plan {
    objects: Vec<Unsorted>,
    members: Vec<Moved>,
}

/// What is still needed of a sorted [`Member`].
struct Moved {
    start: usize,
    end: usize,
    first_object: usize,
    last_object: usize,
}

struct Unsorted {
    /// The object in the text, brackets included.
    start: usize,
    end: usize,
    /// The first object of the plan that lies in this one; the others follow, up to it.
    first_object: usize,
    first_member: usize,
    last_member: usize,
}

impl Plan {
    /// How many objects are noted so far.
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Notes the object at `start..end` of the text; `first_object` is what
    /// [`len`](Self::len) was when it opened.
    pub(super) fn note(
        &mut self,
        start: usize,
        end: usize,
        first_object: usize,
        sorted: &[Member],
    ) {
        let first_member = self.members.len();
        self.members.extend(sorted.iter().map(|member| Moved {
            start: member.start,
            end: member.end,
            first_object: member.first_object,
            last_object: member.last_object,
        }));
        let last_member = self.members.len();
        self.objects.push(Unsorted {
            start,
            end,
            first_object,
            first_member,
            last_member,
        });
    }

    /// Appends `text` to `out`, every noted object in order.
    pub(super) fn apply(&self, text: &[u8], out: &mut Vec<u8>) {
        if self.objects.is_empty() {
            out.extend_from_slice(text);
            return;
        }
        // Moving members about does not change the length.
        let base = out.len();
        out.resize(base + text.len(), 0);
        let out = &mut out[base..];
        let mut to_do = Vec::new();
        to_do.push(Piece {
            start: 0,
            end: text.len(),
            to: 0,
            first: 0,
            last: self.len(),
        });
        while let Some(piece) = to_do.pop() {
            self.place(&piece, text, out, &mut to_do);
        }
    }

    /// Copies a piece of the text; members that hold objects of the plan go to `to_do`.
    fn place(&self, piece: &Piece, text: &[u8], out: &mut [u8], to_do: &mut Vec<Piece>) {
        let (mut end, mut last) = (piece.end, piece.last);
        // Inner before outer, so the last object of a range lies in no other of it.
        while last > piece.first {
            let object = &self.objects[last - 1];
            copy(
                text,
                object.end,
                end,
                out,
                piece.to + (object.end - piece.start),
            );
            let mut to = piece.to + (object.start - piece.start);
            out[to] = b'{';
            to += 1;
            let members = &self.members[object.first_member..object.last_member];
            for (i, m) in members.iter().enumerate() {
                if m.first_object == m.last_object {
                    copy(text, m.start, m.end, out, to);
                } else {
                    let (first, last) = (m.first_object, m.last_object);
                    to_do.push(Piece {
                        start: m.start,
                        end: m.end,
                        to,
                        first,
                        last,
                    });
                }
                to += m.end - m.start;
                out[to] = if i + 1 == members.len() { b'}' } else { b',' };
                to += 1;
            }
            end = object.start;
            last = object.first_object;
        }
        copy(text, piece.start, end, out, piece.to);
    }
}

/// A stretch of the text that goes to offset `to` of the output, and the objects of
/// the plan that lie in it.
struct Piece {
    start: usize,
    end: usize,
    to: usize,
    first: usize,
    last: usize,
}

fn copy(text: &[u8], start: usize, end: usize, out: &mut [u8], to: usize) {
    out[to..to + (end - start)].copy_from_slice(&text[start..end]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::string::String;

    use super::*;

    proptest! {
        #[test]
        fn utf8_in_the_order_of_utf16(
            common in "\\PC{0,3}",
            a in "[\\x00a-c\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fb33}\u{ffff}\u{10000}\u{1f600}\u{10ffff}]{0,3}",
            b in "[\\x00a-c\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fb33}\u{ffff}\u{10000}\u{1f600}\u{10ffff}]{0,3}",
        ) {
            let a: String = common.clone() + &a;
            let b: String = common + &b;
            prop_assert_eq!(
                compare_utf16(a.as_bytes(), b.as_bytes()),
                a.encode_utf16().cmp(b.encode_utf16())
            );
        }
    }
}
