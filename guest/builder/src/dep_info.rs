//! Reads the `.d` files that cargo leaves beside what it builds.
//!
//! ```text
//! <output>: <source> <source> ...
//! ```
//! One line; a space inside a path is written `\ `. Cargo lists the sources of
//! path dependencies too, and the files that macros read (the WIT package); not
//! those of the registry, which `Cargo.lock` pins.

use std::path::PathBuf;

/// The sources that a `.d` file names.
pub(crate) fn sources(dep_info: &str) -> Vec<PathBuf> {
    let Some((_, list)) = dep_info
        .lines()
        .next()
        .and_then(|line| line.split_once(": "))
    else {
        return Vec::new();
    };
    let mut sources = Vec::new();
    let mut path = String::new();
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&' ') => path.extend(chars.next()),
            ' ' => sources.extend(take(&mut path)),
            _ => path.push(c),
        }
    }
    sources.extend(take(&mut path));
    sources
}

fn take(path: &mut String) -> Option<PathBuf> {
    (!path.is_empty()).then(|| PathBuf::from(std::mem::take(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_the_sources_of_the_first_rule() {
        let found = sources("/t/a.wasm: /w/a.rs /w/with\\ space.rs /w/c.rs\n\n/w/a.rs:\n");
        let expected = ["/w/a.rs", "/w/with space.rs", "/w/c.rs"].map(PathBuf::from);
        assert_eq!(found, expected);
    }

    #[test]
    fn finds_nothing_in_a_file_without_a_rule() {
        assert_eq!(sources(""), Vec::<PathBuf>::new());
        assert_eq!(sources("/t/a.wasm:"), Vec::<PathBuf>::new());
    }
}
