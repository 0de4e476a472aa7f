//! A record replayed up to a point, and what a power cut there may leave.
//!
//! # Model
//! - A completed fsync or fdatasync makes all earlier writes and lengths of that file
//!   durable, and of a directory all earlier names in it. Nothing else does: a file's
//!   sync doesn't make its name durable (POSIX; ext4 is kinder).
//! - What was not synced is there or not, each operation by itself: writes are kept or
//!   dropped whole or by sector, in any order; a length may be there without its bytes,
//!   which are zeros then; names may be there in any combination.
//! - A sector is atomic. Of two writes to one place the older can't replace the newer:
//!   the page cache holds only the newer.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use crate::record::Op;
use crate::rng::Rng;

/// The file system as it was after some operations.
#[derive(Debug, Default)]
pub struct Disk<'a> {
    nodes: Vec<Node<'a>>,
    by_inode: HashMap<u64, usize>,
    ops: u64,
}

#[derive(Debug)]
enum Node<'a> {
    File {
        durable: Vec<u8>,
        pending: Vec<(u64, Change<'a>)>,
    },
    Dir {
        durable: Names,
        pending: Vec<(u64, Naming)>,
    },
}

type Names = BTreeMap<String, usize>;

#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Write { offset: usize, bytes: &'a [u8] },
    SetLen(usize),
}

#[derive(Debug, Clone)]
enum Naming {
    Is(String, usize),
    Moves(String, String, usize),
    Goes(String),
}

/// How what was not synced is dealt with.
#[derive(Debug, Clone)]
pub enum Cut {
    /// None of it is there.
    Nothing,
    /// All of it is there, as after `kill -9`.
    Everything,
    /// All of it up to one operation, which is torn: a disk that keeps the order.
    Prefix(Rng),
    /// Operations are there or not, writes whole.
    Reordered(Rng),
    /// Operations are there or not, writes in sectors of this size.
    Torn(Rng, usize),
    /// Files as with `Torn`, names in order: a file system with a journal.
    Journaled(Rng),
}

impl Cut {
    /// One of them.
    #[must_use]
    pub fn choose(rng: &mut Rng) -> Self {
        let seed = Rng::new(rng.number());
        match rng.below(12) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 | 3 => Self::Prefix(seed),
            4 | 5 => Self::Reordered(seed),
            6 | 7 => Self::Torn(seed, 512),
            8 | 9 => Self::Torn(seed, 4096),
            _ => Self::Journaled(seed),
        }
    }
}

impl<'a> Disk<'a> {
    /// Takes the next operation of a record.
    ///
    /// # Panics
    /// The record contradicts itself.
    pub fn apply(&mut self, op: &Op<'a>) {
        self.ops += 1;
        let now = self.ops;
        match *op {
            Op::Root { inode } => {
                self.add(inode, Node::dir());
            }
            Op::Create { path, inode } => {
                let node = self.add(inode, Node::file());
                let (dir, name) = self.place(path);
                self.name(dir, Naming::Is(name, node));
            }
            Op::Mkdir { path, inode } => {
                let node = self.add(inode, Node::dir());
                let (dir, name) = self.place(path);
                self.name(dir, Naming::Is(name, node));
            }
            Op::Rename { from, to } => {
                let (dir, old) = self.place(from);
                let (same, new) = self.place(to);
                assert_eq!(dir, same, "renames stay in their directory");
                let node = self.names(dir)[&old];
                self.name(dir, Naming::Moves(old, new, node));
            }
            Op::Unlink { path } => {
                let (dir, name) = self.place(path);
                self.name(dir, Naming::Goes(name));
            }
            Op::Write {
                inode,
                offset,
                bytes,
            } => {
                let offset = usize::try_from(offset).expect("64 bits");
                self.change(inode, now, Change::Write { offset, bytes });
            }
            Op::SetLen { inode, len } => {
                let len = usize::try_from(len).expect("64 bits");
                self.change(inode, now, Change::SetLen(len));
            }
            Op::Sync { inode } => self.nodes[self.by_inode[&inode]].sync(),
        }
    }

