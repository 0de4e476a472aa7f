//! Ranges of entries, `[first, last]` each.

/// The same entries in ranges that ascend and don't touch.
pub(crate) fn joined(mut ranges: Vec<[u64; 2]>) -> Vec<[u64; 2]> {
    ranges.sort_unstable();
    let mut joined: Vec<[u64; 2]> = Vec::new();
    for [first, last] in ranges {
        match joined.last_mut() {
            Some([_, end]) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => joined.push([first, last]),
        }
    }
    joined
}
