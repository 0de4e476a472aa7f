//! Why bytes are no event list, or an event has no canonical form.

use alloc::string::String;

/// Why an event has no canonical form. Offsets count bytes from the start of the
/// input.
///
/// UTF-8 is checked over the whole input first; all else is reported in the order
/// of the input, save that a repeated key may only be noticed at the end of its
/// object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON by the grammar of RFC 8259, or more than one value.
    #[error("not JSON: unexpected byte or end of input at byte {offset}")]
    Syntax {
        /// The first byte that does not fit, or the length where the input ends early.
        offset: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8 at byte {offset}")]
    InvalidUtf8 {
        /// The first byte that belongs to no character.
        offset: usize,
    },
    /// A `\uD800`-`\uDFFF` escape without its partner: no character, so two readers
    /// may take it for different strings.
    #[error("escape of half a surrogate pair at byte {offset}")]
    LoneSurrogate {
        /// The backslash.
        offset: usize,
    },
    /// Two members of one object have the same name.
    #[error("a member name occurs twice in one object, again at byte {offset}")]
    DuplicateKey {
        /// The opening quote of the second occurrence.
        offset: usize,
    },
    /// A number beyond the range of a double, or written in more than
    /// [`MAX_NUMBER_BYTES`](super::MAX_NUMBER_BYTES) bytes.
    #[error("number out of the range of a double at byte {offset}")]
    NumberRange {
        /// The number's first byte.
        offset: usize,
    },
    /// An integer for which RFC 8785 would write another one, because no double comes
    /// close enough.
    #[error("integer that a double cannot hold exactly at byte {offset}")]
    NumberPrecision {
        /// The number's first byte.
        offset: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("nested too deeply at byte {offset}")]
    TooDeep {
        /// The bracket that is one too many.
        offset: usize,
    },
}

impl JsonError {
    /// The error's stable name.
    ///
    /// Frozen: these names are written into the log, so a released one never changes
    /// its spelling or its meaning. New reasons get new names.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "syntax",
            Self::InvalidUtf8 { .. } => "invalid-utf8",
            Self::LoneSurrogate { .. } => "lone-surrogate",
            Self::DuplicateKey { .. } => "duplicate-key",
            Self::NumberRange { .. } => "number-range",
            Self::NumberPrecision { .. } => "number-precision",
            Self::TooDeep { .. } => "too-deep",
        }
    }

    /// The byte that the error is about.
    #[must_use]
    pub const fn offset(&self) -> usize {
        match *self {
            Self::Syntax { offset }
            | Self::InvalidUtf8 { offset }
            | Self::LoneSurrogate { offset }
            | Self::DuplicateKey { offset }
            | Self::NumberRange { offset }
            | Self::NumberPrecision { offset }
            | Self::TooDeep { offset } => offset,
        }
    }
}

/// Why a request body is no `EventList`. Nothing of such a body can be kept as
/// events; offsets count bytes from its start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// Another byte was due here.
    #[error("expected {expected} at byte {offset}")]
    Unexpected {
        /// What was due.
        expected: &'static str,
        /// The byte that came instead.
        offset: usize,
    },
    /// The body ends inside the list: cut off on its way, or never complete.
    #[error("the body ends at byte {offset}, inside the list: expected {expected}")]
    UnexpectedEnd {
        /// What was due.
        expected: &'static str,
        /// The length of the body.
        offset: usize,
    },
    /// A bracket closes one of the other kind.
    #[error("bracket at byte {offset} closes one of the other kind")]
    MismatchedBracket {
        /// The closing bracket.
        offset: usize,
    },
    /// `kind`, `apiVersion` or `items` of the list occurs twice.
    #[error("the list has `{key}` twice, again at byte {offset}")]
    DuplicateKey {
        /// The member's name.
        key: &'static str,
        /// The opening quote of the second one.
        offset: usize,
    },
    /// The list has no `kind`.
    #[error("`kind` is missing from the list that ends at byte {offset}: expected \"EventList\"")]
    MissingKind {
        /// The end of the list.
        offset: usize,
    },
    /// The list has no `apiVersion`.
    #[error(
        "`apiVersion` is missing from the list that ends at byte {offset}: expected \"audit.k8s.io/v1\""
    )]
    MissingApiVersion {
        /// The end of the list.
        offset: usize,
    },
    /// The `kind` is another one.
    #[error("`kind` at byte {offset} is {found}: expected \"EventList\"")]
    WrongKind {
        /// Its JSON text, shortened.
        found: String,
        /// The value's first byte.
        offset: usize,
    },
    /// The `apiVersion` is another one.
    #[error(
        "`apiVersion` at byte {offset} is {found}: expected \"audit.k8s.io/v1\" (kube-apiserver flag --audit-webhook-version)"
    )]
    WrongApiVersion {
        /// Its JSON text, shortened.
        found: String,
        /// The value's first byte.
        offset: usize,
    },
    /// `items` is neither an array nor null.
    #[error("`items` at byte {offset} is neither an array nor null")]
    ItemsNotArray {
        /// The value's first byte.
        offset: usize,
    },
    /// More events than [`MAX_ITEMS`](super::MAX_ITEMS).
    #[error("more than {max} events in one list, at byte {offset}: send smaller batches")]
    TooManyItems {
        /// The limit.
        max: usize,
        /// The first event past it.
        offset: usize,
    },
    /// Something follows the list.
    #[error("bytes after the end of the list, at byte {offset}")]
    TrailingData {
        /// The first byte that is no white space.
        offset: usize,
    },
}