    /// Operations that are not durable now.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.nodes.iter().map(|node| node.pending().len()).sum()
    }

    /// Writes what the cut leaves into `to`, which is empty.
    ///
    /// # Panics
    /// I/O.
    pub fn cut(&self, cut: &Cut, to: &Path) {
        let mut cut = cut.clone();
        let until = match &mut cut {
            Cut::Prefix(rng) => {
                let mut all: Vec<u64> = self.nodes.iter().flat_map(Node::pending).collect();
                all.sort_unstable();
                let end = rng.below(all.len() as u64 + 1);
                let at = usize::try_from(end).expect("64 bits");
                all.get(at).copied().unwrap_or(u64::MAX)
            }
            _ => u64::MAX,
        };
        if !self.nodes.is_empty() {
            self.write_dir(0, &mut cut, until, to);
        }
    }

    fn write_dir(&self, dir: usize, cut: &mut Cut, until: u64, to: &Path) {
        for (name, node) in self.nodes[dir].names_after(cut, until) {
            let path = to.join(name);
            match &self.nodes[node] {
                Node::Dir { .. } => {
                    fs::create_dir(&path).expect("an empty place");
                    self.write_dir(node, cut, until, &path);
                }
                Node::File { durable, pending } => {
                    let bytes = bytes_after(durable, pending, cut, until);
                    fs::write(&path, bytes).expect("room for a replay");
                }
            }
        }
    }

    fn add(&mut self, inode: u64, node: Node<'a>) -> usize {
        self.nodes.push(node);
        // A new file may have the inode of one that is gone.
        self.by_inode.insert(inode, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Directory and name of a path, as the process saw it.
    fn place(&self, path: &str) -> (usize, String) {
        let mut parts = path.split('/');
        let name = parts.next_back().expect("split gives one at least");
        let dir = parts.fold(0, |dir, part| self.names(dir)[part]);
        (dir, name.to_owned())
    }

    fn names(&self, dir: usize) -> Names {
        self.nodes[dir].names_after(&mut Cut::Everything, u64::MAX)
    }

    fn name(&mut self, dir: usize, naming: Naming) {
        let now = self.ops;
        match &mut self.nodes[dir] {
            Node::Dir { pending, .. } => pending.push((now, naming)),
            Node::File { .. } => panic!("a name in a file"),
        }
    }

    fn change(&mut self, inode: u64, now: u64, change: Change<'a>) {
        match &mut self.nodes[self.by_inode[&inode]] {
            Node::File { pending, .. } => pending.push((now, change)),
            Node::Dir { .. } => panic!("a write to a directory"),
        }
    }
}

impl Node<'_> {
    fn file() -> Self {
        Self::File {
            durable: vec![],
            pending: vec![],
        }
    }

    fn dir() -> Self {
        Self::Dir {
            durable: Names::new(),
            pending: vec![],
        }
    }

    fn sync(&mut self) {
        match self {
            Self::File { durable, pending } => {
                for (_, change) in pending.drain(..) {
                    change.make(durable);
                }
            }
            Self::Dir { durable, pending } => {
                for (_, naming) in pending.drain(..) {
                    naming.make(durable);
                }
            }
        }
    }

    fn pending(&self) -> Vec<u64> {
        match self {
            Self::File { pending, .. } => pending.iter().map(|(at, _)| *at).collect(),
            Self::Dir { pending, .. } => pending.iter().map(|(at, _)| *at).collect(),
        }
    }

    /// The names of a directory after a cut.
    fn names_after(&self, cut: &mut Cut, until: u64) -> Names {
        let Self::Dir { durable, pending } = self else {
            panic!("names of a file");
        };
        let mut names = durable.clone();
        let in_order = match cut {
            Cut::Journaled(rng) => usize::try_from(rng.below(pending.len() as u64 + 1)).ok(),
            _ => None,
        };
        for (i, (at, naming)) in pending.iter().enumerate() {
            let there = match cut {
                Cut::Nothing => false,
                Cut::Everything => true,
                Cut::Prefix(_) => *at < until,
                Cut::Reordered(rng) | Cut::Torn(rng, _) => rng.chance(50),
                Cut::Journaled(_) => in_order.is_some_and(|end| i < end),
            };
            if there {
                naming.make(&mut names);
            }
        }
        names
    }
}

impl Naming {
    fn make(&self, names: &mut Names) {
        match self {
            Self::Is(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Moves(old, new, node) => {
                names.remove(old);
                names.insert(new.clone(), *node);
            }
            Self::Goes(name) => {
                names.remove(name);
            }
        }
    }
}

impl Change<'_> {
    fn make(&self, file: &mut Vec<u8>) {
        match *self {
            Self::Write { offset, bytes } => put(file, offset, bytes),
            Self::SetLen(len) => file.resize(len, 0),
        }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

fn bytes_after(
    durable: &[u8],
    pending: &[(u64, Change<'_>)],
    cut: &mut Cut,
    until: u64,
) -> Vec<u8> {
    let mut file = durable.to_vec();
    for (at, change) in pending {
        match (&mut *cut, change) {
            (Cut::Nothing, _) => {}
            (Cut::Everything, _) => change.make(&mut file),
            (Cut::Prefix(_), _) if *at < until => change.make(&mut file),
            (Cut::Prefix(rng), Change::Write { offset, bytes }) if *at == until => {
                tear(&mut file, *offset, bytes, 512, rng);
            }
            (Cut::Prefix(_), _) => {}
            (Cut::Reordered(rng), _) | (Cut::Torn(rng, _), Change::SetLen(_)) => {
                if rng.chance(50) {
                    change.make(&mut file);
                }
            }
            (Cut::Torn(rng, sector), Change::Write { offset, bytes }) => {
                tear(&mut file, *offset, bytes, *sector, rng);
            }
            (Cut::Journaled(rng), Change::Write { offset, bytes }) => {
                tear(&mut file, *offset, bytes, 4096, rng);
            }
            (Cut::Journaled(rng), Change::SetLen(_)) => {
                if rng.chance(50) {
                    change.make(&mut file);
                }
            }
        }
    }
    file
}

/// Writes some of the sectors.
fn tear(file: &mut Vec<u8>, offset: usize, bytes: &[u8], sector: usize, rng: &mut Rng) {
    // Most often a part of the front or of the back, or holes.
    let keep_percent = [0, 50, 90, 100, 100][usize::try_from(rng.below(5)).unwrap_or(0)];
    let sectors = (offset + bytes.len()).div_ceil(sector) - offset / sector;
    let edge = usize::try_from(rng.below(sectors as u64 + 1)).unwrap_or(0);
    let shape = rng.below(3);
    if rng.chance(50) && file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0); // the length is there, the bytes aren't
    }
    let mut start = 0;
    for i in 0..sectors {
        let end = bytes.len().min((offset / sector + i + 1) * sector - offset);
        let kept = match shape {
            0 => i < edge,
            1 => i >= edge,
            _ => rng.chance(keep_percent),
        };
        if kept {
            put(file, offset + start, &bytes[start..end]);
        }
        start = end;
    }
}
