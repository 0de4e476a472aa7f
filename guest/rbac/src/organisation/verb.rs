//! Sets of verbs, as bits.

/// One bit a verb; [`OTHER`] is any that no resource of the API has.
pub(crate) type VerbSet = u16;

pub(crate) const GET: VerbSet = 1;
const LIST: VerbSet = 1 << 1;
const WATCH: VerbSet = 1 << 2;
pub(crate) const CREATE: VerbSet = 1 << 3;
pub(crate) const UPDATE: VerbSet = 1 << 4;
const PATCH: VerbSet = 1 << 5;
const DELETE_ONE: VerbSet = 1 << 6;
const DELETE_COLLECTION: VerbSet = 1 << 7;
pub(crate) const OTHER: VerbSet = 1 << 15;

pub(crate) const ANY: VerbSet = VerbSet::MAX;
pub(crate) const READ: VerbSet = GET | LIST | WATCH;
/// Those with an object in their body.
pub(crate) const WRITE_OBJECT: VerbSet = CREATE | UPDATE | PATCH;
pub(crate) const DELETE: VerbSet = DELETE_ONE | DELETE_COLLECTION;
/// What happens to an object that is there.
pub(crate) const CHANGE: VerbSet = UPDATE | PATCH | DELETE;
pub(crate) const WRITE: VerbSet = WRITE_OBJECT | DELETE;

const KNOWN: [(&str, VerbSet); 8] = [
    ("get", GET),
    ("list", LIST),
    ("watch", WATCH),
    ("create", CREATE),
    ("update", UPDATE),
    ("patch", PATCH),
    ("delete", DELETE_ONE),
    ("deletecollection", DELETE_COLLECTION),
];

/// The bit of a verb.
pub(crate) fn bit(verb: &str) -> VerbSet {
    let known = KNOWN.iter().find(|(name, _)| *name == verb);
    known.map_or(OTHER, |(_, bit)| *bit)
}

/// The bits of all verbs that may match.
pub(crate) fn bits(matches: impl Fn(&str) -> bool) -> VerbSet {
    let known = KNOWN.iter().filter(|(name, _)| matches(name));
    known.fold(OTHER, |set, (_, bit)| set | bit)
}

/// Those in either.
pub(crate) const fn union(a: VerbSet, b: VerbSet) -> VerbSet {
    a | b
}

/// True for a verb that is about many objects, unless a field selector names one.
pub(crate) fn is_collection(set: VerbSet) -> bool {
    set & (LIST | WATCH | DELETE_COLLECTION) != 0
}
